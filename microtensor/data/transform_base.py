"""`Transform`, the base class of transforms; `Compose`; and argument checks that all transforms share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..autograd.arguments import is_number
from ..runtime.integers import is_integer
from ..runtime.text import kind_of

Images: TypeAlias = NDArray[Any]
"""(N, C, H, W), uint8 from 0 to 255 or floating point."""


class Transform:
    """Base class of transforms: a subclass defines `apply`."""

    def __call__(self, images: Images, *others: Any, generator: random.Generator | None = None) -> Any:
        """Images (N, C, H, W) → images. With `others`, such as labels, returns a tuple: the images, and the others unchanged.

        Args:
            generator: source of randomness; None: the default generator.

        Raises:
            TypeError: the images are not a NumPy array of uint8 or floats, or the generator has the wrong type.
            ValueError: they do not have four axes, or have a shape that the transform cannot handle.
        """
        images = self.apply(self.check(images), self.source(generator))
        return (images, *others) if others else images

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """New images computed from `images`, which must not be changed."""
        raise NotImplementedError(f"{type(self).__name__}: write apply(images, generator), which gives new images")

    def check(self, images: Images) -> Images:
        """Check the type and the axes of the images, and return them."""
        name = type(self).__name__
        if not isinstance(images, np.ndarray):
            raise TypeError(
                f"{name}: expected images as a NumPy array, got {type(images).__module__}.{type(images).__name__}; transforms "
                "run on the host, before a batch goes to its device"
            )
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise TypeError(
                f"{name}: expected images of uint8 or floating-point numbers, got {images.dtype}; convert: .astype()"
            )
        if images.ndim != 4:
            hint = "one image gets its axis by [None], grey ones by [:, None]"
            raise ValueError(f"{name}: expected images (N, C, H, W), got {images.shape}; {hint}")
        return images

    def source(self, generator: random.Generator | None) -> random.Generator:
        """The source of randomness: this generator, or the default one if it is None."""
        if generator is not None and not isinstance(generator, random.Generator):
            name, kind = type(self).__name__, type(generator).__name__
            raise TypeError(f"{name}: generator: expected a microtensor.Generator or None, got {kind}")
        return random.default if generator is None else generator

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


def transformed(transform: Callable[..., Any], batch: tuple[Any, ...], generator: random.Generator | None) -> Any:
    """Apply a transform to a batch, or a function to its first array."""
    if isinstance(transform, Transform):
        result = transform(*batch, generator=generator)
    else:
        result = transform(batch[0])
        result = result if result is None else (result, *batch[1:])
    if result is None:
        name = getattr(transform, "__name__", type(transform).__name__)
        raise TypeError(f"transform {name}: expected new images, got None; does it lack a `return`?")
    return result if isinstance(result, tuple) else (result,)


class Compose(Transform):
    """Applies transforms, or functions of images, one after the other.

    Raises:
        TypeError: the argument is not a list, or an element is a class or not callable.

    >>> Compose([lambda images: images / 2, lambda images: 1 - images])(np.zeros((1, 1, 1, 1)))
    array([[[[1.]]]])
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]], *more: Any) -> None:
        if more or callable(transforms) or not isinstance(transforms, Iterable):
            given = ", ".join(map(kind_of, (transforms, *more)))
            raise TypeError(f"Compose: expected one list of transforms, got {given}; put brackets around: Compose([…])")
        self.transforms = [*transforms]
        for i, transform in enumerate(self.transforms):
            if isinstance(transform, type):
                name = transform.__name__
                raise TypeError(f"Compose: transforms[{i}] is the class {name}; create one: {name}(…)")
            if not callable(transform):
                hint = "; put its elements into the one list" if isinstance(transform, (list, tuple)) else ""
                raise TypeError(f"Compose: transforms[{i}]: expected a transform or a function, got {kind_of(transform)}{hint}")

    def __call__(self, images: Images, *others: Any, generator: random.Generator | None = None) -> Any:
        """Images, or images and others → the result of the last transform."""
        batch: Any = (images, *others)
        for transform in self.transforms:
            batch = transformed(transform, batch, generator)
        return batch if others else batch[0]


def as_dtype_of(dtype: np.dtype[Any], numbers: Images) -> Images:
    """Convert to the dtype of images: for uint8, rounded and clipped to 0 … 255. May change its argument."""
    if dtype != np.uint8:
        return numbers.astype(dtype, copy=False)
    np.rint(numbers, out=numbers)
    return np.clip(numbers, 0, 255, out=numbers).astype(np.uint8)


def filled(shape: tuple[int, ...], fill: tuple[float, ...], dtype: np.dtype[Any]) -> Images:
    """Images (N, C, H, W) of a single colour."""
    if len(fill) not in (1, shape[1]):
        raise ValueError(f"fill: {len(fill)} numbers for images of {shape[1]} channels; give one, or one per channel")
    if dtype == np.uint8 and not all(0 <= x <= 255 for x in fill):
        raise ValueError(f"fill: expected numbers from 0 to 255 for images of uint8, got {fill}")
    colour = as_dtype_of(dtype, np.array(fill, np.float64))
    images = np.empty(shape, dtype)
    images[:] = colour[:, None, None]
    return images


def pair(name: str, what: str, size: Any) -> tuple[int, int]:
    """Check a size, and return it as (height, width)."""
    sides = (size, size) if is_integer(size) else size
    whole = isinstance(sides, (tuple, list)) and len(sides) == 2
    if not whole or not all(is_integer(n) for n in sides):
        raise TypeError(f"{name}: {what}: expected an integer or two, (height, width), got {size!r}")
    if min(sides) < 1:
        raise ValueError(f"{name}: {what}: expected 1 pixel or more, got {size!r}")
    return int(sides[0]), int(sides[1])


def probability(name: str, p: Any) -> float:
    """Check a probability, and return it."""
    if not is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{name}: p: expected a probability from 0 to 1, got {p!r}")
    return float(p)


def numbers(name: str, what: str, given: Any) -> tuple[float, ...]:
    """Check a number, or one per channel, and return it as a tuple."""
    found = tuple(given) if isinstance(given, (tuple, list, np.ndarray)) else (given,)
    if not found or not all(is_number(x) for x in found):
        raise TypeError(f"{name}: {what}: expected a number, or one per channel, got {given!r}")
    if not all(math.isfinite(x) for x in found):
        raise ValueError(f"{name}: {what}: expected finite numbers, got {given!r}")
    return tuple(float(x) for x in found)


def flag(name: str, what: str, given: Any) -> bool:
    """Check a bool, and return it: a string such as "no" would count as true."""
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{name}: {what}: expected True or False, got {given!r}")
    return bool(given)
