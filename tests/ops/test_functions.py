"""Functions of one variable: dtypes, views, the ends of their domains, rounding. Gradients elsewhere: test_operations.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor

FUNCTIONS = ["square", "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos"]
FUNCTIONS += ["tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc"]
ROUNDING = ["floor", "ceil", "trunc", "round", "frac"]
ACTIVATIONS = ["relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardtanh", "hardsigmoid"]
ACTIVATIONS += ["hardswish", "sigmoid", "logsigmoid", "softplus", "softsign", "abs", "sign", "neg", "clone"]
PREDICATES = ["isnan", "isinf", "isfinite", "logical_not"]


@pytest.mark.parametrize("name", FUNCTIONS + ROUNDING + ACTIVATIONS + PREDICATES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_views_empty_tensors_and_dtypes(name, dtype):
    f = getattr(mt, name)
    low, high = (1, 2) if name == "acosh" else (0.1, 0.9)
    x = np.linspace(low, high, 24).astype(dtype).reshape(2, 3, 4)
    for view in (x[:, ::2, ::-1], x.T, np.broadcast_to(x[:1, :, :1], (2, 3, 4)), x[0, 0, 0], x[:, :0]):
        y = f(Tensor(view)).numpy()
        assert y.shape == view.shape
        assert y.dtype == (bool if name in PREDICATES else dtype)
        # NumPy's vectors and its loop over single numbers may differ in the last place
        expected = f(Tensor(np.array(view))).numpy()
        np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", FUNCTIONS + ACTIVATIONS[:16])
def test_integers_and_bools_are_taken_as_float32(name):
    f = getattr(mt, name)
    kept = name in ("square", "relu")
    for x in (np.array([1, 1]), np.array([True, True]), np.array([1], np.uint8)):
        with np.errstate(divide="ignore"):  # atanh is inf at 1
            y, expected = f(Tensor(x)), f(Tensor(x.astype(np.float32)))
        assert (y.dtype == np.float32) != kept
        np.testing.assert_array_equal(y.numpy(), expected.numpy())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_in_float32_are_numpys_or_pytorchs(name):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).uniform(0, 1, 1000).astype(np.float32) + (name == "acosh")
    expected = getattr(torch, name)(torch.tensor(x, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(getattr(mt, name)(Tensor(x)).numpy(), expected, rtol=4e-7, atol=1e-9)


def test_numpys_names():
    names = ["arcsin", "arccos", "arctan", "arctan2", "arcsinh", "arccosh", "arctanh"]
    for name in names:
        assert getattr(mt, name) is getattr(mt, name.replace("arc", "a"))
        assert getattr(Tensor, name) is getattr(Tensor, name.replace("arc", "a"))
    assert mt.clip is mt.clamp


@pytest.mark.parametrize(
    ("name", "x", "value", "slope"),
    [
        ("sqrt", 0.0, 0.0, np.inf),
        ("rsqrt", 0.0, np.inf, -np.inf),
        ("reciprocal", 0.0, np.inf, -np.inf),
        ("log", 0.0, -np.inf, np.inf),
        ("log2", 0.0, -np.inf, np.inf),
        ("log10", 0.0, -np.inf, np.inf),
        ("log1p", -1.0, -np.inf, np.inf),
        ("log", -1.0, np.nan, -1.0),
        ("asin", 1.0, np.pi / 2, np.inf),
        ("acos", -1.0, np.pi, -np.inf),
        ("acosh", 1.0, 0.0, np.inf),
        ("atanh", -1.0, -np.inf, np.inf),
        ("exp", -np.inf, 0.0, 0.0),
        ("tanh", np.inf, 1.0, 0.0),
        ("atan", -np.inf, -np.pi / 2, 0.0),
        ("erf", np.inf, 1.0, 0.0),
        ("erfc", -np.inf, 2.0, 0.0),
        ("floor", 2.0, 2.0, 0.0),
        ("ceil", 2.0, 2.0, 0.0),
        ("trunc", -2.0, -2.0, 0.0),
        ("round", 2.5, 2.0, 0.0),
        ("frac", -2.0, 0.0, 1.0),
    ],
)
def test_values_and_gradients_at_singular_points(name, x, value, slope):
    leaf = Tensor(np.array(x), requires_grad=True)
    with np.errstate(all="ignore"):
        y = getattr(mt, name)(leaf)
        (g,) = mt.grad(y, leaf)
    np.testing.assert_allclose([y.item(), g.item()], [value, slope], rtol=1e-15)


def test_the_domain_has_ends_and_numpy_warns_beyond():
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(mt.asin(Tensor([1.5])).item())
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert mt.log(Tensor([0.0])).item() == -np.inf


@pytest.mark.parametrize(("name", "x"), [("expm1", 1e-6), ("log1p", 1e-6), ("asin", 1e-6), ("sinh", 1e-6), ("erf", 1e-6)])
def test_small_numbers_keep_their_digits_in_float32(name, x):
    exact = {"erf": 2 / np.sqrt(np.pi) * x, "expm1": np.expm1(x), "log1p": np.log1p(x)}.get(name, x)
    assert abs(getattr(mt, name)(Tensor([x])).item() / exact - 1) < 2e-7


@pytest.mark.parametrize("name", ["asin", "acos", "atanh", "acosh"])
def test_gradients_near_the_ends_of_the_domain_keep_their_digits(name):
    x = Tensor(np.array([1 + (1e-5 if name == "acosh" else -1e-5)], np.float32), requires_grad=True)
    exact = Tensor(x.numpy().astype(np.float64), requires_grad=True)
    (g,), (expected,) = (mt.grad(getattr(mt, name)(v), v) for v in (x, exact))
    assert abs(g.item() / expected.item() - 1) < 1e-6


def test_the_angle_of_a_point_and_its_gradient_at_the_origin():
    y, x = (Tensor(np.array(v), requires_grad=True) for v in ([0.0, 1.0, 0.0, -1.0], [0.0, 0.0, -1.0, -1.0]))
    angle = mt.atan2(y, x)
    np.testing.assert_allclose(angle.numpy(), [0, np.pi / 2, np.pi, -3 * np.pi / 4])
    for_y, for_x = mt.grad(angle, (y, x), Tensor(np.ones(4)))
    np.testing.assert_array_equal(for_y.numpy(), [0, 0, -1, -0.5])
    np.testing.assert_array_equal(for_x.numpy(), [0, -1, 0, 0.5])


# Rounding


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.sampled_from(["floor", "ceil", "trunc", "round"]))
def test_rounding_is_pythons(numbers, name):
    import math

    python = {"round": round}.get(name) or getattr(math, name)
    assert getattr(mt, name)(Tensor(np.array(numbers))).tolist() == [python(n) for n in numbers]


def test_round_to_decimals_and_to_tens():
    assert mt.round(Tensor([0.5, 1.5, -0.5, -1.5])).tolist() == [0.0, 2.0, -0.0, -2.0]
    np.testing.assert_allclose(Tensor(np.array([1.234, -0.056])).round(2).numpy(), [1.23, -0.06])
    assert Tensor([14.0, 15.0, 25.0]).round(decimals=-1).tolist() == [10.0, 20.0, 20.0]
    assert Tensor(np.array([14, 16])).round(-1).tolist() == [10, 20]


def test_integers_are_round_and_keep_their_dtype():
    for x in (np.array([3, -4]), np.array([3], np.uint8), np.array([True, False])):
        for name in ("floor", "ceil", "trunc", "round"):
            y = getattr(mt, name)(Tensor(x))
            assert y.dtype == x.dtype
            assert y.tolist() == x.tolist()
            assert not np.shares_memory(y.numpy(), x)
    assert mt.frac(Tensor(np.array([3, -4]))).tolist() == [0, 0]


@given(st.floats(-100, 100))
def test_the_whole_part_and_the_rest_make_the_number_again(number):
    x = Tensor(np.array(number))
    assert (x.trunc() + x.frac()).item() == number
    assert abs(x.frac().item()) < 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mt.exp([1.0]), TypeError, "exp: expected a Tensor, got list"),
        (lambda: mt.sqrt(2.0), TypeError, "sqrt: expected a Tensor, got float"),
        (lambda: mt.exp(Tensor([1.0]), 2), TypeError, "exp: too many arguments: it takes x"),
        (lambda: Tensor([1.0]).round(1.5), TypeError, "round: decimals must be an integer, got 1.5"),
        (lambda: Tensor([1.0]).round("2"), TypeError, "round: decimals must be an integer, got '2'"),
        (lambda: mt.atan2(1.0, 2.0), TypeError, "atan2: expected a Tensor, got float, float"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
