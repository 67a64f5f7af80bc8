"""What a convolution is chosen by (`Problem`), and what can be chosen (`Way`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from microtensor.runtime.arrays import Array

from ..windows import Pair, Window

Shape: TypeAlias = tuple[int, ...]

OPERATIONS = ("forward", "grad_input", "grad_weight")
"""The three convolutions, each the adjoint of the other two: y from x and weight; x from y and weight; weight from x and y."""


class Device(NamedTuple):
    """Where a convolution runs, and what the user allows there."""

    name: str = "cpu"
    """ "cpu", "cuda:0" …"""
    kernels: bool = True
    """Whether compiled kernels may be used: oneDNN on the CPU, our own on a GPU. Inside `kernels.plain()` they may not."""
    tf32: bool = False
    """Whether a GPU may multiply float32 in TF32."""
    workspace_bytes: int = 1 << 28
    """Memory for what a GPU unfolds."""
    cudnn_thread: int = 0
    """The thread that asks, where cuDNN may be used, for its plans belong to a thread; 0 where it may not."""

    @property
    def has_gpu_ways(self) -> bool:
        """Whether the ways of gpu/ compute here. If not, those of cpu/ do, on CuPy's arrays too."""
        return self.name != "cpu" and self.kernels


class Problem(NamedTuple):
    """One of the three convolutions of one geometry.

    The number of threads is no part of it: results must not depend on that, bit for bit.
    """

    operation: str
    x: Shape
    """(N, C, H, W)."""
    weight: Shape
    """(O, C/G, kh, kw)."""
    y: Shape
    """(N, O, H', W')."""
    window: Window
    groups: int = 1
    dtype: str = "f"
    """By its letter: "e" is float16, "f" float32, "d" float64."""
    device: Device = Device()
    bias: bool = False
    """Whether `forward` adds a bias: oneDNN compiles it in. (To a result of `grad_input` it is added afterwards.)"""

    @property
    def images(self) -> int:
        """N."""
        return self.x[0]

    @property
    def channels(self) -> int:
        """Of a group: C/G."""
        return self.weight[1]

    @property
    def kernels(self) -> int:
        """Of a group: O/G."""
        return self.weight[0] // self.groups

    @property
    def size(self) -> Pair:
        """(H, W)."""
        return self.x[2], self.x[3]

    @property
    def places(self) -> Pair:
        """(H', W')."""
        return self.y[2], self.y[3]

    @property
    def taps(self) -> int:
        """Elements of a kernel, of one channel: kh · kw."""
        return prod(self.window.kernel)

    @property
    def x_elements(self) -> int:
        """Of all images."""
        return prod(self.x)

    @property
    def y_elements(self) -> int:
        """Of all results."""
        return prod(self.y)

    @property
    def macs(self) -> int:
        """Multiply-accumulates; the same for all three operations."""
        return self.y_elements * prod(self.weight[1:])

    @property
    def column_elements(self) -> int:
        """Elements that im2col makes of the images: each window of each channel is copied."""
        return self.images * self.x[1] * self.taps * prod(self.places)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has exactly one kernel of its own."""
        return self.weight[1] == 1 and self.groups == self.weight[0]

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernel is 1×1, without stride and padding."""
        return self.window == POINT


POINT = Window((1, 1))


@lru_cache(maxsize=4096)
def flipped(problem: Problem) -> Problem | None:
    """The forward convolution that computes a `grad_input` of stride 1, of y with the kernels of `flip`; None if there is none.

    Its padding is kernel − 1 − padding, which must not be negative.
    """
    window = problem.window
    sides = [(k - 1 - before, k - 1 - after) for k, (before, after) in zip(window.effective_kernel, window.padding)]
    if window.stride != (1, 1) or min(map(min, sides)) < 0:
        return None
    weight = (problem.x[1], problem.kernels, *window.kernel)
    there = window._replace(padding=(sides[0], sides[1]))
    return problem._replace(operation="forward", x=problem.y, weight=weight, y=problem.x, window=there)


class Way(NamedTuple):
    """One way to compute the three convolutions on arrays. All ways give the same values, but for rounding."""

    name: str
    why_not: Callable[[Problem], str]
    """Why it does not compute a problem, in words; "" if it does."""
    cost: Callable[[Problem], float]
    """Estimated nanoseconds: see costs.py."""
    forward: Callable[[Array, Array, Array | None, Problem], Array]
    """x (N, C, H, W), weight (O, C/G, kh, kw), bias (O,) or None → y (N, O, H', W')."""
    grad_input: Callable[[Array, Array, Array | None, Problem], Array]
    """g (N, O, H', W'), weight, bias (C,) or None → (N, C, H, W). With a bias it is a transposed convolution's forward."""
    grad_weight: Callable[[Array, Array, Problem], Array]
    """x, g → (O, C/G, kh, kw)."""
    gpu: bool = False
    """Whether it is made of kernels for a GPU."""

    def fits(self, problem: Problem) -> bool:
        """Whether it computes this problem."""
        return not self.why_not(problem)


def with_bias(y: Any, bias: Array | None) -> Any:
    """y (N, C, H, W) with bias (C,) added to each channel, in place."""
    if bias is not None:
        y += bias[:, None, None]
    return y
