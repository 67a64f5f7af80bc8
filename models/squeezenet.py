"""SqueezeNet: Iandola et al. 2016, "AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", arXiv 1602.07360.

    3×224×224 → 7×7, 96, stride 2 → eight fire modules, with three 3×3 max poolings, stride 2, in between
              → 1×1, num_classes → global average pooling: the scores

A fire module reduces its input to few channels with a 1×1 convolution (squeeze), then applies 1×1 and 3×3 convolutions in
parallel (expand):

    x ── 1×1, few – ReLU ──┬── 1×1 – ReLU ──(concatenate)──→
                           └── 3×3 – ReLU ────────┘

So most kernels are 1×1, and 3×3 kernels have few input channels; pooling comes late, so feature maps stay large (section 3.1).
There is no linear layer: the last convolution has one feature map per class, whose mean is the score.

Attribute names, `state_dict` keys and initial weights are torchvision's. `squeezenet1_1` was published later by the authors:
less work for the same accuracy, with a smaller first layer and earlier pooling.
"""

from __future__ import annotations

from microtensor import nn
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Table 1, fire2 to fire9: channels of the squeeze, and of each of the two expand convolutions."""

VERSIONS = {"1_0": (96, 7, (4, 8)), "1_1": (64, 3, (3, 5))}
"""Channels and kernel size of the first convolution, and indices of the fire modules that are followed by pooling."""


class Fire(nn.Module):
    """Squeeze, then expand: (N, in_channels, H, W) → (N, 2 · expand, H, W). Figure 1."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        ones = self.expand1x1_activation(self.expand1x1(x))
        threes = self.expand3x3_activation(self.expand3x3(x))
        return cat([ones, threes], dim=1)


class SqueezeNet(nn.Module):
    """A convolution, eight fire modules, one feature map per class and its mean: (N, 3, H, W) → (N, num_classes) logits.

    H and W may be any from 21 pixels on (1.1: from 17 on); the table is for 224.

    Args:
        version: "1_0", the paper's, or "1_1".
        dropout: dropout probability before the last convolution.

    Raises:
        ValueError: the version is neither of these.
    """

    def __init__(self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5) -> None:
        if version not in VERSIONS:
            raise ValueError(f"SqueezeNet: version must be one of {', '.join(map(repr, VERSIONS))}, got {version!r}")
        channels, kernel_size, pooled = VERSIONS[version]
        with nn.init.skipped():  # initialised below
            features: list[nn.Module] = [nn.Conv2d(3, channels, kernel_size, stride=2), nn.ReLU(), pool()]
            for number, (squeeze, expand) in enumerate(FIRES, 2):
                features.append(Fire(channels, squeeze, expand))
                features += [pool()] if number in pooled else []
                channels = 2 * expand
            self.features = nn.Sequential(*features)
            last = nn.Conv2d(channels, num_classes, 1)
            self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.apply(initialise)
        nn.init.normal_(last.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


def pool() -> nn.MaxPool2d:
    """3×3 max pooling with stride 2; the last window may extend beyond the border."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def initialise(layer: nn.Module) -> None:
    """Initial weights: uniform by He et al. 2015 (arXiv 1502.01852), biases 0. The last convolution has others."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def squeezenet1_0(num_classes: int = 1000, dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.0, the paper's: (N, 3, 224, 224) → (N, num_classes). 1,248,424 parameters, 818,924,576 multiply-adds.

    >>> sum(p.numel() for p in squeezenet1_0().parameters())
    1248424
    """
    return SqueezeNet("1_0", num_classes, dropout)


def squeezenet1_1(num_classes: int = 1000, dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.1: (N, 3, 224, 224) → (N, num_classes). 1,235,496 parameters, 349,151,936 multiply-adds."""
    return SqueezeNet("1_1", num_classes, dropout)


PAPER = "Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer: SqueezeNet, arXiv 1602.07360"

CARDS = (
    Card(
        "squeezenet1_0",
        squeezenet1_0,
        year=2016,
        paper=PAPER,
        idea="fire modules: squeeze to few channels by 1×1, expand by 1×1 and 3×3: a fiftieth of AlexNet's parameters",
        input_shape=(3, 224, 224),
    ),
    Card(
        "squeezenet1_1",
        squeezenet1_1,
        year=2016,
        paper=PAPER,
        idea="SqueezeNet with a smaller first layer and earlier pooling: less than half the work",
        input_shape=(3, 224, 224),
    ),
)
