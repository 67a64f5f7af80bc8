"""Random numbers on a GPU: Philox, a counter-based generator, which has no state.

The i-th number is a function of a seed and i: ten rounds of multiplications mix the bits of both (Salmon, Moraes, Dror & Shaw
2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3: Philox 4×32). So each thread draws its own numbers, the
backward pass draws them again instead of keeping them, and a seed gives the same numbers on every device. A `Generator` on the
host gives the seeds, one for each call.

`words` is the generator in array calls, the reference for the one in kernel.cuh.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array, array_module, follow
from .kernels import Kernels, usable

kernels = Kernels(__file__, "philox.cu")

LOW = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10

BITS = {"e": 11, "f": 24, "d": 32}
"""Random bits of a number in [0, 1), by the letter of its dtype, which represents them exactly: none is rounded to 1."""


def words(xp: Any, seed: int, count: int, start: int = 0) -> Array:
    """Random integers from 0 to 2³² − 1, uint32 (count,): those of this seed from index 4 · start on.

    >>> [hex(word) for word in words(np, 0, 4)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    number = xp.arange(start, start + -(-count // 4), dtype=np.uint64)
    zero = xp.zeros_like(number)
    mixed = philox((number & LOW, number >> 32, zero, zero), (seed & LOW, seed >> 32))
    return xp.stack(mixed, axis=1).reshape(-1)[:count].astype(np.uint32)


def philox(counter: Sequence[Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """A counter of four words of 32 bits, in arrays of uint64 → four random words. A key of two words selects the permutation
    of all 2¹²⁸ counters."""
    a, b, c, d = counter
    key0, key1 = key
    for _ in range(ROUNDS):
        left, right = a * MULTIPLIERS[0], c * MULTIPLIERS[1]  # 64 bits: high and low word
        a, b, c, d = (right >> 32) ^ b ^ key0, right & LOW, (left >> 32) ^ d ^ key1, left & LOW
        key0, key1 = (key0 + KEY_STEPS[0]) & LOW, (key1 + KEY_STEPS[1]) & LOW
    return a, b, c, d


def uniform(like: Array, seed: int, low: float, high: float) -> Array:
    """Uniform random numbers from `low` to `high`, of the shape, the dtype and the device of `like`."""
    follow(like)
    xp, bits = array_module(like), BITS[like.dtype.char]
    unit, width = 2.0**-bits, float(high - low)
    if usable(like):
        numbers = xp.empty(like.shape, like.dtype)
        kernels.each("uniform", like.dtype, -(-like.size // 4), numbers, seed, 32 - bits, unit, width, float(low), like.size)
        return numbers
    drawn = (words(xp, seed, like.size) >> (32 - bits)).astype(np.result_type(np.float32, like.dtype))
    return (drawn * unit * width + float(low)).astype(like.dtype).reshape(like.shape)


def threshold(probability: float) -> int:
    """The integer that a random word is below with this probability."""
    return min(math.floor(probability * 2.0**32 + 0.5), 2**32)
