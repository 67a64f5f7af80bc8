"""The networks of nets.py, built from the modules of PyTorch or of this library, which have the same names."""

from __future__ import annotations

from typing import Any


def build(layers: Any, nn: Any, join: Any, pad: Any) -> Any:
    """`nn` is that of the library; `join` concatenates tensors along the channels, `pad` adds zero channels."""

    class Residual(nn.Module):
        def __init__(self, body: Any, stride: int, more: int) -> None:
            super().__init__()
            self.body, self.stride, self.more = body, stride, more

        def forward(self, x: Any) -> Any:
            y = self.body(x)
            if self.stride > 1:
                x = x[:, :, :: self.stride, :: self.stride]
            return y + (pad(x, self.more) if self.more else x)

    class Dense(nn.Module):
        def __init__(self, body: Any) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Any) -> Any:
            return join([x, self.body(x)])

    def one(kind: str, *numbers: Any) -> Any:
        if kind == "conv":
            i, o, k, stride, padding, groups, bias = numbers
            return nn.Conv2d(i, o, k, stride=stride, padding=padding, groups=groups, bias=bias)
        if kind == "residual":
            return Residual(every(numbers[0]), *numbers[1:])
        if kind == "dense":
            return Dense(every(numbers[0]))
        layer = {
            "bn": nn.BatchNorm2d,
            "relu": nn.ReLU,
            "relu6": nn.ReLU6,
            "maxpool": nn.MaxPool2d,
            "avgpool": nn.AvgPool2d,
            "flatten": nn.Flatten,
            "linear": nn.Linear,
        }
        return nn.AdaptiveAvgPool2d(1) if kind == "mean" else layer[kind](*numbers)

    def every(layers: Any) -> Any:
        return nn.Sequential(*[one(*layer) for layer in layers])

    return every(layers)


def ours(layers: Any) -> Any:
    import microtensor as mt
    from microtensor import nn

    return build(layers, nn, lambda xs: mt.cat(xs, 1), lambda x, more: mt.pad(x, (0, 0, 0, 0, 0, more)))


def pytorchs(layers: Any) -> Any:
    import torch

    pad = torch.nn.functional.pad
    return build(layers, torch.nn, lambda xs: torch.cat(xs, 1), lambda x, more: pad(x, (0, 0, 0, 0, 0, more)))
