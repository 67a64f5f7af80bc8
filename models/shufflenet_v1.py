"""ShuffleNet: Zhang, Zhou, Lin & Sun 2017, "An extremely efficient convolutional neural network for mobile devices",
arXiv 1707.01083.

    3×224×224 → 3×3, 24, stride 2 → 3×3 max pooling, stride 2 → stage2 28×28 → stage3 14×14 → stage4 7×7
              → global average pooling → num_classes scores

In a bottleneck with a depthwise convolution, the 1×1 convolutions do nearly all the work. With groups they cost less, but then
information never crosses from one group to another. So the channels are shuffled, one of each group in turn (section 3.1,
figure 1):

    x ──┬── 1×1 in groups – ReLU – shuffle ── 3×3 depthwise ── 1×1 in groups ──(+)── ReLU ──→
        └───────────────────────────────── x itself ────────────────────────────┘

The savings are spent on more channels: the five networks of table 1 cost about the same. torchvision has none of them; the
names here are those of its ShuffleNet V2.
"""

from __future__ import annotations

from microtensor import nn
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card

UNITS = (4, 8, 4)
"""Table 1: number of units in the stages 2, 3 and 4, including the one with stride 2."""

CHANNELS = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
"""Table 1: number of groups → channels of the stages 2, 3 and 4."""


class Unit(nn.Module):
    """A bottleneck with a shuffle in it: (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉). Figure 2 (b).

    With stride 2 (figure 2 (c)), x is average-pooled to half its size and concatenated with the output of the bottleneck, which
    has the remaining channels. The middle of the bottleneck has a quarter of `out_channels`.

    Args:
        groups: of the second 1×1 convolution, and of the shuffle.
        first_groups: of the first 1×1 convolution; None: the same.

    Raises:
        ValueError: the stride is 1 and the channels differ; or groups do not divide channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int, first_groups: int | None = None) -> None:
        if stride == 1 and in_channels != out_channels:
            raise ValueError(f"Unit: with stride 1, x is added, so {in_channels} channels cannot become {out_channels}")
        middle, added = out_channels // 4, out_channels - in_channels if stride > 1 else out_channels
        self.conv1 = nn.Conv2d(in_channels, middle, 1, groups=groups if first_groups is None else first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.shuffle = nn.ChannelShuffle(groups)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, added, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(added)
        self.relu = nn.ReLU()
        self.avgpool = nn.AvgPool2d(3, stride, padding=1) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.shuffle(self.relu(self.bn1(self.conv1(x))))
        y = self.bn3(self.conv3(self.bn2(self.conv2(y))))
        return self.relu(x + y if self.avgpool is None else cat([self.avgpool(x), y], dim=1))


class ShuffleNetV1(nn.Module):
    """A stem, three stages of units, global average pooling, a linear layer: (N, 3, H, W) → (N, num_classes) logits.

    H and W are arbitrary; the paper uses 224. The first 1×1 convolution of the first unit has no groups, because its input
    has few channels (section 3.3). Initial weights are the layers' defaults; the paper does not state any.

    Args:
        groups: 1, 2, 3, 4 or 8.

    Raises:
        ValueError: table 1 has no such number of groups.
    """

    def __init__(self, groups: int = 3, num_classes: int = 1000) -> None:
        if groups not in CHANNELS:
            raise ValueError(f"shufflenet_v1: table 1 has {', '.join(map(str, CHANNELS))} groups, got {groups!r}")
        self.conv1 = nn.Sequential(nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages: list[nn.Sequential] = []
        before = 24
        for after, count in zip(CHANNELS[groups], UNITS):
            first = Unit(before, after, 2, groups, None if stages else 1)
            stages.append(nn.Sequential(first, *(Unit(after, after, 1, groups) for _ in range(count - 1))))
            before = after
        self.stage2, self.stage3, self.stage4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))  # (N, 24, H/4, W/4)
        x = self.stage4(self.stage3(self.stage2(x)))  # (N, …, H/32, W/32)
        return self.fc(self.avgpool(x).flatten(1))


def shufflenet_v1(groups: int = 3, num_classes: int = 1000) -> ShuffleNetV1:
    """ShuffleNet 1×: (N, 3, 224, 224) → (N, num_classes). With 3 groups 1,865,728 parameters, 137,460,672 multiply-adds.

    | groups | parameters | multiply-adds | in table 1, without the linear layer |
    |---|---|---|---|
    | 1 | 1,531,936 | 143,078,976 | 143 M |
    | 2 | 1,733,848 | 140,836,512 | 140 M |
    | 3 | 1,865,728 | 137,460,672 | 137 M |
    | 4 | 1,968,344 | 134,339,776 | 133 M |
    | 8 | 2,434,768 | 138,365,952 | 137 M |

    >>> sum(p.numel() for p in shufflenet_v1(groups=3).parameters())
    1865728
    """
    return ShuffleNetV1(groups, num_classes)


CARDS = (
    Card(
        "shufflenet_v1",
        shufflenet_v1,
        year=2017,
        paper="Zhang, Zhou, Lin, Sun: ShuffleNet: an extremely efficient CNN for mobile devices, arXiv 1707.01083",
        idea="1×1 convolutions in groups, and a channel shuffle that mixes the groups",
        input_shape=(3, 224, 224),
    ),
)
