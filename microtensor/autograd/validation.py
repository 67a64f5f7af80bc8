"""Checks of what users' functions return and of what `backward()` and `grad()` are given, whose errors say what to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from ..runtime.arrays import Array, follow, is_array
from ..runtime.text import kind_of
from .graph import Node, Origin


def checked_rule(name: str, returned: Any, inputs: Sequence[Any], array_type: type, moves: bool) -> tuple[Array, Any]:
    """What a rule returned → the array of the result and the vjps, one for each input, or None.

    Args:
        array_type: the class of the arrays that its tensors hold.
        moves: whether the rule may return an array of another device.

    Raises:
        TypeError: it is not a pair of an array and vjps.
    """
    if not isinstance(returned, tuple) or len(returned) != 2:  # an array of two rows is no pair
        raise _no_pair(name, len(inputs), returned)
    data, vjps = returned
    return _as_result(name, data, array_type, moves), None if vjps is None else as_vjps(name, vjps, inputs)


def _no_pair(name: str, count: int, returned: Any) -> TypeError:
    if isinstance(returned, tuple):
        given = f"a tuple of {len(returned)}"
    else:
        given = f"{kind_of(returned)} of shape {returned.shape}" if hasattr(returned, "shape") else kind_of(returned)
    wanted = "(vjp,)" if count == 1 else f"({', '.join(['vjp'] * count)})"
    return TypeError(
        f"{name}: its rule must return a pair (array, vjps), it returned {given}: write `return array, {wanted}`, with a "
        "function of the gradient for each of its tensors, or `return array, None` where no gradient flows"
    )


def _as_result(name: str, data: Any, array_type: type, moves: bool) -> Array:
    if isinstance(data, np.generic):
        data = np.asarray(data)  # NumPy returns a scalar where the result has no axes
    if isinstance(data, np.ma.MaskedArray) or not is_array(data):
        hint = "; compute with x.array, not with x" if isinstance(data, Node) else ""
        raise TypeError(f"{name}: its rule must return an array as its result, it returned {kind_of(data)}{hint}")
    if isinstance(data, ndarray):
        data = np.asarray(data)
    if type(data) is not array_type and not moves:
        raise TypeError(
            f"{name}: its rule returned {kind_of(data)}, but its tensors hold {array_type.__module__}.{array_type.__name__}: "
            "compute with the functions of x.xp, which is NumPy or CuPy"
        )
    if data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        raise TypeError(f"{name}: its rule returned an array of {data.dtype}; tensors hold numbers of 64 bits at most")
    return data


def as_vjps(name: str, vjps: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The vjps that a rule returned.

    Raises:
        TypeError: there is not one for each input, or one is neither a function nor None.
    """
    if not isinstance(vjps, (tuple, list)):
        hint = "; write (vjp,), with a comma" if callable(vjps) else ""
        raise TypeError(f"{name}: its rule must return a tuple of vjps beside the array, it returned {kind_of(vjps)}{hint}")
    if len(vjps) != len(inputs):
        raise TypeError(f"{name}: its rule returned {len(vjps)} vjps for {len(inputs)} tensors")
    for i, vjp in enumerate(vjps):
        if vjp is not None and not callable(vjp):
            raise TypeError(f"{name}: its rule returned {kind_of(vjp)} as vjp {i}: expected a function or None")
    return tuple(vjps)


def check_vjp(gradient: Any, origin: Origin, parent: Origin) -> None:
    """Check that what a vjp of `origin` returned is a gradient for its input `parent`.

    Raises:
        TypeError: it is no tensor.
        ValueError: it is of another shape, dtype or device.
    """
    if not isinstance(gradient, Node):
        raise TypeError(f"{origin.name}: a vjp returned {type(gradient).__name__}, expected a Tensor of shape {parent.shape}")
    data = gradient._data
    fits = data.shape == parent.shape and (data.dtype is parent.dtype or data.dtype == parent.dtype)
    if not fits or ((type(data) is not ndarray or parent.device != "cpu") and gradient.device != parent.device):
        raise ValueError(
            f"{origin.name}: a vjp returned a gradient of {gradient.dtype} {gradient.shape} on {gradient.device}, "
            f"but its input is {parent.dtype} {parent.shape} on {parent.device}"
        )


def as_nodes(what: str, value: Any) -> list[Any]:
    """One tensor or several, as a list.

    Raises:
        TypeError: there is none, or something else among them.
    """
    nodes = [value] if isinstance(value, Node) else list(value) if isinstance(value, (list, tuple)) else None
    if not nodes or not all(isinstance(x, Node) for x in nodes):
        raise TypeError(f"{what}: expected a Tensor or a sequence of Tensors, got {value!r}")
    return nodes


def as_seeds(what: str, outputs: Sequence[Any], gradients: Any) -> list[tuple[Origin, Any]]:
    """The origin of each output, with the gradient that a backward pass starts from: 1 for an output of one element.

    Raises:
        TypeError: a gradient is no tensor.
        ValueError: one is missing, or is not of the shape, dtype and device of its output.
    """
    given = [None] * len(outputs) if gradients is None else gradients if isinstance(gradients, (list, tuple)) else [gradients]
    for g in given:
        if g is not None and not isinstance(g, Node):
            raise TypeError(f"{what}: the gradient of an output must be a Tensor of its shape, got {type(g).__name__}")
    if len(given) != len(outputs):
        raise ValueError(f"{what}: {len(given)} gradients for {len(outputs)} outputs: give one each")
    seeds = []
    for y, g in zip(outputs, given):
        origin = origin_of(f"{what}: output", y)
        if g is None:
            if y._data.size != 1:
                raise ValueError(
                    f"{what}: the output has shape {y.shape}, and only a single number has an implied gradient (1): "
                    "pass a gradient of that shape, or reduce it first, with .sum() or .mean()"
                )
            follow(y._data)
            g = y.constant(y.xp.ones_like(y._data))
        elif g.shape != y.shape or g.dtype != y.dtype or g.device != y.device:
            raise ValueError(
                f"{what}: the gradient is {g.dtype} {g.shape} on {g.device}, "
                f"but its output is {y.dtype} {y.shape} on {y.device}"
            )
        fresh = g.kind.wrap(g._data, g.origin)
        fresh.assigned = g.assigned
        seeds.append((origin, fresh))
    return seeds


def origin_of(what: str, x: Node) -> Origin:
    """The origin of a tensor.

    Raises:
        RuntimeError: it has none. `what` is the beginning of the error.
    """
    if x.origin is None:
        raise RuntimeError(
            f"{what} {x.shape} has no graph: make a leaf require a gradient before computing with it, outside no_grad()"
        )
    return x.origin
