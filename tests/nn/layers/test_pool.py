"""Pooling: the lecture's example, ties, borders, indices, layers, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn, no_grad
from microtensor.runtime import blocking
from microtensor.testing import geometries, tensors

SLIDE = [[2, 4, 8, 3, 6], [9, 3, 4, 2, 5], [5, 4, 6, 3, 1], [2, 3, 1, 3, 4], [2, 7, 4, 5, 7]]
UPSTREAM = [[1, 3, 1], [1, 4, 2], [6, 2, 1]]


def images(values):
    return Tensor(np.array(values, np.float64)[None, None], requires_grad=True)


def test_the_slides_example_forward_and_backward():
    x = images(SLIDE)
    y = nn.max_pool2d(x, 3, stride=1)
    np.testing.assert_array_equal(y.numpy()[0, 0], [[9, 8, 8], [9, 6, 6], [7, 7, 7]])
    y.backward(images(UPSTREAM).detach())
    expected = np.zeros((5, 5))
    expected[0, 2], expected[1, 0], expected[2, 2], expected[4, 1], expected[4, 4] = 4, 2, 6, 8, 1
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], expected)


def test_of_equal_numbers_the_first_gets_the_gradient():
    x = images([[5, 5], [5, 5]])
    nn.max_pool2d(x, 2).backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[1, 0], [0, 0]])


def test_padding_never_wins_and_gets_nothing():
    x = images([[-3.0]])
    y = nn.max_pool2d(x, 2, stride=1, padding=1)
    np.testing.assert_array_equal(y.numpy(), np.full((1, 1, 2, 2), -3.0))
    y.sum().backward()
    assert x.grad.item() == 4.0


def test_max_pooling_of_integers():
    assert nn.max_pool2d(Tensor(np.arange(-4, 0).reshape(1, 1, 2, 2)), 2, padding=1).numpy().max() == -1


def test_kernels_of_more_than_256_pixels():
    x = np.zeros((1, 1, 17, 17))
    x[0, 0, 16, 16] = 1.0
    leaf = Tensor(x, requires_grad=True)
    nn.max_pool2d(leaf, 17).backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), x)


def test_pooling_after_its_input_was_overwritten_is_refused():
    x = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    h = x * 2
    y = nn.max_pool2d(h, 2)
    with no_grad():
        h[...] = 0.0
    with pytest.raises(RuntimeError, match="was assigned to"):
        y.backward()


def test_overwriting_the_result_is_refused():
    x = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    y = nn.max_pool2d(x, 2)
    with no_grad():
        y[...] = 100.0
    with pytest.raises(RuntimeError, match="was assigned to"):
        y.backward()


def test_a_nan_wins_and_gets_the_gradient():
    x = images([[1.0, np.nan], [3.0, 2.0]])
    y = nn.max_pool2d(x, 2)
    assert np.isnan(y.item())
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[0, 1], [0, 0]])


def test_an_infinite_gradient_goes_to_the_winner_alone():
    x = images([[1.0, 4.0], [3.0, 2.0]])
    nn.max_pool2d(x, 2).backward(Tensor(np.full((1, 1, 1, 1), np.inf)))
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[0, np.inf], [0, 0]])


def test_a_mean_in_float16_does_not_overflow():
    x = Tensor(np.full((1, 1, 64, 64), 100.0, np.float16))
    assert nn.avg_pool2d(x, 64).item() == pytest.approx(100.0, rel=0.02)


def test_of_zeros_of_either_sign_the_first_gets_the_gradient():
    x = images([[-0.0, 0.0], [0.0, -0.0]])
    nn.max_pool2d(x, 2).backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[1, 0], [0, 0]])


def test_a_window_of_minus_infinities_beside_padding():
    """The gradient goes to the first of them, and the index is in the image."""
    x = images(np.full((2, 2), -np.inf))
    y, indices = nn.max_pool2d(x, 2, stride=2, padding=1, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), np.full((1, 1, 2, 2), -np.inf))
    np.testing.assert_array_equal(indices.numpy()[0, 0], [[0, 1], [2, 3]])
    y.backward(Tensor(np.ones((1, 1, 2, 2))))
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], np.ones((2, 2)))


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "places"),
    [
        (5, 2, 2, 0, 3),  # the last window hangs over the border
        (4, 2, 2, 1, 3),  # a fourth would begin in the padding
        (6, 3, 3, 1, 3),  # the last begins on the last pixel
        (5, 1, 3, 0, 2),  # a third would begin beyond the image
        (2, 3, 2, 0, 1),  # larger than the image, and hangs over
    ],
)
def test_ceil_mode(n, kernel, stride, padding, places):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((1, 1, n, n))
    for name in ("max_pool2d", "avg_pool2d"):
        y = getattr(nn, name)(Tensor(x), kernel, stride, padding, ceil_mode=True)
        expected = getattr(torch.nn.functional, name)(torch.tensor(x), kernel, stride, padding, ceil_mode=True)
        assert y.shape[2:] == (places, places)
        np.testing.assert_allclose(y.numpy(), expected.numpy())


@given(st.data(), geometries(half_padding=True), st.booleans(), st.integers(0, 999))
def test_indices_are_pytorchs(data, g, ceil_mode, seed):
    """With ties, as the numbers are few, and a nan."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(seed).integers(0, 3, (g.images, g.channels, *g.size)).astype(np.float64)
    x.reshape(x.shape[0], -1)[:, seed % 3 :: x[0].size] = np.nan  # one for each: of several, PyTorch takes the last
    settings = {"stride": g.stride, "padding": g.padding, "ceil_mode": ceil_mode}
    dilation = g.dilation if g.padding == (0, 0) else 1
    if dilation == 1 and data.draw(st.booleans()):
        x, g = x[:, :, 0], g._replace(kernel=g.kernel[1])
        settings = {"stride": g.stride[1], "padding": g.padding[1], "ceil_mode": ceil_mode}
        name = "max_pool1d"
    else:
        name = "max_pool2d"
    try:
        y, indices = getattr(nn, name)(Tensor(x), g.kernel, **settings, dilation=dilation, return_indices=True)
    except ValueError:  # made for a dilation, or for a height
        return
    theirs = getattr(torch.nn.functional, name)(torch.tensor(x), g.kernel, **settings, dilation=dilation, return_indices=True)
    assert not indices.requires_grad
    for ours, expected in zip((y, indices), theirs):
        np.testing.assert_array_equal(ours.numpy(), expected.numpy(), strict=True)


@pytest.mark.parametrize("part_bytes", [1, 300])
def test_the_parts_of_a_batch_make_no_difference(monkeypatch, part_bytes):
    def results():
        x = Tensor(np.random.default_rng(0).standard_normal((3, 2, 7, 5)), requires_grad=True)
        y, indices = nn.max_pool2d(x, 3, 2, 1, return_indices=True)
        z = nn.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return [t.numpy() for t in (y, indices, z, *mt.grad((y * y + z).sum(), x))]

    whole = results()
    monkeypatch.setattr(blocking, "PART_BYTES", part_bytes)
    monkeypatch.setattr(blocking, "SINGLE_THREAD_BYTES", 0)
    for ours, expected in zip(results(), whole):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("pool", [nn.max_pool2d, nn.avg_pool2d])
def test_nothing_to_pool(pool):
    for shape in [(0, 2, 4, 4), (2, 0, 4, 4)]:
        x = Tensor(np.zeros(shape), requires_grad=True)
        y = pool(x, 2)
        assert y.shape == (*shape[:2], 2, 2)
        y.sum().backward()
        assert x.grad.shape == shape


@given(tensors(st.just((2, 3, 5, 4))))
def test_images_whose_axes_were_exchanged(x):
    turned = x.permute(1, 0, 3, 2)
    for pool in (nn.max_pool2d, nn.avg_pool2d):
        expected = pool(Tensor(turned.numpy().copy()), 3, 2, 1)
        np.testing.assert_array_equal(pool(turned, 3, 2, 1).numpy(), expected.numpy())


def test_an_infinity_stays_in_its_windows():
    x = images([[np.inf, 1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(nn.avg_pool2d(x, (1, 2)).numpy(), [[[[np.inf, 2.5]]]])


LAYERS = [
    ("MaxPool2d", (3, 2, 1), {}),
    ("MaxPool2d", ((2, 3), None, (1, 0), 2, False, True), {}),
    ("MaxPool1d", (3,), {"padding": 1, "ceil_mode": True}),
    ("AvgPool2d", (2,), {}),
    ("AvgPool2d", (3, 2, 1, True, False), {"divisor_override": 5}),
    ("AvgPool1d", (3, 2, 1), {"count_include_pad": False}),
]


@pytest.mark.parametrize(("name", "args", "settings"), LAYERS)
def test_layers_are_pytorchs(name, args, settings):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **settings), getattr(torch.nn, name)(*args, **settings)
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6)[: 4 if "2d" in name else 3])
    for _ in range(2):
        np.testing.assert_allclose(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).numpy())
        ours.eval(), theirs.eval()
    assert not ours.state_dict()
    for key in ("ceil_mode", "return_indices", "dilation", "count_include_pad", "divisor_override"):
        assert getattr(ours, key, None) == getattr(theirs, key, None)


def test_layers_print_their_settings():
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=2, padding=0)"
    layer = nn.MaxPool1d(3, 1, return_indices=True)
    assert repr(layer) == "MaxPool1d(kernel_size=3, stride=1, padding=0, return_indices=True)"
    assert isinstance(layer(Tensor([[[1.0, 2.0, 3.0]]])), tuple)
    assert repr(nn.AvgPool2d(2, divisor_override=3)).endswith("padding=0, divisor_override=3)")


X = images(SLIDE).detach()


@pytest.mark.parametrize("pool", [nn.max_pool2d, nn.avg_pool2d])
def test_wrong_input_is_refused_in_words(pool):
    x = images(SLIDE)
    with pytest.raises(ValueError, match=r"expected x of 4 axes \(N, C, H, W\), got shape \(5, 5\)"):
        pool(x[0, 0], 2)
    with pytest.raises(ValueError, match="more than the image"):
        pool(x, 6)
    with pytest.raises(ValueError, match=r"padding 2 is over half the kernel 3"):
        pool(x, 3, padding=2)
    with pytest.raises(ValueError, match="stride must be at least 1"):
        pool(x, 2, stride=0)
    with pytest.raises(TypeError, match="expected x as a Tensor, got list"):
        pool([[1.0]], 2)
    with pytest.raises(TypeError, match="expected numbers, got bool"):
        pool(x > 3, 2)
    with pytest.raises(TypeError, match="kernel_size must be an integer"):
        nn.MaxPool2d("2")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.max_pool1d(X, 2), ValueError, r"max_pool1d: expected x of 3 axes \(N, C, L\), got shape \(1, 1, 5, 5\)"),
        (lambda: nn.max_pool1d(X[0, 0], 2), ValueError, "a single sequence needs a batch axis"),
        (lambda: nn.max_pool1d(X[0], (2, 2)), TypeError, r"max_pool1d: kernel_size must be an integer, got \(2, 2\)"),
        (lambda: nn.avg_pool1d(X[0], 6), ValueError, r"avg_pool1d: kernel \(6,\).*more than the sequence \(5,\)"),
        (
            lambda: nn.max_pool2d(X[:, :, :1, :1], 2, padding=1, dilation=2),
            ValueError,
            r"with dilation \(2, 2\) a window of kernel \(2, 2\) sees nothing but padding of an image \(1, 1\)",
        ),
        (
            lambda: nn.max_pool2d(X, 2, padding=2, dilation=2),
            ValueError,
            r"padding 2 is over half the kernel 2, which with dilation 2 covers \(3, 3\)",
        ),
        (lambda: nn.max_pool2d(X[:, :, :1], 3, 2, ceil_mode=True), ValueError, "max_pool2d: kernel .* more than the image"),
        (lambda: nn.avg_pool2d(X, 2, divisor_override=0), ValueError, "divisor_override must be at least 1, got 0"),
        (lambda: nn.AvgPool2d(2, divisor_override=0.5), TypeError, "AvgPool2d: divisor_override must be an integer"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "MaxPool2d: padding 2 is over half the kernel 2: such a window sees"),
        (lambda: nn.MaxPool1d(2, 0), ValueError, "MaxPool1d: stride must be at least 1, got 0"),
        (lambda: nn.AvgPool1d((2, 2)), TypeError, "AvgPool1d: kernel_size must be an integer"),
    ],
)
def test_wrong_settings_are_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
