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

The units of a map look at different places with the same weights, so that what is learned at one place is known at all. There
is no pooling yet: kernels move by two pixels instead. And biases are not shared yet: each unit has one of its own.
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
"""What lies beyond the border, in the image and in H1. Images are scaled to −1 (paper) … 1 (ink)."""

H1_TABLE = ((0,),) * 12
"""The maps of the input, of which there is one, that each map of H1 sees."""

H2_TABLE = tuple(tuple((first + i) % 12 for i in range(8)) for first in range(12))
"""The maps of H1 that each map of H2 sees: 8 of 12. The paper keeps its choice to itself; here the window moves on by one, so
that no two maps see the same and each map of H1 is seen by eight."""


class Maps(nn.Module):
    """Maps of units that share 5×5 kernels, 2 pixels apart, but no biases: (N, C, 2·side, 2·side) → (N, maps, side, side).

    `weight` (maps, inputs, 5, 5) has kernels for connections that exist, spread over zeros for the product; `bias` is
    (maps, side, side). They start as in the paper: uniform within ±2.4 / fan-in, and at 0.

    Args:
        channels: C, the number of input maps.
        table: which of them each map sees; as many for each.
        side: units along each side of a map.
    """

    def __init__(self, channels: int, table: Sequence[Sequence[int]], side: int) -> None:
        inputs = len(table[0])
        self.place = np.full((len(table), channels), inputs)  # of each input map's kernel; number `inputs` is all zeros
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

    Every unit ends in a scaled hyperbolic tangent, the outputs too, so scores lie between −1.7159 and 1.7159. (The scale is
    that of 1998; this paper gives none.) The paper trains by the mean squared difference from targets: take 1 for the right
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

    They are 63,660 along the connections that exist; the others are multiplied too, with zeros.

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
        idea="kernels shared over the whole image are learned by backpropagation, from pixels to digits",
        input_shape=(1, 16, 16),
    ),
)
