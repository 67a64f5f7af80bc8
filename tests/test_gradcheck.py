"""The checker itself: it passes what is right, catches what is wrong, and says where."""

import numpy as np
import pytest
from hypothesis import given

import microtensor as mt
from microtensor import nn
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
    e = x.xp.exp(x.array)
    return e / e.sum(-1, keepdims=True), (lambda g: g * 0,)


@mt.op
def wrong_element(x):
    return x.array**2, (lambda g: 2 * g * x * x.constant(x.xp.where(x.xp.arange(6).reshape(2, 3) == 4, 1.001, 1.0)),)


@mt.op
def wrong_second_order(x):
    return x.array**2, (lambda g: g * x.constant(2 * x.array),)


@mt.op
def swapped(x, y):
    return x.array * y.array, (lambda g: g * x, lambda g: g * y)


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
        return x.xp.sin(x.array), (lambda g: g * x.constant(x.xp.cos(x.array) * (1 + error)),)

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
        return x.xp.maximum(x.array, 0), (lambda g: g * 0.5,)

    with pytest.raises(AssertionError, match="the gradient is wrong"):
        check_gradients(bad, mt.Tensor(np.array([1e-3, 1.0])))


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9, 1e-10])
@pytest.mark.parametrize(("f", "kink"), [(mt.relu, 0.0), (mt.hardswish, 3.0), (mt.elu, 0.0), (mt.hardtanh, -1.0)])
def test_a_kink_at_any_distance_is_passed_by(f, kink, distance):
    check_gradients(f, mt.Tensor(np.array([kink - distance, kink + distance, 0.7])), order=2)


def test_the_gradient_of_the_other_side_of_a_near_kink_is_wrong():
    @mt.op
    def bad(x):
        return x.xp.maximum(x.array, 0), (lambda g: g * (x > 1e-6),)

    with pytest.raises(AssertionError, match=r"worst at \(0,\): engine -?0, numerical"):
        check_gradients(bad, mt.Tensor(np.array([1e-7, 1.0])))


def test_on_a_kink_what_is_the_slope_of_no_side_is_wrong():
    @mt.op
    def bad(x):
        return x.xp.maximum(x.array, 0), (lambda g: g * 2,)

    with pytest.raises(AssertionError, match=r"numerical (0 to|.* to 0)"):
        check_gradients(bad, mt.Tensor(np.array([0.0])))


def test_a_kink_of_the_gradient_alone_is_one_of_second_order():
    x = mt.Tensor(np.array([0.0, 0.4]))
    check_gradients(mt.elu, x)
    with pytest.raises(NotDifferentiableError, match=r"at input 0, element \(0,\), its slope is"):
        check_gradients(mt.elu, x, order=2)


def test_a_layer_with_kinks_everywhere_is_checked():
    rng = np.random.default_rng(0)
    x, w = mt.Tensor(rng.standard_normal((4, 6))), mt.Tensor(rng.standard_normal((6, 2000)))
    check_gradients(lambda x, w: (x @ w).relu().mean(), x, w, order=2)


def test_the_end_of_a_domain_is_no_wrong_gradient():
    with pytest.raises(NotDifferentiableError, match=r"input 0, element \(0,\), its slope is nan on one side"):
        check_gradients(lambda x: x.sqrt(), mt.Tensor(np.array([0.0, 1.0])))
    with pytest.raises(NotDifferentiableError, match=r"output 0 \(2,\) is -inf at \(0,\)"):
        check_gradients(lambda x: x.log(), mt.Tensor(np.array([0.0, 1.0])))


# Many elements

STRAIGHT = [mt.relu, mt.relu6, mt.hardtanh, mt.hardsigmoid, mt.hardswish, mt.leaky_relu, mt.softshrink, mt.hardshrink]
BENT = [mt.elu, mt.celu, mt.selu, mt.gelu, mt.silu, mt.mish, mt.softplus, mt.softsign, mt.tanhshrink, mt.logsigmoid, mt.tanh]


def false_alarms(seeds, sizes, **settings):
    """What check_gradients says against right gradients of normal numbers, some of which always lie beside a kink."""
    said = []
    for f in STRAIGHT + BENT:
        for seed in seeds:
            rng = np.random.default_rng(seed)
            for size in sizes:
                x = mt.Tensor(rng.standard_normal(size) * rng.choice([1.0, 3.0]))
                try:
                    check_gradients(f, x, **settings)
                except (AssertionError, NotDifferentiableError) as error:
                    said.append(f"{f.__name__}, seed {seed}, {size} numbers: {error}")
    return said


def test_no_right_gradient_is_called_wrong():
    assert not false_alarms(range(12), [16, 1024])
    assert not false_alarms(range(1), [16384])
    assert not false_alarms(range(2), [1024], order=2)


@pytest.mark.slow
def test_no_right_gradient_of_very_many_is_called_wrong():
    assert not false_alarms(range(1000), [16, 256, 1024, 4096])
    assert not false_alarms(range(300), [16384])
    assert not false_alarms(range(50), [16, 1024, 16384], order=2)


def with_one_wrong(f, size, element, error):
    """f, of whose gradient one element is off by a factor of 1 + error."""
    factors = np.ones(size)
    factors[element] += error
    factors = mt.Tensor(factors)

    @mt.op
    def spoiled(x):
        return x.array.copy(), (lambda g: g * factors,)

    return lambda x: f(spoiled(x))


@pytest.mark.parametrize("size", [1, 100, 10_000])
@pytest.mark.parametrize("f", [mt.leaky_relu, mt.tanh, mt.gelu, lambda x: mt.selu(x).mean()])
def test_one_wrong_element_is_found_and_named(f, size):
    rng = np.random.default_rng(size)
    for _ in range(3):
        x, element = mt.Tensor(rng.standard_normal(size)), int(rng.integers(size))
        x.array[element] = 1.0
        bad = with_one_wrong(f, size, element, 1e-4)
        with pytest.raises(AssertionError, match=rf"1 of {size} elements differ, worst at \({element},\)"):
            check_gradients(bad, x)


def test_element_by_element_all_wrong_ones_are_counted():
    x = mt.Tensor(np.random.default_rng(0).standard_normal(2000))
    bad = with_one_wrong(with_one_wrong(mt.relu, 2000, 7, 1e-4), 2000, 1500, 1e-3)
    x.array[[7, 1500]] = 1.0
    with pytest.raises(AssertionError, match=r"input 0 \(2000,\): 2 of 2000 elements differ, worst at \(1500,\)"):
        check_gradients(bad, x, fast_mode=False)
    check_gradients(mt.relu, x, fast_mode=False)


def test_an_error_within_rtol_everywhere_is_tolerated():
    @mt.op
    def sloppy(x):
        return x.xp.sin(x.array), (lambda g: g * x.cos() * (1 + 5e-7),)

    check_gradients(sloppy, mt.Tensor(np.random.default_rng(0).standard_normal(5000)))


# What arrives


def test_a_random_function_is_called_random():
    for f in (lambda x: nn.dropout(x, 0.5), lambda x: x * mt.randn(2, 3).to("float64")):
        for order in (1, 2):
            with pytest.raises(ValueError, match=r"the function is random: for the same inputs .* differ by"):
                check_gradients(f, X, order=order)


def test_inputs_of_any_layout_and_of_no_elements():
    rng = np.random.default_rng(0)
    for array in (X.numpy().T, rng.random(10)[::-2], np.broadcast_to(np.float64(0.5), (3, 2)), np.zeros((0, 3))):
        check_gradients(lambda x: x.tanh() * x, mt.Tensor(array), order=2)
    check_gradients(lambda x: x[:0], X, order=2)


def test_the_inputs_stay_as_they_are_whether_they_require_a_gradient_or_not():
    x = X.detach().requires_grad_()
    before = x.numpy().copy()
    check_gradients(lambda x, y: x.sin() * y, x, X.exp(), order=2)
    assert x.grad is None
    np.testing.assert_array_equal(x.numpy(), before)


def test_results_without_a_gradient_are_left_out():
    check_gradients(lambda x: (x.sort().values, x.argsort(), x > 0), X, order=2)
    with pytest.raises(TypeError, match="returns no floating-point numbers, but int64"):
        check_gradients(lambda x: x.argmax(), X)


def test_labels_and_float32_are_refused_in_words():
    with pytest.raises(TypeError, match=r"input 1 must be a float64 Tensor, got int64.*lambda x: f\(x, labels\)"):
        check_gradients(lambda x, y: x * y, X, mt.Tensor(np.ones((2, 3), np.int64)))
    with pytest.raises(TypeError, match="output 0 is float32, in which differences drown"):
        check_gradients(lambda x: x.to("float32"), X)
    with pytest.raises(ValueError, match="there are no inputs"):
        check_gradients(lambda: X)
    with pytest.raises(AssertionError, match="Numerical 0 is also what a function gives that rounds"):
        check_gradients(lambda x: x.to("float32").to("float64") * 2, X)


def test_the_incoming_gradient_is_named():
    @mt.op
    def not_linear(x):
        return x.array**2, (lambda g: g.constant(2 * g.array * x.array),)

    with pytest.raises(AssertionError, match=r"incoming gradient of output 1 \(2, 3\): 6 of 6 elements differ"):
        check_gradients(lambda x: (x * 1, not_linear(x)), X, order=2)
