"""Preprocess photographs for a network trained on ImageNet, and turn its 1000 scores into class names.

    image → shorter side resized to `resize` pixels → middle cropped to size × size → (pixel / 255 − mean) / std → network

A network needs the preprocessing that it was trained with: `preprocessing(name)` has it for each network of `models`.

>>> from microtensor import zeros
>>> preprocess = preprocessing("efficientnet_lite0")
>>> preprocess(np.zeros((3, 300, 451), np.uint8)).shape
(1, 3, 224, 224)
>>> top(zeros(1, 1000), k=1)
[[Guess(label=0, name='tench', probability=0.001)]]
"""

from __future__ import annotations

import functools
import os
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from microtensor.data.cifar import CIFAR10_MEAN, CIFAR10_STD
from microtensor.data.geometry import resized_middle
from microtensor.data.image_file import read_picture
from microtensor.data.labelled_images import MNIST_MEAN, MNIST_STD
from microtensor.data.transforms import Normalize
from microtensor.runtime.text import shape_text
from microtensor.tensor import Tensor

from .catalogue import cards

Picture: TypeAlias = str | os.PathLike[str] | NDArray[np.uint8]
"""The path of an image file, or pixels: uint8 (3, H, W)."""

Channels: TypeAlias = tuple[float, float, float] | tuple[float]
"""One number each for red, green and blue; or a single one for networks that take grey images."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's training pixels, from 0 to 1: the constants of torchvision's networks."""

HALF = (0.5, 0.5, 0.5)
"""Used as mean and standard deviation: maps pixels to −1 … 1, as for Inception and networks converted from TensorFlow."""


class Preprocessing(NamedTuple):
    """The preprocessing of a network. Called with images of any sizes, it returns a batch.

    >>> Preprocessing(resize=36, size=32)(np.zeros((3, 50, 40), np.uint8), np.zeros((3, 40, 40), np.uint8)).shape
    (2, 3, 32, 32)
    """

    resize: int = 256
    """Length of the shorter side in pixels; the aspect ratio is kept. Bilinear, with antialiasing."""
    size: int = 224
    """Height and width of the central crop, in pixels."""
    mean: Channels = MEAN
    std: Channels = STD

    def __call__(self, *pictures: Picture) -> Tensor:
        """Paths, or pixels uint8 (3, H, W) → float32 (N, 3, size, size), or (N, 1, size, size) for a grey network.

        Raises:
            TypeError: an image is neither.
            ValueError: none is given, the pixels are not (3, H, W), or the file is not an image that can be read.
            FileNotFoundError: the file does not exist.
            ImportError: Pillow is missing, and the message says how to install it.
        """
        if not pictures:
            raise ValueError("Preprocessing: expected at least one picture")
        shown = (_pixels(picture)[None] for picture in pictures)
        middles = (resized_middle(_grey(x) if len(self.mean) == 1 else x, self.resize, self.size) for x in shown)
        return Tensor(Normalize(self.mean, self.std)(np.concatenate([*middles])))


def _pixels(picture: Any) -> NDArray[np.uint8]:
    if isinstance(picture, (str, os.PathLike)):
        return read_picture(picture)
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        found = picture.dtype if isinstance(picture, np.ndarray) else type(picture).__name__
        raise TypeError(f"Preprocessing: expected the path of a picture, or a NumPy array of uint8 from 0 to 255, got {found}")
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise ValueError(f"Preprocessing: expected the pixels of one picture, (3, H, W), got shape {picture.shape}")
    return picture


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luminance by the weights of ITU-R BT.601: (N, 3, H, W) → (N, 1, H, W)."""
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), pixels, axes=(0, 1))
    return np.rint(luma)[:, None].astype(np.uint8)


LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3

OTHERS = {
    "alexnet_2012": Preprocessing(256, 227),
    # Without `transform_input`, these two expect pixels from −1 to 1.
    "googlenet": Preprocessing(256, 224, HALF, HALF),
    "inception_v3": Preprocessing(342, 299, HALF, HALF),
    # As timm evaluates them.
    "inception_resnet_v1": Preprocessing(333, 299, HALF, HALF),
    "inception_resnet_v2": Preprocessing(333, 299, HALF, HALF),
    "xception": Preprocessing(333, 299, HALF, HALF),
    "mobilenet_v1": Preprocessing(256, 224, HALF, HALF),
    # (x − 127) / 128. The authors crop the middle, size / (size + 32) of the shorter side, then resize: the same pixels.
    "efficientnet_lite0": Preprocessing(256, 224, LITE_MEAN, LITE_STD),
    "efficientnet_lite1": Preprocessing(272, 240, LITE_MEAN, LITE_STD),
    "efficientnet_lite2": Preprocessing(292, 260, LITE_MEAN, LITE_STD),
    "efficientnet_lite3": Preprocessing(312, 280, LITE_MEAN, LITE_STD),
    "efficientnet_lite4": Preprocessing(332, 300, LITE_MEAN, LITE_STD),
}
"""Networks whose published weights need other values than torchvision's 256, 224, `MEAN` and `STD`."""


def preprocessing(name: str) -> Preprocessing:
    """The preprocessing for the published weights of a network of `models`; torchvision's defaults if it has no other.

    Networks for small images have no published weights: they get the normalisation of this library's data sets. A network for
    grey images, such as `lenet5`, gets luminance normalised as MNIST, one for 32×32 pixels in colour that of CIFAR-10.

    Raises:
        ValueError: the network does not take images.

    >>> preprocessing("resnet50") == Preprocessing()
    True
    >>> preprocessing("lenet5")(np.zeros((3, 50, 40), np.uint8)).shape
    (1, 1, 28, 28)
    """
    if name in OTHERS or name not in cards():
        return OTHERS.get(name, Preprocessing())
    shape = cards()[name].input_shape
    if len(shape) != 3:
        raise ValueError(f"preprocessing: {name} takes numbers {shape_text(shape)}, no pictures")
    channels, side = shape[:2]
    if channels == 1:
        return Preprocessing(side, side, (MNIST_MEAN,), (MNIST_STD,))
    return Preprocessing(side, side, CIFAR10_MEAN, CIFAR10_STD) if side == 32 else Preprocessing()


class Guess(NamedTuple):
    """A class, and its probability."""

    label: int
    name: str
    probability: float


def top(logits: Tensor, k: int = 5) -> list[list[Guess]]:
    """The k most probable classes of each image, in descending order: logits (N, 1000) → N lists of k guesses.

    Raises:
        TypeError: logits are not a Tensor.
        ValueError: they are not (N, 1000), or k is not from 1 to 1000.
    """
    names = classes()
    if not isinstance(logits, Tensor):
        raise TypeError(f"top: expected the logits as a Tensor, got {type(logits).__name__}")
    if logits.ndim != 2 or logits.shape[1] != len(names):
        raise ValueError(f"top: expected the logits of ImageNet's classes, (N, {len(names)}), got shape {logits.shape}")
    if not 1 <= k <= len(names):
        raise ValueError(f"top: k must be from 1 to {len(names)}, got {k!r}")
    probabilities = logits.detach().double().softmax(dim=1).numpy()
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return [[Guess(int(i), names[i], float(row[i])) for i in best] for row, best in zip(probabilities, order)]


@functools.cache
def classes() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, those of ILSVRC 2012, in the order of their labels.

    Each is the first word of its WordNet synset; two duplicates are distinguished as in torchvision.

    >>> classes()[281:283], classes()[967]
    (('tabby', 'tiger cat'), 'espresso')
    """
    return tuple(files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8").splitlines())
