"""Depthwise convolution, on arrays: its definition, its adjoints, the blocks that it works in."""

import numpy as np
import pytest
from convolutions import convolutions, seven_loops
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import nn
from microtensor.nn.layers.convolution.cpu import depthwise, im2col
from microtensor.nn.layers.windows import Window
from microtensor.runtime.cuda.kernels import plain

blocks = st.tuples(st.sampled_from([1, 50, 1 << 13]), st.sampled_from([1, 1000, 1 << 18]))


@given(convolutions(depthwise=True), blocks, st.sampled_from([0, 9]))
def test_depthwise_convolution_is_its_definition(case, sizes, small):
    g, window, x, w, v = case
    with pytest.MonkeyPatch.context() as patch:  # the blocks make no difference
        patch.setattr(depthwise, "SMALL", small)
        patch.setattr(depthwise, "LINE", sizes[0])
        patch.setattr(depthwise, "BLOCK_BYTES", sizes[1])
        y = depthwise.forward(x, w, window)
        to_input, to_weight = depthwise.to_input(v, w, window, g.size), depthwise.to_weight(x, v, window)
    np.testing.assert_allclose(y, seven_loops(x, w, window, g.channels), rtol=1e-10, atol=1e-10)
    forward = (y * v).sum()
    np.testing.assert_allclose([(to_input * x).sum(), (to_weight * w).sum()], forward, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("stride", "dilation"), [((4, 3), (1, 1)), ((2, 3), (2, 3)), ((4, 6), (6, 4)), ((1, 5), (3, 1))])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((5, 0), (1, 7))])
def test_strides_and_dilations_that_share_divisors(stride, dilation, padding):
    """Phases that no element of the kernel sees, rows that no window sees, windows that see padding alone."""
    rng = np.random.default_rng(0)
    window = Window((3, 2), stride, padding, dilation)
    x, w = rng.standard_normal((3, 5, 16, 17)), rng.standard_normal((5, 1, 3, 2))
    y = depthwise.forward(x, w, window)
    v = rng.standard_normal(y.shape)
    np.testing.assert_allclose(y, im2col.forward(x, w, None, window, 5), rtol=1e-10, atol=1e-10)
    to_input, expected = depthwise.to_input(v, w, window, (16, 17)), im2col.to_input(v, w, None, window, 5, (16, 17))
    np.testing.assert_allclose(to_input, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(depthwise.to_weight(x, v, window), im2col.to_weight(x, v, window, 5), rtol=1e-10, atol=1e-10)


def test_the_fast_path_is_taken_for_one_kernel_a_channel(monkeypatch):
    used = []
    for name in ("forward", "to_input", "to_weight"):
        own = getattr(depthwise, name)
        monkeypatch.setattr(depthwise, name, lambda *args, name=name, own=own: used.append(name) or own(*args))
    x = mt.Tensor(np.ones((2, 3, 5, 5), np.float32), requires_grad=True)
    with plain():  # a GPU has kernels of its own
        nn.Conv2d(3, 3, 3, groups=3)(x).sum().backward()
        assert sorted(used) == ["forward", "to_input", "to_weight"]
        used.clear()
        nn.Conv2d(3, 6, 3, groups=3)(x).sum().backward()
    assert not used


def test_an_empty_batch():
    layer = nn.Conv2d(3, 3, 3, stride=2, groups=3)
    x = mt.Tensor(np.zeros((0, 3, 5, 5), np.float32), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == (0, 3, 2, 2)
    assert x.grad.shape == x.shape
    assert not layer.weight.grad.numpy().any()


def test_an_infinity_stays_where_it_is(monkeypatch):
    """Lines hold images one after another: what is computed where they meet is cropped."""
    monkeypatch.setattr(depthwise, "SMALL", 0)
    x = np.zeros((2, 1, 4, 4))
    x[0, 0, 3, 3] = np.inf
    y = depthwise.forward(x, np.ones((1, 1, 2, 2)), Window((2, 2), padding=((1, 0), (1, 0))))
    assert np.isinf(y[0, 0, 3, 3])
    assert np.isinf(y).sum() == 1
    assert not np.isnan(y).any()
