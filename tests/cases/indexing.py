"""Picking elements out, and putting them back."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cases.common import Case
from microtensor import indexing
from microtensor.testing import shapes, tensors


@st.composite
def indexed(draw):
    x = draw(tensors(shapes(min_dims=1)))
    fancy = hnp.integer_array_indices(x.shape, result_shape=hnp.array_shapes(max_dims=2, max_side=4))
    index = draw(st.one_of(hnp.basic_indices(x.shape, allow_newaxis=True), fancy, hnp.arrays(bool, x.shape)))
    parts = index if isinstance(index, tuple) else (index,)
    backwards = any(isinstance(i, slice) and (i.step or 1) < 0 for i in parts)

    def theirs(torch, x):
        return x[tuple(torch.tensor(i) if isinstance(i, np.ndarray) else i for i in parts)]

    return Case(lambda x: x[index], [x], None if backwards else theirs)  # PyTorch takes no negative steps


@st.composite
def put_back(draw):
    case = draw(indexed())
    (x,) = case.inputs
    index = case.ours.__closure__[0].cell_contents
    g = draw(tensors(x[index].shape))
    return Case(lambda g: indexing._put(g, index=index, shape=x.shape), [g])


CASES = {
    "getitem": indexed(),
    "_put": put_back(),
}
