"""How a GPU's threads share the lines of an array, the numbers along one axis: see `Lines` in kernel.cuh."""

from __future__ import annotations

import math

import numpy as np

from .kernels import THREADS

FEW = 4
"""A thread has so many numbers of a line at least, or it would wait for the others more than it computes."""

ENOUGH = 1 << 17
"""Threads that keep any GPU busy."""

SIDE_BY_SIDE = THREADS // 32
"""The largest team where lines lie side by side in memory: then 32 neighbours, which read at once, are of as many lines."""


def lines(shape: tuple[int, ...], axis: int | None) -> tuple[np.ndarray, int]:
    """The kernels' `Lines` along an axis (None: of a single number) of an array of this shape, and how many blocks share them.

    A long line is a team's of threads; short ones are a thread's each.

    >>> lines((128, 1000), 1)[1], lines((32, 10), 1)[1], lines((8, 21, 64, 64), 1)[1]
    (128, 1, 512)
    """
    outer, length, inner = (1, 1, 1) if axis is None else (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    count, team = outer * inner, 1
    while team * FEW < length and (team < THREADS if inner == 1 else team < SIDE_BY_SIDE and count * team < ENOUGH):
        team *= 2
    return np.array([count, length, inner, team], np.int64), -(-count * team // THREADS)
