"""Max pooling window by window: an example of the lecture, and the sum compared with the derivative of `max_pool2d`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lecture_pooling import GRADIENT, IMAGE, LECTURE

import microtensor as mt
from microtensor import nn
from microtensor.nn import trace_max_pool


def test_the_example_of_the_lecture():
    trace = trace_max_pool(IMAGE, 3, 1, gradient=GRADIENT)
    assert trace.result.tolist() == [[9, 8, 8], [9, 6, 6], [7, 7, 7]]
    expected = np.zeros((5, 5))
    for place, g in LECTURE.items():
        expected[place] = g
    np.testing.assert_array_equal(trace.image_gradient, expected)
    assert trace.winners == [[(1, 0), (0, 2), (0, 2)], [(1, 0), (2, 2), (2, 2)], [(4, 1), (4, 1), (4, 4)]]
    sums = ["0 + 1 = 1", "0 + 3 = 3", "3 + 1 = 4", "1 + 1 = 2", "0 + 4 = 4", "4 + 2 = 6", "0 + 6 = 6", "6 + 2 = 8", "0 + 1 = 1"]
    assert [trace.sum(step) for step in range(9)] == sums
    assert [line.split("  ")[-1].strip() for line in str(trace).splitlines()[2:]] == sums


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_the_windows_add_up_to_the_derivative(seed, kernel, stride, padded):
    numbers = np.random.default_rng(seed)
    image = numbers.permutation(30).reshape(5, 6) * 1.0
    padding = kernel // 2 if padded else 0
    x = mt.Tensor(image[None, None], requires_grad=True)
    y = nn.max_pool2d(x, kernel, stride, padding)
    gradient = numbers.normal(size=y.shape[2:])
    y.backward(mt.Tensor(gradient[None, None]))
    trace = trace_max_pool(image, kernel, stride, padding, gradient)
    np.testing.assert_array_equal(trace.image_gradient, x.grad.numpy()[0, 0])
    np.testing.assert_allclose(trace.until(len(trace.steps)), trace.image_gradient, atol=1e-12)
    assert not trace.until(0).any()
    for i, j in trace.steps:
        place, (row, column) = trace.winners[i][j], trace.corner(i, j)
        seen = image[max(row, 0) : row + kernel, max(column, 0) : column + kernel]
        assert seen.max() == image[place] == trace.result[i, j]
        assert trace.shares[i][j][place] == gradient[i, j]
        assert np.count_nonzero(trace.shares[i][j]) == 1


def test_ties_go_to_the_first_and_gradients_count_from_one():
    trace = trace_max_pool(mt.Tensor([[5.0, 5.0], [5.0, 5.0]]), (1, 2), 1)
    assert trace.winners == [[(0, 0)], [(1, 0)]]
    assert trace.gradient.tolist() == [[1], [2]]
    assert trace_max_pool(np.array([[1, 2]], np.uint8), 1, gradient=[[0.5, -0.25]]).sum(1) == "0 − 0.25 = −0.25"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image": [1, 2]}, ValueError, r"image must be \(H, W\), neither of them 0, got shape \(2,\)"),
        ({"image": [[]]}, ValueError, r"got shape \(1, 0\)"),
        ({"image": [[1], [2, 3]]}, ValueError, "the rows of image must be of one length"),
        ({"image": [["a"]]}, TypeError, "image must be numbers, got <U1"),
        ({"image": None}, TypeError, "image must be numbers, got NoneType"),
        ({"image": [[1.0, float("nan")]]}, ValueError, "image has numbers that are infinite or nan"),
        ({"gradient": [[1]]}, ValueError, r"gradient must be of the shape of the result, \(3, 3\), got \(1, 1\)"),
        ({"kernel_size": 7}, ValueError, "covers .* more than the image"),
        ({"kernel_size": 2.5}, TypeError, "trace_max_pool: kernel_size must be an integer"),
        ({"padding": 2}, ValueError, "trace_max_pool: padding 2 is over half the kernel 3"),
    ],
)
def test_wrong_input_is_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        trace_max_pool(**({"image": IMAGE, "kernel_size": 3, "stride": 1} | arguments))
