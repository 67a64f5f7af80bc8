"""Cross-entropy: extreme logits, its gradient, errors."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn


def test_uniform_scores_cost_the_logarithm_of_the_classes():
    assert nn.cross_entropy(Tensor(np.zeros((3, 10))), [0, 5, 9]).item() == pytest.approx(np.log(10))


def test_extreme_logits_stay_finite():
    x = Tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = nn.cross_entropy(x, [0, 0])
    assert loss.item() == 1e4
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0.0, 0.0], [-0.5, 0.5]])


def test_the_gradient_is_softmax_minus_onehot():
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3)), requires_grad=True)
    (g,) = mt.grad(nn.cross_entropy(x, [0, 1, 2, 1]), x)
    np.testing.assert_allclose(g.numpy(), (x.softmax(1).numpy() - np.eye(3)[[0, 1, 2, 1]]) / 4)


@pytest.mark.parametrize("labels", [[0, 1], np.array([0, 1], np.uint8), Tensor(np.array([0, 1]))])
def test_labels_as_list_array_and_tensor(labels):
    assert nn.cross_entropy(Tensor([[3.0, 0.0], [0.0, 3.0]]), labels).item() < 0.1


LOGITS = Tensor(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.cross_entropy([[0.0, 1.0]], [0]), TypeError, "expected logits as a Tensor, got list; wrap it"),
        (lambda: nn.cross_entropy(LOGITS, [0, 3]), ValueError, "labels must be 0 to 2 for 3 classes, got 3"),
        (lambda: nn.cross_entropy(LOGITS, [0, -1]), ValueError, "got -1"),
        (lambda: nn.cross_entropy(LOGITS, [0]), ValueError, r"logits \(2, 3\) need 2 labels, got shape \(1,\)"),
        (lambda: nn.cross_entropy(LOGITS, [0.0, 1.0]), TypeError, "labels must be whole numbers, got float64"),
        (lambda: nn.cross_entropy(LOGITS[0], [0]), ValueError, r"expected logits \(N, C\), got shape \(3,\)"),
        (lambda: nn.cross_entropy(LOGITS.to("int64"), [0, 1]), TypeError, "floating-point logits, got int64"),
        (lambda: nn.cross_entropy(LOGITS, [0, 1], "max"), ValueError, 'reduction must be "mean", "sum" or "none"'),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
