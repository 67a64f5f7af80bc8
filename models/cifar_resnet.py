"""ResNets for images of 32×32 pixels, such as CIFAR-10: He et al. 2015, section 4.2, arxiv.org/abs/1512.03385.

Two families, both (N, 3, 32, 32) → (N, num_classes), distinguished by their depths:

- `cifar_resnet20`, 32, 44, 56 and 110 are the networks of the paper, with few channels. `cifar_plain…` are the same without
  shortcuts: figure 1 compares `cifar_plain20` with `cifar_plain56`, figure 6 all of them. (examples/degradation.py draws it.)

      3×3, 16 → layer1 16×32×32 → layer2 32×16×16 → layer3 64×8×8 → global average pooling → num_classes scores
      with n blocks of two 3×3 convolutions per stage: 6n + 2 layers

- `cifar_resnet18`, 34, 50, 101 and 152 are the networks for ImageNet (resnet.py) with a stem for small images: a 3×3
  convolution with stride 1 and no pooling, so that layer1 works on 32×32 pixels instead of 8×8.
"""

from __future__ import annotations

from collections.abc import Sequence

from microtensor import nn
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .card import Card
from .resnet import TABLE, BasicBlock, Bottleneck, PlainBlock, ResNet, conv, projection

STAGES = ((16, 1), (32, 2), (64, 2))
"""The table in section 4.2: channels of each stage, and stride of its first block."""

BLOCKS = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18}
"""Depth → n, the number of blocks in each stage: depth = 6n + 2."""


class PaddedShortcut(nn.Module):
    """The shortcut without parameters (option A): every `stride`-th pixel, padded with zero channels.

    (N, C, H, W) → (N, C + extra_channels, ⌈H / stride⌉, ⌈W / stride⌉), the zero channels last.

    >>> PaddedShortcut(1, stride=2)(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    Tensor([[[[1.]],
    <BLANKLINE>
             [[0.]]]])
    """

    def __init__(self, extra_channels: int, stride: int) -> None:
        self.extra_channels, self.stride = extra_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return x.pad((0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        """The settings."""
        return f"extra_channels={self.extra_channels}, stride={self.stride}"


def shortcut_of(option: str, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut of a block for an option of section 4.1; None for the identity.

    Args:
        option: "A": identity, zero-padded where the shape changes; "B": projection where it changes; "C": always projection.

    Raises:
        ValueError: the option is none of these.
    """
    if option not in ("A", "B", "C"):
        raise ValueError(
            'CifarResNet: shortcut must be "A" (padded with zeros), "B" (projected where the shape changes) or "C" (projected '
            f"everywhere), got {option!r}"
        )
    changes = stride != 1 or in_channels != out_channels
    if option == "A":
        return PaddedShortcut(out_channels - in_channels, stride) if changes else None
    return projection(in_channels, out_channels, stride) if changes or option == "C" else None


class CifarResNet(nn.Module):
    """The network of section 4.2: (N, 3, H, W) → (N, num_classes) logits. The paper uses 32×32 pixels.

    Args:
        n: blocks in each of the three stages: 6n + 2 layers.
        block: `PlainBlock` for a network without shortcuts.
        shortcut: "A", the paper's choice here, "B" or "C": see `shortcut_of`.

    Raises:
        TypeError: n is not an integer.
        ValueError: n is less than 1; `shortcut` is none of the three.

    >>> sum(p.numel() for p in CifarResNet(1).parameters())
    75290
    """

    def __init__(self, n: int, num_classes: int = 10, block: type[BasicBlock] = BasicBlock, shortcut: str = "A") -> None:
        as_integer("CifarResNet", "n", n, least=1)
        self.conv1 = conv(3, 16, 3)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()

        stages: list[nn.Sequential] = []
        in_channels = 16
        for channels, stride in STAGES:
            shapes = [(in_channels, stride)] + [(channels, 1)] * (n - 1)
            blocks = [block(before, channels, step, shortcut_of(shortcut, before, channels, step)) for before, step in shapes]
            stages.append(nn.Sequential(*blocks))
            in_channels = channels
        self.layer1, self.layer2, self.layer3 = stages

        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 16, H, W)
        x = self.layer3(self.layer2(self.layer1(x)))  # (N, 64, H/4, W/4)
        return self.fc(self.avgpool(x).flatten(1))


def cifar_resnet20(num_classes: int = 10, shortcut: str = "A") -> CifarResNet:
    """20 layers: (N, 3, 32, 32) → (N, num_classes). 269,722 parameters, 40,551,040 multiply-adds.

    With shortcuts B 272,474 parameters, with C 283,962. Test error on CIFAR-10 in the paper: 8.75 %.

    >>> sum(p.numel() for p in cifar_resnet20().parameters())
    269722
    """
    return CifarResNet(BLOCKS[20], num_classes, shortcut=shortcut)


def cifar_resnet32(num_classes: int = 10, shortcut: str = "A") -> CifarResNet:
    """32 layers: (N, 3, 32, 32) → (N, num_classes). 464,154 parameters, 68,862,592 multiply-adds. In the paper: 7.51 %."""
    return CifarResNet(BLOCKS[32], num_classes, shortcut=shortcut)


def cifar_resnet44(num_classes: int = 10, shortcut: str = "A") -> CifarResNet:
    """44 layers: (N, 3, 32, 32) → (N, num_classes). 658,586 parameters, 97,174,144 multiply-adds. In the paper: 7.17 %."""
    return CifarResNet(BLOCKS[44], num_classes, shortcut=shortcut)


def cifar_resnet56(num_classes: int = 10, shortcut: str = "A") -> CifarResNet:
    """56 layers: (N, 3, 32, 32) → (N, num_classes). 853,018 parameters, 125,485,696 multiply-adds. In the paper: 6.97 %."""
    return CifarResNet(BLOCKS[56], num_classes, shortcut=shortcut)


def cifar_resnet110(num_classes: int = 10, shortcut: str = "A") -> CifarResNet:
    """110 layers: (N, 3, 32, 32) → (N, num_classes). 1,727,962 parameters, 252,887,680 multiply-adds.

    In the paper: 6.43 %, the best of these. To converge, it needs a learning rate of 0.01 until the training error is below 80
        %,
    then 0.1 (section 4.2).
    """
    return CifarResNet(BLOCKS[110], num_classes, shortcut=shortcut)


def cifar_plain20(num_classes: int = 10) -> CifarResNet:
    """`cifar_resnet20` without shortcuts, with the same 269,722 parameters."""
    return CifarResNet(BLOCKS[20], num_classes, PlainBlock)


def cifar_plain32(num_classes: int = 10) -> CifarResNet:
    """`cifar_resnet32` without shortcuts, with the same 464,154 parameters."""
    return CifarResNet(BLOCKS[32], num_classes, PlainBlock)


def cifar_plain44(num_classes: int = 10) -> CifarResNet:
    """`cifar_resnet44` without shortcuts, with the same 658,586 parameters."""
    return CifarResNet(BLOCKS[44], num_classes, PlainBlock)


def cifar_plain56(num_classes: int = 10) -> CifarResNet:
    """`cifar_resnet56` without shortcuts, with the same 853,018 parameters. Its training error is above `cifar_plain20`'s."""
    return CifarResNet(BLOCKS[56], num_classes, PlainBlock)


class SmallImageResNet(ResNet):
    """A ResNet of resnet.py with a stem for small images: (N, 3, 32, 32) → (N, num_classes) logits.

    `conv1` is 3×3 with stride 1 and there is no `maxpool`, so all feature maps are four times as wide and high.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], layers: Sequence[int], num_classes: int = 10) -> None:
        super().__init__(block, layers, num_classes)
        self.conv1 = conv(3, 64, 3)
        self.maxpool = nn.Identity()


def cifar_resnet18(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-18 for small images: (N, 3, 32, 32) → (N, num_classes). 11,173,962 parameters, 555,422,720 multiply-adds."""
    return SmallImageResNet(*TABLE[18], num_classes)


def cifar_resnet34(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-34 for small images: (N, 3, 32, 32) → (N, num_classes). 21,282,122 parameters, 1,159,402,496 multiply-adds."""
    return SmallImageResNet(*TABLE[34], num_classes)


def cifar_resnet50(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-50 for small images: (N, 3, 32, 32) → (N, num_classes). 23,520,842 parameters, 1,297,829,888 multiply-adds."""
    return SmallImageResNet(*TABLE[50], num_classes)


def cifar_resnet101(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-101 for small images: (N, 3, 32, 32) → (N, num_classes). 42,512,970 parameters, 2,509,983,744 multiply-adds."""
    return SmallImageResNet(*TABLE[101], num_classes)


def cifar_resnet152(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-152 for small images: (N, 3, 32, 32) → (N, num_classes). 58,156,618 parameters, 3,722,137,600 multiply-adds."""
    return SmallImageResNet(*TABLE[152], num_classes)


_PAPER = "He, Zhang, Ren, Sun: Deep residual learning for image recognition, arXiv 1512.03385, section 4.2"
_STEM = "He, Zhang, Ren, Sun: Deep residual learning for image recognition, arXiv 1512.03385; with a stem for small images"
_SMALL = (3, 32, 32)

CARDS = (
    Card("cifar_plain20", cifar_plain20, 2015, _PAPER, "20 layers without shortcuts: still trainable", _SMALL),
    Card("cifar_plain32", cifar_plain32, 2015, _PAPER, "32 layers without shortcuts: worse than 20", _SMALL),
    Card("cifar_plain44", cifar_plain44, 2015, _PAPER, "44 layers without shortcuts: worse than 32", _SMALL),
    Card("cifar_plain56", cifar_plain56, 2015, _PAPER, "56 layers without shortcuts: worse than 44, in training too", _SMALL),
    Card(
        "cifar_resnet20", cifar_resnet20, 2015, _PAPER, "shortcuts without parameters: as many weights as cifar_plain20", _SMALL
    ),
    Card("cifar_resnet32", cifar_resnet32, 2015, _PAPER, "32 layers with shortcuts: better than 20", _SMALL),
    Card("cifar_resnet44", cifar_resnet44, 2015, _PAPER, "44 layers with shortcuts: better than 32", _SMALL),
    Card("cifar_resnet56", cifar_resnet56, 2015, _PAPER, "56 layers with shortcuts: better than 44", _SMALL),
    Card(
        "cifar_resnet110", cifar_resnet110, 2015, _PAPER, "a hundred layers, and fewer weights than one layer of VGG-16", _SMALL
    ),
    Card("cifar_resnet18", cifar_resnet18, 2015, _STEM, "ResNet-18 with a stem for small images", _SMALL),
    Card("cifar_resnet34", cifar_resnet34, 2015, _STEM, "ResNet-34 with a stem for small images", _SMALL),
    Card("cifar_resnet50", cifar_resnet50, 2015, _STEM, "ResNet-50 with a stem for small images", _SMALL),
    Card("cifar_resnet101", cifar_resnet101, 2015, _STEM, "ResNet-101 with a stem for small images", _SMALL),
    Card("cifar_resnet152", cifar_resnet152, 2015, _STEM, "ResNet-152 with a stem for small images", _SMALL),
)
