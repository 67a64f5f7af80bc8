"""Max pooling window by window, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.text import number_text
from .style import BLUE, FAINT, INK, VERMILION, WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..nn.inspect.pooling import PoolingTrace

    Array = np.ndarray[Any, Any]

MIN_CELL = 0.22
"""The smallest cell in inches in which a number can be read."""


def max_pooling(image: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, gradient: Any = None) -> Figure:
    """Max pooling window by window, forward and backward, in one figure.

    Above, a copy of the image for each window, at the window's position, with the window and its maximum marked; then the
    result. Below, how each window passes its gradient to the pixel that was its maximum, where the gradients of overlapping
    windows add up; then the gradient of the image. The values are those of `nn.max_pool2d` and of its derivative.

    Args:
        image: one image (H, W), a tensor, an array or lists of numbers.
        kernel_size, stride, padding: as in `nn.max_pool2d`.
        gradient: the gradient of the result, (H', W'); None: 1, 2, 3, … row by row.

    Raises:
        TypeError: an argument does not hold numbers.
        ValueError: shapes do not match, a value is infinite or nan, or there are too many cells to be read.

    >>> figure = max_pooling([[1, 5], [2, 3]], 1)
    """
    pooling = _traced(image, kernel_size, stride, padding, gradient)
    (rows, columns), (height, width) = pooling.result.shape, _extent(pooling)[1]
    beside = max(columns, width) + 1.5  # cells: for the result, or the whole image
    cell = min(0.32, (WIDTH - 0.5) / (columns * (width + 0.9) + beside))
    if cell < MIN_CELL:
        raise ValueError(
            f"max_pooling: {rows} × {columns} windows of an image of {height} × {width} pixels are too many for a "
            "figure; take a smaller image, or draw an animation: max_pooling_frames"
        )
    figure = new_figure(height=2 * (HEAD + rows * (height * cell + TITLE)) + 0.8, arranged=False)
    middle = figure.get_figheight() - 0.1 - (HEAD + rows * (height * cell + TITLE)) - 0.2
    _draw_half(figure, pooling, cell, top=figure.get_figheight() - 0.1, backward=False)
    _draw_half(figure, pooling, cell, top=middle, backward=True)
    figure.text(0.25 / WIDTH, 0.2 / figure.get_figheight(), _legend(pooling), fontsize=11, color=INK, va="center")
    return figure


HEAD, TITLE = 0.75, 0.42
"""Inches: for the heading of a half, and for the title above each copy of the image."""


def _draw_half(figure: Figure, pooling: PoolingTrace, cell: float, top: float, backward: bool) -> None:
    """The forward or the backward pass: a copy of the image for each window, and on the right the arrays themselves."""
    (rows, columns), (height, width) = pooling.result.shape, _extent(pooling)[1]
    panel, left = height * cell, 0.25
    heading = (
        "backward: each gradient goes to the maximum of its window; they add up"
        if backward
        else "forward: each window returns its maximum"
    )
    y = (top - 0.25) / figure.get_figheight()
    figure.text(left / WIDTH, y, heading, fontsize=12, color=INK, va="center", weight="bold")
    for step, (i, j) in enumerate(pooling.steps):
        corner = left + j * (width + 0.9) * cell, top - HEAD - i * (panel + TITLE)
        axes = _panel(figure, *corner, width * cell, panel)
        (_draw_backward if backward else _draw_forward)(axes, pooling, step, cell)
    left += (columns * (width + 0.9) + 0.5) * cell
    if backward:
        axes = _panel(figure, left, top - HEAD, columns * cell, rows * cell)
        _draw_cells(axes, pooling.gradient, cell, title="gradient of the result")
        axes = _panel(figure, left, top - HEAD - rows * cell - 0.6, width * cell, panel)
        _draw_cells(axes, pooling.image_gradient, cell, bold=pooling.image_gradient != 0, title="gradient of the image")
        _show_padding(axes, pooling)
    else:
        axes = _panel(figure, left, top - HEAD, width * cell, panel)
        _draw_cells(axes, pooling.image, cell, title="image")
        _show_padding(axes, pooling)
        axes = _panel(figure, left, top - HEAD - panel - 0.6, columns * cell, rows * cell)
        _draw_cells(axes, pooling.result, cell, title="result")


def max_pooling_frames(
    image: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, gradient: Any = None
) -> Iterator[Figure]:
    """`max_pooling` as an animation: a figure for each window, for `save_animation`.

    First the forward pass, which fills the result; then the backward pass, which adds up the gradient of the image; then the
    end.

    Args:
        image, kernel_size, stride, padding, gradient: as in `max_pooling`.

    Raises:
        TypeError, ValueError: as `max_pooling`.
    """
    pooling = _traced(image, kernel_size, stride, padding, gradient)
    (_, columns), (height, width) = pooling.result.shape, _extent(pooling)[1]
    cell = min(0.45, (WIDTH - 1.6) / (columns + width))
    if cell < MIN_CELL:
        raise ValueError(f"max_pooling_frames: an image of {height} × {width} pixels is too large for a figure")
    count = len(pooling.steps)
    return (_animation_frame(pooling, step, cell) for step in range(2 * count + 1))


def _animation_frame(pooling: PoolingTrace, step: int, cell: float) -> Figure:
    """A frame: the forward pass in the first steps, one per window; then the backward pass; then all without marks."""
    count, (rows, columns), (height, width) = len(pooling.steps), pooling.result.shape, _extent(pooling)[1]
    panel = max(height, rows) * cell
    figure = new_figure(height=2 * panel + 2.6, arranged=False)
    total = figure.get_figheight()
    gap = (WIDTH - (width + columns) * cell) / 3
    places = [gap, 2 * gap + width * cell]
    forward, done = step < count, step >= 2 * count
    current = None if done else pooling.steps[step % count]
    tops = [total - 1.35, total - 1.35 - panel - 0.75]

    image = _panel(figure, places[0], tops[0], width * cell, height * cell)
    result = _panel(figure, places[1], tops[0], columns * cell, rows * cell)
    computed = np.arange(count).reshape(rows, columns) <= (step if forward else count)
    _draw_cells(image, pooling.image, cell, title="image")
    _draw_cells(result, np.where(computed, pooling.result, np.nan), cell, title="result")
    of_image = _panel(figure, places[0], tops[1], width * cell, height * cell)
    of_result = _panel(figure, places[1], tops[1], columns * cell, rows * cell)
    so_far = pooling.until(0 if forward else step - count + 1)
    _draw_cells(of_image, so_far, cell, bold=so_far != 0, title="gradient of the image")
    _draw_cells(of_result, pooling.gradient, cell, title="gradient of the result")
    for axes in (image, of_image):
        _show_padding(axes, pooling)

    text = "all windows done: each pixel has the sum of the gradients from its windows"
    if current is not None:
        marked, other = (image, result) if forward else (of_image, of_result)
        maximum = pooling.winners[current[0]][current[1]]
        _window(marked, pooling, *current)
        _mark(marked, maximum)
        _box(other, current[1], current[0], 1, 1, BLUE)
        if forward:
            text = f"forward, window {current}: the maximum is {number_text(pooling.result[current])}, at {maximum}"
        else:
            text = f"backward, window {current}: {pooling.sum(step - count)} at {maximum}"
    figure.text(0.5, (total - 0.4) / total, text, fontsize=13, color=INK, ha="center", va="center")
    figure.text(0.5, 0.25 / total, _legend(pooling), fontsize=11, color=INK, ha="center", va="center")
    return figure


def _traced(*arguments: Any) -> PoolingTrace:
    """The values of every window."""
    from ..nn.inspect.pooling import trace_max_pool

    return trace_max_pool(*arguments)


def _legend(pooling: PoolingTrace) -> str:
    """The legend at the bottom of a figure."""
    padded = any(pooling.before)
    return "blue frame: the window; filled: its maximum" + ("; ·: padding, which is never the maximum" if padded else "")


# Drawing. Axes are in cells: column x lies between x and x + 1, row y between y and y + 1, downwards.


def _extent(pooling: PoolingTrace) -> tuple[tuple[int, int], tuple[int, int]]:
    """The upper left corner of the padded image, and its height and width."""
    (top, left), (height, width) = pooling.before, pooling.image.shape
    return (-top, -left), (height + 2 * top, width + 2 * left)


def _panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without ticks at a position in inches; their units are cells."""
    total = figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, (top - height) / total, width / WIDTH, height / total), xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    return axes


def _draw_cells(axes: Axes, values: Array, cell: float, bold: Any = False, title: str = "") -> None:
    """A grid with a value in each cell; nan leaves it empty."""
    height, width = values.shape
    axes.set(xlim=(0, width), ylim=(height, 0))
    for k in range(height + 1):
        axes.plot((0, width), (k, k), color="#bbbbbb", linewidth=0.8, clip_on=False, zorder=2)
    for k in range(width + 1):
        axes.plot((k, k), (0, height), color="#bbbbbb", linewidth=0.8, clip_on=False, zorder=2)
    for digits in (3, 2):
        longest = max((len(number_text(n, digits)) for n in values.reshape(-1) if np.isfinite(n)), default=1)
        size = min(13.0, cell * 72 * 0.58, cell * 72 / (0.3 + 0.6 * longest))
        if size >= 7:
            break
    if size < 6:
        raise ValueError(f"max_pooling: {longest} digits do not fit a cell: round the values, or scale them")
    for (i, j), n in np.ndenumerate(values):
        if np.isfinite(n):
            strong = bool(np.broadcast_to(bold, values.shape)[i, j])
            color = INK if n or not np.any(bold) else FAINT
            weight = "bold" if strong else "normal"
            axes.text(
                j + 0.5,
                i + 0.52,
                number_text(n, digits),
                ha="center",
                va="center",
                fontsize=size,
                color=color,
                weight=weight,
                zorder=4,
            )
    if title:
        axes.set_title(title, fontsize=11, color=INK, pad=4, loc="left")


def _show_padding(axes: Axes, pooling: PoolingTrace) -> None:
    """Extend the axes to the padding around the image, with a dot in each of its cells."""
    (top, left), (height, width) = _extent(pooling)
    axes.set(xlim=(left, left + width), ylim=(top + height, top))
    rows, columns = pooling.image.shape
    for i in range(top, top + height):
        for j in range(left, left + width):
            if not (0 <= i < rows and 0 <= j < columns):
                axes.text(j + 0.5, i + 0.5, "·", ha="center", va="center", fontsize=11, color=FAINT)


def _box(axes: Axes, x: float, y: float, width: float, height: float, color: str, fill: bool = False) -> None:
    """The outline of cells, or their filled area."""
    from matplotlib.patches import Rectangle

    face: dict[str, Any] = {"facecolor": color, "alpha": 0.35, "linewidth": 0, "zorder": 1}
    line = {"fill": False, "edgecolor": color, "linewidth": 2.4, "clip_on": False, "zorder": 5}
    axes.add_patch(Rectangle((x, y), width, height, **(face if fill else line)))


def _window(axes: Axes, pooling: PoolingTrace, i: int, j: int) -> None:
    """The outline of window (i, j)."""
    (row, column), (height, width) = pooling.corner(i, j), pooling.window
    _box(axes, column, row, width, height, BLUE)


def _mark(axes: Axes, place: tuple[int, int]) -> None:
    """Fill the cell of the maximum."""
    _box(axes, place[1], place[0], 1, 1, VERMILION, fill=True)


def _draw_forward(axes: Axes, pooling: PoolingTrace, step: int, cell: float) -> None:
    """The image, with a window and its maximum."""
    i, j = pooling.steps[step]
    _draw_cells(axes, pooling.image, cell, title=f"maximum: {number_text(pooling.result[i, j])}")
    _show_padding(axes, pooling)
    _window(axes, pooling, i, j)
    _mark(axes, pooling.winners[i][j])


def _draw_backward(axes: Axes, pooling: PoolingTrace, step: int, cell: float) -> None:
    """The gradient of the image after this window, with the window and its maximum."""
    i, j = pooling.steps[step]
    so_far = pooling.until(step + 1)
    _draw_cells(axes, so_far, cell, bold=so_far != 0, title=pooling.sum(step))
    _show_padding(axes, pooling)
    _window(axes, pooling, i, j)
    _mark(axes, pooling.winners[i][j])
