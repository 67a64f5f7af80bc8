"""Kernels: how they are launched, that they compile for every GPU, and that their source is what the stand-in runs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import nvrtc
import pytest
import strict

from microtensor.runtime.cuda.kernels import OPTIONS, TYPES, Kernels, plain, usable

ROOT = Path(__file__).parents[3]
SOURCES = sorted(path for floor in ("microtensor", "nn") for path in (ROOT / floor).rglob("*.cu"))
HEADERS = sorted(path for floor in ("microtensor", "nn") for path in (ROOT / floor).rglob("*.cuh"))

CUPYS_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy 14 adds of its own (compiler.py)."""

compiler = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")


@pytest.fixture
def device(monkeypatch):
    """The stand-in, whatever the tests run on."""
    monkeypatch.setitem(__import__("sys").modules, "cupy", strict.cupy)
    return strict.cupy


def kernels(tmp_path, source):
    (tmp_path / "some.cu").write_text(source, encoding="utf-8")
    return Kernels(str(tmp_path / "some.py"), "some.cu")


@pytest.mark.skipif(
    nvrtc.library() is None, reason="needs NVIDIA's compiler: pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12"
)
@pytest.mark.parametrize("architecture", ["sm_70", "sm_80", "sm_90"])
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_kernel_compiles_for_every_gpu_without_a_warning(path, architecture):
    for letter in TYPES:
        code, log = nvrtc.compiled(Kernels(str(path), path.name).source(letter), architecture, OPTIONS + CUPYS_OPTIONS)
        assert not log, log
        assert len(code) > 1000


@pytest.mark.parametrize("path", [*SOURCES, *HEADERS], ids=lambda path: path.name)
def test_no_index_is_an_int(path):
    """An int ends at 2^31: what counts numbers is a `size`, what counts threads is unsigned."""
    code = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"\b(int|long)\b", code.replace("typedef long long size", ""))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_source_is_ascii_for_cupy_writes_it_in_the_systems_encoding(path):
    assert all(Kernels(str(path), path.name).source(letter).isascii() for letter in TYPES)


def test_cupy_passes_these_parameters():
    """Real CuPy turns parameters into pointers before it asks for a GPU, and refuses those that it cannot pass."""
    if "cupy" in sys.modules or importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed, or stood in for")
    script = Path(__file__).parents[2].joinpath("support", "cupy_parameters.py")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


@compiler
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_kernel_computes(tmp_path, device, dtype):
    own = kernels(
        tmp_path,
        'extern "C" __global__ void scale(real *y, const real *x, wide by, size n) { EACH(i, n) y[i] = (real)((wide)x[i] * by); }',
    )
    x = np.random.default_rng(0).standard_normal((3, 700)).astype(dtype)
    y = device.empty_like(device.asarray(x))
    with strict.counting() as counts:
        own.each("scale", x.dtype, x.size, y, device.asarray(x), 2.5, x.size)
    np.testing.assert_array_equal(y.get(), (x.astype("float64") * 2.5).astype(dtype))
    assert counts.kernels == 1


@compiler
@pytest.mark.parametrize("threads", [1, 32, 256, 1024])
def test_sums_and_maxima_over_a_block(tmp_path, device, threads):
    source = """
    extern "C" __global__ void both(real *y, const real *x, size n) {
        wide sum = 0, most = -1e30f;
        SHARE(i, n) { sum += (wide)x[blockIdx.x * n + i]; most = max(most, (wide)x[blockIdx.x * n + i]); }
        sum = block_sum(sum);
        most = block_max(most);
        if (threadIdx.x == 0) { y[2 * blockIdx.x] = (real)sum; y[2 * blockIdx.x + 1] = (real)most; }
    }"""
    x = np.random.default_rng(0).standard_normal((5, 333))
    y = device.empty((5, 2))
    kernels(tmp_path, source).blocks("both", x.dtype, 5, y, device.asarray(x), 333, threads=threads)
    np.testing.assert_allclose(y.get(), np.stack([x.sum(1), x.max(1)], 1), rtol=1e-12)


@compiler
def test_a_nan_is_the_largest(tmp_path, device):
    source = (
        'extern "C" __global__ void largest(real *y, const real *x) { y[threadIdx.x] = (real)block_max((wide)x[threadIdx.x]); }'
    )
    for place in range(8):
        x = np.arange(8.0)
        x[place] = np.nan
        y = device.empty(8)
        kernels(tmp_path, source).blocks("largest", x.dtype, 1, y, device.asarray(x), threads=8)
        assert np.isnan(y.get()).all()


def test_a_source_may_include_another(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "both.cuh").write_text('#include "deep/inner.cuh"\n// outer\n', encoding="utf-8")
    (tmp_path / "deep/inner.cuh").write_text("// inner\n", encoding="utf-8")
    assert kernels(tmp_path, '#include "both.cuh"\n// own\n').source("f").endswith("// inner\n\n// outer\n\n// own\n")


@compiler
def test_wrong_launches_are_refused(tmp_path, device):
    own = kernels(tmp_path, 'extern "C" __global__ void fill(real *y, wide by, size n) { EACH(i, n) y[i] = (real)by; }')
    y = device.zeros((4, 6), "float32")
    with pytest.raises(ValueError, match=r"fill: a kernel takes contiguous arrays, got shape \(6, 4\) with strides \(4, 24\)"):
        own.each("fill", y.dtype, 24, y.T, 1.0, 24)
    with pytest.raises(TypeError, match="parameter 1 is a wide, got int64"):
        own.each("fill", y.dtype, 24, y, 1, 24)
    with pytest.raises(TypeError, match="parameter 2 is a size, got float32"):
        own.each("fill", y.dtype, 24, y, 1.0, 24.0)
    with pytest.raises(TypeError, match="the kernel has 3 parameters, got 2"):
        own.each("fill", y.dtype, 24, y, 1.0)
    with pytest.raises(ValueError, match="the source has no kernel fit: it has fill"):
        own.each("fit", y.dtype, 24, y, 1.0, 24)
    own.each("fill", y.dtype, 0, y, 1.0, 0)
    assert not y.get().any()


@compiler
def test_threads_that_do_not_wait_for_each_other_are_found(tmp_path, device):
    own = kernels(
        tmp_path, 'extern "C" __global__ void half(real *y) { if (threadIdx.x < 3) __syncthreads(); y[0] = (real)0; }'
    )
    with pytest.raises(RuntimeError, match="half: some threads of a block ended while others waited for them"):
        own.blocks("half", "float32", 1, device.zeros(1, "float32"))


@compiler
def test_past_two_to_the_31(tmp_path, device):
    """The last block of an array of 2^31 + 1,000 bytes, of which no other page is touched."""
    n = 2**31 + 1000
    own = kernels(
        tmp_path,
        'extern "C" __global__ void mark(unsigned char *y, real *unused, size n) { EACH(i, n) y[i] = (unsigned char)(i % 251); (void)unused; }',
    )
    y = strict.array.new(np.zeros(n, np.uint8))
    module = device.RawModule(code=own.source("f"), options=OPTIONS)
    blocks = -(-n // 256)
    module.get_function("mark").launch((blocks,), (256,), (y, device.zeros(1, "float32"), np.int64(n)), first=blocks - 3)
    np.testing.assert_array_equal(y._host[-500:], np.arange(n - 500, n) % 251)
    assert not y._host[: 2**20].any()


def test_only_floats_on_a_device_and_never_inside_plain(device):
    assert not usable(np.ones(3))
    assert not usable(device.asarray(np.ones(3, int)))
    assert usable(device.asarray(np.ones(3))) == (strict.COMPILER is not None)
    with plain():
        assert not usable(device.asarray(np.ones(3)))
