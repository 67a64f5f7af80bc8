"""Guided backpropagation and the deconvnet: rules for the backward pass of ReLU."""

import threading

import numpy as np
import pytest
from saliency_nets import draw, reused, ruled, twin

import microtensor as mt
from microtensor import saliency
from microtensor.ops.activations import rectifier

METHODS = {"guided": saliency.guided_backprop, "deconvnet": saliency.deconvnet}


@pytest.mark.parametrize("rule", METHODS)
def test_against_pytorch_with_reused_and_functional_relus(rule):
    torch = pytest.importorskip("torch")
    model, x, target = reused(), draw(3, 4, 2, 8, 8), [0, 4, 2, 2]
    guided = rule == "guided"
    forward = twin(torch, model, ruled(torch, guided), ruled(torch, guided, 6.0))
    leaf = torch.tensor(x.numpy(), requires_grad=True)
    forward(leaf)[range(4), target].sum().backward()
    found = METHODS[rule](model, x, target, reduce=None).numpy()
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(METHODS[rule](model, x, target).numpy(), leaf.grad.abs().amax(1).numpy(), rtol=1e-10)


def test_the_three_rules_differ_and_the_gradient_comes_back():
    model, x = reused(), draw(3, 2, 2, 8, 8)
    before = saliency.gradient(model, x, 1).numpy()
    maps = [method(model, x, 1).numpy() for method in METHODS.values()]
    assert not np.allclose(maps[0], maps[1])
    assert not np.allclose(maps[0], before)
    np.testing.assert_array_equal(saliency.gradient(model, x, 1).numpy(), before)


TABLE = [  # x, incoming gradient, gradient, guided, deconvnet
    (-1.0, 2.0, 0.0, 0.0, 2.0),
    (-1.0, -2.0, 0.0, 0.0, 0.0),
    (1.0, 2.0, 2.0, 2.0, 2.0),
    (1.0, -2.0, -2.0, 0.0, 0.0),
    (0.0, 2.0, 0.0, 0.0, 2.0),
]
CEILING = [*TABLE, (7.0, 2.0, 0.0, 0.0, 2.0), (7.0, -2.0, 0.0, 0.0, 0.0), (6.0, 2.0, 0.0, 0.0, 2.0)]


@pytest.mark.parametrize(
    ("function", "table"),
    [
        (mt.relu, TABLE),
        (lambda x: x.relu(), TABLE),
        (mt.relu6, CEILING),
        (lambda x: mt.hardtanh(x, 0.0, 6.0), CEILING),
        (lambda x: mt.checkpoint(mt.relu, x), TABLE),
    ],
)
def test_each_case(function, table):
    x, g, plain, guided, deconvnet = (mt.Tensor(np.array(column)) for column in zip(*table))
    x.requires_grad_()
    y = function(x)
    with saliency.relu_rule("guided"):
        np.testing.assert_array_equal(mt.grad(y, x, g, retain_graph=True)[0].numpy(), guided.numpy())
    with saliency.relu_rule("deconvnet"):
        np.testing.assert_array_equal(mt.grad(y, x, g, retain_graph=True)[0].numpy(), deconvnet.numpy())
    np.testing.assert_array_equal(mt.grad(y, x, g)[0].numpy(), plain.numpy())


@pytest.mark.parametrize(
    "function",
    [
        mt.elu,
        mt.celu,
        mt.selu,
        mt.leaky_relu,
        mt.hardsigmoid,
        mt.hardswish,
        mt.hardtanh,
        mt.sigmoid,
        mt.tanh,
        mt.gelu,
        mt.softplus,
        lambda x: x.abs() + x.clamp(0, 1),
    ],
)
def test_what_is_no_relu_keeps_its_derivative(function):
    x, g = draw(0, 50).requires_grad_(), draw(1, 50)
    x.array[...] *= 3
    expected = mt.grad(function(x), x, g)[0].numpy()
    for rule in METHODS:
        with saliency.relu_rule(rule):
            np.testing.assert_array_equal(mt.grad(function(x), x, g)[0].numpy(), expected)


def test_rules_nest_end_with_their_block_and_after_an_error():
    with saliency.relu_rule("guided"):
        outer = rectifier.derivative
        with saliency.relu_rule("deconvnet"):
            assert rectifier.derivative is not outer
        assert rectifier.derivative is outer
    assert rectifier.derivative is None

    def broken(x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        saliency.guided_backprop(broken, draw(0, 1, 1, 2, 2))
    assert rectifier.derivative is None


def test_another_threads_gradients_are_not_ruled():
    seen = []

    def other():
        x = mt.Tensor([1.0], requires_grad=True)
        seen.append(mt.grad(x.relu(), x, mt.Tensor([-1.0]))[0].item())

    with saliency.relu_rule("guided"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [-1.0]


def test_nan_passes():
    x = mt.Tensor([float("nan")], requires_grad=True)
    for rule in METHODS:
        with saliency.relu_rule(rule):
            assert np.isnan(mt.grad(x.relu(), x, mt.Tensor([float("nan")]))[0].numpy()).all()


def test_a_ruled_pass_can_be_differentiated():
    x, g = mt.Tensor([-1.0, 1.0, 2.0], requires_grad=True), mt.Tensor([3.0, 3.0, -3.0], requires_grad=True)
    with saliency.relu_rule("guided"):
        (dx,) = mt.grad(x.relu() * x, x, g, create_graph=True)
    np.testing.assert_array_equal(mt.grad(dx, g, mt.ones(3))[0].numpy(), [0, 2, 2])


@pytest.mark.parametrize("method", METHODS.values())
def test_wrong_input_is_refused_in_words(method):
    with pytest.raises(ValueError, match=r"saliency\.(guided_backprop|deconvnet): reduce must be"):
        method(lambda x: x.flatten(1), draw(0, 1, 1, 2, 2), reduce="sum")
    with pytest.raises(ValueError, match="expected one of 'guided', 'deconvnet', got 'relu'"), saliency.relu_rule("relu"):
        pass
