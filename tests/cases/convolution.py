"""Convolution, unfold and fold."""

from hypothesis import strategies as st

from cases.common import Case, images, sliding, window_of
from microtensor.nn import conv, windows
from microtensor.testing import geometries, tensors


@st.composite
def convolution(draw):
    g = draw(geometries())
    x, w = images(g, draw), draw(tensors((g.kernels, g.channels // g.groups, *g.kernel)))
    bias = [draw(tensors((g.kernels,)))] if draw(st.booleans()) else []
    settings = sliding(g) | {"groups": g.groups}
    return Case(
        lambda x, w, *b: conv.conv2d(x, w, *b, **settings),
        [x, w, *bias],
        lambda torch, x, w, *b: torch.nn.functional.conv2d(x, w, *b, **settings),
    )


@st.composite
def convolution_adjoint(draw, of):
    g = draw(geometries())
    window = window_of(g)
    w, y = (g.kernels, g.channels // g.groups, *g.kernel), (g.images, g.kernels, *window.places("", g.size))
    if of == "weight":
        inputs = [images(g, draw), draw(tensors(y))]
        return Case(lambda x, y: conv._to_weight(x, y, window=window, groups=g.groups), inputs)
    inputs = [draw(tensors(y)), draw(tensors(w))]
    return Case(lambda y, w: conv._to_input(y, w, window=window, groups=g.groups, size=g.size), inputs)


@st.composite
def unfolding(draw):
    g = draw(geometries())
    return Case(
        lambda x: windows.unfold(x, g.kernel, g.dilation, g.padding, g.stride),
        [images(g, draw)],
        lambda torch, x: torch.nn.functional.unfold(x, g.kernel, g.dilation, g.padding, g.stride),
    )


@st.composite
def folding(draw):
    g = draw(geometries())
    places = window_of(g).places("", g.size)
    return Case(
        lambda c: windows.fold(c, g.size, g.kernel, g.dilation, g.padding, g.stride),
        [draw(tensors((g.images, g.channels * g.kernel[0] * g.kernel[1], places[0] * places[1])))],
        lambda torch, c: torch.nn.functional.fold(c, g.size, g.kernel, g.dilation, g.padding, g.stride),
    )


CASES = {
    "_conv2d": convolution(),
    "_to_input": convolution_adjoint("input"),
    "_to_weight": convolution_adjoint("weight"),
    "_unfold": unfolding(),
    "_fold": folding(),
}
