"""Convolution on arrays: one matrix product per group of channels, on columns.

Every window of the images is laid out as a column (Chellapilla, Puri & Simard 2006, "High performance convolutional neural
networks for document processing", section 4), of as many images at a time as the cache holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microtensor.backend import Array, array_module
from microtensor.nn.layers.windows import Window

COLUMN_BYTES = 1 << 20
"""Memory for the columns of one matrix product: about what a core's cache holds. Measured, see benchmarks."""


def forward(x: Array, weight: Array, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw) → (N, O, H', W')."""
    (n, channels, *size), kernels = x.shape, len(weight)
    weight = weight.reshape(groups, kernels // groups, -1)  # (G, O/G, C/G · kh · kw)
    if window == Window((1, 1)):  # an image is its own columns
        pixels = x.reshape(n, groups, channels // groups, size[0] * size[1])
        return (weight @ pixels).reshape(n, kernels, *size)
    columns = _Columns(x, n, channels, size, window, groups)
    y = array_module(x).empty((n, groups, kernels // groups, *columns.places), x.dtype)
    for part in columns.parts(n):
        y[part] = columns.crop(weight @ columns.unfold(x[part]))
    return y.reshape(n, kernels, *columns.places)


def to_input(g: Array, weight: Array, window: Window, groups: int, size: Sequence[int]) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw) → (N, C, *size)."""
    (n, kernels), channels = g.shape[:2], groups * weight.shape[1]
    (top, bottom), (left, right) = window.padding
    rest = (
        (window.reach[0] - 1 - top, window.reach[0] - 1 - bottom),
        (window.reach[1] - 1 - left, window.reach[1] - 1 - right),
    )
    grouped = weight.reshape(groups, kernels // groups, *weight.shape[1:])
    if window.stride == (1, 1) and min(rest[0] + rest[1]) >= 0:  # a convolution itself, with the kernels turned round
        turned = grouped.swapaxes(1, 2)[..., ::-1, ::-1].reshape(channels, kernels // groups, *window.kernel)
        turned = array_module(g).ascontiguousarray(turned)  # BLAS reads no row backward
        return forward(g, turned, window._replace(padding=rest), groups)
    transposed = grouped.reshape(groups, kernels // groups, -1).swapaxes(1, 2)  # (G, C/G · kh · kw, O/G)
    columns = _Columns(g, n, channels, size, window, groups)
    x = array_module(g).empty((n, channels, *size), g.dtype)
    for part in columns.parts(n):
        x[part] = columns.fold(transposed @ _by_group(g[part], groups), size)
    return x


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    (n, channels, *size), kernels = x.shape, g.shape[1]
    columns = _Columns(x, n, channels, size, window, groups)
    total = array_module(x).zeros((groups, kernels // groups, columns.height // groups), x.dtype)
    for part in columns.parts(n):
        total += columns.spread(g[part]) @ columns.unfold(x[part]).swapaxes(1, 2)
    return total.reshape(kernels, channels // groups, *window.kernel)


def _by_group(g: Array, groups: int) -> Array:
    """(n, O, H', W') → (G, O/G, n · H' · W')."""
    n, kernels = g.shape[:2]
    return g.reshape(n, groups, kernels // groups, -1).transpose(1, 2, 0, 3).reshape(groups, kernels // groups, -1)


class _Columns:
    """Images unfolded, a part of the batch at a time, into memory that is used again.

    For stride 1 the places are all pixels of H' whole padded rows: each element of the kernel then sees one run of memory,
    and copying that is much faster than copying row by row. What is computed at the end of each row, where the window hangs
    over, is cropped.
    """

    def __init__(self, like: Array, images: int, channels: int, size: Sequence[int], window: Window, groups: int) -> None:
        self.window, self.groups, self.channels = window, groups, channels
        self.places = window.places("conv2d", size)
        self.padded_size = window.padded(size)
        self.flat = window.stride == (1, 1)
        self.row = self.padded_size[1] if self.flat else self.places[1]
        self.height = channels * window.kernel[0] * window.kernel[1]
        each = self.height * self.places[0] * self.row * like.itemsize
        self.step = min(max(1, COLUMN_BYTES // max(each, 1)), max(images, 1))
        xp = array_module(like)
        overhang = window.reach[1] - 1
        self.padded = xp.zeros(self.step * channels * self.padded_size[0] * self.padded_size[1] + overhang, like.dtype)
        self.columns = xp.empty(self.height * self.step * self.places[0] * self.row, like.dtype)

    def parts(self, images: int) -> Iterator[slice]:
        """The batch cut into parts whose columns fill `COLUMN_BYTES`."""
        return (slice(i, min(i + self.step, images)) for i in range(0, images, self.step))

    def unfold(self, x: Array) -> Array:
        """(n, C, H, W) → (G, C/G · kh · kw, n · H' · row)."""
        n, (height, width) = len(x), self.padded_size
        padded = self.padded[: n * self.channels * height * width].reshape(n, self.channels, height, width)
        self.window.crop(padded)[...] = x
        (kh, kw), (sh, sw), (dh, dw), item = self.window.kernel, self.window.stride, self.window.dilation, x.itemsize
        plane = height * width
        shape: tuple[int, ...] = (self.channels, kh, kw, n, self.places[0] * self.row)
        strides: tuple[int, ...] = (plane, dh * width, dw, self.channels * plane, 1)
        if not self.flat:
            shape, strides = (*shape[:4], *self.places), (*strides[:4], sh * width, sw)
        windows = array_module(x).lib.stride_tricks.as_strided(self.padded, shape, [item * stride for stride in strides])
        columns = self.columns[: windows.size].reshape(shape)
        columns[...] = windows
        return columns.reshape(self.groups, self.height // self.groups, -1)

    def crop(self, product: Array) -> Array:
        """(G, O/G, n · H' · row) → (n, G, O/G, H', W'), a view."""
        grid = product.reshape(*product.shape[:2], -1, self.places[0], self.row)
        return grid[..., : self.places[1]].transpose(2, 0, 1, 3, 4)

    def spread(self, g: Array) -> Array:
        """The adjoint of `crop`: (n, O, H', W') → (G, O/G, n · H' · row), with zeros where the window hangs over."""
        n, kernels = g.shape[:2]
        grid = array_module(g).zeros((self.groups, kernels // self.groups, n, self.places[0], self.row), g.dtype)
        grid[..., : self.places[1]] = g.reshape(n, self.groups, -1, *self.places).transpose(1, 2, 0, 3, 4)
        return grid.reshape(self.groups, kernels // self.groups, -1)

    def fold(self, columns: Array, size: Sequence[int]) -> Array:
        """The adjoint of `unfold` for any stride: (G, C/G · kh · kw, n · H' · W') → (n, C, H, W)."""
        columns = columns.reshape(self.channels, *self.window.kernel, -1, *self.places)
        padded = self.window.blank(columns, columns.shape[3], self.channels, size)
        for i, j, view in self.window.taps(padded, self.places):
            view += columns[:, i, j].swapaxes(0, 1)
        return self.window.crop(padded)
