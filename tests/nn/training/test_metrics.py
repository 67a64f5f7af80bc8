"""Accuracy among the k highest scores, and means over batches."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor
from microtensor.nn.training.metrics import Means, accuracy, usual_metrics


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 7), st.integers(0, 99))
def test_it_is_the_share_of_labels_among_a_stable_sort(n, classes, k, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (n, classes)).astype(np.float32)  # with ties
    labels = rng.integers(0, classes, n)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.mean([label in row for label, row in zip(labels, order)])
    assert accuracy(Tensor(scores), Tensor(labels), k).item() == pytest.approx(expected)


def test_a_network_that_says_the_same_of_all_classes_is_seldom_right():
    labels = Tensor(np.arange(10))
    assert accuracy(Tensor(np.zeros((10, 10))), labels).item() == pytest.approx(0.1)
    assert accuracy(Tensor(np.full((10, 10), np.nan)), labels).item() == 0


def test_images_of_labels_and_ignored_ones():
    scores = Tensor(np.array([[[[1.0, 0.0]], [[0.0, 1.0]]]]))  # (1, 2, 1, 2)
    assert accuracy(scores, Tensor(np.array([[[0, 0]]]))).item() == 0.5
    assert accuracy(scores, Tensor(np.array([[[0, -100]]]))).item() == 1
    assert accuracy(scores, Tensor(np.array([[[-100, -100]]]))).item() == 0


def test_probabilities_stand_for_the_likeliest_class():
    scores = Tensor([[1.0, 2.0], [2.0, 1.0]])
    assert accuracy(scores, Tensor([[0.4, 0.6], [0.4, 0.6]])).item() == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "k", "message"),
    [
        (
            np.zeros((2, 3)),
            np.zeros(3, int),
            1,
            r"scores \(N, C, …\) need integer labels \(N, …\), got \(2, 3\) and int64 \(3,\)",
        ),
        (np.zeros((2, 3)), np.zeros(2), 1, "need integer labels"),
        (np.zeros((2, 3)), np.array([0, 3]), 1, "labels must be below 3, the number of classes, got 3"),
        (np.zeros((2, 3)), np.zeros(2, int), 0, "k must be an integer of 1 or more, got 0"),
    ],
)
def test_wrong_input_is_refused_in_words(scores, labels, k, message):
    with pytest.raises(ValueError, match=message):
        accuracy(Tensor(scores), Tensor(labels), k)


def test_what_is_measured_by_itself():
    few, many = Tensor(np.zeros((2, 3))), Tensor(np.zeros((2, 11)))
    labels = Tensor(np.zeros(2, int))
    assert list(usual_metrics(few, labels)) == ["accuracy"]
    assert list(usual_metrics(many, labels)) == ["accuracy", "top5"]
    assert list(usual_metrics(few, Tensor(np.full((2, 3), 1 / 3)))) == ["accuracy"]
    assert not usual_metrics(few, Tensor(np.ones((2, 3))))  # regression
    assert not usual_metrics(Tensor(np.zeros((2, 1))), Tensor(np.zeros((2, 1))))
    assert not usual_metrics([few, few], labels)


def test_means_weigh_batches_by_their_samples():
    means = Means()
    means.add(3, loss=1.0)
    means.add(1, loss=Tensor(5.0))
    again = Means()
    again.load_state_dict(means.state_dict())
    assert again.values() == {"loss": 2.0}
    with pytest.raises(ValueError, match="the data has no batch"):
        Means().values()


def test_scores_and_labels_on_two_devices(monkeypatch):
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    scores = Tensor(np.eye(3), device="cuda:1")
    Tensor([1.0], device="cuda:0")
    cupy.cuda.Device(0).use()  # whoever asks may be on another GPU
    assert accuracy(scores, Tensor(np.arange(3), device="cuda:1")).item() == 1
    for device in ("cpu", "cuda:0"):
        message = rf"accuracy: one tensor \(3, 3\) is on cuda:1, another \(3,\) on {device}"
        with pytest.raises(ValueError, match=message):
            accuracy(scores, Tensor(np.arange(3), device=device))
    cupy.cuda.Device(0).use()
