"""Rearranging elements: pixel shuffle (channels to pixels) and its inverse, channel shuffle."""

from __future__ import annotations

from microtensor.autograd.arguments import composed
from microtensor.autograd.graph import T
from microtensor.ops.shape import permute, reshape, transpose
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module


@composed
def pixel_shuffle(x: T, upscale_factor: int) -> T:
    """r² channels become a square of r × r pixels: (…, C · r², H, W) → (…, C, H · r, W · r).

    Pixel (h · r + i, w · r + j) of channel c is pixel (h, w) of channel c · r² + i · r + j: a convolution at low resolution
    followed by it gives an image of high resolution (Shi et al. 2016, section 2.2, arxiv.org/abs/1609.05158).

    Raises:
        TypeError: x is no tensor, or the factor no integer.
        ValueError: x has fewer than 3 axes, the factor is less than 1, or r² does not divide the channels.

    >>> pixel_shuffle(Tensor([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]), 2)
    Tensor([[[1., 2.],
             [3., 4.]]])
    """
    r = as_integer("pixel_shuffle", "upscale_factor", upscale_factor, least=1)
    *batch, channels, height, width = _image("pixel_shuffle", x)
    if channels % (r * r):
        raise ValueError(f"pixel_shuffle: the {channels} channels of x {x.shape} are no multiple of {r}² = {r * r}")
    n, c = len(batch), channels // (r * r)
    split = reshape(x, (*batch, c, r, r, height, width))
    pixels = permute(split, (*range(n), n, n + 3, n + 1, n + 4, n + 2))  # (…, C, H, r, W, r)
    return reshape(pixels, (*batch, c, height * r, width * r))


@composed
def pixel_unshuffle(x: T, downscale_factor: int) -> T:
    """Each square of r × r pixels becomes r² channels: (…, C, H · r, W · r) → (…, C · r², H, W). Inverts `pixel_shuffle`.

    Raises:
        TypeError: x is no tensor, or the factor no integer.
        ValueError: x has fewer than 3 axes, the factor is less than 1, or r does not divide height and width.

    >>> pixel_unshuffle(Tensor([[[1.0, 2.0], [3.0, 4.0]]]), 2).shape
    (4, 1, 1)
    """
    r = as_integer("pixel_unshuffle", "downscale_factor", downscale_factor, least=1)
    *batch, channels, height, width = _image("pixel_unshuffle", x)
    if height % r or width % r:
        raise ValueError(f"pixel_unshuffle: the {height} × {width} pixels of x {x.shape} are no multiple of {r}")
    n = len(batch)
    split = reshape(x, (*batch, channels, height // r, r, width // r, r))
    squares = permute(split, (*range(n), n, n + 2, n + 4, n + 1, n + 3))  # (…, C, r, r, H, W)
    return reshape(squares, (*batch, channels * r * r, height // r, width // r))


@composed
def channel_shuffle(x: T, groups: int) -> T:
    """Reorder channels: the first of each of g groups, then the second of each, …: (N, C, …) → the same shape.

    Between two grouped convolutions it lets each group see all groups of the first (Zhang et al. 2018, section 3.1,
    arxiv.org/abs/1707.01083).

    Raises:
        TypeError: x is no tensor, or `groups` no integer.
        ValueError: x has fewer than 3 axes, or `groups` does not divide the channels, or is less than 1.

    >>> channel_shuffle(Tensor([[[1.0], [2.0], [3.0], [4.0]]]), 2).flatten()
    Tensor([1., 3., 2., 4.])
    """
    g = as_integer("channel_shuffle", "groups", groups, least=1)
    if x.ndim < 3 or x.shape[1] % g:
        raise ValueError(f"channel_shuffle: expected x (N, C, …) with a multiple of {g} channels, got shape {x.shape}")
    grouped = reshape(x, (x.shape[0], g, x.shape[1] // g, *x.shape[2:]))
    return reshape(transpose(grouped, 1, 2), x.shape)


def _image(name: str, x: T) -> tuple[int, ...]:
    if x.ndim < 3:
        raise ValueError(f"{name}: expected x of 3 axes or more (…, C, H, W), got shape {x.shape}")
    return x.shape


class PixelShuffle(Module):
    """`pixel_shuffle` as a layer: (N, C · r², H, W) → (N, C, H · r, W · r)."""

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = as_integer("PixelShuffle", "upscale_factor", upscale_factor, least=1)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """`pixel_unshuffle` as a layer: (N, C, H · r, W · r) → (N, C · r², H, W)."""

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = as_integer("PixelUnshuffle", "downscale_factor", downscale_factor, least=1)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """`channel_shuffle` as a layer: (N, C, …) → the same shape."""

    def __init__(self, groups: int) -> None:
        self.groups = as_integer("ChannelShuffle", "groups", groups, least=1)

    def forward(self, x: Tensor) -> Tensor:
        return channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
