"""`Dataset`, data sets made from arrays or from other data sets, and how single samples are stacked into a batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..autograd.arguments import is_number
from ..runtime.arrays import Array, array_module, device_of, is_array
from ..runtime.integers import is_integer
from ..tensor import Tensor

Indices = NDArray[np.int64]


class Samples(Protocol):
    """What a `DataLoader` accepts: a length, and a sample for each index. A `Dataset`, a data set of PyTorch's, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Dataset(ABC):
    """Base class of data sets. A subclass defines `__len__` and `__getitem__`, which returns a tuple such as (image, label).

    A sample holds arrays, tensors and numbers. `batch` returns several samples at once, as arrays with the samples on axis 0.
    By default it gets one sample after the other and stacks them. If the samples are already in one array, override it: a
    single indexing operation is a hundred times faster.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 10
    ...
    ...     def __getitem__(self, index):
    ...         return index, index**2
    >>> Squares().batch(np.array([2, 3]))
    (array([2, 3]), array([4, 9]))
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: Any) -> Any: ...

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} samples)"

    def batch(self, indices: Indices) -> tuple[Any, ...]:
        """The samples with these indices, int64 (n,): a tuple of arrays or tensors (n, …)."""
        return stacked(self, indices)


def batch_of(dataset: Samples, indices: Indices) -> tuple[Any, ...]:
    """Samples of any data set as a batch: from its `batch`, or stacked if it is not a `Dataset`."""
    return dataset.batch(indices) if isinstance(dataset, Dataset) else stacked(dataset, indices)


def stacked(dataset: Samples, indices: Indices) -> tuple[Array, ...]:
    """Get the samples one by one and stack them: tuples (image, label) → images (n, …) and labels (n,).

    Python ints become int64, floats float32, as in `Tensor`.

    Raises:
        TypeError: a sample is not a tuple, or holds something other than arrays, tensors and numbers.
        ValueError: samples differ in length or shape.
    """
    name = type(dataset).__name__
    samples = [dataset[int(i)] for i in indices]
    for i, sample in zip(indices, samples):
        if not isinstance(sample, (tuple, list)) or not sample:
            raise TypeError(
                f"DataLoader: sample {i} of {name}: expected a tuple, such as (image, label), got {type(sample).__name__}"
            )
        if len(sample) != len(samples[0]):
            first = f"sample {indices[0]} has {len(samples[0])}"
            raise ValueError(f"DataLoader: sample {i} of {name} has {len(sample)} parts, but {first}; make them alike")
    return tuple(_stack(name, indices, k, parts) for k, parts in enumerate(zip(*samples)))


def _stack(name: str, indices: Indices, k: int, parts: Sequence[Any]) -> Array:
    arrays = [_as_array(part) for part in parts]
    for i, part, array in zip(indices, parts, arrays):
        where = f"DataLoader: sample {i} of {name}: part {k}"
        if array is None:
            raise TypeError(f"{where}: expected an array, a tensor or a number, got {type(part).__name__}")
        if array.shape != arrays[0].shape or device_of(array) != device_of(arrays[0]):
            pictures = array.ndim == arrays[0].ndim == 3 and array.shape != arrays[0].shape
            hint = "; of pictures: ImageFolder(…, size=(height, width))" if pictures else ""
            raise ValueError(
                f"{where} is {array.shape} on {device_of(array)}, but that of sample {indices[0]} is {arrays[0].shape} "
                f"on {device_of(arrays[0])}; give all samples one shape and device, to be stacked{hint}"
            )
    return array_module(arrays[0]).stack(arrays)


def _as_array(part: Any) -> Any:
    """The part as an array, or None if it is not numeric."""
    if isinstance(part, Tensor):
        return part.array
    if is_array(part):
        return part
    if isinstance(part, float) and not isinstance(part, np.generic):
        return np.array(part, np.float32)
    if type(part) is int:
        part = np.int64(part) if -(2**63) <= part < 2**63 else part  # NumPy's default integer depends on the platform
    if isinstance(part, (int, np.generic)) or hasattr(part, "__array__"):  # such as a PyTorch tensor
        array = np.asarray(part)
        return array if array.dtype.kind in "biuf" else None
    return None


class TensorDataset(Dataset):
    """Arrays of equal length as a data set: sample i is the tuple of their i-th elements.

    Args:
        tensors: tensors or arrays, PyTorch's too, with the same length N on axis 0. Kept as `tensors`, on their device.

    Raises:
        TypeError: none is given, or one is neither a tensor nor an array.
        ValueError: one has no axes, or another length than the first.

    >>> points = TensorDataset(np.array([[1.0], [2.0], [3.0]]), np.array([0, 1, 1]))
    >>> points[[0, 2]]
    (Tensor([[1.],
            [3.]], dtype=float64), Tensor([0, 1], dtype=int64))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise TypeError("TensorDataset: expected at least one tensor or array, got none")
        for x in tensors:
            if not isinstance(x, Tensor) and not is_array(x) and not hasattr(x, "__dlpack__"):
                raise TypeError(f"TensorDataset: expected tensors or arrays, got {type(x).__name__}; make it one: np.array(…)")
            if not x.ndim or len(x) != len(tensors[0]):
                shapes = ", ".join(str(x.shape) for x in tensors if hasattr(x, "shape"))
                raise ValueError(f"TensorDataset: expected equal lengths on axis 0, got the shapes {shapes}")
        self.tensors: tuple[Tensor, ...] = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(x[index] for x in self.tensors)

    def batch(self, indices: Indices) -> tuple[Tensor, ...]:
        """The rows with these indices, of each tensor."""
        return self[indices]


class Subset(Dataset):
    """Some samples of a data set: `subset[i]` is `dataset[indices[i]]`.

    Args:
        dataset: any data set, kept as `dataset`.
        indices: integers from 0 to len(dataset) − 1, in any order, kept as `indices`, int64.

    Raises:
        TypeError: the indices are not integers along one axis.
        IndexError: an index is negative or out of range.

    >>> numbers = TensorDataset(np.arange(10) ** 2)
    >>> [int(x) for (x,) in Subset(numbers, [3, 1])]
    [9, 1]
    """

    def __init__(self, dataset: Samples, indices: Iterable[int] | NDArray[Any]) -> None:
        array = np.asarray(indices if isinstance(indices, (np.ndarray, range)) else [*indices])
        if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
            raise TypeError(f"Subset: indices: expected integers along one axis, got {array.dtype} {array.shape}")
        wrong = array[(array < 0) | (array >= len(dataset))]
        if wrong.size:
            raise IndexError(f"Subset: indices: expected numbers from 0 to {len(dataset) - 1}, got {wrong[0]}")
        self.dataset = dataset
        self.indices: Indices = array.astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        chosen = self.indices[index]
        return self.dataset[int(chosen)] if not chosen.ndim else batch_of(self.dataset, chosen)

    def batch(self, indices: Indices) -> tuple[Any, ...]:
        """The samples of the subset with these indices."""
        return batch_of(self.dataset, self.indices[indices])


class ConcatDataset(Dataset):
    """Concatenates data sets: all samples of the first, then of the second, and so on.

    Args:
        datasets: one or more, kept as the list `datasets`; their samples must have the same form.

    Raises:
        ValueError: the list is empty.

    >>> both = ConcatDataset([TensorDataset(np.arange(3)), TensorDataset(np.arange(10, 12))])
    >>> [int(x) for (x,) in both]
    [0, 1, 2, 10, 11]
    """

    def __init__(self, datasets: Iterable[Samples]) -> None:
        self.datasets = [*datasets]
        if not self.datasets:
            raise ValueError("ConcatDataset: expected at least one data set, got none")
        self._ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        i = int(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"ConcatDataset: sample {i} of {len(self)}")
        i %= len(self)
        part = int(np.searchsorted(self._ends, i, side="right"))
        dataset = self.datasets[part]
        return dataset[i - int(self._ends[part]) + len(dataset)]

    def batch(self, indices: Indices) -> tuple[Any, ...]:
        """The samples with these indices: one batch from each data set, then reordered."""
        of_part = np.searchsorted(self._ends, indices, side="right")
        parts = [np.flatnonzero(of_part == part) for part in range(len(self.datasets))]
        batches = [
            batch_of(dataset, indices[places] - (end - len(dataset)))
            for dataset, end, places in zip(self.datasets, self._ends, parts)
            if len(places)
        ]
        back = np.argsort(np.concatenate(parts), kind="stable")
        return tuple(_joined(fields)[back] for fields in zip(*batches))


def _joined(fields: Sequence[Any]) -> Array:
    arrays = [field.array if isinstance(field, Tensor) else field for field in fields]
    if len({(array.shape[1:], device_of(array)) for array in arrays}) != 1:
        shapes = ", ".join(f"{array.shape[1:]} on {device_of(array)}" for array in arrays)
        raise ValueError(
            f"ConcatDataset: samples of different data sets are not alike: {shapes}; give each the same form, of pictures by "
            "ImageFolder(…, size=(height, width))"
        )
    return array_module(arrays[0]).concatenate(arrays)


def random_split(dataset: Samples, lengths: Sequence[int | float], generator: random.Generator | None = None) -> list[Subset]:
    """Split a data set at random: `training, validation = random_split(digits, [0.9, 0.1])`.

    Args:
        lengths: samples in each part, which add up to all samples; or fractions that add up to 1, each rounded down, with the
            remaining samples going to the first parts, one each.
        generator: source of randomness; None: the default generator.

    Raises:
        TypeError: a length is not a number, or the generator not a `microtensor.Generator`.
        ValueError: a length is negative, or they do not add up.

    >>> [len(part) for part in random_split(TensorDataset(np.arange(7)), [0.5, 0.5])]
    [4, 3]
    """
    if generator is not None and not isinstance(generator, random.Generator):
        raise TypeError(f"random_split: generator: expected a microtensor.Generator or None, got {type(generator).__name__}")
    count = len(dataset)
    if not all(is_number(n) for n in lengths):
        raise TypeError(f"random_split: lengths: expected integers or fractions, got {lengths!r}")
    if not all(n >= 0 for n in lengths):
        raise ValueError(f"random_split: lengths: expected no negative number, got {[*lengths]}")
    if all(is_integer(n) for n in lengths) and sum(lengths) == count:
        sizes = [int(n) for n in lengths]
    elif math.isclose(sum(lengths), 1):
        sizes = [math.floor(count * n) for n in lengths]
        for i in range(count - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        raise ValueError(
            f"random_split: lengths: expected numbers that add up to {count}, or fractions to 1, "
            f"but {[*lengths]} add up to {sum(lengths)}"
        )
    source = random.default if generator is None else generator
    parts = np.split(source.permutation(count), np.cumsum(sizes)[:-1])
    return [Subset(dataset, cast(Indices, part)) for part in parts]
