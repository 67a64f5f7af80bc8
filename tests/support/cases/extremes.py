"""The largest and the smallest numbers, and norms."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from cases.reduce import apart, over_dim, over_dims
from microtensor.testing import shapes, tensors


@st.composite
def choosing(draw, ours, theirs):
    """The values that an operation picks along an axis, kept or not."""
    x = draw(tensors(shapes(min_dims=1), distinct=True, high=20.0))
    dim, keepdim = draw(st.integers(-x.ndim, x.ndim - 1)), draw(st.booleans())
    return Case(
        lambda x: ours(x, dim=dim, keepdim=keepdim).values,
        [x],
        lambda torch, x: theirs(torch, x, dim=dim, keepdim=keepdim).values,
    )


@st.composite
def length(draw, powers):
    """A norm where no number is 0 and no two are equally large."""
    p = draw(st.sampled_from(powers))
    case = draw(
        over_dims(
            lambda x, dim, keepdim: mt.norm(x, p, dim, keepdim),
            lambda torch, x, dim, keepdim: torch.norm(x, p, dim, keepdim) if dim else x.abs(),
            distinct=True,
            low=0.5,
            high=20.0,
        )
    )
    (x,) = case.inputs
    sign = draw(hnp.arrays(np.float64, x.shape, elements=st.sampled_from([1.0, -1.0])))
    return case._replace(inputs=[mt.Tensor(x.numpy() * sign)])


CASES = {
    "_length": length([2]),
    "amax": over_dims(mt.amax, lambda torch, x, dim, keepdim: torch.amax(x, dim, keepdim), **apart),
    "amin": over_dims(mt.amin, lambda torch, x, dim, keepdim: torch.amin(x, dim, keepdim), **apart),
}

COMPOSED = {
    "norm": length([0.5, 1, 1.5, 3, math.inf, -math.inf]),
    "max": choosing(mt.max, lambda torch, x, **settings: torch.max(x, **settings)),
    "min": choosing(mt.min, lambda torch, x, **settings: torch.min(x, **settings)),
    "aminmax": over_dim(
        lambda x, dim: mt.aminmax(x, dim).min * mt.aminmax(x, dim).max,
        lambda torch, x, dim: torch.aminmax(x, dim=dim).min * torch.aminmax(x, dim=dim).max,
        **apart,
    ),
}

NOT_DIFFERENTIABLE = {"argmax", "argmin"}
