"""The checker itself: it passes what is right, catches what is wrong, and says where."""

import numpy as np
import pytest
from hypothesis import given

import microtensor as mt
from microtensor.gradcheck import NotDifferentiableError, check_gradients, numerical_gradient
from microtensor.testing import tensors

X = mt.Tensor(np.random.default_rng(0).uniform(-1, 1, (2, 3)))


@given(tensors())
def test_numerical_gradients_are_accurate(x):
    np.testing.assert_allclose(numerical_gradient(lambda x: x.exp(), x)[0].numpy(), np.exp(x.numpy()), rtol=1e-9)


def test_a_right_gradient_passes_in_both_orders():
    check_gradients(lambda x: x.tanh() * x, X, order=2)


@mt.op
def no_gradient(x):
    """A softmax whose backward is zero: with the sum of the outputs as loss, nobody would notice."""
    e = x.xp.exp(x.data)
    return e / e.sum(-1, keepdims=True), (lambda g: g * 0,)


@mt.op
def wrong_element(x):
    return x.data**2, (lambda g: 2 * g * x * x.constant(x.xp.where(x.xp.arange(6).reshape(2, 3) == 4, 1.001, 1.0)),)


@mt.op
def wrong_second_order(x):
    return x.data**2, (lambda g: g * x.constant(2 * x.data),)


@mt.op
def swapped(x, y):
    return x.data * y.data, (lambda g: g * x, lambda g: g * y)


def test_planted_wrong_gradients_are_caught():
    with pytest.raises(AssertionError, match="the gradient is wrong"):
        check_gradients(no_gradient, X)
    with pytest.raises(AssertionError, match=r"input 0 \(2, 3\): 1 of 6 elements differ, worst at \(1, 1\): engine"):
        check_gradients(wrong_element, X)
    check_gradients(wrong_second_order, X)
    with pytest.raises(AssertionError, match="the gradient of the gradient is wrong"):
        check_gradients(wrong_second_order, X, order=2)
    with pytest.raises(AssertionError, match="input 1"):
        check_gradients(swapped, X, X.exp())


@pytest.mark.parametrize("error", [1e-2, 1e-4, 2e-5, 5e-6])
def test_a_small_error_is_caught_too(error):
    @mt.op
    def bad(x):
        return x.xp.sin(x.data), (lambda g: g * x.constant(x.xp.cos(x.data) * (1 + error)),)

    with pytest.raises(AssertionError, match="the gradient is wrong"):
        check_gradients(bad, mt.Tensor(np.array([0.3])))


def test_functions_of_several_outputs():
    check_gradients(lambda x: (x * x, x.sum()), X, order=2)
    with pytest.raises(AssertionError):
        check_gradients(lambda x: (x * x, no_gradient(x)), X)


def test_an_input_without_influence_has_gradient_zero():
    check_gradients(lambda x, y: x * 2, X, X, order=2)


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(TypeError, match="input 0 must be a float64 Tensor, got float32"):
        check_gradients(lambda x: x, X.to("float32"))
    with pytest.raises(ValueError, match="order must be 1 or 2, got 3"):
        check_gradients(lambda x: x, X, order=3)
    with pytest.raises(TypeError, match="must return a Tensor"):
        check_gradients(lambda x: x.numpy(), X)


# Kinks


@pytest.mark.parametrize("f", [lambda x: x.relu(), lambda x: x.clamp(0.0, 5.0) * 3, lambda x: mt.leaky_relu(x, 0.1)])
def test_a_kink_is_said_and_not_called_a_wrong_gradient(f):
    with pytest.raises(NotDifferentiableError, match="the function has a kink or a jump at the inputs"):
        check_gradients(f, mt.Tensor(np.array([1.0, 0.0, -2.0])))


def test_a_kink_beside_the_inputs_spoils_nothing():
    check_gradients(lambda x: x.relu(), mt.Tensor(np.array([1e-3, -1e-3, 1.0])))


def test_a_wrong_gradient_near_a_kink_is_still_caught():
    @mt.op
    def bad(x):
        return x.xp.maximum(x.data, 0), (lambda g: g * 0.5,)

    with pytest.raises(AssertionError, match="the gradient is wrong"):
        check_gradients(bad, mt.Tensor(np.array([1e-3, 1.0])))
