"""The networks of the benchmarks as data, so that each peer can build them.

A network is a list of layers; a layer is a tuple of its kind and its parameters.

    ("conv", in, out, kernel, stride, padding, groups, bias)    ("bn", channels)    ("relu",)    ("relu6",)
    ("maxpool", size)    ("avgpool", size)    ("mean",)    ("flatten",)    ("linear", in, out)
    ("residual", layers, stride, more)    layers(x) + every stride-th pixel of x with `more` zero channels
    ("dense", layers)                     x and layers(x) concatenated
"""

from __future__ import annotations

from typing import Any, NamedTuple

Layers = list[tuple[Any, ...]]


def conv(
    i: int, o: int, k: int, stride: int = 1, groups: int = 1, bias: bool = False, padding: int | None = None
) -> tuple[Any, ...]:
    return "conv", i, o, k, stride, k // 2 if padding is None else padding, groups, bias


def lenet5() -> Layers:
    features: Layers = [
        conv(1, 6, 5, bias=True),
        ("relu",),
        ("maxpool", 2),
        conv(6, 16, 5, bias=True, padding=0),
        ("relu",),
        ("maxpool", 2),
    ]
    return [*features, ("flatten",), ("linear", 400, 120), ("relu",), ("linear", 120, 84), ("relu",), ("linear", 84, 10)]


def resnet20() -> Layers:
    layers: Layers = [conv(3, 16, 3), ("bn", 16), ("relu",)]
    before = 16
    for width in (16, 32, 64):
        for _ in range(3):
            stride = width // before
            body = [conv(before, width, 3, stride), ("bn", width), ("relu",), conv(width, width, 3), ("bn", width)]
            layers += [("residual", body, stride, width - before), ("relu",)]
            before = width
    return [*layers, ("mean",), ("flatten",), ("linear", 64, 10)]


def densenet_bc_40_12() -> Layers:
    growth, channels = 12, 24
    layers: Layers = [conv(3, channels, 3)]
    for block in range(3):
        for _ in range(6):
            bottleneck = [("bn", channels), ("relu",), conv(channels, 4 * growth, 1)]
            layers.append(("dense", [*bottleneck, ("bn", 4 * growth), ("relu",), conv(4 * growth, growth, 3)]))
            channels += growth
        if block < 2:
            layers += [("bn", channels), ("relu",), conv(channels, channels // 2, 1), ("avgpool", 2)]
            channels //= 2
    return [*layers, ("bn", channels), ("relu",), ("mean",), ("flatten",), ("linear", channels, 10)]


def mobilenet_quarter() -> Layers:
    layers: Layers = [conv(3, 8, 3, 2), ("bn", 8), ("relu",)]
    before = 8
    for width, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):
        width //= 4
        layers += [conv(before, before, 3, stride, groups=before), ("bn", before), ("relu",)]
        layers += [conv(before, width, 1), ("bn", width), ("relu",)]
        before = width
    return [*layers, ("mean",), ("flatten",), ("linear", before, 1000)]


def vgg11() -> Layers:
    layers: Layers = []
    before = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        layers += [conv(before, width, 3, bias=True), ("relu",)] if width else [("maxpool", 2)]
        before = width or before
    wide = [("linear", 2048, 4096), ("relu",), ("linear", 4096, 4096), ("relu",), ("linear", 4096, 1000)]
    return [*layers, ("flatten",), *wide]


def efficientnet_lite0() -> Layers:
    """Tan & Le 2019, table 1, without squeeze and excitation and with ReLU6."""
    layers: Layers = [conv(3, 32, 3, 2), ("bn", 32), ("relu6",)]
    before = 32
    stages = (
        (1, 16, 3, 1, 1),
        (6, 24, 3, 2, 2),
        (6, 40, 5, 2, 2),
        (6, 80, 3, 3, 2),
        (6, 112, 5, 3, 1),
        (6, 192, 5, 4, 2),
        (6, 320, 3, 1, 1),
    )
    for expansion, width, kernel, repeats, first in stages:
        for i in range(repeats):
            stride, wide = first if i == 0 else 1, before * expansion
            body = [conv(before, wide, 1), ("bn", wide), ("relu6",)] if expansion > 1 else []
            body += [
                conv(wide, wide, kernel, stride, groups=wide),
                ("bn", wide),
                ("relu6",),
                conv(wide, width, 1),
                ("bn", width),
            ]
            layers += [("residual", body, 1, 0)] if stride == 1 and before == width else body
            before = width
    return [*layers, conv(320, 1280, 1), ("bn", 1280), ("relu6",), ("mean",), ("flatten",), ("linear", 1280, 1000)]


class Net(NamedTuple):
    layers: Layers
    shape: tuple[int, int, int]
    """Shape of one image: (C, H, W)."""
    classes: int


NETS = {
    "lenet5": Net(lenet5(), (1, 28, 28), 10),
    "resnet20": Net(resnet20(), (3, 32, 32), 10),
    "densenet_bc_40_12": Net(densenet_bc_40_12(), (3, 32, 32), 10),
    "mobilenet_quarter": Net(mobilenet_quarter(), (3, 96, 96), 1000),
    "vgg11": Net(vgg11(), (3, 64, 64), 1000),
    "efficientnet_lite0": Net(efficientnet_lite0(), (3, 224, 224), 1000),
}


def parameters(layers: Layers) -> int:
    """Number of trainable parameters."""
    count = 0
    for kind, *numbers in layers:
        if kind == "conv":
            i, o, k, _, _, groups, bias = numbers
            count += o * (i // groups) * k * k + o * bias
        elif kind == "linear":
            count += numbers[0] * numbers[1] + numbers[1]
        elif kind == "bn":
            count += 2 * numbers[0]
        elif kind in ("residual", "dense"):
            count += parameters(numbers[0])
    return count
