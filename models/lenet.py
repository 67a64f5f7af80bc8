"""LeNet-5: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition", Proc. IEEE 86(11).

    input 28×28, padded by 2 → C1 6@28×28 → S2 6@14×14 → C3 16@10×10 → S4 16@5×5 → C5 120 → F6 84 → 10 scores

Convolutions, whose small kernels are shared over the whole image, alternate with subsampling: still the basic design today.
`lenet5` is LeNet-5 as it is taught now; `lenet5_1998` is the network of section II.B, with parts that are no longer used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from microtensor.nn import init
from microtensor.nn.containers import Sequential
from microtensor.nn.layers.activation import ReLU
from microtensor.nn.layers.conv import Conv2d, conv2d
from microtensor.nn.layers.linear import Flatten, Linear
from microtensor.nn.layers.pool import MaxPool2d, avg_pool2d
from microtensor.nn.module import Buffer, Module, Parameter
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card


class LeNet5(Module):
    """LeNet-5 with ReLU, max pooling and a dense C3: (N, 1, 28, 28) → (N, num_classes). 61,706 parameters for 10 classes.

    | layer | kernels | output | parameters |
    |---|---|---|---|
    | C1 | 6 of 5×5×1, padding 2 | 6×28×28 | 6 · (25 + 1) = 156 |
    | S2 | maximum of 2×2 | 6×14×14 | 0 |
    | C3 | 16 of 5×5×6 | 16×10×10 | 16 · (150 + 1) = 2,416 |
    | S4 | maximum of 2×2 | 16×5×5 | 0 |
    | C5 | 120 of 5×5×16, as a linear layer | 120 | 120 · (400 + 1) = 48,120 |
    | F6 | | 84 | 84 · (120 + 1) = 10,164 |
    | output | | 10 | 10 · (84 + 1) = 850 |
    """

    def __init__(self, num_classes: int = 10) -> None:
        self.features = Sequential(
            Conv2d(1, 6, 5, padding=2),
            ReLU(),
            MaxPool2d(2),
            Conv2d(6, 16, 5),
            ReLU(),
            MaxPool2d(2),
        )
        self.classifier = Sequential(
            Flatten(),
            Linear(16 * 5 * 5, 120),
            ReLU(),
            Linear(120, 84),
            ReLU(),
            Linear(84, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def lenet5(num_classes: int = 10) -> LeNet5:
    """LeNet-5 as it is taught now: (N, 1, 28, 28) → (N, num_classes) logits. 61,706 parameters, 416,520 multiply-adds.

    >>> sum(p.array.size for p in lenet5().parameters())
    61706
    """
    return LeNet5(num_classes)


C3_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip
"""Table I: for each map of C3, the maps of S2 it is connected to. 60 of 96 pairs: fewer weights, and different inputs for
each."""

CODES = """
 ..###.. ...#... .#####. #######  ....##. #######  ..####. #######  .#####. .#####.
 .#...#. ..##... #.....# .....#.  ...#.#. #......  .#..... ......#  #.....# #.....#
 #.....# .###... ......# ....#..  ...#.#. #......  #...... .....#.  #.....# #.....#
 #.....# ...#... ......# ...#...  ..#..#. #......  #...... .....#.  #.....# #.....#
 #.....# ...#... .....#. ..###..  ..#..#. #.####.  #.####. ....#..  .#...#. #.....#
 #.....# ...#... ....#.. .....#.  .#...#. ##....#  ##....# ....#..  ..###.. .#...##
 #.....# ...#... ...#... ......#  .#...#. ......#  #.....# ...#...  .#...#. ..###.#
 #.....# ...#... ..#.... ......#  #######  ......#  #.....# ...#...  #.....# ......#
 #.....# ...#... .#..... ......#  .....#. ......#  #.....# ..#....  #.....# ......#
 .#...#. ...#... #...... #.....#  .....#. #.....#  #.....# ..#....  #.....# .....#.
 ..###.. .#####. ####### .#####.  .....#. .#####.  .#####. .#.....  .#####. .####..
 ....... ....... ....... .......  ....... .......  ....... .......  ....... .......
"""
"""The digits as bitmaps of 7×12 pixels, in the style of the paper's figure 3 (which is too small to copy)."""


def digit_codes() -> np.ndarray[Any, Any]:
    """The target of each digit: (10, 84), +1 where its bitmap has ink and −1 elsewhere."""
    rows = [line.split() for line in CODES.strip().splitlines()]
    ink = np.array([[list(digit) for digit in row] for row in rows]) == "#"  # (12 rows, 10 digits, 7 columns)
    return np.where(ink.transpose(1, 0, 2).reshape(10, 84), 1.0, -1.0).astype(np.float32)


def scaled_tanh(x: Tensor) -> Tensor:
    """1.7159 · tanh(⅔ x). It maps ±1 to ±1, where its curvature is largest (appendix A)."""
    return 1.7159 * (x * (2 / 3)).tanh()


class Subsampling(Module):
    """The sum of each 2×2 block, with a learned scale and bias per map, then tanh: (N, C, H, W) → (N, C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        self.weight = Parameter(np.empty((channels, 1, 1), np.float32))
        self.bias = Parameter(np.zeros((channels, 1, 1), np.float32))
        init.uniform_(self.weight, -2.4 / 4, 2.4 / 4)

    def forward(self, x: Tensor) -> Tensor:
        return scaled_tanh(avg_pool2d(x, 2) * (4 * self.weight) + self.bias)


class SparseConv2d(Module):
    """A convolution whose output maps are connected only to the inputs in `table`: (N, C, H, W) → (N, len(table), H', W').

    Weights are stored for existing connections only, (connections, k, k); `forward` fills up the others with zeros.
    """

    def __init__(self, channels: int, table: Any, kernel_size: int) -> None:
        connections = sum(len(maps) for maps in table)
        self.place = np.full((len(table), channels), connections)  # row `connections` is the kernel of zeros
        number = 0
        for kernel, maps in enumerate(table):
            self.place[kernel, list(maps)] = range(number, number + len(maps))
            number += len(maps)
        self.weight = Parameter(np.empty((connections, kernel_size, kernel_size), np.float32))
        self.bias = Parameter(np.zeros(len(table), np.float32))
        for kernel, maps in enumerate(table):
            fan_in = len(maps) * kernel_size**2
            bound = 2.4 / fan_in
            self.weight.array[self.place[kernel, list(maps)]] = init.uniform_(
                Tensor(np.empty((len(maps), kernel_size, kernel_size), np.float32)), -bound, bound
            ).array

    def forward(self, x: Tensor) -> Tensor:
        zeros = self.weight.constant(self.weight.xp.zeros_like(self.weight.array[:1]))
        weight = cat([self.weight, zeros])[self.place]  # (kernels, channels, k, k)
        return conv2d(x, weight, self.bias)


class LeNet5Of1998(Module):
    """LeNet-5 of 1998: (N, 1, 32, 32) → (N, 10) scores. 60,000 parameters.

    No longer used today: subsampling with weights, the sparse connections of C3, scaled tanh, and an output that is a distance
    rather than a product (radial basis functions). Each digit has a fixed bitmap of 7×12 = 84 pixels, which F6 learns to
    output. The paper's penalty is yᵢ = Σⱼ (f6ⱼ − codeᵢⱼ)² (equation 7); here it has a minus sign, so that the largest score
    wins.

    Pad a 28×28 digit by 2 with the value of its background; in the paper, that is −0.1, and ink is 1.175.

    | layer | parameters |
    |---|---|
    | C1, 6 of 5×5 | 156 |
    | S2 | 6 · 2 = 12 |
    | C3, 60 connections of 5×5 and 16 biases | 1,516 |
    | S4 | 16 · 2 = 32 |
    | C5, 120 of 5×5×16 | 48,120 |
    | F6 | 10,164 |
    """

    def __init__(self) -> None:
        self.c1 = Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = SparseConv2d(6, C3_TABLE, 5)
        self.s4 = Subsampling(16)
        self.c5 = Conv2d(16, 120, 5)
        self.f6 = Linear(120, 84)
        self.codes = Buffer(digit_codes())
        for layer in (self.c1, self.c5, self.f6):  # as in the paper: uniform within ±2.4 / fan-in (appendix A)
            bound = 2.4 / (layer.weight.array.size // layer.weight.shape[0])
            init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (1, 32, 32):
            hint = "pad 28×28 digits: x.pad((2, 2, 2, 2), value=-0.1)"
            raise ValueError(f"lenet5_1998: expected x (N, 1, 32, 32), got shape {x.shape}; {hint}")
        x = self.s2(scaled_tanh(self.c1(x)))  # (N, 6, 14, 14)
        x = self.s4(scaled_tanh(self.c3(x)))  # (N, 16, 5, 5)
        x = scaled_tanh(self.c5(x)).flatten(1)  # (N, 120)
        bitmap = scaled_tanh(self.f6(x)).unsqueeze(1)  # (N, 1, 84)
        return -((bitmap - self.codes) ** 2).sum(dim=2)


def lenet5_1998() -> LeNet5Of1998:
    """LeNet-5 as published: (N, 1, 32, 32) → (N, 10) scores. 60,000 parameters.

    >>> sum(p.array.size for p in lenet5_1998().parameters())
    60000
    """
    return LeNet5Of1998()


PAPER = "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86(11)"

CARDS = (
    Card(
        "lenet5_1998",
        lenet5_1998,
        year=1998,
        paper=PAPER,
        idea="convolution and subsampling in turn, trained end to end: more maps and fewer pixels from layer to layer",
        input_shape=(1, 32, 32),
    ),
    Card(
        "lenet5",
        lenet5,
        year=1998,
        paper=PAPER,
        idea="LeNet-5 as it is taught now: ReLU, max pooling, all maps connected",
        input_shape=(1, 28, 28),
    ),
)
