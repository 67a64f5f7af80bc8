"""Images a part at a time: what the cache holds is worked on before the next is fetched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from microtensor.runtime.arrays import Array, array_module

PART_BYTES = 1 << 21
"""Memory of the images in a part. Measured: with less, threads meet too often between NumPy's calls, where only one of them
runs; with more, pooling large batches takes up to twice as long."""

FEW_BYTES = 1 << 22
"""Images of fewer bytes are one thread's work: to wake another and to wait for it takes as long as it gains. Measured."""


def planes(x: Array) -> Array:
    """(N, C, H, W) → (N · C, H, W): to pooling and resizing, a channel is an image like another."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def parts(images: Array) -> Iterator[slice]:
    """The first axis of `images` cut into parts that the cache holds; in one piece if they are few, and for a GPU."""
    step = max(len(images), 1)
    if array_module(images) is np and images.nbytes >= FEW_BYTES:
        step = max(PART_BYTES * len(images) // max(images.nbytes, 1), 1)
    return (slice(i, i + step) for i in range(0, len(images), step))
