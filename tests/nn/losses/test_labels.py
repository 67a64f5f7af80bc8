"""Class numbers as targets: which are refused, and the shares that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, nn
from microtensor.nn.losses.labels import Labels


@given(st.integers(0, 999), st.sampled_from([0.0, 0.3]))
def test_what_is_done_with_shares_is_done_as_if_they_were_written_out(seed, smoothing):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 3, (2, 4))
    shares = Labels("", labels, "x", Tensor(np.zeros((2, 3, 4))), rng.random(3), -1, smoothing)
    dense = shares.written_out()
    z, scale = rng.standard_normal((2, 3, 4)), rng.random((2, 4))
    np.testing.assert_allclose(np.where(shares.kept, shares.dot(z), 0), (dense * z).sum(1) * shares.kept)
    np.testing.assert_allclose(shares.sum, dense.sum(1), atol=1e-15)
    expected = z - dense * scale[:, None]
    shares.subtract_from(z, scale)
    np.testing.assert_allclose(z, expected)
    assert not dense[np.broadcast_to(labels[:, None] == -1, dense.shape)].any()


LOGITS = Tensor(np.zeros((2, 3)))
PIXELS = Tensor(np.zeros((2, 3, 4, 4)))


@pytest.mark.parametrize(
    ("logits", "target", "error", "message"),
    [
        (LOGITS, [0, 3], ValueError, "labels must be 0 to 2 for 3 classes, got 3; .* left out has the label ignore_index=-100"),
        (LOGITS, [0, -1], ValueError, "labels must be 0 to 2 for 3 classes, got -1"),
        (LOGITS, np.array([0, 255], np.uint8), ValueError, "got 255"),
        (LOGITS, np.array([0, -2], np.int8), ValueError, "got -2"),
        (LOGITS, [0.0, 1.0], TypeError, r"labels must be integers of shape \(2,\), got float32 of shape \(2,\); use .to"),
        (LOGITS, [False, True], TypeError, "labels must be integers of shape .*, got bool"),
        (LOGITS, [0], ValueError, r"logits \(2, 3\) need labels of shape \(2,\), got \(1,\)$"),
        (LOGITS, [[0], [1]], ValueError, r"need labels of shape \(2,\), got \(2, 1\); use .reshape\(2\)"),
        (LOGITS, np.zeros((2, 1)), TypeError, r"integers of shape \(2,\), got float64 of shape \(2, 1\)"),
        (
            LOGITS,
            [[1, 0, 0], [0, 1, 0]],
            TypeError,
            r"a target of the shape of the logits \(2, 3\) must be probabilities, got int64; of rows with a single 1 take .argmax\(1\)",
        ),
        (LOGITS[0], [0], ValueError, r"logits \(3,\) need labels of shape \(\), got \(1,\)$"),
        (LOGITS[0], [0, 1, 0], TypeError, r"take .argmax\(0\) for class numbers"),
        (PIXELS, [0, 1], ValueError, r"logits \(2, 3, 4, 4\) need labels of shape \(2, 4, 4\), got \(2,\)"),
        (PIXELS, np.zeros((2, 1, 4, 4), int), ValueError, r"got \(2, 1, 4, 4\); use .reshape\(2, 4, 4\)"),
        (LOGITS, [[0], [1, 2]], ValueError, "nested lists are of unequal length"),
        (LOGITS, None, TypeError, "cross_entropy: expected numbers"),
        (LOGITS, ["cat", "dog"], TypeError, "cross_entropy: expected numbers"),
        (LOGITS, [Tensor([0]), Tensor([1])], TypeError, "list of tensors"),
    ],
)
def test_wrong_labels_are_refused_in_words(logits, target, error, message):
    with pytest.raises(error, match=message):
        nn.cross_entropy(logits, target)
