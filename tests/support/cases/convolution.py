"""Convolution and its transpose, unfold and fold."""

import warnings

from hypothesis import strategies as st

from cases.common import Case, images, sliding, window_of
from microtensor.nn.layers import conv, conv_transpose, windows
from microtensor.testing import geometries, tensors

odd = st.integers(0, 2)


def pytorchs(ours, settings):
    """The function of the same name."""

    def theirs(torch, *inputs):
        with warnings.catch_warnings():  # "same" with an even kernel is slow there, and says so
            warnings.simplefilter("ignore", UserWarning)
            return getattr(torch.nn.functional, ours.__name__)(*inputs, **settings)

    return theirs


@st.composite
def convolution(draw, axes=2, depthwise=False):
    g = draw(geometries())
    if depthwise:
        g = g._replace(groups=g.channels, kernels=g.channels)
    settings = sliding(g) if axes == 2 else {name: value[1] for name, value in sliding(g).items()}
    if draw(st.booleans()):
        settings |= {"padding": draw(st.sampled_from(["same", "valid"]))}
        settings |= {"stride": 1} if settings["padding"] == "same" else {}  # PyTorch has no other
        g = g._replace(size=tuple(max(n, d * (k - 1) + 1) for n, d, k in zip(g.size, g.dilation, g.kernel)))
    settings["groups"] = g.groups
    size, kernel = g.size[-axes:], g.kernel[-axes:]
    x, w = draw(tensors((g.images, g.channels, *size))), draw(tensors((g.kernels, g.channels // g.groups, *kernel)))
    bias = [draw(tensors((g.kernels,)))] if draw(st.booleans()) else []
    ours = conv.conv2d if axes == 2 else conv.conv1d
    return Case(lambda x, w, *b: ours(x, w, *b, **settings), [x, w, *bias], pytorchs(ours, settings))


@st.composite
def transposed(draw, axes=2):
    g = draw(geometries())
    settings = {name: value[-axes:] for name, value in sliding(g).items()} | {"groups": g.groups}
    settings["output_padding"] = tuple(
        draw(st.integers(0, max(s, d) - 1)) for s, d in zip(settings["stride"], settings["dilation"])
    )
    kernel = g.kernel[-axes:]
    size = []
    for k, s, p, d in zip(kernel, settings["stride"], settings["padding"], settings["dilation"]):
        least = -(-(2 * p - d * (k - 1)) // s) + 1  # of fewer, cropping would leave nothing
        size.append(max(1, least) + draw(st.integers(0, 2)))
    x = draw(tensors((g.images, g.channels, *size)))
    w = draw(tensors((g.channels, g.kernels // g.groups, *kernel)))
    bias = [draw(tensors((g.kernels,)))] if draw(st.booleans()) else []
    ours = conv_transpose.conv_transpose2d if axes == 2 else conv_transpose.conv_transpose1d
    return Case(lambda x, w, *b: ours(x, w, *b, **settings), [x, w, *bias], pytorchs(ours, settings))


@st.composite
def convolution_adjoint(draw, of):
    g = draw(geometries())
    if draw(st.booleans()):
        g = g._replace(groups=g.channels, kernels=g.channels)
    window = window_of(g)
    (top, bottom), (left, right) = window.padding
    window = window._replace(padding=((top, bottom + draw(odd)), (left, right + draw(odd))))
    w, y = (g.kernels, g.channels // g.groups, *g.kernel), (g.images, g.kernels, *window.places("", g.size))
    if of == "weight":
        inputs = [images(g, draw), draw(tensors(y))]
        return Case(lambda x, y: conv._grad_weight(x, y, window=window, groups=g.groups), inputs)
    bias = [draw(tensors((g.channels,)))] if draw(st.booleans()) else []
    inputs = [draw(tensors(y)), draw(tensors(w)), *bias]
    return Case(lambda y, w, *b: conv._grad_input(y, w, *b, window=window, groups=g.groups, size=g.size), inputs)


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
    "_grad_input": convolution_adjoint("input"),
    "_grad_weight": convolution_adjoint("weight"),
    "_unfold": unfolding(),
    "_fold": folding(),
}

COMPOSED = {
    "conv1d": convolution(axes=1),
    "conv2d, depthwise": convolution(depthwise=True),
    "conv_transpose1d": transposed(axes=1),
    "conv_transpose2d": transposed(),
}
