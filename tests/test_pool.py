"""Pooling: the lecture's example, ties, padding, errors."""

import numpy as np
import pytest

from microtensor import Tensor, nn, no_grad

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


@pytest.mark.parametrize("layer", [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)])
def test_layers_are_their_functions(layer):
    x = images(SLIDE)
    function = nn.max_pool2d if isinstance(layer, nn.MaxPool2d) else nn.avg_pool2d
    np.testing.assert_array_equal(layer(x).numpy(), function(x, layer.kernel_size, layer.stride, layer.padding).numpy())
    assert repr(layer).startswith(f"{type(layer).__name__}(kernel_size={layer.kernel_size}, stride={layer.stride}")


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
    with pytest.raises(TypeError, match="kernel_size must be a whole number"):
        nn.MaxPool2d("2")
