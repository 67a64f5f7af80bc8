"""The zip code network: LeCun, Boser, Denker, Henderson, Howard, Hubbard & Jackel 1989, Neural Computation 1(4).

"Backpropagation applied to handwritten zip code recognition": a convolutional network that learns all its kernels from pixels.

    input 16×16 → H1 12@8×8 → H2 12@4×4 → H3 30 → 10 scores

    layer    units   connections                parameters
    input      256
    H1         768   768 · (25 + 1) = 19,968    12 · 25 + 768 = 1,068
    H2         192   192 · (200 + 1) = 38,592   12 · 200 + 192 = 2,592
    H3          30   30 · (192 + 1) = 5,790     5,790
    output      10   10 · (30 + 1) = 310        310
    together 1,256   64,660                     9,760

The units of a feature map apply the same weights at different positions, so a feature is detected wherever it is in the image.
There is no pooling yet: the convolutions have stride 2. Biases are not shared yet: each unit has its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from microtensor import nn
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card
from .lenet import scaled_tanh

BACKGROUND = -1.0
"""The padding value, for the image and for H1. Images are scaled to −1 (paper) … 1 (ink)."""

H1_TABLE = ((0,),) * 12
"""For each map of H1, the input maps it is connected to: there is only one."""

H2_TABLE = tuple(tuple((first + i) % 12 for i in range(8)) for first in range(12))
"""For each map of H2, the maps of H1 it is connected to: 8 of 12. The paper does not give its choice. Here the selection is
shifted by one from map to map, so that no two are equal and each map of H1 is used by eight."""


class Maps(nn.Module):
    """A 5×5 convolution with stride 2 and one bias per unit: (N, C, 2·side, 2·side) → (N, maps, side, side).

    `weight` (maps, inputs, 5, 5) has the kernels of existing connections only; `forward` fills up the others with zeros. `bias`
    is (maps, side, side). Initial values are the paper's: weights uniform within ±2.4 / fan-in, biases 0.

    Args:
        channels: C, the number of input maps.
        table: for each output map, the input maps it is connected to; the same number for each.
        side: units along each side of a map.
    """

    def __init__(self, channels: int, table: Sequence[Sequence[int]], side: int) -> None:
        inputs = len(table[0])
        self.place = np.full((len(table), channels), inputs)  # index of each input map's kernel; `inputs`: of zeros
        for row, seen in zip(self.place, table):
            row[list(seen)] = range(inputs)
        self.weight = nn.Parameter(np.empty((len(table), inputs, 5, 5), np.float32))
        self.bias = nn.Parameter(np.zeros((len(table), side, side), np.float32))
        bound = 2.4 / (inputs * 25)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, 2·side, 2·side) → (N, maps, side, side)."""
        zeros = self.weight.constant(self.weight.xp.zeros_like(self.weight.array[:, :1]))
        kernels = cat([self.weight, zeros], dim=1)
        weight = kernels[np.arange(len(self.place))[:, None], self.place]  # (maps, C, 5, 5)
        return scaled_tanh(nn.conv2d(x.pad((2, 2, 2, 2), value=BACKGROUND), weight, stride=2) + self.bias)


class LeCun1989(nn.Module):
    """The network of section 3: (N, 1, 16, 16) → (N, num_classes) scores. 9,760 parameters for 10 classes.

    The activation of all units, the outputs too, is a scaled tanh, so scores are between −1.7159 and 1.7159. (The scale is from
    the paper of 1998; this one gives none.) The loss in the paper is the mean squared error: use targets of 1 for the right
    digit and −1 for the others.
    """

    def __init__(self, num_classes: int = 10) -> None:
        self.h1 = Maps(1, H1_TABLE, 8)
        self.h2 = Maps(12, H2_TABLE, 4)
        self.h3 = nn.Linear(12 * 4 * 4, 30)
        self.output = nn.Linear(30, num_classes)
        for layer in (self.h3, self.output):
            bound = 2.4 / layer.in_features
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, 16, 16) → (N, num_classes).

        Raises:
            ValueError: x has another shape.
        """
        if x.shape[1:] != (1, 16, 16):
            hint = "resize the digits: nn.interpolate(x, (16, 16), mode='bilinear')"
            raise ValueError(f"lecun_1989: expected x (N, 1, 16, 16), got shape {x.shape}; {hint}")
        x = self.h2(self.h1(x)).flatten(1)  # (N, 192)
        return scaled_tanh(self.output(scaled_tanh(self.h3(x))))


def lecun_1989(num_classes: int = 10) -> LeCun1989:
    """The zip code network of 1989: (N, 1, 16, 16) → (N, num_classes) scores. 9,760 parameters, 82,860 multiply-adds.

    Only 63,660 of them belong to existing connections; the others multiply by zero.

    >>> sum(p.numel() for p in lecun_1989().parameters())
    9760
    """
    return LeCun1989(num_classes)


CARDS = (
    Card(
        "lecun_1989",
        lecun_1989,
        year=1989,
        paper="LeCun et al.: Backpropagation applied to handwritten zip code recognition, Neural Computation 1(4)",
        idea="convolution kernels, shared over the whole image, are learned by backpropagation, from pixels to digits",
        input_shape=(1, 16, 16),
    ),
)
