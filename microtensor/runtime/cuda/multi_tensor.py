"""Multi-tensor kernels: one launch over many arrays, such as all parameters of an optimiser.

A network has hundreds of parameters, most of them small: a launch for each would cost more than the arithmetic. So a kernel
takes `Rows`, a struct that is passed by value: a row for each parameter, with the addresses of its arrays and their number of
elements. Each block of the grid works on a chunk of 2,048 elements of one row: 8 for each thread, and few enough that a network
of 300,000 parameters gives a block to each of a large GPU's 132 multiprocessors. kernel.cuh has the struct in C++.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ..arrays import Array, device_of
from .kernels import Kernels, usable

MAX_ROWS, COLUMNS, CHUNK_ELEMENTS = 72, 5, 2048
"""Rows of a launch, arrays of a row, elements of a block: as in kernel.cuh."""

ROWS = np.dtype([("at", np.uint64, (COLUMNS, MAX_ROWS)), ("count", np.int64, MAX_ROWS), ("end", np.uint32, MAX_ROWS)])

ArrayRow = Sequence[Any]
"""Arrays of the same number of elements; None is a null pointer. The first is an array."""


def fit(row: ArrayRow) -> bool:
    """Whether a kernel can work on a row: its arrays are on one GPU, of one floating-point dtype, and contiguous.

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


def alike(rows: Iterable[ArrayRow]) -> Iterator[list[ArrayRow]]:
    """Rows that fit, grouped by GPU and dtype: each group takes launches of its own."""

    def kind(row: ArrayRow) -> tuple[str, str]:
        return device_of(row[0]), row[0].dtype.char

    for _, same in groupby(sorted(rows, key=kind), kind):
        yield list(same)


def packed(rows: Sequence[ArrayRow]) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of one GPU and dtype → for each launch, the struct for the kernel, and the number of blocks."""
    filled = [row for row in rows if row[0].size]
    for start in range(0, len(filled), MAX_ROWS):
        part = filled[start : start + MAX_ROWS]
        struct = np.zeros((), ROWS)
        for column, arrays in enumerate(zip(*part)):
            struct["at"][column, : len(part)] = [0 if array is None else array.data.ptr for array in arrays]
        counts = [row[0].size for row in part]
        struct["count"][: len(part)] = counts
        ends = np.cumsum([-(-count // CHUNK_ELEMENTS) for count in counts])
        struct["end"][: len(part)] = ends
        yield struct, int(ends[-1])


def launch(kernels: Kernels, name: str, rows: Iterable[ArrayRow], *arguments: Any) -> None:
    """Launch a kernel `name(Rows rows, …)` over rows that fit; see `fit`."""
    for same in alike(rows):
        first: Array = same[0][0]
        for struct, blocks in packed(same):
            kernels.blocks(name, first.dtype, blocks, struct, *arguments, beside=first)
