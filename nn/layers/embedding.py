"""Embedding: a table with a row of numbers to learn for each word, or whatever else is counted off."""

from __future__ import annotations

from typing import Any

import numpy as np

from microtensor.autograd.arguments import check_tensors, is_number
from microtensor.autograd.graph import Node, T
from microtensor.autograd.nested import array_of_lists
from microtensor.autograd.op import Rule, op
from microtensor.ops.indexing import _put, add_flat
from microtensor.random import Generator
from microtensor.runtime.arrays import Array, is_array, take, to_device
from microtensor.runtime.deferred_checks import check_range
from microtensor.runtime.integers import as_integer
from microtensor.runtime.sizes import check_size
from microtensor.tensor import Tensor

from .. import init
from ..module import Module, Parameter


def embedding(
    x: Any,
    weight: T,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> T:
    """The rows of `weight` that x names: x (…) of integers, weight (rows, columns) → (…, columns).

    The gradient of a row is the sum of the gradients wherever it was looked up.

    Args:
        x: a Tensor, an array or a list, of numbers from 0 to rows − 1.
        padding_idx: a row that gets no gradient: it stands for no word. Negative ones count from the end.
        max_norm: a row that is looked up and whose norm is larger is first shortened to this norm, in place.
        norm_type: p of that p-norm.
        scale_grad_by_freq: divide the gradient of a row by how often it was looked up.
        sparse: gradients are dense here, and True is an error.

    Raises:
        IndexError: a number is out of range. (On a device it is noticed when numbers are next copied from there; until then the
            row is nan.)
        TypeError: x is not of integers, or weight not of floating-point numbers; a setting is of another kind.
        ValueError: weight has not two axes; padding_idx is no row of it, max_norm or norm_type is not positive; `sparse`.

    >>> embedding([2, 0], Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    Tensor([[5., 6.],
            [1., 2.]])
    """
    (weight,) = check_tensors("embedding", 1, weight=weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must have two axes, (rows, columns), got shape {weight.shape}")
    rows = weight.shape[0]
    padding = _checked("embedding", rows, padding_idx, max_norm, norm_type, sparse)
    index, outside = _numbers(x, rows, weight)
    if max_norm is not None:
        _shorten(weight, index, max_norm, norm_type)
    return _embedding(weight, index=index, outside=outside, factor=_factor(index, weight, padding, scale_grad_by_freq))


def _numbers(x: Any, rows: int, weight: Node) -> tuple[Array, Array | None]:
    """Row numbers as an array where the weight is, and which of them are out of range, where that is not known to be none."""
    index = x.array if isinstance(x, Node) else x if is_array(x) else array_of_lists("embedding", x)
    index = index if index.size or is_array(x) or isinstance(x, Node) else index.astype(np.int64)  # of an empty list
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: x must be of integers, got {index.dtype}; use .to('int64')")
    outside = check_range(
        index, 0, rows, f"embedding: row {{}} is out of range: weight has {rows} rows, counted from 0 to {rows - 1}"
    )
    index = to_device(index, weight.device)
    if outside is not None:
        outside = to_device(outside, weight.device)
        index = weight.xp.where(outside, 0, index)
    return index, outside


def _factor(index: Array, weight: Node, padding: int | None, by_frequency: bool) -> Array | None:
    """What the gradient at each number of x is multiplied by: (…, 1), or None for 1."""
    factor = None
    if by_frequency:
        dtype = np.result_type(weight.dtype, np.float32)  # float16 counts to 2048
        counts, places = weight.xp.zeros(weight.shape[0], dtype), index.reshape(-1)
        add_flat(counts, places, weight.xp.ones(places.shape, dtype))
        factor = (1 / counts[index]).astype(weight.dtype, copy=False)
    if padding is not None:
        kept = (index != padding).astype(weight.dtype)
        factor = kept if factor is None else kept * factor
    return None if factor is None else factor[..., None]


@op
def _embedding(weight: Any, *, index: Array, outside: Array | None, factor: Array | None) -> Rule[T]:
    xp, shape = weight.xp, weight.shape
    data = take(weight.array, index, 0)
    if outside is not None:
        data = xp.where(outside[..., None], xp.nan, data)

    def vjp(g: Any) -> Any:
        return _put(g if factor is None else g * g.constant(factor), index=(index,), shape=shape)

    return data, (vjp,)


def _shorten(weight: Any, index: Array, max_norm: float, p: float) -> None:
    """Bring the rows that are looked up to a norm of `max_norm`, where it is larger."""
    xp, numbers = weight.xp, index.reshape(-1)
    rows = weight.array[numbers]
    norms = xp.abs(rows).max(1) if p == xp.inf else (xp.abs(rows) ** p).sum(1) ** (1 / p)
    scale = xp.where(norms > max_norm, max_norm / (norms + 1e-7), 1).astype(weight.dtype)
    weight.array[numbers] = rows * scale[:, None]  # where a row occurs twice, the same numbers twice
    weight.touch()


def _checked(name: str, rows: int, padding_idx: Any, max_norm: Any, norm_type: Any, sparse: bool) -> int | None:
    """Check the settings. Returns `padding_idx` counted from 0."""
    for setting, value in (("max_norm", 1.0 if max_norm is None else max_norm), ("norm_type", norm_type)):
        if not is_number(value):
            raise TypeError(f"{name}: {setting} must be a number, got {value!r}")
        if not value > 0:
            raise ValueError(f"{name}: {setting} must be positive, got {value}")
    if sparse:
        raise ValueError(f"{name}: gradients are dense here; leave sparse=False")
    if padding_idx is None:
        return None
    row = as_integer(name, "padding_idx", padding_idx)
    if not -rows <= row < rows:
        raise ValueError(f"{name}: padding_idx={row} is none of the {rows} rows: it must be from {-rows} to {rows - 1}")
    return row % rows


class Embedding(Module):
    """`embedding` with a table that learns: (…) integers → (…, embedding_dim).

    `weight` (num_embeddings, embedding_dim) is drawn from N(0, 1); the row `padding_idx` starts at 0, and stays there.

    Args:
        num_embeddings: the number of rows: numbers from 0 to num_embeddings − 1 can be looked up.
        embedding_dim: the length of a row.
        padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse: see `embedding`.
        generator: where the initial weights come from; the default generator if None.

    Raises:
        TypeError: a number of rows or columns is not whole, max_norm or norm_type is no number.
        ValueError: one is less than 1, padding_idx is no row, `sparse`.

    >>> layer = Embedding(10, 3, padding_idx=0)
    >>> layer([[0, 2, 9, 9]]).shape, layer.weight[0].tolist()
    ((1, 4, 3), [0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        *,
        generator: Generator | None = None,
    ) -> None:
        self.num_embeddings = as_integer("Embedding", "num_embeddings", num_embeddings, least=1)
        self.embedding_dim = as_integer("Embedding", "embedding_dim", embedding_dim, least=1)
        self.padding_idx = _checked("Embedding", num_embeddings, padding_idx, max_norm, norm_type, sparse)
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = max_norm, norm_type, scale_grad_by_freq, sparse
        if _weight is not None:
            self.weight = Parameter(_weight, requires_grad=not _freeze)
            return
        check_size("Embedding", "weight", (num_embeddings, embedding_dim), np.empty(0, np.float32))
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        init.normal_(self.weight, generator=generator)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer with a table that is known: a tensor or an array (rows, columns), whose memory it shares.

        Args:
            freeze: whether the table is not to be learned any more.
            padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse: see `embedding`.

        Raises:
            TypeError: the table is not of floating-point numbers.
            ValueError: it has not two axes.

        >>> Embedding.from_pretrained(Tensor([[1.0, 2.0], [3.0, 4.0]]))([1])
        Tensor([[3., 4.]])
        """
        table = Tensor(embeddings)
        if table.ndim != 2:
            raise ValueError(f"Embedding: a table must have two axes, (rows, columns), got shape {table.shape}")
        (table,) = check_tensors("Embedding", 1, embeddings=table)
        rows, columns = table.shape
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, table, freeze)

    def forward(self, x: Any) -> Tensor:
        settings = self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        return embedding(x, self.weight, *settings)

    def extra_repr(self) -> str:
        settings = [f"{self.num_embeddings}, {self.embedding_dim}"]
        for name, usual in (("padding_idx", None), ("max_norm", None), ("norm_type", 2.0), ("scale_grad_by_freq", False)):
            if getattr(self, name) != usual:
                settings.append(f"{name}={getattr(self, name)}")
        return ", ".join(settings)
