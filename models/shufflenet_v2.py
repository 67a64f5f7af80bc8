"""ShuffleNet V2: Ma, Zhang, Zheng & Sun 2018, "Practical guidelines for efficient CNN architecture design", arXiv 1807.11164.

    3×224×224 → 3×3, 24, stride 2 → 3×3 max pooling, stride 2 → stage2 28×28 → stage3 14×14 → stage4 7×7
              → 1×1, conv5 → global average pooling → num_classes scores

The number of multiply-adds does not determine how fast a network is: memory traffic matters too. Guidelines of the paper
(section 2): equal numbers of input and output channels, few groups, few branches, few elementwise operations. The resulting
unit splits the channels:

    x ──┬── one half, unchanged ──────────────────────────(concatenate)── shuffle ──→
        └── other half: 1×1 – ReLU ── 3×3 depthwise ── 1×1 – ReLU ──┘

The unchanged half is reused by later units, as in DenseNet. In units with stride 2, both branches get all channels of x.

Attribute names and `state_dict` keys are torchvision's; initial weights are the layers' defaults, as there.
"""

from __future__ import annotations

from microtensor import nn
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card

UNITS = (4, 8, 4)
"""Table 5: number of units in the stages 2, 3 and 4, including the one with stride 2."""

CHANNELS = {
    "x0_5": (24, 48, 96, 192, 1024),
    "x1_0": (24, 116, 232, 464, 1024),
    "x1_5": (24, 176, 352, 704, 1024),
    "x2_0": (24, 244, 488, 976, 2048),
}
"""Table 5: channels of the first convolution, of the stages 2, 3 and 4, and of conv5."""


def depthwise(channels: int, stride: int) -> list[nn.Module]:
    """A 3×3 depthwise convolution and batch normalisation, without ReLU."""
    return [nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)]


def pointwise(in_channels: int, out_channels: int) -> list[nn.Module]:
    """A 1×1 convolution, batch normalisation and ReLU."""
    return [nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]


class InvertedResidual(nn.Module):
    """The unit: (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉). Figure 3 (c), and (d) for stride 2.

    Raises:
        ValueError: `out_channels` is odd; or the stride is 1 and the channels differ, since half of them are passed on
            unchanged.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        if out_channels % 2 or stride == 1 and in_channels != out_channels:
            raise ValueError(
                f"InvertedResidual: {in_channels} to {out_channels} channels with stride {stride}; expected an even number to "
                "come out, and with stride 1 as many as go in"
            )
        self.stride, half = stride, out_channels // 2
        halves = stride > 1
        self.branch1 = (
            nn.Sequential(*depthwise(in_channels, stride), *pointwise(in_channels, half)) if halves else nn.Sequential()
        )
        self.branch2 = nn.Sequential(
            *pointwise(in_channels if halves else half, half), *depthwise(half, stride), *pointwise(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1) if self.stride == 1 else (x, x)
        return nn.channel_shuffle(cat([self.branch1(kept), self.branch2(changed)], dim=1), 2)


class ShuffleNetV2(nn.Module):
    """A stem, three stages of units, a 1×1, pooling, a linear layer: (N, 3, H, W) → (N, num_classes) logits.

    H and W are arbitrary; the paper uses 224.

    Args:
        units: number of units in each of the three stages.
        channels: of conv1, of the three stages and of conv5.

    Raises:
        ValueError: `units` does not have three elements, or `channels` five.
    """

    def __init__(self, units: tuple[int, ...], channels: tuple[int, ...], num_classes: int = 1000) -> None:
        if len(units) != 3 or len(channels) != 5:
            raise ValueError(f"ShuffleNetV2: expected 3 numbers of units and 5 of channels, got {units!r} and {channels!r}")
        first, *stages, last = channels
        self.conv1 = nn.Sequential(nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(InvertedResidual(before, after, 2), *(InvertedResidual(after, after, 1) for _ in range(count - 1)))
            for before, after, count in zip(channels, stages, units)
        )
        self.conv5 = nn.Sequential(*pointwise(stages[-1], last))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))  # (N, 24, H/4, W/4)
        x = self.stage4(self.stage3(self.stage2(x)))  # (N, …, H/32, W/32)
        return self.fc(self.avgpool(self.conv5(x)).flatten(1))


def shufflenet_v2_x0_5(num_classes: int = 1000) -> ShuffleNetV2:
    """ShuffleNet V2 0.5×: (N, 3, 224, 224) → (N, num_classes). 1,366,792 parameters, 40,476,448 multiply-adds.

    >>> sum(p.numel() for p in shufflenet_v2_x0_5().parameters())
    1366792
    """
    return ShuffleNetV2(UNITS, CHANNELS["x0_5"], num_classes)


def shufflenet_v2_x1_0(num_classes: int = 1000) -> ShuffleNetV2:
    """ShuffleNet V2 1×: (N, 3, 224, 224) → (N, num_classes). 2,278,604 parameters, 144,907,992 multiply-adds."""
    return ShuffleNetV2(UNITS, CHANNELS["x1_0"], num_classes)


def shufflenet_v2_x1_5(num_classes: int = 1000) -> ShuffleNetV2:
    """ShuffleNet V2 1.5×: (N, 3, 224, 224) → (N, num_classes). 3,503,624 parameters, 295,759,392 multiply-adds."""
    return ShuffleNetV2(UNITS, CHANNELS["x1_5"], num_classes)


def shufflenet_v2_x2_0(num_classes: int = 1000) -> ShuffleNetV2:
    """ShuffleNet V2 2×: (N, 3, 224, 224) → (N, num_classes). 7,393,996 parameters, 583,253,464 multiply-adds."""
    return ShuffleNetV2(UNITS, CHANNELS["x2_0"], num_classes)


PAPER = "Ma, Zhang, Zheng, Sun: ShuffleNet V2: practical guidelines for efficient CNN architecture design, arXiv 1807.11164"
IDEA = "half of the channels is passed on unchanged, then all are shuffled; designed for speed rather than few multiply-adds"

CARDS = (
    Card("shufflenet_v2_x0_5", shufflenet_v2_x0_5, year=2018, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("shufflenet_v2_x1_0", shufflenet_v2_x1_0, year=2018, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("shufflenet_v2_x1_5", shufflenet_v2_x1_5, year=2018, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("shufflenet_v2_x2_0", shufflenet_v2_x2_0, year=2018, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
)
