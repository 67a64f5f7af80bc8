"""Activation layers: each is its function, and PyTorch's layer."""

import numpy as np
import pytest
from hypothesis import given, settings

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.gradcheck import check_gradients
from microtensor.testing import shapes, tensors

LAYERS = [
    ("ReLU", {}),
    ("ReLU6", {}),
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("PReLU", {}),
    ("PReLU", {"init": 0.5}),
    ("Hardtanh", {}),
    ("Hardtanh", {"min_val": -0.5, "max_val": 2.5}),
    ("Hardswish", {}),
    ("Tanh", {}),
    ("Sigmoid", {}),
    ("LogSigmoid", {}),
    ("Softplus", {}),
    ("Softplus", {"beta": 2.0, "threshold": 30.0}),
    ("Softsign", {}),
    ("ELU", {}),
    ("ELU", {"alpha": 0.5}),
    ("CELU", {}),
    ("CELU", {"alpha": 0.5}),
    ("SELU", {}),
    ("GELU", {}),
    ("GELU", {"approximate": "tanh"}),
    ("SiLU", {}),
    ("Mish", {}),
    ("Threshold", {"threshold": 0.5, "value": -7.0}),
    ("Hardshrink", {}),
    ("Hardshrink", {"lambd": 1.0}),
    ("Softshrink", {}),
    ("Softshrink", {"lambd": 1.0}),
    ("Tanhshrink", {}),
    ("Softmax", {"dim": -1}),
    ("LogSoftmax", {"dim": 0}),
    ("Softmin", {"dim": -1}),
]
ids = [f"{name}({', '.join(map(str, settings.values()))})" for name, settings in LAYERS]
KINKS = [-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.5, 3.0, 6.0]


@pytest.mark.parametrize(("name", "arguments"), LAYERS, ids=ids)
@settings(max_examples=10)
@given(x=tensors(shapes(min_dims=1), low=-4.0, high=8.0, away_from=KINKS))
def test_gradients_to_second_order(name, arguments, x):
    check_gradients(getattr(nn, name)(**arguments), x, order=2)


@pytest.mark.parametrize(("name", "arguments"), LAYERS, ids=ids)
@settings(max_examples=10)
@given(x=tensors(shapes(min_dims=1), low=-4.0, high=8.0, away_from=KINKS))
def test_values_gradients_and_repr_are_pytorchs(name, arguments, x):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(**arguments), getattr(torch.nn, name)(**arguments).double()
    assert repr(ours) == repr(theirs)
    x.requires_grad = True
    there = torch.tensor(x.numpy(), requires_grad=True)
    y, expected = ours(x), theirs(there)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-14, strict=True)
    g = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.numpy(), there.grad.numpy(), rtol=1e-11, atol=1e-13, strict=True)


def test_hardsigmoid():  # PyTorch's own gradient takes 1/6 in float32
    torch = pytest.importorskip("torch")
    x = np.linspace(-5, 5, 12)
    assert repr(nn.Hardsigmoid()) == repr(torch.nn.Hardsigmoid())
    y = nn.Hardsigmoid()(Tensor(x)).numpy()
    np.testing.assert_allclose(y, torch.nn.Hardsigmoid()(torch.tensor(x)).numpy(), rtol=1e-14)


def test_every_activation_of_pytorch_is_here():
    torch = pytest.importorskip("torch")
    names = set(torch.nn.modules.activation.__all__) - {"MultiheadAttention"}
    assert not names - set(dir(nn))


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [("GLU", {}, (3, 4)), ("GLU", {"dim": 0}, (4, 3)), ("Softmax2d", {}, (2, 3, 4, 5)), ("Softmax2d", {}, (3, 4, 5))],
)
def test_layers_that_need_certain_shapes_are_pytorchs(name, arguments, shape):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(**arguments), getattr(torch.nn, name)(**arguments)
    assert repr(ours) == repr(theirs)
    x, g = (
        np.random.default_rng(0).standard_normal(shape),
        np.random.default_rng(1).standard_normal(ours(Tensor(np.ones(shape))).shape),
    )
    leaf, there = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours(leaf), theirs(there)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, strict=True)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(leaf.grad.numpy(), there.grad.numpy(), rtol=1e-10, atol=1e-14)
    check_gradients(ours, leaf.detach(), order=2)


def test_random_slopes_are_drawn_in_training_and_averaged_after():
    torch = pytest.importorskip("torch")
    x = -np.ones(20_000, np.float32)
    layer = nn.RReLU(0.1, 0.5, generator=mt.Generator(0))
    leaf = Tensor(x, requires_grad=True)
    y = layer(leaf)
    slopes = -y.numpy()
    assert slopes.min() >= 0.1
    assert slopes.max() <= 0.5
    assert slopes.mean() == pytest.approx(0.3, abs=0.005)
    assert slopes.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.03)
    y.backward(Tensor(np.ones_like(x)))
    np.testing.assert_array_equal(leaf.grad.numpy(), slopes)
    np.testing.assert_allclose(layer.eval()(leaf).numpy(), torch.nn.RReLU(0.1, 0.5).eval()(torch.tensor(x)).numpy(), rtol=1e-6)
    assert repr(nn.RReLU()) == repr(torch.nn.RReLU())
    assert nn.RReLU(0.5, 0.5)(Tensor([-2.0, 4.0])).tolist() == [-1.0, 4.0]


INPLACE = ["ReLU", "ReLU6", "LeakyReLU", "Hardtanh", "Hardsigmoid", "Hardswish", "ELU", "CELU", "SELU", "SiLU", "Mish"]


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_is_understood_and_leaves_the_input_alone(name):
    x = Tensor([-1.0, 2.0])
    layer = getattr(nn, name)
    assert layer(inplace=True)(x).tolist() == layer()(x).tolist()
    assert x.tolist() == [-1.0, 2.0]
    with pytest.raises(TypeError, match=rf"{name}: inplace must be True or False, got int; apply a layer as {name}\(\)\(x\)"):
        layer(inplace=1)


def test_the_slopes_of_prelu_are_learned_and_saved_under_pytorchs_name():
    layer = nn.PReLU(3, init=0.5)
    x = Tensor(-np.ones((2, 3, 4), np.float32))
    layer(x).sum().backward()
    assert layer.weight.grad.tolist() == [-8.0, -8.0, -8.0]
    torch = pytest.importorskip("torch")
    theirs = torch.nn.PReLU(3, init=0.5)
    assert {k: v.tolist() for k, v in layer.state_dict().items()} == {k: v.tolist() for k, v in theirs.state_dict().items()}
    assert repr(layer) == repr(theirs)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda x: nn.ReLU(x),
            TypeError,
            r"ReLU: inplace must be True or False, got Tensor; apply a layer as ReLU\(\)\(x\)",
        ),
        (
            lambda x: nn.LeakyReLU(x),
            TypeError,
            r"LeakyReLU: negative_slope must be a number, got Tensor; apply a layer as",
        ),
        (lambda x: nn.ELU("1"), TypeError, "ELU: alpha must be a number, got str"),
        (lambda x: nn.CELU(x), TypeError, "CELU: alpha must be a number, got Tensor"),
        (lambda x: nn.Softplus(x), TypeError, "Softplus: beta must be a number, got Tensor"),
        (lambda x: nn.Hardtanh(x), TypeError, "Hardtanh: min_val must be a number, got Tensor"),
        (
            lambda x: nn.Hardtanh(1.0, -1.0),
            ValueError,
            "Hardtanh: min_val must be smaller than max_val, got 1.0 and -1.0",
        ),
        (lambda x: nn.GELU(x), ValueError, r'GELU: approximate must be "none" or "tanh", got Tensor; .* GELU\(\)\(x\)'),
        (lambda x: nn.GELU("erf"), ValueError, "GELU: approximate must be .* got 'erf'"),
        (lambda x: nn.PReLU(0), ValueError, "PReLU: num_parameters must be an integer of 1 or more, got 0"),
        (lambda x: nn.PReLU(x), ValueError, "PReLU: num_parameters must be an integer of 1 or more"),
        (lambda x: nn.PReLU(1, "a"), TypeError, "PReLU: init must be a number, got str"),
        (
            lambda x: nn.Softmax(),
            TypeError,
            r"Softmax: dim is missing; name the axis of the classes, Softmax\(dim=1\) for \(N, C\)",
        ),
        (lambda x: nn.LogSoftmax(x), TypeError, "LogSoftmax: dim must be an integer, got Tensor"),
        (lambda x: nn.Softmin(), TypeError, "Softmin: dim is missing"),
        (
            lambda x: nn.Softmax2d()(x),
            ValueError,
            r"Softmax2d: expected images \(N, C, H, W\) or \(C, H, W\), got shape \(2,\)",
        ),
        (lambda x: nn.GLU("1"), TypeError, "GLU: dim must be an integer, got '1'"),
        (lambda x: nn.Threshold("1", 2), TypeError, "Threshold: threshold must be a number, got str"),
        (lambda x: nn.Hardshrink(x), TypeError, "Hardshrink: lambd must be a number, got Tensor"),
        (lambda x: nn.Softshrink(-1), ValueError, "Softshrink: lambd must not be negative, got -1"),
        (lambda x: nn.RReLU(0.5, 0.1), ValueError, "RReLU: lower must not be larger than upper, got 0.5 and 0.1"),
        (lambda x: nn.rrelu(x, 0.5, 0.1), ValueError, "rrelu: lower must not be larger than upper"),
        (lambda x: nn.ELU(True), TypeError, "ELU: alpha must be a number, got bool"),
        (lambda x: nn.PReLU(3)(x), ValueError, r"prelu: for x \(2,\) the weight must have shape \(1,\)"),
    ],
)
def test_wrong_input_is_refused_in_words(make, error, message):
    with pytest.raises(error, match=message):
        make(Tensor([-1.0, 2.0]))


def test_the_gradient_of_relu_at_0_is_0():
    x = Tensor([0.0], requires_grad=True)
    nn.ReLU()(x).sum().backward()
    assert x.grad.tolist() == [0.0]


def test_an_axis_that_is_not_there():
    with pytest.raises(ValueError, match="softmax: dim 2"):
        nn.Softmax(2)(Tensor([[1.0]]))
