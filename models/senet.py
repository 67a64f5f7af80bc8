"""SENet: Hu, Shen, Albanie, Sun & Wu 2017, "Squeeze-and-excitation networks", arxiv.org/abs/1709.01507.

A convolution sees a small patch, and combines channels in the same way for every image. A squeeze-and-excitation block computes
a weight between 0 and 1 for each channel from the whole image, and scales the channel with it.

    squeeze      z = mean of each channel                      (N, C, H, W) → (N, C, 1, 1)
    excitation   s = sigmoid(W₂ relu(W₁ z + b₁) + b₂)          C → C / r → C, with r = 16
    scale        x · s

It can be added to any network. In a ResNet it is the last part of the body, before the shortcut is added (figure 3), which is
not scaled.
"""

from __future__ import annotations

from typing import Any

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card
from .resnet import TABLE, Bottleneck, ResNet, conv


class SqueezeExcitation(nn.Module):
    """x · sigmoid(fc2(relu(fc1(mean of each channel of x)))): (N, C, H, W) → the same shape. Equations 2 to 4.

    `fc1` and `fc2` are 1×1 convolutions on one pixel, the same as linear layers, as in torchvision and timm.

    Args:
        channels: C.
        squeezed: output features of `fc1`, C / r.

    >>> SqueezeExcitation(32, 2)(Tensor([[[[1.0] * 4] * 4] * 32])).shape
    (1, 32, 4, 4)
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = conv(channels, squeezed, 1, bias=True)
        self.relu = nn.ReLU()
        self.fc2 = conv(squeezed, channels, 1, bias=True)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        z = self.avgpool(x)  # (N, C, 1, 1)
        return x * self.sigmoid(self.fc2(self.relu(self.fc1(z))))


class SEBottleneck(Bottleneck):
    """A bottleneck whose body ends in a `SqueezeExcitation`: (N, in_channels, H, W) → (N, 4 · channels, H', W').

    Args:
        reduction: r, the factor by which `fc1` reduces the channels.
        settings: arguments of `Bottleneck`.
    """

    def __init__(self, in_channels: int, channels: int, *settings: Any, reduction: int = 16, **named: Any) -> None:
        super().__init__(in_channels, channels, *settings, **named)
        out_channels = channels * self.expansion
        self.se = SqueezeExcitation(out_channels, out_channels // reduction)

    def body(self, x: Tensor) -> Tensor:
        """The body of the bottleneck, with each channel scaled."""
        return self.se(super().body(x))


def se_resnet50(num_classes: int = 1000) -> ResNet:
    """SE-ResNet-50: (N, 3, 224, 224) → (N, num_classes). 28,088,024 parameters, 4,091,699,200 multiply-adds.

    10 % more parameters than ResNet-50, most of them in the last stage: 2 C² / 16 + 17 C / 16 for a block of C channels.
    Top-1 error in the paper: 23.29 %, against 23.17 % for ResNet-101 with twice the work (table 2).
    The 3×3 convolution has the stride, as in `resnet50`; `state_dict` keys are those of timm's `seresnet50`.
    """
    return ResNet(SEBottleneck, TABLE[50][1], num_classes)


def se_resnext50_32x4d(num_classes: int = 1000) -> ResNet:
    """SE-ResNeXt-50: (N, 3, 224, 224) → (N, num_classes). 27,559,896 parameters, 4,232,994,816 multiply-adds."""
    return ResNet(SEBottleneck, TABLE[50][1], num_classes, groups=32, width_per_group=4)


_PAPER = "Hu, Shen, Albanie, Sun, Wu: Squeeze-and-excitation networks, arXiv 1709.01507"

CARDS = (
    Card("se_resnet50", se_resnet50, 2017, _PAPER, "channels are weighted by a factor computed from the whole image"),
    Card("se_resnext50_32x4d", se_resnext50_32x4d, 2017, _PAPER, "squeeze-and-excitation blocks in a ResNeXt"),
)
