"""GoogLeNet: Szegedy, Liu, Jia et al. 2014, "Going deeper with convolutions", arxiv.org/abs/1409.4842.

    3×224×224 → 7×7, 64, stride 2 → max pooling, stride 2 → 1×1, 64 → 3×3, 192 → max pooling, stride 2 → 192×28×28
              → 3a, 3b → max pooling, stride 2 → 4a, 4b, 4c, 4d, 4e → max pooling, stride 2 → 5a, 5b → 1024×7×7
              → global average pooling → num_classes scores

The numbered parts are inception modules. Objects may be small or large, so each module applies kernels of several sizes in
parallel branches, and concatenates the results as channels (figure 2b). The 1×1 convolutions before the larger ones save work:
they reduce the number of channels.

    x ──┬── 1×1 ──────────────────┬──→
        ├── 1×1, fewer ── 3×3 ────┤
        ├── 1×1, fewer ── 5×5 ────┤
        └── 3×3 max pooling ─ 1×1 ┘

Networks with 22 layers were hard to train at the time, because gradients got lost on the way. So two small classifiers, the
auxiliary heads, are attached to 4a and 4d during training, and add gradients there (section 5).

`googlenet_2014` is the network of the paper. `googlenet` is torchvision's, whose names and `state_dict` keys both have: with
batch normalisation (Ioffe & Szegedy 2015, arxiv.org/abs/1502.03167), and 3×3 kernels where the paper has 5×5.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from microtensor import nn
from microtensor.nn import init
from microtensor.ops.join import cat
from microtensor.tensor import Tensor

from .card import Card

TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Table 1: channels of 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5; pool proj. The output has the 1st, 3rd, 5th and 6th."""


class GoogLeNetOutputs(NamedTuple):
    """Outputs in training mode: the scores, and those of the auxiliary heads, whose losses the paper weighs by 0.3 (section 5).

    out = model(images)
    loss = nn.cross_entropy(out.logits, labels)
    loss = loss + 0.3 * (nn.cross_entropy(out.aux_logits1, labels) + nn.cross_entropy(out.aux_logits2, labels))
    """

    logits: Tensor
    aux_logits2: Tensor
    """Of the head on 4d."""
    aux_logits1: Tensor
    """Of the head on 4a."""


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation, ReLU: (N, in_channels, H, W) → (N, out_channels, H', W').

    Args:
        kernel_size, stride, padding: pixels, one number or (height, width).
        std: standard deviation of the initial weights. (torchvision truncates the distribution at ±2, at least 20 std away.)
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, *, std: float = 0.01
    ) -> None:
        with init.skipped():  # initialised below
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)
        init.normal_(self.conv.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class ConvReLU(nn.Module):
    """Convolution and ReLU, as in the paper: (N, in_channels, H, W) → (N, out_channels, H', W').

    Initial weights are uniform with variance 1 / fan-in, and biases 0.2, as in Caffe's bvlc_googlenet: the paper does not say.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0) -> None:
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)
        start_2014(self.conv, bias=0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()


def start_2014(layer: nn.Conv2d | nn.Linear, bias: float) -> None:
    """Initialise a layer of `googlenet_2014`: see `ConvReLU`."""
    init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    if layer.bias is not None:
        init.constant_(layer.bias, bias)


class Inception(nn.Concat):
    """The inception module, figure 2b: (N, in_channels, H, W) → (N, ch1x1 + ch3x3 + ch5x5 + pool_proj, H, W).

    Args:
        ch1x1, ch3x3red, ch3x3, ch5x5red, ch5x5, pool_proj: a row of `TABLE`.
    """

    unit: ClassVar[type[Any]] = BasicConv2d
    third: ClassVar[int] = 3
    """Kernel size of the third branch: 5 in the paper. torchvision has 3, by mistake, and its weights need it."""

    def __init__(
        self, in_channels: int, ch1x1: int, ch3x3red: int, ch3x3: int, ch5x5red: int, ch5x5: int, pool_proj: int
    ) -> None:
        unit, third = self.unit, self.third
        branches = {
            "branch1": unit(in_channels, ch1x1, 1),
            "branch2": nn.Sequential(unit(in_channels, ch3x3red, 1), unit(ch3x3red, ch3x3, 3, padding=1)),
            "branch3": nn.Sequential(unit(in_channels, ch5x5red, 1), unit(ch5x5red, ch5x5, third, padding=third // 2)),
            "branch4": nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), unit(in_channels, pool_proj, 1)),
        }
        super().__init__(branches)


class InceptionOf2014(Inception):
    """The inception module as published: 5×5 kernels, no batch normalisation."""

    unit, third = ConvReLU, 5


class InceptionAux(nn.Module):
    """An auxiliary head: (N, in_channels, H, W) → (N, num_classes) logits. Average-pools to 4×4 first."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.7) -> None:
        self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(4)
        self.conv: nn.Module = BasicConv2d(in_channels, 128, 1)
        self.fc1 = linear(128 * 4 * 4, 1024)
        self.fc2 = linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.avgpool(x)).flatten(1)  # (N, 2048)
        return self.fc2(self.dropout(self.fc1(x).relu()))


class InceptionAuxOf2014(InceptionAux):
    """An auxiliary head as published (section 5): 5×5 average pooling with stride 3, so it needs 14 to 16 pixels per side."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.7) -> None:
        super().__init__(in_channels, num_classes, dropout)
        self.avgpool = nn.AvgPool2d(5, stride=3)
        self.conv = ConvReLU(in_channels, 128, 1)
        start_2014(self.fc1, bias=0.2)
        start_2014(self.fc2, bias=0.0)

    def forward(self, x: Tensor) -> Tensor:
        if not all(14 <= n <= 16 for n in x.shape[2:]):
            raise ValueError(
                f"an auxiliary head needs 14 to 16 pixels per side, got shape {x.shape}; train on images of 224×224, or with "
                "aux_logits=False"
            )
        return super().forward(x)


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with torchvision's initial weights, normal with standard deviation 0.01: (N, in) → (N, out)."""
    layer = nn.Linear(in_features, out_features)
    init.normal_(layer.weight, std=0.01)
    return layer


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def from_imagenet(x: Tensor) -> Tensor:
    """Images normalised with ImageNet's mean and std → pixels from −1 to 1, as Google's weights expect.

    (N, 3, H, W) → the same shape.

    Raises:
        ValueError: x has another shape.
    """
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"transform_input: expected normalised images (N, 3, H, W), got shape {x.shape}")
    means_and_deviations = enumerate(zip(IMAGENET_MEAN, IMAGENET_STD))
    return cat([x[:, c : c + 1] * (2 * std) + (2 * mean - 1) for c, (mean, std) in means_and_deviations], dim=1)


class GoogLeNet(nn.Module):
    """Nine inception modules: (N, 3, H, W) → (N, num_classes) logits; in training mode `GoogLeNetOutputs`, three of them.

    H and W are 224 in the paper, at least 32. Initial weights are torchvision's: normal with standard deviation 0.01.

    Args:
        num_classes: number of scores.
        aux_logits: whether there are auxiliary heads. They are used in training mode only.
        transform_input: convert images normalised with ImageNet's mean and std to −1 … 1, as torchvision's weights expect.
        dropout, dropout_aux: dropout probability before the last linear layer, of the network and of an auxiliary head.
    """

    inception: ClassVar[type[Inception]] = Inception
    head: ClassVar[type[InceptionAux]] = InceptionAux

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        *,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
    ) -> None:
        self.aux_logits, self.transform_input = aux_logits, transform_input
        unit, inception, head = self.inception.unit, self.inception, self.head
        self.conv1 = unit(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)

        self.inception3a = inception(192, *TABLE["3a"])
        self.inception3b = inception(256, *TABLE["3b"])
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)

        self.inception4a = inception(480, *TABLE["4a"])
        self.inception4b = inception(512, *TABLE["4b"])
        self.inception4c = inception(512, *TABLE["4c"])
        self.inception4d = inception(512, *TABLE["4d"])
        self.inception4e = inception(528, *TABLE["4e"])
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)

        self.inception5a = inception(832, *TABLE["5a"])
        self.inception5b = inception(832, *TABLE["5b"])

        self.aux1 = head(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = head(528, num_classes, dropout_aux) if aux_logits else None

        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = linear(1024, num_classes)

    def stem(self, x: Tensor) -> Tensor:
        """The layers before the first inception module: (N, 3, H, W) → (N, 192, H/8, W/8)."""
        x = self.maxpool1(self.conv1(x))  # (N, 64, H/4, W/4)
        return self.maxpool2(self.conv3(self.conv2(x)))

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        x = self.stem(from_imagenet(x) if self.transform_input else x)
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        early = self.inception4a(x)  # (N, 512, H/16, W/16)
        late = self.inception4d(self.inception4c(self.inception4b(early)))  # (N, 528, H/16, W/16)
        x = self.maxpool4(self.inception4e(late))
        x = self.inception5b(self.inception5a(x))  # (N, 1024, H/32, W/32)
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if not self.training or self.aux1 is None or self.aux2 is None:
            return logits
        return GoogLeNetOutputs(logits, aux_logits2=self.aux2(late), aux_logits1=self.aux1(early))


class GoogLeNetOf2014(GoogLeNet):
    """GoogLeNet as published: `GoogLeNet` with 5×5 kernels and local response normalisation, without batch normalisation.

    In training, the auxiliary heads need images of 223 to 270 pixels per side; the paper has 224.

    The paper states neither the settings of local response normalisation (figure 3) nor the initial weights. Both are taken
    from Caffe's bvlc_googlenet, which has as many parameters: 5 channels, alpha 1e-4, beta 0.75; for the weights see
    `ConvReLU`.
    """

    inception, head = InceptionOf2014, InceptionAuxOf2014

    def __init__(self, num_classes: int = 1000, aux_logits: bool = True) -> None:
        super().__init__(num_classes, aux_logits, dropout=0.4)
        self.norm1 = nn.LocalResponseNorm(5)
        self.norm2 = nn.LocalResponseNorm(5)
        self.maxpool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # torchvision's is 2×2
        start_2014(self.fc, bias=0.0)

    def stem(self, x: Tensor) -> Tensor:
        """The layers before the first inception module, figure 3: (N, 3, H, W) → (N, 192, H/8, W/8)."""
        x = self.norm1(self.maxpool1(self.conv1(x)))  # (N, 64, H/4, W/4)
        return self.maxpool2(self.norm2(self.conv3(self.conv2(x))))


def googlenet(num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False) -> GoogLeNet:
    """torchvision's GoogLeNet: (N, 3, 224, 224) → (N, num_classes) logits; in training mode `GoogLeNetOutputs`.

    13,004,888 parameters, of which 6,379,984 are the auxiliary heads', so 6,624,904 without them. 1,498,376,192 multiply-adds.

    Args:
        num_classes, aux_logits, transform_input: see `GoogLeNet`.

    >>> sum(p.numel() for p in googlenet(aux_logits=False).parameters())
    6624904
    """
    return GoogLeNet(num_classes, aux_logits, transform_input)


def googlenet_2014(num_classes: int = 1000, aux_logits: bool = True) -> GoogLeNetOf2014:
    """GoogLeNet as published: (N, 3, 224, 224) → (N, num_classes) logits; in training mode `GoogLeNetOutputs`.

    13,378,280 parameters, of which 6,379,728 are the auxiliary heads', so 6,998,552 without them: a ninth of AlexNet's.
    1,582,671,872 multiply-adds. An ensemble of seven won ILSVRC 2014 (section 7).

    >>> sum(p.numel() for p in googlenet_2014(aux_logits=False).parameters())
    6998552
    """
    return GoogLeNetOf2014(num_classes, aux_logits)


_PAPER = "Szegedy, Liu, Jia, Sermanet, Reed et al.: Going deeper with convolutions, arXiv 1409.4842"

CARDS = (
    Card(
        "googlenet_2014",
        googlenet_2014,
        2014,
        _PAPER,
        "kernels of several sizes in parallel, and 1×1 convolutions that make them cheap",
    ),
    Card("googlenet", googlenet, 2014, _PAPER, "GoogLeNet with batch normalisation, as in torchvision"),
)
