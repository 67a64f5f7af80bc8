"""For tests of your own operations: the gradient check, and hypothesis strategies for tensors and the geometry of windows.

Needs hypothesis: `pip install "microtensor[test]"`.

    from hypothesis import given
    from microtensor.testing import check_gradients, tensors

    @given(tensors(away_from=[0.0]))
    def test_my_operation(x):
        check_gradients(my_operation, x, order=2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .gradcheck import check_gradients, numerical_gradient
from .tensor import Tensor

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:  # pragma: no cover
    raise ImportError('microtensor.testing needs hypothesis: pip install "microtensor[test]"') from error

__all__ = ["Geometry", "broadcastable", "check_gradients", "geometries", "numerical_gradient", "shapes", "tensors"]


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of few small axes."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: Any = None,
    low: float = -2.0,
    high: float = 2.0,
    away_from: Sequence[float] = (),
    gap: float = 0.05,
    distinct: bool = False,
    dtype: Any = np.float64,
) -> Tensor:
    """Tensors of numbers from `low` to `high`.

    Args:
        shape: a shape or a strategy for one; `shapes()` if None.
        away_from: numbers to keep a distance of `gap` from: the kinks and poles of the operation under test.
        distinct: keep every two elements apart, as operations that compare them need it.
    """
    size = draw(shape if isinstance(shape, st.SearchStrategy) else shapes() if shape is None else st.just(tuple(shape)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    if distinct:
        count = int(np.prod(size))
        values = (rng.permutation(count) + 0.5 * rng.random(count)).reshape(size) / max(count, 1) * (high - low) + low
    else:
        values = rng.uniform(low, high, size)
    for kink in away_from:
        near = np.abs(values - kink) < gap
        values = np.where(near, kink + np.where(values < kink, -gap, gap) + (values - kink), values)
    return Tensor(np.asarray(values, dtype))


@st.composite
def broadcastable(draw: st.DrawFn, /, count: int = 2, **settings: Any) -> list[Tensor]:
    """So many tensors whose shapes broadcast together. `settings` are those of `tensors`."""
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=3))
    return [draw(tensors(shape, **settings)) for shape in drawn.input_shapes]


class Geometry(NamedTuple):
    """Images, and a window that fits into them: (height, width) each, but for `groups` and the counts."""

    images: int
    channels: int
    size: tuple[int, int]
    kernels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@st.composite
def geometries(draw: st.DrawFn, max_kernel: int = 3, half_padding: bool = False) -> Geometry:
    """Small images with a kernel, stride, padding, dilation and groups that fit them.

    Args:
        half_padding: no padding over half the kernel, as pooling wants it.
    """
    two = st.tuples(st.integers(1, max_kernel), st.integers(1, max_kernel))
    kernel, stride = draw(two), draw(two)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*(st.integers(0, k // 2 if half_padding else 3) for k in kernel)))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding)]
    size = draw(st.tuples(*(st.integers(n, n + 3) for n in least)))
    groups = draw(st.integers(1, 3))
    channels, kernels = draw(st.integers(1, 2)) * groups, draw(st.integers(1, 2)) * groups
    return Geometry(draw(st.integers(1, 3)), channels, size, kernels, kernel, stride, padding, dilation, groups)
