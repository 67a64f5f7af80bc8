"""Numerical gradients, and the check that holds the engine's gradients against them.

A derivative is checked as the linear map that it is. For f: ℝⁿ → ℝᵐ with Jacobian J, a random direction v and a random
cotangent u, the two sides of

    ⟨u, J v⟩ = ⟨Jᵀ u, v⟩

are computed independently: J v by differences of f, Jᵀ u by the engine. One random pair sees every element of J at
once. Summing the outputs instead (u = 1) would not: a softmax passes that with a gradient of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .gradient import enable_grad, grad, no_grad
from .tensor import Tensor

Function = Callable[..., Any]

STEP = 1e-3
"""Step h of the differences, for inputs of size about 1. The five-point formula errs by h⁴ f⁽⁵⁾ / 30, and by rounding."""


class NotDifferentiableError(ValueError):
    """The inputs of a check lie on a kink or a jump of the function: neither side is wrong, there is no gradient to check."""


def check_gradients(
    f: Function, *inputs: Tensor, order: int = 1, rtol: float = 1e-6, atol: float = 1e-8, seed: int = 0, step: float = STEP
) -> None:
    """Check the gradients of `f` at `inputs` against numerical ones.

    Args:
        f: a function of tensors that returns a tensor or a tuple of them, always the same for the same inputs.
        inputs: float64 tensors. Every one is differentiated.
        order: 2 checks the gradients of the gradients too, for the inputs and for the incoming gradient.
        rtol: tolerated difference, relative to the size of the terms that the two sides add up.
        atol: tolerated difference besides.
        seed: of the random cotangent and direction.
        step: how far the inputs are moved.

    Raises:
        AssertionError: a gradient is wrong. The message names the worst element of each wrong gradient.
        NotDifferentiableError: the inputs lie on a kink, such as relu's at 0.
        TypeError: an input is not float64: in float32 the differences drown in rounding.
        ValueError: `order` is neither 1 nor 2.

    >>> check_gradients(lambda x: x.tanh(), Tensor([0.3, -0.7], dtype="float64"), order=2)
    """
    if order not in (1, 2):
        raise ValueError(f"check_gradients: order must be 1 or 2, got {order!r}")
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or x.dtype != np.float64:
            given = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"check_gradients: input {i} must be a float64 Tensor, got {given}; use .to('float64')")
    rng = np.random.default_rng(seed)
    points = [x.detach() for x in inputs]
    u = [_normal(y, rng) for y in _outputs(f, points)]
    _check(f, points, u, rng, rtol, atol, step, "gradient")
    if order == 2:
        n = len(points)

        def gradients(*args: Tensor) -> tuple[Tensor, ...]:
            return _gradients(f, args[:n], args[n:], create_graph=True)

        args = [*points, *u]
        w = [_normal(y, rng) for y in _outputs(gradients, args)]
        _check(gradients, args, w, rng, rtol, atol, step, "gradient of the gradient")


def numerical_gradient(
    f: Function, *inputs: Tensor, cotangent: Sequence[Tensor] | None = None, step: float = STEP
) -> tuple[Tensor, ...]:
    """The gradient of ⟨cotangent, f(inputs)⟩ by differences, element by element: four evaluations of `f` for each.

    Args:
        cotangent: one tensor per output of `f`; ones if None, that is the gradient of the outputs' sum.

    Returns:
        One float64 tensor per input, of its shape.

    >>> numerical_gradient(lambda x: x * x, Tensor([3.0], dtype="float64"))[0].numpy().round(6)
    array([6.])
    """
    points = [x.detach() for x in inputs]
    u = [Tensor(np.ones(y.shape)) for y in _outputs(f, points)] if cotangent is None else list(cotangent)
    gradients = []
    for i, x in enumerate(points):
        slopes = np.zeros(x.shape)
        for index in np.ndindex(*x.shape):
            direction = [Tensor(np.zeros(p.shape)) for p in points]
            direction[i][index] = 1.0
            slopes[index] = _slope(f, points, direction, u, step)
        gradients.append(Tensor(slopes))
    return tuple(gradients)


def _check(
    f: Function,
    points: list[Tensor],
    u: list[Tensor],
    rng: np.random.Generator,
    rtol: float,
    atol: float,
    step: float,
    what: str,
) -> None:
    analytic = _gradients(f, points, u)
    v = [_normal(x, rng) for x in points]
    slope = _slope(f, points, v, u, step)
    terms = [g.numpy() * d.numpy() for g, d in zip(analytic, v)]
    size = sum(float(np.abs(t).sum()) for t in terms)
    product = sum(float(t.sum()) for t in terms)
    if abs(product - slope) <= atol + rtol * max(size, abs(slope)):
        return
    left, right = _one_sided(f, points, v, u, step / 100)
    scale = max(size, abs(left), abs(right)) + 1e-3
    if not abs(left - right) <= 1e-3 * scale:
        raise NotDifferentiableError(
            f"the function has a kink or a jump at the inputs: in a random direction its slope is {left:.6g} on one side "
            f"and {right:.6g} on the other; check it elsewhere: tensors(away_from=[…]) draws inputs at a distance"
        )
    fine, tolerated = (left + right) / 2, 10 * (atol + rtol * max(size, abs(left), abs(right)))
    if abs(slope - fine) > tolerated and abs(product - fine) <= tolerated:
        return  # a kink beside the inputs spoils the wide formula; the fine one agrees with the engine
    raise AssertionError(_report(f, points, u, analytic, rtol, atol, step, what))


def _one_sided(
    f: Function, points: Sequence[Tensor], v: Sequence[Tensor], u: Sequence[Tensor], h: float
) -> tuple[float, float]:
    """The slopes of ⟨u, f⟩ along v just before the points and just after, by three-point formulas."""
    at = [_along(f, points, v, u, k * h) for k in (-2, -1, 0, 1, 2)]
    return (3 * at[2] - 4 * at[1] + at[0]) / (2 * h), (-3 * at[2] + 4 * at[3] - at[4]) / (2 * h)


def _report(
    f: Function,
    points: list[Tensor],
    u: list[Tensor],
    analytic: Sequence[Tensor],
    rtol: float,
    atol: float,
    step: float,
    what: str,
) -> str:
    """Where the gradient is wrong: the worst element of each input's."""
    lines = [f"the {what} is wrong:"]
    numerical = numerical_gradient(f, *points, cotangent=u, step=step)
    for i, (a, n) in enumerate(zip(analytic, numerical)):
        difference = np.abs(a.numpy() - n.numpy())
        if not difference.size:
            continue
        worst = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), a.shape)
        wrong = int((~(difference <= rtol * np.abs(n.numpy()) + atol)).sum())
        lines.append(
            f"  input {i} {a.shape}: {wrong} of {difference.size} elements differ, worst at {tuple(int(k) for k in worst)}: "
            f"engine {a.numpy()[worst]:.9g}, numerical {n.numpy()[worst]:.9g}"
        )
    return "\n".join(lines)


def _gradients(f: Function, points: Sequence[Tensor], u: Sequence[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
    """Jᵀ u: one gradient per input, zeros where an input has no influence."""
    with enable_grad():
        leaves = [x if x.requires_grad else x.detach().requires_grad_() for x in points]
        pairs = [(y, g) for y, g in zip(_outputs(f, leaves), u) if y.requires_grad]
        if not pairs:
            return tuple(Tensor(np.zeros(x.shape)) for x in leaves)
        outputs, seeds = zip(*pairs)
        found = grad(outputs, leaves, seeds, create_graph=create_graph, allow_unused=True)
    return tuple(Tensor(np.zeros(x.shape)) if g is None else g for x, g in zip(leaves, found))


def _slope(f: Function, points: Sequence[Tensor], direction: Sequence[Tensor], u: Sequence[Tensor], h: float) -> float:
    """⟨u, J v⟩: the derivative of ⟨u, f⟩ along v, by the five-point formula."""
    weights = ((8.0, h), (-8.0, -h), (-1.0, 2 * h), (1.0, -2 * h))
    return sum(weight * _along(f, points, direction, u, t) for weight, t in weights) / (12 * h)


def _along(f: Function, points: Sequence[Tensor], direction: Sequence[Tensor], u: Sequence[Tensor], t: float) -> float:
    """⟨u, f(points + t · direction)⟩."""
    moved = [Tensor(x.numpy() + t * v.numpy()) for x, v in zip(points, direction)]
    with no_grad():
        return sum(float((g.numpy() * y.numpy()).sum()) for g, y in zip(u, _outputs(f, moved)))


def _outputs(f: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    result = f(*inputs)
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"check_gradients: the function must return a Tensor or a tuple of them, got {type(y).__name__}")
    return outputs


def _normal(like: Tensor, rng: np.random.Generator) -> Tensor:
    return Tensor(rng.standard_normal(like.shape))
