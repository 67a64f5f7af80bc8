"""The kernel backward through ReLU and its like, against the array calls that it takes the place of."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor
from microtensor.ops.activations import hardtanh, relu, relu6
from microtensor.runtime.cuda.kernels import plain

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)


@given(
    st.sampled_from([relu, relu6, hardtanh, lambda x: hardtanh(x, -0.3, 0.1)]),
    st.sampled_from(["float16", "float32", "float64"]),
    st.sampled_from([(), (0,), (1,), (255,), (256,), (257,), (3, 5, 7), (1025,)]),
    st.integers(0, 99),
)
def test_the_gradient_is_the_plain_one(function, dtype, shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice([-np.inf, -1.0, -0.5, 0.0, 0.1, 0.2, 0.3, 1.0, 6.0, 7.0, np.inf, np.nan], shape).astype(dtype)
    g = Tensor(rng.standard_normal(shape).astype(dtype), device="cuda")
    x = Tensor(np.asarray(x), device="cuda", requires_grad=True)
    function(x).backward(g)
    found, x.grad = x.grad.numpy(), None
    with plain():
        function(x).backward(g)
    np.testing.assert_array_equal(found, x.grad.numpy(), strict=True)


def test_one_kernel():
    x = Tensor(np.ones((4, 6), "float32"), device="cuda", requires_grad=True)
    g = Tensor(np.ones((6, 4), "float32"), device="cuda")
    for y, gradient in ((relu(x), g.T.clone()), (relu6(x), g.T.clone())):
        with strict.counting() as counts:
            y.backward(gradient)
        assert (counts.names["between"], counts.names["where"]) == (1, 0)
    before = x.grad.numpy()
    relu(x).backward(g.T)  # not contiguous
    np.testing.assert_array_equal(x.grad.numpy(), before + 1)
