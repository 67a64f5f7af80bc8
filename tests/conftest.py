"""Settings that all tests share, and the device that they run on.

    pytest                     tensors are NumPy's
    pytest --device strict     they are on device "cuda", which a stand-in for CuPy serves: see strict/__init__.py
    pytest --device cuda       they are on a real GPU; where there is none, the real CuPy runs on simcuda, a simulated driver

On a device every tensor that a test makes without saying where is made there: it is the default device. What is left out then,
and why, stands in host_only.py.
"""

import ctypes
import sys
from fnmatch import fnmatchcase

import host_only
import pytest
import strict
from hypothesis import HealthCheck, settings

from microtensor.random import manual_seed
from microtensor.runtime import deferred_checks
from microtensor.runtime.cuda import kernels
from microtensor.runtime.device import set_default_device

settings.register_profile("default", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


def pytest_addoption(parser):
    parser.addoption("--device", choices=["numpy", "strict", "cuda"], default="numpy", help="where the tests' tensors are")


def pytest_configure(config):
    device = config.getoption("--device")
    if device == "strict":
        sys.modules["cupy"] = strict.cupy
    if device == "cuda":
        simulate_a_gpu_where_there_is_none()
        hide_stand_ins_from_cudnn()
    else:
        sys.modules["cudnn"] = None
    if strict.COMPILER is None and device != "cuda":  # then the stand-in has no kernels, and the plain way is tested
        kernels.Chosen.kernels = False
    if device != "numpy":
        set_default_device("cuda")


def simulate_a_gpu_where_there_is_none():
    """Before CuPy is imported: its runtime is redirected as it is loaded."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        import simcuda

        simcuda.install()


@pytest.fixture
def cupy(request):
    """The real CuPy, on a GPU or on simcuda: a test that asks for it runs with `--device cuda` alone."""
    if request.config.getoption("--device") != "cuda":
        pytest.skip("needs CuPy: pytest --device cuda")
    import cupy

    return cupy


@pytest.fixture
def counting(cupy):
    """What CuPy asked of the driver: `with counting() as counts: ...; assert counts.launches == 2`. On simcuda alone."""
    simcuda = sys.modules.get("simcuda")
    if simcuda is None:
        pytest.skip("counts launches, which simcuda can")
    return simcuda.counting


def hide_stand_ins_from_cudnn():
    """Some tests take the stand-in on a real GPU as well: the real cuDNN would take its addresses for the GPU's."""
    from strict.cudnn import Cudnn

    from microtensor.nn.layers.convolution.gpu import cudnn

    allowed = cudnn.allowed

    def carefully():
        stand_in = isinstance(sys.modules.get("cupy"), strict.Cupy)
        return (not stand_in or isinstance(sys.modules.get("cudnn"), Cudnn)) and allowed()

    cudnn.allowed = carefully


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.getoption("--device") == "numpy":
        return
    reasons = host_only.reasons(config.getoption("--device"))
    unused = set(reasons)
    for item in items:
        name = item.nodeid.rpartition("/")[2]  # test_file.py::test_name[case]
        for pattern, reason in reasons.items():
            if fnmatchcase(name.replace("[", "("), pattern.replace("[", "(")):
                unused.discard(pattern)
                item.add_marker(pytest.mark.skip(reason=reason))
    whole = {item.path.name for item in items} if not any("::" in str(arg) for arg in config.args) else set()
    if stale := [pattern for pattern in unused if pattern.partition("::")[0] in whole]:
        raise pytest.UsageError(f"host_only.py names tests that there are not: {', '.join(stale)}")


@pytest.fixture(autouse=True)
def no_check_waits_from_another_test():
    """What a test leaves unlooked at on a device is not to fail the next one."""
    deferred_checks.waiting.clear()
    yield
    deferred_checks.waiting.clear()


@pytest.fixture(autouse=True)
def the_same_numbers_whatever_ran_before():
    """A test that fails fails again: what it draws without a seed does not depend on the tests before it."""
    manual_seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
