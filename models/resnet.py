"""ResNet: He, Zhang, Ren & Sun 2015, "Deep residual learning for image recognition", arxiv.org/abs/1512.03385.

    3×224×224 → 7×7, 64, stride 2 → 3×3 max pooling, stride 2 → 64×56×56
              → layer1 56×56 → layer2 28×28 → layer3 14×14 → layer4 7×7 → global average pooling → num_classes scores

A deeper network should not be worse than a shallower one, since additional layers could learn the identity. In training it is
worse, even on the training data (figure 1). With shortcuts, the identity is the default, and each block learns what to add to
its input, the residual:

    x ──┬── body: convolutions ──(+)── ReLU ──→
        └─────── shortcut ────────┘

Attribute names, `state_dict` keys and the position of strides are torchvision's. `plain18` and `plain34` are the same networks
without shortcuts, which the paper compares with; the networks for CIFAR-10 are in cifar_resnet.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from microtensor import nn
from microtensor.nn import init
from microtensor.tensor import Tensor

from .card import Card


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """A convolution with "same" padding, by default without bias, since the following batch normalisation has one.

    Initial weights by He et al. 2015 (equation 14, arxiv.org/abs/1502.01852): normal with variance 2 / fan-out; bias 0.
    """
    with init.skipped():  # initialised below
        padding = dilation * (kernel_size // 2)
        layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
    init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        init.zeros_(layer.bias)
    return layer


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """A shortcut that changes the shape, a 1×1 convolution (3.3, option B). (N, C, H, W) → (N, out_channels, H', W')."""
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class ResidualBlock(nn.Module):
    """relu(body(x) + x), or relu(body(x) + downsample(x)) if the body changes the shape (figure 2)."""

    relu: nn.ReLU
    downsample: nn.Module | None

    def body(self, x: Tensor) -> Tensor:
        """The residual, which is added to the shortcut: defined by subclasses."""
        raise NotImplementedError(f"{type(self).__name__}: write body(x)")

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.body(x) + shortcut)


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions: (N, in_channels, H, W) → (N, channels, H', W'). Figure 5, left.

    Args:
        stride: of the first convolution; 2 in the first block of a stage: H' = ⌈H / stride⌉.
        downsample: the shortcut; None: the identity.
        dilation: of both convolutions.
    """

    expansion: ClassVar[int] = 1
    """Output channels as a multiple of `channels`."""

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, downsample: nn.Module | None = None, dilation: int = 1
    ) -> None:
        self.conv1 = conv(in_channels, channels, 3, stride, dilation)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = conv(channels, channels, 3, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample

    def body(self, x: Tensor) -> Tensor:
        """conv – norm – relu – conv – norm."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(y))


class PlainBlock(BasicBlock):
    """The same two convolutions without a shortcut: `downsample` is ignored. Figure 3, middle."""

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, downsample: nn.Module | None = None, dilation: int = 1
    ) -> None:
        super().__init__(in_channels, channels, stride, None, dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x))


class Bottleneck(ResidualBlock):
    """1×1 to fewer channels, 3×3, then 1×1 to four times as many, so that the 3×3 is cheap. Figure 5, right.

    (N, in_channels, H, W) → (N, 4 · channels, H', W').

    Args:
        stride, downsample, dilation: as for `BasicBlock`; stride and dilation are those of the 3×3 convolution.
        groups, width_per_group: number of groups of the 3×3 convolution, with width_per_group · channels / 64 channels each.
            Wide ResNet and ResNeXt change these.
    """

    expansion: ClassVar[int] = 4
    early_stride: ClassVar[bool] = False
    """Whether the first 1×1 convolution has the stride; it then ignores three quarters of its input."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        dilation: int = 1,
        groups: int = 1,
        width_per_group: int = 64,
    ) -> None:
        width = channels * width_per_group // 64 * groups
        first, second = (stride, 1) if self.early_stride else (1, stride)
        self.conv1 = conv(in_channels, width, 1, first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, second, dilation, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def body(self, x: Tensor) -> Tensor:
        """conv – norm – relu – conv – norm – relu – conv – norm."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.bn3(self.conv3(y))


class BottleneckOf2015(Bottleneck):
    """The bottleneck as published, with the stride in the first 1×1 convolution: ResNet-50 then has 3.858 G multiply-adds.

    torchvision has it in the 3×3 convolution, which costs 6 % more and is more accurate; the paper's weights need this one.
    `ResNet(BottleneckOf2015, (3, 4, 6, 3))` is the paper's ResNet-50.
    """

    early_stride = True


TABLE: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""Table 1: depth → block, and number of blocks per stage. Stages have 64, 128, 256 and 512 channels (· expansion)."""


class ResNet(nn.Module):
    """A stem, four stages of blocks, global average pooling, a linear layer: (N, 3, H, W) → (N, num_classes) logits.

    The first block of each stage but the first halves the size and doubles the channels. H and W are arbitrary; the paper uses
    224.

    Args:
        block: the class of the blocks.
        layers: number of blocks in each stage.
        replace_stride_with_dilation: for each of the last three stages, whether it keeps the size and dilates its kernels
            instead, as for segmentation (Yu & Koltun 2015, arxiv.org/abs/1511.07122).
        settings: further arguments of each block, such as `groups` and `width_per_group`.

    Raises:
        TypeError: the block does not have such an argument.
        ValueError: `layers` does not have four elements, or `replace_stride_with_dilation` three.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
        **settings: Any,
    ) -> None:
        if len(layers) != 4 or len(replace_stride_with_dilation) != 3:
            raise ValueError(
                "ResNet: expected layers for four stages and replace_stride_with_dilation for the last three, got "
                f"{layers!r} and {replace_stride_with_dilation!r}"
            )
        self.conv1: nn.Conv2d = conv(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1)

        stages: list[nn.Sequential] = []
        in_channels, dilation = 64, 1
        for channels, count, keeps_size in zip((64, 128, 256, 512), layers, (False, *replace_stride_with_dilation)):
            stride = 1 if not stages or keeps_size else 2
            out_channels = channels * block.expansion
            changes = stride != 1 or in_channels != out_channels
            shortcut = projection(in_channels, out_channels, stride) if changes else None
            blocks = [block(in_channels, channels, stride, shortcut, dilation, **settings)]
            dilation *= 2 if keeps_size else 1  # from the second block on: the input of the first is not dilated yet
            blocks += [block(out_channels, channels, 1, None, dilation, **settings) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            in_channels = out_channels
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, 64, H/4, W/4)
        x = self.layer2(self.layer1(x))  # (N, 128 · expansion, H/8, W/8)
        x = self.layer4(self.layer3(x))  # (N, 512 · expansion, H/32, W/32)
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(num_classes: int = 1000) -> ResNet:
    """ResNet-18: (N, 3, 224, 224) → (N, num_classes). 11,689,512 parameters, 1,814,073,344 multiply-adds.

    Receptive field of its last stage: 435×435 pixels.
    """
    return ResNet(*TABLE[18], num_classes)


def resnet34(num_classes: int = 1000) -> ResNet:
    """ResNet-34: (N, 3, 224, 224) → (N, num_classes). 21,797,672 parameters, 3,663,761,408 multiply-adds.

    Receptive field of its last stage: 899×899 pixels.
    """
    return ResNet(*TABLE[34], num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    """ResNet-50, with bottlenecks: (N, 3, 224, 224) → (N, num_classes). 25,557,032 parameters, 4,089,184,256 multiply-adds.

    Deeper than ResNet-34 for little more work. Receptive field of its last stage: 427×427 pixels (483×483 as published: see
    `BottleneckOf2015`).
    """
    return ResNet(*TABLE[50], num_classes)


def resnet101(num_classes: int = 1000) -> ResNet:
    """ResNet-101: (N, 3, 224, 224) → (N, num_classes). 44,549,160 parameters, 7,801,405,440 multiply-adds.

    Receptive field of its last stage: 971×971 pixels.
    """
    return ResNet(*TABLE[101], num_classes)


def resnet152(num_classes: int = 1000) -> ResNet:
    """ResNet-152: (N, 3, 224, 224) → (N, num_classes). 60,192,808 parameters, 11,513,626,624 multiply-adds.

    Nine times the layers of VGG-16, for three quarters of its work. Receptive field of its last stage: 1451×1451 pixels.
    """
    return ResNet(*TABLE[152], num_classes)


def plain18(num_classes: int = 1000) -> ResNet:
    """ResNet-18 without shortcuts: (N, 3, 224, 224) → (N, num_classes). 11,515,688 parameters, 1,794,805,760 multiply-adds."""
    return ResNet(PlainBlock, TABLE[18][1], num_classes)


def plain34(num_classes: int = 1000) -> ResNet:
    """ResNet-34 without shortcuts: (N, 3, 224, 224) → (N, num_classes). 21,623,848 parameters, 3,644,493,824 multiply-adds.

    In the paper, its error is higher than that of `plain18`, on the training data too (table 2; figure 4, left).
    """
    return ResNet(PlainBlock, TABLE[34][1], num_classes)


_PAPER = "He, Zhang, Ren, Sun: Deep residual learning for image recognition, arXiv 1512.03385"

CARDS = (
    Card("plain18", plain18, 2015, _PAPER, "ResNet-18 without shortcuts"),
    Card("plain34", plain34, 2015, _PAPER, "ResNet-34 without shortcuts: deeper than plain18, but less accurate"),
    Card("resnet18", resnet18, 2015, _PAPER, "shortcuts: a block learns what to add to its input"),
    Card("resnet34", resnet34, 2015, _PAPER, "with shortcuts, the deeper network is more accurate"),
    Card(
        "resnet50",
        resnet50,
        2015,
        _PAPER,
        "bottlenecks: 3×3 convolutions between 1×1 convolutions that reduce and restore the channels",
    ),
    Card("resnet101", resnet101, 2015, _PAPER, "ResNet-50 with more blocks"),
    Card("resnet152", resnet152, 2015, _PAPER, "ResNet-50 with more blocks; an ensemble with it won ILSVRC 2015"),
)
