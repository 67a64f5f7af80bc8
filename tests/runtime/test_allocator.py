"""Freed memory is kept for the next step: seen by the pages that the system has to map anew."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, numpy as np
from microtensor import nn
from microtensor.runtime import allocator
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    arrays = [np.ones(1 << 20, np.float32) for _ in range(8)]  # 4 MiB each
    return sum(float(array[0]) for array in arrays)
step(), step()
before = faults()
for _ in range(10):
    step()
print(allocator.keep(), faults() - before)
allocator.give_back()
status = open("/proc/self/status").read()
print(int(status.partition("VmRSS:")[2].split()[0]) // 1024)
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
    from microtensor.runtime import allocator

    monkeypatch.setattr(sys, "platform", "other")
    assert allocator.keep() is False
    allocator.give_back()
