"""The dice loss against its definition in plain loops; masks of every kind; what is in no sum; errors."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn

RNG = np.random.default_rng(0)


def in_loops(p, t, counted, smooth):
    """p, t (N, C, P), counted (N, P) → (N, C)."""
    losses = np.zeros(p.shape[:2])
    for n, c in np.ndindex(*losses.shape):
        overlap = areas = 0.0
        for i in range(p.shape[2]):
            if counted[n, i]:
                overlap += p[n, c, i] * t[n, c, i]
                areas += p[n, c, i] ** 2 + t[n, c, i] ** 2
        losses[n, c] = 1 - (2 * overlap + smooth) / (areas + smooth)
    return losses


@pytest.mark.parametrize("smooth", [1.0, 0.01])
def test_it_is_its_definition(smooth):
    logits, labels = RNG.standard_normal((2, 3, 4, 5)), RNG.integers(-1, 3, (2, 4, 5))
    p = Tensor(logits).softmax(1).numpy().reshape(2, 3, 20)
    t = (labels[:, None] == np.arange(3)[:, None, None]).reshape(2, 3, 20)
    expected = in_loops(p, t, (labels >= 0).reshape(2, 20), smooth)
    losses = nn.dice_loss(Tensor(logits), labels, smooth, -1, "none")
    np.testing.assert_allclose(losses.numpy(), expected)
    assert nn.dice_loss(Tensor(logits), labels, smooth, -1).item() == pytest.approx(expected.mean())
    assert nn.dice_loss(Tensor(logits), labels, smooth, -1, "sum").item() == pytest.approx(expected.sum())


def test_a_single_class_is_sigmoid_against_a_mask():
    logits, mask = RNG.standard_normal((2, 1, 3, 4)), RNG.integers(0, 2, (2, 3, 4))
    p = Tensor(logits).sigmoid().numpy().reshape(2, 1, 12)
    expected = in_loops(p, mask.reshape(2, 1, 12), np.ones((2, 12)), 1.0)
    for target in (mask, mask[:, None], mask.astype(bool), mask[:, None].astype(float), mt.tensor(mask), mask.tolist()):
        np.testing.assert_allclose(nn.dice_loss(Tensor(logits), target, reduction="none").numpy(), expected)
    mask[0] = 255
    counted = np.stack([np.zeros(12), np.ones(12)])
    expected = in_loops(p, mask.reshape(2, 1, 12), counted, 1.0)
    np.testing.assert_allclose(nn.dice_loss(Tensor(logits), mask, ignore_index=255, reduction="none").numpy(), expected)
    assert expected[0] == 0


def test_a_perfect_prediction_costs_nothing_and_a_class_that_is_not_there_neither():
    labels = np.array([[0, 0, 1, 1]])
    logits = np.stack([labels == c for c in range(3)], 1) * 200.0
    np.testing.assert_allclose(nn.dice_loss(Tensor(logits), labels, reduction="none").numpy(), np.zeros((1, 3)), atol=1e-12)
    assert nn.dice_loss(Tensor(logits), 1 - labels, smooth=0.001).item() > 0.6


def test_areas_are_labels_written_out():
    logits, labels = RNG.standard_normal((2, 3, 4)), RNG.integers(0, 3, (2, 4))
    areas = (labels[:, None] == np.arange(3)[:, None]).astype(np.float64)
    assert nn.dice_loss(Tensor(logits), areas).item() == pytest.approx(nn.dice_loss(Tensor(logits), labels).item())


def test_float16_is_computed_in_float32():
    x = Tensor(np.zeros((1, 2, 300, 300), np.float16), requires_grad=True)
    loss = nn.dice_loss(x, np.zeros((1, 300, 300), int), reduction="sum")
    assert loss.dtype == np.float16
    assert loss.item() == pytest.approx(1 - 2 * 0.5 / 1.25 + 1, abs=1e-3)
    assert mt.grad(loss, x)[0].dtype == np.float16


def test_the_layer():
    loss = nn.DiceLoss(smooth=0.5, ignore_index=2, reduction="sum")
    logits, labels = RNG.standard_normal((2, 3, 4)), RNG.integers(0, 3, (2, 4))
    assert loss(Tensor(logits), labels).item() == nn.dice_loss(Tensor(logits), labels, 0.5, 2, "sum").item()
    assert repr(loss) == "DiceLoss(smooth=0.5, ignore_index=2, reduction='sum')"
    assert repr(nn.DiceLoss()) == "DiceLoss()"


LOGITS, SINGLE = Tensor(np.zeros((2, 3, 4))), Tensor(np.zeros((2, 1, 4)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.dice_loss(LOGITS, np.full((2, 4), 3)), ValueError, "dice_loss: labels must be 0 to 2 for 3 classes, got 3"),
        (lambda: nn.dice_loss(SINGLE, np.full((2, 4), 2)), ValueError, "dice_loss: labels must be 0 to 1 for 2 classes, got 2"),
        (
            lambda: nn.dice_loss(LOGITS, np.zeros((2, 4))),
            TypeError,
            r"labels must be integers of shape \(2, 4\), got float64",
        ),
        (
            lambda: nn.dice_loss(LOGITS, np.zeros((2, 1, 4), int)),
            ValueError,
            r"need labels of shape \(2, 4\), got \(2, 1, 4\); use",
        ),
        (lambda: nn.dice_loss(LOGITS, np.zeros((2, 3, 4), int)), TypeError, "must be probabilities, got int64"),
        (lambda: nn.dice_loss(LOGITS[0, 0], [0]), ValueError, r"expected logits \(N, C, …\), got shape \(4,\)"),
        (lambda: nn.dice_loss([[0.0]], [0]), TypeError, "expected logits as a Tensor, got list"),
        (lambda: nn.dice_loss(LOGITS, np.zeros((2, 4), int), -1.0), ValueError, "smooth must be 0 or more, got -1.0"),
        (lambda: nn.dice_loss(LOGITS, np.zeros((2, 4), int), reduction="x"), ValueError, "dice_loss: reduction must be"),
        (lambda: nn.DiceLoss(smooth="1"), TypeError, "DiceLoss: smooth must be a number, got str"),
        (lambda: nn.DiceLoss(ignore_index=1.5), TypeError, "DiceLoss: ignore_index must be an integer"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
