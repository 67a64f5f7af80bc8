"""What max pooling does with each of its windows, forward and backward."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from microtensor.autograd.backward import grad
from microtensor.autograd.graph import Node
from microtensor.runtime.arrays import is_array, to_numpy
from microtensor.runtime.console import legible
from microtensor.runtime.text import kind_of, number_text, table
from microtensor.tensor import Tensor

from ..layers.pool import max_pool2d
from ..layers.pool_windows import pool_window


@legible
class PoolingTrace(NamedTuple):
    """The result of `trace_max_pool`: print it as a table, a line per window. All arrays are float64 on the host."""

    image: NDArray[Any]
    """(H, W)."""
    result: NDArray[Any]
    """(H', W')."""
    gradient: NDArray[Any]
    """(H', W'): the gradient of the result."""
    winners: list[list[tuple[int, int]]]
    """For each window, (row, column) of its first maximum."""
    shares: list[list[NDArray[Any]]]
    """For each window, its contribution to the gradient of the image, (H, W)."""
    image_gradient: NDArray[Any]
    """The gradient of the image, (H, W)."""
    window: tuple[int, int]
    """Its height and width."""
    stride: tuple[int, int]
    before: tuple[int, int]
    """Padding at the top and at the left."""

    @property
    def steps(self) -> list[tuple[int, int]]:
        """The windows, row by row."""
        return list(np.ndindex(*self.result.shape))

    def corner(self, i: int, j: int) -> tuple[int, int]:
        """(row, column) of a window's upper left pixel; negative in the padding."""
        return i * self.stride[0] - self.before[0], j * self.stride[1] - self.before[1]

    def until(self, step: int) -> NDArray[Any]:
        """The gradient of the image, (H, W), summed over this many windows."""
        return sum((self.shares[i][j] for i, j in self.steps[:step]), np.zeros_like(self.image))

    def sum(self, step: int) -> str:
        """How the contribution of one window is added to the gradient at its maximum: "3 + 1 = 4"."""
        i, j = self.steps[step]
        place = self.winners[i][j]
        before, share, after = (float(x[place]) for x in (self.until(step), self.shares[i][j], self.until(step + 1)))
        return f"{number_text(before)} {'−' if share < 0 else '+'} {number_text(abs(share))} = {number_text(after)}"

    def __str__(self) -> str:
        lines = []
        for step, (i, j) in enumerate(self.steps):
            texts = [number_text(self.result[i, j]), str(self.winners[i][j]), number_text(self.gradient[i, j]), self.sum(step)]
            lines.append([f"({i}, {j})", *texts])
        return table(["window", "largest", "at", "gradient", "adds up to"], lines)


def trace_max_pool(image: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, gradient: Any = None) -> PoolingTrace:
    """Max pooling window by window: where the maximum is, and what the backward pass adds to the gradient there.

    All numbers come from `nn.max_pool2d` and its derivative: the contribution of a window is the gradient of the image for the
    gradient of this window alone. `plot.max_pooling` and `plot.max_pooling_frames` draw it.

    Args:
        image: one image (H, W), a tensor, an array or lists of numbers.
        kernel_size, stride, padding: as of `nn.max_pool2d`; stride None: the kernel size.
        gradient: of the result, (H', W'); None: 1, 2, 3 … row by row.

    Raises:
        TypeError: image or gradient are not of numbers, or a setting is no integer.
        ValueError: shapes do not fit, an element is not finite, or the window is larger than the padded image.

    >>> print(trace_max_pool([[2, 4, 8], [9, 3, 4]], 2, stride=1, gradient=[[5, 6]]))
    window  largest      at  gradient  adds up to
    ─────────────────────────────────────────────
    (0, 0)        9  (1, 0)         5   0 + 5 = 5
    (0, 1)        8  (0, 2)         6   0 + 6 = 6
    """
    window = pool_window("trace_max_pool", kernel_size, stride, padding)
    x = Tensor(_numbers("image", image)[None, None], requires_grad=True)
    y, places = max_pool2d(x, kernel_size, stride, padding, return_indices=True)
    rows, columns = y.shape[2:]
    counted = np.arange(1.0, rows * columns + 1).reshape(rows, columns)
    output_gradient = counted if gradient is None else _numbers("gradient", gradient)
    if output_gradient.shape != (rows, columns):
        raise ValueError(
            f"trace_max_pool: gradient must be of the shape of the result, {(rows, columns)}, got {output_gradient.shape}"
        )

    def at_image(g: NDArray[Any]) -> NDArray[Any]:
        (found,) = grad(y, x, Tensor(g[None, None], device=y.device), retain_graph=True)
        return to_numpy(found.array)[0, 0]

    single = [
        at_image(np.where(np.arange(output_gradient.size).reshape(output_gradient.shape) == k, output_gradient, 0))
        for k in range(output_gradient.size)
    ]
    return PoolingTrace(
        image=to_numpy(x.array)[0, 0],
        result=to_numpy(y.array)[0, 0],
        gradient=output_gradient,
        winners=[[divmod(int(place), x.shape[3]) for place in row] for row in to_numpy(places.array)[0, 0]],
        shares=[single[i : i + columns] for i in range(0, output_gradient.size, columns)],
        image_gradient=at_image(output_gradient),
        window=window.kernel,
        stride=window.stride,
        before=(window.padding[0][0], window.padding[1][0]),
    )


def _numbers(what: str, value: Any) -> NDArray[Any]:
    if isinstance(value, Node):
        value = value.array
    try:
        array = to_numpy(value) if is_array(value) else np.asarray(value)
    except ValueError:  # lists of unequal length
        raise ValueError(f"trace_max_pool: the rows of {what} must be of one length, got {value!r}") from None
    if array.dtype.kind not in "iuf":
        given = kind_of(value) if array.dtype.kind == "O" else array.dtype
        raise TypeError(f"trace_max_pool: {what} must be numbers, got {given}")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"trace_max_pool: {what} must be (H, W), neither of them 0, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"trace_max_pool: {what} has numbers that are infinite or nan")
    return array.astype(np.float64)
