"""Kernels looked at closely: threads that race, memory that nobody wrote, and what is read or written out of bounds.

The stand-in finds them where it is asked to (see strict/compiled.py). Here it finds planted faults, and then none in the tests of
all kernels, which run once more, in a process of their own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import strict
from planted import launcher
from strict import compiled

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[3]
TESTS = sorted(ROOT.glob("tests/**/test_*_kernels.py")) + [
    *ROOT.glob("tests/**/test_philox.py"),
    *ROOT.glob("tests/**/test_gpu_convolution.py"),
]
ORDERS = {"STRICT_ORDERS": "1"}

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")


@pytest.fixture
def launch(tmp_path, monkeypatch):
    return launcher(tmp_path, monkeypatch)


SHARED = "__shared__ real part[64]; unsigned t = threadIdx.x; part[t] = (real)t; "


@pytest.mark.parametrize(
    "body",
    [
        SHARED + "y[t] = t ? part[t - 1] : (real)0;",  # right in the order of the numbers, by luck
        SHARED + "y[t] = part[63 - t];",
        SHARED + "__syncthreads(); part[t] = part[63 - t]; __syncthreads(); y[t] = part[t];",
        "y[0] = (real)blockIdx.x;",
        "if (blockIdx.x == 0) y[1] = (real)5; else y[2 + blockIdx.x] = y[1];",
    ],
)
def test_a_race_is_found(launch, monkeypatch, body):
    monkeypatch.setattr(compiled, "EVERY_ORDER", True)
    with pytest.raises(RuntimeError, match="planted: a race: other results where blocks and threads run (backward|shuffled)"):
        launch(body)


def test_whoever_waits_does_not_race(launch, monkeypatch):
    monkeypatch.setattr(compiled, "EVERY_ORDER", True)
    np.testing.assert_array_equal(launch(SHARED + "__syncthreads(); y[t] = part[63 - t];"), np.arange(64)[::-1])


def test_shared_memory_that_nobody_wrote_is_poison(launch):
    """In the second block too, though the first has written there."""
    body = "__shared__ real part[64]; y[threadIdx.x] = part[threadIdx.x]; part[threadIdx.x] = (real)1;"
    assert np.isnan(launch(body)).all()


def again(environment, *arguments):
    """Run pytest in a process of its own: how it ended, and what it said."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=1800)
    return result.returncode, result.stdout + result.stderr


def sanitized():
    """The environment for kernels compiled for the sanitizers."""
    return compiled.preloaded() or pytest.skip("g++ has no sanitizers here")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y[n + threadIdx.x] = (real)1;", "AddressSanitizer: heap-buffer-overflow"),
        ("__shared__ real part[8]; part[n / 8 + threadIdx.x % 2] = (real)1; __syncthreads(); y[0] = part[7];", "out of bounds"),
        ("y[0] = (real)(float)(n << 62);", "cannot be represented|left shift of"),
    ],
)
@pytest.mark.exhaustive  # a kernel of its own to compile, and Python under the sanitizers, each
def test_what_is_out_of_bounds_is_found(tmp_path, body, message):
    environment = sanitized()
    planted = f"""
from planted import launcher

def test_planted(tmp_path, monkeypatch):
    launcher(tmp_path, monkeypatch)({body!r})
"""
    (tmp_path / "test_planted.py").write_text(planted, encoding="utf-8")
    code, said = again(environment, tmp_path / "test_planted.py", "-c", ROOT / "pyproject.toml")
    assert code
    assert re.search(message, said), said[-3000:]


@pytest.mark.exhaustive  # all tests of kernels, with each launch three times
def test_no_kernel_races():
    code, said = again(ORDERS, *TESTS, HERE / "test_kernels.py", "-k", "not every_gpu")
    assert not code, said[-5000:]


@pytest.mark.exhaustive  # all kernels compiled again, and all their tests under the sanitizers
def test_no_kernel_is_out_of_bounds():
    code, said = again(sanitized(), *TESTS, "-k", "not past_two")
    assert not code, said[-5000:]
