"""What a test asks of the driver: how often something was called, and settings for a while."""

from collections import Counter
from contextlib import contextmanager

from .loader import MOST_DEVICES, state


class Counts:
    """What was asked of the device.

    launches: kernels and matrix products (cuBLAS), and graphs, each of which is one.
    kernels: how often each was launched, by name; `replayed`: as part of a graph.
    products: calls of cuBLAS among the launches.
    uploads, downloads, copies: from host to device, from device to host, and on the device (with fills).
    waits: calls in which the host waits for the device. (A copy to the host counts as one, too.)
    allocations: calls of cudaMalloc: CuPy's pool makes few. compilations: kernels that g++ compiled.
    """

    def __init__(self):
        self.launches = self.products = self.uploads = self.downloads = self.copies = self.waits = 0
        self.allocations = self.compilations = 0
        self.kernels, self.replayed = Counter(), Counter()

    def add(self, counted):
        """Add what the driver counted, by its names."""
        self.launches += counted["launch"]
        self.products += counted["product"]
        self.uploads += counted["upload"]
        self.downloads += counted["download"]
        self.copies += counted["copy"] + counted["fill"]
        self.waits += counted["wait"]
        self.allocations += counted["allocation"]
        self.compilations += counted["compilation"]
        for name, times in counted.items():
            kind, _, kernel = name.partition("\x1f")
            if kernel and times:
                {"kernel": self.kernels, "replayed": self.replayed}[kind][kernel] += times

    def __repr__(self):
        return (
            f"{self.launches} launches ({self.products} of them products), {self.uploads} uploads, {self.downloads} downloads, "
            f"{self.copies} copies, {self.waits} waits"
        )


def read():
    """All that the driver has counted since it was loaded."""
    lines = state.driver.sim_counts().decode().splitlines()
    return Counter({name: int(times) for name, _, times in (line.rpartition("\t") for line in lines)})


@contextmanager
def counting():
    """Counts of what happens inside, in all threads; they are there when the block ends. They may be nested."""
    counts, before = Counts(), read()
    try:
        yield counts
    finally:
        after = read()
        after.subtract(before)
        counts.add(after)


@contextmanager
def _setting(name, value):
    before = state.driver.sim_set(name.encode(), value)
    try:
        yield
    finally:
        state.driver.sim_set(name.encode(), before)


def devices(number):
    """Inside, there are so many devices, up to eight. What CuPy and other packages have cached of that number stays."""
    if not 0 <= number <= MOST_DEVICES:
        raise ValueError(f"simcuda.devices: expected 0 to {MOST_DEVICES}, got {number}")
    return _setting("devices", number)


def every_order():
    """Inside, each kernel runs three times, its blocks and threads in order, backward and shuffled, from the same memory; an
    error where the results are not the same bits: then threads race."""
    return _setting("orders", 1)


def noop():
    """Inside, launches are counted, and nothing is computed: what is left is what the host costs."""
    return _setting("noop", 1)


def eager():
    """Inside, work is done as soon as it is asked for, as if the device were never behind."""
    return _setting("eager", 1)
