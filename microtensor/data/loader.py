"""`DataLoader` cuts a data set into batches: shuffled, transformed, prefetched by worker threads, resumable."""

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
from .transform_base import transformed
from .upload import uploaded


@dataclass
class _Pass:
    """The current pass over the data: the generator's state at its start, what was drawn from it, and the progress."""

    start: dict[str, Any] | None  # None if nothing is drawn
    order: Indices
    seed: int  # of the transform; batch i gets a generator seeded with (seed, i)
    done: int = 0  # batches returned so far


class DataLoader:
    """Batches of a data set, all samples once per pass: `for inputs, labels in loader`.

    A batch is a tuple of tensors with the samples on axis 0: for MNIST, float32 (B, 1, 28, 28) and int64 (B,). It is a copy, so
    changing a batch leaves the data set unchanged. The generator is used only at the start of a pass: for a permutation if
    shuffle is set, then for one seed if there is a transform. So the same seed gives the same batches, bit for bit, with any
    number of workers.

    `state_dict` returns the position in the data, in a form that json can write. After `load_state_dict`, in another process
    too, the next pass returns exactly the batches that were still to come.

    Args:
        dataset: a `Dataset`, or any object with a length that returns a tuple for an integer index, such as a data set of
            PyTorch's or a list of pairs, whose samples are stacked.
        batch_size: samples per batch, B.
        shuffle: use a new random order for each pass; otherwise the order of the data set.
        generator: source of randomness; None: the default generator, which `microtensor.manual_seed` seeds.
        drop_last: leave out the last samples if they do not fill a batch; otherwise the last batch is smaller.
        num_workers: threads that prepare batches while the previous one is in use; 0: each batch is prepared when requested.
            Threads help where the work releases the GIL, as reading files, decoding images and arithmetic on large arrays do.
            `__getitem__` of the data set must then be thread-safe.
        prefetch_factor: batches that each worker prepares ahead.
        transform: one of `microtensor.data.transforms`, or a function of the batch's first array, the images, that returns new
            images. A random transform gets its own generator for each batch.
        device: where batches go. A batch for a GPU is copied while the previous one is in use (see upload.py), so it is
            prepared one batch earlier, even without workers. None: arrays go to the default device of the thread that requests
            the first batch, and tensors stay on their device.
        pin_memory: accepted, but has no effect: copies to a GPU always use pinned memory.

    Raises:
        TypeError: an argument has the wrong type, or the data set returns something other than a tuple of arrays.
        ValueError: batch_size is below 1, a batch has the wrong length, or the device does not exist.
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
            library(self.device)  # raises if a package is missing
        self._pass: _Pass | None = None  # the last one started, until it ends
        self._resumed = False  # whether it is from load_state_dict, and the next iterator continues it

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
        """Like `iter(loader)`, but batches go to `device` if the loader has none of its own.

        Raises:
            TypeError, ValueError: `device` is not the name of a device.
        """
        before = self.device
        if before is None:
            self.device = parse_device(device)
        try:
            return iter(self)
        finally:
            self.device = before

    def __repr__(self) -> str:
        """The data set, and the settings that differ from their defaults."""
        usual: dict[str, Any] = {"shuffle": False, "drop_last": False, "num_workers": 0, "prefetch_factor": 2}
        usual |= {"transform": None, "device": None}
        given = {"batch_size": self.batch_size} | {n: getattr(self, n) for n in usual if getattr(self, n) != usual[n]}
        kind = type(self.dataset).__name__
        data = repr(self.dataset) if isinstance(self.dataset, Dataset) else f"{kind} of {len(self.dataset):,} samples"
        return f"DataLoader({data}, {', '.join(f'{name}={value!r}' for name, value in given.items())})"

    @property
    def position(self) -> int:
        """Batches returned in the current pass; 0 if there is none."""
        return 0 if self._pass is None else self._pass.done

    def state_dict(self) -> dict[str, Any]:
        """The position in the data, as dicts, numbers, strings and None, which json and pickle can write.

        It counts batches returned, not batches prefetched. Call it between two batches, in the body of a `for` loop, or after
        the loop, where the state says that the next pass starts from the beginning. After a `break`, the state is in the
        middle of the pass. In the body of the loop for the last batch, it is at the end: resumed there, no batches are left.

        The state of the loader's own generator is included. That of the default generator is not, since other code draws from
        it too: save it as well (`microtensor.random.default.get_state()`), or the passes after this one will differ.
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
        """Continue from a state: the next iterator resumes the interrupted pass.

        The data set and the arguments must be those of the loader that gave the state, except the number of workers. The
        default generator is not changed: the order of the interrupted pass is drawn again from its saved generator state.

        >>> from microtensor.data import TensorDataset
        >>> loader = DataLoader(TensorDataset(np.arange(6)), batch_size=2, shuffle=True, generator=random.Generator(0))
        >>> batches = iter(loader)
        >>> first, state = next(batches), loader.state_dict()
        >>> again = DataLoader(loader.dataset, batch_size=2, shuffle=True, generator=random.Generator())
        >>> again.load_state_dict(state)
        >>> [x.tolist() for (x,) in batches] == [x.tolist() for (x,) in again]
        True

        Raises:
            TypeError, ValueError: `state` is not from `state_dict`, or from a loader with other batches.
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
            current = self._resumed_pass(name, state["pass"])
        if state["generator"] is not None:
            self.generator.set_state(state["generator"])
        self._pass, self._resumed = current, current is not None

    def _resumed_pass(self, name: str, kept: Any) -> _Pass:
        """The interrupted pass of a state, drawn again with a separate generator."""
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
        with closing(prepared), closing(_on_device(prepared, device)) as batches:
            for batch in batches:
                current.done += 1
                # in the calling thread, whose default device is used
                yield tuple(x if isinstance(x, Tensor) else Tensor(x, device=device) for x in batch)
        if self._pass is current:
            self._pass = None

    def _batch(self, current: _Pass, number: int) -> tuple[Any, ...]:
        """Prepare one batch of a pass. Called in worker threads, so it changes no attributes."""
        indices = current.order[number * self.batch_size : (number + 1) * self.batch_size]
        batch = _checked(batch_of(self.dataset, indices), len(indices), type(self.dataset).__name__)
        if self.transform is not None:
            arrays = tuple(x.array if isinstance(x, Tensor) else x for x in batch)
            result = transformed(self.transform, arrays, random.Generator((current.seed, number)))
            batch = _checked(result, len(indices), "the transform")
        return batch


def _on_device(batches: Iterator[tuple[Any, ...]], device: str | None) -> Generator[tuple[Any, ...], None, None]:
    """Batches with their arrays copied to the GPU, if `device` is one. If it is None, tensors stay on their device."""
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
