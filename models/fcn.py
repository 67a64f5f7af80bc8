"""FCN: Long, Shelhamer & Darrell 2015, "Fully convolutional networks for semantic segmentation", arXiv 1411.4038.

A classifier predicts a class for an image; this network predicts one for each pixel. A linear layer on 7×7 feature maps is the
same as a 7×7 convolution. Written as a convolution, the classifier takes images of any size and outputs a map of scores
(section 3.1). Strides make that map coarse; a transposed convolution, initialised as bilinear interpolation, enlarges it to the
size of the image.

    VGG-16 as in the paper: (N, 3, H, W) → (N, 21, H, W)
    image padded by 100 → pool3, 8 pixels apart → pool4, 16 → pool5, 32 → fc6 7×7, 4096 → fc7 1×1, 4096 → score_fr, 21 maps

    fcn32s   score_fr ── 32 × ──→ image
    fcn16s   score_fr ── 2 × ──(+ scores of pool4)── 16 × ──→ image
    fcn8s    score_fr ── 2 × ──(+ scores of pool4)── 2 × ──(+ scores of pool3)── 8 × ──→ image

    ResNet as in torchvision: (N, 3, H, W) → {"out": (N, 21, H, W), "aux": (N, 21, H, W)}
    layer3 and layer4 keep the size of layer2, with dilated kernels: stride 8 in all, not 32 → head → bilinear 8 ×

The 21 classes are those of PASCAL VOC: 20 kinds of objects, and class 0 for the background.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from microtensor import nn
from microtensor.autograd.grad_mode import no_grad
from microtensor.tensor import Tensor

from .card import Card
from .resnet import TABLE, ResNet
from .vgg import MAPS, VGG

F = TypeVar("F", bound="FCNVGG16")

# On ResNet, with torchvision's names


class Backbone(nn.ModuleDict):
    """A ResNet without pooling and linear layer, with the same names: (N, 3, H, W) → the outputs of layer3 and of layer4."""

    def __init__(self, network: ResNet) -> None:
        super().__init__({name: layer for name, layer in network.named_children() if name not in ("avgpool", "fc")})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, 3, H, W) → (N, 1024, H', W') and (N, 2048, H', W'), with H' = ⌈H / 8⌉ where layers are dilated."""
        *layers, last = self.values()
        for layer in layers:
            x = layer(x)
        return x, last(x)


class FCNHead(nn.Sequential):
    """Scores from features, by a 3×3 and a 1×1 convolution: (N, in_channels, H, W) → (N, channels, H, W)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        between = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, between, 3, padding=1, bias=False),
            nn.BatchNorm2d(between),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(between, channels, 1),
        )


class FCN(nn.Module):
    """Scores from a backbone's last features, interpolated to the size of the image; and from earlier features, if wanted.

    Args:
        backbone: returns two tensors of features, the last ones second.
        classifier: computes scores from the last features.
        aux_classifier: computes scores from the earlier features, for an auxiliary loss (weighted by 0.5 in torchvision's
            recipe).
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        self.backbone, self.classifier, self.aux_classifier = backbone, classifier, aux_classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x (N, 3, H, W) → {"out": (N, classes, H, W)}, and "aux" of the same shape after it if there is an aux_classifier."""
        middle, last = self.backbone(x)
        result = {"out": nn.interpolate(self.classifier(last), x.shape[2:], mode="bilinear")}
        if self.aux_classifier is not None:
            result["aux"] = nn.interpolate(self.aux_classifier(middle), x.shape[2:], mode="bilinear")
        return result


def _on_resnet(depth: int, num_classes: int, aux_loss: bool) -> FCN:
    block, layers = TABLE[depth]
    backbone = Backbone(ResNet(block, layers, replace_stride_with_dilation=(False, True, True)))
    return FCN(backbone, FCNHead(2048, num_classes), FCNHead(1024, num_classes) if aux_loss else None)


def fcn_resnet50(num_classes: int = 21, aux_loss: bool = True) -> FCN:
    """FCN on a dilated ResNet-50: (N, 3, H, W) → {"out", "aux"}, both (N, num_classes, H, W).

    35,322,218 parameters, 152,716,512,000 multiply-adds for 520×520 pixels. Without the auxiliary head 32,957,013 parameters.

    torchvision's published weights include the parameters of that head; so it is there by default.

    >>> with nn.init.skipped():
    ...     model = fcn_resnet50()
    >>> sum(p.numel() for p in model.parameters())
    35322218
    """
    return _on_resnet(50, num_classes, aux_loss)


def fcn_resnet101(num_classes: int = 21, aux_loss: bool = True) -> FCN:
    """FCN on a dilated ResNet-101: (N, 3, H, W) → {"out", "aux"}, both (N, num_classes, H, W).

    54,314,346 parameters, 232,737,606,400 multiply-adds for 520×520 pixels. Otherwise as `fcn_resnet50`.
    """
    return _on_resnet(101, num_classes, aux_loss)


# On VGG-16, with the names of the paper's Caffe networks

CONVOLUTIONS = (
    ("conv1_1", "conv1_2"),
    ("conv2_1", "conv2_2"),
    ("conv3_1", "conv3_2", "conv3_3"),
    ("conv4_1", "conv4_2", "conv4_3"),
    ("conv5_1", "conv5_2", "conv5_3"),
)
"""VGG-16's five stages, each followed by 2×2 max pooling."""

PADDING = 100
"""Padding of the first convolution: fc6 needs 7×7 feature maps even for an image of 1×1, and scores must cover the border."""

UNITS = 4096
"""Output channels of fc6 and of fc7."""


def bilinear_upsampling(channels: int, factor: int, learned: bool) -> nn.ConvTranspose2d:
    """A transposed convolution initialised as bilinear interpolation: (N, C, H, W) → (N, C, factor·(H + 1), factor·(W + 1)).

    Kernels are triangles of 2·factor pixels, from each channel to itself (section 3.3). The border of the output fades to 0,
    and is to be cropped.

    >>> bilinear_upsampling(1, 2, learned=False)(Tensor([[[[1.0] * 3] * 3]])).detach()[0, 0, 3]
    Tensor([0.25, 0.75, 1.  , 1.  , 1.  , 1.  , 0.75, 0.25])
    """
    with nn.init.skipped():
        layer = nn.ConvTranspose2d(channels, channels, 2 * factor, factor, bias=False)
    tent = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    weight = np.zeros(layer.weight.shape, np.float32)
    weight[range(channels), range(channels)] = np.outer(tent, tent)
    layer.weight = nn.Parameter(weight, requires_grad=learned)
    return layer


def crop(x: Tensor, offset: int, like: Tensor) -> Tensor:
    """The part of x that begins `offset` pixels from its top and its left, of the size of `like`."""
    height, width = like.shape[2:]
    return x[:, :, offset : offset + height, offset : offset + width]


class FCNVGG16(nn.Module):
    """VGG-16 with convolutions in place of linear layers: the base class of the three networks.

    Initial weights are those of He et al. 2015 (arXiv 1502.01852), except for the scores, which are 0, and the upsampling,
    which is bilinear: learned where scores are fused, fixed at the end (section 4.3). The paper starts from a VGG-16 trained to
    classify (`start_from`), and trains fcn16s from fcn32s, fcn8s from fcn16s: `load_state_dict(…, strict=False)`.

    The authors' published weights expect channels in the order blue, green, red, from 0 to 255, minus 104.00699, 116.66877 and
    122.67892.

    Args:
        num_classes: number of scores per pixel.
    """

    def __init__(self, num_classes: int = 21) -> None:
        with nn.init.skipped():  # initialised below
            channels = 3
            for names, maps in zip(CONVOLUTIONS, MAPS):
                for name in names:
                    padding = PADDING if name == "conv1_1" else 1
                    self.register_module(name, nn.Conv2d(channels, maps, 3, padding=padding))
                    channels = maps
            self.fc6 = nn.Conv2d(channels, UNITS, 7)
            self.drop6 = nn.Dropout(0.5)
            self.fc7 = nn.Conv2d(UNITS, UNITS, 1)
            self.drop7 = nn.Dropout(0.5)
        for layer in self._classifier():
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            _zero_bias(layer)
        self.score_fr = scores(UNITS, num_classes)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)

    def _classifier(self) -> list[nn.Conv2d]:
        """The fifteen layers that come from VGG-16: all but its last."""
        return [layer for layer in self.children() if isinstance(layer, nn.Conv2d)][:15]

    def start_from(self: F, network: VGG) -> F:
        """Copy the weights of `vgg16`, its linear layers reshaped to convolutions (figure 2), and return the network itself.

        Raises:
            ValueError: `network` is not a VGG-16 without batch normalisation.
        """
        theirs = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))][:-1]
        ours = self._classifier()
        normalised = any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
        if normalised or [layer.weight.numel() for layer in theirs] != [layer.weight.numel() for layer in ours]:
            given = f"{len(theirs) + 1} layers{' and batch normalisation' if normalised else ''}"
            raise ValueError(f"{type(self).__name__}: start_from takes the weights of vgg16(), got a network of {given}")
        with no_grad():
            for to, start in zip(ours, theirs):
                to.weight[...] = start.weight.reshape(to.weight.shape)  # (4096, 25088) → (4096, 512, 7, 7)
                if to.bias is not None and start.bias is not None:
                    to.bias[...] = start.bias
        return self

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, 3, H, W) → pool3 (N, 256, …), pool4 (N, 512, …) and the coarse scores (N, num_classes, …)."""
        pooled = []
        for names in CONVOLUTIONS:
            for name in names:
                x = self.relu(self.get_submodule(name)(x))
            x = self.pool(x)
            pooled.append(x)
        x = self.drop6(self.relu(self.fc6(x)))
        x = self.drop7(self.relu(self.fc7(x)))
        return pooled[2], pooled[3], self.score_fr(x)


# Offsets of the crops. In pixels of the image, from the centre of its first pixel, receptive fields are centred at 12.5, 44.5,
# … for score_fr (stride 32), at −91.5, −75.5, … for pool4 (stride 16), and at −95.5, −87.5, … for pool3 (stride 8). Upsampling
# score_fr by 2 puts its first element at −11.5, which is element 5 of pool4. Upsampling that by 2 starts at −23.5, which is
# element 9 of pool3. The final upsampling by 32, 16 or 8 starts at 12.5 − 31.5, −11.5 − 15.5 or −23.5 − 7.5: 19, 27 or 31
# pixels outside of the image.


class FCN32s(FCNVGG16):
    """Upsamples the coarse scores by 32."""

    def __init__(self, num_classes: int = 21) -> None:
        super().__init__(num_classes)
        self.upscore = bilinear_upsampling(num_classes, 32, learned=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) → (N, num_classes, H, W)."""
        _, _, coarse = self.features(x)
        return crop(self.upscore(coarse), 19, x)


class FCN16s(FCNVGG16):
    """Upsamples the coarse scores by 2, adds scores of pool4, and upsamples the sum by 16."""

    def __init__(self, num_classes: int = 21) -> None:
        super().__init__(num_classes)
        self.score_pool4 = scores(MAPS[3], num_classes)
        self.upscore2 = bilinear_upsampling(num_classes, 2, learned=True)
        self.upscore16 = bilinear_upsampling(num_classes, 16, learned=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) → (N, num_classes, H, W)."""
        _, pool4, coarse = self.features(x)
        y = self.upscore2(coarse)
        y = y + crop(self.score_pool4(pool4), 5, y)
        return crop(self.upscore16(y), 27, x)


class FCN8s(FCNVGG16):
    """Like FCN-16s, but upsamples the sum by 2, adds scores of pool3, and upsamples that by 8."""

    def __init__(self, num_classes: int = 21) -> None:
        super().__init__(num_classes)
        self.score_pool3 = scores(MAPS[2], num_classes)
        self.score_pool4 = scores(MAPS[3], num_classes)
        self.upscore2 = bilinear_upsampling(num_classes, 2, learned=True)
        self.upscore_pool4 = bilinear_upsampling(num_classes, 2, learned=True)
        self.upscore8 = bilinear_upsampling(num_classes, 8, learned=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) → (N, num_classes, H, W)."""
        pool3, pool4, coarse = self.features(x)
        y = self.upscore2(coarse)
        y = self.upscore_pool4(y + crop(self.score_pool4(pool4), 5, y))
        y = y + crop(self.score_pool3(pool3), 9, y)
        return crop(self.upscore8(y), 31, x)


def scores(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1×1 convolution with zero initial weights, so that a fused network starts equal to the coarser one (section 4.2)."""
    with nn.init.skipped():
        layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    _zero_bias(layer)
    return layer


def _zero_bias(layer: nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def fcn32s_vgg16(num_classes: int = 21) -> FCN32s:
    """FCN-32s: (N, 3, H, W) → (N, num_classes, H, W) logits. 136,152,917 parameters, 1,806,336 of them fixed.

    181,365,854,976 multiply-adds for 500×500 pixels.

    >>> with nn.init.skipped():
    ...     model = fcn32s_vgg16()
    >>> sum(p.numel() for p in model.parameters())
    136152917
    """
    return FCN32s(num_classes)


def fcn16s_vgg16(num_classes: int = 21) -> FCN16s:
    """FCN-16s: (N, 3, H, W) → (N, num_classes, H, W) logits. 134,815,994 parameters, 451,584 of them fixed.

    181,448,086,272 multiply-adds for 500×500 pixels.
    """
    return FCN16s(num_classes)


def fcn8s_vgg16(num_classes: int = 21) -> FCN8s:
    """FCN-8s: (N, 3, H, W) → (N, num_classes, H, W) logits. 134,489,759 parameters, 112,896 of them fixed.

    181,529,034,048 multiply-adds for 500×500 pixels.
    """
    return FCN8s(num_classes)


_PAPER = "Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation, arXiv 1411.4038"
_DILATED = f"{_PAPER}; with Yu, Koltun: Multi-scale context aggregation by dilated convolutions, arXiv 1511.07122"

CARDS = (
    Card(
        "fcn32s_vgg16",
        fcn32s_vgg16,
        2014,
        _PAPER,
        "a classifier whose linear layers are convolutions scores every pixel",
        (3, 500, 500),
    ),
    Card(
        "fcn16s_vgg16",
        fcn16s_vgg16,
        2014,
        _PAPER,
        "coarse scores know what is there, finer features where: their sum has both",
        (3, 500, 500),
    ),
    Card("fcn8s_vgg16", fcn8s_vgg16, 2014, _PAPER, "FCN-16s with one more, finer layer", (3, 500, 500)),
    Card(
        "fcn_resnet50",
        fcn_resnet50,
        2015,
        _DILATED,
        "dilation in place of strides: the same receptive fields at a higher resolution",
        (3, 520, 520),
    ),
    Card("fcn_resnet101", fcn_resnet101, 2015, _DILATED, "the same on ResNet-101", (3, 520, 520)),
)
