"""A block in which the host may not wait for the device."""

from contextlib import contextmanager

import pytest
import strict


@contextmanager
def no_waiting():
    """Inside, whatever makes the host wait for the device fails."""

    def wait(self, *args):
        raise AssertionError("the host waits for the device")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("get", "item", "tolist", "__bool__", "__int__", "__float__"):
            patch.setattr(strict.ndarray, name, wait)
        yield
