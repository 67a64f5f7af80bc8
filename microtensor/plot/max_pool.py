"""How max pooling works, forward and backward, window by window."""

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

SMALLEST = 0.22
"""Inches of a cell whose number can still be read."""


def max_pooling(image: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, gradient: Any = None) -> Figure:
    """Max pooling window by window, forward and backward, as one picture.

    Above, a copy of the image for each window, in the window's place: which pixels it sees, and which of them is the largest;
    then the result. Below, what each window does with the gradient that arrives at its place: all of it goes to the pixel that
    won, where windows that overlap add up; then the whole gradient of the image. The numbers are those of `nn.max_pool2d` and
    of its derivative.

    Args:
        image: one image (H, W), a tensor, an array or lists of numbers.
        kernel_size, stride, padding: as `nn.max_pool2d` takes them.
        gradient: what arrives at the result, (H', W'); 1, 2, 3 … row by row if None.

    Raises:
        TypeError: something is not of numbers.
        ValueError: shapes do not fit, a number is not finite, or there are so many cells that none could be read.

    >>> figure = max_pooling([[1, 5], [2, 3]], 1)
    """
    pooling = _traced(image, kernel_size, stride, padding, gradient)
    (rows, columns), (height, width) = pooling.result.shape, _extent(pooling)[1]
    beside = max(columns, width) + 1.5  # the result, or the image again, in cells
    cell = min(0.32, (WIDTH - 0.5) / (columns * (width + 0.9) + beside))
    if cell < SMALLEST:
        raise ValueError(
            f"max_pooling: {rows} × {columns} windows of an image of {height} × {width} pixels are more than 800 pixels can "
            "show; take a smaller image, or draw an animation: max_pooling_frames"
        )
    panel, title, head = height * cell, 0.42, 0.75  # inches
    block = head + rows * (panel + title)
    figure = new_figure(height=2 * block + 0.8, arranged=False)
    total = figure.get_figheight()
    for below in (False, True):
        top = total - 0.1 - below * (block + 0.2)
        words = (
            "backward: its gradient goes to the pixel that won; what meets there adds up"
            if below
            else "forward: each window looks for its largest number"
        )
        figure.text(0.25 / WIDTH, (top - 0.25) / total, words, fontsize=12, color=INK, va="center", weight="bold")
        for step, (i, j) in enumerate(pooling.steps):
            left = 0.25 + j * (width + 0.9) * cell
            axes = _panel(figure, left, top - head - i * (panel + title), width * cell, panel)
            if below:
                _draw_backward(axes, pooling, step, cell)
            else:
                _draw_forward(axes, pooling, step, cell)
        left = 0.25 + (columns * (width + 0.9) + 0.5) * cell
        if below:
            axes = _panel(figure, left, top - head, columns * cell, rows * cell)
            _cells(axes, pooling.gradient, cell, title="gradient that arrives")
            axes = _panel(figure, left, top - head - rows * cell - 0.6, width * cell, panel)
            _cells(axes, pooling.image_gradient, cell, bold=pooling.image_gradient != 0, title="gradient of the image")
            _frame(axes, pooling)
        else:
            axes = _panel(figure, left, top - head, width * cell, panel)
            _cells(axes, pooling.image, cell, title="image")
            _frame(axes, pooling)
            axes = _panel(figure, left, top - head - panel - 0.6, columns * cell, rows * cell)
            _cells(axes, pooling.result, cell, title="result")
    figure.text(0.25 / WIDTH, 0.2 / total, _legend(pooling), fontsize=11, color=INK, va="center")
    return figure


def max_pooling_frames(
    image: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, gradient: Any = None
) -> Iterator[Figure]:
    """The same as `max_pooling` shows, one window after the other: a figure for each, for `save_animation`.

    First forward, the result filling up; then backward, the gradient of the image adding up; at the end all of it.

    Args:
        image, kernel_size, stride, padding, gradient: as in `max_pooling`.

    Raises:
        TypeError, ValueError: as `max_pooling`.
    """
    pooling = _traced(image, kernel_size, stride, padding, gradient)
    (_, columns), (height, width) = pooling.result.shape, _extent(pooling)[1]
    cell = min(0.45, (WIDTH - 1.6) / (columns + width))
    if cell < SMALLEST:
        raise ValueError(f"max_pooling_frames: an image of {height} × {width} pixels is more than 800 pixels can show")
    count = len(pooling.steps)
    return (_frame_of(pooling, step, cell) for step in range(2 * count + 1))


def _frame_of(pooling: PoolingTrace, step: int, cell: float) -> Figure:
    """Forward for the first steps, one for each window; then backward; then nothing is pointed at."""
    count, (rows, columns), (height, width) = len(pooling.steps), pooling.result.shape, _extent(pooling)[1]
    panel = max(height, rows) * cell
    figure = new_figure(height=2 * panel + 2.6, arranged=False)
    total = figure.get_figheight()
    gap = (WIDTH - (width + columns) * cell) / 3
    places = [gap, 2 * gap + width * cell]
    forward, done = step < count, step >= 2 * count
    now = None if done else pooling.steps[step % count]
    tops = [total - 1.35, total - 1.35 - panel - 0.75]

    image = _panel(figure, places[0], tops[0], width * cell, height * cell)
    result = _panel(figure, places[1], tops[0], columns * cell, rows * cell)
    known = np.arange(count).reshape(rows, columns) <= (step if forward else count)
    _cells(image, pooling.image, cell, title="image")
    _cells(result, np.where(known, pooling.result, np.nan), cell, title="result")
    below = _panel(figure, places[0], tops[1], width * cell, height * cell)
    arriving = _panel(figure, places[1], tops[1], columns * cell, rows * cell)
    sofar = pooling.until(0 if forward else step - count + 1)
    _cells(below, sofar, cell, bold=sofar != 0, title="gradient of the image")
    _cells(arriving, pooling.gradient, cell, title="gradient that arrives")
    for axes in (image, below):
        _frame(axes, pooling)

    if now is None:
        words = "all windows are done: each pixel has the sum of what its windows gave it"
    elif forward:
        _window(image, pooling, *now)
        _mark(image, pooling.winners[now[0]][now[1]])
        _box(result, now[1], now[0], 1, 1, BLUE)
        words = (
            f"forward, window {now}: the largest is {number_text(pooling.result[now])}, at {pooling.winners[now[0]][now[1]]}"
        )
    else:
        _window(below, pooling, *now)
        _mark(below, pooling.winners[now[0]][now[1]])
        _box(arriving, now[1], now[0], 1, 1, BLUE)
        words = f"backward, window {now}: {pooling.sum(step - count)} at {pooling.winners[now[0]][now[1]]}"
    figure.text(0.5, (total - 0.4) / total, words, fontsize=13, color=INK, ha="center", va="center")
    figure.text(0.5, 0.25 / total, _legend(pooling), fontsize=11, color=INK, ha="center", va="center")
    return figure


def _traced(*arguments: Any) -> PoolingTrace:
    from ..nn.inspect.pooling import trace_max_pool  # layers stand above: they are asked when there is something to draw

    return trace_max_pool(*arguments)


def _legend(pooling: PoolingTrace) -> str:
    padded = any(pooling.before)
    return "blue frame: the window; filled: its largest number" + ("; ·: padding, which never wins" if padded else "")


# Drawing. Axes are in cells: column x lies between x and x + 1, row y between y and y + 1, downwards.


def _extent(pooling: PoolingTrace) -> tuple[tuple[int, int], tuple[int, int]]:
    """The upper left corner of the image with its padding, and its height and width."""
    (top, left), (height, width) = pooling.before, pooling.image.shape
    return (-top, -left), (height + 2 * top, width + 2 * left)


def _panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    total = figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, (top - height) / total, width / WIDTH, height / total), xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    return axes


def _cells(axes: Axes, numbers: Array, cell: float, bold: Any = False, title: str = "") -> None:
    """A grid with a number in each cell; none for nan."""
    height, width = numbers.shape
    axes.set(xlim=(0, width), ylim=(height, 0))
    for k in range(height + 1):
        axes.plot((0, width), (k, k), color="#bbbbbb", linewidth=0.8, clip_on=False, zorder=2)
    for k in range(width + 1):
        axes.plot((k, k), (0, height), color="#bbbbbb", linewidth=0.8, clip_on=False, zorder=2)
    for digits in (3, 2):
        longest = max((len(number_text(n, digits)) for n in numbers.reshape(-1) if np.isfinite(n)), default=1)
        size = min(13.0, cell * 72 * 0.58, cell * 72 / (0.3 + 0.6 * longest))
        if size >= 7:
            break
    if size < 6:
        raise ValueError(f"max_pooling: {longest} digits are more than a cell can show: round the numbers, or scale them")
    for (i, j), n in np.ndenumerate(numbers):
        if np.isfinite(n):
            strong = bool(np.broadcast_to(bold, numbers.shape)[i, j])
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


def _frame(axes: Axes, pooling: PoolingTrace) -> None:
    """Room for the padding around the image, with a dot in each of its cells."""
    (top, left), (height, width) = _extent(pooling)
    axes.set(xlim=(left, left + width), ylim=(top + height, top))
    rows, columns = pooling.image.shape
    for i in range(top, top + height):
        for j in range(left, left + width):
            if not (0 <= i < rows and 0 <= j < columns):
                axes.text(j + 0.5, i + 0.5, "·", ha="center", va="center", fontsize=11, color=FAINT)


def _box(axes: Axes, x: float, y: float, width: float, height: float, color: str, fill: bool = False) -> None:
    from matplotlib.patches import Rectangle

    looks: dict[str, Any] = {"facecolor": color, "alpha": 0.35, "linewidth": 0, "zorder": 1}
    line = {"fill": False, "edgecolor": color, "linewidth": 2.4, "clip_on": False, "zorder": 5}
    axes.add_patch(Rectangle((x, y), width, height, **(looks if fill else line)))


def _window(axes: Axes, pooling: PoolingTrace, i: int, j: int) -> None:
    (row, column), (height, width) = pooling.corner(i, j), pooling.window
    _box(axes, column, row, width, height, BLUE)


def _mark(axes: Axes, place: tuple[int, int]) -> None:
    _box(axes, place[1], place[0], 1, 1, VERMILION, fill=True)


def _draw_forward(axes: Axes, pooling: PoolingTrace, step: int, cell: float) -> None:
    i, j = pooling.steps[step]
    _cells(axes, pooling.image, cell, title=f"largest: {number_text(pooling.result[i, j])}")
    _frame(axes, pooling)
    _window(axes, pooling, i, j)
    _mark(axes, pooling.winners[i][j])


def _draw_backward(axes: Axes, pooling: PoolingTrace, step: int, cell: float) -> None:
    i, j = pooling.steps[step]
    sofar = pooling.until(step + 1)
    _cells(axes, sofar, cell, bold=sofar != 0, title=pooling.sum(step))
    _frame(axes, pooling)
    _window(axes, pooling, i, j)
    _mark(axes, pooling.winners[i][j])
