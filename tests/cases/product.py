"""Matrix products."""

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cases.common import Case
from microtensor import product
from microtensor.testing import shapes, tensors


@st.composite
def matrix_product(draw):
    drawn = draw(hnp.mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, max_side=3))
    x, y = (draw(tensors(s)) for s in drawn.input_shapes)
    return Case(lambda x, y: x @ y, [x, y], lambda torch, x, y: x @ y)


@st.composite
def plain_matrix_product(draw):
    batch, m, k, n = draw(shapes(max_dims=2, max_side=2)), *(draw(st.integers(1, 3)) for _ in range(3))
    return Case(product._matmul, [draw(tensors((*batch, m, k))), draw(tensors((*batch, k, n)))], lambda torch, x, y: x @ y)


CASES = {
    "_matmul": st.one_of(matrix_product(), plain_matrix_product()),
}
