"""Convolution against seven loops, adjoints, the lecture's numbers, errors."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.nn import conv
from microtensor.nn.windows import Window
from microtensor.testing import geometries


def seven_loops(x, w, stride, padding, dilation, groups):
    """The definition, written out."""
    x = np.pad(x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])
    (n, _, height, width), (o, c, kh, kw) = x.shape, w.shape
    rows = (height - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, rows, columns))
    for b, k, i, j, m, a, e in itertools.product(*map(range, (n, o, rows, columns, c, kh, kw))):
        channel = k // (o // groups) * c + m
        y[b, k, i, j] += w[k, m, a, e] * x[b, channel, i * stride[0] + a * dilation[0], j * stride[1] + e * dilation[1]]
    return y


@given(geometries(), st.integers(0, 999))
def test_convolution_is_its_definition(g, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.images, g.channels, *g.size))
    w = rng.standard_normal((g.kernels, g.channels // g.groups, *g.kernel))
    y = nn.conv2d(Tensor(x), Tensor(w), None, g.stride, g.padding, g.dilation, g.groups)
    np.testing.assert_allclose(y.numpy(), seven_loops(x, w, g.stride, g.padding, g.dilation, g.groups), rtol=1e-10, atol=1e-10)


@given(geometries(), st.integers(0, 999), st.sampled_from([1, 200, 1 << 20]))
def test_the_three_convolutions_are_adjoint(g, seed, column_bytes):
    rng = np.random.default_rng(seed)
    window = Window.of("", g.kernel, g.stride, g.padding, g.dilation)
    x = rng.standard_normal((g.images, g.channels, *g.size))
    w = rng.standard_normal((g.kernels, g.channels // g.groups, *g.kernel))
    v = rng.standard_normal((g.images, g.kernels, *window.places("", g.size)))
    with pytest.MonkeyPatch.context() as patch:  # the parts of a batch make no difference
        patch.setattr(conv, "COLUMN_BYTES", column_bytes)
        forward = (conv._forward(x, w, window, g.groups) * v).sum()
        to_input = (conv._backward_input(v, w, window, g.groups, g.size) * x).sum()
        to_weight = (conv._backward_weight(x, v, window, g.groups) * w).sum()
    np.testing.assert_allclose([to_input, to_weight], forward, rtol=1e-9, atol=1e-9)


def test_an_empty_batch():
    y = nn.Conv2d(1, 2, 3)(Tensor(np.zeros((0, 1, 5, 5), np.float32)))
    assert y.shape == (0, 2, 3, 3)
    y.sum().backward()
    assert nn.Conv2d(4, 2, 1, groups=2)(Tensor(np.zeros((0, 4, 5, 5), np.float32))).shape == (0, 2, 5, 5)


@pytest.mark.parametrize(("layer", "parameters"), [((3, 1, 3), 28), ((3, 16, 3), 448), ((3, 256, 5), 19_456)])
def test_the_lectures_parameters(layer, parameters):
    assert sum(p.data.size for p in nn.Conv2d(*layer).parameters()) == parameters


def test_the_layer_prints_its_settings():
    assert repr(nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, bias=False)) == (
        "Conv2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=2, bias=False)"
    )


def test_the_same_seed_draws_the_same_weights():
    first, second = (nn.Conv2d(3, 4, 3, generator=mt.Generator(1)) for _ in range(2))
    np.testing.assert_array_equal(first.weight.numpy(), second.weight.numpy())
    bound = 1 / np.sqrt(27)
    assert 0.9 * bound < np.abs(first.weight.numpy()).max() <= bound


IMAGE, KERNEL = Tensor(np.ones((8, 1, 5, 5))), Tensor(np.ones((2, 3, 3, 3)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.conv2d(IMAGE, KERNEL),
            ValueError,
            r"weight \(2, 3, 3, 3\) takes 3 channels per group, but x \(8, 1, 5, 5\) has 1",
        ),
        (
            lambda: nn.conv2d(IMAGE[0], KERNEL),
            ValueError,
            r"expected x of 4 axes \(N, C, H, W\), got shape \(1, 5, 5\); a single image",
        ),
        (lambda: nn.conv2d(IMAGE, KERNEL[0]), ValueError, r"expected weight of 4 axes"),
        (lambda: nn.conv2d(IMAGE, KERNEL[:, :1], groups=2), ValueError, "groups=2 must divide the 1 channels"),
        (lambda: nn.conv2d(IMAGE, KERNEL[:, :1], Tensor(np.ones(3))), ValueError, r"2 kernels, but bias has shape \(3,\)"),
        (
            lambda: nn.conv2d(IMAGE, Tensor(np.ones((1, 1, 7, 7)))),
            ValueError,
            r"covers \(7, 7\) pixels, more than the image \(5, 5\)",
        ),
        (
            lambda: nn.conv2d(IMAGE, KERNEL[:, :1].to("float32")),
            TypeError,
            "conv2d: needs one floating-point dtype, got x float64, weight float32; use",
        ),
        (
            lambda: nn.conv2d(IMAGE.to("int64"), KERNEL[:, :1].to("int64")),
            TypeError,
            "floating-point dtype, got x int64, weight int64",
        ),
        (lambda: nn.conv2d(IMAGE, KERNEL[:, :1], padding=-1), ValueError, "padding must be at least 0, got -1"),
        (lambda: nn.conv2d([[1.0]], KERNEL), TypeError, "conv2d: expected a Tensor, a number or an array, got list; wrap it"),
        (lambda: nn.conv2d(IMAGE, 2.0), TypeError, "conv2d: weight must be a Tensor, got 2.0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups=2 must divide in_channels=3"),
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "in_channels must be at least 1"),
        (lambda: nn.Conv2d(3, 4, 3.0), TypeError, "kernel_size must be a whole number"),
        (lambda: nn.Conv2d((3, 3), 4, 3), TypeError, "in_channels"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
