"""softmax and log_softmax by kernels, against float64 on the CPU; and how threads share the lines of an array."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor
from microtensor.ops.softmax import log_softmax, softmax
from microtensor.runtime.cuda.kernels import THREADS, plain
from microtensor.runtime.cuda.reduction import lines

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")

TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}
"""float16 is rounded when it is written, 2^-11, and what the gradient is made of was rounded before."""


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)


@st.composite
def arrays(draw):
    """An array and an axis: of lines that are long or short, neighbours or side by side."""
    length = draw(st.sampled_from([1, 2, 3, 10, 31, 255, 256, 257, 1025]))
    around = draw(st.sampled_from([(), (1,), (3,), (70,)] if length < 200 else [(), (2,)]))
    inner = draw(st.sampled_from([(), (2,), (5, 7)] if length < 200 else [(), (3,)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape = (*around, length, *inner)
    return rng.standard_normal((2, *shape)) * 3, len(around)


@given(arrays(), st.sampled_from(list(TOLERANCE)), st.booleans())
def test_they_compute_what_float64_does(drawn, dtype, logarithm):
    (x, g), axis = drawn
    function = log_softmax if logarithm else softmax
    x, g = x.astype(dtype), g.astype(dtype)
    results = []
    for where, number in (("cuda", dtype), ("cpu", "float64")):
        v = Tensor(x.astype(number), device=where, requires_grad=True)
        y = function(v, dim=axis)
        y.backward(Tensor(g.astype(number), device=where))
        results.append([y.detach().cpu().numpy(), v.grad.cpu().numpy()])
    for a, b in zip(*results):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * (1 + np.abs(g).sum(axis).max()))


@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_singular_and_empty_and_turned(function):
    x = Tensor(np.array([[np.inf, 0, 1], [-np.inf] * 3, [0, np.nan, 1], [-np.inf, 0, 1], [1e30, -1e30, 0]]), device="cuda")
    for y in (x, x.T, x[::2]):
        with plain():
            expected = function(y, dim=1).numpy()
        np.testing.assert_allclose(function(y, dim=1).numpy(), expected, rtol=1e-15, equal_nan=True)
    for shape in ((0, 3), (3, 0)):
        assert function(Tensor(np.ones(shape), device="cuda"), dim=1).shape == shape
    assert function(Tensor(np.array(2.0), device="cuda"), dim=0).item() == (1 if function is softmax else 0)


def test_one_kernel_each_way():
    x = Tensor(np.ones((4, 10), "float32"), device="cuda", requires_grad=True)
    g = Tensor(np.ones((4, 10), "float32"), device="cuda")
    with strict.counting() as counts:
        softmax(x, dim=1).backward(g)
    assert (counts.kernels, counts.copies, counts.waits) == (2, 0, 0)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=3), st.data())
def test_lines_cover_the_array(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    (count, length, inner, team), blocks = lines(tuple(shape), axis)
    assert count * length == np.prod(shape)
    assert inner == np.prod(shape[axis + 1 :], dtype=int)
    assert team & (team - 1) == 0
    assert 1 <= team <= THREADS
    assert (blocks - 1) * (THREADS // team) < count <= blocks * (THREADS // team)
    assert inner == 1 or THREADS // team >= 32
