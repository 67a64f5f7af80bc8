"""`unfold` and `fold` on a GPU: the kernels of windows.cu."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

if TYPE_CHECKING:
    from .windows import Pair, Window

kernels = Kernels(__file__, "windows.cu")


def unfold_by_kernel(
    columns: Array, x: Array, window: Window, places: Pair, first: int = 0, count: int = 0, together: bool = False
) -> None:
    """Unfold x (n, C, H, W) on a GPU into `columns` (n, C, kh, kw, count), for some places or all of them.

    Args:
        first, count: `count` places from index `first` on; all of them if `count` is 0.
        together: columns are (C, kh, kw, n, count) instead.
    """
    n, channels, *size = x.shape
    count = count or prod(places)
    row = n * count if together else count
    step = count if together else channels * prod(window.kernel) * count
    x = array_module(x).ascontiguousarray(x)
    shape = window.for_kernels(size, places)
    kernels.each("unfold", x.dtype, n * channels * count, columns, x, shape, n, channels, first, count, step, row)


def fold_by_kernel(x: Array, columns: Array, window: Window, places: Pair, groups: int = 1, first: int = 0) -> None:
    """Fold `columns` (n, groups · c, kh, kw, H', W') on a GPU into x (n, C, H, W).

    Args:
        groups, first: the columns are those of c channels of each group of x, from channel `first` of the group on.
    """
    n, channels, *size = x.shape
    columns = array_module(x).ascontiguousarray(columns)
    planes = columns.size // (prod(window.kernel) * prod(places))
    shape, each = window.for_kernels(size, places), planes // (n * groups) if n else 0
    kernels.each("fold", x.dtype, planes * prod(size), x, columns, shape, planes, each, first, channels // groups)
