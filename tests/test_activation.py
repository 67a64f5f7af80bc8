"""Activation layers: each is its function, and PyTorch's layer."""

import numpy as np
import pytest
from hypothesis import given

from microtensor import Tensor
from microtensor.gradcheck import check_gradients
from microtensor.nn import activation
from microtensor.testing import shapes, tensors

LAYERS = [("ReLU", {}), ("Tanh", {}), ("Sigmoid", {}), ("Softmax", {"dim": -1}), ("LogSoftmax", {"dim": 0})]
ids = [name for name, _ in LAYERS]


@pytest.mark.parametrize(("name", "settings"), LAYERS, ids=ids)
@given(x=tensors(shapes(min_dims=1), away_from=[0.0]))
def test_gradients_to_second_order(name, settings, x):
    check_gradients(getattr(activation, name)(**settings), x, order=2)


@pytest.mark.parametrize(("name", "settings"), LAYERS, ids=ids)
@given(x=tensors(shapes(min_dims=1)))
def test_values_gradients_and_repr_are_pytorchs(name, settings, x):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(activation, name)(**settings), getattr(torch.nn, name)(**settings)
    assert repr(ours) == repr(theirs)
    x.requires_grad = True
    there = torch.tensor(x.numpy(), requires_grad=True)
    y, expected = ours(x), theirs(there)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-14, strict=True)
    g = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.numpy(), there.grad.numpy(), rtol=1e-11, atol=1e-13, strict=True)


def test_relu_understands_inplace_and_leaves_its_input_alone():
    x = Tensor([-1.0, 2.0])
    assert activation.ReLU(inplace=True)(x).tolist() == [0.0, 2.0]
    assert x.tolist() == [-1.0, 2.0]
    with pytest.raises(TypeError, match=r"ReLU\(\)\(x\)"):
        activation.ReLU(x)


def test_the_gradient_of_relu_at_0_is_0():
    x = Tensor([0.0], requires_grad=True)
    activation.ReLU()(x).sum().backward()
    assert x.grad.tolist() == [0.0]


def test_an_axis_that_is_not_there():
    with pytest.raises(ValueError, match="softmax: dim 2"):
        activation.Softmax(2)(Tensor([[1.0]]))
