"""Embedding: a table of vectors to learn, one for each word or other category."""

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
    """Look up rows of `weight` by index: x (…) of integers, weight (rows, columns) → (…, columns).

    The gradient of a row is the sum of the gradients of all places where it was looked up.

    Args:
        x: a Tensor, an array or a list of integers from 0 to rows − 1.
        padding_idx: a row that gets no gradient, as it stands for padding. Negative ones count from the end.
        max_norm: each row that is looked up and has a larger norm is first scaled to this norm, in place.
        norm_type: the p of that p-norm.
        scale_grad_by_freq: divide the gradient of a row by how often it was looked up.
        sparse: must be False: gradients are dense.

    Raises:
        IndexError: an index is out of range. (On a GPU it is raised by the next copy to the host; until then the row is nan.)
        TypeError: x is not of integers, or weight not floating point; a setting has the wrong type.
        ValueError: weight has not two axes; padding_idx is no row of it; max_norm or norm_type is not positive; sparse is True.

    >>> embedding([2, 0], Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    Tensor([[5., 6.],
            [1., 2.]])
    """
    (weight,) = check_tensors("embedding", 1, weight=weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must have two axes, (rows, columns), got shape {weight.shape}")
    rows = weight.shape[0]
    padding = _check_settings("embedding", rows, padding_idx, max_norm, norm_type, sparse)
    index, outside = _row_indices(x, rows, weight)
    if max_norm is not None:
        _limit_norms(weight, index, max_norm, norm_type)
    return _embedding(weight, index=index, outside=outside, factor=_grad_factor(index, weight, padding, scale_grad_by_freq))


def _row_indices(x: Any, rows: int, weight: Node) -> tuple[Array, Array | None]:
    """x as an array on the device of the weight, and which indices are out of range (None if none is, for sure)."""
    index = x.array if isinstance(x, Node) else x if is_array(x) else array_of_lists("embedding", x)
    index = index if index.size or is_array(x) or isinstance(x, Node) else index.astype(np.int64)  # an empty list is float
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


def _grad_factor(index: Array, weight: Node, padding: int | None, by_frequency: bool) -> Array | None:
    """The factor of the gradient at each index: (…, 1), or None for 1."""
    factor = None
    if by_frequency:
        dtype = np.result_type(weight.dtype, np.float32)  # float16 has all integers up to 2048 only
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


def _limit_norms(weight: Any, index: Array, max_norm: float, p: float) -> None:
    """Scale the rows that are looked up to a norm of at most `max_norm`, in place."""
    xp, index = weight.xp, index.reshape(-1)
    rows = weight.array[index]
    norms = xp.abs(rows).max(1) if p == xp.inf else (xp.abs(rows) ** p).sum(1) ** (1 / p)
    scale = xp.where(norms > max_norm, max_norm / (norms + 1e-7), 1).astype(weight.dtype)
    weight.array[index] = rows * scale[:, None]  # an index that occurs twice writes the same values twice
    weight.touch()


def _check_settings(name: str, rows: int, padding_idx: Any, max_norm: Any, norm_type: Any, sparse: bool) -> int | None:
    """Check the settings. Returns `padding_idx` counted from 0."""
    for setting, value in (("max_norm", 1.0 if max_norm is None else max_norm), ("norm_type", norm_type)):
        if not is_number(value):
            raise TypeError(f"{name}: {setting} must be a number, got {value!r}")
        if not value > 0:
            raise ValueError(f"{name}: {setting} must be positive, got {value}")
    if sparse:
        raise ValueError(f"{name}: gradients are dense; leave sparse=False")
    if padding_idx is None:
        return None
    row = as_integer(name, "padding_idx", padding_idx)
    if not -rows <= row < rows:
        raise ValueError(f"{name}: padding_idx={row} is none of the {rows} rows: it must be from {-rows} to {rows - 1}")
    return row % rows


class Embedding(Module):
    """`embedding` as a layer, with a table to learn: (…) integers → (…, embedding_dim).

    `weight` (num_embeddings, embedding_dim) is drawn from N(0, 1); the row `padding_idx` is 0 and stays 0.

    Args:
        num_embeddings: the number of rows: indices are from 0 to num_embeddings − 1.
        embedding_dim: the length of a row.
        padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse: see `embedding`.
        generator: draws the initial weights; the default generator if None.

    Raises:
        TypeError: a number of rows or columns is no integer; max_norm or norm_type is no number.
        ValueError: one is too small; padding_idx is no row; sparse is True.

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
        self.padding_idx = _check_settings("Embedding", num_embeddings, padding_idx, max_norm, norm_type, sparse)
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
        """A layer with a given table: a tensor or an array (rows, columns), whose memory it shares.

        Args:
            freeze: whether the table keeps its values, instead of being learned.
            padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse: see `embedding`.

        Raises:
            TypeError: the table is not floating point.
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
        for name, default in (("padding_idx", None), ("max_norm", None), ("norm_type", 2.0), ("scale_grad_by_freq", False)):
            if getattr(self, name) != default:
                settings.append(f"{name}={getattr(self, name)}")
        return ", ".join(settings)
