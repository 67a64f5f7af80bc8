"""The step of an optimiser on all parameters of a network."""

from __future__ import annotations

import numpy as np

from benchmarks.nets import NETS

RULES = {"SGD momentum": ("SGD", {"lr": 1e-3, "momentum": 0.9}), "Adam": ("Adam", {}), "AdamW": ("AdamW", {})}
CASES = [f"{rule}, {name}" for rule in RULES for name in ("lenet5", "resnet20", "vgg11")]
REPEATS = 5


def microtensor(case):
    import microtensor as mt
    from benchmarks.modules import ours
    from microtensor import nn

    rule, name = case.split(", ")
    parameters = list(ours(NETS[name].layers).parameters())
    for p in parameters:
        p.grad = mt.Tensor(np.random.default_rng(0).standard_normal(p.shape).astype(np.float32))
    kind, settings = RULES[rule]
    optimizer = getattr(nn, kind)(parameters, **settings)
    return lambda: [optimizer.step() for _ in range(REPEATS)] and None


def torch(case):
    import torch

    from benchmarks.modules import pytorchs

    rule, name = case.split(", ")
    parameters = list(pytorchs(NETS[name].layers).parameters())
    for p in parameters:
        p.grad = torch.tensor(np.random.default_rng(0).standard_normal(p.shape).astype(np.float32))
    kind, settings = RULES[rule]
    optimizer = getattr(torch.optim, kind)(parameters, **settings)
    return lambda: [optimizer.step() for _ in range(REPEATS)] and None
