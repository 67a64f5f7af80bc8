"""One kernel over many arrays: what an optimiser does to all its parameters, in one launch.

A network has hundreds of parameters, most of them small. A launch for each would cost more than the arithmetic. So a kernel
takes `Rows`, a struct that is passed by value: where the arrays of each row are, and how many numbers they hold. Blocks of the
grid are dealt out to the rows, a chunk of 2,048 numbers each: eight for each thread, and few enough that a network of 300,000
numbers has a block for each of a large GPU's 132 processors. See kernel.cuh for the other end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ..arrays import Array, device_of
from .kernels import Kernels, usable

MOST, COLUMNS, CHUNK = 72, 5, 2048
"""As in kernel.cuh."""

ROWS = np.dtype([("at", np.uint64, (COLUMNS, MOST)), ("count", np.int64, MOST), ("end", np.uint32, MOST)])

Row = Sequence[Any]
"""Arrays of as many numbers each; None is a null pointer. The first is an array."""


def fit(row: Row) -> bool:
    """Whether a kernel can work on these arrays: on one GPU, of one floating dtype, contiguous.

    >>> fit([np.ones(3), None])
    False
    """
    first = row[0]
    if not usable(first):
        return False
    kind, device, dtype = type(first), first.device, first.dtype
    for array in row:
        if array is not None and not (
            type(array) is kind and array.flags.c_contiguous and array.dtype == dtype and array.device == device
        ):
            return False
    return True


def alike(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows that fit, sorted by GPU and dtype: each kind takes launches of its own."""

    def kind(row: Row) -> tuple[str, str]:
        return device_of(row[0]), row[0].dtype.char

    for _, same in groupby(sorted(rows, key=kind), kind):
        yield list(same)


def packed(rows: Sequence[Row]) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of one kind → for each launch, the struct that a kernel takes, and the number of its blocks."""
    filled = [row for row in rows if row[0].size]
    for start in range(0, len(filled), MOST):
        part = filled[start : start + MOST]
        struct = np.zeros((), ROWS)
        for column, arrays in enumerate(zip(*part)):
            struct["at"][column, : len(part)] = [0 if array is None else array.data.ptr for array in arrays]
        counts = [row[0].size for row in part]
        struct["count"][: len(part)] = counts
        ends = np.cumsum([-(-count // CHUNK) for count in counts])
        struct["end"][: len(part)] = ends
        yield struct, int(ends[-1])


def launch(kernels: Kernels, name: str, rows: Iterable[Row], *arguments: Any) -> None:
    """Launch a kernel `name(Rows rows, …)` over rows that fit; see `fit`."""
    for same in alike(rows):
        first: Array = same[0][0]
        for struct, blocks in packed(same):
            kernels.blocks(name, first.dtype, blocks, struct, *arguments, beside=first)
