"""MobileNetV2: Sandler, Howard, Zhu, Zhmoginov & Chen 2018, "Inverted residuals and linear bottlenecks", arXiv 1801.04381.

    3×224×224 → 3×3, 32, stride 2 → seventeen inverted residuals → 1×1, 1280 → global average pooling → num_classes scores

    16@112² → 24@56² (2) → 32@28² (3) → 64@14² (4) → 96@14² (3) → 160@7² (3) → 320@7²

ResNet's bottleneck has few channels in its middle and many at its ends. The inverted residual is the other way round:

    x ──┬── 1×1, six times as many – ReLU6 ── 3×3 depthwise – ReLU6 ── 1×1, few ──(+)──→
        └───────────────────── x itself, if the shape stays the same ──────────────┘

Only few channels are passed on between blocks, which saves memory; the many channels in the middle are cheap, because their
convolution is depthwise. There is no ReLU after the last 1×1: with few channels, it would lose information (section 3.2).

Attribute names, `state_dict` keys and initial weights are torchvision's.
"""

from __future__ import annotations

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card
from .mobilenet_v1 import scaled

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2: t, c, n and s: expansion factor, output channels, number of blocks, stride of the first block."""


def conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU6: (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project: (N, in_channels, H, W) → (N, out_channels, H', W'). Figure 4; table 1.

    If the stride is 1 and the number of channels does not change, x is added.

    Args:
        expand_ratio: t, the factor for channels of the depthwise convolution; with 1, there is no first 1×1 convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand_ratio: int) -> None:
        self.use_res_connect = stride == 1 and in_channels == out_channels
        hidden = in_channels * expand_ratio
        layers: list[nn.Module] = [conv_norm(in_channels, hidden, 1)] if expand_ratio != 1 else []
        layers.append(conv_norm(hidden, hidden, 3, stride, groups=hidden))
        layers += [nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """A stem, seventeen inverted residuals, a 1×1, pooling, a linear layer: (N, 3, H, W) → (N, num_classes) logits.

    H and W are arbitrary; the paper uses 224.

    Args:
        width_mult: factor for all channels; the last 1280 are not reduced (section 4, "trade-off hyper parameters").
        dropout: dropout probability before the linear layer.

    Raises:
        ValueError: `width_mult` is no positive number.
    """

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.2) -> None:
        channels, last = scaled(32, width_mult), scaled(1280, max(1.0, width_mult))
        with nn.init.skipped():  # initialised below
            features: list[nn.Module] = [conv_norm(3, channels, 3, stride=2)]
            for expand_ratio, wanted, count, stride in STAGES:
                for i in range(count):
                    block = InvertedResidual(channels, scaled(wanted, width_mult), stride if i == 0 else 1, expand_ratio)
                    features.append(block)
                    channels = scaled(wanted, width_mult)
            features.append(conv_norm(channels, last, 1))
            self.features = nn.Sequential(*features)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # (N, 1280, H/32, W/32)
        return self.classifier(self.avgpool(x).flatten(1))


def initialise(layer: nn.Module) -> None:
    """Initial weights as in torchvision: He et al. 2015 for convolutions, N(0, 0.01²) for the linear layer."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def mobilenet_v2(num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.2) -> MobileNetV2:
    """MobileNetV2: (N, 3, 224, 224) → (N, num_classes). 3,504,872 parameters, 300,774,272 multiply-adds.

    With width multiplier 1.4: 6,108,776 and 582,195,824.

    >>> sum(p.numel() for p in mobilenet_v2().parameters())
    3504872
    """
    return MobileNetV2(num_classes, width_mult, dropout)


CARDS = (
    Card(
        "mobilenet_v2",
        mobilenet_v2,
        year=2018,
        paper="Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: inverted residuals and linear bottlenecks, arXiv 1801.04381",
        idea="inverted residuals: shortcuts between layers of few channels, depthwise convolutions on many channels in between",
        input_shape=(3, 224, 224),
    ),
)
