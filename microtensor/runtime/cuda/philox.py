"""Random numbers that a GPU draws by itself: Philox, a generator without a state.

The i-th number is a function of a seed and i: ten rounds of multiplications that mix the bits of both (Salmon, Moraes, Dror &
Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3: Philox 4×32). So every thread draws its own numbers, the
same numbers can be drawn again instead of being kept, and a seed means the same on every device. The seeds come from a
`Generator` on the host, one for each call.

`words` is the generator in array calls, the reference of the one in kernel.cuh.
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
"""So many random bits a number in [0, 1) is made of, by the letter of its dtype: it holds them exactly, and none becomes 1."""


def words(xp: Any, seed: int, count: int, start: int = 0) -> Array:
    """Random integers from 0 to 2³² − 1, uint32 (count,): those of this seed, from the one with the number 4 · start on.

    >>> [hex(word) for word in words(np, 0, 4)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    number = xp.arange(start, start + -(-count // 4), dtype=np.uint64)
    zero = xp.zeros_like(number)
    mixed = philox((number & LOW, number >> 32, zero, zero), (seed & LOW, seed >> 32))
    return xp.stack(mixed, axis=1).reshape(-1)[:count].astype(np.uint32)


def philox(counter: Sequence[Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Four words of 32 bits, in arrays of uint64, mixed under a key of two: for each key a permutation of all 2¹²⁸ counters."""
    a, b, c, d = counter
    key0, key1 = key
    for _ in range(ROUNDS):
        left, right = a * MULTIPLIERS[0], c * MULTIPLIERS[1]  # 64 bits: the high half, and the low one
        a, b, c, d = (right >> 32) ^ b ^ key0, right & LOW, (left >> 32) ^ d ^ key1, left & LOW
        key0, key1 = (key0 + KEY_STEPS[0]) & LOW, (key1 + KEY_STEPS[1]) & LOW
    return a, b, c, d


def uniform(like: Array, seed: int, low: float, high: float) -> Array:
    """Numbers spread evenly from `low` to `high`, in the shape, in the dtype and on the device of `like`."""
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
    """A word is below this number with this probability."""
    return min(math.floor(probability * 2.0**32 + 0.5), 2**32)
