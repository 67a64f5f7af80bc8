"""MobileNet: Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision applications",
arXiv 1704.04861.

    3×224×224 → 3×3, 32, stride 2 → thirteen depthwise separable convolutions → global average pooling → num_classes scores

    32@112² → 64@112² → 128@56² (2) → 256@28² (2) → 512@14² (6) → 1024@7² (2)

A convolution filters each channel and combines the channels in one step. A depthwise separable convolution does it in two steps
(section 3.1, figure 2): depthwise, with one k×k kernel per channel, and pointwise, with 1×1 kernels that combine the channels.
Per pixel that costs k² · C + C · C' multiply-adds instead of k² · C · C': for 3×3 kernels an eighth to a ninth. A width
multiplier α reduces the channels of every layer, and a smaller image the size of every feature map (sections 3.3 and 3.4), to
trade accuracy for speed.

torchvision has no such network. Names and `state_dict` keys are timm's (`mobilenetv1_100`), whose weights load unchanged.
"""

from __future__ import annotations

import math

from microtensor import nn
from microtensor.autograd.arguments import is_number
from microtensor.tensor import Tensor

from .card import Card

STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
"""Table 1: for each size of the feature maps, channels, number of separable convolutions, and stride of the first.

The table has stride 2 for the last depthwise convolution too, but its sizes are those of stride 1."""


def scaled(channels: int, multiplier: float) -> int:
    """Channels times a width multiplier, rounded to a multiple of 8, but never down by more than a tenth.

    From the authors' code, which MobileNetV2 and EfficientNet share; it is in no paper.

    Raises:
        ValueError: the multiplier is not a positive number.

    >>> scaled(32, 0.75), scaled(24, 0.35), scaled(16, 0.1)
    (24, 8, 8)
    """
    if not is_number(multiplier) or not 0 < multiplier < math.inf:
        raise ValueError(f"width_mult must be a positive number, got {multiplier!r}; 1.0 is the width of the paper's table")
    wanted = channels * multiplier
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


class DepthwiseSeparable(nn.Module):
    """A 3×3 depthwise, then a 1×1 convolution: (N, in_channels, H, W) → (N, out_channels, H', W').

    Each is followed by batch normalisation and ReLU6 (figure 3, right). H' = ⌈H / stride⌉.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        self.conv_dw = nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv_pw = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_dw(x)))
        return self.act(self.bn2(self.conv_pw(x)))


class MobileNetV1(nn.Module):
    """A 3×3 convolution, thirteen separable ones, pooling, a linear layer: (N, 3, H, W) → (N, num_classes) logits.

    H and W are arbitrary; the paper's are 224, 192, 160 and 128.

    The paper has ReLU; the authors' code and published weights have ReLU6, min(max(x, 0), 6). The paper does not state initial
    weights: see `initialise`.

    Args:
        width_mult: the paper's α: 1, 0.75, 0.5 or 0.25 there.

    Raises:
        ValueError: `width_mult` is not a positive number.
    """

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0) -> None:
        channels = scaled(32, width_mult)
        with nn.init.skipped():  # initialised below
            self.conv_stem = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.act = nn.ReLU6()
            stages = []
            for wanted, count, stride in STAGES:
                blocks = []
                for i in range(count):
                    blocks.append(DepthwiseSeparable(channels, scaled(wanted, width_mult), stride if i == 0 else 1))
                    channels = scaled(wanted, width_mult)
                stages.append(nn.Sequential(*blocks))
            self.blocks = nn.Sequential(*stages)
            self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_stem(x)))  # (N, 32 α, H/2, W/2)
        x = self.blocks(x)  # (N, 1024 α, H/32, W/32)
        return self.classifier(self.global_pool(x).flatten(1))


def initialise(layer: nn.Module) -> None:
    """Initial weights from N(0, 2 / (k² · kernels of a group)): He et al. 2015, equation 14, arXiv 1502.01852, per group.

    For a depthwise convolution that is N(0, 2 / k²).
    """
    if isinstance(layer, nn.Conv2d):
        depthwise = layer.groups == layer.in_channels == layer.out_channels
        nn.init.kaiming_normal_(layer.weight, mode="fan_in" if depthwise else "fan_out", nonlinearity="relu")


def mobilenet_v1(num_classes: int = 1000, width_mult: float = 1.0) -> MobileNetV1:
    """MobileNet: (N, 3, 224, 224) → (N, num_classes). 4,231,976 parameters, 568,740,352 multiply-adds.

    With width multiplier 0.75: 2,585,560 and 325,400,448; with 0.5: 1,331,592 and 149,497,088; with 0.25: 470,072 and
    41,030,272 (table 6 rounds them). The 1×1 convolutions have 95 % of the multiply-adds and 75 % of the parameters (table 2).

    >>> sum(p.numel() for p in mobilenet_v1().parameters())
    4231976
    """
    return MobileNetV1(num_classes, width_mult)


CARDS = (
    Card(
        "mobilenet_v1",
        mobilenet_v1,
        year=2017,
        paper="Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam: MobileNets, arXiv 1704.04861",
        idea="depthwise separable convolutions: one kernel per channel, then 1×1 kernels that combine the channels",
        input_shape=(3, 224, 224),
    ),
)
