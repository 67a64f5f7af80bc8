"""Batch normalisation by kernels, against float64 on the CPU and against the array calls that they take the place of."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor
from microtensor.nn.layers import batch_norm_kernels
from microtensor.nn.layers.batch_norm import BatchNorm2d, batch_norm
from microtensor.runtime.cuda.kernels import plain

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")

TOLERANCE = {"float16": 4e-3, "float32": 1e-5, "float64": 1e-12}
"""Of numbers around 1: some roundings of the dtype, and for float16 one of the result (2^-11) and one of each vector's gradient."""


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)


@st.composite
def shapes(draw):
    positions = draw(st.sampled_from([(), (1,), (3,), (2, 4), (17, 15), (16, 16), (257,), (300,)]))
    n, c = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    return (max(n, 2) if np.prod(positions) < 2 else n, c, *positions)


def run(x, g, vectors, running, where, training=True, **settings):
    """The result, the gradients of x and the vectors, and the running statistics, as NumPy's arrays."""
    inputs = [None if v is None else Tensor(v.copy(), device=where, requires_grad=True) for v in (x, *vectors)]
    known = [None if v is None else Tensor(v.copy(), device=where) for v in running]
    y = batch_norm(inputs[0], *known, *inputs[1:], training, **settings)
    y.backward(Tensor(g, device=where))
    return [
        t.detach().cpu().numpy() for t in [y, *(v.grad for v in inputs if v is not None), *(v for v in known if v is not None)]
    ]


@given(
    shapes(),
    st.sampled_from(list(TOLERANCE)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([60, 300, 4096]),
    st.integers(0, 99),
)
def test_they_compute_what_float64_does(shape, dtype, weighted, tracked, training, part, seed):
    rng = np.random.default_rng(seed)
    x, g = rng.standard_normal((2, *shape)) + 0.5
    vectors = rng.uniform(0.5, 1.5, (2, shape[1])) if weighted else (None, None)
    running = rng.uniform(0.5, 1.5, (2, shape[1])) if tracked or not training else (None, None)
    given = [None if v is None else v.astype(dtype) for v in (x, g, *vectors, *running)]
    exact = [None if v is None else v.astype("float64") for v in given]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm_kernels, "PART_ELEMENTS", part)  # several parts to a channel, also of a small batch
        found = run(given[0], given[1], given[2:4], given[4:], "cuda", training, eps=0.1)
    expected = run(exact[0], exact[1], exact[2:4], exact[4:], "cpu", training, eps=0.1)
    for a, b in zip(found, expected):
        assert a.dtype == dtype
        scale = max(1.0, np.sqrt(x.size / shape[1]))  # what sums over a channel amount to
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def test_float16_beside_vectors_of_float32():
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 4, 3, 5, 5)).astype("float16")
    vectors = rng.uniform(0.5, 1.5, (4, 3)).astype("float32")
    for training in (True, False):
        found = run(x, g, vectors[:2], vectors[2:], "cuda", training)
        expected = run(x, g, vectors[:2], vectors[2:], "cpu", training)
        assert [a.dtype for a in found] == [b.dtype for b in expected] == ["float16", "float16", *["float32"] * 4]
        for a, b in zip(found, expected):
            np.testing.assert_allclose(a, b, rtol=4e-3, atol=4e-3)


def test_one_launch_for_a_part_and_no_array_calls():
    layer, x = BatchNorm2d(3).to("cuda"), Tensor(np.ones((2, 3, 4, 4), "float32"), device="cuda", requires_grad=True)
    for train, forward, backward in ((True, {"look": 1, "normalise": 1, "add": 1}, {"sum_parts": 1, "differentiate": 1}),):
        with strict.counting() as counts:
            y = layer.train(train)(x)
        assert {name: n for name, n in counts.names.items() if name in forward} == forward
        assert counts.kernels == sum(forward.values())
        with strict.counting() as counts:
            y.backward(Tensor(np.ones(y.shape, "float32"), device="cuda"))
        assert (counts.kernels, counts.copies - 1) == (
            sum(backward.values()),
            0,
        )  # the copy is the gradient that the test makes
    with mt.no_grad(), strict.counting() as counts:
        layer.eval()(x)
    assert (counts.kernels, counts.names["normalise_by"]) == (1, 1)


@pytest.mark.parametrize("part", [2, 4096])
def test_far_from_zero_nothing_is_lost(part, monkeypatch):
    """The mean is kept in two numbers, as 1e6 is a multiple of 1/16 only in float32."""
    monkeypatch.setattr(batch_norm_kernels, "PART_ELEMENTS", part)
    x = (1e6 + np.random.default_rng(0).integers(-8, 8, (8, 2, 4, 4))).astype("float32")
    x[:, 1] = 1234567.0  # and a channel that does not vary
    y = batch_norm(Tensor(x, device="cuda"), None, None, training=True).numpy()
    expected = batch_norm(Tensor(x.astype("float64")), None, None, training=True).numpy()
    np.testing.assert_allclose(y, expected, atol=2e-6)
    assert not y[:, 1].any()


def test_nan_and_infinity_spoil_their_channel_alone():
    x = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype("float32")
    x[1, 0, 1, 1], x[2, 2, 0, 0] = np.nan, np.inf
    y = batch_norm(Tensor(x, device="cuda"), None, None, training=True).numpy()
    assert np.isnan(y[:, [0, 2]]).all()
    assert np.isfinite(y[:, 1]).all()


def test_views_empty_batches_and_momentum_on_the_device():
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((5, 4, 3, 6)).astype("float32"), device="cuda")
    turned = x.permute(3, 2, 1, 0)
    y = batch_norm(turned, None, None, training=True).numpy()
    np.testing.assert_array_equal(y, batch_norm(turned.clone(), None, None, training=True).numpy())
    empty, known = (
        Tensor(np.ones((0, 3, 4, 4), "float32"), device="cuda", requires_grad=True),
        Tensor(np.ones(3, "float32"), device="cuda"),
    )
    weight = Tensor(np.ones(3, "float32"), device="cuda", requires_grad=True)
    batch_norm(empty, known, known, weight, weight).sum().backward()
    assert empty.grad.shape == empty.shape
    assert not weight.grad.numpy().any()
    ours, reference = (BatchNorm2d(4, momentum=None).to("cuda") for _ in range(2))
    for _ in range(3):
        ours(x)
        with plain():
            reference(x)
    np.testing.assert_allclose(ours.running_var.numpy(), reference.running_var.numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours.running_mean.numpy(), reference.running_mean.numpy(), rtol=1e-5, atol=1e-7)


def test_running_statistics_that_changed_are_noticed():
    x, layer = Tensor(np.ones((2, 3, 4, 4), "float32"), device="cuda", requires_grad=True), BatchNorm2d(3).to("cuda")
    y = layer.eval()(x)
    layer.train()(x)
    with pytest.raises(RuntimeError, match="was assigned to after the operation ran"):
        y.sum().backward()
