"""Reductions, and the normalisations that rest on them."""

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.testing import shapes, tensors


@st.composite
def over_dims(draw, ours, theirs, **settings):
    """A reduction over some axes, counted from either end, or over all."""
    x = draw(tensors(**settings))
    dim = draw(st.one_of(st.none(), hnp.valid_tuple_axes(x.ndim, min_size=1) if x.ndim else st.none()))
    keepdim = draw(st.booleans())
    dims = tuple(range(x.ndim)) if dim is None else dim
    return Case(lambda x: ours(x, dim=dim, keepdim=keepdim), [x], lambda torch, x: theirs(torch, x, dim=dims, keepdim=keepdim))


@st.composite
def over_dim(draw, ours, theirs, **settings):
    """An operation along one axis."""
    x = draw(tensors(shapes(min_dims=1), **settings))
    dim = draw(st.integers(-x.ndim, x.ndim - 1))
    return Case(lambda x: ours(x, dim=dim), [x], lambda torch, x: theirs(torch, x, dim=dim))


CASES = {
    "sum": over_dims(mt.sum, lambda torch, x, dim, keepdim: torch.sum(x, dim, keepdim) if dim else x.clone()),
    "mean": over_dims(mt.mean, lambda torch, x, dim, keepdim: torch.mean(x, dim, keepdim) if dim else x.clone()),
    "amax": over_dims(mt.amax, lambda torch, x, dim, keepdim: torch.amax(x, dim, keepdim), distinct=True, high=20.0),
    "amin": over_dims(mt.amin, lambda torch, x, dim, keepdim: torch.amin(x, dim, keepdim), distinct=True, high=20.0),
    "softmax": over_dim(mt.softmax, lambda torch, x, dim: torch.softmax(x, dim)),
    "log_softmax": over_dim(mt.log_softmax, lambda torch, x, dim: torch.log_softmax(x, dim)),
}

NOT_DIFFERENTIABLE = {"argmax"}
