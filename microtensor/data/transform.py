"""What a transform is: `Transform`, several of them in a row, and the checks that all share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..arguments import is_number

Images: TypeAlias = NDArray[Any]
"""(N, C, H, W), uint8 from 0 to 255 or floating-point numbers."""


class Transform:
    """A transform of images: a subclass writes `apply`."""

    def __call__(self, images: Images, *others: Any, generator: random.Generator | None = None) -> Any:
        """Images (N, C, H, W) → images; or images and `others`, such as labels → the tuple of them, the others as they are.

        Args:
            generator: where randomness comes from; None: the default generator.

        Raises:
            TypeError: the images are no NumPy array of uint8 or floating-point numbers, or the generator is none.
            ValueError: they have not four axes, or do not fit the transform.
        """
        images = self.apply(self.check(images), self.source(generator))
        return (images, *others) if others else images

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """New images from `images`, which stay as they are."""
        raise NotImplementedError(f"{type(self).__name__}: write apply(images, generator), which gives new images")

    def check(self, images: Images) -> Images:
        """The images, if they are of the form that transforms take."""
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
        """Where randomness comes from: this generator, or the default one."""
        if generator is not None and not isinstance(generator, random.Generator):
            name, kind = type(self).__name__, type(generator).__name__
            raise TypeError(f"{name}: generator: expected a microtensor.Generator or None, got {kind}")
        return random.default if generator is None else generator

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"


def transformed(transform: Callable[..., Any], batch: tuple[Any, ...], generator: random.Generator | None) -> Any:
    """A batch after a transform, or after a function of its first array."""
    if not isinstance(transform, Transform):
        return (transform(batch[0]), *batch[1:])
    result = transform(*batch, generator=generator)
    return result if isinstance(result, tuple) else (result,)


class Compose(Transform):
    """One transform after the other, functions of images among them.

    >>> Compose([lambda images: images / 2, lambda images: 1 - images])(np.zeros((1, 1, 1, 1)))
    array([[[[1.]]]])
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        self.transforms = [*transforms]
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(f"Compose: expected transforms and functions, got {type(transform).__name__}")

    def __call__(self, images: Images, *others: Any, generator: random.Generator | None = None) -> Any:
        """Images, or images and others → what is left after the last transform."""
        batch: Any = (images, *others)
        for transform in self.transforms:
            batch = transformed(transform, batch, generator)
        return batch if others else batch[0]


def as_dtype_of(dtype: np.dtype[Any], numbers: Images) -> Images:
    """Numbers in this dtype of images: rounded to 0 … 255 if that is uint8. In place, where it can be."""
    if dtype != np.uint8:
        return numbers.astype(dtype, copy=False)
    np.rint(numbers, out=numbers)
    return np.clip(numbers, 0, 255, out=numbers).astype(np.uint8)


def filled(shape: tuple[int, ...], fill: tuple[float, ...], dtype: np.dtype[Any]) -> Images:
    """Images (N, C, H, W) of this one colour."""
    if len(fill) not in (1, shape[1]):
        raise ValueError(f"fill: {len(fill)} numbers for images of {shape[1]} channels; give one, or one per channel")
    colour = as_dtype_of(dtype, np.array(fill, np.float64))
    images = np.empty(shape, dtype)
    images[:] = colour[:, None, None]
    return images


def pair(name: str, what: str, size: Any) -> tuple[int, int]:
    """A size as (height, width)."""
    sides = (size, size) if isinstance(size, (int, np.integer)) else size
    whole = isinstance(sides, (tuple, list)) and len(sides) == 2
    if not whole or not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in sides):
        raise TypeError(f"{name}: {what}: expected a whole number or two, (height, width), got {size!r}")
    if min(sides) < 1:
        raise ValueError(f"{name}: {what}: expected 1 pixel or more, got {size!r}")
    return int(sides[0]), int(sides[1])


def probability(name: str, p: Any) -> float:
    """p, if it is a probability."""
    if not is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{name}: p: expected a probability from 0 to 1, got {p!r}")
    return float(p)


def numbers(name: str, what: str, given: Any) -> tuple[float, ...]:
    """A number, or one per channel, as a tuple."""
    found = tuple(given) if isinstance(given, (tuple, list, np.ndarray)) else (given,)
    if not found or not all(is_number(x) for x in found):
        raise TypeError(f"{name}: {what}: expected a number, or one per channel, got {given!r}")
    return tuple(float(x) for x in found)
