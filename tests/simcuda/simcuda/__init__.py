"""simcuda: the real CuPy on a machine without a GPU.

    import simcuda
    simcuda.install()          # before CuPy is imported
    import cupy

    with simcuda.counting() as counts:
        cupy.arange(10) + 1
    assert counts.launches == 2

See README.md beside this package.
"""

from .api import Counts, counting, devices, eager, every_order, noop
from .build import Unusable
from .loader import install, state

__all__ = ["Counts", "Unusable", "counting", "devices", "eager", "every_order", "install", "installed", "noop"]


def installed():
    """Whether CuPy runs on the simulated driver in this process."""
    return state.driver is not None
