"""The error function against Python's own, in units of the last place."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor
from microtensor.ops import error_function


def off_by(y, exact):
    """How many units in the last place of the dtype of y it is away from `exact`."""
    place = np.spacing(np.abs(exact).astype(y.dtype)).astype(np.float64)
    return np.abs(y.astype(np.float64) - exact) / place


def points(dtype, low, high, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.uniform(low, high, 4000)
    crossing = rng.choice([-1, 1], 1000) * rng.uniform(0.45, 0.55, 1000)
    tiny = rng.choice([-1, 1], 1000) * 10 ** rng.uniform(-30, 0, 1000)
    return np.concatenate([dense, crossing, tiny]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_is_exact_to_a_few_units_in_the_last_place(dtype):
    x = points(dtype, -6.5, 6.5)
    assert off_by(mt.erf(Tensor(x)).numpy(), np.array([math.erf(v) for v in x.tolist()])).max() < 5


@pytest.mark.parametrize(("dtype", "end"), [(np.float32, 9.0), (np.float64, 26.0)])
def test_erfc_is_too_and_far_out_loses_digits_only_as_the_exponential_does(dtype, end):
    x = points(dtype, -6, end)
    units = off_by(mt.erfc(Tensor(x)).numpy(), np.array([math.erfc(v) for v in x.tolist()]))
    assert units[x < 1].max() < 6
    assert (units < 6 + x.astype(np.float64) ** 2).all()


def test_gelu_keeps_its_digits_where_it_is_nearly_0():
    x = np.array([-8.0, -5.0, -2.0], np.float32)
    exact = [v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.tolist()]
    np.testing.assert_allclose(mt.gelu(Tensor(x)).numpy(), exact, rtol=1e-5)


@given(st.floats(allow_nan=False))
def test_erf_is_odd_and_the_two_sum_to_1(number):
    x = Tensor(np.array([number, -number]))
    y = mt.erf(x).numpy()
    assert y[0] == -y[1]
    assert abs(y[0]) <= 1
    np.testing.assert_allclose(y + mt.erfc(x).numpy(), 1, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_ends(dtype):
    x = Tensor(np.array([-np.inf, -1e4, -0.0, 0.0, 1e4, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(mt.erf(x).numpy(), np.array([-1, -1, 0, 0, 1, 1, np.nan], dtype), strict=True)
    np.testing.assert_array_equal(mt.erfc(x).numpy(), np.array([2, 2, 1, 1, 0, 0, np.nan], dtype), strict=True)
    np.testing.assert_array_equal(np.signbit(mt.erf(x).numpy()[2:4]), [True, False])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_size_of_a_block_makes_no_difference(dtype, monkeypatch):
    x = np.linspace(-4, 4, 96).astype(dtype).reshape(4, 6, 4).transpose(2, 0, 1)
    whole = mt.erf(Tensor(x)).numpy(), mt.erfc(Tensor(x)).numpy()
    monkeypatch.setattr(error_function, "BLOCK_ELEMENTS", 7)
    for y, expected in zip((mt.erf(Tensor(x)).numpy(), mt.erfc(Tensor(x)).numpy()), whole):
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
