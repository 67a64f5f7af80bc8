"""Sums of products along named axes: `einsum`, and functions that are a line of it.

Tensors are contracted in pairs: permute and reshape bring their axes together, so that each pair is one matrix product.
(NumPy's einsum sums in a loop.) Gradients of any order are those of these operations.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from typing import Any, TypeAlias

from ..autograd.arguments import composed
from ..autograd.graph import Node, T
from ..runtime.integers import is_integer
from .diagonals import diagonal
from .product import meet
from .shape import normalize_dims

Label: TypeAlias = str | int
"""The name of an axis: a letter of the equation. Axes under an ellipsis are called −1, −2 … from the right."""

NUMBERED = ascii_uppercase + ascii_lowercase
"""The letters for the numbers 0 to 51, where labels are lists of numbers."""


def einsum(equation: Any, *operands: Any) -> Any:
    """Sums of products along named axes, in Einstein's notation: a letter per axis, a term per tensor.

    Axes with the same letter share their index. The letters after the arrow are the axes of the result, in this order; the
    products are summed over all others. "ij,jk->ik" is the matrix product.

    - A letter twice in a term takes the diagonal: "ii->i"; and "ii->" the trace.
    - "..." stands for the axes that have no letter. They broadcast, counted from the right: "...ij,...jk->...ik".
    - Without an arrow, the result has the axes of the ellipsis, then the letters that occur once, in alphabetical order,
      capitals first. An ellipsis that is missing after an arrow is summed over.
    - An axis of length 1 broadcasts to a longer one of its letter.
    - Instead of an equation, each tensor may be followed by a list of numbers from 0 to 51, one per axis, with `...` for an
      ellipsis; a last list is the result's: `einsum(x, [0, 1], y, [1, 2], [0, 2])`.

    Of more than two tensors, the pair whose product adds the least memory is contracted first, repeatedly.

    Raises:
        TypeError: an operand is no tensor or array; several are all of bools.
        ValueError: the equation is no such text, or it does not fit the tensors: in the number of terms, the number of axes, or
            the lengths of axes with one letter.

    >>> import microtensor as mt
    >>> x, y = mt.Tensor([[1.0, 2.0], [3.0, 4.0]]), mt.Tensor([1.0, -1.0])
    >>> einsum("ij,j->i", x, y), einsum("ii->", x)
    (Tensor([-1., -1.]), Tensor(5.))
    """
    if not isinstance(equation, str):
        equation, operands = _from_lists((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        raise TypeError(f"einsum: there is no tensor for {equation!r}: pass one for each term, after the equation")
    tensors = meet("einsum", *operands)
    terms, output, lengths = _read(equation, tuple(x.shape for x in tensors))
    parts = [_simple(x, term, lengths) for x, term in zip(tensors, terms)]
    for i, (x, labels) in enumerate(parts):
        wanted = set(output).union(*(others for j, (_, others) in enumerate(parts) if j != i))
        parts[i] = _sum(x, labels, wanted)
    while len(parts) > 1:
        i, j = _next_pair(parts, output, lengths)
        y, right = parts.pop(j)
        x, left = parts.pop(i)
        wanted = set(output).union(*(labels for _, labels in parts))
        parts.append(contract(x, left, y, right, wanted))
    ((x, labels),) = parts
    return _arrange(x, labels, output)


@composed
def tensordot(x: T, y: T, dims: Any = 2) -> T:
    """Products of x and y, summed over pairs of axes: the result has the other axes of x, then those of y.

    Args:
        dims: how many axes to sum over, the last ones of x with the first ones of y; or a pair of lists, the axes of x and the
            axes of y that go with them.

    Raises:
        TypeError: an input is a number; `dims` is neither a number nor a pair of lists; both tensors are of bools.
        ValueError: an axis is out of range or named twice, or two that go together differ in length.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[[1.0, 2.0], [3.0, 4.0]]])
    >>> tensordot(x, mt.Tensor([[1.0, 0.0], [0.0, 1.0]])), tensordot(x, x, ([0, 1, 2], [0, 1, 2]))
    (Tensor([5.]), Tensor(30.))
    """
    x, y = meet("tensordot", x, y)
    first, second = _paired_dims(x, y, dims)
    labels: list[Label] = [*range(x.ndim)]
    others: list[Label] = [*range(x.ndim, x.ndim + y.ndim)]
    for i, j in zip(first, second):
        if x.shape[i] != y.shape[j]:
            raise ValueError(
                f"tensordot: axis {i} of shape {x.shape} goes with axis {j} of shape {y.shape}, "
                f"but they have {x.shape[i]} and {y.shape[j]} elements"
            )
        others[j] = labels[i]
    return contract(x, labels, y, others, set(labels) ^ set(others))[0]


def bilinear(x1: T, x2: T, weight: T, bias: T | None = None) -> T:
    """x1ᵀ W x2 + b, with a matrix W for each output: x1 (…, in1), x2 (…, in2), weight (out, in1, in2), bias (out,) → (…, out).

    Raises:
        TypeError: an input is a number or no tensor.
        ValueError: the shapes do not fit.

    >>> import microtensor as mt
    >>> bilinear(mt.Tensor([1.0, 2.0]), mt.Tensor([3.0]), mt.Tensor([[[1.0], [1.0]]]), mt.Tensor([0.5]))
    Tensor([9.5])
    """
    x1, x2, weight, *rest = meet("bilinear", x1, x2, weight, *([] if bias is None else [bias]))
    if weight.ndim != 3:
        raise ValueError(f"bilinear: weight must have three axes, (out, in1, in2), got shape {weight.shape}")
    if not (x1.ndim and x2.ndim) or x1.shape[:-1] != x2.shape[:-1] or (x1.shape[-1], x2.shape[-1]) != weight.shape[1:]:
        raise ValueError(
            f"bilinear: weight {weight.shape} takes x1 (…, {weight.shape[1]}) and x2 (…, {weight.shape[2]}), alike in the "
            f"leading axes, got {x1.shape} and {x2.shape}"
        )
    y: Any = einsum("...i,oij,...j->...o", x1, weight, x2)
    for b in rest:
        if b.shape != weight.shape[:1]:
            raise ValueError(f"bilinear: weight {weight.shape} gives {weight.shape[0]} outputs, but bias has shape {b.shape}")
        y = y + b
    return y


def contract(
    x: Any, left: Sequence[Label], y: Any, right: Sequence[Label], wanted: Collection[Label]
) -> tuple[Any, list[Label]]:
    """The product of two tensors, summed over the labels that both have and that are not wanted; and the labels of its axes."""
    lengths = dict(zip([*left, *right], [*x.shape, *y.shape]))
    batch = [a for a in left if a in right and a in wanted]
    summed = [a for a in left if a in right and a not in wanted]
    rows, columns = [a for a in left if a not in right], [a for a in right if a not in left]
    labels = [*batch, *rows, *columns]
    if summed or rows and columns:
        z = _arrange(x, left, batch, rows, summed) @ _arrange(y, right, batch, summed, columns)
    else:  # nothing to sum, and one of them has all axes: a product with broadcasting
        x, y = _arrange(x, left, [*batch, *rows]), _arrange(y, right, [*batch, *columns])
        z = _reshape(x, (*x.shape, *[1] * len(columns))) * _reshape(y, (*y.shape, *[1] * len(rows)))
    return _reshape(z, tuple(lengths[a] for a in labels)), labels


def _arrange(x: Any, labels: Sequence[Label], kept: Sequence[Label], *merged: Sequence[Label]) -> Any:
    """x with the axes `kept`, then one axis for each list of labels in `merged`."""
    lengths = dict(zip(labels, x.shape))
    order = [labels.index(a) for group in (kept, *merged) for a in group]
    if order != sorted(order):
        x = x.permute(order)
    return _reshape(x, (*[lengths[a] for a in kept], *[math.prod(lengths[a] for a in group) for group in merged]))


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else x.reshape(shape)


def _simple(x: Any, term: list[Label], lengths: dict[Label, int]) -> tuple[Any, list[Label]]:
    """A tensor with each of its labels once: diagonals are taken, and axes of length 1 that would broadcast are dropped."""
    while len(set(term)) < len(term):
        i, j = next((i, j) for i, j in combinations(range(len(term)), 2) if term[i] == term[j])
        x = diagonal(x, dim1=i, dim2=j)
        term = [a for k, a in enumerate(term) if k not in (i, j)] + [term[i]]
    labels = [a for a, n in zip(term, x.shape) if n == lengths[a]]
    return _reshape(x, tuple(lengths[a] for a in labels)), labels


def _sum(x: Any, labels: list[Label], wanted: Collection[Label]) -> tuple[Any, list[Label]]:
    """A tensor summed over the labels that are not wanted."""
    alone = [i for i, a in enumerate(labels) if a not in wanted]
    return (x.sum(alone), [a for a in labels if a in wanted]) if alone else (x, labels)


def _next_pair(parts: Sequence[tuple[Any, list[Label]]], output: list[Label], lengths: dict[Label, int]) -> tuple[int, int]:
    """The two tensors whose product takes the least memory in addition to theirs."""
    if len(parts) == 2:
        return 0, 1

    def growth(pair: tuple[int, int]) -> int:
        rest = set(output).union(*(labels for k, (_, labels) in enumerate(parts) if k not in pair))
        left, right = (set(parts[k][1]) for k in pair)
        size, before, other = (math.prod(lengths[a] for a in labels) for labels in ((left | right) & rest, left, right))
        return size - before - other

    return min(combinations(range(len(parts)), 2), key=growth)


@functools.lru_cache(maxsize=256)  # loops repeat the same equation, and parsing takes as long as a small product
def _read(equation: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[list[Label]], list[Label], dict[Label, int]]:
    """The labels of each tensor's axes, those of the result, and the length of each. Cached: do not modify them."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(shapes):
        raise ValueError(
            f"einsum: {equation!r} has {len(texts)} terms, but there are {len(shapes)} tensors; "
            "each tensor has a term, and commas stand between them"
        )
    terms: list[list[Label]] = []
    for text, shape in zip(texts, shapes):
        letters = _letters(equation, text)
        hidden = len(shape) - len(letters) + ("." in letters)
        if hidden < 0 or hidden and "." not in letters:
            raise ValueError(
                f"einsum: in {equation!r}, {text!r} does not fit a tensor of shape {shape}, which has {len(shape)} axes; "
                "each axis has a letter, or '...' stands for those that have none"
            )
        terms.append(_expand(letters, hidden))
    lengths = _lengths(equation, terms, shapes)
    hidden = max((-a for a in lengths if isinstance(a, int)), default=0)
    counts = Counter(a for term in terms for a in term)
    if not arrow:
        once = sorted(a for a in counts if isinstance(a, str) and counts[a] == 1)
        return terms, _expand([".", *once], hidden), lengths
    output = _letters(equation, right)
    for a in output:
        if a != "." and a not in counts:
            raise ValueError(f"einsum: in {equation!r}, {a!r} is behind the arrow only; it must be an axis of some tensor")
        if output.count(a) > 1:
            raise ValueError(
                f"einsum: in {equation!r}, {a!r} is behind the arrow twice; each axis of the result has its own letter"
            )
    return terms, _expand(output, hidden), lengths


def _letters(equation: str, text: str) -> list[str]:
    """The letters of a term, with "." for an ellipsis."""
    letters = [*text.replace("...", ".")]
    if letters.count(".") > 1 or text.count(".") not in (0, 3):
        raise ValueError(f"einsum: in {equation!r}, {text!r} may have one ellipsis, of three dots, '...'")
    for a in letters:
        if a not in ascii_letters + ".":
            raise ValueError(
                f"einsum: {a!r} in {equation!r} is no label: an axis is called by a letter, a-z or A-Z, or by '...'"
            )
    return letters


def _expand(letters: Sequence[str], hidden: int) -> list[Label]:
    """The letters, with an ellipsis replaced by the labels of its axes, which count from the right."""
    return [label for a in letters for label in (range(-hidden, 0) if a == "." else [a])]


def _lengths(equation: str, terms: Sequence[list[Label]], shapes: Sequence[tuple[int, ...]]) -> dict[Label, int]:
    """The length of the axes with each label."""
    lengths: dict[Label, int] = {a: 1 for term in terms for a in term}
    for term, shape in zip(terms, shapes):
        for a, n in zip(term, shape):
            if lengths[a] == 1:
                lengths[a] = n
            known = shape[term.index(a)] if term.count(a) > 1 else lengths[a] if n != 1 else 1
            if n != known:
                axis = repr(a) if isinstance(a, str) else "an axis under '...'"
                raise ValueError(
                    f"einsum: in {equation!r}, {axis} has length {known} and, in a tensor of shape {shape}, length {n}; "
                    "axes with one label must be of one length"
                )
    return lengths


def _from_lists(args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Tensors with lists of numbers for labels → an equation, and the tensors."""

    def letters(labels: Any) -> str:
        if not isinstance(labels, (list, tuple)):
            raise TypeError(
                "einsum: expected an equation first, such as 'ij,jk->ik', or a list of numbers after each tensor, "
                f"got {type(labels).__name__}"
            )
        for a in labels:
            if a is not Ellipsis and not (is_integer(a) and 0 <= a < len(NUMBERED)):
                raise ValueError(
                    f"einsum: in {labels!r}, {a!r} is no label: an axis is called by a number from 0 to 51, or by ..."
                )
        return "".join("..." if a is Ellipsis else NUMBERED[a] for a in labels)

    count = len(args) // 2
    arrow = f"->{letters(args[-1])}" if len(args) % 2 else ""
    return ",".join(letters(labels) for labels in args[1 : 2 * count : 2]) + arrow, args[: 2 * count : 2]


def _paired_dims(x: Node, y: Node, dims: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of x and of y that `tensordot` sums over."""
    if is_integer(dims):
        if not 0 <= dims <= min(x.ndim, y.ndim):
            raise ValueError(f"tensordot: cannot sum over {dims} axes of shapes {x.shape} and {y.shape}")
        return tuple(range(x.ndim - dims, x.ndim)), tuple(range(dims))
    if not isinstance(dims, (list, tuple)) or len(dims) != 2:
        raise TypeError(f"tensordot: dims must be a number of axes or a pair of lists of axes, ([0, 1], [2, 0]), got {dims!r}")
    first, second = (normalize_dims("tensordot", d, v.shape) for d, v in zip(dims, (x, y)))
    if len(first) != len(second):
        raise ValueError(
            f"tensordot: dims {dims!r} pairs {len(first)} axes of the first tensor with {len(second)} of the second"
        )
    return first, second
