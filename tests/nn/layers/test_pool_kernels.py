"""Kernels of pooling, against the array calls that they replace."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import assume, given
from hypothesis import strategies as st

from microtensor import Tensor, nn
from microtensor.runtime.cuda.kernels import plain
from microtensor.testing import geometries

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")

TOLERANCE = {"float16": 4e-3, "float32": 1e-6, "float64": 1e-14}
"""The plain way adds up in float16, a rounding for each window that sees a pixel; the others differ in the order of a sum."""


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)


@st.composite
def windows(draw, dilated=True):
    """Images, of few different numbers, so that many are equal; and the settings of a pool."""
    g = draw(geometries(half_padding=True))
    size = tuple(n + draw(st.sampled_from([0, 0, 1, 15])) for n in g.size)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    numbers = [-2.0, -1.0, 0.0, 1.0, 2.0, -np.inf, np.inf, np.nan][: draw(st.sampled_from([5, 8]))]
    x = rng.choice(numbers, (g.images, g.channels, *size))
    settings = {"kernel_size": g.kernel, "stride": g.stride, "padding": g.padding, "ceil_mode": draw(st.booleans())}
    return x, settings | ({"dilation": g.dilation} if dilated else {})


def run(function, x, settings):
    """The results, and the gradient of x for a cotangent that is always the same, as NumPy's arrays."""
    x = Tensor(x, device="cuda", requires_grad=True)
    y = function(x, **settings)
    first, *rest = y if isinstance(y, tuple) else (y,)
    g = np.random.default_rng(0).standard_normal(first.shape).astype(first.dtype)
    first.backward(Tensor(g, device="cuda"))
    return [first.detach().numpy(), x.grad.numpy(), *(t.numpy() for t in rest)]


@given(windows(), st.sampled_from(list(TOLERANCE)), st.booleans())
def test_max_pooling(drawn, dtype, indices):
    x, settings = drawn
    settings |= {"return_indices": indices}
    with plain():
        try:
            expected = run(nn.max_pool2d, x.astype(dtype), settings)
        except ValueError:  # a dilated window sees padding alone, and is refused
            assume(False)
    found = run(nn.max_pool2d, x.astype(dtype), settings)
    np.testing.assert_array_equal(found[0], expected[0], strict=True)
    np.testing.assert_allclose(found[1], expected[1], rtol=TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])
    assert not indices or (found[2] == expected[2]).all()


@given(windows(dilated=False), st.sampled_from(list(TOLERANCE)), st.booleans(), st.sampled_from([None, 3]))
def test_average_pooling(drawn, dtype, padded, divisor):
    x, settings = drawn
    settings |= {"count_include_pad": padded, "divisor_override": divisor}
    found = run(nn.avg_pool2d, x.astype(dtype), settings)
    with plain():
        expected = run(nn.avg_pool2d, x.astype(dtype), settings)
    for a, b in zip(found, expected):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=8 * TOLERANCE[dtype])


@pytest.mark.parametrize("pool", [nn.max_pool2d, nn.avg_pool2d])
def test_one_kernel_each_way(pool):
    x = Tensor(np.ones((2, 3, 9, 9), "float32"), device="cuda", requires_grad=True)
    y = pool(x, 3, 2, 1)
    g = Tensor(np.ones(y.shape, "float32"), device="cuda")
    with strict.counting() as counts:
        pool(x, 3, 2, 1).backward(g)
    assert (counts.kernels, counts.copies, counts.waits) == (2, 0, 0)
    with strict.counting() as counts:
        nn.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    assert (counts.kernels, counts.copies) == (1, 0)


@pytest.mark.parametrize("pool", [nn.max_pool2d, nn.avg_pool2d])
@pytest.mark.parametrize("shape", [(1, 1, 1, 257), (3, 1, 16, 16), (1, 2, 40, 41), (0, 3, 4, 4)])
def test_sizes_around_a_block_and_views(pool, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    settings = {"kernel_size": (1, 2), "stride": 1}
    found = run(pool, x, settings)
    with plain():
        expected = run(pool, x, settings)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-15)
    turned = Tensor(x, device="cuda").permute(0, 1, 3, 2)
    np.testing.assert_array_equal(pool(turned, 1, 1).numpy(), turned.numpy())


def test_integers_are_pooled_by_array_calls():
    y = nn.max_pool2d(Tensor(np.arange(16).reshape(1, 1, 4, 4), device="cuda"), 2)
    assert y.numpy().tolist() == [[[[5, 7], [13, 15]]]]
