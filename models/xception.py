"""Xception: Chollet 2016, "Xception: deep learning with depthwise separable convolutions", arXiv 1610.02357.

    entry flow   3×299×299 → 3×3, 32, stride 2 → 3×3, 64 → block1 128@74² → block2 256@37² → block3 728@19²
    middle flow  block4 … block11, 728@19²: eight equal blocks
    exit flow    block12 1024@10² → separable, 1536 → separable, 2048 → global average pooling → num_classes scores

An Inception module combines channels (1×1) and pixels (3×3) in separate steps, in a few branches. In the extreme, with one
branch per channel, it is a depthwise separable convolution. This network consists of these, with ResNet's shortcuts:

    x ──┬── ReLU – separable – norm ── ReLU – separable – norm ── … ──(+)──→
        └─────────────── x itself, or 1×1 with stride 2 ───────────────┘

There is no ReLU between the depthwise and the pointwise convolution: it would reduce accuracy (section 4.7).

The layout is that of Keras, by the author of the paper. torchvision has no such network; names, `state_dict` keys, pooling and
batch normalisation are timm's (`legacy_xception`), whose file of Keras' weights loads unchanged. Keras itself has ε = 0.001 in
batch normalisation instead of 0.00001, and pads sides of even length at the end only before pooling.
"""

from __future__ import annotations

from collections.abc import Sequence

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card
from .mobilenet_v1 import initialise

BLOCKS = (
    ((128, 128), 2),
    ((256, 256), 2),
    ((728, 728), 2),
    *[((728, 728, 728), 1)] * 8,
    ((728, 1024), 2),
)
"""Figure 5: output channels of each separable convolution of a block, and stride of its pooling."""


class SeparableConv2d(nn.Module):
    """A 3×3 depthwise, then a 1×1 convolution: (N, in_channels, H, W) → (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.conv1(x))


class Block(nn.Module):
    """Separable convolutions with a shortcut: (N, in_channels, H, W) → (N, channels[-1], ⌈H / stride⌉, ⌈W / stride⌉).

    Args:
        channels: output channels of each convolution.
        stride: with 2, the block ends with 3×3 max pooling and its shortcut is a 1×1 convolution; with 1, it is x itself.
        start_with_relu: whether the block starts with a ReLU; False if the layer before is one.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], stride: int, start_with_relu: bool = True) -> None:
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *channels), channels):
            layers += [nn.ReLU(), SeparableConv2d(before, after), nn.BatchNorm2d(after)]
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.rep = nn.Sequential(*layers[not start_with_relu :])
        changes = stride > 1 or in_channels != channels[-1]
        self.skip = nn.Conv2d(in_channels, channels[-1], 1, stride, bias=False) if changes else None
        self.skipbn = nn.BatchNorm2d(channels[-1]) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.skip is None or self.skipbn is None else self.skipbn(self.skip(x))
        return self.rep(x) + shortcut


class Xception(nn.Module):
    """Two convolutions, twelve blocks, two separable convolutions, pooling, a linear layer: (N, 3, H, W) → (N, num_classes).

    H and W may be any from 7 on; the paper's are 299. Initial weights: see `mobilenet_v1.initialise`.

    Args:
        dropout: dropout probability before the linear layer: 0.5 on ImageNet (section 4.3).
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        with nn.init.skipped():  # initialised below
            self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
            self.bn1 = nn.BatchNorm2d(32)
            self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
            self.bn2 = nn.BatchNorm2d(64)
            self.act = nn.ReLU()
            before = 64
            for number, (channels, stride) in enumerate(BLOCKS, 1):
                setattr(self, f"block{number}", Block(before, channels, stride, start_with_relu=number > 1))
                before = channels[-1]
            self.conv3 = SeparableConv2d(before, 1536)
            self.bn3 = nn.BatchNorm2d(1536)
            self.conv4 = SeparableConv2d(1536, 2048)
            self.bn4 = nn.BatchNorm2d(2048)
            self.global_pool = nn.AdaptiveAvgPool2d(1)
            self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))  # (N, 32, 149, 149) for 299×299
        x = self.act(self.bn2(self.conv2(x)))  # (N, 64, 147, 147)
        for number in range(1, len(BLOCKS) + 1):
            x = getattr(self, f"block{number}")(x)  # (N, 728, 19, 19) from block3 on, finally (N, 1024, 10, 10)
        x = self.act(self.bn3(self.conv3(x)))
        x = self.act(self.bn4(self.conv4(x)))  # (N, 2048, 10, 10)
        return self.fc(self.dropout(self.global_pool(x).flatten(1)))


def xception(num_classes: int = 1000, dropout: float = 0.5) -> Xception:
    """Xception: (N, 3, 299, 299) → (N, num_classes). 22,855,952 parameters, 8,357,403,496 multiply-adds.

    >>> with nn.init.skipped():
    ...     model = xception()
    >>> sum(p.numel() for p in model.parameters())
    22855952
    """
    return Xception(num_classes, dropout)


CARDS = (
    Card(
        "xception",
        xception,
        year=2016,
        paper="Chollet: Xception: deep learning with depthwise separable convolutions, arXiv 1610.02357",
        idea="the extreme form of Inception: all convolutions are depthwise separable",
        input_shape=(3, 299, 299),
    ),
)
