"""Kernels that update all parameters in one launch compute what the array calls compute: optimizers, clipping, averages."""

import contextlib
import sys

import numpy as np
import pytest
import strict
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers import KINDS, OPTIONS

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.nn.module import Parameter
from microtensor.nn.optim import SGD, Adam
from microtensor.nn.optim.moving_average import ExponentialMovingAverage
from microtensor.runtime.cuda.kernels import plain
from microtensor.runtime.cuda.multi_tensor import CHUNK_ELEMENTS, MAX_ROWS, ROWS, packed

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")

SIZES = [0, 1, 255, 256, 257, 1025, CHUNK_ELEMENTS - 1, CHUNK_ELEMENTS, CHUNK_ELEMENTS + 1, 2 * CHUNK_ELEMENTS + 300]
DTYPES = [np.float16, np.float32, np.float64]
lengths = st.lists(st.sampled_from(SIZES), min_size=1, max_size=5)


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    yield
    strict.cupy.cuda.Device(0).use()


def draw(rng, sizes, dtype):
    return [rng.standard_normal(n).astype(dtype) for n in sizes]


def parameters(arrays, device="cuda"):
    return [Parameter(Tensor(a.copy(), device=device).array) for a in arrays]


def give(params, gradients):
    for p, g in zip(params, gradients):
        p.grad = None if g is None else Tensor(g, device=p.device)


def walk(kind, options, start, steps, dtype=None, way=contextlib.nullcontext):
    """Parameters and their state after some steps on the stand-in, as NumPy's arrays."""
    params = parameters([a.astype(dtype or a.dtype) for a in start])
    optimizer = kind(params, **options)
    with way():
        for gradients in steps:
            give(params, [None if g is None else g.astype(dtype or g.dtype) for g in gradients])
            optimizer.step()
    kept = [v for p in params for v in optimizer.state.get(p, {}).values() if not isinstance(v, int)]
    return [p.numpy() for p in params] + [v.get() for v in kept]


def assert_same(xs, ys):
    assert len(xs) == len(ys)
    for x, y in zip(xs, ys):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(data=st.data(), sizes=lengths, dtype=st.sampled_from([np.float32, np.float64]), seed=st.integers(0, 99))
def test_a_step_of_all_is_the_plain_step_of_each(kind, data, sizes, dtype, seed):
    """Bit for bit: each operation is rounded alike in both. The first parameter has no gradient at the second step."""
    options, rng = data.draw(OPTIONS[kind]), np.random.default_rng(seed)
    start, steps = draw(rng, sizes, dtype), [draw(rng, sizes, dtype) for _ in range(3)]
    steps[1][0] = None
    assert_same(walk(kind, options, start, steps), walk(kind, options, start, steps, way=plain))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(data=st.data(), sizes=lengths, seed=st.integers(0, 99))
def test_float16_is_computed_in_float32(kind, data, sizes, seed):
    """float16 is rounded only when it is stored: one step equals that of float32, rounded."""
    options, rng = data.draw(OPTIONS[kind]), np.random.default_rng(seed)
    start, steps = draw(rng, sizes, np.float16), [draw(rng, sizes, np.float16)]
    wide = walk(kind, options, start, steps, np.float32, plain)
    assert_same(walk(kind, options, start, steps), [a.astype(np.float16) for a in wide])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"maximize": True, "weight_decay": 0.1}])
def test_what_is_no_number_stays_in_its_place(kind, options):
    start = [np.array([1.0, 2.0, np.nan, 4.0, 5.0, np.inf], np.float32)]
    steps = [[np.array([np.nan, np.inf, 1.0, -np.inf, 1.0, 1.0], np.float32)]] * 2
    fused, reference = walk(kind, options, start, steps), walk(kind, options, start, steps, way=plain)
    assert_same(fused, reference)
    assert np.isfinite(fused[0]).tolist() == [False] * 2 + [False] * 2 + [True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_launches_do_not_grow_with_the_parameters(kind):
    for count, launches in ((1, 1), (MAX_ROWS, 1), (MAX_ROWS + 1, 2), (3 * MAX_ROWS, 3)):
        params = parameters([np.ones(3, np.float32)] * count)
        optimizer = kind(params)
        give(params, [np.ones(3, np.float32)] * count)
        optimizer.step()  # creates the state
        with strict.counting() as counts:
            optimizer.step()
        assert (counts.kernels, counts.copies, counts.waits) == (launches, 0, 0)


def test_a_block_for_each_chunk():
    arrays = [strict.cupy.zeros(n, "float32") for n in (0, 1, CHUNK_ELEMENTS, CHUNK_ELEMENTS + 1)]
    ((struct, blocks),) = packed([(a, None) for a in arrays])
    assert blocks == 4
    assert struct["end"][:4].tolist() == [1, 2, 4, 0]  # the empty one is left out
    assert struct["at"][:3, 1].tolist() == [arrays[2].data.ptr, 0, 0]
    assert ROWS.itemsize <= 4096 - 128  # a kernel's parameters take at most 4 KiB, with the scalars
    assert not [*packed([(arrays[0],)])]


def test_what_a_kernel_cannot_take_goes_the_plain_way():
    """A parameter that is not contiguous, a gradient of another dtype, and a gradient that is not contiguous."""
    rng = np.random.default_rng(0)
    start, g = rng.standard_normal((3, 40, 50)).astype("f"), rng.standard_normal((3, 40, 50))
    ends = []
    for way in (contextlib.nullcontext, plain):
        params = parameters(start)
        params[0].array = params[0].array.T
        optimizer = Adam(params, lr=0.1)
        give(params, [g[0].T.astype("f"), g[1].astype("f"), g[2].astype("f")])
        params[1].grad.array = Tensor(g[1], device="cuda").array
        params[2].grad.array = Tensor(g[2].T.astype("f"), device="cuda").array.T
        with way(), strict.counting() as counts:
            optimizer.step()
        assert (counts.names["adam"] == 1) == (way is not plain)
        ends.append([p.numpy() for p in params])
    assert_same(*ends)


def test_devices_and_dtypes_take_launches_of_their_own(monkeypatch):
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    start = [np.arange(5, dtype=t) for t in ("f", "d", "f", "f")]
    params = [*parameters(start[:2]), *parameters(start[2:3], "cuda:1"), *parameters(start[3:], "cpu")]
    give(params, [np.ones_like(a) for a in start])
    with strict.counting() as counts:
        SGD(params, lr=0.5).step()
    assert counts.kernels == counts.names["sgd"] == 3
    assert [p.tolist() for p in params] == [(a - 0.5).tolist() for a in start]


def test_a_rule_of_ones_own_is_obeyed_on_a_device():
    class Still(SGD):
        def update(self, p, g, state, group):
            state["seen"] = state.get("seen", 0) + 1

    params = parameters([np.ones(3, "f")])
    give(params, [np.ones(3, "f")])
    optimizer = Still(params, lr=0.1)
    optimizer.step()
    assert params[0].tolist() == [1, 1, 1]
    assert optimizer.state[params[0]] == {"seen": 1}


# Clipping


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=15)
@given(sizes=lengths, seed=st.integers(0, 99), most=st.sampled_from([0.0, 0.5, 1e4]))
def test_all_gradients_are_clipped_together(dtype, sizes, seed, most):
    """The norm to the rounding of sums in another order; for float16 the sums are of float32, and the factor too."""
    gradients, ends = draw(np.random.default_rng(seed), sizes, dtype), []
    for way in (contextlib.nullcontext, plain):
        params = parameters([np.zeros(n, dtype) for n in sizes])
        give(params, gradients)
        with way():
            norm = nn.clip_grad_norm_(params, most)
        ends.append((norm.numpy(), *(p.grad.numpy() for p in params)))
    rtol = {np.float16: 2e-3, np.float32: 2e-6, np.float64: 1e-14}[dtype]
    for x, y in zip(*ends):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-7 if dtype == np.float16 else 0)


def test_launches_to_clip():
    params = parameters([np.ones((3, 4), "f"), np.ones((4, 3), "f").T, np.ones(5, "d")] * 30)
    give(params, [p.numpy() for p in params])
    with strict.counting() as counts:
        nn.clip_grad_norm_(params, 1.0)
    assert counts.waits == counts.copies == 0
    assert counts.names["squares"] == counts.names["scale"] == 2
    assert counts.kernels < 20
    np.testing.assert_allclose(sum((p.grad.numpy().astype("d") ** 2).sum() for p in params), 1, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_a_gradient_that_is_no_number(bad):
    for way in (contextlib.nullcontext, plain):
        params = parameters([np.zeros(3, "f")] * 2)
        give(params, [np.array([1, bad, 2], "f"), np.ones(3, "f")])
        with way():
            norm = nn.clip_grad_norm_(params, 1.0)
        np.testing.assert_equal(norm.item(), bad)
        np.testing.assert_array_equal(params[1].grad.numpy(), np.full(3, np.nan if np.isnan(bad) else 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [None, np.nan, np.inf, 1e300])
def test_all_gradients_are_unscaled_together(dtype, bad):
    """1e300 overflows in float32 before, as it does in what the gradients are."""
    rng, ends = np.random.default_rng(0), []
    gradients = draw(rng, SIZES, dtype)
    if bad is not None:
        with np.errstate(over="ignore"):
            gradients[4][256] = dtype(bad)
    for way in (contextlib.nullcontext, plain):
        params, scaler = parameters([np.zeros(n, dtype) for n in SIZES]), nn.GradScaler(init_scale=3.0)
        give(params, gradients)
        optimizer = SGD(params, lr=0.1)
        with way(), strict.counting() as counts:
            scaler.unscale_(optimizer)
        if way is contextlib.nullcontext:
            assert counts.names["unscale"] == 1
            assert counts.kernels <= 3
            assert counts.copies == counts.waits == 0
        scaler.step(optimizer)
        ends.append([p.grad.numpy() for p in params] + [p.numpy() for p in params])
    assert_same(*ends)
    skipped = not any(p.any() for p in ends[0][len(SIZES) :])
    assert skipped == (bad is not None and not np.isfinite(gradients[4][256]))


# Averages


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_average_follows_all_weights_together(dtype):
    ends = []
    for way in (contextlib.nullcontext, plain):
        mt.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 70, 3), nn.BatchNorm2d(70), nn.Linear(70, 30)).to(dtype).to("cuda")
        average = ExponentialMovingAverage(model, decay=0.9)
        with way():
            for p in (*model.parameters(), *model.buffers()):
                p.array += 1
            with strict.counting() as counts:
                average.update()
        ends.append([value.numpy() for value in average.average.values()])
    assert counts.kernels > 3 * 6
    assert_same(*ends)


def test_launches_to_average():
    model = nn.Sequential(*[nn.BatchNorm1d(5) for _ in range(MAX_ROWS // 2)]).to("cuda")
    average = ExponentialMovingAverage(model)
    with strict.counting() as counts:
        average.update()
    assert counts.names["update_average"] == counts.names["copy"] == 1
    assert counts.kernels == 2 + MAX_ROWS // 2  # counters of integers are copied each by itself
