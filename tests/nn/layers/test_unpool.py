"""Unpooling: the inverse of pooling, overlaps, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.testing import tensors


@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_pooling_again_finds_the_maxima_again(data, kernel, stride, padded):
    padding = kernel // 2 if padded else 0
    x = data.draw(tensors((2, 2, kernel + 4, kernel + 3), low=0.5, high=2.0, distinct=True))
    y, indices = nn.max_pool2d(x, kernel, stride, padding, return_indices=True)
    back = nn.max_unpool2d(y, indices, kernel, stride, padding, output_size=x.shape)
    chosen = np.zeros(x.shape, bool).reshape(2, 2, -1)
    np.put_along_axis(chosen, indices.numpy().reshape(2, 2, -1), True, 2)
    np.testing.assert_array_equal(back.numpy(), np.where(chosen.reshape(x.shape), x.numpy(), 0))
    np.testing.assert_array_equal(nn.max_pool2d(back, kernel, stride, padding).numpy(), y.numpy())


def test_of_several_values_for_one_pixel_the_last_is_kept_and_gets_the_gradient():
    x = Tensor(np.arange(1.0, 5.0).reshape(1, 1, 2, 2), requires_grad=True)
    y = nn.max_unpool2d(x, Tensor(np.array([[[[3, 0], [3, 3]]]])), 2, stride=1)
    np.testing.assert_array_equal(y.numpy()[0, 0], [[2, 0, 0], [4, 0, 0], [0, 0, 0]])
    (dx,) = mt.grad(y.sum(), x)
    np.testing.assert_array_equal(dx.numpy()[0, 0], [[0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(2, None, 0, (8, 6)), (3, 2, 1, (9, 7)), ((2, 3), (2, 3), (1, 0), (8, 9))],
)
def test_the_layer_is_pytorchs(kernel, stride, padding, size):
    torch = pytest.importorskip("torch")
    x = torch.tensor(np.random.default_rng(0).standard_normal((2, 3, *size)))
    y, indices = torch.nn.MaxPool2d(kernel, stride, padding, return_indices=True)(x)
    ours, theirs = nn.MaxUnpool2d(kernel, stride, padding), torch.nn.MaxUnpool2d(kernel, stride, padding)
    for wanted in (None, size, x.shape, (size[0] + 1, size[1] + 1)):
        found = ours(Tensor(y.numpy()), Tensor(indices.numpy()), wanted)
        np.testing.assert_array_equal(found.numpy(), theirs(y, indices, wanted).numpy(), strict=True)
    assert ours.extra_repr() == theirs.extra_repr()
    assert not ours.state_dict()


def test_an_empty_batch():
    indices = Tensor(np.zeros((0, 2, 3, 3), np.int64))
    assert nn.max_unpool2d(Tensor(np.zeros((0, 2, 3, 3))), indices, 2).shape == (0, 2, 6, 6)


Y = Tensor(np.ones((1, 1, 2, 2)))
WHERE = Tensor(np.array([[[[0, 2], [8, 10]]]]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.max_unpool2d(Y, WHERE + 6, 2),
            IndexError,
            r"max_unpool2d: index 16 is not in an image of 4 × 4; give the size .*: output_size=\(height, width\)",
        ),
        (lambda: nn.max_unpool2d(Y, WHERE - 1, 2), IndexError, "index -1 is not in an image"),
        (
            lambda: nn.max_unpool2d(Y, Y, 2),
            TypeError,
            "indices must be a Tensor of integers, as max_pool2d returns it, got float64",
        ),
        (lambda: nn.max_unpool2d(Y, [0], 2), TypeError, "indices must be a Tensor of integers.* got list"),
        (
            lambda: nn.max_unpool2d(Y, WHERE[:, :, 0], 2),
            ValueError,
            r"an index for each element of x \(1, 1, 2, 2\), got shape",
        ),
        (lambda: nn.max_unpool2d(Y[0], WHERE[0], 2), ValueError, r"max_unpool2d: expected x of 4 axes"),
        (
            lambda: nn.max_unpool2d(Y, WHERE, 2, output_size=(6, 4)),
            ValueError,
            r"output_size \(6, 4\) must be less than a stride \(2, 2\) off \(4, 4\), for pooling to give \(2, 2\)",
        ),
        (lambda: nn.max_unpool2d(Y, WHERE, 2, output_size=(4, 4, 4)), TypeError, "output_size must be an integer or two"),
        (lambda: nn.max_unpool2d(Y, WHERE, 2, padding=2), ValueError, "leave an image of 0 × 0"),
        (lambda: nn.MaxUnpool2d(0), ValueError, "MaxUnpool2d: kernel_size must be at least 1"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
