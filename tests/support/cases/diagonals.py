"""Triangles and diagonals."""

import numpy as np
from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case
from cases.shape import dims_of
from microtensor.ops import diagonals
from microtensor.testing import shapes, tensors


@st.composite
def triangle(draw, ours, theirs):
    x, k = draw(tensors(shapes(min_dims=2))), draw(st.integers(-4, 4))
    return Case(lambda x: ours(x, k), [x], lambda torch, x: theirs(torch)(x, k))


@st.composite
def diagonal(draw):
    x, k = draw(tensors(shapes(min_dims=2))), draw(st.integers(-4, 4))
    dims = draw(dims_of(x.ndim, 2, 2))
    return Case(lambda x: x.diagonal(k, *dims), [x], lambda torch, x: x.diagonal(k, *dims))


@st.composite
def on_diagonal(draw):
    shape, k = draw(shapes(min_dims=2)), draw(st.integers(-4, 4))
    dims = tuple(d % len(shape) for d in draw(dims_of(len(shape), 2, 2)))
    g = draw(tensors(mt.Tensor(np.zeros(shape)).diagonal(k, *dims).shape))
    return Case(lambda g: diagonals._on_diagonal(g, offset=k, dims=dims, shape=shape), [g])


@st.composite
def diag(draw):
    x, k = draw(tensors(shapes(min_dims=1, max_dims=2))), draw(st.integers(-3, 3))
    return Case(lambda x: mt.diag(x, k), [x], lambda torch, x: torch.diag(x, k))


CASES = {
    "tril": triangle(mt.tril, lambda torch: torch.tril),
    "triu": triangle(mt.triu, lambda torch: torch.triu),
    "diagonal": diagonal(),
    "_on_diagonal": on_diagonal(),
}

COMPOSED = {
    "diag": diag(),
}
