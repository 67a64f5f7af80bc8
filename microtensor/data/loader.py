"""`DataLoader` cuts a data set into batches; `TensorDataset` makes a data set of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..backend import is_array
from ..tensor import Tensor


class Batches(Protocol):
    """What a `DataLoader` takes: `dataset[indices]`, for an int64 array (n,), is a tuple of arrays or tensors (n, …)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: NDArray[np.int64], /) -> tuple[Any, ...]: ...


class TensorDataset:
    """Arrays of equal length as a data set: sample i is the tuple of the i-th of each.

    Args:
        tensors: tensors or arrays with a common length N on axis 0, kept as the tensors `tensors`, where they are.

    Raises:
        TypeError: none is given, or one is neither tensor nor array.
        ValueError: one has no axis, or another length than the first.

    >>> points = TensorDataset(np.array([[1.0], [2.0], [3.0]]), np.array([0, 1, 1]))
    >>> points[[0, 2]]
    (Tensor([[1.],
            [3.]], dtype=float64), Tensor([0, 1], dtype=int64))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise TypeError("TensorDataset: expected at least one tensor or array, got none")
        for x in tensors:
            if not isinstance(x, Tensor) and not is_array(x):
                raise TypeError(f"TensorDataset: expected tensors or arrays, got {type(x).__name__}; make it one: np.array(…)")
            if not x.ndim or len(x) != len(tensors[0]):
                shapes = ", ".join(str(x.shape) for x in tensors if hasattr(x, "shape"))
                raise ValueError(f"TensorDataset: expected equal lengths on axis 0, got the shapes {shapes}")
        self.tensors: tuple[Tensor, ...] = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(x[index] for x in self.tensors)


class DataLoader:
    """Batches of a data set, all samples once per pass: `for inputs, labels in loader`.

    A batch is a tuple of tensors with the samples on axis 0: of MNIST, float32 (B, 1, 28, 28) and int64 (B,). It is a copy: the
    data set stays as it is, whatever is done to a batch. A pass draws its order when it begins, one permutation from the
    generator and nothing more, so the same seed gives the same batches.

    Args:
        dataset: `TensorDataset`, `MNIST`, or whatever gives a tuple of arrays for an array of indices.
        batch_size: samples per batch, B.
        shuffle: in random order, a new one for each pass; otherwise in the order of the data set.
        generator: where the order comes from; None: the default generator, which `microtensor.manual_seed` seeds.
        drop_last: leave out the last samples that fill no batch; otherwise the last batch is smaller.

    Raises:
        TypeError: an argument is of the wrong kind, or a batch of the data set is no tuple of arrays.
        ValueError: batch_size is below 1, or a batch has another length than asked for.

    >>> numbers = TensorDataset(np.arange(5))
    >>> [x.tolist() for (x,) in DataLoader(numbers, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> [x.tolist() for (x,) in DataLoader(numbers, batch_size=2, shuffle=True, generator=random.Generator(1), drop_last=True)]
    [[4, 0], [1, 2]]
    """

    def __init__(
        self,
        dataset: Batches,
        batch_size: int = 1,
        shuffle: bool = False,
        generator: random.Generator | None = None,
        drop_last: bool = False,
    ) -> None:
        _check(dataset, batch_size, shuffle, generator, drop_last)
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = bool(shuffle)
        self.generator = random.default if generator is None else generator
        self.drop_last = bool(drop_last)

    def __len__(self) -> int:
        """Number of batches in a pass."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        count, size = len(self.dataset), self.batch_size
        order = self.generator.permutation(count) if self.shuffle else np.arange(count)
        return (self._batch(order[i * size : (i + 1) * size]) for i in range(len(self)))

    def _batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, ...]:
        batch: Any = self.dataset[indices]
        name = type(self.dataset).__name__
        if not isinstance(batch, (tuple, list)) or not all(isinstance(x, Tensor) or is_array(x) for x in batch):
            raise TypeError(
                f"DataLoader: for an array of {len(indices)} indices, expected a tuple of arrays from {name}, "
                f"got {type(batch).__name__}"
            )
        for x in batch:
            if not x.ndim or len(x) != len(indices):
                raise ValueError(f"DataLoader: for {len(indices)} indices, expected as many samples from {name}, got {x.shape}")
        return tuple(x if isinstance(x, Tensor) else Tensor(x) for x in batch)


def _check(dataset: Any, batch_size: Any, shuffle: Any, generator: Any, drop_last: Any) -> None:
    indexed = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if not indexed or isinstance(dataset, (list, tuple, dict, str, Tensor)) or is_array(dataset):
        raise TypeError(
            f"DataLoader: dataset: expected a data set, got {type(dataset).__name__}; "
            "make one of arrays: TensorDataset(inputs, labels)"
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
        raise TypeError(f"DataLoader: batch_size: expected a whole number, got {type(batch_size).__name__}")
    if batch_size < 1:
        raise ValueError(f"DataLoader: batch_size: expected at least 1, got {batch_size}")
    for name, flag in (("shuffle", shuffle), ("drop_last", drop_last)):
        if not isinstance(flag, (bool, np.bool_)):
            raise TypeError(f"DataLoader: {name}: expected True or False, got {type(flag).__name__}")
    if generator is not None and not isinstance(generator, random.Generator):
        raise TypeError(f"DataLoader: generator: expected a microtensor.Generator or None, got {type(generator).__name__}")
