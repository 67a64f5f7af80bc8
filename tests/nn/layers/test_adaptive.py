"""Adaptive pooling: the windows by their definition, global pooling, ties, indices, layers, errors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.nn.layers import adaptive
from microtensor.runtime import blocking
from microtensor.testing import tensors


@given(st.data(), st.integers(1, 12), st.integers(1, 12), st.integers(1, 14), st.integers(1, 14))
def test_windows_are_their_definition(data, rows, columns, h, w):
    x = data.draw(tensors((1, 2, rows, columns)))
    mean, largest = nn.adaptive_avg_pool2d(x, (h, w)).numpy(), nn.adaptive_max_pool2d(x, (h, w)).numpy()
    for i in range(h):
        for j in range(w):
            top, bottom = math.floor(i * rows / h), math.ceil((i + 1) * rows / h)
            left, right = math.floor(j * columns / w), math.ceil((j + 1) * columns / w)
            window = x.numpy()[:, :, top:bottom, left:right]
            np.testing.assert_allclose(mean[:, :, i, j], window.mean((2, 3)))
            np.testing.assert_array_equal(largest[:, :, i, j], window.max((2, 3)))


@given(st.integers(1, 40), st.integers(1, 40))
def test_windows_so_many_apart_share_no_pixel(n, m):
    start, end = adaptive._edges(n, m)
    apart = 1 if n % m == 0 else 1 - (-m // n)
    assert (start[apart:] >= end[: max(m - apart, 0)]).all()


def test_global_pooling():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 5, 4)))
    np.testing.assert_allclose(nn.AdaptiveAvgPool2d(1)(x).numpy(), x.numpy().mean((2, 3), keepdims=True))
    np.testing.assert_array_equal(nn.AdaptiveMaxPool2d(1)(x).numpy(), x.numpy().max((2, 3), keepdims=True))


@given(st.data(), st.integers(0, 999))
def test_indices_are_pytorchs(data, seed):
    """With ties, as the numbers are few, and a nan."""
    torch = pytest.importorskip("torch")
    axes = data.draw(st.sampled_from([1, 2]))
    size, wanted = (tuple(data.draw(st.integers(1, 8)) for _ in range(axes)) for _ in range(2))
    x = np.random.default_rng(seed).integers(0, 3, (2, 2, *size)).astype(np.float64)
    x.reshape(x.shape[0], -1)[:, seed % 3 :: x[0].size] = np.nan  # one for each: of several, PyTorch takes the last
    name, wanted = f"adaptive_max_pool{axes}d", wanted if axes == 2 else wanted[0]
    ours = getattr(nn, name)(Tensor(x), wanted, return_indices=True)
    theirs = getattr(torch.nn.functional, name)(torch.tensor(x), wanted, return_indices=True)
    for found, expected in zip(ours, theirs):
        np.testing.assert_array_equal(found.numpy(), expected.numpy(), strict=True)


def test_of_equal_numbers_the_first_gets_the_gradient():
    x = Tensor(np.full((1, 1, 3, 3), 5.0), requires_grad=True)
    nn.adaptive_max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy()[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_windows_that_overlap_add_up():
    x = Tensor(np.array([[[1.0, 9.0, 2.0]]]), requires_grad=True)
    nn.adaptive_max_pool1d(x, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[[0, 2, 0]]])


def test_an_infinity_stays_in_its_windows():
    x = Tensor(np.array([[[np.inf, 1.0, 2.0, 3.0, 4.0]]]))
    np.testing.assert_array_equal(nn.adaptive_avg_pool1d(x, 3).numpy(), [[[np.inf, 2.0, 3.5]]])


def test_a_mean_in_float16_does_not_overflow():
    x = Tensor(np.full((1, 1, 65, 65), 100.0, np.float16))
    for size in (1, 2, 5):
        y = nn.adaptive_avg_pool2d(x, size)
        assert y.dtype == np.float16
        np.testing.assert_allclose(y.numpy().astype(float), 100.0, rtol=0.02)


def test_integers():
    x = Tensor(np.arange(6).reshape(1, 1, 6))
    assert nn.adaptive_avg_pool1d(x, 4).dtype == nn.adaptive_avg_pool1d(x, 3).dtype == np.float32
    assert nn.adaptive_max_pool1d(x, 4).tolist() == [[[1, 2, 4, 5]]]


@pytest.mark.parametrize("part_bytes", [1, 300])
def test_the_parts_of_a_batch_make_no_difference(monkeypatch, part_bytes):
    def results():
        x = Tensor(np.random.default_rng(0).standard_normal((3, 2, 7, 5)), requires_grad=True)
        y, z = nn.adaptive_max_pool2d(x, (3, 2)), nn.adaptive_avg_pool2d(x, (3, 2))
        return [t.numpy() for t in (y, z, *mt.grad((y * y * z).sum(), x))]

    whole = results()
    monkeypatch.setattr(blocking, "PART_BYTES", part_bytes)
    monkeypatch.setattr(blocking, "SINGLE_THREAD_BYTES", 0)
    for ours, expected in zip(results(), whole):
        np.testing.assert_array_equal(ours, expected)


def test_a_batch_of_none():
    x = Tensor(np.zeros((0, 2, 5, 5)), requires_grad=True)
    for pool in (nn.adaptive_avg_pool2d, nn.adaptive_max_pool2d):
        y = pool(x, (2, 3))
        assert y.shape == (0, 2, 2, 3)
        (dx,) = mt.grad(y.sum(), x)
        assert dx.shape == x.shape


@pytest.mark.parametrize("kind", ["Avg", "Max"])
@pytest.mark.parametrize(("axes", "size"), [(2, 3), (2, (None, 2)), (2, (4, 1)), (1, 2), (1, (3,))])
def test_layers_are_pytorchs(kind, axes, size):
    torch = pytest.importorskip("torch")
    name = f"Adaptive{kind}Pool{axes}d"
    ours, theirs = getattr(nn, name)(size), getattr(torch.nn, name)(size)
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 5)[: axes + 2])
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).numpy())
    assert repr(ours) == repr(theirs)
    assert ours.output_size == theirs.output_size
    assert not ours.state_dict()
    assert all(isinstance(y, Tensor) for y in getattr(nn, f"AdaptiveMaxPool{axes}d")(size, return_indices=True)(Tensor(x)))


X = Tensor(np.ones((1, 2, 5, 5)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.adaptive_avg_pool2d(X[0], 2), ValueError, r"adaptive_avg_pool2d: expected x of 4 axes \(N, C, H, W\)"),
        (lambda: nn.adaptive_max_pool1d(X, 2), ValueError, r"adaptive_max_pool1d: expected x of 3 axes \(N, C, L\)"),
        (lambda: nn.adaptive_avg_pool2d(X > 0, 2), TypeError, "expected numbers, got bool"),
        (lambda: nn.adaptive_avg_pool2d([1.0], 2), TypeError, "expected x as a Tensor, got list"),
        (lambda: nn.adaptive_avg_pool2d(X, 0), ValueError, "output_size must be at least 1, got 0"),
        (lambda: nn.adaptive_avg_pool2d(X, 2.5), TypeError, "output_size must be an integer, got 2.5"),
        (lambda: nn.adaptive_max_pool2d(X, (1, 2, 3)), TypeError, r"must be an integer, or 2 of them, got \(1, 2, 3\)"),
        (lambda: nn.adaptive_max_pool2d(X[:, :, :0], 2), ValueError, r"x of shape \(1, 2, 0, 5\) has no pixels to pool"),
        (lambda: nn.AdaptiveMaxPool2d("3"), TypeError, "AdaptiveMaxPool2d: output_size must be an integer, got '3'"),
        (lambda: nn.AdaptiveAvgPool1d((2, 2)), TypeError, "AdaptiveAvgPool1d: output_size must be an integer"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
