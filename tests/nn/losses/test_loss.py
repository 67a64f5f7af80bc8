"""Cross-entropy and negative log-likelihood: extreme logits, gradients, settings, what counts for nothing, layers, errors."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn

RNG = np.random.default_rng(0)


def value_and_gradient(loss, x, *args, **settings):
    x = Tensor(x, requires_grad=True)
    y = loss(x, *args, **settings)
    (g,) = mt.grad(y.sum(), x)
    return y.numpy(), g.numpy()


def test_uniform_scores_cost_the_logarithm_of_the_classes():
    assert nn.cross_entropy(Tensor(np.zeros((3, 10))), [0, 5, 9]).item() == pytest.approx(np.log(10))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_extreme_logits_stay_finite(dtype, smoothing):
    x = Tensor(np.array([[1e4, -1e4], [-1e4, 1e4]], dtype), requires_grad=True)
    loss = nn.cross_entropy(x, [0, 0], label_smoothing=smoothing)
    assert loss.dtype == dtype
    assert loss.item() == 1e4
    loss.backward()
    s = smoothing / 4
    np.testing.assert_array_equal(x.grad.numpy(), [[s, -s], [-0.5 + s, 0.5 - s]])


def test_an_impossible_class_costs_infinity_and_nothing_where_it_is_not_asked_for():
    x = Tensor([[0.0, -np.inf], [0.0, 0.0]])
    np.testing.assert_allclose(nn.cross_entropy(x, [0, 0], reduction="none").numpy(), [0.0, np.log(2)], rtol=1e-6)
    assert nn.cross_entropy(x, [1, 0]).item() == np.inf
    assert nn.cross_entropy(x, [1, 0], ignore_index=1).item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("loss", [nn.cross_entropy, nn.nll_loss, lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1)])
def test_an_ignored_example_may_have_impossible_classes(loss):
    x = Tensor([[-np.inf, -1.0], [0.5, 0.25]], requires_grad=True)
    alone = Tensor([[0.5, 0.25]], requires_grad=True)
    loss(x, [-100, 1]).backward()
    loss(alone, [1]).backward()
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0], *alone.grad.numpy()])


def test_the_gradient_is_softmax_minus_onehot():
    x = RNG.standard_normal((4, 3))
    _, g = value_and_gradient(nn.cross_entropy, x, [0, 1, 2, 1])
    np.testing.assert_allclose(g, (Tensor(x).softmax(1).numpy() - np.eye(3)[[0, 1, 2, 1]]) / 4)


@pytest.mark.parametrize("labels", [[0, 1], (0, 1), np.array([0, 1], np.uint8), Tensor(np.array([0, 1])), mt.tensor([0, 1])])
def test_labels_as_list_array_and_tensor(labels):
    assert nn.cross_entropy(Tensor([[3.0, 0.0], [0.0, 3.0]]), labels).item() < 0.1
    assert nn.nll_loss(Tensor([[0.0, -9.0], [-9.0, 0.0]]), labels).item() == 0


def test_labels_as_probabilities_are_the_same_loss():
    x, labels = RNG.standard_normal((2, 3, 4)), RNG.integers(0, 3, (2, 4))
    hot = np.moveaxis(np.eye(3)[labels], -1, 1)
    for settings in ({}, {"label_smoothing": 0.2}, {"weight": [0.5, 1.0, 2.0], "reduction": "sum", "label_smoothing": 0.2}):
        for ours, expected in zip(
            value_and_gradient(nn.cross_entropy, x, hot, **settings),
            value_and_gradient(nn.cross_entropy, x, labels, **settings),
        ):
            np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_an_image_is_as_many_examples_as_it_has_pixels():
    x, labels = RNG.standard_normal((2, 3, 4, 5)), RNG.integers(0, 3, (2, 4, 5))
    rows = np.moveaxis(x, 1, -1).reshape(-1, 3)
    weight = np.array([0.5, 1.0, 2.0])
    for transposed in (x, np.ascontiguousarray(x.swapaxes(0, 3)).swapaxes(0, 3)):  # however it lies in memory
        loss = nn.cross_entropy(Tensor(transposed), labels, weight, 1, label_smoothing=0.1)
        expected = nn.cross_entropy(Tensor(rows), labels.reshape(-1), weight, 1, label_smoothing=0.1)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_single_example_has_no_batch_axis():
    x = RNG.standard_normal(4)
    for loss in (nn.cross_entropy, nn.nll_loss):
        y, g = value_and_gradient(loss, x, 2, reduction="none")
        many, many_g = value_and_gradient(loss, x[None], [2], reduction="none")
        assert y.shape == ()
        np.testing.assert_allclose(y, many[0])
        np.testing.assert_allclose(g, many_g[0])


@pytest.mark.parametrize("loss", [nn.cross_entropy, nn.nll_loss])
def test_the_mean_of_nothing_is_nan_and_its_gradient_0(loss):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn.functional, loss.__name__)
    for shape, labels in (((2, 3), [-100, -100]), ((0, 3), np.zeros(0, np.int64)), ((0, 3), [])):
        x = np.ones(shape, np.float32)
        y, g = value_and_gradient(loss, x, labels)
        leaf = torch.tensor(x, requires_grad=True)
        expected = theirs(leaf, torch.tensor(labels, dtype=torch.int64))
        expected.backward()
        assert np.isnan(y)
        assert np.isnan(expected.item())
        np.testing.assert_array_equal(g, leaf.grad.numpy())
        assert loss(Tensor(x), labels, reduction="sum").item() == 0
    assert np.isnan(nn.cross_entropy(Tensor(np.ones((0, 3))), np.ones((0, 3))).item())


def test_sums_of_float16_are_float32s():
    x, labels = Tensor(np.full((100_000, 2), -1.0, np.float16), requires_grad=True), np.zeros(100_000, np.int64)
    assert nn.nll_loss(x, labels).item() == 1
    for target in (labels, np.full((100_000, 2), 0.5, np.float16)):
        loss = nn.cross_entropy(x, target)
        assert loss.dtype == np.float16
        assert loss.item() == np.float16(np.log(2))
        assert mt.grad(loss, x)[0].dtype == np.float16
    many = Tensor(np.zeros((1, 100_000), np.float16))  # classes: more than the largest number of float16
    for target in ([5], np.full((1, 100_000), 1e-5, np.float32)):
        assert nn.cross_entropy(many, target).item() == pytest.approx(np.log(1e5), rel=2e-3)


def test_second_derivatives_of_float16():
    x = Tensor(np.array([[1.0, 2.0]], np.float16), requires_grad=True)
    (g,) = mt.grad(nn.cross_entropy(x, [0]), x, create_graph=True)
    (h,) = mt.grad(g[0, 0], x)
    p = Tensor([1.0, 2.0]).softmax(0).numpy()[0]
    np.testing.assert_allclose(h.numpy(), [[p * (1 - p), -p * (1 - p)]], rtol=2e-3)


def test_a_label_that_changes_later_changes_nothing():
    labels, weight = np.array([0, 1]), np.array([1.0, 2.0])
    x = Tensor(np.array([[0.0, 1.0], [1.0, 3.0]]), requires_grad=True)
    expected = mt.grad(nn.cross_entropy(x, labels, weight, label_smoothing=0.1), x)[0].numpy()
    loss = nn.cross_entropy(x, labels, weight, label_smoothing=0.1)
    labels[:], weight[:] = 0, 9.0
    np.testing.assert_array_equal(mt.grad(loss, x)[0].numpy(), expected)


# Layers


def test_layers_are_their_functions():
    torch = pytest.importorskip("torch")
    x, labels, weight = RNG.standard_normal((4, 3)).astype(np.float32), np.array([0, 1, 2, 1]), np.array([1, 2, 3], np.float32)
    for name, settings in (
        ("CrossEntropyLoss", {"ignore_index": 1, "reduction": "sum", "label_smoothing": 0.1}),
        ("NLLLoss", {"ignore_index": 2, "reduction": "none"}),
    ):
        ours, theirs = getattr(nn, name)(weight, **settings), getattr(torch.nn, name)(torch.tensor(weight), **settings)
        np.testing.assert_allclose(
            ours(Tensor(x), labels).numpy(), theirs(torch.tensor(x), torch.tensor(labels)).numpy(), rtol=1e-6
        )
        assert [*ours.state_dict()] == [*theirs.state_dict()] == ["weight"]
        assert not [*getattr(nn, name)().state_dict()]
        assert not [*ours.parameters()]
        assert ours.to("float64").weight.dtype == np.float64


def test_layers_print_what_is_unusual():
    assert repr(nn.CrossEntropyLoss()) == "CrossEntropyLoss()"
    assert repr(nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum")) == (
        "CrossEntropyLoss(reduction='sum', label_smoothing=0.1)"
    )
    assert repr(nn.NLLLoss(ignore_index=0)) == "NLLLoss(ignore_index=0)"


LOGITS = Tensor(np.zeros((2, 3)))
PIXELS = Tensor(np.zeros((2, 3, 4, 4)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.cross_entropy([[0.0, 1.0]], [0]), TypeError, "expected logits as a Tensor, got list; wrap it"),
        (lambda: nn.cross_entropy(LOGITS.to("int64"), [0, 1]), TypeError, "floating-point logits, got int64; use .to"),
        (lambda: nn.cross_entropy(Tensor(np.zeros(())), 0), ValueError, r"expected logits \(N, C, …\) of one class or more"),
        (lambda: nn.cross_entropy(Tensor(np.zeros((2, 0))), [0, 0]), ValueError, r"one class or more, got shape \(2, 0\)"),
        (
            lambda: nn.cross_entropy(LOGITS, [0, 1], label_smoothing=1.5),
            ValueError,
            "label_smoothing must be from 0 to 1, got 1.5",
        ),
        (lambda: nn.cross_entropy(LOGITS, [0, 1], label_smoothing=-0.1), ValueError, "label_smoothing must be from 0 to 1"),
        (
            lambda: nn.cross_entropy(LOGITS, [0, 1], label_smoothing=float("nan")),
            ValueError,
            "label_smoothing must be from 0 to 1",
        ),
        (
            lambda: nn.cross_entropy(LOGITS, [0, 1], label_smoothing="0.1"),
            TypeError,
            "label_smoothing must be a number, got str",
        ),
        (
            lambda: nn.cross_entropy(LOGITS, [0, 1], ignore_index=None),
            TypeError,
            "ignore_index must be an integer, got None",
        ),
        (
            lambda: nn.cross_entropy(LOGITS, [0, 1], [1.0, 2.0]),
            ValueError,
            r"weight must have one number for each of 3 classes, got",
        ),
        (lambda: nn.cross_entropy(LOGITS, [0, 1], 2.0), ValueError, r"weight must have one number .* got shape \(\)"),
        (lambda: nn.cross_entropy(LOGITS, [0, 1], "mean"), TypeError, "cross_entropy: weight: expected numbers .* got 'mean'"),
        (
            lambda: nn.cross_entropy(LOGITS, [0, 1], Tensor([1.0, 2.0, 3.0], requires_grad=True)),
            ValueError,
            r"weight requires a gradient, but is taken as a constant; give weight.detach\(\)",
        ),
        (
            lambda: nn.cross_entropy(LOGITS, np.full((2, 3), 1 / 3), ignore_index=0),
            ValueError,
            "ignore_index=0 is a label, and the target gives probabilities",
        ),
        (lambda: nn.nll_loss(LOGITS, [0, 3]), ValueError, "nll_loss: labels must be 0 to 2 for 3 classes, got 3"),
        (lambda: nn.nll_loss(LOGITS, np.zeros((2, 3))), TypeError, r"nll_loss: labels must be integers of shape \(2,\)"),
        (lambda: nn.nll_loss(LOGITS, [0, 1], np.ones(4)), ValueError, r"nll_loss: weight must .* 3 classes, got shape \(4,\)"),
        (lambda: nn.nll_loss([0.0], [0]), TypeError, "nll_loss: expected x as a Tensor, got list"),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing=2),
            ValueError,
            "CrossEntropyLoss: label_smoothing must be from 0 to 1, got 2",
        ),
        (lambda: nn.CrossEntropyLoss(ignore_index=0.5), TypeError, "CrossEntropyLoss: ignore_index must be an integer"),
        (lambda: nn.CrossEntropyLoss("mean"), TypeError, "CrossEntropyLoss: weight: expected numbers .* got 'mean'"),
        (lambda: nn.NLLLoss(Tensor([1.0], requires_grad=True)), ValueError, "NLLLoss: weight requires a gradient"),
        (
            lambda: nn.CrossEntropyLoss([1.0, 2.0])(LOGITS, [0, 1]),
            ValueError,
            "weight must have one number for each of 3 classes",
        ),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("labels", [[-100] * 3, [1, -100, -100], [1, 1, 1], [1, 2, -100]])
@pytest.mark.parametrize("weight", [[1.0, 0.0, 1.0, 1.0], [0.0] * 4, [1.0, 1.0, -1.0, 1.0], [0.5, 2.0, 1.0, 1.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weights_that_sum_to_0_leave_no_mean_and_no_gradient(labels, weight, smoothing, dtype):
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)
    counts = sum(weight[label] for label in labels if label >= 0)
    losses = [lambda x, y, **settings: nn.cross_entropy(x, y, label_smoothing=smoothing, **settings)]
    losses += [] if smoothing else [nn.nll_loss]
    for loss in losses:
        for recorded in (False, True):
            leaf = Tensor(x, requires_grad=True)
            y = loss(leaf, labels, weight=np.array(weight))
            g = mt.grad(y, leaf, create_graph=recorded)[0].numpy()
            assert np.isnan(y.item()) == (counts == 0)
            assert g.any() == (counts != 0)
            assert np.isfinite(g).all()
        y, g = value_and_gradient(loss, x, labels, weight=np.array(weight), reduction="sum")
        assert np.isfinite(y)
        assert np.isfinite(g).all()
