"""Numerical gradients by finite differences, and the check of the engine's gradients against them.

A derivative is checked as the linear map that it is. For f: ℝⁿ → ℝᵐ with Jacobian J, a random direction v and a random
cotangent u, the two sides of

    ⟨u, J v⟩ = ⟨Jᵀ u, v⟩

are computed independently: J v by differences of f, Jᵀ u by the engine. One random pair tests every element of J at
once. Summing the outputs instead (u = 1) would not: a softmax passes that with a gradient of 0.

Where the two sides differ, which a kink within the step also causes, the inputs are bisected down to single elements. An
element is reported as wrong only after its slopes on both sides were computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .autograd.backward import grad
from .autograd.grad_mode import enable_grad
from .autograd.graph import is_floating
from .finite_differences import Function, Slopes, outputs_of
from .runtime.arrays import to_device
from .tensor import Tensor

STEP = 1e-3
"""Step h of the differences, for inputs of size about 1. The five-point formula errs by h⁴ f⁽⁵⁾ / 30, and by rounding."""

REFINED = (1.0, 0.1, 0.01, 0.001)
"""Factors of h, tried in order until the differences agree with the engine: a smaller step crosses fewer kinks."""

SIDES = tuple(10.0**-k for k in range(1, 12))
"""Factors of h for the one-sided slopes of a single element."""

MAX_FINDINGS = 10
"""Wrong elements or kinks after which the search ends."""

COUNTED_ELEMENTS = 256
"""With at most this many elements, all are checked once one is wrong, to report how many are."""


class NotDifferentiableError(ValueError):
    """The inputs of a check lie on a kink or a jump of the function: neither side is wrong, there is no gradient to check."""


def check_gradients(
    f: Function,
    *inputs: Tensor,
    order: int = 1,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    seed: int = 0,
    step: float = STEP,
    fast_mode: bool = True,
) -> None:
    """Check the gradients of `f` at `inputs` against numerical ones.

    An element of a gradient is wrong if it differs from the numerical one by more than atol + rtol · its size. Kinks of `f`
    near the inputs do no harm, even at a distance of 1e-10: the step becomes smaller there.

    Args:
        f: a function of tensors that returns a tensor or a tuple of them, always the same for the same inputs. Constants, such
            as labels, are closed over.
        inputs: float64 tensors. Every one is differentiated, whether it requires a gradient or not.
        order: 2 checks the gradients of the gradients too, for the inputs and for the incoming gradient.
        rtol: tolerated difference, relative to the gradient.
        atol: tolerated difference besides; less where the largest gradient is less than 1, in proportion.
        seed: of the random cotangent and direction.
        step: how far the inputs are moved, at most twice.
        fast_mode: check all elements together, in a random direction, in a few evaluations of `f`; and single ones only where
            that disagrees. An error hides in it if it is less than about 1e-8 of a typical element, or 1e-6 if a kink is near.
            False checks each element by itself, in four evaluations or more: slow, and surer. (PyTorch's name; its default is
            False.)

    Raises:
        AssertionError: a gradient is wrong. The message names the worst element of each wrong gradient.
        NotDifferentiableError: the inputs lie on a kink, such as relu's at 0, or where the function is not finite.
        TypeError: an input or a result is not float64: in float32 the differences drown in rounding.
        ValueError: `order` is neither 1 nor 2; there are no inputs; `f` is random.

    >>> check_gradients(lambda x: x.tanh(), Tensor([0.3, -0.7], dtype="float64"), order=2)
    """
    if order not in (1, 2):
        raise ValueError(f"check_gradients: order must be 1 or 2, got {order!r}")
    if not inputs:
        raise ValueError("check_gradients: there are no inputs; call check_gradients(f, x), not check_gradients(f(x))")
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or x.dtype != np.float64:
            raise TypeError(
                f"check_gradients: input {i} must be a float64 Tensor, got {getattr(x, 'dtype', type(x).__name__)}; use "
                ".to('float64'), or leave a constant (labels, a setting) to the function: lambda x: f(x, labels)"
            )
    points, names = [x.detach() for x in inputs], [f"input {i}" for i in range(len(inputs))]
    settings = (np.random.default_rng(seed), rtol, atol, step, fast_mode)
    check = _Check(f, points, names, "gradient", *settings)
    check.run()
    if order == 2:
        n, u = len(points), check.cotangents
        results = [k for k, y in enumerate(check.slopes.outputs) if is_floating(y.dtype)]

        def gradients(*args: Tensor) -> tuple[Tensor, ...]:
            return _gradients(f, args[:n], args[n:], create_graph=True)[0]

        names += [f"incoming gradient of output {k}" for k in results]
        _Check(gradients, [*points, *u], names, "gradient of the gradient", *settings).run()


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
    slopes = Slopes(f, [x.detach() for x in inputs])
    if cotangent is not None:
        slopes.u = np.concatenate([g.numpy().reshape(-1) for g in cotangent])
    found = np.array([slopes.central(_unit(slopes.x.size, i), step)[0] for i in range(slopes.x.size)])
    parts = np.split(found, np.cumsum([x.numel() for x in inputs])[:-1]) if inputs else []
    return tuple(Tensor(part.reshape(x.shape)) for x, part in zip(inputs, parts))


class _Verdict(NamedTuple):
    """The finding on an element: "wrong", with its numerical value twice; or "kink", with the slopes before and after."""

    kind: str
    element: int
    before: float
    after: float


class _Check:
    """The check of one gradient. Elements are numbered through all inputs."""

    def __init__(
        self,
        f: Function,
        points: list[Tensor],
        names: list[str],
        what: str,
        rng: np.random.Generator,
        rtol: float,
        atol: float,
        step: float,
        fast: bool,
    ) -> None:
        self.names, self.what, self.rtol, self.step, self.fast = names, what, rtol, step, fast
        self.slopes = Slopes(f, points)
        outputs = [y for y in self.slopes.outputs if is_floating(y.dtype)]
        self._refuse_infinite(outputs)
        numbers = [_signed(y.numpy().shape, rng) for y in outputs]
        self.cotangents = [y.constant(to_device(u, y.device)) for y, u in zip(outputs, numbers)]
        self.slopes.u = np.concatenate([u.reshape(-1) for u in numbers])
        with np.errstate(all="ignore"):
            found, again = _gradients(f, points, self.cotangents)
        self._refuse_random(np.concatenate([y.numpy().reshape(-1) for y in again]))
        self.g = self.slopes.gradient = np.concatenate([np.zeros(0), *(g.numpy().reshape(-1) for g in found)])
        self.v = _signed(self.g.shape, rng)
        largest = np.abs(self.g[np.isfinite(self.g)]).max(initial=0)
        self.atol = atol * float(np.clip(largest, 1e-6, 1))

    def run(self) -> None:
        """
        Raises:
            AssertionError, NotDifferentiableError, ValueError: as `check_gradients` says.
        """
        if self.fast:
            found = self._search()
            if any(verdict.kind == "wrong" for verdict in found) and self.g.size <= COUNTED_ELEMENTS:
                found = self._each()
        else:
            found = self._each()
        if not found:
            return
        for _ in range(3):  # dropout of a few elements gives the same result now and then
            self._refuse_random(self.slopes.at(self.v, 0.0))
        wrong = [verdict for verdict in found if verdict.kind == "wrong"]
        if wrong:
            raise AssertionError(self._report(wrong))
        _, element, before, after = found[0]
        raise NotDifferentiableError(
            f"the function has a kink or a jump at the inputs: at {self._place(element)} its slope is {before:.6g} on one side "
            f"and {after:.6g} on the other; check it elsewhere: tensors(away_from=[…]) draws inputs at a distance"
        )

    # The search for wrong elements

    def _each(self) -> list[_Verdict]:
        return [verdict for i in range(self.g.size) if (verdict := self._look_at(i)) is not None]

    def _search(self) -> list[_Verdict]:
        """Elements that are wrong or on a kink, by bisection, the worse half first. Empty if all is right.

        A part that differs by less than the sum of its elements' tolerances may hold no wrong one: it is searched only while
        that is cheap.
        """
        found: list[_Verdict] = []
        cheap = 16 + 8 * self.g.size.bit_length()
        parts = [(self._compare(0, self.g.size), 0, self.g.size)]
        while parts and len(found) < MAX_FINDINGS:
            amiss, start, stop = parts.pop()
            cheap -= 0 < amiss <= 1
            if not amiss or (amiss <= 1 and cheap < 0):
                continue
            if stop - start == 1:
                verdict = self._look_at(start)
                found += [] if verdict is None else [verdict]
                continue
            middle = (start + stop) // 2
            parts += sorted((self._compare(*part), *part) for part in ((start, middle), (middle, stop)))
        return found

    def _compare(self, start: int, stop: int) -> float:
        """The difference of the two sides for the elements from `start` to `stop`, divided by the tolerance: 0 if they agree.

        They agree if they do at one of the steps, to far less than a typical element: that does not happen by chance.
        """
        v = np.zeros(self.v.shape)
        v[start:stop] = self.v[start:stop]
        terms = self.g[start:stop] * v[start:stop]
        product, size = terms.sum(), np.abs(terms).sum()
        typical = math.sqrt(np.square(terms).mean()) if stop > start else 0.0
        close = self.atol + self.rtol * typical / (1 if stop - start == 1 else 100)
        least = math.inf
        for refined in REFINED:
            slope, rounding = self.slopes.central(v, self.step * refined)
            difference = abs(product - slope)
            if difference <= close + rounding:
                return 0.0
            least = min(least, difference / (self.atol + self.rtol * max(size, abs(slope)) + rounding))
        return least

    # One element

    def _look_at(self, i: int) -> _Verdict | None:
        """Whether an element is right (None), wrong, or on a kink."""
        v, g = _unit(self.g.size, i), float(self.g[i])
        for refined in REFINED:
            slope, rounding = self.slopes.central(v, self.step * refined)
            if self._close(g, slope, rounding):
                return None
        last: tuple[float, float, float] | None = None
        last_slope: float | None = None
        beside = False
        for refined in SIDES:
            before, after, rounding = self.slopes.sides(v, self.step * refined)
            if last is not None and last_slope is None and rounding > 0.1 * abs(last[0] - last[1]):
                break  # rounding hides the difference at any smaller step
            if self._close(g, before, rounding) and self._close(g, after, rounding):
                return None
            here: float | None = None
            if self._close(before, after, rounding):
                here = (before + after) / 2
                if last_slope is not None and self._close(here, last_slope, rounding):
                    return _Verdict("wrong", i, here, here)
            steady = last is not None and all(self._close(a, b, rounding) for a, b in zip(last, (before, after)))
            last, last_slope, beside = (before, after, rounding), here, steady
        before, after, rounding = last or (math.nan, math.nan, math.inf)
        between = min(before, after) <= g <= max(before, after) or self._close(g, before, rounding)
        outside = not between and not self._close(g, after, rounding)
        return _Verdict("wrong" if beside and outside else "kink", i, before, after)

    def _close(self, a: float, b: float, rounding: float) -> bool:
        return abs(a - b) <= self.atol + self.rtol * max(abs(a), abs(b)) + rounding

    # Messages

    def _place(self, element: int) -> str:
        """An element as text: its input, and its index there."""
        for name, x in zip(self.names, self.slopes.points):
            if element < x.numel():
                return f"{name}, element {tuple(int(k) for k in np.unravel_index(element, x.shape))},"
            element -= x.numel()
        raise IndexError(element)

    def _report(self, wrong: list[_Verdict]) -> str:
        """Where the gradient is wrong: the worst element of each input's."""
        all_seen = not self.fast or self.g.size <= COUNTED_ELEMENTS
        lines, start = [f"the {self.what} is wrong:"], 0
        for name, x in zip(self.names, self.slopes.points):
            here = [verdict for verdict in wrong if start <= verdict.element < start + x.numel()]
            if here:
                away = [abs(self.g[verdict.element] - verdict.before) for verdict in here]
                worst = here[int(np.argmax(np.where(np.isnan(away), np.inf, away)))]
                place = tuple(int(k) for k in np.unravel_index(worst.element - start, x.shape))
                value = f"{worst.before:.9g}" + (f" to {worst.after:.9g}" if worst.before != worst.after else "")
                lines.append(
                    f"  {name} {x.shape}: {'' if all_seen else 'at least '}{len(here)} of {x.numel()} elements differ, "
                    f"worst at {place}: engine {self.g[worst.element]:.9g}, numerical {value}"
                )
            start += x.numel()
        if any(verdict.before == verdict.after == 0 for verdict in wrong):
            lines.append("  (Numerical 0 is also what a function gives that rounds its numbers on the way, as to float32.)")
        return "\n".join(lines)

    def _refuse_infinite(self, outputs: list[Tensor]) -> None:
        for k, y in enumerate(outputs):
            bad = ~np.isfinite(y.numpy())
            if bad.any():
                place = tuple(int(i) for i in np.argwhere(bad)[0])
                what = f"output {k}" if self.what == "gradient" else f"the gradient of {self.names[k]}"
                raise NotDifferentiableError(
                    f"the function is not finite at the inputs: {what} {y.shape} is {y.numpy()[place]} at {place}, and has no "
                    "difference there; check it elsewhere"
                )

    def _refuse_random(self, again: Any) -> None:
        """Refuse a function that gave other numbers at the same inputs."""
        before = self.slopes.y
        with np.errstate(invalid="ignore"):
            off = np.abs(again - before).max(initial=0) if again.shape == before.shape else math.inf
        if not off <= 1e-6 * max(1e-6, np.abs(before).max(initial=0)):
            raise ValueError(
                f"check_gradients: the function is random: for the same inputs it gave numbers that differ by {off:.3g}; let "
                "it draw from a generator that it seeds anew in each call, or put layers such as dropout into eval mode (a "
                "function that writes into its inputs looks so too)"
            )


def _gradients(
    f: Function, points: Sequence[Tensor], u: Sequence[Tensor], create_graph: bool = False
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Jᵀ u, one gradient per input, zeros where an input has no influence; and the outputs that are floating point."""
    with enable_grad():
        leaves = [x if x.requires_grad else x.detach().requires_grad_() for x in points]
        outputs = [y for y in outputs_of(f, leaves) if is_floating(y.dtype)]
        pairs = [(y, g) for y, g in zip(outputs, u) if y.requires_grad]
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if pairs:
            ends, seeds = zip(*pairs)
            found = grad(ends, leaves, seeds, create_graph=create_graph, allow_unused=True)
    zeros = (x.constant(x.xp.zeros_like(x.array)) for x in leaves)
    return tuple(zero if g is None else g for zero, g in zip(zeros, found)), outputs


def _signed(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Random numbers from ½ to 1½, of either sign: none so small that it would hide an error."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def _unit(size: int, i: int) -> Any:
    """The direction of a single element."""
    v = np.zeros(size)
    v[i] = 1.0
    return v
