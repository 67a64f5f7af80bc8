"""Matrix products. What is made of them alone (einsum and others) is tested in test_contraction.py."""

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.testing import tensors


@st.composite
def matrix_product(draw):
    drawn = draw(hnp.mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, max_side=3))
    x, y = (draw(tensors(s)) for s in drawn.input_shapes)
    return Case(lambda x, y: x @ y, [x, y], lambda torch, x, y: x @ y)


@st.composite
def strict_product(draw):
    b, m, k, n = (draw(st.integers(1, 3)) for _ in range(4))
    name, first, second = draw(
        st.sampled_from(
            [
                ("mm", (m, k), (k, n)),
                ("bmm", (b, m, k), (b, k, n)),
                ("mv", (m, k), (k,)),
                ("dot", (k,), (k,)),
                ("outer", (m,), (n,)),
            ]
        )
    )
    inputs = [draw(tensors(first)), draw(tensors(second))]
    return Case(getattr(mt, name), inputs, lambda torch, x, y: getattr(torch, name)(x, y))


CASES = {
    "_matmul": st.one_of(matrix_product(), strict_product()),
}
