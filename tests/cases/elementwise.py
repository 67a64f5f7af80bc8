"""Operations on each element."""

import numpy as np
from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case, binary, unary
from microtensor import elementwise, gradient
from microtensor.testing import broadcastable, tensors


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
def choose(draw):
    x, y, c = draw(broadcastable(3))
    condition = mt.Tensor(c.numpy() > 0)
    return Case(
        lambda x, y: mt.where(condition, x, y),
        [x, y],
        lambda torch, x, y: torch.where(torch.tensor(condition.numpy()), x, y),
    )


CASES = {
    "add": arithmetic(lambda x, y: x + y, lambda torch, x, y: x + y),
    "subtract": arithmetic(lambda x, y: x - y, lambda torch, x, y: x - y),
    "multiply": arithmetic(lambda x, y: x * y, lambda torch, x, y: x * y),
    "divide": arithmetic(lambda x, y: x / y, lambda torch, x, y: x / y, away_from=[0.0], gap=0.5),
    "pow": arithmetic(lambda x, y: x**y, lambda torch, x, y: x**y, low=0.5),
    "neg": unary(lambda x: -x, lambda torch, x: -x),
    "abs": unary(abs, lambda torch, x: abs(x), away_from=[0.0]),
    "exp": unary(mt.exp, lambda torch, x: torch.exp(x)),
    "log": unary(mt.log, lambda torch, x: torch.log(x), low=0.5),
    "sqrt": unary(mt.sqrt, lambda torch, x: torch.sqrt(x), low=0.5),
    "tanh": unary(mt.tanh, lambda torch, x: torch.tanh(x)),
    "sigmoid": unary(mt.sigmoid, lambda torch, x: torch.sigmoid(x)),
    "relu": unary(mt.relu, lambda torch, x: torch.relu(x), away_from=[0.0]),
    "maximum": extreme(mt.maximum, lambda torch, x, y: torch.maximum(x, y)),
    "minimum": extreme(mt.minimum, lambda torch, x, y: torch.minimum(x, y)),
    "_choose": choose(),
    "clone": unary(mt.clone, lambda torch, x: x.clone()),
    "cast": unary(lambda x: x.to(np.float64), lambda torch, x: x.clone()),
    "move": unary(lambda x: elementwise.move(x, device="cpu"), lambda torch, x: x.clone()),
    "same": unary(gradient.same, lambda torch, x: x.clone()),
}

NOT_DIFFERENTIABLE = {"sign", "_wins", "eq", "ne", "lt", "le", "gt", "ge", "logical_and"}
