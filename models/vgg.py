"""VGG: Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", arXiv 1409.1556.

    image 3×224×224 → stages of 3×3 convolutions, each followed by 2×2 max pooling → 512×7×7 → 4096 → 4096 → 1000 scores

    stage         1         2         3         4         5
    convolutions  64@224²   128@112²  256@56²   512@28²   512@14²    one to four of them, each followed by ReLU
    pooled        64@112²   128@56²   256@28²   512@14²   512@7²

Only 3×3 kernels, in many layers: two in a row have a receptive field of 5×5 pixels, three of 7×7, with fewer weights than one
large kernel and a ReLU after each (section 2.3). Names and order of layers are torchvision's, also of the variants with batch
normalisation, `_bn`.
"""

from __future__ import annotations

from collections.abc import Sequence

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card

MAPS = (64, 128, 256, 512, 512)
"""Output channels of the convolutions in each of the five stages (table 1)."""

CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Number of layers with weights → convolutions per stage: columns A, B, D and E of table 1. Three more are linear."""


class VGG(nn.Module):
    """Five stages of 3×3 convolutions, then three linear layers: (N, 3, H, W) → (N, num_classes) logits.

    The paper's images have 224×224 pixels, the minimum is 32×32: feature maps of other sizes are average-pooled to 7×7.

    Initial weights are torchvision's: N(0, 2 / (9 · maps)) for convolutions (He et al. 2015, equation 14, arXiv 1502.01852),
    N(0, 0.01²) for linear layers, biases 0. The paper has N(0, 0.1²) for all weights, and initialises deeper networks
    with the layers of a trained VGG-11 (section 3.1).

    Args:
        convolutions: number of convolutions in each stage, an entry of `CONVOLUTIONS`.
        batch_norm: whether each convolution is followed by batch normalisation.
        num_classes: number of scores.
        dropout: dropout probability after the first two linear layers.

    Raises:
        ValueError: `convolutions` does not have five elements.
    """

    def __init__(
        self, convolutions: Sequence[int], batch_norm: bool = False, num_classes: int = 1000, dropout: float = 0.5
    ) -> None:
        if len(convolutions) != len(MAPS):
            raise ValueError(f"VGG: expected the number of convolutions of each of {len(MAPS)} stages, got {convolutions}")
        with nn.init.skipped():  # initialised below
            layers: list[nn.Module] = []
            channels = 3
            for maps, count in zip(MAPS, convolutions):
                for _ in range(count):
                    layers.append(nn.Conv2d(channels, maps, 3, padding=1))
                    layers += [nn.BatchNorm2d(maps)] if batch_norm else []
                    layers.append(nn.ReLU())
                    channels = maps
                layers.append(nn.MaxPool2d(2))
            self.features = nn.Sequential(*layers)
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                nn.Linear(channels * 7 * 7, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) → (N, num_classes)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def initialise(layer: nn.Module) -> None:
    """Initial weights: see `VGG`."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
    if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def vgg11(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """VGG-11, column A: (N, 3, 224, 224) → (N, num_classes) logits. 132,863,336 parameters, 7,609,090,048 multiply-adds.

    >>> with nn.init.skipped():
    ...     model = vgg11()
    >>> sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.features.parameters())
    (132863336, 9220480)
    """
    return VGG(CONVOLUTIONS[11], num_classes=num_classes, dropout=dropout)


def vgg13(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """VGG-13, column B: (N, 3, 224, 224) → (N, num_classes) logits. 133,047,848 parameters, 11,308,466,176 multiply-adds."""
    return VGG(CONVOLUTIONS[13], num_classes=num_classes, dropout=dropout)


def vgg16(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """VGG-16, column D: (N, 3, 224, 224) → (N, num_classes) logits. 138,357,544 parameters, 15,470,264,320 multiply-adds.

    The convolutions have 14.7 million of the parameters and do 99 % of the work; the first linear layer has 102.8 million. With
    2 classes it has 134,268,738.
    """
    return VGG(CONVOLUTIONS[16], num_classes=num_classes, dropout=dropout)


def vgg19(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """VGG-19, column E: (N, 3, 224, 224) → (N, num_classes) logits. 143,667,240 parameters, 19,632,062,464 multiply-adds."""
    return VGG(CONVOLUTIONS[19], num_classes=num_classes, dropout=dropout)


def vgg11_bn(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """`vgg11` with batch normalisation after each convolution: 132,868,840 parameters, as many multiply-adds."""
    return VGG(CONVOLUTIONS[11], batch_norm=True, num_classes=num_classes, dropout=dropout)


def vgg13_bn(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """`vgg13` with batch normalisation after each convolution: 133,053,736 parameters, as many multiply-adds."""
    return VGG(CONVOLUTIONS[13], batch_norm=True, num_classes=num_classes, dropout=dropout)


def vgg16_bn(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """`vgg16` with batch normalisation after each convolution: 138,365,992 parameters, as many multiply-adds."""
    return VGG(CONVOLUTIONS[16], batch_norm=True, num_classes=num_classes, dropout=dropout)


def vgg19_bn(num_classes: int = 1000, dropout: float = 0.5) -> VGG:
    """`vgg19` with batch normalisation after each convolution: 143,678,248 parameters, as many multiply-adds."""
    return VGG(CONVOLUTIONS[19], batch_norm=True, num_classes=num_classes, dropout=dropout)


PAPER = "Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition, arXiv 1409.1556"
NORMALISED = f"{PAPER}; with Ioffe, Szegedy: Batch normalization, arXiv 1502.03167"
IDEA = "only 3×3 convolutions, in many layers: small kernels in a row see as much as a large one, with fewer weights"
IDEA_BN = "batch normalisation after each convolution: deep networks train from random weights"

CARDS = (
    Card("vgg11", vgg11, year=2014, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("vgg13", vgg13, year=2014, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("vgg16", vgg16, year=2014, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("vgg19", vgg19, year=2014, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("vgg11_bn", vgg11_bn, year=2015, paper=NORMALISED, idea=IDEA_BN, input_shape=(3, 224, 224)),
    Card("vgg13_bn", vgg13_bn, year=2015, paper=NORMALISED, idea=IDEA_BN, input_shape=(3, 224, 224)),
    Card("vgg16_bn", vgg16_bn, year=2015, paper=NORMALISED, idea=IDEA_BN, input_shape=(3, 224, 224)),
    Card("vgg19_bn", vgg19_bn, year=2015, paper=NORMALISED, idea=IDEA_BN, input_shape=(3, 224, 224)),
)
