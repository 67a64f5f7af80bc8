"""What a GPU would have had to do: kernels that run, copies between host and device, and waits of the one for the other."""

from collections import Counter
from contextlib import contextmanager


class Counts:
    """How often the device was asked for something, in all and by name.

    A kernel is counted for each call that computes or copies; for those that CuPy puts together from several, as many as it
    launches, or a little more. A view costs nothing.
    """

    def __init__(self):
        self.kernels = self.copies = self.waits = 0
        self.names = Counter()

    def __str__(self):
        return f"{self.kernels} kernels, {self.copies} copies between host and device, {self.waits} waits"


open_counts = []


@contextmanager
def counting():
    """Counts of what happens inside: `with counting() as counts: …; assert not counts.waits`. They may be nested."""
    counts = Counts()
    open_counts.append(counts)
    try:
        yield counts
    finally:
        open_counts.remove(counts)


def count(name, kernels=0, copies=0, waits=0):
    """Add to all counts that are open."""
    for counts in open_counts:
        counts.kernels += kernels
        counts.copies += copies
        counts.waits += waits
        counts.names[name] += 1
