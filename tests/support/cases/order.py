"""Operations that rest on the order of numbers."""

from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case, unary
from cases.extremes import choosing
from cases.reduce import apart
from microtensor.testing import shapes, tensors


@st.composite
def sorted_along(draw):
    x = draw(tensors(shapes(min_dims=1), **apart))
    dim, descending = draw(st.integers(-x.ndim, x.ndim - 1)), draw(st.booleans())
    return Case(lambda x: mt.sort(x, dim, descending).values, [x], lambda torch, x: torch.sort(x, dim, descending).values)


@st.composite
def ranked(draw, ours, theirs, least):
    x = draw(tensors(shapes(min_dims=1), **apart))
    dim = draw(st.integers(-x.ndim, x.ndim - 1))
    k, option = draw(st.integers(least, x.shape[dim])), draw(st.booleans())
    return Case(lambda x: ours(x, k, dim, option).values, [x], lambda torch, x: theirs(torch, x, k, dim, option).values)


CASES = {
    "_median_of_all": unary(mt.median, lambda torch, x: torch.median(x), **apart),
}

COMPOSED = {
    "sort": sorted_along(),
    "topk": ranked(mt.topk, lambda torch, *args: torch.topk(*args), least=0),
    "kthvalue": ranked(mt.kthvalue, lambda torch, *args: torch.kthvalue(*args), least=1),
    "median": choosing(mt.median, lambda torch, x, **settings: torch.median(x, **settings)),
}

NOT_DIFFERENTIABLE = {"argsort", "_index_of_median"}
