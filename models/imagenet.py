"""The world's side of a network: a photograph as it wants to see it, and ImageNet's 1000 scores as names.

    picture → shorter side to `resize` pixels → the middle, size × size → (pixel / 255 − mean) / std in each channel → scores

What a network was trained on it has to get again: `preprocessing(name)` knows it for each network of `models`.

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
"""The path of a picture, or its pixels: uint8 (3, H, W)."""

Channels: TypeAlias = tuple[float, float, float] | tuple[float]
"""A number for red, green and blue; or the one of a network that sees greys."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training pixels, where black is 0 and white is 1: the constants of torchvision's networks."""

HALF = (0.5, 0.5, 0.5)
"""As mean and as standard deviation: pixels go from −1 to 1, as Inception and what came from TensorFlow wants them."""


class Preprocessing(NamedTuple):
    """What is done to a picture before a network sees it. Called with pictures, of any sizes, it gives a batch.

    >>> Preprocessing(resize=36, size=32)(np.zeros((3, 50, 40), np.uint8), np.zeros((3, 40, 40), np.uint8)).shape
    (2, 3, 32, 32)
    """

    resize: int = 256
    """Pixels of the shorter side; the other follows in proportion. Bilinear, and smoothed where the picture shrinks."""
    size: int = 224
    """Height and width of the middle that is cut out."""
    mean: Channels = MEAN
    std: Channels = STD

    def __call__(self, *pictures: Picture) -> Tensor:
        """Paths, or pixels uint8 (3, H, W) → what the network takes, float32 (N, 3, size, size), of greys (N, 1, size, size).

        Raises:
            TypeError: a picture is neither.
            ValueError: there is none, its pixels are not (3, H, W), or the file is no picture that can be read.
            FileNotFoundError: there is no such file.
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
    """(N, 3, H, W) → (N, 1, H, W): how bright a pixel looks, as ITU-R BT.601 weighs its colours."""
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), pixels, axes=(0, 1))
    return np.rint(luma)[:, None].astype(np.uint8)


LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3

OTHERS = {
    "alexnet_2012": Preprocessing(256, 227),
    # Without `transform_input` these two want pixels from −1 to 1.
    "googlenet": Preprocessing(256, 224, HALF, HALF),
    "inception_v3": Preprocessing(342, 299, HALF, HALF),
    # As timm evaluates them.
    "inception_resnet_v1": Preprocessing(333, 299, HALF, HALF),
    "inception_resnet_v2": Preprocessing(333, 299, HALF, HALF),
    "xception": Preprocessing(333, 299, HALF, HALF),
    "mobilenet_v1": Preprocessing(256, 224, HALF, HALF),
    # (x − 127) / 128. The authors cut out the middle, size / (size + 32) of the shorter side, and resize that: the same pixels.
    "efficientnet_lite0": Preprocessing(256, 224, LITE_MEAN, LITE_STD),
    "efficientnet_lite1": Preprocessing(272, 240, LITE_MEAN, LITE_STD),
    "efficientnet_lite2": Preprocessing(292, 260, LITE_MEAN, LITE_STD),
    "efficientnet_lite3": Preprocessing(312, 280, LITE_MEAN, LITE_STD),
    "efficientnet_lite4": Preprocessing(332, 300, LITE_MEAN, LITE_STD),
}
"""Networks whose published weights want something else than torchvision's 256, 224, `MEAN` and `STD`."""


def preprocessing(name: str) -> Preprocessing:
    """What the published weights of the network of this name in `models` want; torchvision's usual where nothing else is known.

    Networks for small pictures have no published weights: they want what the data sets of this library give. One that sees
    greys, such as `lenet5`, gets the picture's brightness by MNIST's constants, one for 32×32 colours those of CIFAR-10.

    Raises:
        ValueError: the network takes no pictures.

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
    """A class, and how sure the network is of it."""

    label: int
    name: str
    probability: float


def top(logits: Tensor, k: int = 5) -> list[list[Guess]]:
    """The k likeliest classes of each image, the likeliest first: logits (N, 1000) → N lists of k guesses.

    Raises:
        TypeError: logits are no Tensor.
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

    Each is the first word of its WordNet synset; the two that would stand there twice are told apart as torchvision does.

    >>> classes()[281:283], classes()[967]
    (('tabby', 'tiger cat'), 'espresso')
    """
    return tuple(files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8").splitlines())
