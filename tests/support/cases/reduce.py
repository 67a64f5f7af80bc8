"""Reductions, and the normalisations that rest on them."""

import math

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.ops import softmax
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


@st.composite
def with_zeros(draw, cases):
    """Some of the numbers 0, where a quotient would have no value."""
    case = draw(cases)
    (x,) = case.inputs
    kept = draw(hnp.arrays(bool, x.shape, elements=st.sampled_from([True, True, False])))
    return case._replace(inputs=[mt.Tensor(x.numpy() * kept)])


@st.composite
def spread(draw, ours, theirs):
    """A variance or standard deviation, of enough numbers."""
    x = draw(tensors(shapes(min_dims=1), distinct=True, high=20.0))
    dims = draw(hnp.valid_tuple_axes(x.ndim, min_size=1))
    assume(math.prod(x.shape[d] for d in dims) > 1)
    correction, keepdim = draw(st.sampled_from([0, 1, 0.5])), draw(st.booleans())
    return Case(
        lambda x: ours(x, dim=dims, correction=correction, keepdim=keepdim),
        [x],
        lambda torch, x: theirs(torch, x, dim=dims, correction=correction, keepdim=keepdim),
    )


def product(torch, x, dim, keepdim):
    for d in dim:
        x = x.prod(d, keepdim=True)
    return x if keepdim or not dim else x.squeeze(dim)


@st.composite
def softmax_gradient(draw, ours, theirs):
    """The Jacobian of softmax times g, from g and the result y."""
    g = draw(tensors(shapes(min_dims=1)))
    axis = draw(st.integers(0, g.ndim - 1))
    return Case(
        lambda g, y: ours(g, y, axis=axis),
        [g, draw(tensors(st.just(g.shape)))],
        lambda torch, g, y: theirs(torch, g, y, axis),
    )


apart = {"distinct": True, "high": 20.0}

CASES = {
    "sum": over_dims(mt.sum, lambda torch, x, dim, keepdim: torch.sum(x, dim, keepdim) if dim else x.clone()),
    "mean": over_dims(mt.mean, lambda torch, x, dim, keepdim: torch.mean(x, dim, keepdim) if dim else x.clone()),
    "var": spread(mt.var, lambda torch, x, **settings: torch.var(x, **settings)),
    "logsumexp": over_dims(mt.logsumexp, lambda torch, x, dim, keepdim: torch.logsumexp(x, dim, keepdim) if dim else x.clone()),
    "softmax": over_dim(mt.softmax, lambda torch, x, dim: torch.softmax(x, dim)),
    "log_softmax": over_dim(mt.log_softmax, lambda torch, x, dim: torch.log_softmax(x, dim)),
    "_softmax_gradient": softmax_gradient(
        softmax._softmax_gradient, lambda torch, g, y, axis: y * (g - (g * y).sum(axis, keepdim=True))
    ),
    "_log_softmax_gradient": softmax_gradient(
        softmax._log_softmax_gradient, lambda torch, g, y, axis: g - y.exp() * g.sum(axis, keepdim=True)
    ),
}

COMPOSED = {
    "prod": with_zeros(over_dims(mt.prod, product)),
    "std": spread(mt.std, lambda torch, x, **settings: torch.std(x, **settings)),
    "var_mean": spread(lambda x, **s: mt.var_mean(x, **s)[0], lambda torch, x, **s: torch.var_mean(x, **s)[0]),
}

NOT_DIFFERENTIABLE = {"any", "all", "count_nonzero"}
