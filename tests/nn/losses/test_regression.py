"""Losses of numbers: where their pieces meet, targets of every kind, shapes that only broadcast, layers, errors."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn

NAMES = ["mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"]


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_where_the_pieces_meet_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    d = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    x, target = Tensor(d, requires_grad=True), Tensor(np.zeros(7), requires_grad=True)
    theirs = torch.tensor(d, requires_grad=True), torch.zeros(7, dtype=torch.float64, requires_grad=True)
    y, expected = getattr(nn, name)(x, target), getattr(torch.nn.functional, name)(*theirs)
    assert y.item() == pytest.approx(expected.item(), rel=1e-12)
    for ours, wanted in zip(mt.grad(y, (x, target)), torch.autograd.grad(expected, theirs)):
        np.testing.assert_allclose(ours.numpy(), wanted.numpy(), atol=1e-15)


def test_smooth_l1_with_beta_0_is_l1():
    x = Tensor([0.0, 0.5, -2.0])
    assert nn.smooth_l1_loss(x, [0.0, 0.0, 0.0], beta=0).item() == nn.l1_loss(x, [0.0, 0.0, 0.0]).item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "target",
    [
        [1.0, 2.0],
        (1, 2),
        np.array([1.0, 2.0]),
        np.array([1, 2]),
        Tensor([1.0, 2.0]),
        mt.tensor([1, 2]),
        mt.tensor([True, True]),
    ],
)
def test_targets_of_every_kind_leave_float32(name, target):
    x = Tensor([1.0, 2.0], requires_grad=True)
    loss = getattr(nn, name)(x, target)
    assert loss.dtype == np.float32
    assert loss.item() in (0, 0.5, 0.25)
    assert mt.grad(loss, x)[0].dtype == np.float32


def test_a_tensor_of_float64_makes_the_loss_float64_and_not_the_gradient():
    x = Tensor([1.0, 2.0], requires_grad=True)
    loss = nn.mse_loss(x, Tensor(np.array([1.0, 1.0])))
    assert loss.dtype == np.float64
    assert mt.grad(loss, x)[0].dtype == np.float32


def test_an_array_that_changes_later_changes_nothing():
    x, target = Tensor([1.0, 2.0], requires_grad=True), np.array([0.0, 0.0], np.float32)
    loss = nn.mse_loss(x, target)
    target[:] = 9.0
    np.testing.assert_array_equal(mt.grad(loss, x)[0].numpy(), [1.0, 2.0])


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_of_nothing_is_nan(name):
    assert np.isnan(getattr(nn, name)(Tensor(np.zeros((0, 2))), np.zeros((0, 2))).item())


def test_a_weight_weighs_the_mean_as_pytorchs_does():
    torch = pytest.importorskip("torch")
    x, weight = np.array([1.0, -2.0, 3.0]), np.array([1.0, 0.0, 2.0])
    for name in ("mse_loss", "l1_loss", "huber_loss"):
        ours = getattr(nn, name)(Tensor(x), [0.0] * 3, weight=weight)
        theirs = getattr(torch.nn.functional, name)(torch.tensor(x), torch.zeros(3), weight=torch.tensor(weight))
        assert ours.item() == pytest.approx(theirs.item())


@pytest.mark.parametrize(
    ("layer", "loss"),
    [
        (nn.MSELoss("sum"), lambda x, t: nn.mse_loss(x, t, "sum")),
        (nn.L1Loss("none"), lambda x, t: nn.l1_loss(x, t, "none")),
        (nn.HuberLoss("sum", 0.3), lambda x, t: nn.huber_loss(x, t, "sum", 0.3)),
        (nn.HuberLoss(delta=0.3), lambda x, t: nn.huber_loss(x, t, delta=0.3)),
        (nn.SmoothL1Loss("sum", 0.3), lambda x, t: nn.smooth_l1_loss(x, t, "sum", 0.3)),
    ],
)
def test_layers_are_their_functions(layer, loss):
    x, target = Tensor([0.1, 2.0]), [0.0, 1.0]
    np.testing.assert_array_equal(layer(x, target).numpy(), loss(x, target).numpy())


def test_layers_print_what_is_unusual():
    assert repr(nn.MSELoss()) == "MSELoss()"
    assert repr(nn.HuberLoss("sum", 0.5)) == "HuberLoss(reduction='sum', delta=0.5)"
    assert repr(nn.SmoothL1Loss(beta=0.0)) == "SmoothL1Loss(beta=0.0)"


X = Tensor(np.zeros((8, 1)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.mse_loss(X, np.zeros(8)),
            ValueError,
            r"mse_loss: x \(8, 1\) and target \(8,\) must have the same shape, .*; use target.reshape\(8, 1\), or bring x",
        ),
        (lambda: nn.l1_loss(X, np.zeros(1)), ValueError, r"x \(8, 1\) and target \(1,\) must have .* with one other$"),
        (lambda: nn.huber_loss(X, 0.0), ValueError, r"huber_loss: x \(8, 1\) and target \(\)"),
        (lambda: nn.mse_loss([1.0], [1.0]), TypeError, "mse_loss: expected x as a Tensor, got list; wrap it"),
        (lambda: nn.mse_loss(mt.tensor([1]), [1.0]), TypeError, "mse_loss: expected floating-point x, got int64"),
        (lambda: nn.mse_loss(X, "cat"), TypeError, "mse_loss: target: expected numbers"),
        (lambda: nn.mse_loss(X, None), TypeError, "mse_loss: target: expected numbers"),
        (lambda: nn.mse_loss(X, X, "avg"), ValueError, 'mse_loss: reduction must be "mean", "sum" or "none", got \'avg\''),
        (
            lambda: nn.mse_loss(X, X, weight=[1.0]),
            ValueError,
            r"mse_loss: weight must have the shape of x, \(8, 1\), got \(1,\)",
        ),
        (lambda: nn.huber_loss(X, X, delta=0), ValueError, "huber_loss: delta must be more than 0, got 0"),
        (lambda: nn.huber_loss(X, X, delta=-1), ValueError, "huber_loss: delta must be 0 or more, got -1"),
        (lambda: nn.smooth_l1_loss(X, X, beta=-1.0), ValueError, "smooth_l1_loss: beta must be 0 or more, got -1.0"),
        (lambda: nn.smooth_l1_loss(X, X, beta=None), TypeError, "smooth_l1_loss: beta must be a number, got NoneType"),
        (lambda: nn.HuberLoss(delta=0.0), ValueError, "HuberLoss: delta must be more than 0"),
        (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "SmoothL1Loss: beta must be 0 or more"),
        (lambda: nn.MSELoss("batchmean"), ValueError, "MSELoss: reduction must be"),
        (lambda: nn.L1Loss(True), ValueError, "L1Loss: reduction must be .*, got True"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
