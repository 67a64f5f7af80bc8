"""Convolutions drawn at random, and their definition in seven loops."""

import itertools

import numpy as np
from hypothesis import strategies as st

from microtensor.nn.layers.windows import Window
from microtensor.testing import geometries


def seven_loops(x, w, window, groups):
    """The definition, written out."""
    x = np.pad(x, [(0, 0), (0, 0), *window.padding])
    (n, _, height, width), (o, c, kh, kw) = x.shape, w.shape
    stride, dilation = window.stride, window.dilation
    rows = (height - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, rows, columns))
    for b, k, i, j, m, a, e in itertools.product(*map(range, (n, o, rows, columns, c, kh, kw))):
        channel = k // (o // groups) * c + m
        y[b, k, i, j] += w[k, m, a, e] * x[b, channel, i * stride[0] + a * dilation[0], j * stride[1] + e * dilation[1]]
    return y


@st.composite
def convolutions(draw, depthwise=False, plain=False):
    """A geometry, a window padded unevenly, images, kernels and the gradient of the result. `plain`: stride and groups 1."""
    g = draw(geometries())
    if plain:
        g = g._replace(groups=1, stride=(1, 1))
    if depthwise:
        g = g._replace(groups=g.channels, kernels=g.channels)
    odd = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    padding = tuple((p, p + more) for p, more in zip(g.padding, odd))
    window = Window(g.kernel, g.stride, padding, g.dilation)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shapes = (
        (g.images, g.channels, *g.size),
        (g.kernels, g.channels // g.groups, *g.kernel),
        (g.images, g.kernels, *window.places("", g.size)),
    )
    return g, window, *(rng.standard_normal(shape) for shape in shapes)


def three_by_definition(x, w, g, b, c, window, groups):
    """The three by their definition, an element of the kernel at a time, in float64."""
    x, w, g, b, c = (a.astype(float) for a in (x, w, g, b, c))
    padded, (k, *_) = window.pad(x), w.shape[1:]
    images = padded.reshape(len(x), groups, k, *padded.shape[2:])
    weight, gradient = w.reshape(groups, -1, *w.shape[1:]), g.reshape(len(g), groups, -1, *g.shape[2:])
    y, back, change = np.zeros_like(gradient), np.zeros_like(images), np.zeros_like(weight)
    seen = zip(window.taps(images, g.shape[2:]), window.taps(back, g.shape[2:]))
    for (i, j, pixels), (_, _, places) in seen:
        y += np.einsum("gok,ngkhw->ngohw", weight[..., i, j], pixels, optimize=True)
        places += np.einsum("gok,ngohw->ngkhw", weight[..., i, j], gradient, optimize=True)
        change[..., i, j] = np.einsum("ngohw,ngkhw->gok", gradient, pixels, optimize=True)
    back = window.crop(back.reshape(padded.shape))
    return y.reshape(g.shape) + b[:, None, None], back + c[:, None, None], change.reshape(w.shape)
