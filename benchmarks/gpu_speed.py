"""How fast this GPU is, and how near to that come convolutions, by each way, and operations that only move elements."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import microtensor as mt
from benchmarks.layers import LAYERS
from microtensor import nn
from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.problem import OPERATIONS, Problem
from microtensor.nn.layers.windows import Window
from microtensor.runtime.arrays import Array

Work = Callable[[], Any]


class Effort(NamedTuple):
    """How long is measured."""

    rounds: int
    """Of every work, in turn with those that it is compared with."""
    least: float
    """Milliseconds that a round lasts at least."""
    warm: int = 3
    """Calls before anything is measured: kernels are compiled then, and memory is taken."""


class Timing(NamedTuple):
    """Milliseconds of a call."""

    median: float
    low: float
    """The middle half of the rounds is from here …"""
    high: float
    """… to here."""

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}–{self.high:.3f})"


def timed(xp: Any, works: dict[str, Work], effort: Effort) -> dict[str, Timing]:
    """Each work's time by the GPU's clock: they run in turn, a round each, on the stream that CuPy and PyTorch both begin with.

    Where the host is slower than the GPU, it is the host's time: the GPU waits for it, as it does in use.
    """
    repeats, found = {}, {name: [] for name in works}

    def once(work: Work, count: int) -> float:
        start, end = xp.cuda.Event(), xp.cuda.Event()
        start.record()
        for _ in range(count):
            work()
        end.record()
        end.synchronize()
        return float(xp.cuda.get_elapsed_time(start, end)) / count

    for name, work in works.items():
        for _ in range(effort.warm):
            work()
        repeats[name] = max(1, min(1000, math.ceil(effort.least / max(once(work, 1), 1e-6))))
    for _ in range(effort.rounds):
        for name, work in works.items():
            found[name].append(once(work, repeats[name]))
    return {name: middle(times) for name, times in found.items()}


def middle(times: list[float]) -> Timing:
    ordered, quarter = sorted(times), len(times) // 4
    return Timing(statistics.median(ordered), ordered[quarter], ordered[-1 - quarter])


class Rates(NamedTuple):
    """What the card does here, measured."""

    float32: float
    """FLOP/s of a product of two large square matrices …"""
    tf32: float
    float16: float
    copy: float
    """Bytes/s, read and written."""

    def of(self, dtype: str, tf32: bool = False) -> float:
        return self.tf32 if tf32 and dtype == "float32" else {"float32": self.float32, "float16": self.float16}[dtype]


def rates(xp: Any, effort: Effort, side: int, nbytes: int) -> Rates:
    found = []
    for dtype, tf32 in (("float32", False), ("float32", True), ("float16", False)):
        a = xp.asarray(np.random.default_rng(0).standard_normal((side, side)).astype(dtype))
        out = xp.empty((side, side), dtype)
        with mt.cuda.allow_tf32(tf32):
            time = timed(xp, {"": lambda a=a, out=out: xp.matmul(a, a, out=out)}, effort)[""].median
        found.append(2 * side**3 / time * 1e3)
    source = xp.zeros(nbytes // 4, "float32")
    target = xp.zeros(nbytes // 4, "float32")
    time = timed(xp, {"": lambda: xp.add(source, 0, out=target)}, effort)[""].median
    return Rates(*found, 2 * nbytes / time * 1e3)


# Convolution


class Shape(NamedTuple):
    """A convolution as it occurs in the benchmarks' networks."""

    text: str
    x: tuple[int, ...]
    weight: tuple[int, ...]
    window: Window
    groups: int

    @property
    def y(self) -> tuple[int, ...]:
        return (self.x[0], self.weight[0], *self.window.places("conv2d", self.x[2:]))

    @property
    def flops(self) -> int:
        return 2 * math.prod(self.y) * math.prod(self.weight[1:])


def occurring() -> Iterator[Shape]:
    for text, (layer, shape, _) in LAYERS.items():
        if layer[0] == "conv":
            _, i, o, k, stride, p, groups, _ = layer
            yield Shape(text, shape, (o, i // groups, k, k), Window((k, k), (stride, stride), ((p, p), (p, p))), groups)


def calls(shape: Shape, x: Array, weight: Array, g: Array) -> dict[str, Work]:
    """The three, on arrays of this shape."""
    size = (shape.x[2], shape.x[3])
    return {
        "forward": lambda: dispatch.forward(x, weight, None, shape.window, shape.groups),
        "grad_input": lambda: dispatch.grad_input(g, weight, None, shape.window, shape.groups, size),
        "grad_weight": lambda: dispatch.grad_weight(x, g, shape.window, shape.groups),
    }


def in_way(name: str, work: Work) -> Work:
    def call() -> None:
        with dispatch.way(name):
            work()

    return call


class Ways(NamedTuple):
    """The times of a convolution by each way that computes it, and which of our own would be taken, without cuDNN."""

    shape: Shape
    dtype: str
    operation: str
    times: dict[str, Timing]
    chosen: str

    def quickest(self) -> str:
        own = {name: time.median for name, time in self.times.items() if name != "cudnn"}
        return min(own, key=own.__getitem__)

    def cell(self) -> str:
        texts = (f"{name} {time.median:.3f}" for name, time in self.times.items())
        return ", ".join(f"**{text}**" if text.split()[0] == self.chosen else text for text in texts)


def ways(xp: Any, shape: Shape, dtype: str, effort: Effort) -> list[Ways]:
    rng, found = np.random.default_rng(0), []
    x, weight, g = (xp.asarray(rng.standard_normal(s, np.float32).astype(dtype)) for s in (shape.x, shape.weight, shape.y))
    works = calls(shape, x, weight, g)
    for operation in OPERATIONS:
        of = Problem(operation, x.shape, weight.shape, g.shape, shape.window, shape.groups, x.dtype.char, dispatch.device(x))
        fitting = dispatch.fitting(of)
        times = timed(xp, {way.name: in_way(way.name, works[operation]) for way in fitting}, effort)
        chosen = min((way for way in fitting if way.name != "cudnn"), key=lambda way: way.cost(of))
        found.append(Ways(shape, dtype, operation, times, chosen.name))
    return found


def mean(ratios: list[float]) -> float:
    """The geometric one."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


# What only moves elements


class Moving(NamedTuple):
    name: str
    time: Timing
    bytes: int
    """That are read and written at least."""


def moving(xp: Any, device: str, effort: Effort, images: int) -> Iterator[Moving]:
    """Layers forward and backward on (images, 64, 56, 56), and optimisers over as many elements, in float32."""
    shape = (images, 64, 56, 56)
    data = np.random.default_rng(0).standard_normal(shape, np.float32)
    x = mt.Tensor(data, device=device, requires_grad=True)
    norm = nn.BatchNorm2d(64).to(device)
    layers = {  # times that an array of this size passes: forward, backward
        "relu": (mt.relu, 2 + 3),
        "batch_norm, training": (norm, 3 + 5),
        "dropout": (lambda x: nn.dropout(x, 0.5), 2 + 2),
        "max_pool2d 2×2": (lambda x: nn.max_pool2d(x, 2), 1.25 + 2.25),
    }
    for name, (layer, passes) in layers.items():
        g = mt.Tensor(np.ones(layer(x).shape, np.float32), device=device)

        def both(layer: Any = layer, g: Any = g) -> None:
            mt.grad(layer(x), x, g)

        yield Moving(name, timed(xp, {"": both}, effort)[""], int(passes * data.nbytes))
    for name, kind, settings, passes in (("SGD, momentum", nn.SGD, {"momentum": 0.9}, 5), ("Adam", nn.Adam, {}, 7)):
        weight = mt.Tensor(data, device=device, requires_grad=True)
        weight.grad = mt.Tensor(data, device=device)
        optimizer = kind([weight], lr=1e-3, **settings)
        yield Moving(name, timed(xp, {"": optimizer.step}, effort)[""], passes * data.nbytes)
