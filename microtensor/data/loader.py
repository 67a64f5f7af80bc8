"""`DataLoader` cuts a data set into batches: shuffled, transformed, prepared ahead by threads, resumable."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import random
from ..runtime.arrays import is_array, library, parse_device
from ..runtime.device import full_name
from ..runtime.integers import is_integer
from ..tensor import Tensor
from .dataset import Dataset, Indices, Samples, batch_of
from .prefetch import in_order
from .transform import transformed
from .upload import uploaded


@dataclass
class _Pass:
    """A pass under way: where the generator stood when it began, what was drawn from it then, and how far the pass has come."""

    start: dict[str, Any] | None  # None: nothing is drawn
    order: Indices
    seed: int  # of the transform; each batch has a stream of its own: (seed, number of the batch)
    done: int = 0  # batches handed out


class DataLoader:
    """Batches of a data set, all samples once per pass: `for inputs, labels in loader`.

    A batch is a tuple of tensors with the samples on axis 0: of MNIST, float32 (B, 1, 28, 28) and int64 (B,). It is a copy: the
    data set stays as it is, whatever is done to a batch. A pass draws from the generator when it begins and at no other time:
    a permutation if it shuffles, then one number if there is a transform. So the same seed gives the same batches, bit for
    bit, with any number of workers.

    `state_dict` says where the loader stands, in plain numbers that json writes; after `load_state_dict` in another process
    the next pass hands out exactly the batches that were still to come.

    Args:
        dataset: a `Dataset`, or whatever has a length and gives a tuple for an integer: a data set of PyTorch's, a list of
            pairs. Such single samples are stacked.
        batch_size: samples per batch, B.
        shuffle: in random order, a new one for each pass; otherwise in the order of the data set.
        generator: where the order comes from; None: the default generator, which `microtensor.manual_seed` seeds.
        drop_last: leave out the last samples that fill no batch; otherwise the last batch is smaller.
        num_workers: threads that prepare batches while the last one is being used; 0: each batch is prepared when it is asked
            for. Threads, not processes: they gain where the work leaves the interpreter, as reading files, decoding pictures
            and arithmetic on large arrays do. What the data set does in `__getitem__` must then be safe to do in threads.
        prefetch_factor: batches that each worker prepares ahead.
        transform: one of `microtensor.data.transforms`, or a function of the batch's first array, the images, that returns
            another. Each batch gives a random transform a generator of its own.
        device: where batches go. To a GPU, each is on its way while the one before is in use (see upload.py), and so it is
            prepared a batch earlier too, also without workers. None: arrays go to the default device of the thread that asks
            for the first batch, and tensors stay where they are.
        pin_memory: understood, and of no effect: the way to a GPU is always through pinned memory.

    Raises:
        TypeError: an argument is of the wrong kind, or a batch of the data set is no tuple of arrays.
        ValueError: batch_size is below 1, or a batch has another length than asked for; there is no such device.
        RuntimeError: the device cannot be used.

    >>> from microtensor.data import TensorDataset
    >>> numbers = TensorDataset(np.arange(5))
    >>> [x.tolist() for (x,) in DataLoader(numbers, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> [x.tolist() for (x,) in DataLoader(numbers, batch_size=2, shuffle=True, generator=random.Generator(1), drop_last=True)]
    [[4, 0], [1, 2]]
    """

    def __init__(
        self,
        dataset: Samples,
        batch_size: int = 1,
        shuffle: bool = False,
        generator: random.Generator | None = None,
        drop_last: bool = False,
        *,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        transform: Callable[..., Any] | None = None,
        device: str | None = None,
        pin_memory: bool = False,
    ) -> None:
        _check(dataset, shuffle, generator, drop_last, transform, pin_memory)
        self.dataset = dataset
        self.batch_size = _whole("batch_size", batch_size, least=1)
        self.shuffle = bool(shuffle)
        self.generator = random.default if generator is None else generator
        self.drop_last = bool(drop_last)
        self.num_workers = _whole("num_workers", num_workers, least=0)
        self.prefetch_factor = _whole("prefetch_factor", prefetch_factor, least=1)
        self.transform = transform
        self.device = None if device is None else parse_device(device)
        if self.device is not None:
            library(self.device)  # which says what is missing
        self._pass: _Pass | None = None  # the one begun last, until its end
        self._resumed = False  # it comes from load_state_dict, and the next iterator goes on with it

    def __len__(self) -> int:
        """Number of batches in a pass."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if self._pass is None or not self._resumed:
            self._pass = self._begin(self.generator)
        self._resumed = False
        return self._run(self._pass, self.device)

    def batches_on(self, device: str) -> Iterator[tuple[Tensor, ...]]:
        """The same as `iter(loader)`, but batches go to `device` if the loader itself was told of none.

        Raises:
            TypeError, ValueError: it is no device.
        """
        before = self.device
        if before is None:
            self.device = parse_device(device)
        try:
            return iter(self)
        finally:
            self.device = before

    def __repr__(self) -> str:
        """The data set, and the settings that are not the usual ones."""
        usual: dict[str, Any] = {"shuffle": False, "drop_last": False, "num_workers": 0, "prefetch_factor": 2}
        usual |= {"transform": None, "device": None}
        given = {"batch_size": self.batch_size} | {n: getattr(self, n) for n in usual if getattr(self, n) != usual[n]}
        kind = type(self.dataset).__name__
        data = repr(self.dataset) if isinstance(self.dataset, Dataset) else f"{kind} of {len(self.dataset):,} samples"
        return f"DataLoader({data}, {', '.join(f'{name}={value!r}' for name, value in given.items())})"

    @property
    def position(self) -> int:
        """Batches handed out in the pass under way; 0 if there is none."""
        return 0 if self._pass is None else self._pass.done

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: dicts, numbers, strings and None, which json and pickle write.

        It counts batches handed out, not those prepared ahead. To be taken between two batches, in the body of a `for` loop, or
        after its end, when it says that the next pass begins afresh. After a `break` it stands in the midst of the pass that
        was left; after the last batch, but before the loop has found that there is no more, at its end: a pass resumed there
        has no batch left.

        The state of a generator of the loader's own is in it. That of the default generator is not, since others draw from it
        too: keep it beside this state (`microtensor.random.default.get_state()`), or the passes after this one differ.
        """
        current = self._pass
        return {
            "pass": None if current is None else {"batches": current.done, "generator": copy.deepcopy(current.start)},
            "generator": self.generator.get_state() if self._draws and self.generator is not random.default else None,
            "samples": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where the loader stood that gave `state`: the next iterator goes on with its pass, and later ones follow on.

        The data set and the arguments must be those of that loader, except the number of workers. The default generator is left
        as it is: the pass under way is drawn again from the state in which it began.

        >>> from microtensor.data import TensorDataset
        >>> loader = DataLoader(TensorDataset(np.arange(6)), batch_size=2, shuffle=True, generator=random.Generator(0))
        >>> batches = iter(loader)
        >>> first, state = next(batches), loader.state_dict()
        >>> again = DataLoader(loader.dataset, batch_size=2, shuffle=True, generator=random.Generator())
        >>> again.load_state_dict(state)
        >>> [x.tolist() for (x,) in batches] == [x.tolist() for (x,) in again]
        True

        Raises:
            TypeError, ValueError: `state` is nothing that `state_dict` gave, or is that of a loader of other batches.
        """
        name, here = "DataLoader.load_state_dict", self.state_dict()
        if not isinstance(state, dict):
            raise TypeError(f"{name}: expected the dict that state_dict() gave, got {type(state).__name__}")
        if state.keys() != here.keys():
            raise ValueError(f"{name}: expected the keys {', '.join(here)}, got {', '.join(map(str, state)) or 'none'}")
        if (state["generator"] is None) != (here["generator"] is None):
            there, ours = ("no generator" if x["generator"] is None else "a generator" for x in (state, here))
            raise ValueError(f"{name}: the state is of a loader with {there} of its own to draw from, but here is {ours}")
        current = None
        if state["pass"] is not None:
            for key in ("samples", "batch_size", "shuffle", "drop_last"):
                if state[key] != here[key]:
                    raise ValueError(f"{name}: the state is of a loader with {key} {state[key]}, but here it is {here[key]}")
            current = self._begun(name, state["pass"])
        if state["generator"] is not None:
            self.generator.set_state(state["generator"])
        self._pass, self._resumed = current, current is not None

    def _begun(self, name: str, kept: Any) -> _Pass:
        """The pass under way in a state, drawn once more, by a generator that nobody else has."""
        if not isinstance(kept, dict) or kept.keys() != {"batches", "generator"}:
            raise ValueError(f"{name}: the state has no position of a pass, but {kept!r}")
        if (kept["generator"] is not None) != self._draws:
            raise ValueError(f"{name}: of the loader of the state and this one, only one has a transform")
        done = kept["batches"]
        if not isinstance(done, int) or not 0 <= done <= len(self):
            raise ValueError(f"{name}: expected from 0 to {len(self)} batches handed out, got {done!r}")
        generator = random.Generator(0)
        current = self._begin(generator.set_state(kept["generator"]) if self._draws else generator)
        current.done = done
        return current

    def _begin(self, generator: random.Generator) -> _Pass:
        count = len(self.dataset)
        start = generator.get_state() if self._draws else None
        order = generator.permutation(count) if self.shuffle else np.arange(count)
        seed = 0 if self.transform is None else int(generator.integers(0, 2**63 - 1, ()))
        return _Pass(start, order, seed)

    @property
    def _draws(self) -> bool:
        return self.shuffle or self.transform is not None

    def _run(self, current: _Pass, device: str | None) -> Iterator[tuple[Tensor, ...]]:
        rest = range(current.done, len(self))
        ahead = self.num_workers * self.prefetch_factor
        prepared = in_order(partial(self._batch, current), rest, self.num_workers, ahead)
        with closing(prepared), closing(_arrived(prepared, device)) as batches:
            for batch in batches:
                current.done += 1
                # in the thread of whoever asked, whose default device it goes to
                yield tuple(x if isinstance(x, Tensor) else Tensor(x, device=device) for x in batch)
        if self._pass is current:
            self._pass = None

    def _batch(self, current: _Pass, number: int) -> tuple[Any, ...]:
        """One batch of a pass. In a thread if there are workers: it changes nothing."""
        indices = current.order[number * self.batch_size : (number + 1) * self.batch_size]
        batch = _checked(batch_of(self.dataset, indices), len(indices), type(self.dataset).__name__)
        if self.transform is not None:
            arrays = tuple(x.array if isinstance(x, Tensor) else x for x in batch)
            result = transformed(self.transform, arrays, random.Generator((current.seed, number)))
            batch = _checked(result, len(indices), "the transform")
        return batch


def _arrived(batches: Iterator[tuple[Any, ...]], device: str | None) -> Generator[tuple[Any, ...], None, None]:
    """Batches whose arrays are on the GPU, if they are to go to one; all that is in them, if it is named."""
    if device is not None:
        batches = (tuple(x.array if isinstance(x, Tensor) else x for x in batch) for batch in batches)
    device = full_name(device)
    return (batch for batch in batches) if device == "cpu" else uploaded(batches, device)


def _checked(batch: Any, count: int, name: str) -> tuple[Any, ...]:
    if not isinstance(batch, (tuple, list)) or not all(isinstance(x, Tensor) or is_array(x) for x in batch):
        kind = type(batch).__name__
        raise TypeError(f"DataLoader: for {count} samples, expected a tuple of arrays from {name}, got {kind}")
    for x in batch:
        if not x.ndim or len(x) != count:
            raise ValueError(f"DataLoader: for {count} indices, expected as many samples from {name}, got {x.shape}")
    return tuple(batch)


def _check(dataset: Any, shuffle: Any, generator: Any, drop_last: Any, transform: Any, pin_memory: Any) -> None:
    if isinstance(dataset, type):
        name = dataset.__name__
        raise TypeError(f"DataLoader: dataset: expected a data set, got the class {name}; create one: {name}(...)")
    indexed = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if not indexed or isinstance(dataset, (tuple, dict, str, bytes, Tensor)) or is_array(dataset):
        hint = "make one of arrays: TensorDataset(inputs, labels)"
        if hasattr(dataset, "__getitem__") and not hasattr(dataset, "__len__"):
            hint = "it needs __len__ too, the number of its samples"
        raise TypeError(f"DataLoader: dataset: expected a data set, got {type(dataset).__name__}; {hint}")
    for name, flag in (("shuffle", shuffle), ("drop_last", drop_last), ("pin_memory", pin_memory)):
        if not isinstance(flag, (bool, np.bool_)):
            raise TypeError(f"DataLoader: {name}: expected True or False, got {type(flag).__name__}")
    if generator is not None and not isinstance(generator, random.Generator):
        raise TypeError(f"DataLoader: generator: expected a microtensor.Generator or None, got {type(generator).__name__}")
    if transform is not None and (not callable(transform) or isinstance(transform, type)):
        given, hint = type(transform).__name__, ""
        if isinstance(transform, type):
            given, hint = f"the class {transform.__name__}", f"; create one: {transform.__name__}(...)"
        elif isinstance(transform, (list, tuple)):
            hint = "; make one of them: Compose([...])"
        raise TypeError(f"DataLoader: transform: expected a transform, a function or None, got {given}{hint}")


def _whole(name: str, number: Any, least: int) -> int:
    if not is_integer(number):
        raise TypeError(f"DataLoader: {name}: expected an integer, got {type(number).__name__}")
    if number < least:
        raise ValueError(f"DataLoader: {name}: expected at least {least}, got {number}")
    return int(number)
