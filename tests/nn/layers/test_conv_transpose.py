"""Transposed convolution: the adjoint of convolution, its sizes, layers against PyTorch's, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layers import check_layer

from microtensor import Tensor, nn
from microtensor.testing import geometries


@given(geometries(), st.integers(0, 999))
def test_it_is_the_adjoint_of_convolution(g, seed):
    """⟨conv(x), v⟩ = ⟨x, conv_transpose(v)⟩, with the output_padding that leads back to the size of x."""
    rng = np.random.default_rng(seed)
    x, w = (
        rng.standard_normal((g.images, g.channels, *g.size)),
        rng.standard_normal((g.kernels, g.channels // g.groups, *g.kernel)),
    )
    y = nn.conv2d(Tensor(x), Tensor(w), None, g.stride, g.padding, g.dilation, g.groups).numpy()
    v = rng.standard_normal(y.shape)
    rest = [(n + 2 * p - d * (k - 1) - 1) % s for n, p, d, k, s in zip(g.size, g.padding, g.dilation, g.kernel, g.stride)]
    back = nn.conv_transpose2d(Tensor(v), Tensor(w), None, g.stride, g.padding, tuple(rest), g.groups, g.dilation).numpy()
    assert back.shape == x.shape
    np.testing.assert_allclose((back * x).sum(), (y * v).sum(), rtol=1e-9, atol=1e-9)


def test_each_number_paints_a_kernel():
    x, w = Tensor(np.array([[[[1.0, 0.0], [0.0, 10.0]]]])), Tensor(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    expected = [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 10, 20], [0, 0, 30, 40]]
    assert nn.conv_transpose2d(x, w, stride=2).numpy()[0, 0].tolist() == expected


@st.composite
def settings_of_layers(draw, axes):
    g = draw(geometries())
    arguments = {name: getattr(g, name)[-axes:] for name in ("stride", "padding", "dilation")} | {"groups": g.groups}
    more = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(arguments["stride"], arguments["dilation"])]
    arguments |= {"output_padding": tuple(more), "bias": draw(st.booleans())}
    return (g.channels, g.kernels, g.kernel[-axes:]), arguments, (g.images, g.channels, *(n + 6 for n in g.size[-axes:]))


@given(settings_of_layers(axes=2))
def test_conv_transpose2d_is_pytorchs(case):
    check_layer("ConvTranspose2d", *case)


@given(settings_of_layers(axes=1))
def test_conv_transpose1d_is_pytorchs(case):
    check_layer("ConvTranspose1d", *case)


@pytest.mark.parametrize("size", [[10, 15], [12, 16], [11, 17], [2, 4, 11, 15]])
def test_output_size_chooses_the_padding_as_pytorchs(size):
    check_layer("ConvTranspose2d", (2, 4, 3), {"stride": 3, "padding": (1, 0)}, (2, 2, 4, 5), [size])


def test_output_size_may_be_one_number_or_a_whole_shape():
    up = nn.ConvTranspose2d(1, 1, 3, stride=2)
    x = Tensor(np.ones((1, 1, 3, 3), np.float32))
    assert up(x, 8).shape == up(x, (8, 8)).shape == up(x, [1, 1, 8, 8]).shape == (1, 1, 8, 8)
    line = nn.ConvTranspose1d(1, 1, 3, stride=2)
    assert line(Tensor(np.ones((1, 1, 3), np.float32)), (8,)).shape == (1, 1, 8)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ConvTranspose2d", {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "bias": False}),
        ("ConvTranspose1d", {"dilation": 2, "output_padding": 1}),
        ("ConvTranspose2d", {}),
    ],
)
def test_layers_print_as_pytorchs(name, settings):
    torch = pytest.importorskip("torch")
    assert repr(getattr(nn, name)(2, 4, 3, **settings)) == repr(getattr(torch.nn, name)(2, 4, 3, **settings))


def test_weights_start_as_pytorchs():
    """U(−b, b), b = 1/√(out_channels/groups · kh · kw): fan_in as PyTorch counts it, by the second axis."""
    layer = nn.ConvTranspose2d(64, 8, (3, 5), groups=2)
    bound = 1 / np.sqrt(4 * 15)
    weight = layer.weight.numpy()
    assert layer.weight.shape == (64, 4, 3, 5)
    assert 0.98 * bound < np.abs(weight).max() <= bound
    assert np.abs(layer.bias.numpy()).max() <= bound
    np.testing.assert_allclose(weight.std(), bound / np.sqrt(3), rtol=0.05)


def test_an_empty_batch():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2)
    y = layer(Tensor(np.zeros((0, 2, 4, 4), np.float32)))
    assert y.shape == (0, 3, 9, 9)
    y.sum().backward()
    assert not layer.weight.grad.numpy().any()


IMAGE, KERNEL = Tensor(np.ones((8, 2, 3, 3))), Tensor(np.ones((2, 3, 3, 3)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.conv_transpose2d(IMAGE, KERNEL[:1]),
            ValueError,
            r"conv_transpose2d: weight \(1, 3, 3, 3\) takes 1 channels, but x \(8, 2, 3, 3\) has 2; .*first axis of weight",
        ),
        (lambda: nn.conv_transpose2d(IMAGE[0], KERNEL), ValueError, r"expected x of 4 axes \(N, C, H, W\).*unsqueeze"),
        (lambda: nn.conv_transpose2d(IMAGE, KERNEL[0]), ValueError, r"expected weight of 4 axes \(C, O/groups, kh, kw\)"),
        (lambda: nn.conv_transpose2d(IMAGE, KERNEL, groups=3), ValueError, "groups=3 must divide the 2 channels of x"),
        (
            lambda: nn.conv_transpose2d(IMAGE, KERNEL, Tensor(np.ones(3)), groups=2),
            ValueError,
            r"the result has 6 channels, but bias has shape \(3,\)",
        ),
        (
            lambda: nn.conv_transpose2d(IMAGE, KERNEL, stride=2, output_padding=2),
            ValueError,
            r"conv_transpose2d: output_padding \(2, 2\) must be less than the stride \(2, 2\) or the dilation \(1, 1\)",
        ),
        (
            lambda: nn.conv_transpose2d(IMAGE, KERNEL, padding=3),
            ValueError,
            r"of x of size \(3, 3\), kernel \(3, 3\) and padding 3 make an image of size \(-1, -1\): give a larger x",
        ),
        (lambda: nn.conv_transpose2d(IMAGE, KERNEL, padding="same"), TypeError, "padding must be an integer .* 'same'"),
        (lambda: nn.conv_transpose2d(IMAGE.to("float32"), KERNEL), TypeError, "needs one floating-point dtype"),
        (
            lambda: nn.conv_transpose1d(IMAGE, KERNEL[:, :, 0]),
            ValueError,
            r"conv_transpose1d: expected x of 3 axes \(N, C, L\), got shape \(8, 2, 3, 3\)",
        ),
        (
            lambda: nn.conv_transpose1d(IMAGE[:, :, 0], KERNEL[:, :, 0], padding=3),
            ValueError,
            r"conv_transpose1d: of x of size \(3,\), kernel \(3,\) and padding 3 make an image of size \(-1,\)",
        ),
        (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), ValueError, "ConvTranspose2d: groups=2 must divide in_channels=3"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), ValueError, "ConvTranspose2d: padding is a number .*'same'"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), ValueError, "padding_mode='reflect'"),
        (
            lambda: nn.ConvTranspose1d(3, 4, 3, output_padding=1),
            ValueError,
            r"ConvTranspose1d: output_padding \(1,\) must be less than the stride \(1,\)",
        ),
        (
            lambda: nn.ConvTranspose2d(2, 4, 3, stride=2)(IMAGE.to("float32"), (9, 8)),
            ValueError,
            r"ConvTranspose2d: x \(8, 2, 3, 3\) can become of size \(7, 7\) to \(8, 8\), not of output_size \(9, 8\)",
        ),
        (lambda: nn.ConvTranspose2d(2, 4, 3)(IMAGE.to("float32"), (5, 5, 5)), TypeError, "output_size must be an integer"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
