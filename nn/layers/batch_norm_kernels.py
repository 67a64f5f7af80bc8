"""Batch normalisation on a GPU: two kernels forward and two backward (array calls: 80). See batch_norm.cu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.autocast import at_least_float32
from microtensor.autograd.shared import SharedByVjps
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

from .batch_norm_arrays import Normalised

kernels = Kernels(__file__, "batch_norm.cu")

PART_ELEMENTS = 4096
"""Elements of a channel that a block works on, at least: 16 for each of its threads, and 16 KiB, which stay in the cache."""

MAX_PARTS = 512
"""Parts of a channel, at most: every block adds up the sums of all of them."""


def normalised(x: Any, weight: Any, bias: Any, running: Any, momentum: Any, eps: float) -> Normalised:
    """x normalised by its own statistics, which update the `running` ones; and the gradients of x, weight and bias."""
    xp, data = x.xp, x.xp.ascontiguousarray(x.array)
    dtype, sums_dtype, (shape, blocks) = data.dtype, np.result_type(data.dtype, np.float32), _shape(data)
    channels = x.shape[1]
    parts, known = xp.empty((3, blocks), sums_dtype), xp.empty((3, channels), sums_dtype)
    y = xp.empty(x.shape, dtype)
    kernels.blocks("look", dtype, blocks, parts, data, shape)
    updated = [None if statistic is None else _vector(statistic) for statistic in running]
    number, there = (float(momentum), None) if is_number(momentum) else (0.0, momentum.astype(np.float64, copy=False))
    vectors = _vector(weight), _vector(bias)
    kernels.blocks("normalise", dtype, blocks, y, known, *updated, data, parts, *vectors, number, there, float(eps), shape)
    for statistic, array in zip(running, updated):
        if statistic is not None and array is not statistic.array:
            statistic.array[...] = array
        if statistic is not None:
            statistic.touch()

    def sums_of(g: Any) -> Array:
        sums = xp.empty((2, blocks), sums_dtype)
        there = xp.ascontiguousarray(x.array)
        kernels.blocks("sum_parts", dtype, blocks, sums, xp.ascontiguousarray(g.array), there, known[0], known[1], shape)
        return sums

    def empty_vectors() -> dict[str, Array]:
        return {"weight": xp.empty(channels, sums_dtype), "bias": xp.empty(channels, sums_dtype)}

    def vectors_of(g: Any) -> dict[str, Array]:
        found = empty_vectors()
        kernels.blocks("sum_up", dtype, channels, *found.values(), sums_of(g), known[2], shape)
        return found

    shared = SharedByVjps(vectors_of)

    def grad_input(g: Any) -> Array:
        """The gradient of x. The kernel writes those of weight and bias on the way."""
        dx, found, sums = xp.empty(x.shape, dtype), empty_vectors(), sums_of(g)
        arrays = xp.ascontiguousarray(g.array), xp.ascontiguousarray(x.array)
        kernels.blocks("differentiate", dtype, blocks, dx, *found.values(), *arrays, sums, known, _vector(weight), shape)
        shared.keep(g, found)
        return dx

    def to_vector(g: Any, which: str) -> Array:
        """Each gradient is given away once, without a copy: the engine may add to it in place."""
        found = shared(g)
        return found.pop(which) if which in found else shared.keep(g, vectors_of(g)).pop(which)

    return y, grad_input, lambda g: to_vector(g, "weight"), lambda g: to_vector(g, "bias")


def normalised_by(x: Array, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Array:
    """x normalised by a given mean and variance; without a mean or a bias, by 0. One kernel."""
    xp, data, (shape, blocks) = array_module(x), array_module(x).ascontiguousarray(x), _shape(x)
    y = xp.empty(x.shape, x.dtype)
    vectors = [_vector(v) for v in (mean, variance, weight, bias)]
    kernels.blocks("normalise_by", x.dtype, blocks, y, data, *vectors, float(eps), shape)
    return y


def summed(g: Array, x: Array, mean: Any, variance: Any, eps: float) -> tuple[Array, Array]:
    """(N, C, …) twice → (C,) twice: Σ g · (x − mean) / √(variance + eps) and Σ g of each channel."""
    xp, dtype, (shape, blocks) = array_module(x), np.result_type(x.dtype, np.float32), _shape(x)
    sums, product, whole = xp.empty((2, blocks), dtype), xp.empty(x.shape[1], dtype), xp.empty(x.shape[1], dtype)
    arrays = xp.ascontiguousarray(g), xp.ascontiguousarray(x)
    kernels.blocks("sum_parts", x.dtype, blocks, sums, *arrays, _vector(mean), None, shape)
    inverse = 1 / xp.sqrt(at_least_float32(variance.array) + eps)
    kernels.blocks("sum_up", x.dtype, x.shape[1], product, whole, sums, inverse, shape)
    return product, whole


def _shape(x: Array) -> tuple[np.ndarray, int]:
    """The kernels' `Shape` of an array, and how many blocks share the work."""
    channels, positions = x.shape[1], math.prod(x.shape[2:])
    count = x.shape[0] * positions
    length = max(PART_ELEMENTS, -(-count // MAX_PARTS))
    parts = -(-count // length)
    return np.array([channels, positions, count, length, parts], np.int64), channels * parts


def _vector(v: Any) -> Array | None:
    """A tensor (C,) as the kernels take it: of float32 at least."""
    return None if v is None else array_module(v.array).ascontiguousarray(at_least_float32(v.array))
