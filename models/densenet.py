"""DenseNet: Huang, Liu, van der Maaten & Weinberger 2016, "Densely connected convolutional networks", arxiv.org/abs/1608.06993.

    3×224×224 → 7×7, stride 2 → 3×3 max pooling, stride 2 → denseblock1 56×56 → transition1 → denseblock2 28×28
              → transition2 → denseblock3 14×14 → transition3 → denseblock4 7×7 → norm, ReLU → global average pooling → scores

A ResNet adds the output of a block to its input. A DenseNet concatenates them, so that each layer of a dense block gets the
feature maps of all layers before it, and need not compute them again (equation 2):

    x₀, x₁ = H₁(x₀), x₂ = H₂([x₀, x₁]), x₃ = H₃([x₀, x₁, x₂]), …    where H is norm, ReLU, 1×1 – norm, ReLU, 3×3

A layer outputs k channels, the growth rate: the l-th layer of a block with k0 input channels gets k0 + k (l − 1). A 1×1
convolution first reduces them to 4k channels, to save work: the bottleneck, the B in DenseNet-BC. A transition between blocks
halves the size and the number of channels: the C, for compression (section 3).

Attribute names and `state_dict` keys are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from microtensor import nn
from microtensor.checkpoint import checkpoint
from microtensor.nn import init
from microtensor.ops.join import cat
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .card import Card

TABLE = {
    121: (32, (6, 12, 24, 16), 64),
    161: (48, (6, 12, 36, 24), 96),
    169: (32, (6, 12, 32, 32), 64),
    201: (32, (6, 12, 48, 32), 64),
}
"""Table 1: depth → growth rate k, layers of each block, channels of the stem."""


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution with "same" padding and without bias. Initial weights: normal with variance 2 / fan-in."""
    with init.skipped():  # initialised below
        layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    init.kaiming_normal_(layer.weight)
    return layer


class DenseLayer(nn.Module):
    """Batch norm, ReLU and convolution of the concatenated inputs: several (N, Cᵢ, H, W) → (N, out_channels, H, W).

    Args:
        in_channels: C₀ + C₁ + …
        drop_rate: dropout probability of the output.
        memory_efficient: in training, recompute the input of the convolution in the backward pass rather than keep it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        drop_rate: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = conv(in_channels, out_channels, kernel_size)
        self.dropout = nn.Dropout(drop_rate)
        self.memory_efficient = memory_efficient

    def gathered(self, *features: Tensor) -> Tensor:
        """Concatenate, then norm, ReLU and convolution: `forward` without dropout."""

        def gather(*features: Tensor) -> Tensor:
            return self.conv1(self.relu1(self.norm1(cat(features, dim=1))))

        return checkpoint(gather, *features) if self.memory_efficient and self.training else gather(*features)

    def forward(self, *features: Tensor) -> Tensor:
        return self.dropout(self.gathered(*features))


class BottleneckLayer(DenseLayer):
    """A dense layer of two convolutions, 1×1 and 3×3: several (N, Cᵢ, H, W) → (N, growth_rate, H, W).

    Args:
        bn_size: the bottleneck has bn_size · growth_rate channels.
        in_channels, drop_rate, memory_efficient: as for `DenseLayer`.
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        bn_size: int = 4,
        drop_rate: float = 0.0,
        memory_efficient: bool = False,
    ) -> None:
        width = bn_size * growth_rate
        super().__init__(in_channels, width, 1, drop_rate, memory_efficient)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = conv(width, growth_rate, 3)

    def forward(self, *features: Tensor) -> Tensor:
        x = self.gathered(*features)  # (N, bn_size · growth_rate, H, W)
        return self.dropout(self.conv2(self.relu2(self.norm2(x))))


class DenseBlock(nn.Sequential):
    """Layers that each get the outputs of all before: (N, C, H, W) → (N, C + layers · growth_rate, H, W).

    The layers are named `denselayer1`, `denselayer2` and so on; `settings` are passed to them.
    """

    def __init__(self, in_channels: int, growth_rate: int, layers: int, bn_size: int | None = 4, **settings: Any) -> None:
        named: dict[str, nn.Module] = {}
        for i in range(layers):
            seen = in_channels + i * growth_rate
            if bn_size is None:
                named[f"denselayer{i + 1}"] = DenseLayer(seen, growth_rate, **settings)
            else:
                named[f"denselayer{i + 1}"] = BottleneckLayer(seen, growth_rate, bn_size, **settings)
        super().__init__(named)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self:
            features.append(layer(*features))
        return cat(features, dim=1)


def transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """The transition between two blocks: (N, in_channels, H, W) → (N, out_channels, ⌊H / 2⌋, ⌊W / 2⌋)."""
    norm, pool = nn.BatchNorm2d(in_channels), nn.AvgPool2d(2)
    return nn.Sequential({"norm": norm, "relu": nn.ReLU(), "conv": conv(in_channels, out_channels, 1), "pool": pool})


class DenseNet(nn.Module):
    """A stem, dense blocks with transitions between them, one linear layer: (N, 3, H, W) → (N, num_classes) logits.

    H and W are 224 in the paper, at least 32. Initial weights are torchvision's: normal with variance 2 / fan-in
    (He et al. 2015, arxiv.org/abs/1502.01852), the linear layer's are `Linear`'s defaults, its bias 0.

    Args:
        growth_rate: k, the channels that each layer adds.
        block_config: number of layers of each block.
        num_init_features: output channels of the stem.
        bn_size: the 1×1 convolution of each layer has bn_size · k output channels; None: no 1×1 convolutions.
        drop_rate: dropout probability of each layer's output.
        num_classes: number of scores.
        memory_efficient: in training, keep only the output of each layer, and recompute the concatenated input of its 1×1
            convolution in the backward pass; otherwise memory grows with the square of a block's layers. `norm1` then updates
            its running statistics twice per batch.
        compression: θ, the fraction of the channels that a transition keeps.
        small_images: the stem is a 3×3 convolution with stride 1 and no pooling, as for CIFAR. The minimum for three blocks is
            4 pixels per side.

    Raises:
        TypeError: a size is not an integer.
        ValueError: there is no block, a value is out of range, or compression is not in (0, 1].
    """

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int | None = 4,
        drop_rate: float = 0.0,
        num_classes: int = 1000,
        memory_efficient: bool = False,
        *,
        compression: float = 0.5,
        small_images: bool = False,
    ) -> None:
        for count in (growth_rate, num_init_features, *block_config):
            as_integer("DenseNet", "growth_rate, num_init_features and each of block_config", count, least=1)
        if not block_config or not 0 < compression <= 1:
            raise ValueError(
                "DenseNet: expected a block or more, and a compression above 0 and up to 1, got "
                f"block_config={block_config!r} and compression={compression!r}"
            )
        channels = num_init_features
        if small_images:
            layers: dict[str, nn.Module] = {"conv0": conv(3, channels, 3)}
        else:
            layers = {"conv0": conv(3, channels, 7, stride=2), "norm0": nn.BatchNorm2d(channels), "relu0": nn.ReLU()}
            layers["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
        for i, count in enumerate(block_config, start=1):
            if i > 1:
                kept = int(channels * compression)
                layers[f"transition{i - 1}"] = transition(channels, kept)
                channels = kept
            layers[f"denseblock{i}"] = DenseBlock(
                channels, growth_rate, count, bn_size, drop_rate=drop_rate, memory_efficient=memory_efficient
            )
            channels += count * growth_rate
        layers[f"norm{len(block_config) + 1}"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(channels, num_classes)
        if self.classifier.bias is not None:
            init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).relu()  # (N, C, H/32, W/32)
        return self.classifier(x.mean((2, 3)))


def _published(depth: int, num_classes: int, memory_efficient: bool) -> DenseNet:
    growth_rate, block_config, channels = TABLE[depth]
    return DenseNet(growth_rate, block_config, channels, num_classes=num_classes, memory_efficient=memory_efficient)


def densenet121(num_classes: int = 1000, memory_efficient: bool = False) -> DenseNet:
    """DenseNet-121, k = 32: (N, 3, 224, 224) → (N, num_classes) logits. 7,978,856 parameters, 2,834,161,664 multiply-adds."""
    return _published(121, num_classes, memory_efficient)


def densenet161(num_classes: int = 1000, memory_efficient: bool = False) -> DenseNet:
    """DenseNet-161, k = 48: (N, 3, 224, 224) → (N, num_classes) logits. 28,681,000 parameters, 7,727,907,072 multiply-adds."""
    return _published(161, num_classes, memory_efficient)


def densenet169(num_classes: int = 1000, memory_efficient: bool = False) -> DenseNet:
    """DenseNet-169, k = 32: (N, 3, 224, 224) → (N, num_classes) logits. 14,149,480 parameters, 3,359,843,328 multiply-adds."""
    return _published(169, num_classes, memory_efficient)


def densenet201(num_classes: int = 1000, memory_efficient: bool = False) -> DenseNet:
    """DenseNet-201, k = 32: (N, 3, 224, 224) → (N, num_classes) logits. 20,013,928 parameters, 4,291,365,888 multiply-adds."""
    return _published(201, num_classes, memory_efficient)


def cifar_densenet(
    depth: int = 100,
    growth_rate: int = 12,
    *,
    bottleneck: bool = True,
    compression: float = 0.5,
    num_classes: int = 10,
    drop_rate: float = 0.0,
    memory_efficient: bool = False,
) -> DenseNet:
    """A DenseNet for images of 32×32 pixels, section 3: three equal blocks. (N, 3, 32, 32) → (N, num_classes) logits.

    The default is DenseNet-BC-100-12: 769,162 parameters, 287,929,692 multiply-adds. `cifar_densenet(40, 12, bottleneck=False,
    compression=1.0)` is DenseNet-40-12, with 1,019,722 parameters.

    Args:
        depth: number of layers with weights: 3n + 4, or 6n + 4 with bottlenecks.
        growth_rate: k.
        bottleneck: whether a 1×1 convolution to 4k channels precedes each 3×3: the B of DenseNet-BC.
        compression: θ, the fraction of the channels that a transition keeps: 0.5 is the C of DenseNet-BC, 1 keeps all.
        drop_rate: dropout probability; the paper uses 0.2 without data augmentation.

    Raises:
        TypeError: a size is not an integer.
        ValueError: the depth has another form; compression is not in (0, 1].

    >>> sum(p.numel() for p in cifar_densenet(40, 12, bottleneck=False, compression=1.0).parameters())
    1019722
    """
    each = 6 if bottleneck else 3  # convolutions per layer, times three blocks
    count = (as_integer("cifar_densenet", "depth", depth, least=each + 4) - 4) // each
    if each * count + 4 != depth:
        raise ValueError(
            f"cifar_densenet: three equal blocks {'with' if bottleneck else 'without'} bottlenecks have {each}n + 4 layers, "
            f"got depth {depth}; {each * count + 4} and {each * count + 4 + each} are the nearest"
        )
    return DenseNet(
        growth_rate,
        (count,) * 3,
        2 * growth_rate if bottleneck and compression < 1 else 16,
        bn_size=4 if bottleneck else None,
        drop_rate=drop_rate,
        num_classes=num_classes,
        memory_efficient=memory_efficient,
        compression=compression,
        small_images=True,
    )


_PAPER = "Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, arXiv 1608.06993"

CARDS = (
    Card("densenet121", densenet121, 2016, _PAPER, "each layer gets the feature maps of all layers before it"),
    Card("densenet161", densenet161, 2016, _PAPER, "DenseNet with a growth rate of 48 instead of 32"),
    Card("densenet169", densenet169, 2016, _PAPER, "DenseNet-121 with more layers"),
    Card("densenet201", densenet201, 2016, _PAPER, "DenseNet-169 with more layers"),
    Card("cifar_densenet", cifar_densenet, 2016, _PAPER, "DenseNet-BC-100-12: a hundred layers with few channels", (3, 32, 32)),
)
