"""ResNeXt: Xie, Girshick, Dollár, Tu & He 2016, "Aggregated residual transformations for deep neural networks",
arxiv.org/abs/1611.05431.

The residual is a sum of many small branches of the same form; their number is the *cardinality*. (Inception's branches were
each designed by hand.) A sum of bottlenecks with d channels equals one bottleneck whose 3×3 convolution has groups of d
channels (figure 3c), so a ResNeXt is a ResNet with two other parameters. The bottlenecks of ResNet-50 and ResNeXt-50 cost the
same:

    256 → 1×1, 64  → 3×3, 64                → 1×1, 256     69,632 weights
    256 → 1×1, 128 → 3×3, 128, in 32 groups → 1×1, 256     70,144 weights

"32x4d" means 32 groups of 4 channels in the first stage; each later stage has twice the channels.
"""

from __future__ import annotations

from .card import Card
from .resnet import TABLE, ResNet


def resnext50_32x4d(num_classes: int = 1000) -> ResNet:
    """ResNeXt-50: (N, 3, 224, 224) → (N, num_classes). 25,028,904 parameters, 4,230,479,872 multiply-adds.

    About as costly as ResNet-50; top-1 error in the paper: 22.2 %, against 23.9 % for ResNet-50 (table 3).
    """
    return ResNet(*TABLE[50], num_classes, groups=32, width_per_group=4)


def resnext101_32x8d(num_classes: int = 1000) -> ResNet:
    """ResNeXt-101 of 32 groups of 8: (N, 3, 224, 224) → (N, num_classes). 88,791,336 parameters, 16,414,015,488 multiply-adds.

    As in torchvision; from Mahajan et al. 2018, who trained it on a billion images with hashtags, arxiv.org/abs/1805.00932.
    """
    return ResNet(*TABLE[101], num_classes, groups=32, width_per_group=8)


_PAPER = "Xie, Girshick, Dollár, Tu, He: Aggregated residual transformations for deep neural networks, arXiv 1611.05431"

CARDS = (
    Card(
        "resnext50_32x4d",
        resnext50_32x4d,
        2016,
        _PAPER,
        "cardinality: bottlenecks with 32 groups, as cheap, but more accurate",
    ),
    Card("resnext101_32x8d", resnext101_32x8d, 2016, _PAPER, "32 groups with twice the channels, 101 layers"),
)
