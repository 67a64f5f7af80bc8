"""Finite differences for gradcheck.py: slopes of a function along a direction, with an estimate of their rounding error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd.grad_mode import no_grad
from .autograd.graph import is_floating
from .runtime.arrays import to_device
from .tensor import Tensor

Function = Callable[..., Any]

EPSILON = float(np.finfo(np.float64).eps)

ROUNDINGS = 4
"""The assumed error of a value of the function, in roundings of float64: sums and formulas of a few steps stay below."""


class Slopes:
    """Slopes of ⟨u, f⟩ at some points. All inputs together are one vector of n elements, all outputs one of m elements.

    A direction v (n,) moves the inputs; the slope is that of ⟨u, f(points + t · v)⟩ at t = 0. Outputs that are not floating
    point have no slope and are left out.
    """

    def __init__(self, f: Function, points: Sequence[Tensor]) -> None:
        """Evaluate f once.

        Raises:
            TypeError: f returns no tensor, or nothing in float64.
        """
        self.f, self.points = f, list(points)
        self.x = _flat([x.numpy() for x in points])
        with np.errstate(all="ignore"):
            self.outputs = outputs_of(f, self._moved(None))
        for k, y in enumerate(self.outputs):
            if is_floating(y.dtype) and y.dtype != np.float64:
                raise TypeError(
                    f"check_gradients: output {k} is {y.dtype}, in which differences drown in rounding: let the function "
                    "compute in float64 all the way"
                )
        if not any(is_floating(y.dtype) for y in self.outputs):
            given = ", ".join(str(y.dtype) for y in self.outputs) or "nothing"
            raise TypeError(f"check_gradients: the function returns no floating-point numbers, but {given}: it has no gradient")
        self.y = _values(self.outputs)
        self.u = np.ones(self.y.shape)
        self.gradient = np.zeros(self.x.shape)
        """The gradient to be checked, (n,): it says how the rounding of the inputs changes the outputs."""

    def at(self, v: Any, t: float) -> Any:
        """f(points + t · v): (m,)."""
        with no_grad(), np.errstate(all="ignore"):
            return _values(outputs_of(self.f, self._moved(t * v)))

    def central(self, v: Any, h: float) -> tuple[float, float]:
        """The slope along v by the five-point formula, which errs by h⁴ f⁽⁵⁾ / 30, and its rounding error."""
        a, b, c, d = (self.at(v, k * h) for k in (-2, -1, 1, 2))
        with np.errstate(invalid="ignore"):
            return self._dot(8 * (c - b) - (d - a)) / (12 * h), self._rounding(v, (a != d) | (b != c)) / h

    def sides(self, v: Any, h: float) -> tuple[float, float, float]:
        """The slopes just before the points and just after, by three-point formulas that err by h² f‴ / 3; and the rounding."""
        a, b, c, d = (self.at(v, k * h) for k in (-2, -1, 1, 2))
        with np.errstate(invalid="ignore"):
            before = self._dot(4 * (self.y - b) - (self.y - a)) / (2 * h)
            after = self._dot(4 * (c - self.y) - (d - self.y)) / (2 * h)
            return before, after, 4 * self._rounding(v, (a != d) | (b != c)) / h

    def _dot(self, difference: Any) -> float:
        return float((self.u * difference).sum())  # not by BLAS, which wakes its thread pool for 10,000 elements

    def _rounding(self, v: Any, changed: Any) -> float:
        """The rounding error of ⟨u, f⟩: that of the outputs that change, and of the inputs that move."""
        return ROUNDINGS * EPSILON * (_length((self.u * self.y)[changed]) + _length((self.gradient * self.x)[v != 0]))

    def _moved(self, by: Any) -> list[Tensor]:
        """The points, moved. New tensors each time: the function may write into its inputs."""
        moved, start = [], 0
        for x in self.points:
            stop = start + x.numel()
            data = x.numpy() if by is None else x.numpy() + by[start:stop].reshape(x.shape)
            moved.append(x.constant(to_device(np.array(data), x.device)))
            start = stop
        return moved


def outputs_of(f: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What `f` returns, as a list.

    Raises:
        TypeError: it is neither a tensor nor a tuple of them.
    """
    result = f(*inputs)
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"check_gradients: the function must return a Tensor or a tuple of them, got {type(y).__name__}")
    return outputs


def _values(outputs: Sequence[Tensor]) -> Any:
    return _flat([y.numpy() for y in outputs if is_floating(y.dtype)])


def _flat(arrays: Sequence[Any]) -> Any:
    return np.concatenate([np.zeros(0), *(a.reshape(-1) for a in arrays)])


def _length(numbers: Any) -> float:
    return float(np.square(numbers[np.isfinite(numbers)]).sum()) ** 0.5
