"""What all losses share: reductions, and constants beside the prediction."""

import sys

import numpy as np
import pytest
import strict

from microtensor import Tensor, nn
from microtensor.nn.losses.reduction import Loss, check_reduction, constant, number_within

LOSSES = [
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.CrossEntropyLoss,
    nn.DiceLoss,
    nn.HuberLoss,
    nn.KLDivLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.NLLLoss,
    nn.SmoothL1Loss,
]


@pytest.mark.parametrize("layer", LOSSES)
def test_every_loss_refuses_a_misspelt_reduction_when_it_is_made(layer):
    for wrong in ("avg", "Mean", None, ["mean"]):
        with pytest.raises(ValueError, match=f'^{layer.__name__}: reduction must be .* or "none", got '):
            layer(reduction=wrong)
    assert isinstance(layer(), Loss)
    assert layer(reduction="sum").reduction == "sum"
    assert repr(layer()) == f"{layer.__name__}()"


def test_a_reduction_of_its_own():
    check_reduction("", "median", ("mean", "median"))
    with pytest.raises(ValueError, match='example: reduction must be "mean" or "median", got \'sum\''):
        check_reduction("example", "sum", ("mean", "median"))


def test_constants_stand_beside_the_prediction(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    like = Tensor(np.zeros(2, np.float32), device="cuda")
    for value in ([1, 2], np.array([1.0, 2.0]), Tensor([1.0, 2.0], device="cuda")):
        given = constant("example", "weight", value, like)
        assert (given.device, given.dtype) == ("cuda:0", np.float32)
    with pytest.raises(ValueError, match=r"example: weight is on cpu, and not on cuda:0; move it: .to\('cuda:0'\)"):
        constant("example", "weight", Tensor([1.0, 2.0]), like)
    for name in ("mse_loss", "kl_div", "cross_entropy"):
        with pytest.raises(ValueError, match=f"{name}: target is on cpu, and not on cuda:0; move it"):
            getattr(nn, name)(like, Tensor([1.0, 2.0]))
    loss = nn.BCEWithLogitsLoss(pos_weight=[2.0, 3.0]).to("cuda")
    assert loss(like, [0, 1]).device == "cuda:0"


def test_numbers_within():
    assert number_within("", "x", np.float32(0.5), 0, 1) == 0.5
    for wrong in (True, "1", None, [1]):
        with pytest.raises(TypeError, match="example: x must be a number, got"):
            number_within("example", "x", wrong, 0, 1)


@pytest.mark.parametrize("layer", LOSSES)
def test_tensors_to_compare_are_no_settings(layer):
    x = Tensor(np.ones((2, 2), np.float32), requires_grad=True)
    for target in (x.detach(), np.array([0, 1]), [0, 1]):
        with pytest.raises(
            TypeError, match=rf"{layer.__name__}: make the loss first, then call it: {layer.__name__}\(\)\(x, t"
        ):
            layer(x, target)
    assert nn.CrossEntropyLoss(Tensor([1.0, 2.0]), -1).ignore_index == -1
    assert nn.BCEWithLogitsLoss(Tensor([1.0, 2.0]), "sum").reduction == "sum"
