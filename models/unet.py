"""U-Net: Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional networks for biomedical image segmentation", arXiv 1505.04597.

    image ─ 64 ──────────────────────── copied ────────────────────────(cat)─ 64 ─→ 1×1: scores of each pixel
             ↓                                                           ↑
            128 ───────────────────────────────────────────────────────(cat)─ 128
               ↓                                                       ↑
              256 ───────────────────────────────────────────────────(cat)─ 256
                 ↓                                                   ↑
                512 ───────────────────────────────────────────────(cat)─ 512
                   ↓                                               ↑
                    └──────────────────── 1024 ────────────────────┘

    each number: two 3×3 convolutions with this number of output channels, each followed by ReLU
    ↓ 2×2 max pooling      ↑ a 2×2 transposed convolution with stride 2, to half the channels

The contracting path (down) captures what is in the image, the expanding path (up) locates it. Each level of the expanding path
is concatenated with the feature maps of the same size from the contracting path, and has as many channels. The network learns
from few images.

`unet_2015` is the network as published: without padding, each 3×3 convolution loses a pixel on each side, and 572×572 pixels
give scores for the 388×388 in their middle. `unet` is the network as it is used now: with padding, and scores for all pixels.
"""

from __future__ import annotations

import math
from itertools import pairwise

from microtensor import nn
from microtensor.ops.join import cat
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .card import Card

WIDTHS = (1, 2, 4, 8, 16)
"""Channels of each level, top to bottom, as multiples of `base`: figure 1 has base 64."""

DROPOUT_LEVELS = 2
"""The lowest levels of the contracting path, which end in dropout (section 3.1; the paper's Caffe files show which)."""


def two_convolutions(in_channels: int, channels: int, padding: int) -> nn.Sequential:
    """3×3, ReLU, 3×3, ReLU: (N, in_channels, H, W) → (N, channels, H', W'), 4 pixels less per axis if unpadded."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=padding),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=padding),
        nn.ReLU(),
    )


def middle(x: Tensor, like: Tensor) -> Tensor:
    """Crop the middle of x to the size of `like`; an odd pixel is removed at the end."""
    top, left = ((n - m) // 2 for n, m in zip(x.shape[2:], like.shape[2:]))
    height, width = like.shape[2:]
    return x[:, :, top : top + height, left : left + width]


class UNet(nn.Module):
    """Four levels down, four levels up: (N, in_channels, H, W) → (N, classes, H, W) logits, or 184 pixels less if unpadded.

    Initial weights are N(0, 2 / n), where n is the number of inputs of a unit (section 3: He et al. 2015), biases 0.

    Args:
        in_channels: of the images.
        classes: number of scores per pixel.
        base: channels of the first level; those below have 2, 4, 8 and 16 times as many.
        padded: whether convolutions keep the size. If not, copied feature maps are cropped to their middle, as in the paper.
        dropout: dropout probability at the end of the contracting path; 0.5 in the paper's files.

    Raises:
        TypeError, ValueError: in_channels, classes or base is not an integer of 1 or more; dropout is not a probability.

    >>> unet = UNet(in_channels=3, classes=5, base=4)
    >>> unet(Tensor([[[[0.0] * 32] * 16] * 3])).shape
    (1, 5, 16, 32)
    """

    def __init__(
        self, in_channels: int = 1, classes: int = 2, base: int = 64, padded: bool = True, dropout: float = 0.0
    ) -> None:
        for name, number in (("in_channels", in_channels), ("classes", classes), ("base", base)):
            as_integer("UNet", name, number, least=1)
        self.in_channels, self.padded = in_channels, padded
        padding = 1 if padded else 0
        channels = [base * width for width in WIDTHS]
        with nn.init.skipped():  # initialised below
            self.down = nn.ModuleList(two_convolutions(n, m, padding) for n, m in pairwise([in_channels, *channels]))
            self.pool = nn.MaxPool2d(2)
            self.dropout = nn.Dropout(dropout)
            upwards = [*pairwise(reversed(channels))]
            self.up = nn.ModuleList(nn.ConvTranspose2d(n, m, 2, stride=2) for n, m in upwards)
            self.merge = nn.ModuleList(two_convolutions(n, m, padding) for n, m in upwards)  # half of the n channels are copied
            self.score = nn.Conv2d(base, classes, 1)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, H, W) → (N, classes, H, W), or (N, classes, H − 184, W − 184) if unpadded.

        Raises:
            ValueError: x has another number of channels; H or W is not a multiple of 16, so that max pooling would drop a row
                or column (section 2); or if unpadded, not 16 n + 188.
        """
        self._check(x)
        copied = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(x if level == 0 else self.pool(x))
            if level >= len(WIDTHS) - DROPOUT_LEVELS:
                x = self.dropout(x)
            copied.append(x)
        x = copied.pop()
        for up, convolutions in zip(self.up, self.merge):
            x = up(x)
            x = convolutions(cat([middle(copied.pop(), x), x], dim=1))
        return self.score(x)

    def _check(self, x: Tensor) -> None:
        least = 16 if self.padded else 188
        if x.ndim == 4 and x.shape[1] == self.in_channels and all(n >= least and (n - least) % 16 == 0 for n in x.shape[2:]):
            return
        sizes = "multiples of 16" if self.padded else "of 188, 204, 220, … pixels: 16 n + 188"
        hint = ""
        if x.ndim == 4 and x.shape[1] == self.in_channels:
            height, width = (least + 16 * max(math.ceil((n - least) / 16), 0) for n in x.shape[2:])
            hint = f"; pad it to {height}×{width}: x.pad((0, {width - x.shape[3]}, 0, {height - x.shape[2]}))"
        raise ValueError(f"UNet: expected x (N, {self.in_channels}, H, W), H and W {sizes}, got shape {x.shape}{hint}")


def initialise(layer: nn.Module) -> None:
    """Initial weights: see `UNet`."""
    if isinstance(layer, nn.ConvTranspose2d):  # 2×2 with stride 2: each output pixel has one term per channel
        nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_channels))
    elif isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def unet(in_channels: int = 1, classes: int = 2, base: int = 64, padded: bool = True, dropout: float = 0.0) -> UNet:
    """U-Net as it is used now: (N, in_channels, H, W) → (N, classes, H, W) logits, H and W multiples of 16.

    31,030,658 parameters, 192,384,335,872 multiply-adds for 512×512 pixels.

    Each further class adds 65 parameters, each further input channel 576.

    >>> with nn.init.skipped():
    ...     model = unet()
    >>> sum(p.numel() for p in model.parameters())
    31030658
    """
    return UNet(in_channels, classes, base, padded, dropout)


def unet_2015(in_channels: int = 1, classes: int = 2) -> UNet:
    """U-Net as published: (N, 1, 572, 572) → (N, 2, 388, 388) logits. 31,030,658 parameters, as `unet`.

    150,428,424,448 multiply-adds. Dropout at the end of the contracting path.

    For scores of a whole image, mirror it by 92 pixels on each side first (section 2, figure 2):
    `x.pad((92, 92, 92, 92), mode="reflect")`.

    (A count of 31,031,685 is often quoted: it is that of a popular version with another 3×3 convolution and a single score.)
    """
    return UNet(in_channels, classes, base=64, padded=False, dropout=0.5)


_PAPER = "Ronneberger, Fischer, Brox: U-Net: Convolutional networks for biomedical image segmentation, arXiv 1505.04597"

CARDS = (
    Card(
        "unet_2015",
        unet_2015,
        2015,
        _PAPER,
        "a contracting and an expanding path, with feature maps copied across: learns from few images",
        (1, 572, 572),
    ),
    Card("unet", unet, 2015, _PAPER, "U-Net with padded convolutions: scores for all pixels", (1, 512, 512)),
)
