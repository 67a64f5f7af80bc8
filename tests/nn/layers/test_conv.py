"""Convolution: the definition, padding by name and mode, layers against PyTorch's, the lecture's numbers, errors."""

import numpy as np
import pytest
from convolutions import seven_loops
from hypothesis import given
from hypothesis import strategies as st
from layers import check_layer

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.nn.layers.windows import Window
from microtensor.testing import geometries


@given(geometries(), st.integers(0, 999))
def test_convolution_is_its_definition(g, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.images, g.channels, *g.size))
    w = rng.standard_normal((g.kernels, g.channels // g.groups, *g.kernel))
    y = nn.conv2d(Tensor(x), Tensor(w), None, g.stride, g.padding, g.dilation, g.groups)
    expected = seven_loops(x, w, Window.of("", g.kernel, g.stride, g.padding, g.dilation), g.groups)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10, atol=1e-10)


@given(geometries(), st.integers(0, 999))
def test_a_sequence_is_an_image_of_height_1(g, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.images, g.channels, g.size[1]))
    w = rng.standard_normal((g.kernels, g.channels // g.groups, g.kernel[1]))
    y = nn.conv1d(Tensor(x), Tensor(w), None, g.stride[1], g.padding[1], g.dilation[1], g.groups)
    window = Window.of("", g.kernel[1], g.stride[1], g.padding[1], g.dilation[1], axes=1)
    expected = seven_loops(x[:, :, None], w[:, :, None], window, g.groups)[:, :, 0]
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10, atol=1e-10)


@given(geometries(), st.integers(0, 999))
def test_same_keeps_the_size_at_any_stride(g, seed):
    """⌈n / stride⌉ places, and as many pixels of padding before as after, or one fewer."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.images, g.channels, *g.size))
    w = rng.standard_normal((g.kernels, g.channels // g.groups, *g.kernel))
    y = nn.conv2d(Tensor(x), Tensor(w), None, g.stride, "same", g.dilation, g.groups)
    assert y.shape[2:] == tuple(-(-n // s) for n, s in zip(g.size, g.stride))
    padding = []
    for n, places, s, d, k in zip(g.size, y.shape[2:], g.stride, g.dilation, g.kernel):
        total = max(s * (places - 1) + d * (k - 1) + 1 - n, 0)  # from the first pixel of all windows to the last
        padding.append((total // 2, (total + 1) // 2))
    window = Window(g.kernel, g.stride, tuple(padding), g.dilation)
    np.testing.assert_allclose(y.numpy(), seven_loops(x, w, window, g.groups), rtol=1e-10, atol=1e-10)


def test_the_odd_pixel_of_same_goes_to_the_bottom_and_right():
    x, ones = Tensor(np.arange(1.0, 14.0).reshape(1, 1, 13)), Tensor(np.ones((1, 1, 6)))
    # TensorFlow's own example: one zero on the left, two on the right
    assert nn.conv1d(x, ones, stride=5, padding="same").numpy().tolist() == [[[15.0, 45.0, 46.0]]]
    image = Tensor(np.array([[[[1.0, 2.0], [4.0, 8.0]]]]))
    y = nn.conv2d(image, Tensor(np.ones((1, 1, 2, 2))), padding="same")
    assert y.numpy()[0, 0].tolist() == [[15.0, 10.0], [12.0, 8.0]]


def test_valid_is_no_padding():
    x, w = Tensor(np.arange(16.0).reshape(1, 1, 4, 4)), Tensor(np.ones((1, 1, 3, 3)))
    assert (nn.conv2d(x, w, padding="valid") == nn.conv2d(x, w)).all()


@st.composite
def settings_of_layers(draw, axes):
    """The arguments of a layer, and the shape of an input that is large enough for any padding mode."""
    g = draw(geometries(half_padding=True))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    arguments = {name: getattr(g, name)[-axes:] for name in ("stride", "padding", "dilation")} | {"groups": g.groups}
    arguments |= {"padding_mode": mode, "bias": draw(st.booleans())}
    if draw(st.booleans()):
        arguments |= {"padding": draw(st.sampled_from(["same", "valid"])), "stride": 1}
    size = [n + 4 for n in g.size[-axes:]]
    return (g.channels, g.kernels, g.kernel[-axes:]), arguments, (g.images, g.channels, *size)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(settings_of_layers(axes=2))
def test_conv2d_is_pytorchs(case):
    check_layer("Conv2d", *case)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(settings_of_layers(axes=1))
def test_conv1d_is_pytorchs(case):
    check_layer("Conv1d", *case)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_padding_mode_with_same_and_a_stride(mode):
    """The border is as wide as the zeros would be, the odd pixel at the bottom and on the right."""
    layer = nn.Conv2d(1, 2, (3, 4), stride=2, padding="same", padding_mode=mode).to("float64")
    x = Tensor(np.random.default_rng(0).standard_normal((2, 1, 6, 5)))
    border = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (0, 1), (1, 2)], mode=border)
    expected = nn.conv2d(Tensor(padded), layer.weight, layer.bias, stride=2)
    np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), rtol=1e-12)
    assert layer(x).shape == (2, 2, 3, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "settings"),
    [
        ("Conv2d", (2, 4, 3), {"stride": 2, "padding": 1, "groups": 2, "bias": False}),
        ("Conv2d", (4, 4, (3, 5)), {"padding": "same", "dilation": (1, 2), "padding_mode": "reflect"}),
        ("Conv1d", (2, 4, 3), {"padding": 1, "padding_mode": "circular"}),
        ("Conv1d", (2, 4, (3,)), {"stride": (2,), "dilation": 2, "padding": "valid", "bias": False}),
    ],
)
def test_layers_print_as_pytorchs(name, arguments, settings):
    torch = pytest.importorskip("torch")
    assert repr(getattr(nn, name)(*arguments, **settings)) == repr(getattr(torch.nn, name)(*arguments, **settings))


def test_an_empty_batch():
    y = nn.Conv2d(1, 2, 3)(Tensor(np.zeros((0, 1, 5, 5), np.float32)))
    assert y.shape == (0, 2, 3, 3)
    y.sum().backward()
    assert nn.Conv2d(4, 2, 1, groups=2)(Tensor(np.zeros((0, 4, 5, 5), np.float32))).shape == (0, 2, 5, 5)


@pytest.mark.parametrize(("layer", "parameters"), [((3, 1, 3), 28), ((3, 16, 3), 448), ((3, 256, 5), 19_456)])
def test_the_lectures_parameters(layer, parameters):
    assert sum(p.array.size for p in nn.Conv2d(*layer).parameters()) == parameters


def test_the_same_seed_draws_the_same_weights():
    first, second = (nn.Conv2d(3, 4, 3, generator=mt.Generator(1)) for _ in range(2))
    np.testing.assert_array_equal(first.weight.numpy(), second.weight.numpy())
    assert (first.bias.numpy() == second.bias.numpy()).all()


@pytest.mark.parametrize(("layer", "fan_in"), [(nn.Conv2d(6, 64, (3, 5), groups=2), 45), (nn.Conv1d(6, 64, 9), 54)])
def test_weights_start_as_pytorchs(layer, fan_in):
    """U(−b, b), b = 1/√fan_in."""
    bound = 1 / np.sqrt(fan_in)
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    assert 0.98 * bound < np.abs(weight).max() <= bound
    assert 0.8 * bound < np.abs(bias).max() <= bound
    np.testing.assert_allclose([weight.mean(), weight.std()], [0, bound / np.sqrt(3)], atol=0.05 * bound)


def test_a_convolution_in_double_precision_stays_so():
    x = Tensor(np.ones((1, 2, 4, 4)), requires_grad=True)
    layer = nn.Conv2d(2, 2, 3, groups=2).to("float64")
    layer(x).sum().backward()
    assert {layer(x).dtype, x.grad.dtype, layer.weight.grad.dtype} == {np.dtype("float64")}


IMAGE, KERNEL = Tensor(np.ones((8, 1, 5, 5))), Tensor(np.ones((2, 3, 3, 3)))
LINES = Tensor(np.ones((8, 1, 5)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.conv2d(IMAGE, KERNEL),
            ValueError,
            r"weight \(2, 3, 3, 3\) takes 3 channels per group, but x \(8, 1, 5, 5\) has 1$",
        ),
        (
            lambda: nn.conv2d(IMAGE.movedim(1, -1), KERNEL[:, :1]),
            ValueError,
            r"x \(8, 5, 5, 1\) has 5; they are its last axis, and are to follow the batch: x.movedim\(-1, 1\)$",
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
        (lambda: nn.conv2d(IMAGE, KERNEL[:, :1], groups=0), ValueError, "conv2d: groups must be at least 1, got 0"),
        (lambda: nn.conv2d(IMAGE, KERNEL[:, :1], groups=1.0), TypeError, "conv2d: groups must be an integer, got 1.0"),
        (
            lambda: nn.conv2d(IMAGE, KERNEL[:, :1], padding="full"),
            ValueError,
            'conv2d: padding must be "valid", "same" or a number of pixels, got \'full\'',
        ),
        (lambda: nn.conv2d(IMAGE, KERNEL[:, :1], stride=(1, 2, 3)), TypeError, r"stride must be .* two of them .*\(1, 2, 3\)"),
        (
            lambda: nn.conv1d(LINES[0], KERNEL[:, :1, 0]),
            ValueError,
            r"conv1d: expected x of 3 axes \(N, C, L\), got shape \(1, 5\); a single sequence needs a batch axis: x.unsqueeze\(0\)",
        ),
        (lambda: nn.conv1d(LINES, KERNEL), ValueError, r"conv1d: expected weight of 3 axes \(O, C/groups, k\)"),
        (
            lambda: nn.conv1d(LINES, KERNEL[:, :1, 0], stride=(1, 1)),
            TypeError,
            r"conv1d: stride must be an integer, got \(1, 1\)",
        ),
        (
            lambda: nn.conv1d(LINES, Tensor(np.ones((1, 1, 4))), dilation=2, padding=0),
            ValueError,
            r"conv1d: kernel \(4,\) with dilation \(2,\) covers \(7,\) elements, more than the sequence \(5,\)",
        ),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "Conv2d: groups=2 must divide in_channels=3"),
        (lambda: nn.Conv1d(4, 3, 3, groups=2), ValueError, "Conv1d: groups=2 must divide .* and out_channels=3"),
        (lambda: nn.Conv1d(4, 3, (3, 3)), TypeError, r"Conv1d: kernel_size must be an integer, got \(3, 3\)"),
        (lambda: nn.Conv1d(4, 3, 3, padding="SAME"), ValueError, 'Conv1d: padding must be "valid", "same"'),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), ValueError, "padding_mode must be one of zeros, reflect.*'mirror'"),
        (lambda: nn.Conv2d(1, 4, 3, padding_mode="reflect")(IMAGE[0]), ValueError, "Conv2d: expected x of 4 axes"),
        (
            lambda: nn.Conv2d(1, 4, 7, padding_mode="reflect")(IMAGE),
            ValueError,
            r"Conv2d: kernel \(7, 7\).* more than the image",
        ),
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "in_channels must be at least 1"),
        (lambda: nn.Conv2d(3, 4, 3.0), TypeError, "kernel_size must be an integer"),
        (lambda: nn.Conv2d((3, 3), 4, 3), TypeError, "in_channels"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
