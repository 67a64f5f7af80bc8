"""For tests of your own operations: the gradient check, and hypothesis strategies for tensors and for windows of convolutions.

Needs hypothesis: `pip install hypothesis`.

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

from .gradcheck import NotDifferentiableError, check_gradients, numerical_gradient
from .runtime.extras import install_hint
from .tensor import Tensor

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:  # pragma: no cover
    raise ImportError(f"microtensor.testing needs hypothesis: {install_hint('hypothesis')}") from error

__all__ = [
    "Geometry",
    "NotDifferentiableError",
    "assert_close",
    "axes",
    "broadcastable",
    "check_gradients",
    "geometries",
    "indices",
    "numerical_gradient",
    "shapes",
    "tensors",
]

TOLERANCES = {"float16": (1e-3, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)}
"""rtol and atol of `assert_close`, as torch.testing.assert_close has them."""


def assert_close(actual: Any, expected: Any, *, rtol: float | None = None, atol: float | None = None) -> None:
    """Check that two tensors or arrays have the same shape, dtype and values: |actual − expected| ≤ atol + rtol · |expected|.

    nan equals nan. The tolerances follow from the dtype if they are None, and are 0 for integers and bools.

    Raises:
        AssertionError: they differ. The message says where most, by how much, and how many elements do.

    >>> assert_close(Tensor([1.0, 2.0]), Tensor([1.0, 2.5]))
    Traceback (most recent call last):
        ...
    AssertionError: 1 of 2 elements differ, most at (1,): 2.0, expected 2.5 (tolerated: 1.33e-05)
    """
    a, b = (x.numpy() if isinstance(x, Tensor) else np.asarray(x) for x in (actual, expected))
    if a.shape != b.shape or a.dtype != b.dtype:
        raise AssertionError(f"got {a.dtype} {a.shape}, expected {b.dtype} {b.shape}")
    usual = TOLERANCES.get(str(b.dtype), (0.0, 0.0))
    wide = a.astype(np.float64) if a.dtype.kind == "f" else a, b.astype(np.float64) if b.dtype.kind == "f" else b
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.subtract(*wide, dtype=np.float64))
        tolerated = (usual[1] if atol is None else atol) + (usual[0] if rtol is None else rtol) * np.abs(wide[1])
        close = (
            (np.isfinite(wide[1]) & (difference <= tolerated))
            | (wide[0] == wide[1])
            | ((wide[0] != wide[0]) & (wide[1] != wide[1]))
        )
    if close.all():
        return
    worst = np.unravel_index(np.argmax(np.where(close, -1.0, np.nan_to_num(difference, nan=np.inf))), a.shape)
    place = tuple(int(i) for i in worst)
    raise AssertionError(
        f"{int((~close).sum())} of {a.size} elements differ, most at {place}: {a[worst]}, expected {b[worst]} "
        f"(tolerated: {float(np.broadcast_to(tolerated, a.shape)[worst]):.3g})"
    )


def axes(ndim: int, min_size: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    """Some axes of a tensor with `ndim` of them, each once, counted from either end."""
    return hnp.valid_tuple_axes(ndim, min_size=min_size)


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of a few short axes."""
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
    """`count` tensors whose shapes broadcast together. `settings` are those of `tensors`."""
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=3))
    return [draw(tensors(shape, **settings)) for shape in drawn.input_shapes]


class Geometry(NamedTuple):
    """Images, and a window that fits into them. Sizes are (height, width)."""

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


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Any index that NumPy takes for an array of `shape`: numbers, slices, new axes, an ellipsis, and arrays of integers or
    bools, mixed."""
    result = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    parts: list[Any] = []
    axis = 0
    while axis < len(shape):
        kind = draw(st.sampled_from(["number", "slice", "slice", "integers", "bools", "new", "end"]))
        n = shape[axis]
        if kind == "end":
            break
        if kind == "new":
            parts.append(None)
            continue
        if kind == "bools":
            span = draw(st.integers(1, len(shape) - axis))
            mask = np.zeros(shape[axis : axis + span], bool)
            # as many as the other arrays can broadcast with
            chosen = draw(st.sampled_from([1, result[-1] if result else 1]))
            mask.reshape(-1)[draw(st.permutations(range(mask.size)))[:chosen]] = True
            if mask.sum() != chosen:
                continue
            parts.append(mask)
            axis += span
            continue
        if kind == "number" and n:
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "integers" and n:
            lengths = draw(st.sampled_from([result, result[-1:], (1,), ()]))
            parts.append(
                draw(hnp.arrays(draw(st.sampled_from([np.int64, np.int32, np.int8])), lengths, elements=st.integers(-n, n - 1)))
            )
        else:
            parts.append(draw(st.slices(n)))
        axis += 1
    if not any(p is Ellipsis for p in parts) and draw(st.booleans()):
        at = draw(st.integers(0, len(parts)))
        parts.insert(len(parts) if axis < len(shape) and at < len(parts) else at, Ellipsis)
    return tuple(parts)
