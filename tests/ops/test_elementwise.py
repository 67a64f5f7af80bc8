"""Arithmetic, choices, casts: dtypes, views, singular points, errors. Gradients elsewhere: test_operations.py."""

import operator
import sys

import numpy as np
import pytest
import strict
from cases import activations, elementwise, functions
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracle import operand

import microtensor as mt
from microtensor import Tensor
from microtensor.ops.elementwise import select

INTEGERS = Tensor(np.array([7, -7, 3]))
BOOLS = Tensor([True, False, True])
BYTES = Tensor(np.array([1, 200, 3], np.uint8))
FLOATS = Tensor([1.0, -2.0, 0.5])


def slopes(f, *values, dtype=np.float64):
    """The gradients of f at these numbers, one list per input."""
    leaves = [Tensor(np.array(v, dtype), requires_grad=True) for v in values]
    with np.errstate(all="ignore"):
        y = f(*leaves)
        return [
            None if g is None else g.tolist() for g in mt.grad(y, leaves, Tensor(np.ones(y.shape, dtype)), allow_unused=True)
        ]


# Arithmetic


@pytest.mark.parametrize("sign", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32])
def test_operators_are_pytorchs_from_either_side(sign, dtype):
    torch = pytest.importorskip("torch")
    f = getattr(operator, sign)
    x, y = np.array([[5, 1, 4]], dtype), np.array([[2], [3]], dtype)
    for ours, theirs in (
        (f(Tensor(x), Tensor(y)), f(torch.tensor(x), torch.tensor(y))),
        (f(Tensor(x), 2), f(torch.tensor(x), 2)),
        (f(7, Tensor(x)), f(7, torch.tensor(x))),
        (f(Tensor(x), operand(y)), f(torch.tensor(x), torch.tensor(y))),
        (f(operand(y), Tensor(x)), f(torch.tensor(y), torch.tensor(x))),
    ):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
        assert ours.dtype == theirs.numpy().dtype


@given(
    hnp.arrays(np.float64, 5, elements=st.floats(-100, 100)),
    hnp.arrays(np.float64, 5, elements=st.floats(0.01, 10) | st.floats(-10, -0.01)),
)
def test_quotient_and_remainder_make_the_number_again_and_are_pythons(x, y):
    q, r = Tensor(x) // Tensor(y), Tensor(x) % Tensor(y)
    np.testing.assert_allclose((q * Tensor(y) + r).numpy(), x, atol=1e-9)
    assert q.tolist() == [a // b for a, b in zip(x.tolist(), y.tolist())]
    assert r.tolist() == [a % b for a, b in zip(x.tolist(), y.tolist())]


def test_the_gradient_of_floor_division_is_0_and_of_the_remainder_the_quotient():
    assert slopes(operator.floordiv, [5.0, -5.0], [2.0, 3.0]) == [[0.0, 0.0], [0.0, 0.0]]
    assert slopes(operator.mod, [5.0, -5.0], [2.0, 3.0]) == [[1.0, 1.0], [-2.0, 2.0]]


@pytest.mark.parametrize("exponent", [-3, -2, -1, 0, 1, 2, 3, 4, 7, 3.0, 0.5, 2.5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_powers_are_numpys_also_of_negative_and_singular_bases(exponent, dtype):
    x = np.array([-2.0, -1.5, -0.0, 0.0, 0.3, 1.0, np.inf, -np.inf, np.nan], dtype)
    with np.errstate(all="ignore"):
        y, expected = (Tensor(x) ** exponent).numpy(), x**exponent
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
    if exponent == int(exponent):
        np.testing.assert_array_equal(np.signbit(y[:-1]), np.signbit(expected[:-1]))


def test_gradients_of_a_power_at_its_singular_points():
    bases, exponents = [0.0, 0.0, 0.0, -2.0, 0.0], [0.0, 1.0, 2.0, 2.0, -1.0]
    for_base, for_exponent = slopes(operator.pow, bases, exponents)
    assert for_base == [0.0, 1.0, 0.0, -4.0, -np.inf]
    np.testing.assert_array_equal(for_exponent, [0.0, 0.0, 0.0, np.nan, -np.inf])
    assert slopes(lambda x: x**0, [0.0, 3.0]) == [[0.0, 0.0]]


def test_a_sum_with_a_flat_path_still_has_a_gradient_and_a_flat_path_alone_gives_zeros():
    assert slopes(lambda x: x * x + x.floor(), [1.5]) == [[3.0]]
    assert slopes(lambda x: x.sign() + x.round(), [1.5]) == [[0.0]]
    assert slopes(lambda x: x.sign(), [np.inf, np.nan]) == [[0.0, 0.0]]


def test_abs_and_sign_at_0():
    assert slopes(abs, [-2.0, 0.0, 2.0]) == [[-1.0, 0.0, 1.0]]
    assert mt.sign(Tensor([-3.0, 0.0, 2.0])).tolist() == [-1.0, 0.0, 1.0]
    assert mt.sign(BOOLS).tolist() == [True, False, True]


# Choices


def test_ties_share_the_gradient():
    assert slopes(mt.maximum, [1.0, 2.0], [1.0, 3.0]) == [[0.5, 0.0], [0.5, 1.0]]
    assert slopes(mt.minimum, [1.0, 2.0], [1.0, 3.0]) == [[0.5, 1.0], [0.5, 0.0]]


def test_clamp_at_beyond_and_between_its_limits():
    assert slopes(lambda x: x.clamp(-1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0, np.nan]) == [[0.0, 1.0, 1.0, 1.0, 0.0, 0.0]]
    assert Tensor([-2.0, 5.0]).clamp(min=0).tolist() == [0.0, 5.0]
    assert Tensor([-2.0, 5.0]).clip(max=0).tolist() == [-2.0, 0.0]
    x, low, high = [-2.0, 0.0, 3.0, 0.5], [-1.0, -1.0, -1.0, 2.0], [1.0, 1.0, 1.0, 1.0]
    assert mt.clamp(*map(Tensor, (x, low, high))).tolist() == [-1.0, 0.0, 1.0, 1.0]
    assert slopes(mt.clamp, x, low, high) == [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    np.testing.assert_array_equal(Tensor([np.nan, 3.0]).clamp(0, 1).numpy(), [np.nan, 1.0])


def test_clamp_keeps_integers_unless_a_limit_is_no_integer():
    assert mt.clamp(INTEGERS, -1, 4).numpy().dtype == np.int64
    assert mt.clamp(INTEGERS, 0.5).tolist() == [7.0, 0.5, 3.0]
    assert mt.clamp(INTEGERS, 0.5).dtype == np.float32


DTYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64, np.bool_])


@given(st.data(), DTYPES, hnp.mutually_broadcastable_shapes(num_shapes=3, min_dims=0, max_dims=3, min_side=0, max_side=3))
def test_select_is_numpys_where_bit_for_bit(data, dtype, drawn):
    c, x, y = (data.draw(hnp.arrays(d, s)) for d, s in zip((np.bool_, dtype, dtype), drawn.input_shapes))
    c, x, y = np.broadcast_arrays(c, x, y)
    expected = np.where(c, x, y)
    ours = select(c, x, y, np.dtype(dtype))
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, expected)
    if np.dtype(dtype).kind == "f":
        np.testing.assert_array_equal(np.signbit(ours), np.signbit(expected))
    for number in (0, 1):
        np.testing.assert_array_equal(select(c, x, number, np.dtype(dtype)), np.where(c, x, np.asarray(number, dtype)))
        np.testing.assert_array_equal(select(c, number, y, np.dtype(dtype)), np.where(c, np.asarray(number, dtype), y))


def test_what_where_leaves_out_leaves_no_trace():
    x = [1.0, 0.0, np.nan]
    condition = Tensor([True, False, False])
    assert mt.where(condition, Tensor(x), 0).tolist() == [1.0, 0.0, 0.0]
    # the slope of the square root at 0 is inf, and it is not asked for
    assert slopes(lambda x: mt.where(condition, x, 0).sqrt(), x) == [[0.5, 0.0, 0.0]]


def test_where_takes_numbers_arrays_and_mixed_dtypes():
    assert mt.where(BOOLS, 1, 0).dtype == np.int64
    assert mt.where(BOOLS, 1, 0.5).dtype == np.float32
    assert mt.where(BOOLS, INTEGERS, FLOATS).dtype == np.float32
    assert mt.where(BOOLS.numpy(), FLOATS, 0).tolist() == [1.0, 0.0, 0.5]
    assert mt.where(BOOLS, FLOATS.numpy(), Tensor([[0.0], [9.0]])).tolist() == [[1.0, 0.0, 0.5], [1.0, 9.0, 0.5]]
    assert FLOATS.where(BOOLS, 0).tolist() == [1.0, 0.0, 0.5]


def test_lerp_reaches_both_ends():
    x, y = Tensor(np.array([0.1, 1e8], np.float32)), Tensor(np.array([0.7, 0.3], np.float32))
    assert mt.lerp(x, y, 0).tolist() == x.tolist()
    assert mt.lerp(x, y, 1).tolist() == y.tolist()
    assert mt.lerp(INTEGERS, 0, 0.5).dtype == np.float32


# Casts


def test_casts_and_their_gradients():
    x = Tensor([1.5, -2.5], requires_grad=True)
    names = {"half": np.float16, "float": np.float32, "double": np.float64, "int": np.int32, "long": np.int64, "bool": np.bool_}
    for name, dtype in names.items():
        assert getattr(x, name)().dtype == dtype
        assert x.to(dtype).requires_grad == (np.dtype(dtype).kind == "f")
    assert x.int().tolist() == [1, -2]
    assert mt.grad(x.double().square().half().sum(), x)[0].dtype == np.float32


# Every one of them


BINARY = {
    **{name: getattr(mt, name) for name in ("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "pow")},
    **{name: getattr(mt, name) for name in ("maximum", "minimum", "clamp", "atan2", "isclose", "eq", "lt")},
    "lerp": lambda x, y: mt.lerp(x, y, 0.3),
    "where": lambda x, y: mt.where(x > 1, x, y),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_views_empty_tensors_and_dtypes(name, dtype):
    f = BINARY[name]
    x = np.linspace(0.5, 2, 24).astype(dtype).reshape(2, 3, 4)
    for view in (x[:, ::2, ::-1], x.T, np.broadcast_to(x[:1, :, :1], (2, 3, 4)), x[0, 0, 0], x[:, :0]):
        y = f(Tensor(view), Tensor(np.asarray(1.2, dtype)))
        assert y.shape == view.shape
        assert y.dtype == (bool if name in ("isclose", "eq", "lt") else dtype)
        np.testing.assert_array_equal(y.numpy(), f(Tensor(view.copy()), Tensor(np.full(view.shape, 1.2, dtype))).numpy())
        assert f(Tensor(view), 1.2).dtype == y.dtype


ELSEWHERE = elementwise.CASES | functions.CASES | functions.COMPOSED | activations.CASES | activations.COMPOSED


@pytest.mark.parametrize("name", [name for name in ELSEWHERE if name not in ("_choose", "cast", "move", "same", "rrelu")])
@settings(max_examples=5)
@given(data=st.data())
def test_on_a_device_the_same_code_gives_the_same_numbers(name, data):
    case = data.draw(ELSEWHERE[name])

    def values_and_gradients(device):
        leaves = [x.detach().to(device).requires_grad_() for x in case.inputs]
        y = case.ours(*leaves)
        gradients = mt.grad(y, leaves, Tensor(np.ones(y.shape)).to(device), create_graph=True)
        assert {v.device for v in (y, *gradients)} == {leaves[0].device}
        return [v.numpy() for v in (y, *gradients)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", strict.cupy)
        for there, here in zip(values_and_gradients("cuda"), values_and_gradients("cpu")):
            np.testing.assert_allclose(there, here, rtol=1e-13, atol=1e-13)


def test_numbers_beside_tensors_on_a_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x, i, b = FLOATS.to("cuda"), INTEGERS.to("cuda"), BOOLS.to("cuda")
    results = [x.isclose(1), x.logical_and(1), b & True, i | 1, ~b, i << 1, 1 << i.abs(), i // 2, 7 % i, i.clamp(0.5), 2 - i]
    results += [mt.where(b, 1, 0.5), mt.where(b, x, 0), x.lerp(1, 0.5), mt.maximum(0, x), x**3, x.half().erf(), i.round(-1)]
    assert {y.device for y in results} == {"cuda:0"}
    assert x.allclose(x, equal_nan=True)
    assert x.equal(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: BOOLS - BOOLS, TypeError, "subtract: bools have no difference: x \\^ y is where they differ"),
        (lambda: -BOOLS, TypeError, "neg: bools have no sign: ~x is true where x is false"),
        (lambda: INTEGERS // 0, ZeroDivisionError, "floor_divide: an integer is divided by 0; with x.to\\('float32'\\)"),
        (lambda: INTEGERS % 0, ZeroDivisionError, "remainder: an integer is divided by 0"),
        (lambda: INTEGERS // Tensor(np.array([1, 0, 2])), ZeroDivisionError, "floor_divide: an integer is divided by 0"),
        (lambda: 5 % Tensor(np.array([1, 0, 2])), ZeroDivisionError, "remainder: an integer is divided by 0"),
        (lambda: INTEGERS**-1, ValueError, "pow: an integer to a negative power is a fraction.* x.to\\('float32'\\)"),
        (lambda: INTEGERS ** Tensor(np.array([1, -1, 0])), ValueError, "pow: an integer to a negative power"),
        (lambda: FLOATS + "a", TypeError, "add: expected a Tensor, a number or an array, got str"),
        (lambda: FLOATS + [1.0, 2.0, 3.0], TypeError, "add: .* got list; wrap it: Tensor"),
        (lambda: FLOATS + Tensor([1.0, 2.0]), ValueError, "add: shapes \\(3,\\) and \\(2,\\) do not broadcast"),
        (lambda: FLOATS.clamp(), ValueError, "clamp: there is no limit; give min, max or both"),
        (lambda: mt.clamp(2, FLOATS), TypeError, "clamp: x must be a Tensor; .* maximum\\(\\) or minimum\\(\\)"),
        (lambda: FLOATS.clamp(0, "a"), TypeError, "clamp: expected a Tensor, a number or an array, got str"),
        (lambda: mt.where(FLOATS, FLOATS, 0), TypeError, "where: the condition must be a Tensor of bools.* got float32"),
        (lambda: mt.where(True, FLOATS, 0), TypeError, "where: the condition must be a Tensor of bools.* got a number"),
        (lambda: mt.where(BOOLS, [1], FLOATS), TypeError, "where: expected a Tensor, a number or an array, got list"),
        (lambda: mt.where(BOOLS, Tensor([1.0, 2.0]), 0), ValueError, "where: shapes \\(3,\\) and \\(2,\\) do not broadcast"),
        (lambda: FLOATS.lerp(1.0), TypeError, "lerp: weight is missing: it takes start, end, weight"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
