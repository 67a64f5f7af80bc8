"""Dropout on a GPU: kernels against array calls, without drawing or copying on the host."""

import math
import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.runtime.cuda.kernels import plain

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")

FUNCTIONS = {
    "dropout": [(), (0,), (1,), (3,), (1025,), (4, 3, 5), (2, 3, 255)],
    "dropout1d": [(3, 5, 7), (1, 1, 300), (2, 0, 3), (2, 3, 0)],
    "dropout2d": [(3, 5, 2, 3), (1, 3, 17, 19)],
    "alpha_dropout": [(), (1,), (1025,), (4, 3, 5)],
    "feature_alpha_dropout": [(3, 5), (3, 5, 7), (2, 3, 4, 5, 2)],
    "rrelu": [(), (1025,), (4, 3, 5)],
}
CASES = [(name, shape) for name, shapes in FUNCTIONS.items() for shape in shapes]


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)


def call(name, x, p, seed):
    arguments = (0.1, 0.1 + p) if name == "rrelu" else (p,)
    return getattr(nn, name)(x, *arguments, True, generator=mt.Generator(seed))


def result_and_gradient(name, x, g, p, seed):
    x = Tensor(x, device="cuda", requires_grad=True)
    y = call(name, x, p, seed)
    (gradient,) = mt.grad(y, x, Tensor(g, device="cuda"))
    return y.numpy(), gradient.numpy()


@given(
    case=st.sampled_from(CASES),
    p=st.sampled_from([0.1, 0.5, 0.97, 1.0]),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_a_kernel_drops_the_same_elements_as_array_calls(case, p, seed, dtype):
    """The same bits; of float16 too, for both compute in float32 and round once."""
    (name, shape), rng = case, np.random.default_rng(seed)
    x, g = (np.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
    if x.size > 4:
        x.flat[:3] = [np.nan, np.inf, -0.0]
    ours = result_and_gradient(name, x, g, p, seed)
    with plain():
        theirs = result_and_gradient(name, x, g, p, seed)
    for a, b in zip(ours, theirs):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_array_equal(a, b)
        assert (np.signbit(a) == np.signbit(b)).all()


@pytest.mark.parametrize(("name", "shape"), [(name, shapes[-1]) for name, shapes in FUNCTIONS.items()])
def test_no_copies_from_the_host(name, shape):
    x = Tensor(np.ones(shape, "float32"), device="cuda", requires_grad=True)
    g = Tensor(np.ones(shape, "float32"), device="cuda")
    with strict.counting() as forward:
        y = call(name, x, 0.3, 0)
    with strict.counting() as backward:
        mt.grad(y, x, g)
    assert forward.copies == forward.waits == backward.copies == backward.waits == 0
    most = 5 if name == "rrelu" else 1
    assert forward.kernels <= most
    assert backward.kernels <= most


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_transposed_input(name, shape):
    if len(shape) < 2:
        return
    x = np.asarray(np.random.default_rng(0).standard_normal(shape), "float32")
    turned = Tensor(np.ascontiguousarray(x.T), device="cuda").T
    np.testing.assert_array_equal(call(name, turned, 0.4, 1).numpy(), call(name, Tensor(x, device="cuda"), 0.4, 1).numpy())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_fraction_of_dropped_elements_and_a_new_mask_for_each_call(p):
    x, generator, count = Tensor(np.ones(100_000, "float32"), device="cuda"), mt.Generator(0), 100_000
    first, second = (nn.dropout(x, p, generator=generator).numpy() == 0 for _ in range(2))
    spread = 6 * math.sqrt(p * (1 - p) / count)
    assert abs(first.mean() - p) < spread
    assert abs((first & second).mean() - p * p) < spread  # independent of each other
    again = nn.dropout(x, p, generator=mt.Generator(0)).numpy() == 0
    np.testing.assert_array_equal(again, first)


def test_alpha_dropout_keeps_mean_and_variance():
    x = Tensor(np.random.default_rng(0).standard_normal(200_000).astype("float32"), device="cuda")
    y = nn.alpha_dropout(x, 0.3, True, generator=mt.Generator(0)).numpy()
    assert y.mean() == pytest.approx(0, abs=0.01)
    assert y.std() == pytest.approx(1, abs=0.01)


def test_no_mask_is_stored():
    """What the graph of a step holds is its input and no more."""
    x = Tensor(np.ones((64, 64), "float32"), device="cuda", requires_grad=True)
    y = nn.dropout(x, 0.5)
    ((_, vjp),) = y.origin.sources
    held = [cell.cell_contents for cell in vjp.__closure__]
    assert not [value for value in held if isinstance(value, (Tensor, strict.ndarray, np.ndarray))]
