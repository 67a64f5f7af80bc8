"""Cache blocking: a batch of images is processed in blocks that fit the cache, by one thread each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .arrays import Array, array_module

BLOCK_BYTES = 1 << 21
"""Of the images in a block. Measured: with smaller blocks threads contend for the GIL between NumPy's calls; with larger ones,
which leave the cache, pooling a large batch takes up to twice as long."""

MIN_BLOCKED_BYTES = 1 << 22
"""Smaller batches are one block, for one thread: waking another thread takes as long as it saves. Measured."""


def feature_maps(x: Array) -> Array:
    """(N, C, H, W) → (N · C, H, W): pooling and resizing treat each channel of each image alike."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def blocks(maps: Array) -> Iterator[slice]:
    """Slices of the first axis of `maps`, each of about BLOCK_BYTES. On a GPU, or if they are few, a single one."""
    step = max(len(maps), 1)
    if array_module(maps) is np and maps.nbytes >= MIN_BLOCKED_BYTES:
        step = max(BLOCK_BYTES * len(maps) // max(maps.nbytes, 1), 1)
    return (slice(i, i + step) for i in range(0, len(maps), step))
