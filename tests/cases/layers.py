"""Layers of weights and numbers: linear and the like."""

from hypothesis import strategies as st

from cases.common import Case
from microtensor.nn import linear
from microtensor.testing import shapes, tensors


@st.composite
def fully_connected(draw):
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x, weight = draw(tensors(draw(shapes(max_dims=2)) + (n,))), draw(tensors((m, n)))
    bias = [draw(tensors((m,)))] if draw(st.booleans()) else []
    return Case(linear, [x, weight, *bias], lambda torch, *inputs: torch.nn.functional.linear(*inputs))


CASES = {
    "_linear": fully_connected(),
}
