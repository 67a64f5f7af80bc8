"""Convolution by columns, on arrays: its definition, its adjoints, the parts of a batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor.nn.layers.convolution import columns
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


@given(convolutions())
def test_convolution_is_its_definition(case):
    g, window, x, w, _ = case
    expected = seven_loops(x, w, window, g.groups)
    np.testing.assert_allclose(columns.forward(x, w, None, window, g.groups), expected, rtol=1e-10, atol=1e-10)


@given(convolutions(), st.sampled_from([1, 200, 1 << 20]))
def test_the_three_are_adjoint(case, column_bytes):
    g, window, x, w, v = case
    with pytest.MonkeyPatch.context() as patch:  # the parts of a batch make no difference
        patch.setattr(columns, "BYTES", column_bytes)
        forward = (columns.forward(x, w, None, window, g.groups) * v).sum()
        to_input = (columns.to_input(v, w, None, window, g.groups, g.size) * x).sum()
        to_weight = (columns.to_weight(x, v, window, g.groups) * w).sum()
    np.testing.assert_allclose([to_input, to_weight], forward, rtol=1e-9, atol=1e-9)


def test_kernels_turned_round_go_to_the_matrix_product_in_order(monkeypatch):
    """One kernel a group leaves a view that runs backward, on which NumPy's matrix product takes three times as long."""
    seen = []
    plain = columns.forward
    monkeypatch.setattr(columns, "forward", lambda x, weight, *rest: seen.append(weight) or plain(x, weight, *rest))
    columns.to_input(np.ones((2, 3, 4, 4)), np.ones((3, 2, 3, 3)), None, Window((3, 3)), 3, (6, 6))
    assert seen[0].flags.c_contiguous
