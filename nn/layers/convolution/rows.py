"""Convolution of stride 1 on arrays: columns along the kernel's rows alone.

Of an image of w columns, each moved by a pixel, kw copies are made (rather than kh · kw): the matrix of all the kernel's rows,
(kh · O, C · kw), times these gives kh results, of which each is moved by a row of the image, and all are added up. That is
fewer copies for more additions, and pays where there are few kernels and the images are wide. Measured.
"""

from __future__ import annotations

from microtensor.backend import Array, array_module
from microtensor.nn.layers.convolution.bands import BYTES, Bands, Part, strided
from microtensor.nn.layers.windows import Window


def forward(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """(N, C, H, W), (O, C, kh, kw), (O,) → (N, O, H', W')."""
    xp, kernels, (kh, _) = array_module(x), len(weight), window.kernel
    lines = _Lines(x, window)
    matrix = weight.transpose(2, 0, 1, 3).reshape(kh * kernels, -1)  # (kh · O, C · kw)
    y = xp.empty((len(x), kernels, *lines.places), x.dtype)

    def work(memory: tuple[Array, Array], part: Part) -> None:
        copies = lines.unfold(memory, x, part)
        moved = (matrix @ copies).reshape(kh, kernels, copies.shape[1])
        total = moved[0]
        for i in range(1, kh):
            ahead = i * window.dilation[0] * lines.width
            total[:, :-ahead] += moved[i, :, ahead:]
        result = lines.crop(total, part)
        if bias is None:
            y[part.images, :, part.rows] = result
        else:
            xp.add(result, bias[:, None, None], out=y[part.images, :, part.rows])

    lines.share(lines.memory, work)
    return y


def to_weight(x: Array, g: Array, window: Window) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C, kh, kw)."""
    (kh, kw), kernels, channels = window.kernel, g.shape[1], x.shape[1]
    lines = _Lines(x, window, kh * kernels * channels * kw * x.itemsize)

    def work(memory: tuple[Array, Array], part: Part, total: Array) -> None:
        copies = lines.unfold(memory, x, part)
        total += lines.spread(g, part, copies.shape[1]) @ copies.T

    total = lines.total((kh * kernels, channels * kw), lines.memory, work)
    return array_module(x).ascontiguousarray(total.reshape(kh, kernels, channels, kw).transpose(1, 2, 0, 3))


class _Lines(Bands):
    """A part of the batch with all images of a channel in one line, padded row by row."""

    def __init__(self, x: Array, window: Window, bytes_: int = 0) -> None:
        channels, kw = x.shape[1], window.kernel[1]
        width = window.padded(x.shape[2:])[1]
        super().__init__(
            x, len(x), channels, x.shape[2:], window, channels * kw * width, max(BYTES // 2, bytes_), window.reach[1] - 1
        )

    def memory(self) -> tuple[Array, Array]:
        """For the padded images of a part, and for their copies."""
        return self.blank(), self.xp.empty(
            self.channels * self.window.kernel[1] * self.step * self.height * self.width, self.dtype
        )

    def unfold(self, memory: tuple[Array, Array], x: Array, part: Part) -> Array:
        """A part of (N, C, H, W) → (C · kw, step · height · width): images that the last part lacks are those of another."""
        padded, copies = memory
        length, kw = self.step * self.height * self.width, self.window.kernel[1]
        images = padded[: self.channels * length].reshape(self.channels, self.step, self.height, self.width)
        self.load(images[:, : part.images.stop - part.images.start].swapaxes(0, 1), x, part)
        windows = strided(padded, (self.channels, kw, length), (length, self.window.dilation[1], 1))
        copies.reshape(windows.shape)[...] = windows
        return copies.reshape(-1, length)

    def crop(self, lines: Array, part: Part) -> Array:
        """(O, step · height · width) → (n, O, rows, W'), a view."""
        n, rows = part.images.stop - part.images.start, part.rows.stop - part.rows.start
        grid = lines.reshape(len(lines), self.step, self.height, self.width)
        return grid[:, :n, :rows, : self.places[1]].swapaxes(0, 1)

    def spread(self, g: Array, part: Part, length: int) -> Array:
        """The adjoint of `crop`, moved by a row of the image for each row of the kernel: → (kh · O, step · height · width)."""
        (kh, _), kernels = self.window.kernel, g.shape[1]
        moved = self.xp.zeros((kh, kernels, length), g.dtype)
        self.crop(moved[0], part)[...] = g[part.images, :, part.rows]
        for i in range(1, kh):
            ahead = i * self.window.dilation[0] * self.width
            moved[i, :, ahead:] = moved[0, :, :-ahead]
        return moved.reshape(kh * kernels, length)
