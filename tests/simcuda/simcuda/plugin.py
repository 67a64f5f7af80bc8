"""A plugin for pytest: `pytest -p simcuda.plugin` runs CuPy on the simulated driver where there is no GPU.

It gives the fixture `counting`, which skips its test on a real GPU.
"""

import ctypes

import pytest

import simcuda


def pytest_configure(config):
    """Before any test, and so before any test file, imports CuPy."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        simcuda.install()


@pytest.fixture
def counting():
    """`simcuda.counting`: what was asked of the device."""
    if not simcuda.installed():
        pytest.skip("simcuda counts; here is a real GPU")
    return simcuda.counting
