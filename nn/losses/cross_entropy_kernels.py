"""Cross-entropy with class indices on a GPU: two kernels forward and one backward. See cross_entropy.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from microtensor.runtime.arrays import Array, array_module, to_device
from microtensor.runtime.cuda.kernels import Kernels
from microtensor.runtime.cuda.reduction import lines

from .labels import Labels

kernels = Kernels(__file__, "cross_entropy.cu")

SUM_THREADS = 1024
"""Threads of the block that adds up the sums of all others."""


def loss_of(logits: Any, labels: Labels, reduction: str) -> tuple[Array, Callable[[Array], Array]]:
    """The loss, one number or (N, P), and a function from its gradient to that of the logits.

    Labels on the GPU are checked by the kernel, and the error is raised at the next copy from the device.
    """
    xp, dtype, sums_dtype = logits.xp, logits.dtype, np.result_type(logits.dtype, np.float32)
    n, _, positions = labels.shape
    shape, blocks = lines(labels.shape, 1)
    given = xp.ascontiguousarray(to_device(labels.given, logits.device))
    weight = None if labels.class_weight is None else xp.ascontiguousarray(labels.class_weight)
    settings = (given, weight, labels.ignore, labels.smoothing, shape)

    each = xp.empty((n, positions), dtype) if reduction == "none" else None
    known, sums, worsts = (
        xp.empty((2, n * positions), sums_dtype),
        xp.empty((2, blocks), sums_dtype),
        xp.empty(blocks, np.int64),
    )
    kernels.blocks("losses", dtype, blocks, each, known, sums, worsts, xp.ascontiguousarray(logits.array), *settings)
    loss = xp.empty((), dtype) if each is None else None
    divisor, worst = xp.empty((), sums_dtype), xp.empty((), np.int64)
    kernels.blocks(
        "add_up", dtype, 1, loss, divisor, worst, sums, worsts, int(reduction == "mean"), blocks, threads=SUM_THREADS
    )
    if array_module(labels.given) is not np:
        labels.check_worst(worst)

    def gradient(g: Array) -> Array:
        dx = xp.empty(logits.shape, dtype)
        arrays = divisor, known, xp.ascontiguousarray(logits.array)
        gs = xp.ascontiguousarray(g)
        kernels.blocks("differentiate", dtype, blocks, dx, gs, int(each is not None), *arrays, *settings)
        return dx

    return (loss if each is None else each), gradient
