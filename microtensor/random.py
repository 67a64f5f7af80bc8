"""Reproducible random numbers: seeded generators, the default generator, and tensors of random numbers."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from .autograd.graph import Node, is_floating
from .convert import as_dtype
from .creation import as_number, as_size, like
from .runtime.arrays import Array, device_of, to_numpy
from .runtime.forking import cached_property, in_child
from .runtime.integers import is_integer
from .runtime.names import missing
from .tensor import Tensor


class Generator:
    """A seeded generator of random numbers, on the host, so that a seed gives the same numbers on every device. (For dropout, a
    GPU draws the numbers itself, from a seed that this generator gives: see philox.py.)

    Args:
        seed: an integer; or a tuple of them, for streams that are independent of each other and of the seed's own:
            (seed, 0), (seed, 1), …; None takes entropy from the operating system.

    Raises:
        TypeError: the seed is no integer, and no tuple of them.
        ValueError: the seed is negative, or an empty tuple.

    >>> Generator(0).permutation(4)
    array([2, 0, 1, 3])
    """

    def __init__(self, seed: int | tuple[int, ...] | None = None) -> None:
        self.manual_seed(seed)

    def manual_seed(self, seed: int | tuple[int, ...] | None) -> Generator:
        """Start again from `seed`, and return the generator itself.

        Raises:
            TypeError, ValueError: as the class says.
        """
        numbers = seed if isinstance(seed, tuple) else () if seed is None else (seed,)
        if seed is not None and not numbers:
            raise ValueError("seed: expected at least one integer in the tuple, got none")
        for number in numbers:
            if not is_integer(number):
                raise TypeError(f"seed: expected an integer or None, got {number!r} ({type(number).__name__})")
            if number < 0:
                raise ValueError(f"seed: expected an integer of 0 or more, got {number}")
        self._seed = seed
        self.__dict__.pop("_numpy", None)
        return self

    def initial_seed(self) -> int | tuple[int, ...] | None:
        """The last seed that was set; None for entropy. `set_state` does not change it."""
        return self._seed

    @cached_property
    def _numpy(self) -> np.random.Generator:
        """Created at the first draw: importing numpy.random takes 10 ms, and the default generator exists from the import
        on."""
        drawing.add(self)
        if isinstance(self._seed, tuple):
            seed, *stream = self._seed
            return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))
        return np.random.default_rng(self._seed)

    def get_state(self) -> dict[str, Any]:
        """The state of the generator, for `set_state`: a dict of numbers and strings, which pickle and json can write.

        >>> generator = Generator(0)
        >>> state = generator.get_state()
        >>> first = generator.permutation(4)
        >>> generator.set_state(state).permutation(4) == first
        array([ True,  True,  True,  True])
        """
        return dict(self._numpy.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> Generator:
        """Restore a state that `get_state` returned, and return the generator itself.

        Raises:
            TypeError, ValueError: `state` is nothing that `get_state` gave.
        """
        if not isinstance(state, dict):
            raise TypeError(f"set_state: expected the dict that get_state() gave, got {type(state).__name__}")
        fresh = np.random.default_rng(0)
        try:
            fresh.bit_generator.state = state
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"set_state: this is not a state that get_state() gave: {error!r}") from error
        drawing.add(self)
        self._numpy = fresh
        return self

    def uniform(self, low: float, high: float, size: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
        """Uniformly distributed numbers in [low, high)."""
        number: Any = np.dtype(dtype).type
        numbers = (low + (high - low) * self._numpy.random(size, np.float64)).astype(dtype)
        return np.minimum(numbers, np.nextafter(number(high), number(low)))  # one in 30 million would round to `high`

    def normal(self, mean: float, std: float, size: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
        """Normally distributed numbers."""
        return np.asarray(self._numpy.normal(mean, std, size)).astype(dtype)

    def beta(self, a: float, b: float, size: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
        """Numbers of the beta distribution over [0, 1], whose mean is a / (a + b)."""
        return np.asarray(self._numpy.beta(a, b, size)).astype(dtype)

    def bernoulli(self, probability: float | Array, size: tuple[int, ...]) -> Array:
        """Bools, each True with this probability."""
        return self._numpy.random(size, np.float32) < probability

    def integers(self, low: int, high: int, size: tuple[int, ...], dtype: DTypeLike = np.int64) -> Array:
        """Integers from `low` up to, not including, `high`, all equally likely."""
        return np.asarray(self._numpy.integers(low, high, size)).astype(dtype)

    def permutation(self, n: int) -> Array:
        """The integers 0 to n − 1 in random order: int64."""
        return self._numpy.permutation(n)


drawing: weakref.WeakSet[Generator] = weakref.WeakSet()
"""The generators that have drawn numbers."""


@in_child
def _renew_generators() -> None:
    """Each of NumPy's generators has a lock, which another thread may have held at the fork. In the child they are recreated,
    with new locks and the same states."""
    for generator in drawing:
        bits = generator._numpy.bit_generator
        fresh: Any = type(bits)()
        fresh.state = bits.state
        generator._numpy = np.random.Generator(fresh)


default = Generator(0)
"""The generator that functions draw from if they are given none. Its seed is 0: a program that sets no seed is reproducible."""


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, and return it.

    Raises:
        TypeError, ValueError: as `Generator`.
    """
    return default.manual_seed(seed)


def seed_from(generator: Generator | None) -> int:
    """A seed for a GPU's own random numbers, from 0 to 2⁶³ − 1: one draw of a generator, the default one if None."""
    return int((default if generator is None else generator).integers(0, 2**63 - 1, ()))


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniformly distributed numbers in [0, 1): `rand(2, 3)` or `rand((2, 3))`.

    Args:
        generator: draws the numbers; None: the default generator, which `manual_seed` seeds.

    Raises:
        TypeError, ValueError: a length is no integer, or negative; the dtype is not floating point.

    >>> rand(3, generator=Generator(0))
    Tensor([0.6369617 , 0.26978672, 0.04097353])
    """
    shape, number = as_size("rand", size), _floating("rand", dtype)
    return Tensor(_source("rand", generator).uniform(0, 1, shape, number), device=device, requires_grad=requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed numbers, of mean 0 and standard deviation 1: `randn(2, 3)` or `randn((2, 3))`.

    Raises:
        TypeError, ValueError: as `rand`.

    >>> randn(3, generator=Generator(0))
    Tensor([ 0.12573022, -0.13210486,  0.64042264])
    """
    shape, number = as_size("randn", size), _floating("randn", dtype)
    return Tensor(_source("randn", generator).normal(0, 1, shape, number), device=device, requires_grad=requires_grad)


def normal(
    mean: float = 0.0,
    std: float = 1.0,
    size: Any = (),
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed numbers. For tensors as mean and std: `mean + std * randn_like(mean)`, which has gradients.

    Raises:
        TypeError, ValueError: as `rand`; or the standard deviation is negative.

    >>> normal(10.0, 0.1, (3,), generator=Generator(0))
    Tensor([10.012573,  9.98679 , 10.064042])
    """
    mean, std = as_number("normal", mean), as_number("normal", std)
    if not std >= 0:
        raise ValueError(f"normal: the standard deviation must not be negative, got {std}")
    shape, number = as_size("normal", (size,)), _floating("normal", dtype)
    return Tensor(_source("normal", generator).normal(mean, std, shape, number), device=device, requires_grad=requires_grad)


def randint(
    low: Any = 0,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers from `low` up to, not including, `high`: `randint(10, (2, 3))` or `randint(5, 10, (2, 3))`. int64.

    Raises:
        TypeError: a bound or a length is no integer, or the shape is missing.
        ValueError: there is no integer between the bounds, or a length is negative.

    >>> randint(10, (5,), generator=Generator(0))
    Tensor([8, 6, 5, 2, 3], dtype=int64)
    """
    if size is None and isinstance(high, (tuple, list)):
        high, size = None, high
    low, high = (0, low) if high is None else (low, high)
    if size is None:
        raise TypeError("randint: the shape is missing: randint(10, (2, 3)), or randint(5, 10, (2, 3))")
    shape, number = as_size("randint", (size,)), as_dtype("randint", dtype, np.int64)
    if not all(is_integer(bound) for bound in (low, high)):
        raise TypeError(f"randint: the bounds are integers, got {low!r} and {high!r}")
    if low >= high:
        raise ValueError(f"randint: there is no integer from {low} up to, not including, {high}")
    if number.kind in "iu" and not np.iinfo(number).min <= low < high <= np.iinfo(number).max + 1:
        raise ValueError(f"randint: {number} cannot hold all integers from {low} to {high - 1}")
    array = _source("randint", generator).integers(low, high, shape, number)
    return Tensor(array, device=device, requires_grad=requires_grad)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0 to n − 1 in random order: int64.

    Raises:
        TypeError, ValueError: n is no integer, or negative.

    >>> randperm(4, generator=Generator(0))
    Tensor([2, 0, 1, 3], dtype=int64)
    """
    (count,) = as_size("randperm", (n,))
    array = _source("randperm", generator).permutation(count)
    return Tensor(array, dtype=as_dtype("randperm", dtype, np.int64), device=device, requires_grad=requires_grad)


def bernoulli(p: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with probability `p`, else 0, in the shape and dtype of p. No gradient flows through it.

    Raises:
        TypeError: p is no tensor, or not floating point.
        ValueError: a probability is not between 0 and 1.

    >>> bernoulli(Tensor([0.0, 0.5, 1.0]), generator=Generator(0))
    Tensor([0., 0., 1.])
    """
    probabilities = like("bernoulli", p)
    numbers = to_numpy(probabilities)
    if not is_floating(numbers.dtype):
        raise TypeError(f"bernoulli: probabilities are floating-point numbers, got {numbers.dtype}; use .to('float32')")
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise ValueError("bernoulli: a probability is between 0 and 1; sigmoid() makes one of any number")
    drawn = _source("bernoulli", generator).bernoulli(numbers, numbers.shape)
    return Tensor(drawn, dtype=numbers.dtype, device=device_of(probabilities))


def rand_like(
    x: Node,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`rand` of the shape of x, and its dtype and device unless others are given."""
    array = like("rand_like", x)
    dtype, device = dtype or array.dtype, device_of(array) if device is None else device
    return rand(array.shape, generator=generator, dtype=dtype, device=device, requires_grad=requires_grad)


def randn_like(
    x: Node,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randn` of the shape of x, and its dtype and device unless others are given."""
    array = like("randn_like", x)
    dtype, device = dtype or array.dtype, device_of(array) if device is None else device
    return randn(array.shape, generator=generator, dtype=dtype, device=device, requires_grad=requires_grad)


def randint_like(
    x: Node,
    low: Any = 0,
    high: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randint` of the shape of x, and its dtype and device unless others are given."""
    array = like("randint_like", x)
    dtype, device = dtype or array.dtype, device_of(array) if device is None else device
    return randint(low, high, array.shape, generator=generator, dtype=dtype, device=device, requires_grad=requires_grad)


def _source(name: str, generator: Generator | None) -> Generator:
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"{name}: generator: expected a microtensor.Generator or None, got {type(generator).__name__}")
    return default if generator is None else generator


def _floating(name: str, dtype: DTypeLike | None) -> np.dtype[Any]:
    number = as_dtype(name, dtype)
    if not is_floating(number):
        raise TypeError(f"{name}: these are floating-point numbers, and {number} cannot hold them; randint() draws integers")
    return number


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, (known for known in globals() if not known.startswith("_")))
