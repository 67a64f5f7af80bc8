"""Random numbers that can be had again: seeded generators, and one default that all share."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend import Array


class Generator:
    """A seeded source of random numbers, drawn on the host so that a seed means the same on every device.

    Args:
        seed: a whole number; None takes entropy from the operating system.

    >>> Generator(0).permutation(4)
    array([2, 0, 1, 3])
    """

    def __init__(self, seed: int | None = None) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int | None) -> Generator:
        """Start again from `seed`, and return the generator itself."""
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"seed: expected a whole number ≥ 0 or None, got {seed!r}")
        self._numpy = np.random.default_rng(seed)
        return self

    def uniform(self, low: float, high: float, size: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """Numbers spread evenly over [low, high)."""
        return (low + (high - low) * self._numpy.random(size, np.float64)).astype(dtype)

    def normal(self, mean: float, std: float, size: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """Numbers of the normal distribution."""
        return self._numpy.normal(mean, std, size).astype(dtype)

    def bernoulli(self, probability: float, size: tuple[int, ...]) -> Array:
        """Bools, each True with this probability."""
        return self._numpy.random(size, np.float32) < probability

    def permutation(self, n: int) -> Array:
        """The numbers 0 to n − 1 in random order: int64."""
        return self._numpy.permutation(n)


default = Generator(0)
"""The generator that everything draws from which is given no other. It starts from seed 0: an unseeded program repeats."""


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, and return it."""
    return default.manual_seed(seed)
