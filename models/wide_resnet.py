"""Wide ResNet: Zagoruyko & Komodakis 2016, "Wide residual networks", arxiv.org/abs/1605.07146.

Doubling the depth of a ResNet improves its accuracy only a little, and layers can only be computed one after the other. More
channels (width) help more: with ten times the channels, 28 layers are more accurate than a thousand narrow ones, and few large
matrix products use the hardware better than many small ones.

`wrn(depth, width)` is the paper's network for CIFAR (table 1):

    3×3, 16 → layer1 16k×32×32 → layer2 32k×16×16 → layer3 64k×8×8 → norm, ReLU → global average pooling → scores
    with n blocks of two 3×3 convolutions per stage: depth = 6n + 4

`wide_resnet50_2` and `wide_resnet101_2` are ResNets for ImageNet whose 3×3 convolutions have twice the channels, as in
torchvision.
"""

from __future__ import annotations

from microtensor import nn
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .card import Card
from .resnet import TABLE, ResNet, conv

STAGES = ((16, 1), (32, 2), (64, 2))
"""Table 1: channels of each stage, to be multiplied by the width, and stride of its first block."""


class WideBlock(nn.Module):
    """A pre-activation block, with norm and ReLU before each convolution: (N, in_channels, H, W) → (N, out_channels, H', W').

    There is no ReLU after the sum, so shortcuts of consecutive blocks form an identity path (He et al. 2016, "Identity mappings
    in deep residual networks", arxiv.org/abs/1603.05027, figure 4e). If the shape changes, the shortcut is a 1×1 convolution of
    the normalised input. Dropout is between the two convolutions (figure 1d).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dropout: float = 0.0) -> None:
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv1 = conv(in_channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(out_channels, out_channels, 3)
        changes = stride != 1 or in_channels != out_channels
        self.downsample = conv(in_channels, out_channels, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(y)
        y = self.relu(self.bn2(self.conv1(y)))
        return self.conv2(self.dropout(y)) + shortcut


class WideResNet(nn.Module):
    """A 3×3 convolution and three stages of `WideBlock`: (N, 3, H, W) → (N, num_classes) logits. The paper uses 32×32.

    Args:
        depth: number of layers, 6n + 4: 10, 16, 22, 28, 34, 40 … (This counts the first convolution and the 1×1 convolutions of
            three shortcuts, but not the linear layer.)
        width: factor for the number of channels.
        dropout: dropout probability; if it uses any, the paper has 0.3 for CIFAR and 0.4 for SVHN.

    Raises:
        TypeError: depth or width is not an integer.
        ValueError: `depth` is not 6n + 4, or `width` is less than 1.
    """

    def __init__(self, depth: int, width: int, num_classes: int = 10, dropout: float = 0.0) -> None:
        if as_integer("WideResNet", "depth", depth, least=10) % 6 != 4:
            raise ValueError(f"WideResNet: depth must be 6n + 4, such as 10, 16, 22, 28, 34 or 40, got {depth}")
        as_integer("WideResNet", "width", width, least=1)
        self.conv1 = conv(3, 16, 3)
        stages: list[nn.Sequential] = []
        in_channels = 16
        for channels, stride in STAGES:
            shapes = [(in_channels, stride)] + [(channels * width, 1)] * ((depth - 4) // 6 - 1)
            stages.append(nn.Sequential(*(WideBlock(before, channels * width, step, dropout) for before, step in shapes)))
            in_channels = channels * width
        self.layer1, self.layer2, self.layer3 = stages
        self.bn = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.conv1(x))  # (N, 16 · width, H, W)
        x = self.layer3(self.layer2(x))  # (N, 64 · width, H/4, W/4)
        return self.fc(self.avgpool(self.relu(self.bn(x))).flatten(1))


def wrn(depth: int = 28, width: int = 10, num_classes: int = 10, dropout: float = 0.0) -> WideResNet:
    """WRN-depth-width: (N, 3, 32, 32) → (N, num_classes). WRN-28-10: 36,479,194 parameters, 5,243,328,768 multiply-adds.

    >>> sum(p.numel() for p in wrn(16, 1).parameters())
    175066
    """
    return WideResNet(depth, width, num_classes, dropout)


def wide_resnet50_2(num_classes: int = 1000) -> ResNet:
    """ResNet-50 with twice the channels inside its bottlenecks: (N, 3, 224, 224) → (N, num_classes).

    68,883,240 parameters, 11,398,021,120 multiply-adds. More accurate than ResNet-152 in the paper, in less time (section 3,
    table 8).
    """
    return ResNet(*TABLE[50], num_classes, width_per_group=128)


def wide_resnet101_2(num_classes: int = 1000) -> ResNet:
    """ResNet-101 with twice the channels inside its bottlenecks: (N, 3, 224, 224) → (N, num_classes).

    126,886,696 parameters, 22,753,050,624 multiply-adds. As in torchvision; the paper has no such network.
    """
    return ResNet(*TABLE[101], num_classes, width_per_group=128)


_PAPER = "Zagoruyko, Komodakis: Wide residual networks, arXiv 1605.07146"

CARDS = (
    Card("wrn", wrn, 2016, _PAPER, "width instead of depth: 28 layers with ten times the channels (WRN-28-10)", (3, 32, 32)),
    Card("wide_resnet50_2", wide_resnet50_2, 2016, _PAPER, "ResNet-50 with bottlenecks twice as wide"),
    Card("wide_resnet101_2", wide_resnet101_2, 2016, _PAPER, "ResNet-101 with bottlenecks twice as wide"),
)
