"""Cache blocking: images are worked on a part at a time, each part as large as the cache holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .arrays import Array, array_module

PART_BYTES = 1 << 21
"""Memory of the images in a part. Measured: with less, threads contend for the GIL between NumPy's calls; with more, pooling
of large batches takes up to twice as long."""

SINGLE_THREAD_BYTES = 1 << 22
"""Images of fewer bytes are one part, for one thread: to wake another and wait for it takes as long as it gains. Measured."""


def planes(x: Array) -> Array:
    """(N, C, H, W) → (N · C, H, W): for pooling and resizing, each channel is an image of its own."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def parts(images: Array) -> Iterator[slice]:
    """The first axis of `images` cut into parts that the cache holds; in one piece if they are small, and on a GPU."""
    step = max(len(images), 1)
    if array_module(images) is np and images.nbytes >= SINGLE_THREAD_BYTES:
        step = max(PART_BYTES * len(images) // max(images.nbytes, 1), 1)
    return (slice(i, i + step) for i in range(0, len(images), step))
