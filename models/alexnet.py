"""AlexNet, twice: as it won ImageNet in 2012, and in one column, of 2014, as torchvision has it.

    2012    Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 25
            image 3×227×227 → 96@55² → pool 27² → 256@27² → pool 13² → 384@13² → 384@13² → 256@13² → pool 6²
            → 9216 → 4096 → 4096 → 1000 scores
    2014    Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997
            image 3×224×224 → 64@55² → pool 27² → 192@27² → pool 13² → 384@13² → 256@13² → 256@13² → pool 6²
            → 9216 → 4096 → 4096 → 1000 scores

LeNet's plan, large: rectifiers that do not saturate, dropout, a million images and two graphics cards. The network of 2012 is
cut in two for the cards, with groups in convolutions 2, 4 and 5, and normalises responses across maps; that of 2014 does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card


class AlexNetLayer(NamedTuple):
    """A convolution and its ReLU, then what follows: normalisation across maps, the maximum of 3×3 places, 2 apart."""

    maps: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    normalised: bool = False
    pooled: bool = False


TABLE_2012 = (
    AlexNetLayer(96, 11, stride=4, normalised=True, pooled=True),
    AlexNetLayer(256, 5, padding=2, groups=2, normalised=True, pooled=True),
    AlexNetLayer(384, 3, padding=1),
    AlexNetLayer(384, 3, padding=1, groups=2),
    AlexNetLayer(256, 3, padding=1, groups=2, pooled=True),
)
"""Section 3.5 and figure 2, which shows the two cards' halves of the maps one above the other."""

TABLE_2014 = (
    AlexNetLayer(64, 11, stride=4, padding=2, pooled=True),
    AlexNetLayer(192, 5, padding=2, pooled=True),
    AlexNetLayer(384, 3, padding=1),
    AlexNetLayer(256, 3, padding=1),
    AlexNetLayer(256, 3, padding=1, pooled=True),
)
"""One column instead of two, and without normalisation: that of the author's published program, and so of the weights in use.
The paper, in footnote 1, has 384 maps in the fourth row."""

BIASES_2012 = (0, 1, 0, 1, 1, 1, 1, 0)
"""What the biases of the eight layers start from: section 5. With 1, rectifiers begin where they have a gradient."""


def features(table: Sequence[AlexNetLayer]) -> nn.Sequential:
    """The layers of a table: (N, 3, H, W) → (N, maps, H', W')."""
    layers: list[nn.Module] = []
    channels = 3
    for row in table:
        layers.append(nn.Conv2d(channels, row.maps, row.kernel_size, row.stride, row.padding, groups=row.groups))
        layers.append(nn.ReLU())
        if row.normalised:  # the paper's n 5, α 1e-4, β 0.75, k 2; its α multiplies the sum of five squares, ours their mean
            layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
        if row.pooled:
            layers.append(nn.MaxPool2d(3, stride=2))
        channels = row.maps
    return nn.Sequential(*layers)


class AlexNet(nn.Module):
    """AlexNet of 2014, with torchvision's names: (N, 3, H, W) → (N, num_classes) logits.

    The paper's images have 224×224 pixels. Others are averaged to 6×6 after the convolutions; the least is 63×63.
    Initial weights are those of the layers, as in torchvision.

    Args:
        num_classes: how many scores it gives.
        dropout: the probability to leave a number out before the first two linear layers.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        self.features = features(TABLE_2014)
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) → (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class AlexNetOf2012(nn.Module):
    """AlexNet of 2012: (N, 3, 227, 227) → (N, num_classes) logits.

    The paper says 224×224, but its 55×55 maps come of 227: (227 − 11) / 4 + 1 = 55. Its pools overlap (section 3.4), dropout
    follows the two hidden linear layers (section 4.2), weights start from N(0, 0.01²), biases from `BIASES_2012` (section 5).

    | layer | kernels | output | parameters |
    |---|---|---|---|
    | 1 | 96 of 11×11×3, stride 4 | 96×55×55, pooled 27×27 | 96 · (363 + 1) = 34,944 |
    | 2 | 2 · 128 of 5×5×48, padding 2 | 256×27×27, pooled 13×13 | 256 · (1,200 + 1) = 307,456 |
    | 3 | 384 of 3×3×256, padding 1 | 384×13×13 | 384 · (2,304 + 1) = 885,120 |
    | 4 | 2 · 192 of 3×3×192, padding 1 | 384×13×13 | 384 · (1,728 + 1) = 663,936 |
    | 5 | 2 · 128 of 3×3×192, padding 1 | 256×13×13, pooled 6×6 | 256 · (1,728 + 1) = 442,624 |
    | 6 | | 4,096 | 4,096 · (9,216 + 1) = 37,752,832 |
    | 7 | | 4,096 | 4,096 · (4,096 + 1) = 16,781,312 |
    | 8 | | 1,000 | 1,000 · (4,096 + 1) = 4,097,000 |

    Args:
        num_classes: how many scores it gives.
        dropout: the probability to leave a number out after the first two linear layers.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        with nn.init.skipped():  # drawn once, below
            self.features = features(TABLE_2012)
            self.classifier = nn.Sequential(
                nn.Linear(256 * 6 * 6, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        learned = [layer for layer in self.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
        for layer, bias in zip(learned, BIASES_2012, strict=True):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, 227, 227) → (N, num_classes).

        Raises:
            ValueError: x has another shape.
        """
        if x.shape[1:] != (3, 227, 227):
            hint = "for other sizes, resize the images or use alexnet"
            raise ValueError(f"alexnet_2012: expected x (N, 3, 227, 227), got shape {x.shape}; {hint}")
        return self.classifier(self.features(x).flatten(1))


def alexnet(num_classes: int = 1000, dropout: float = 0.5) -> AlexNet:
    """AlexNet of 2014: (N, 3, 224, 224) → (N, num_classes) logits. 61,100,840 parameters, 714,188,480 multiply-adds.

    >>> with nn.init.skipped():
    ...     model = alexnet()
    >>> sum(p.numel() for p in model.parameters())
    61100840
    """
    return AlexNet(num_classes, dropout)


def alexnet_2012(num_classes: int = 1000, dropout: float = 0.5) -> AlexNetOf2012:
    """AlexNet of 2012: (N, 3, 227, 227) → (N, num_classes) logits. 60,965,224 parameters, 724,406,816 multiply-adds.

    >>> with nn.init.skipped():
    ...     model = alexnet_2012()
    >>> sum(p.numel() for p in model.parameters())
    60965224
    """
    return AlexNetOf2012(num_classes, dropout)


CARDS = (
    Card(
        "alexnet_2012",
        alexnet_2012,
        year=2012,
        paper="Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, NIPS 25",
        idea="a deep convolutional network at full scale: ReLU, dropout, overlapping pools, trained on graphics cards",
        input_shape=(3, 227, 227),
    ),
    Card(
        "alexnet",
        alexnet,
        year=2014,
        paper="Krizhevsky: One weird trick for parallelizing convolutional neural networks, arXiv 1404.5997",
        idea="AlexNet in one column, without normalisation: cards share the batch in convolutions, the units in linear layers",
        input_shape=(3, 224, 224),
    ),
)
