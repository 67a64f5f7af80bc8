"""Inception v3: Szegedy, Vanhoucke, Ioffe, Shlens & Wojna 2015, "Rethinking the Inception architecture for computer vision".

arxiv.org/abs/1512.00567; names, `state_dict` keys and behaviour are torchvision's.

    3×299×299 → five convolutions, two max poolings → 192×35×35 → A A A → B → 768×17×17 → C C C C → D → 1280×8×8
              → E E → 2048×8×8 → global average pooling → num_classes scores

Large kernels are factorised into smaller ones with the same receptive field and less work (section 3): 5×5 into two 3×3, 7×7
into 1×7 and 7×1. Where the size is halved, a convolution and pooling do it in parallel, to avoid a bottleneck (section 5). The
numbers of modules and channels are those of the authors' code, which differ slightly from the paper's table 1.

    module   where   its branches
    A        35×35   1×1 │ 1×1, 5×5 │ 1×1, 3×3, 3×3 │ mean, 1×1                                            figure 5
    B        35→17   3×3 by 2 │ 1×1, 3×3, 3×3 by 2 │ max by 2                                              figure 10
    C        17×17   1×1 │ 1×1, 1×7, 7×1 │ 1×1, 7×1, 1×7, 7×1, 1×7 │ mean, 1×1                              figure 6, n = 7
    D        17→8    1×1, 3×3 by 2 │ 1×1, 1×7, 7×1, 3×3 by 2 │ max by 2                                    figure 10
    E        8×8     1×1 │ 1×1, then 1×3 beside 3×1 │ 1×1, 3×3, then 1×3 beside 3×1 │ mean, 1×1             figure 7
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from microtensor import nn
from microtensor.nn import init
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card
from .googlenet import BasicConv2d, from_imagenet

conv = partial(BasicConv2d, std=0.1)
"""Convolution, batch normalisation, ReLU, with initial weights of standard deviation 0.1."""


class InceptionOutputs(NamedTuple):
    """Outputs in training mode: the scores, and those of the auxiliary head, whose loss is added with a weight such as 0.3."""

    logits: Tensor
    aux_logits: Tensor


class InceptionA(nn.Module):
    """Figure 5: (N, in_channels, H, W) → (N, 224 + pool_features, H, W)."""

    def __init__(self, in_channels: int, pool_features: int) -> None:
        self.branch1x1 = conv(in_channels, 64, 1)

        self.branch5x5_1 = conv(in_channels, 48, 1)
        self.branch5x5_2 = conv(48, 64, 5, padding=2)

        self.branch3x3dbl_1 = conv(in_channels, 64, 1)
        self.branch3x3dbl_2 = conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = conv(96, 96, 3, padding=1)

        self.branch_pool = conv(in_channels, pool_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch1x1(x)
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pooled = self.branch_pool(nn.avg_pool2d(x, 3, stride=1, padding=1))
        return cat([one, five, double, pooled], dim=1)


class InceptionB(nn.Module):
    """Halves the size, figure 10: (N, in_channels, H, W) → (N, 480 + in_channels, ⌊(H − 1) / 2⌋, ⌊(W − 1) / 2⌋)."""

    def __init__(self, in_channels: int) -> None:
        self.branch3x3 = conv(in_channels, 384, 3, stride=2)

        self.branch3x3dbl_1 = conv(in_channels, 64, 1)
        self.branch3x3dbl_2 = conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3(x)
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return cat([three, double, nn.max_pool2d(x, 3, stride=2)], dim=1)


class InceptionC(nn.Module):
    """Figure 6: 7×7 kernels factorised into 1×7 and 7×1. (N, in_channels, H, W) → (N, 768, H, W).

    Args:
        channels_7x7: the channels between them: 128, 160 or 192, increasing with depth.
    """

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        channels = channels_7x7
        self.branch1x1 = conv(in_channels, 192, 1)

        self.branch7x7_1 = conv(in_channels, channels, 1)
        self.branch7x7_2 = conv(channels, channels, (1, 7), padding=(0, 3))
        self.branch7x7_3 = conv(channels, 192, (7, 1), padding=(3, 0))

        self.branch7x7dbl_1 = conv(in_channels, channels, 1)
        self.branch7x7dbl_2 = conv(channels, channels, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = conv(channels, channels, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = conv(channels, channels, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = conv(channels, 192, (1, 7), padding=(0, 3))

        self.branch_pool = conv(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch1x1(x)
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        pooled = self.branch_pool(nn.avg_pool2d(x, 3, stride=1, padding=1))
        return cat([one, seven, double, pooled], dim=1)


class InceptionD(nn.Module):
    """Halves the size again: (N, in_channels, H, W) → (N, 512 + in_channels, ⌊(H − 1) / 2⌋, ⌊(W − 1) / 2⌋)."""

    def __init__(self, in_channels: int) -> None:
        self.branch3x3_1 = conv(in_channels, 192, 1)
        self.branch3x3_2 = conv(192, 320, 3, stride=2)

        self.branch7x7x3_1 = conv(in_channels, 192, 1)
        self.branch7x7x3_2 = conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return cat([three, self.branch7x7x3_4(seven), nn.max_pool2d(x, 3, stride=2)], dim=1)


class InceptionE(nn.Module):
    """Figure 7: 1×3 and 3×1 in parallel, with many channels at the smallest size. (N, in_channels, H, W) → (N, 2048, H, W)."""

    def __init__(self, in_channels: int) -> None:
        self.branch1x1 = conv(in_channels, 320, 1)

        self.branch3x3_1 = conv(in_channels, 384, 1)
        self.branch3x3_2a = conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = conv(384, 384, (3, 1), padding=(1, 0))

        self.branch3x3dbl_1 = conv(in_channels, 448, 1)
        self.branch3x3dbl_2 = conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = conv(384, 384, (3, 1), padding=(1, 0))

        self.branch_pool = conv(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch1x1(x)
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = self.branch_pool(nn.avg_pool2d(x, 3, stride=1, padding=1))
        wide = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        wide += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return cat([one, *wide, pooled], dim=1)


class InceptionAux(nn.Module):
    """The auxiliary head, figure 8: (N, in_channels, H, W) → (N, num_classes) logits, for H and W of 17 or more."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        self.conv0 = conv(in_channels, 128, 1)
        self.conv1 = BasicConv2d(128, 768, 5, std=0.01)
        self.fc = nn.Linear(768, num_classes)
        init.normal_(self.fc.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 17:
            raise ValueError(
                f"the auxiliary head needs 17 pixels per side or more, got shape {x.shape}; train on images of 299×299, or "
                "with aux_logits=False"
            )
        x = self.conv0(nn.avg_pool2d(x, 5, stride=3))  # (N, 128, 5, 5) of 17×17
        return self.fc(self.conv1(x).mean((2, 3)))


class Inception3(nn.Module):
    """Inception v3: (N, 3, H, W) → (N, num_classes) logits; in training mode with an auxiliary head, `InceptionOutputs`.

    H and W are 299 in the paper. Eval mode, and training without the head, need at least 75; the head needs 299 and two images.

    Initial weights are torchvision's: normal with standard deviation 0.1, in the head 0.01 and 0.001.

    Args:
        num_classes: number of scores.
        aux_logits: whether there is an auxiliary head. It is used in training mode only.
        transform_input: convert images normalised with ImageNet's mean and std to −1 … 1, as torchvision's weights expect.
        dropout: dropout probability before the last linear layer.
    """

    def __init__(
        self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False, *, dropout: float = 0.5
    ) -> None:
        self.aux_logits, self.transform_input = aux_logits, transform_input
        self.Conv2d_1a_3x3 = conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = conv(32, 32, 3)
        self.Conv2d_2b_3x3 = conv(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = conv(64, 80, 1)
        self.Conv2d_4a_3x3 = conv(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)

        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, channels_7x7=128)
        self.Mixed_6c = InceptionC(768, channels_7x7=160)
        self.Mixed_6d = InceptionC(768, channels_7x7=160)
        self.Mixed_6e = InceptionC(768, channels_7x7=192)
        self.AuxLogits = InceptionAux(768, num_classes) if aux_logits else None
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)

        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        init.normal_(self.fc.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        x = from_imagenet(x) if self.transform_input else x
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (N, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))  # (N, 192, 71, 71)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(x))))  # (N, 288, 35, 35)
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        middle = self.Mixed_6e(self.Mixed_6d(x))  # (N, 768, 17, 17)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle)))  # (N, 2048, 8, 8)
        logits = self.fc(self.dropout(self.avgpool(x)).flatten(1))
        if not self.training or self.AuxLogits is None:
            return logits
        return InceptionOutputs(logits, self.AuxLogits(middle))


def inception_v3(num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False) -> Inception3:
    """Inception v3: (N, 3, 299, 299) → (N, num_classes) logits; in training mode `InceptionOutputs`.

    27,161,264 parameters, of which 3,326,696 are the auxiliary head's, so 23,834,568 without it. 5,713,216,096 multiply-adds
    (2,837,921,120 at 224×224).

    Args:
        num_classes, aux_logits, transform_input: see `Inception3`.
    """
    return Inception3(num_classes, aux_logits, transform_input)


CARDS = (
    Card(
        "inception_v3",
        inception_v3,
        2015,
        "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception architecture for computer vision, arXiv 1512.00567",
        "large kernels factorised into small ones: 5×5 into two 3×3, 7×7 into 1×7 and 7×1",
        (3, 299, 299),
    ),
)
