"""What is true or false: comparisons, logic, bits."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracle import operand

import microtensor as mt
from microtensor import Tensor

FLOATS = Tensor([1.0, -2.0, 0.0])
INTEGERS = Tensor(np.array([6, -7, 0]))
BOOLS = Tensor([True, False, True])


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_are_numpys_from_either_side(name):
    f, x, y = getattr(operator, name), np.array([[1.0, 2.0, np.nan]]), np.array([[1.0], [2.0]])
    for ours, expected in (
        (f(Tensor(x), Tensor(y)), f(x, y)),
        (f(Tensor(x), 1), f(x, 1)),
        (f(1, Tensor(x)), f(1, x)),
        (f(operand(x), Tensor(y)), f(x, y)),
        (getattr(mt, name)(Tensor(x), operand(y)), f(x, y)),
    ):
        np.testing.assert_array_equal(ours.numpy(), expected, strict=True)


@given(st.data(), st.sampled_from([np.bool_, np.int64, np.int8, np.uint8]))
def test_bits_are_numpys(data, dtype):
    x, y = (data.draw(hnp.arrays(dtype, s)) for s in ((2, 3), (3,)))
    for f in (operator.and_, operator.or_, operator.xor):
        np.testing.assert_array_equal(f(Tensor(x), Tensor(y)).numpy(), f(x, y), strict=True)
        np.testing.assert_array_equal(f(operand(x), Tensor(y)).numpy(), f(x, y), strict=True)
    np.testing.assert_array_equal((~Tensor(x)).numpy(), ~x, strict=True)
    if dtype != np.bool_:
        places = data.draw(hnp.arrays(dtype, 3, elements=st.integers(0, 7)))
        for f in (operator.lshift, operator.rshift):
            np.testing.assert_array_equal(f(Tensor(x), Tensor(places)).numpy(), f(x, places), strict=True)
            np.testing.assert_array_equal(f(Tensor(x), 2).numpy(), f(x, 2), strict=True)
            np.testing.assert_array_equal(f(1, Tensor(places)).numpy(), f(np.ones(3, dtype), places), strict=True)


def test_bits_with_python_numbers():
    assert (BOOLS & True).numpy().dtype == bool
    assert (BOOLS & True).tolist() == BOOLS.tolist()
    assert (False | BOOLS).tolist() == BOOLS.tolist()
    assert (BOOLS ^ True).tolist() == (~BOOLS).tolist()
    assert (INTEGERS & 3).tolist() == [2, 1, 0]
    assert (1 | INTEGERS).tolist() == [7, -7, 1]
    assert (INTEGERS & BOOLS).tolist() == [0, 0, 0]
    assert (1 << Tensor(np.array([0, 3]))).tolist() == [1, 8]
    assert (-8 >> Tensor(np.array([1, 70]))).tolist() == [-4, -1]


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic_takes_every_number_that_is_not_0_for_true(name):
    x, y = np.array([0.0, 0.5, np.nan, 0.0]), np.array([[0], [2]])
    np.testing.assert_array_equal(getattr(mt, name)(Tensor(x), Tensor(y)).numpy(), getattr(np, name)(x, y), strict=True)
    np.testing.assert_array_equal(getattr(Tensor(x), name)(1).numpy(), getattr(np, name)(x, 1), strict=True)
    assert Tensor(x).logical_not().tolist() == [True, False, False, True]


def test_questions_about_numbers():
    x = Tensor([1.0, np.nan, np.inf, -np.inf])
    assert x.isnan().tolist() == [False, True, False, False]
    assert x.isinf().tolist() == [False, False, True, True]
    assert x.isfinite().tolist() == [True, False, False, False]
    assert INTEGERS.isfinite().tolist() == [True, True, True]


def test_close_numbers():
    x, y = Tensor([1.0, 100.0, np.nan]), Tensor([1.0 + 1e-6, 100.1, np.nan])
    assert x.isclose(y).tolist() == [True, False, False]
    assert x.isclose(y, 1e-2, equal_nan=True).tolist() == [True, True, True]
    assert x.isclose(y, rtol=0, atol=0.2).tolist() == [True, True, False]
    assert mt.allclose(x[:1], 1.0) is True
    assert mt.allclose(x, y, 1e-2) is False
    assert x.allclose(y, 1e-2, equal_nan=True) is True
    assert not mt.isclose(Tensor([1.1]), 1.0, atol=0.09, rtol=0).item()
    assert mt.isclose(Tensor([10.0]), Tensor([11.0]), rtol=0.095).item()  # relative to the second
    assert not mt.isclose(Tensor([11.0]), Tensor([10.0]), rtol=0.095).item()


def test_equal_is_one_answer_about_shape_and_numbers():
    assert mt.equal(FLOATS, FLOATS.clone()) is True
    assert FLOATS.equal(FLOATS.double()) is True
    assert mt.equal(FLOATS, FLOATS[:2]) is False
    assert mt.equal(FLOATS, FLOATS.reshape(1, 3)) is False
    assert mt.equal(FLOATS, FLOATS + 1) is False
    assert mt.equal(Tensor([np.nan]), Tensor([np.nan])) is False
    assert mt.equal(Tensor(np.zeros((0, 2))), Tensor(np.zeros((0, 2)))) is True


def test_nothing_here_is_recorded():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert not any(y.requires_grad for y in (x > 1, x.isclose(x), x.isnan(), x.logical_and(x), ~(x > 1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: FLOATS & BOOLS,
            r"bitwise_and \(&\): expected bools or integers, got floats; compare .*: \(x > 0\) & \(y > 0\)",
        ),
        (lambda: BOOLS | 0.5, r"bitwise_or \(\|\): expected bools or integers, got floats"),
        (lambda: FLOATS ^ 1, r"bitwise_xor \(\^\): expected bools or integers, got floats"),
        (lambda: ~FLOATS, r"bitwise_not \(~\): expected bools or integers, got float32; compare first, as in ~\(x > 0\)"),
        (lambda: FLOATS << 1, r"bitwise_left_shift \(<<\): expected integers, got float32; use .to\('int64'\)"),
        (lambda: BOOLS >> 1, r"bitwise_right_shift \(>>\): expected integers, got bool; use .to\('int64'\)"),
        (lambda: INTEGERS >> 0.5, r"bitwise_right_shift \(>>\): expected integers, got float32"),
        (lambda: mt.equal(FLOATS, 1.0), "equal: expected two Tensors, got float; x == number compares each element"),
        (lambda: mt.allclose(FLOATS, [1.0]), "isclose: expected a Tensor, a number or an array, got list; wrap it"),
        (lambda: FLOATS == "a", "eq: expected a Tensor, a number or an array, got str"),
        (lambda: mt.isnan(1.0), "isnan: expected a Tensor, got float"),
    ],
)
def test_wrong_input_is_refused_in_words(call, message):
    with pytest.raises(TypeError, match=message):
        call()
