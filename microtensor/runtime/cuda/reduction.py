"""Reductions along an axis on a GPU: how many threads work on each line, the elements along the axis. See `Lines` in
kernel.cuh."""

from __future__ import annotations

import math

import numpy as np

from .kernels import THREADS

THREAD_ELEMENTS = 4
"""The fewest elements of a line for each thread of a team: with fewer, threads wait for each other more than they compute."""

BUSY_THREADS = 1 << 17
"""Threads that keep any GPU busy: with this many, larger teams gain nothing."""

MAX_STRIDED_TEAM = THREADS // 32
"""The largest team where the elements of a line are strided: the 32 threads of a warp are then of 32 neighbouring lines, and
read neighbouring elements (coalesced)."""


def lines(shape: tuple[int, ...], axis: int | None) -> tuple[np.ndarray, int]:
    """The kernels' `Lines` along an axis of an array of this shape, and the number of blocks. None: each element is a line.

    A team of threads works on a long line, a single thread on a short one.

    >>> lines((128, 1000), 1)[1], lines((32, 10), 1)[1], lines((8, 21, 64, 64), 1)[1]
    (128, 1, 512)
    """
    outer, length, inner = (1, 1, 1) if axis is None else (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    count, team = outer * inner, 1
    while team * THREAD_ELEMENTS < length and (
        team < THREADS if inner == 1 else team < MAX_STRIDED_TEAM and count * team < BUSY_THREADS
    ):
        team *= 2
    return np.array([count, length, inner, team], np.int64), -(-count * team // THREADS)
