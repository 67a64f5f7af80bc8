"""Each layer that occurs in the networks, in the shapes in which it occurs: forward and backward, to weights and input."""

from __future__ import annotations

import numpy as np

from benchmarks.nets import NETS

BATCH = {"resnet20": 64, "densenet_bc_40_12": 64, "mobilenet_quarter": 32, "vgg11": 16}


def occurring() -> dict[str, tuple]:
    """Text → layer, shape of its input (N, C, H, W), and whether its input's gradient is asked for."""
    found: dict[str, tuple] = {}

    def walk(layers, shape, first):
        for kind, *numbers in layers:
            n, c, *size = shape
            layer = (kind, *numbers)
            if kind in ("conv", "bn", "relu", "maxpool", "avgpool"):
                settings = f"{numbers[1]}, {numbers[2]}×{numbers[2]}" if kind == "conv" else " ".join(map(str, numbers))
                if kind == "conv":
                    settings += f" stride {numbers[3]}" * (numbers[3] > 1) + f" groups {numbers[5]}" * (numbers[5] > 1)
                found.setdefault(f"{kind} {n}×{c}×{size[0]}×{size[1]} {settings}".strip(), (layer, shape, not first))
            if kind == "conv":
                _, c, k, stride, padding = numbers[:5]
                size = [(length + 2 * padding - k) // stride + 1 for length in size]
            elif kind in ("maxpool", "avgpool"):
                size = [length // numbers[0] for length in size]
            elif kind == "residual":
                *_, (n, c, *size) = walk(numbers[0], shape, first)
            elif kind == "dense":
                c += walk(numbers[0], shape, first)[-1][1]
            elif kind in ("mean", "flatten", "linear"):
                return [shape]
            shape, first = (n, c, *size), False
        return [shape]

    for name, batch in BATCH.items():
        walk(NETS[name].layers, (batch, *NETS[name].shape), True)
    walk(NETS["lenet5"].layers, (128, 1, 28, 28), True)
    return found


LAYERS = occurring()
CASES = list(LAYERS)
REPEATS = 3


def parts(case):
    layer, shape, wanted = LAYERS[case]
    return layer, np.random.default_rng(0).standard_normal(shape).astype(np.float32), wanted


def microtensor(case):
    import microtensor as mt
    from benchmarks.modules import ours

    layer, images, wanted = parts(case)
    model, x = ours([layer]), mt.Tensor(images, requires_grad=wanted)
    g = mt.Tensor(np.random.default_rng(1).standard_normal(model(x).shape).astype(np.float32))

    def work():
        for _ in range(REPEATS):
            x.grad = None
            model.zero_grad()
            model(x).backward(g)

    return work


def torch(case):
    import torch

    from benchmarks.modules import pytorchs

    layer, images, wanted = parts(case)
    model, x = pytorchs([layer]), torch.tensor(images, requires_grad=wanted)
    g = torch.tensor(np.random.default_rng(1).standard_normal(model(x).shape).astype(np.float32))

    def work():
        for _ in range(REPEATS):
            x.grad = None
            model.zero_grad()
            model(x).backward(g)

    return work
