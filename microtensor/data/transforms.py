"""Augmentation of a batch of images between the data set and the network: crops, flips, rotation, mixup, normalisation.

A transform takes images (N, C, H, W), a NumPy array of uint8 from 0 to 255 or of floats, and returns new images of the same
dtype; only `ToFloat` and `Normalize` convert uint8 to float32. Called with images alone, it returns images; called with images,
labels and so on, it returns a tuple of all, as torchvision's transforms v2 do. Each image of the batch gets its own random draw
from `generator`: the same generator state gives the same images.

In a `DataLoader(…, transform=Compose([…]))` they run on the CPU, in its worker threads if it has any. To write your own, derive
from `Transform` and define `apply`; a transform without randomness can be any function of the images.

>>> from microtensor.data import transforms
>>> augment = transforms.Compose([
...     transforms.RandomCrop(32, padding=4),
...     transforms.RandomHorizontalFlip(),
...     transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
... ])
>>> images = augment(np.zeros((8, 3, 32, 32), np.uint8), generator=random.Generator(0))
>>> images.shape, images.dtype
((8, 3, 32, 32), dtype('float32'))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..autograd.arguments import is_number
from ..runtime.integers import is_integer
from ..runtime.names import missing
from .geometry import CenterCrop, RandomCrop, RandomHorizontalFlip, RandomRotation, RandomVerticalFlip, Resize
from .transform_base import Compose, Images, Transform, as_dtype_of, filled, numbers, pair

__all__ = [
    "CenterCrop",
    "Compose",
    "Cutout",
    "Mixup",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToFloat",
    "Transform",
]


class ToFloat(Transform):
    """uint8 from 0 to 255 → float32 from 0 to 1. Floats are not changed."""

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Scaled images."""
        return images * np.float32(1 / 255) if images.dtype == np.uint8 else images.copy()


class Normalize(Transform):
    """(x − mean) / std in each channel. uint8 is scaled to 0 to 1 and becomes float32; floats keep their dtype.

    Args:
        mean, std: a number per channel, or one for all.

    Raises:
        TypeError: they are not numbers.
        ValueError: a std is not positive; or, when called, their number differs from the number of channels, or a mean above 1
            meets uint8 images.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = (numbers("Normalize", name, x) for name, x in (("mean", mean), ("std", std)))
        if not all(x > 0 for x in self.std):
            raise ValueError(f"Normalize: std: expected positive numbers, got {self.std}")
        if 1 < len(self.mean) != len(self.std) > 1:
            raise ValueError(f"Normalize: {len(self.mean)} numbers as mean, but {len(self.std)} as std; give one per channel")

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Normalised images."""
        channels = images.shape[1]
        for name, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, channels):
                raise ValueError(f"Normalize: {name}: {len(given)} numbers for images of {channels} channels {images.shape}")
        of_bytes = images.dtype == np.uint8
        if of_bytes and max(self.mean) > 1:
            raise ValueError(
                f"Normalize: mean {self.mean} is of pixels from 0 to 255, but uint8 counts as 0 to 1; divide both by 255"
            )
        dtype = np.dtype(np.float32) if of_bytes else images.dtype
        mean, std = (np.array(x)[:, None, None] for x in (self.mean, self.std))
        x = images * (1 / (std * (255 if of_bytes else 1))).astype(dtype)
        x -= (mean / std).astype(dtype)
        return x


class Cutout(Transform):
    """Erases a square at a random position in each image. Its centre can be any pixel, so it may be cut off at the border.

    DeVries & Taylor 2017, arxiv.org/abs/1708.04552, section 3.2; there 16 pixels for CIFAR-10 and 8 for CIFAR-100, in
    normalised images, where 0 is the mean.

    Args:
        size: (height, width) in pixels, or one number for a square. An even one extends one pixel further up and to the left.
        fill: the value of erased pixels: a number, or one per channel.
    """

    def __init__(self, size: int | Sequence[int], *, fill: float | Sequence[float] = 0) -> None:
        self.size = pair("Cutout", "size", size)
        self.fill = numbers("Cutout", "fill", fill)

    def apply(self, images: Images, generator: random.Generator) -> Images:
        """Images with a square erased."""
        inside = []
        for length, side in zip(images.shape[2:], self.size):
            first = generator.integers(0, length, (len(images), 1)) - side // 2
            at = np.arange(length)
            inside.append((first <= at) & (at < first + side))  # (N, length)
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return np.where(hole, filled((1, images.shape[1], 1, 1), self.fill, images.dtype), images)


class Mixup(Transform):
    """Mixes each image with another image of its batch, and their labels likewise: λ x + (1 − λ) x′, λ ~ Beta(alpha, alpha).

    Images keep their dtype, uint8 rounded. Labels (N,), integers, become class probabilities (N, num_classes), float32,
    which `nn.cross_entropy` takes; labels may also be probabilities (N, num_classes). One λ is used for the whole batch, and
    the partners are the batch in random order. Zhang et al. 2017, arxiv.org/abs/1710.09412, equation 2 and figure 1.

    Args:
        num_classes: number of classes.
        alpha: above 0; the smaller it is, the closer λ is to 0 or 1. The paper uses 0.2 to 0.4 for ImageNet, 1 for CIFAR.

    Raises:
        TypeError, ValueError: an argument is invalid; or, when called, labels are missing or out of range.
    """

    def __init__(self, num_classes: int, alpha: float = 1.0) -> None:
        if not is_integer(num_classes) or num_classes < 1:
            raise ValueError(f"Mixup: num_classes: expected an integer of 1 or more, got {num_classes!r}")
        if not is_number(alpha):
            raise TypeError(f"Mixup: alpha: expected a number, got {alpha!r}")
        if not 0 < alpha < math.inf:
            raise ValueError(f"Mixup: alpha: expected a number above 0, got {alpha}")
        self.num_classes, self.alpha = int(num_classes), float(alpha)

    def __call__(self, images: Images, *others: Any, generator: random.Generator | None = None) -> Any:
        """Images, labels, others → mixed images, probabilities (N, num_classes), and the others unchanged."""
        if not others:
            raise TypeError("Mixup: it mixes the labels as well: give it images and labels")
        images, (labels, *rest) = self.check(images), others
        labels = self._probabilities(labels, len(images))
        generator = self.source(generator)
        share = float(generator.beta(self.alpha, self.alpha, (), np.float64))
        partner = generator.permutation(len(images))
        return (_mixed(images, partner, share), _mixed(labels, partner, share), *rest)

    def _probabilities(self, labels: Any, count: int) -> NDArray[Any]:
        shape, kind = getattr(labels, "shape", None), getattr(getattr(labels, "dtype", None), "kind", "")
        if kind == "f" and shape == (count, self.num_classes):
            return np.asarray(labels)
        if kind not in ("i", "u") or shape != (count,):
            what = f"{labels.dtype} {shape}" if kind else type(labels).__name__
            raise ValueError(
                f"Mixup: labels: expected integers ({count},) or probabilities ({count}, {self.num_classes}), got {what}"
            )
        wrong = labels[(labels < 0) | (labels >= self.num_classes)]
        if wrong.size:
            raise ValueError(f"Mixup: labels: expected 0 to {self.num_classes - 1}, got {wrong[0]}; num_classes counts them")
        return np.eye(self.num_classes, dtype=np.float32)[labels]


def _mixed(x: NDArray[Any], partner: NDArray[Any], share: float) -> NDArray[Any]:
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    mixed = x * dtype.type(share)
    mixed += x[partner] * dtype.type(1 - share)
    return as_dtype_of(x.dtype, mixed)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, __all__)
