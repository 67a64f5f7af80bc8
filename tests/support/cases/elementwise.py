"""Arithmetic, choices, casts."""

import numpy as np
from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case, binary, unary
from microtensor.autograd import backward
from microtensor.ops import elementwise
from microtensor.testing import broadcastable, tensors

JUMPS = [-2.0, -1.0, 0.0, 1.0, 2.0]


@st.composite
def with_number(draw, ours, theirs, **settings):
    """A binary operation with a Python number on one side."""
    number = draw(st.one_of(st.integers(1, 3), st.floats(0.5, 2.0)))
    x = draw(tensors(**settings))
    if draw(st.booleans()):
        return Case(lambda x: ours(x, number), [x], lambda torch, x: theirs(torch, x, number))
    return Case(lambda x: ours(number, x), [x], lambda torch, x: theirs(torch, torch.tensor(number, dtype=x.dtype), x))


def arithmetic(ours, theirs, **settings):
    return st.one_of(binary(ours, theirs, **settings), with_number(ours, theirs, **settings))


@st.composite
def whole_power(draw):
    """A whole power, whose base may be negative."""
    exponent = draw(st.sampled_from([-3, -2, -1, 0, 1, 2, 3, 4, 5.0]))
    x = draw(tensors(away_from=[0.0], gap=0.5))
    return Case(lambda x: x**exponent, [x], lambda torch, x: x**exponent)


@st.composite
def quotient(draw, ours, theirs):
    """Two tensors, or a tensor and a number, whose quotient is not near an integer, where it jumps."""
    y = draw(tensors(low=0.5, away_from=[0.0]))
    y = mt.Tensor(y.numpy() * draw(st.sampled_from([1, -1])))
    whole, rest = draw(st.integers(-3, 3)), draw(tensors(st.just(y.shape), low=0.2, high=0.8))
    if draw(st.booleans()):
        return Case(ours, [mt.Tensor((whole + rest.numpy()) * y.numpy()), y], theirs)
    x = mt.Tensor((whole + rest.numpy()) * 1.5)
    return Case(lambda x: ours(x, 1.5), [x], lambda torch, x: theirs(torch, x, torch.full_like(x, 1.5)))


@st.composite
def extreme(draw, operation, theirs):
    """Two tensors without ties, or a tensor and a number."""
    x = draw(tensors())
    y = draw(st.one_of(tensors(st.just(x.shape)), st.just(0.3)))
    if isinstance(y, float):
        far = mt.Tensor(np.where(np.abs(x.numpy() - y) < 0.05, 1.0, x.numpy()))
        return Case(lambda x: operation(x, y), [far], lambda torch, x: theirs(torch, x, torch.full_like(x, y)))
    y = mt.Tensor(np.where(np.abs(x.numpy() - y.numpy()) < 0.05, x.numpy() + 0.2, y.numpy()))
    return Case(operation, [x, y], theirs)


@st.composite
def clamped(draw):
    """Between two limits or with one: numbers, or tensors that broadcast, in either order."""
    if draw(st.booleans()):
        limits = draw(st.sampled_from([(-1.0, 1.0), (None, 0.5), (-0.5, None), (1, -1)]))
        x = draw(tensors(away_from=[n for n in limits if n is not None]))
        return Case(lambda x: x.clamp(*limits), [x], lambda torch, x: x.clamp(*limits))
    x, low, high = draw(broadcastable(3, distinct=True))
    # three sets of numbers that never meet
    x, low, high = (mt.Tensor(np.round(v.numpy() * 2) / 2 + shift) for v, shift in ((x, 0.0), (low, 0.15), (high, 0.3)))
    if draw(st.booleans()):
        return Case(
            lambda x, low, high: x.clamp(low, high),
            [x, low, high],
            lambda torch, *xs: torch.clamp(*torch.broadcast_tensors(*xs)),
        )
    return Case(lambda x, high: mt.clamp(x, max=high), [x, high], lambda torch, x, high: torch.clamp(x, max=high))


@st.composite
def choose(draw):
    x, y, c = draw(broadcastable(3))
    condition = mt.Tensor(c.numpy() > 0)
    if draw(st.booleans()):
        return Case(
            lambda x, y: mt.where(condition, x, y),
            [x, y],
            lambda torch, x, y: torch.where(torch.tensor(condition.numpy()), x, y),
        )
    number = draw(st.sampled_from([0, 1, -0.5]))
    return Case(
        lambda x: mt.where(condition, number, x),
        [x],
        lambda torch, x: torch.where(torch.tensor(condition.numpy()), number, x),
    )


@st.composite
def interpolated(draw):
    x, y, w = draw(broadcastable(3))
    if draw(st.booleans()):
        return Case(mt.lerp, [x, y, w], lambda torch, *xs: torch.lerp(*torch.broadcast_tensors(*xs)))
    w = draw(st.sampled_from([0, 0.25, 1, 2.0]))
    return Case(lambda x, y: x.lerp(y, w), [x, y], lambda torch, *xs: torch.lerp(*torch.broadcast_tensors(*xs), w))


CASES = {
    "add": arithmetic(lambda x, y: x + y, lambda torch, x, y: x + y),
    "subtract": arithmetic(lambda x, y: x - y, lambda torch, x, y: x - y),
    "multiply": arithmetic(lambda x, y: x * y, lambda torch, x, y: x * y),
    "divide": arithmetic(lambda x, y: x / y, lambda torch, x, y: x / y, away_from=[0.0], gap=0.5),
    "floor_divide": quotient(lambda x, y: x // y, lambda torch, x, y: torch.floor(x / y)),  # PyTorch's has no gradient
    "remainder": quotient(lambda x, y: x % y, lambda torch, x, y: x % y),
    "pow": st.one_of(arithmetic(lambda x, y: x**y, lambda torch, x, y: x**y, low=0.5), whole_power()),
    "neg": unary(lambda x: -x, lambda torch, x: -x),
    "abs": unary(abs, lambda torch, x: abs(x), away_from=[0.0]),
    "sign": unary(mt.sign, lambda torch, x: torch.sign(x), away_from=[0.0]),
    "maximum": extreme(mt.maximum, lambda torch, x, y: torch.maximum(x, y)),
    "minimum": extreme(mt.minimum, lambda torch, x, y: torch.minimum(x, y)),
    "clamp": clamped(),
    "_choose": choose(),
    "lerp": interpolated(),
    "clone": unary(mt.clone, lambda torch, x: x.clone()),
    "cast": unary(lambda x: x.to(np.float64), lambda torch, x: x.clone()),
    "move": unary(lambda x: elementwise.move(x, device="cpu"), lambda torch, x: x.clone()),
    "same": unary(backward.same, lambda torch, x: x.clone()),
}

NOT_DIFFERENTIABLE = {"_wins"}
