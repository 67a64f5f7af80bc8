"""ZFNet: Zeiler & Fergus 2013, "Visualizing and understanding convolutional networks", arXiv 1311.2901.

    image 3×224×224 → 96@110² → pool 55² → 256@26² → pool 13² → 384@13² → 384@13² → 256@13² → pool 6²
    → 9216 → 4096 → 4096 → 1000 scores

AlexNet, looked into: deconvolution showed what excites each map, and its first layer to be coarse and half dead. Kernels of 7×7
instead of 11×11, 2 pixels apart instead of 4, repair that (section 4.1); the two halves of convolutions 3 to 5 became one.
"""

from __future__ import annotations

from typing import NamedTuple

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card


class ZFNetLayer(NamedTuple):
    """A convolution and its ReLU, then what follows: the maximum of 3×3 places, 2 apart, and normalisation across maps."""

    maps: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    pooled: bool = False
    normalised: bool = False


TABLE = (
    ZFNetLayer(96, 7, stride=2, padding=1, pooled=True, normalised=True),
    ZFNetLayer(256, 5, stride=2, pooled=True, normalised=True),
    ZFNetLayer(384, 3, padding=1),
    ZFNetLayer(384, 3, padding=1),
    ZFNetLayer(256, 3, padding=1, pooled=True),
)
"""Figure 3. Its sizes fix what it does not say: a padding of 1 in the first layer, and pools that go up to the border."""


class ZFNet(nn.Module):
    """ZFNet: (N, 3, 224, 224) → (N, num_classes) logits.

    Weights start from N(0, 0.01²), biases from 0; dropout follows the two hidden linear layers (section 3).

    | layer | kernels | output | parameters |
    |---|---|---|---|
    | 1 | 96 of 7×7×3, stride 2, padding 1 | 96×110×110, pooled 55×55 | 96 · (147 + 1) = 14,208 |
    | 2 | 256 of 5×5×96, stride 2 | 256×26×26, pooled 13×13 | 256 · (2,400 + 1) = 614,656 |
    | 3 | 384 of 3×3×256, padding 1 | 384×13×13 | 384 · (2,304 + 1) = 885,120 |
    | 4 | 384 of 3×3×384, padding 1 | 384×13×13 | 384 · (3,456 + 1) = 1,327,488 |
    | 5 | 256 of 3×3×384, padding 1 | 256×13×13, pooled 6×6 | 256 · (3,456 + 1) = 884,992 |
    | 6 | | 4,096 | 4,096 · (9,216 + 1) = 37,752,832 |
    | 7 | | 4,096 | 4,096 · (4,096 + 1) = 16,781,312 |
    | 8 | | 1,000 | 1,000 · (4,096 + 1) = 4,097,000 |

    Args:
        num_classes: how many scores it gives.
        dropout: the probability to leave a number out after the first two linear layers.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        with nn.init.skipped():  # drawn once, below
            layers: list[nn.Module] = []
            channels = 3
            for row in TABLE:
                layers += [nn.Conv2d(channels, row.maps, row.kernel_size, row.stride, row.padding), nn.ReLU()]
                if row.pooled:
                    layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
                if row.normalised:  # AlexNet's
                    layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
                channels = row.maps
            self.features = nn.Sequential(*layers)
            self.classifier = nn.Sequential(
                nn.Linear(channels * 6 * 6, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        for parameter in self.parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, 224, 224) → (N, num_classes).

        Raises:
            ValueError: x has another shape.
        """
        if x.shape[1:] != (3, 224, 224):
            raise ValueError(f"zfnet: expected x (N, 3, 224, 224), got shape {x.shape}; resize the images")
        return self.classifier(self.features(x).flatten(1))


def zfnet(num_classes: int = 1000, dropout: float = 0.5) -> ZFNet:
    """ZFNet: (N, 3, 224, 224) → (N, num_classes) logits. 62,357,608 parameters, 1,168,032,896 multiply-adds.

    >>> with nn.init.skipped():
    ...     model = zfnet()
    >>> sum(p.numel() for p in model.parameters())
    62357608
    """
    return ZFNet(num_classes, dropout)


CARDS = (
    Card(
        "zfnet",
        zfnet,
        year=2013,
        paper="Zeiler, Fergus: Visualizing and understanding convolutional networks, arXiv 1311.2901",
        idea="design by looking: what excites each map, shown in the image, says which kernels and strides to change",
        input_shape=(3, 224, 224),
    ),
)
