"""Inception-ResNet: Szegedy, Ioffe, Vanhoucke & Alemi 2016, "Inception-v4, Inception-ResNet and the impact of residual
connections on learning", arxiv.org/abs/1602.07261.

Inception modules with a residual connection. The branches have few channels; a 1×1 convolution without activation expands their
output to the channels of x (section 3.2). In networks with many such blocks, activations grew until training failed, so the
output of each block is scaled by 0.1 to 0.2 before it is added (section 3.3):

    x ──┬── 1×1 ──────────────┬── 1×1 ── · scale ──(+)── ReLU ──→
        ├── 1×1 ── 3×3 ───────┤                     │
        ├── 1×1 ── 3×3 ── 3×3 ┘                     │
        └───────────────────────────────────────────┘

          at 299×299                     v1, as in the paper's figures       v2, as in the authors' code and in Keras
    stem                                 256×35×35                           320×35×35, with an inception module
    block35: 35×35, figures 10 and 16     5                                  10
    mixed_6a: by 2, figure 7             896×17×17                           1088×17×17
    block17: 17×17, figures 11 and 17    10                                  20
    mixed_7a: by 2, figures 12 and 18    1792×8×8                            2080×8×8
    block8: 8×8, figures 13 and 19        5                                  10, then a 1×1 convolution to 1536×8×8

The code that the authors published with the weights of v2 differs from the paper's figures 15 to 19: it has twice as many
blocks, a stem like v1's, and other widths. This is the v2 known today, since its weights are in use.

Attribute names are timm's for v2 and facenet-pytorch's for v1, except for the last layer, `classif` in both. Batch
normalisation has no scale (`bn.weight`), because the layer after the ReLU is linear and can scale instead. Files of those two
libraries have scales, all 1, as they were converted from code without them: `models.load_weights` ignores these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microtensor import nn
from microtensor.nn import init
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card

Branch = tuple[tuple[Any, ...], ...]
"""A sequence of convolutions: (channels, kernel size), or (channels, 3, 2) for stride 2."""

V1: dict[str, tuple[Branch, ...]] = {
    "block35": (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (32, 3), (32, 3))),
    "mixed_6a": (((384, 3, 2),), ((192, 1), (192, 3), (256, 3, 2))),
    "block17": (((128, 1),), ((128, 1), (128, (1, 7)), (128, (7, 1)))),
    "mixed_7a": (((256, 1), (384, 3, 2)), ((256, 1), (256, 3, 2)), ((256, 1), (256, 3), (256, 3, 2))),
    "block8": (((192, 1),), ((192, 1), (192, (1, 3)), (192, (3, 1)))),
}
"""The branches of each part, except pooling: figures 10 to 13, and figure 7 with table 1."""

V2: dict[str, tuple[Branch, ...]] = {
    "mixed_5b": (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3))),
    "block35": (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))),
    "mixed_6a": (((384, 3, 2),), ((256, 1), (256, 3), (384, 3, 2))),
    "block17": (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))),
    "mixed_7a": (((256, 1), (384, 3, 2)), ((256, 1), (288, 3, 2)), ((256, 1), (288, 3), (320, 3, 2))),
    "block8": (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))),
}
"""The same for the authors' code of v2, with the inception module after the stem."""


class ConvNormReLU(nn.Module):
    """Convolution, batch normalisation without a scale, ReLU: (N, in_channels, H, W) → (N, out_channels, H', W').

    Initial weights are `init.xavier_uniform_`, as in the authors' code.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: int = 1, padding: Any = 0) -> None:
        with init.skipped():  # initialised below
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)
        self.bn.weight = None
        init.xavier_uniform_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


def branch(in_channels: int, convolutions: Branch) -> nn.Module:
    """A sequence of convolutions. A single one is returned itself, so that it gets the name of the branch."""
    layers: list[ConvNormReLU] = []
    for out_channels, kernel_size, *halving in convolutions:
        if halving:
            layers.append(ConvNormReLU(in_channels, out_channels, kernel_size, stride=2))
        else:
            height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
            layers.append(ConvNormReLU(in_channels, out_channels, kernel_size, padding=(height // 2, width // 2)))
        in_channels = out_channels
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def concatenated(in_channels: int, branches: tuple[Branch, ...], pool: nn.Module) -> nn.Concat:
    """Branches and, last, pooling, concatenated: (N, in_channels, H, W) → (N, C₁ + C₂ + …, H', W')."""
    modules = [*(branch(in_channels, convolutions) for convolutions in branches), pool]
    return nn.Concat({f"branch{i}": module for i, module in enumerate(modules)})


class Block(nn.Module):
    """relu(x + scale · conv2d(concatenated branches)): (N, channels, H, W) → the same shape.

    Args:
        branches: two or three of them, from a table.
        scale: factor for the output before it is added.
        rectified: whether a ReLU follows the sum.
    """

    def __init__(self, channels: int, branches: tuple[Branch, ...], scale: float, rectified: bool = True) -> None:
        self.scale, self.rectified = scale, rectified
        self.branch0 = branch(channels, branches[0])
        self.branch1 = branch(channels, branches[1])
        self.branch2 = branch(channels, branches[2]) if len(branches) > 2 else None
        width = sum(convolutions[-1][0] for convolutions in branches)
        self.conv2d = nn.Conv2d(width, channels, 1)
        start(self.conv2d)

    def forward(self, x: Tensor) -> Tensor:
        branches = [module(x) for module in (self.branch0, self.branch1, self.branch2) if module is not None]
        x = x + self.scale * self.conv2d(cat(branches, dim=1))
        return x.relu() if self.rectified else x

    def extra_repr(self) -> str:
        """The settings."""
        return f"scale={self.scale}" + ("" if self.rectified else ", rectified=False")


def repeated(count: int, channels: int, branches: tuple[Branch, ...], scale: float) -> nn.Sequential:
    """A sequence of `count` equal blocks: (N, channels, H, W) → the same shape."""
    return nn.Sequential(*(Block(channels, branches, scale) for _ in range(count)))


def start(layer: nn.Conv2d | nn.Linear) -> None:
    """Initialise a layer with a bias."""
    init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)


class InceptionResNet(nn.Module):
    """What both versions share: the first convolutions, and the scores."""

    def __init__(self) -> None:
        self.conv2d_1a = ConvNormReLU(3, 32, 3, stride=2)
        self.conv2d_2a = ConvNormReLU(32, 32, 3)
        self.conv2d_2b = ConvNormReLU(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = ConvNormReLU(64, 80, 1)
        self.conv2d_4a = ConvNormReLU(80, 192, 3)

    def renamed(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Remove the scales of batch normalisation from a state_dict if they are all 1: see above."""
        superfluous = {name for name in state_dict if name.endswith(".bn.weight") and bool((state_dict[name] == 1).all())}
        return {name: x for name, x in state_dict.items() if name not in superfluous}

    def stem(self, x: Tensor) -> Tensor:
        """The first convolutions, of figure 14: (N, 3, 299, 299) → (N, 192, 71, 71)."""
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x)))  # (N, 64, 147, 147)
        return self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(x)))

    def finish(self, channels: int, num_classes: int, dropout: float) -> None:
        """The last layers: the mean over each channel, dropout, one linear layer."""
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.classif = nn.Linear(channels, num_classes)
        start(self.classif)

    def scores(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) → (N, num_classes)."""
        return self.classif(self.dropout(self.avgpool(x).flatten(1)))


class InceptionResNetV1(InceptionResNet):
    """Version 1, as in the paper's figures: (N, 3, H, W) → (N, num_classes) logits.

    H and W are 299 in the paper, at least 75.

    Args:
        num_classes: number of scores.
        dropout: dropout probability before the last layer; the paper has 0.2 (keeps 0.8).
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv2d_4b = ConvNormReLU(192, 256, 3, stride=2)
        self.repeat_1 = repeated(5, 256, V1["block35"], scale=0.17)
        self.mixed_6a = concatenated(256, V1["mixed_6a"], nn.MaxPool2d(3, stride=2))
        self.repeat_2 = repeated(10, 896, V1["block17"], scale=0.1)
        self.mixed_7a = concatenated(896, V1["mixed_7a"], nn.MaxPool2d(3, stride=2))
        self.repeat_3 = repeated(5, 1792, V1["block8"], scale=0.2)
        self.finish(1792, num_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2d_4b(self.stem(x))  # (N, 256, 35, 35)
        x = self.mixed_6a(self.repeat_1(x))  # (N, 896, 17, 17)
        x = self.mixed_7a(self.repeat_2(x))  # (N, 1792, 8, 8)
        return self.scores(self.repeat_3(x))


class InceptionResNetV2(InceptionResNet):
    """Version 2, as in the authors' code: (N, 3, H, W) → (N, num_classes) logits.

    H and W are 299 in the paper, at least 75. The last block has no ReLU, and its output is not scaled.

    Args:
        num_classes: number of scores.
        dropout: dropout probability before the last layer; the paper has 0.2 (keeps 0.8).
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        self.maxpool_5a = nn.MaxPool2d(3, stride=2)
        mean = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.mixed_5b = concatenated(192, V2["mixed_5b"], nn.Sequential(mean, ConvNormReLU(192, 64, 1)))
        self.repeat = repeated(10, 320, V2["block35"], scale=0.17)
        self.mixed_6a = concatenated(320, V2["mixed_6a"], nn.MaxPool2d(3, stride=2))
        self.repeat_1 = repeated(20, 1088, V2["block17"], scale=0.1)
        self.mixed_7a = concatenated(1088, V2["mixed_7a"], nn.MaxPool2d(3, stride=2))
        self.repeat_2 = repeated(9, 2080, V2["block8"], scale=0.2)
        self.block8 = Block(2080, V2["block8"], scale=1.0, rectified=False)
        self.conv2d_7b = ConvNormReLU(2080, 1536, 1)
        self.finish(1536, num_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mixed_5b(self.maxpool_5a(self.stem(x)))  # (N, 320, 35, 35)
        x = self.mixed_6a(self.repeat(x))  # (N, 1088, 17, 17)
        x = self.mixed_7a(self.repeat_1(x))  # (N, 2080, 8, 8)
        x = self.conv2d_7b(self.block8(self.repeat_2(x)))  # (N, 1536, 8, 8)
        return self.scores(x)


def inception_resnet_v1(num_classes: int = 1000) -> InceptionResNetV1:
    """Inception-ResNet v1: (N, 3, 299, 299) → (N, num_classes) logits. 22,742,808 parameters, 6,206,361,696 multiply-adds.

    About as large as Inception v3; it trains faster (figure 23).

    facenet-pytorch's network of this name, for faces, has 23,482,624 parameters: in place of the scores (1,793,000) a sixth
    block8 (1,600,768), a linear layer to 512 features and its normalisation (918,528), and before that 13,520 scales in batch
    normalisation. Up to `repeat_3` it has the same names, and computes the same.
    """
    return InceptionResNetV1(num_classes)


def inception_resnet_v2(num_classes: int = 1000) -> InceptionResNetV2:
    """Inception-ResNet v2: (N, 3, 299, 299) → (N, num_classes) logits. 55,813,192 parameters, 13,155,794,016 multiply-adds.

    As in Keras; timm's has 30,272 more parameters, the scales of batch normalisation.
    """
    return InceptionResNetV2(num_classes)


_PAPER = (
    "Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the impact of residual connections on learning, "
    "arXiv 1602.07261"
)

CARDS = (
    Card(
        "inception_resnet_v1",
        inception_resnet_v1,
        2016,
        _PAPER,
        "inception modules with residual connections, whose outputs are scaled down",
        (3, 299, 299),
    ),
    Card(
        "inception_resnet_v2",
        inception_resnet_v2,
        2016,
        _PAPER,
        "Inception-ResNet v1, wider and with twice as many blocks",
        (3, 299, 299),
    ),
)
