"""The operations of `nn`."""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cases.common import Case
from microtensor.nn import conv, linear, loss, norm, pool, windows
from microtensor.testing import geometries, shapes, tensors


def images(g, draw, **settings):
    return draw(tensors((g.images, g.channels, *g.size), **settings))


def sliding(g):
    return {"stride": g.stride, "padding": g.padding, "dilation": g.dilation}


def window_of(g):
    return windows.Window(g.kernel, g.stride, g.padding, g.dilation)


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
def max_pooling(draw):
    g = draw(geometries(half_padding=True))
    x = images(g, draw, distinct=True, low=0.0, high=100.0)
    # A dilated window may see padding alone: −∞, whose gradient PyTorch 2.13 writes to another image.
    assume(np.isfinite(pool.max_pool2d(x, g.kernel, **sliding(g)).numpy()).all())
    return Case(
        lambda x: pool.max_pool2d(x, g.kernel, **sliding(g)),
        [x],
        lambda torch, x: torch.nn.functional.max_pool2d(x, g.kernel, **sliding(g)),
    )


@st.composite
def average_pooling(draw):
    g = draw(geometries(half_padding=True))._replace(dilation=(1, 1))
    return Case(
        lambda x: pool.avg_pool2d(x, g.kernel, g.stride, g.padding),
        [images(g, draw)],
        lambda torch, x: torch.nn.functional.avg_pool2d(x, g.kernel, g.stride, g.padding),
    )


@st.composite
def pooling_adjoint(draw, of):
    g = draw(geometries(half_padding=True))
    window = window_of(g)
    places = (g.images, g.channels, *window.places("", g.size))
    if of == "mean":
        return Case(lambda y: pool._spread_windows(y, window=window, size=g.size), [draw(tensors(places))])
    size = g.kernel[0] * g.kernel[1]
    winner = np.random.default_rng(draw(st.integers(0, 99))).integers(0, size, places).astype(np.uint8)
    if of == "to":
        return Case(lambda y: pool._to_winners(y, winner=winner, window=window, size=g.size), [draw(tensors(places))])
    return Case(lambda x: pool._from_winners(x, winner=winner, window=window), [images(g, draw)])


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


@st.composite
def classification(draw):
    n, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    labels = draw(hnp.arrays(np.int64, (n,), elements=st.integers(0, classes - 1)))
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    return Case(
        lambda x: loss.cross_entropy(x, labels, reduction),
        [draw(tensors((n, classes)))],
        lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor(labels), reduction=reduction),
    )


@st.composite
def fully_connected(draw):
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x, weight = draw(tensors(draw(shapes(max_dims=2)) + (n,))), draw(tensors((m, n)))
    bias = [draw(tensors((m,)))] if draw(st.booleans()) else []
    return Case(linear, [x, weight, *bias], lambda torch, *inputs: torch.nn.functional.linear(*inputs))


@st.composite
def channels(draw, least):
    """x (N, C, …) of at least so many values per channel, and two vectors (C,)."""
    shape = draw(shapes(min_dims=2, max_dims=4, max_side=3).filter(lambda s: np.prod(s) // s[1] >= least))
    return [draw(tensors(shape)), draw(tensors((shape[1],))), draw(tensors((shape[1],)))]


def normalisation():
    return channels(least=3).map(
        lambda inputs: Case(
            lambda x, weight, bias: norm.batch_norm(x, None, None, weight, bias, training=True, eps=0.1),
            inputs,
            lambda torch, x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, training=True, eps=0.1),
        )
    )


CASES = {
    "_linear": fully_connected(),
    "_batch_norm": normalisation(),
    "_affine": channels(least=1).map(lambda inputs: Case(norm._affine, inputs)),
    "_conv2d": convolution(),
    "_to_input": convolution_adjoint("input"),
    "_to_weight": convolution_adjoint("weight"),
    "_max_pool2d": max_pooling(),
    "_to_winners": pooling_adjoint("to"),
    "_from_winners": pooling_adjoint("from"),
    "_avg_pool2d": average_pooling(),
    "_spread_windows": pooling_adjoint("mean"),
    "_unfold": unfolding(),
    "_fold": folding(),
    "_negative_log_likelihood": classification(),
}
