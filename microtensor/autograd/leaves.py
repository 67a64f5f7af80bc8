"""Where gradients end: the `.grad` of a leaf, in memory that nothing else uses.

A backward pass copies a gradient only where it must. Python counts the references to an object: where nothing else refers to
the gradient or to its array, the leaf takes it over, and sums are formed in place. So gradients are handed over inside a list,
from which they are taken out: a local variable in the caller would be one more reference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..runtime.arrays import follow
from .graph import Node, mode

getrefcount: Callable[[Any], int] = getattr(sys, "getrefcount", lambda _: 0)
"""An interpreter without reference counts gets 0: then no gradient counts as unshared, and more is copied."""

ONE_REFERENCE = 2
"""What `getrefcount` returns for an object with one reference: its own argument counts too."""


def alone(held: list[Any]) -> bool:
    """Whether only this list refers to the tensor in it, and only that tensor to its memory: then it may be written to.

    >>> import microtensor as mt
    >>> held = [mt.ones(2)]
    >>> alone(held)
    True
    >>> view = held[0][:1]
    >>> alone(held)
    False
    """
    if getrefcount(held[0]) != ONE_REFERENCE or getrefcount(held[0]._data) != ONE_REFERENCE:
        return False
    data = held[0]._data
    if data.base is None:
        return _writable(data)
    whole = type(data.base) is type(data) and data.base.base is None and data.base.nbytes == data.nbytes  # in another shape
    return whole and getrefcount(data.base) == ONE_REFERENCE and _writable(data)


def own(held: list[Any]) -> Any:
    """The tensor in this list, if nothing else refers to it; else a copy, recorded if the tensor has a graph."""
    if alone(held):
        return held.pop()
    g = held.pop()
    follow(g._data)
    return g.constant(g._data.copy()) if g.origin is None else recorded(g.clone)


def accumulate(node: Node, held: list[Any]) -> None:
    """Add the gradient in this list to the `.grad` of a tensor: in place, unless that or the gradient has a graph."""
    so_far: Any = node._grad
    if so_far is None:
        node._grad = own(held)
        return
    g = held.pop()
    follow(g._data)
    if so_far.shape != g.shape or so_far.device != g.device:
        raise ValueError(
            f"backward: a leaf has a .grad of shape {so_far.shape} on {so_far.device} from before, but its gradient is of "
            f"shape {g.shape} on {g.device} now: set .grad to None where you give a leaf another array"
        )
    if so_far.origin is not None or g.origin is not None:
        node._grad = recorded(so_far.__add__, g)
    elif so_far.dtype != g.dtype or not _writable(so_far._data):
        node._grad = g + so_far.to(g.dtype)
    else:
        so_far._data += g._data
        so_far.touch()


def recorded(operation: Callable[..., Any], *inputs: Any) -> Any:
    """`operation(*inputs)`, recorded even where the backward pass is not."""
    before = mode.recording
    try:
        mode.recording = True
        return operation(*inputs)
    finally:
        mode.recording = before


def _writable(data: Any) -> bool:
    """Whether each element of an array has memory of its own that may be written to: not where a stride of 0 repeats one."""
    if not getattr(data.flags, "writeable", True):
        return False
    return (
        data.base is None
        or data.flags.c_contiguous
        or all(stride or length < 2 for stride, length in zip(data.strides, data.shape))
    )
