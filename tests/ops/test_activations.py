"""Activation functions: kinks, extremes, settings, errors. Their gradients elsewhere: test_operations.py."""

import math

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor
from microtensor.ops import smooth_activations

X = Tensor([-1.0, 0.0, 2.0])
IMAGES = Tensor(np.ones((2, 3, 4, 4), np.float32))


def slopes(f, *values):
    leaves = [Tensor(np.array(v), requires_grad=True) for v in values]
    y = f(*leaves)
    return [g.tolist() for g in mt.grad(y, leaves, Tensor(np.ones(y.shape)))]


@pytest.mark.parametrize(
    ("f", "kinks", "expected"),
    [
        (mt.relu, [0.0], [0.0]),
        (mt.relu6, [0.0, 6.0, 6.1], [0.0, 0.0, 0.0]),
        (mt.hardtanh, [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]),
        (mt.hardsigmoid, [-3.0, 3.0, 0.0], [0.0, 0.0, 1 / 6]),
        (mt.hardswish, [-3.0, 3.0, -4.0, 4.0], [0.0, 1.0, 0.0, 1.0]),
        (lambda x: mt.leaky_relu(x, 0.3), [0.0], [0.3]),
        (lambda x: mt.leaky_relu(x, 0.0), [-1.0, 0.0], [0.0, 0.0]),
        (lambda x: mt.elu(x, 2.0), [0.0], [2.0]),
        (lambda x: mt.celu(x, 2.0), [0.0], [1.0]),
        (mt.selu, [0.0], [smooth_activations.SELU_SCALE * smooth_activations.SELU_ALPHA]),
        (mt.softsign, [0.0], [1.0]),
        (lambda x: mt.softplus(x, 1.0, 1.0), [1.0, 1.001], [1 / (1 + math.exp(-1)), 1.0]),
        (mt.logsigmoid, [0.0], [0.5]),
        (mt.gelu, [0.0], [0.5]),
        (lambda x: mt.threshold(x, 0.5, 9.0), [0.5, 0.6], [0.0, 1.0]),
        (lambda x: mt.hardshrink(x, 0.5), [-0.5, 0.5, 0.0, 0.6], [0.0, 0.0, 0.0, 1.0]),
        (lambda x: mt.softshrink(x, 0.5), [-0.5, 0.5, 0.0, 0.6], [0.0, 0.0, 0.0, 1.0]),
        (lambda x: mt.hardshrink(x, 0.0), [0.0], [0.0]),
    ],
)
def test_gradients_at_kinks(f, kinks, expected):
    np.testing.assert_allclose(slopes(f, kinks), [expected], rtol=1e-15)


def test_second_derivatives_at_0_of_what_is_smooth_there():
    for f, expected in ((mt.softplus, 0.25), (mt.logsigmoid, -0.25), (mt.silu, 0.5), (mt.gelu, 2 / math.sqrt(2 * math.pi))):
        x = Tensor(np.array(0.0), requires_grad=True)
        (g,) = mt.grad(f(x), x, create_graph=True)
        assert mt.grad(g, x)[0].item() == pytest.approx(expected, rel=1e-14)


def test_the_learned_slope_at_its_kink():
    for_x, for_weight = slopes(mt.prelu, [-2.0, 0.0, 3.0], [0.25])
    assert for_x == [0.25, 0.25, 1.0]
    assert for_weight == [-2.0]


EXACT = {
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x)),
    "logsigmoid": lambda x: min(x, 0.0) - math.log1p(math.exp(-abs(x))),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "softsign": lambda x: x / (1 + abs(x)),
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "silu": lambda x: x * EXACT["sigmoid"](x),
    "mish": lambda x: x * math.tanh(EXACT["softplus"](x)),
    "gelu": lambda x: x * math.erfc(-x / math.sqrt(2)) / 2,
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "hardshrink": lambda x: x if abs(x) > 0.5 else 0.0,
    "softshrink": lambda x: math.copysign(max(abs(x) - 0.5, 0.0), x),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_numbers_give_exact_values_and_finite_gradients_without_a_warning(name, dtype):
    """pyproject.toml makes an error of every warning."""
    numbers = [*np.linspace(-6, 6, 41), -1e-6, 1e-6, -80.0, 80.0, -700.0, 700.0, -1e4, 1e4, 0.0, -0.0, 1e9, -1e9]
    x = Tensor(np.array(numbers, dtype), requires_grad=True)
    y = getattr(mt, name)(x)
    expected = [EXACT[name](v) for v in x.tolist()]
    np.testing.assert_allclose(y.numpy(), expected, rtol=5e-6 if dtype == np.float32 else 1e-9, atol=np.finfo(dtype).tiny)
    (g,) = mt.grad(y, x, Tensor(np.ones(len(numbers), dtype)))
    assert np.isfinite(g.numpy()).all()


def test_nan_goes_through():
    for name in EXACT:
        assert math.isnan(getattr(mt, name)(Tensor([np.nan])).item()), name


def test_where_sigmoid_rounds_to_0_its_logarithm_does_not():
    assert mt.sigmoid(Tensor([-200.0])).item() == 0.0
    assert mt.logsigmoid(Tensor([-200.0])).item() == -200.0
    assert mt.sigmoid(Tensor([200.0])).item() == 1.0


def test_the_two_formulas_of_gelu():
    x = Tensor(np.linspace(-5, 5, 101))
    difference = np.abs((mt.gelu(x) - mt.gelu(x, approximate="tanh")).numpy()).max()
    assert 1e-5 < difference < 5e-4


def test_relu_keeps_integers():
    assert mt.relu(Tensor(np.array([-2, 3]))).tolist() == [0, 3]
    assert mt.relu(Tensor(np.array([2, 3], np.uint8))).dtype == np.uint8


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 4)])
def test_a_slope_for_each_channel(shape):
    x = -np.ones(shape)
    y = mt.prelu(Tensor(x), Tensor(np.array([0.1, 0.2, 0.3]))).numpy()
    for channel, slope in enumerate([0.1, 0.2, 0.3]):
        np.testing.assert_array_equal(y[:, channel], -slope)
    assert mt.prelu(Tensor(np.array(-1.0)), Tensor(np.array([0.5]))).shape == ()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mt.relu([1.0]), TypeError, "relu: expected a Tensor, got list"),
        (lambda: mt.hardswish([1.0]), TypeError, "hardswish: expected a Tensor, got list; wrap it"),
        (lambda: mt.silu(1.0), TypeError, "silu: expected a Tensor, got float"),
        (lambda: mt.gelu(np.ones(2)), TypeError, "gelu: expected a Tensor, got ndarray"),
        (lambda: mt.gelu(X, "Tanh"), ValueError, 'gelu: approximate must be "none" or "tanh", got \'Tanh\''),
        (lambda: mt.hardtanh(X, 2, 1), ValueError, "hardtanh: min_val 2 is larger than max_val 1"),
        (lambda: mt.softplus(X, 0), ValueError, "softplus: beta must not be 0"),
        (lambda: mt.celu(X, 0), ValueError, "celu: alpha must not be 0"),
        (lambda: mt.prelu(X, 0.1), TypeError, "prelu: the weight must be a Tensor, got float; leaky_relu takes a number"),
        (
            lambda: mt.prelu(IMAGES, X[:2]),
            ValueError,
            r"for x \(2, 3, 4, 4\) the weight must have shape \(1,\) or \(3,\), .* got \(2,\)",
        ),
        (lambda: mt.prelu(IMAGES, IMAGES), ValueError, r"shape \(1,\) or \(3,\), .* got \(2, 3, 4, 4\)"),
        (lambda: mt.prelu(X, X), ValueError, r"prelu: for x \(3,\) the weight must have shape \(1,\), one slope"),
        (lambda: mt.softshrink(X, -0.1), ValueError, "softshrink: lambd must not be negative, got -0.1"),
        (lambda: mt.glu(X), ValueError, r"glu: axis -1 of x \(3,\) must have an even length, to be halved, and has 3"),
        (lambda: mt.glu(X, 1), ValueError, "glu: dim 1"),
        (lambda: mt.softmin([1.0], 0), TypeError, "softmin: expected a Tensor, got list"),
        (lambda: mt.elu(X, "1"), TypeError, "expected a Tensor, a number or an array, got str"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_gradients_in_the_tails_and_at_nan():
    x = mt.Tensor([-20.0, np.nan], requires_grad=True)
    (g,) = mt.grad(mt.elu(x), x, mt.Tensor([1.0, 1.0]))
    assert g.numpy()[0] == pytest.approx(np.exp(-20.0), rel=1e-6)
    (g,) = mt.grad(x.relu(), x, mt.Tensor([1.0, 3.0]))
    assert g.tolist() == [0.0, 3.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_slope_that_gelu_computes_with_its_value_is_the_recorded_one(dtype):
    numbers = np.concatenate([np.linspace(-15, 15, 70_001), [0.0, -1e4, 1e4, 1e30, -1e30]]).astype(dtype)  # several blocks
    x = mt.Tensor(numbers, requires_grad=True)
    g = mt.Tensor(np.ones(numbers.shape, dtype))
    (fast,) = mt.grad(mt.gelu(x), x, g)
    with np.errstate(over="ignore"):
        (recorded,) = mt.grad(mt.gelu(x), x, g, create_graph=True)
    inside = np.abs(numbers) < 1e9
    np.testing.assert_allclose(fast.numpy()[inside], recorded.numpy()[inside], rtol=1e-5, atol=1e-6)
    assert fast.numpy()[-2:].tolist() == [1.0, 0.0]


def test_gelu_of_nothing_of_float16_and_without_a_graph():
    assert mt.gelu(mt.Tensor(np.zeros((0, 3)))).shape == (0, 3)
    y = mt.gelu(mt.Tensor(np.array([-1.0, 2.0], np.float16), requires_grad=True))
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), [-0.1587, 1.9545], rtol=1e-3)
    with mt.no_grad():
        assert not mt.gelu(mt.Tensor([1.0], requires_grad=True)).requires_grad
    columns = np.asfortranarray(np.random.default_rng(0).standard_normal((5, 7)))
    np.testing.assert_allclose(mt.gelu(mt.Tensor(columns)).numpy(), mt.gelu(mt.Tensor(columns.copy("C"))).numpy())
