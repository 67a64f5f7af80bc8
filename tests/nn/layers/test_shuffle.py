"""Shuffles: their definition, inverses, layers, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, nn
from microtensor.testing import tensors


@given(st.data(), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
def test_pixel_shuffle_is_its_definition_and_inverted(data, r, channels, height, width):
    x = data.draw(tensors((2, channels * r * r, height, width)))
    y = nn.pixel_shuffle(x, r)
    for c, h, w, i, j in np.ndindex(channels, height, width, r, r):
        np.testing.assert_array_equal(y.numpy()[:, c, h * r + i, w * r + j], x.numpy()[:, c * r * r + i * r + j, h, w])
    np.testing.assert_array_equal(nn.pixel_unshuffle(y, r).numpy(), x.numpy())


@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_channel_shuffle_is_undone_by_the_other_number_of_groups(data, groups, each):
    x = data.draw(tensors((2, groups * each, 3)))
    np.testing.assert_array_equal(nn.channel_shuffle(nn.channel_shuffle(x, groups), each).numpy(), x.numpy())


@pytest.mark.parametrize(("name", "r"), [("PixelShuffle", 2), ("PixelUnshuffle", 3), ("ChannelShuffle", 6)])
def test_layers_are_pytorchs(name, r):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(r), getattr(torch.nn, name)(r)
    x = np.random.default_rng(0).standard_normal((2, 12, 6, 9))
    np.testing.assert_array_equal(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).numpy())
    assert repr(ours) == repr(theirs)
    assert not ours.state_dict()


X = Tensor(np.ones((1, 6, 5, 4)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.pixel_shuffle(X, 2), ValueError, r"the 6 channels of x \(1, 6, 5, 4\) are no multiple of 2² = 4"),
        (lambda: nn.pixel_unshuffle(X, 2), ValueError, r"the 5 × 4 pixels of x \(1, 6, 5, 4\) are no multiple of 2"),
        (lambda: nn.pixel_shuffle(X[0, 0], 2), ValueError, r"expected x of 3 axes or more \(…, C, H, W\), got shape \(5, 4\)"),
        (lambda: nn.pixel_shuffle(X, 0), ValueError, "upscale_factor must be at least 1, got 0"),
        (lambda: nn.channel_shuffle(X, 4), ValueError, r"expected x \(N, C, …\) with a multiple of 4 channels, got shape"),
        (lambda: nn.channel_shuffle([[1.0]], 1), TypeError, "channel_shuffle: expected a Tensor, got list"),
        (lambda: nn.PixelShuffle(2.0), TypeError, "PixelShuffle: upscale_factor must be an integer, got 2.0"),
        (lambda: nn.ChannelShuffle(0), ValueError, "ChannelShuffle: groups must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
