"""Convolutions drawn at random, and what they mean: the seven loops of the definition, and unfold · matmul."""

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


def meaning(x, w, g, b, c, window, groups):
    """unfold · matmul, in float64: y with the bias b; the gradient of x with the bias c; the gradient of w."""
    x, w, g, b, c = (a.astype(float) for a in (x, w, g, b, c))
    n, places, padded = len(x), g.shape[2:], window.pad(x)
    columns = np.stack([view for _, _, view in window.taps(padded, places)], 2)  # (N, C, kh · kw, H', W')
    columns = columns.reshape(n, groups, -1, places[0] * places[1])  # (N, G, C/G · kh · kw, H' · W')
    matrix, slopes = w.reshape(groups, len(w) // groups, -1), g.reshape(n, groups, len(w) // groups, -1)
    y = (matrix @ columns).reshape(g.shape)
    weight = (slopes @ columns.swapaxes(2, 3)).sum(0).reshape(w.shape)
    back = (matrix.swapaxes(1, 2) @ slopes).reshape(n, x.shape[1], -1, *places)
    image = np.zeros_like(padded)
    for tap, (_, _, view) in enumerate(window.taps(image, places)):
        view += back[:, :, tap]
    return y + b[:, None, None], window.crop(image) + c[:, None, None], weight


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
