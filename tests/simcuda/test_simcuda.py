"""simcuda itself: what is right computes, what is wrong is found. Every fault here is planted, beside the same without it."""

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import simcuda

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def simulated(request):
    """These tests are about the simulated driver: they need it in this process."""
    if not simcuda.installed():
        pytest.skip("runs where CuPy is on simcuda")


@pytest.fixture
def cupy():
    import cupy

    cupy.cuda.Device().synchronize()
    return cupy


@pytest.fixture
def other(cupy):
    """A stream that waits for nobody."""
    return cupy.cuda.Stream(non_blocking=True)


def launch(cupy, body, threads=64, parameters="float *y, float *x, long long n", blocks=1, before=""):
    """Run a kernel of this body on 64 numbers: what it leaves in y."""
    source = f'{before}\nextern "C" __global__ void planted({parameters}) {{ unsigned t = threadIdx.x; {body} }}'
    y, x = cupy.full(64, -1, "float32"), cupy.arange(64, dtype="float32")
    cupy.RawModule(code=source).get_function("planted")((blocks,), (threads,), (y, x, np.int64(64)))
    return y.get()


# What CuPy computes


def test_cupy_computes_as_numpy(cupy):
    x = np.random.default_rng(0).standard_normal((5, 7)).astype("float32")
    there = cupy.asarray(x)
    np.testing.assert_allclose((cupy.exp(there) @ there.T).get(), np.exp(x) @ x.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(there.sum(0).get(), x.sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cupy.sort(there, 1).get(), np.sort(x, 1))
    np.testing.assert_array_equal(cupy.argsort(there, 0).get(), np.argsort(x, 0))
    np.testing.assert_array_equal(there[:, ::2].argmax(1).get(), x[:, ::2].argmax(1))
    np.testing.assert_allclose(cupy.cumsum(there).get(), np.cumsum(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool", "complex64", "complex128"]
)
def test_every_dtype_adds_and_sums(cupy, dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    there = cupy.asarray(x)
    np.testing.assert_array_equal((there + there).get(), x + x)
    for axis in (None, 0, 1):
        np.testing.assert_array_equal(there.sum(axis).get(), x.sum(axis))


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000, 5000])
def test_reductions_by_blocks(cupy, size):
    """CuPy's own kernels with CUB's BlockReduce: of what is computed on the way, or does not lie in one piece."""
    x = np.random.default_rng(0).integers(0, 9, (3, size)).astype("float32")
    there = cupy.asarray(x)
    np.testing.assert_array_equal((there == 3).sum(1).get(), (x == 3).sum(1))
    np.testing.assert_array_equal((there == 3).any(1).get(), (x == 3).any(1))
    np.testing.assert_array_equal(there.T.max(0).get(), x.T.max(0))


def test_nan_is_the_extreme_and_sorts_last(cupy):
    x = cupy.asarray([1.0, np.nan, -1.0])
    assert np.isnan(float(x.max()))
    assert int(x.argmin()) == 1
    assert np.isnan(cupy.sort(x).get()[-1])


def test_half_precision_rounds_as_numpys(cupy):
    x = np.random.default_rng(0).standard_normal(1000) * 1e3
    np.testing.assert_array_equal(cupy.asarray(x).astype("float16").get(), x.astype("float16"))
    half = x.astype("float16")
    np.testing.assert_array_equal((cupy.asarray(half) * 3).get(), half * np.float16(3))


# Kernels


def test_a_kernel_runs_and_shares_numbers(cupy):
    shared = "__shared__ float part[64]; part[t] = x[t]; __syncthreads(); y[t] = part[63 - t];"
    np.testing.assert_array_equal(launch(cupy, shared), np.arange(64)[::-1])
    dynamic = "extern __shared__ float part[]; part[t] = x[t]; __syncthreads(); y[t] = part[63 - t];"
    source = f'extern "C" __global__ void dynamic(float *y, const float *x) {{ unsigned t = threadIdx.x; {dynamic} }}'
    y = cupy.zeros(64, "float32")
    kernel = cupy.RawModule(code=source).get_function("dynamic")
    kernel((1,), (64,), (y, cupy.arange(64, dtype="float32")), shared_mem=256)
    np.testing.assert_array_equal(y.get(), np.arange(64)[::-1])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y[t] = __shfl_xor_sync(0xffffffffu, x[t], 1);", lambda t: t ^ 1),
        ("y[t] = __shfl_down_sync(0xffffffffu, x[t], 1);", lambda t: np.where(t % 32 == 31, t, t + 1)),
        ("y[t] = __shfl_up_sync(0xffffffffu, x[t], 2, 8);", lambda t: np.where(t % 8 < 2, t, t - 2)),
        ("y[t] = __shfl_sync(0xffffffffu, x[t], 3, 4);", lambda t: t // 4 * 4 + 3),
        ("y[t] = __ballot_sync(0xffffffffu, t % 2) == 0xaaaaaaaau;", lambda t: np.ones(64)),
        ("if (t % 32 < 16) y[t] = __shfl_xor_sync(0xffffu, x[t], 8);", lambda t: np.where(t % 32 < 16, t ^ 8, -1)),
        ("y[t] = __syncthreads_count(t < 5);", lambda t: np.full(64, 5)),
    ],
)
def test_lanes_exchange_numbers(cupy, body, expected):
    np.testing.assert_array_equal(launch(cupy, body), expected(np.arange(64)))


def test_atomics_add_up(cupy):
    assert launch(cupy, "atomicAdd(y, x[t]);")[0] == 63 * 64 / 2 - 1


def test_kernels_that_a_macro_makes_are_found(cupy):
    source = """#define BY(name, factor) \\
        extern "C" __global__ void name(float *y) { y[threadIdx.x] *= factor; }
    BY(twice, 2) BY(thrice, 3)"""
    module = cupy.RawModule(code=source)
    for name, factor in (("twice", 2), ("thrice", 3)):
        y = cupy.ones(4, "float32")
        module.get_function(name)((1,), (4,), (y,))
        assert y.tolist() == [factor] * 4


def test_templates_are_found_by_their_names(cupy):
    source = "template <class T> __global__ void twice(T *y) { y[threadIdx.x] *= 2; }"
    module = cupy.RawModule(code=source, name_expressions=["twice<float>", "twice<int>"])
    for dtype, name in (("float32", "twice<float>"), ("int32", "twice<int>")):
        y = cupy.arange(4, dtype=dtype)
        module.get_function(name)((1,), (4,), (y,))
        assert y.tolist() == [0, 2, 4, 6]


def test_a_source_that_does_not_compile_says_where(cupy):
    with pytest.raises(cupy.cuda.compiler.CompileException, match=r"kernel\.cu.*expected|expected ';'|error"):
        launch(cupy, "y[t] = 1")


SHARED = "__shared__ float part[64]; "


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (
            SHARED + "part[t] = t; y[t] = t ? part[t - 1] : 0;",
            SHARED + "part[t] = t; __syncthreads(); y[t] = t ? part[t - 1] : 0;",
        ),
        (SHARED + "part[t] = t; y[t] = part[63 - t];", SHARED + "part[t] = t; __syncthreads(); y[t] = part[63 - t];"),
        ("y[0] = blockIdx.x;", "y[blockIdx.x] = blockIdx.x;"),
        ("if (blockIdx.x == 0) y[1] = 5; else y[2 + blockIdx.x] = y[1];", "y[blockIdx.x] = x[blockIdx.x];"),
        ("y[t] = y[(t + 1) % 64] + 1;", "y[t] = x[(t + 1) % 64] + 1;"),
    ],
)
def test_a_race_is_found(cupy, wrong, right):
    with simcuda.every_order():
        launch(cupy, right, blocks=3)
        with pytest.raises(
            cupy.cuda.runtime.CUDARuntimeError, match="planted: a race: other results where blocks and threads run"
        ):
            launch(cupy, wrong, blocks=3)


def test_threads_that_miss_a_barrier_are_found(cupy):
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="planted: some threads of a block ended while others waited"):
        launch(cupy, "if (t < 3) __syncthreads(); y[t] = 1;")
    with pytest.raises(
        cupy.cuda.runtime.CUDARuntimeError, match="planted: threads of a block wait for each other at different"
    ):
        launch(cupy, "if (t < 3) __syncthreads(); else __syncwarp(); y[t] = 1; __syncthreads();", threads=32)
    assert (launch(cupy, "__syncthreads(); y[t] = 1;") == 1).all()


def test_shared_memory_that_nobody_wrote_is_poison(cupy):
    """In a second block, too, where a first has written before."""
    body = SHARED + "if (t < 8 || blockIdx.x == 0) part[t] = 1; __syncthreads(); if (blockIdx.x == 1) y[t] = part[t];"
    y = launch(cupy, body, blocks=2)
    assert (y[:8] == 1).all()
    assert np.isnan(y[8:]).all()


@pytest.mark.parametrize(
    ("grid", "block", "shared"), [((1,), (1025,), 0), ((1, 65536), (1,), 0), ((1,), (1, 1, 65), 0), ((1,), (1,), 300_000)]
)
def test_a_launch_that_no_gpu_takes_is_refused(cupy, grid, block, shared):
    kernel = cupy.RawModule(code='extern "C" __global__ void nothing() {}').get_function("nothing")
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="nothing: no GPU has such a grid"):
        kernel(grid, block, (), shared_mem=shared)
    kernel((1,), (1024,), ())


def test_a_pointer_into_nowhere_is_refused(cupy):
    kernel = cupy.RawModule(code='extern "C" __global__ void one(float *y) { *y = 1; }').get_function("one")
    host = np.zeros(1, "float32")
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="one: parameter 0: its address is not in memory of the device"):
        kernel((1,), (1,), (np.uint64(host.ctypes.data),))
    kernel((1,), (1,), (cupy.zeros(1, "float32"),))


# Memory, streams, events


def test_new_memory_is_poison(cupy):
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        assert np.isnan(cupy.empty(100, "float32").get()).all()


def test_a_stream_does_not_wait_by_itself(cupy, other):
    x = cupy.zeros(8, "float32")
    cupy.cuda.Device().synchronize()
    with other:
        y = x + 1
    assert np.isnan(y.get()).all()  # the first stream has not waited
    other.synchronize()
    assert (y.get() == 1).all()


def test_an_event_is_waited_for(cupy, other):
    x = cupy.zeros(8, "float32")
    made = cupy.cuda.Event()
    made.record()
    with other:
        other.wait_event(made)
        y = x + 1
        done = other.record()
    cupy.cuda.get_current_stream().wait_event(done)
    assert (y.get() == 1).all()


def test_an_event_says_when_it_has_happened(cupy, other):
    with other:
        cupy.zeros(8) + 1
        done = other.record()
    assert [done.done, done.done] == [False, True]
    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    first.record(), last.record()
    last.synchronize()
    assert 0 <= cupy.cuda.get_elapsed_time(first, last) < 1e4


def test_memory_that_is_used_again_too_soon_has_other_numbers(cupy, other):
    """What another stream still reads is overwritten by the first."""
    x = cupy.zeros(8, "float32")
    cupy.cuda.Device().synchronize()
    with other:
        y = x + 1
    x.fill(9)
    cupy.cuda.Device().synchronize()
    assert (y.get() == 10).all()


def test_pinned_memory_is_read_when_the_copy_runs(cupy, other):
    pinned = cupy.cuda.alloc_pinned_memory(32)
    host = np.frombuffer(pinned, "float32", 8)
    host[...] = 1
    x = cupy.empty(8, "float32")
    x.set(host, stream=other)
    host[...] = 2  # too soon
    other.synchronize()
    assert (x.get() == 2).all()


def test_memory_that_is_not_pinned_is_read_at_once(cupy, other):
    host, x = np.ones(8, "float32"), cupy.empty(8, "float32")
    x.set(host, stream=other)
    host[...] = 2
    other.synchronize()
    assert (x.get() == 1).all()


def test_a_stream_that_blocks_waits_for_the_first_one(cupy):
    """The legacy default stream and streams made without non_blocking=True."""
    x = cupy.zeros(8, "float32")
    with cupy.cuda.Stream():
        y = x + 1
    assert (y.get() == 1).all()


def test_threads_may_launch_at_once(cupy):
    results = []

    def work(number):
        x = cupy.full(1000, number, "float32")
        for _ in range(20):
            x = x + 1
        results.append(float(x[0]) - number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert results == [20] * 4


def test_two_devices_have_memory_of_their_own(cupy):
    with simcuda.devices(2), cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):  # a pool that has a part for each
        assert cupy.cuda.runtime.getDeviceCount() == 2
        here = cupy.ones(4, "float32")
        with cupy.cuda.Device(1):
            there = cupy.asarray(np.full(4, 2, "float32"))
            assert there.device.id == 1
            kernel = cupy.RawModule(code='extern "C" __global__ void one(float *y) { *y = 1; }').get_function("one")
            kernel((1,), (1,), (there,))
            with pytest.raises(cupy.cuda.driver.CUDADriverError, match="memory of device 0, while the current one is 1"):
                kernel((1,), (1,), (here,))
            there.get()
        cupy.cuda.Device(0).use()
    assert cupy.cuda.runtime.getDeviceCount() == 1


# Counts


def test_calls_are_counted(cupy):
    x = cupy.ones((4, 4), "float32")
    with simcuda.counting() as counts, simcuda.counting() as inner:
        y = x + 1
        y @ y
        cupy.asarray(np.ones(3))
        y.get()
        cupy.cuda.Device().synchronize()
    assert (counts.launches, counts.products, counts.uploads, counts.downloads) == (2, 1, 1, 1)
    assert counts.waits >= 1
    assert counts.kernels["cupy_add__float32_float_float32"] == 1
    assert vars(counts) == vars(inner)


def test_a_view_costs_nothing(cupy):
    x = cupy.ones((4, 4), "float32")
    with simcuda.counting() as counts:
        x.T.reshape(2, 8)[:, ::2] if False else x[::2].T
    assert not any((counts.launches, counts.uploads, counts.downloads, counts.copies, counts.waits))


def test_nothing_is_computed_where_only_the_host_counts(cupy):
    x, y = cupy.ones(4, "float32"), cupy.ones(4, "float32")
    x.get()
    with simcuda.noop(), simcuda.counting() as counts:
        cupy.add(x, 1, y)
        cupy.cuda.Device().synchronize()
    assert counts.launches == 1
    assert (y.get() == 1).all()


# Capture


def test_a_captured_stream_is_replayed(cupy, other):
    with other:
        x, y = cupy.zeros(4, "float32"), cupy.zeros(4, "float32")
        y += x + 1
        y.fill(0)
        other.begin_capture()
        y += x + 1
        graph = other.end_capture()
        other.synchronize()
        assert (y.get(stream=other) == 0).all()
        with simcuda.counting() as counts:
            for number in range(1, 4):
                x.fill(number)
                graph.launch(other)
        assert (y.get(stream=other) == 2 + 3 + 4).all()
    assert counts.launches == 6
    assert sum(counts.replayed.values()) == 6


def test_another_stream_may_take_part_in_a_capture(cupy, other):
    third = cupy.cuda.Stream(non_blocking=True)
    with other:
        x, y, z = cupy.zeros(4, "float32"), cupy.empty(4, "float32"), cupy.empty(4, "float32")
        other.synchronize()
        other.begin_capture()
        third.wait_event(other.record())
        with third:
            cupy.add(x, 1, y)
        other.wait_event(third.record())
        cupy.add(y, 1, z)
        graph = other.end_capture()
        graph.launch(other)
        assert (z.get(stream=other) == 2).all()


def test_a_stream_that_does_not_come_back_is_refused(cupy, other):
    third = cupy.cuda.Stream(non_blocking=True)
    x = cupy.zeros(4, "float32")
    cupy.cuda.Device().synchronize()
    with other:
        other.begin_capture()
        third.wait_event(other.record())
        with third:
            x += 1
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="did not wait for its last event"):
            other.end_capture()


WAITS = {
    "stream": lambda cupy, x, s: s.synchronize(),
    "device": lambda cupy, x, s: cupy.cuda.Device().synchronize(),
    "item": lambda cupy, x, s: float(x.sum()),
    "upload": lambda cupy, x, s: cupy.cuda.runtime.memcpy(x.data.ptr, np.ones(4, "float32").ctypes.data, 16, 1),
    "query": lambda cupy, x, s: s.done,
}


@pytest.mark.parametrize("how", WAITS)
def test_what_cannot_be_captured_ends_the_capture(cupy, other, how):
    x = cupy.zeros(4, "float32")
    cupy.cuda.Device().synchronize()
    with other:
        other.begin_capture(cupy.cuda.runtime.streamCaptureModeGlobal)
        x += 1
        with contextlib.suppress(RuntimeError, cupy.cuda.runtime.CUDARuntimeError):  # some calls of CuPy tell it at once
            WAITS[how](cupy, x, other)
        with pytest.raises((RuntimeError, cupy.cuda.runtime.CUDARuntimeError), match="apture"):
            other.end_capture()
    assert (x.get() == 0).all()
    with other:  # and all goes on
        x += 1
        assert (x.get(stream=other) == 1).all()


# Use


def test_readme(tmp_path):
    """The first program of the README runs, in a process of its own."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    program = text.partition("```python\n")[2].partition("```")[0]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=HERE, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert "1 launches" in result.stdout


def test_it_must_come_before_cupy():
    program = "import cupy, simcuda; simcuda.install()"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=HERE, capture_output=True, text=True, timeout=300
    )
    assert "must come before `import cupy`" in result.stderr
