"""Losses of probabilities: at 0 and 1, of logits of any size, weights, layers, errors."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn


def test_binary_cross_entropy_at_0_and_1_is_pytorchs():
    torch = pytest.importorskip("torch")
    x, target = np.repeat([0.0, 0.3, 1.0], 3), np.tile([0.0, 0.5, 1.0], 3)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    losses = nn.binary_cross_entropy(ours, target, reduction="none")
    expected = torch.nn.functional.binary_cross_entropy(theirs, torch.tensor(target), reduction="none")
    np.testing.assert_allclose(losses.numpy(), expected.detach().numpy(), rtol=1e-12)
    assert losses.numpy().max() == 100
    (g,), (wanted,) = mt.grad(losses.sum(), ours), torch.autograd.grad(expected.sum(), theirs)
    np.testing.assert_allclose(g.numpy(), wanted.numpy(), rtol=1e-8)  # its 1e-12 is float32's


def test_the_gradient_for_the_target_is_finite_at_0_and_1():
    x, target = Tensor([0.0, 1.0, 0.5]), Tensor([1.0, 1.0, 1.0], requires_grad=True)
    (g,) = mt.grad(nn.binary_cross_entropy(x, target, reduction="sum"), target)
    np.testing.assert_array_equal(g.numpy(), [100.0, -100.0, 0.0])


def test_logits_of_any_size():
    x = Tensor(np.array([-1e4, -20.0, 0.0, 20.0, 1e4], np.float32), requires_grad=True)
    for target in (0.0, 1.0, 0.5):
        loss = nn.binary_cross_entropy_with_logits(x, np.full(5, target), reduction="none")
        exact = np.logaddexp(0, -x.numpy().astype(float)) * target + np.logaddexp(0, x.numpy().astype(float)) * (1 - target)
        np.testing.assert_allclose(loss.numpy(), exact, rtol=1e-6)  # relative: also where the loss is 2e-9
        (g,) = mt.grad(loss.sum(), x)
        np.testing.assert_allclose(g.numpy(), x.sigmoid().detach().numpy() - np.float32(target), atol=1e-7)


def test_with_logits_is_the_loss_of_the_sigmoid():
    rng = np.random.default_rng(0)
    x, target = Tensor(rng.standard_normal((4, 3))), rng.random((4, 3))
    settings = {"weight": rng.random(3), "reduction": "sum"}
    assert nn.binary_cross_entropy_with_logits(x, target, **settings).item() == pytest.approx(
        nn.binary_cross_entropy(x.sigmoid(), target, **settings).item()
    )


@pytest.mark.parametrize("target", [[0, 1], [False, True], np.array([0.0, 1.0]), mt.tensor([0, 1]), mt.tensor([False, True])])
def test_yes_and_no_of_every_kind_leave_float32(target):
    loss = nn.binary_cross_entropy_with_logits(Tensor([-1.0, 1.0]), target)
    assert loss.dtype == np.float32
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1)))


def test_a_probability_of_0_costs_nothing_in_a_divergence():
    torch = pytest.importorskip("torch")
    x, target = Tensor([[-1.0, -0.5]]), Tensor([[0.0, 1.0]], requires_grad=True)
    assert nn.kl_div(x, target, "batchmean").item() == 0.5
    (g,) = mt.grad(nn.kl_div(x, target, "sum"), target)
    np.testing.assert_array_equal(g.numpy(), [[1.0, 1.5]])
    theirs = torch.nn.functional.kl_div(torch.tensor(x.numpy()), torch.tensor(target.numpy()), reduction="none")
    np.testing.assert_array_equal(nn.kl_div(x, target, "none").numpy(), theirs.numpy())


def test_a_divergence_is_0_where_the_distributions_agree_and_more_elsewhere():
    p, q = (Tensor(np.random.default_rng(seed).random((3, 4))).log_softmax(1) for seed in (0, 1))
    assert nn.kl_div(p, p.exp(), "batchmean").item() == pytest.approx(0, abs=1e-12)
    assert nn.kl_div(p, p, "batchmean", log_target=True).item() == 0
    assert nn.kl_div(p, q, "batchmean", log_target=True).item() > 0
    entropy = -(q.exp() * q).sum(1).mean()
    assert nn.kl_div(p, q.exp(), "batchmean").item() == pytest.approx((nn.cross_entropy(p, q.exp()) - entropy).item())


def test_the_mean_of_nothing_is_nan():
    empty = Tensor(np.zeros((0, 2)))
    for loss in (nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits, nn.kl_div):
        assert np.isnan(loss(empty, empty).item())
    assert np.isnan(nn.kl_div(empty, empty, "batchmean").item())
    assert nn.kl_div(Tensor(-1.0), 1.0, "batchmean").item() == 1


def test_layers_are_their_functions_and_keep_pytorchs_buffers():
    torch = pytest.importorskip("torch")
    x, target, weight = np.full((2, 3), 0.3, np.float32), np.full((2, 3), 0.4, np.float32), np.array([1, 2, 3], np.float32)
    for name, arrays, settings in (
        ("BCELoss", {"weight": weight}, {"reduction": "sum"}),
        ("BCEWithLogitsLoss", {"weight": weight, "pos_weight": weight}, {}),
        ("BCEWithLogitsLoss", {"pos_weight": weight}, {"reduction": "none"}),
        ("KLDivLoss", {}, {"reduction": "batchmean", "log_target": True}),
    ):
        ours = getattr(nn, name)(**arrays, **settings)
        theirs = getattr(torch.nn, name)(**{key: torch.tensor(value) for key, value in arrays.items()}, **settings)
        np.testing.assert_allclose(
            ours(Tensor(x), target).numpy(), theirs(torch.tensor(x), torch.tensor(target)).numpy(), rtol=1e-6
        )
        assert [*ours.state_dict()] == [*theirs.state_dict()]
    assert repr(nn.KLDivLoss("batchmean")) == "KLDivLoss(reduction='batchmean')"
    assert repr(nn.BCEWithLogitsLoss()) == "BCEWithLogitsLoss()"


X = Tensor(np.full((2, 3), 0.5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.binary_cross_entropy(Tensor([0.5, 1.25]), [0, 1]),
            ValueError,
            r"binary_cross_entropy: x must be probabilities, from 0 to 1, got a number 0.25 beyond them; apply sigmoid\(\), or take",
        ),
        (lambda: nn.binary_cross_entropy(Tensor([-2.0, 1.0]), [0, 1]), ValueError, "got a number 2 beyond them"),
        (lambda: nn.binary_cross_entropy(Tensor([np.nan]), [0]), ValueError, "got a number nan beyond them"),
        (lambda: nn.binary_cross_entropy(X, [0, 1]), ValueError, r"x \(2, 3\) and target \(2,\) must have the same shape"),
        (lambda: nn.binary_cross_entropy(X, X, np.ones(2)), ValueError, r"weight \(2,\) does not broadcast to .* x \(2, 3\)"),
        (lambda: nn.binary_cross_entropy(X, X, np.ones((1, 2, 3))), ValueError, r"weight \(1, 2, 3\) does not broadcast"),
        (
            lambda: nn.binary_cross_entropy_with_logits(X, X, pos_weight=[1.0, 2.0]),
            ValueError,
            r"binary_cross_entropy_with_logits: pos_weight \(2,\) does not broadcast to the shape of x \(2, 3\)",
        ),
        (
            lambda: nn.binary_cross_entropy_with_logits(X, X, pos_weight=Tensor(1.0, requires_grad=True)),
            ValueError,
            "pos_weight requires a gradient, but is taken as a constant",
        ),
        (lambda: nn.binary_cross_entropy_with_logits(X.to("int64"), X), TypeError, "expected floating-point x, got int64"),
        (lambda: nn.binary_cross_entropy_with_logits(X, X, "sum"), TypeError, "weight: expected numbers .* got 'sum'"),
        (lambda: nn.binary_cross_entropy_with_logits(X, X, reduction="batchmean"), ValueError, "reduction must be"),
        (lambda: nn.kl_div(X, X, "batch"), ValueError, 'kl_div: reduction must be "mean", "batchmean", "sum" or "none", got'),
        (lambda: nn.kl_div(X, X[0]), ValueError, r"kl_div: x \(2, 3\) and target \(3,\)"),
        (lambda: nn.KLDivLoss("batch"), ValueError, "KLDivLoss: reduction must be"),
        (lambda: nn.BCELoss(Tensor(1.0, requires_grad=True)), ValueError, "BCELoss: weight requires a gradient"),
        (lambda: nn.BCEWithLogitsLoss("mean"), TypeError, "BCEWithLogitsLoss: weight: expected numbers"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
