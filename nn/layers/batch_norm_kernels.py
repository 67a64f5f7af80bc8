"""Batch normalisation on a GPU: two kernels forward and two backward, where array calls would be eighty. See batch_norm.cu."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.autocast import at_least_float32
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels

kernels = Kernels(__file__, "batch_norm.cu")

PART = 4096
"""So many numbers of a channel at least are a block's: 16 for each of its threads, and 16 KiB, which stay in the cache."""

MOST_PARTS = 512
"""Of a channel: every block puts all of them together."""


Normalised: TypeAlias = tuple[Array, Callable[[Any], Array], Callable[[Any], Array], Callable[[Any], Array]]
"""A result, and three functions of its gradient (a tensor): the gradients of x, weight and bias."""


def normalised(x: Any, weight: Any, bias: Any, running: Any, momentum: Any, eps: float) -> Normalised:
    """x normalised by its own statistics, which the `running` ones follow; and the gradients of x, weight and bias."""
    xp, data = x.xp, x.xp.ascontiguousarray(x.array)
    dtype, sums_dtype, (shape, blocks) = data.dtype, np.result_type(data.dtype, np.float32), _shape(data)
    channels = x.shape[1]
    parts, known = xp.empty((3, blocks), sums_dtype), xp.empty((3, channels), sums_dtype)
    y = xp.empty(x.shape, dtype)
    kernels.blocks("look", dtype, blocks, parts, data, shape)
    followers = [None if follower is None else _vector(follower) for follower in running]
    number, there = (float(momentum), None) if is_number(momentum) else (0.0, momentum.astype(np.float64, copy=False))
    vectors = _vector(weight), _vector(bias)
    kernels.blocks("normalise", dtype, blocks, y, known, *followers, data, parts, *vectors, number, there, float(eps), shape)
    for follower, array in zip(running, followers):
        if follower is not None and array is not follower.array:
            follower.array[...] = array
        if follower is not None:
            follower.touch()

    latest: dict[str, Any] = {}

    def sums_of(g: Any) -> Array:
        sums = xp.empty((2, blocks), sums_dtype)
        there = xp.ascontiguousarray(x.array)
        kernels.blocks("sum_parts", dtype, blocks, sums, xp.ascontiguousarray(g.array), there, known[0], known[1], shape)
        return sums

    def results(g: Any) -> tuple[Array, Array]:
        latest.update(of=weakref.ref(g), weight=xp.empty(channels, sums_dtype), bias=xp.empty(channels, sums_dtype))
        return latest["weight"], latest["bias"]

    def to_x(g: Any) -> Array:
        dx = xp.empty(x.shape, dtype)
        arrays = xp.ascontiguousarray(g.array), xp.ascontiguousarray(x.array)
        sums = sums_of(g)
        kernels.blocks("differentiate", dtype, blocks, dx, *results(g), *arrays, sums, known, _vector(weight), shape)
        return dx

    def to_vector(g: Any, which: str) -> Array:
        """Each result is given away once, for the engine may add to it."""
        if which not in latest or latest["of"]() is not g:
            kernels.blocks("sum_up", dtype, channels, *results(g), sums_of(g), known[2], shape)
        return latest.pop(which)

    return y, to_x, lambda g: to_vector(g, "weight"), lambda g: to_vector(g, "bias")


def normalised_by(x: Array, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Array:
    """x normalised by a mean and a variance that are known; without a mean or a bias, by 0. One kernel."""
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
    length = max(PART, -(-count // MOST_PARTS))
    parts = -(-count // length)
    return np.array([channels, positions, count, length, parts], np.int64), channels * parts


def _vector(v: Any) -> Array | None:
    """A tensor (C,) as the kernels take it: of float32 at least."""
    return None if v is None else array_module(v.array).ascontiguousarray(at_least_float32(v.array))
