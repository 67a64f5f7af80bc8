"""Freed memory is kept for the next step: seen by the pages that the system has to map anew."""

import os
import subprocess
import sys

import pytest

from microtensor.runtime import allocator

SCRIPT = """
import resource, numpy as np
from microtensor.runtime import allocator
kept = allocator.keep()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    arrays = [np.ones(1 << 20, np.float32) for _ in range(8)]  # 4 MiB each
    return sum(float(array[0]) for array in arrays)
step(), step()
before = faults()
for _ in range(10):
    step()
print(kept, faults() - before)
allocator.give_back()
status = open("/proc/self/status").read()
print(int(status.partition("VmRSS:")[2].split()[0]) // 1024)
"""

WHEN = """
import ctypes
calls, real = [], ctypes.CDLL
def library(name, *args, **settings):
    found = real(name, *args, **settings)
    if name is None:
        found.mallopt = lambda option, value: calls.append(option) or 1
    return found
ctypes.CDLL = library

import microtensor as mt
from microtensor import models, nn
layer = nn.Linear(2, 2)
layer(mt.ones(3, 2)).sum().backward()
nn.SGD(layer.parameters(), lr=0.1).step()
nn.Flatten()(mt.ones(1, (1 << 15) - 1))
print(calls)
for _ in range(2):
    nn.Flatten()(mt.ones(1, 1 << 15))  # 128 KiB
print(calls)
"""

glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.confstr("CS_GNU_LIBC_VERSION") is None, reason="needs glibc"
)


def run(**variables):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    (kept, faults), (resident,) = (line.split() for line in result.stdout.splitlines())
    return kept == "True", int(faults), int(resident)


@glibc
def test_arrays_of_the_same_size_cost_no_page_faults():
    kept, faults, resident = run()
    ignored, more, _ = run(MICROTENSOR_KEEP_MEMORY="0")
    assert kept
    assert not ignored
    assert faults < 100
    assert more > 10 * max(faults, 10)  # which shows that the test can fail
    assert resident < 150  # given back


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(allocator, "undecided", False)
    monkeypatch.setattr(sys, "platform", "other")
    assert allocator.keep() is False
    allocator.give_back()


@glibc
def test_the_first_large_result_of_a_module_sets_it_and_never_the_arenas():
    result = subprocess.run([sys.executable, "-c", WHEN], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]", str([allocator.M_MMAP_THRESHOLD, allocator.M_TRIM_THRESHOLD])]
