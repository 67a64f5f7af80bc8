"""`LabelledImages`: labelled images in memory, the base of MNIST and CIFAR; and `to_input`, which normalises pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..runtime.arrays import Array, array_module, is_array, to_device
from ..tensor import Tensor
from .dataset import Dataset, TensorDataset

DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

# Mean and standard deviation of all pixels of MNIST's 60,000 training images, where black is 0 and white is 1.
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081


def to_input(images: Array, mean: float | Sequence[float] = MNIST_MEAN, std: float | Sequence[float] = MNIST_STD) -> Array:
    """Pixels as input of a network: (pixel / 255 − mean) / std in float32, on the same device.

    With a single mean, images are grey and get a channel axis: uint8 (…, H, W) → (…, 1, H, W). With a sequence of means, one
    per channel, they already have it: uint8 (…, C, H, W) → (…, C, H, W). The defaults are the usual constants for MNIST, with
    which the training set has mean 0 and standard deviation 1.

    Raises:
        TypeError: the images are not a uint8 array.
        ValueError: they have too few axes, the number of channels differs from the number of means, or a mean is above 1.

    >>> to_input(np.full((64, 28, 28), 255, np.uint8)).shape
    (64, 1, 28, 28)
    >>> to_input(np.full((64, 3, 32, 32), 255, np.uint8), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)).shape
    (64, 3, 32, 32)
    """
    if not is_array(images) or images.dtype != np.uint8:
        found = images.dtype if is_array(images) else type(images).__name__
        raise TypeError(f"to_input: expected images as an array of uint8, from 0 to 255, got {found}")
    if max(mean, default=0) > 1 if isinstance(mean, Sequence) else mean > 1:
        raise ValueError(
            f"to_input: mean {mean} is of pixels from 0 to 255; expected that of 0 to 1: divide mean and std by 255"
        )
    scale: Any
    shift: Any
    if isinstance(mean, Sequence):
        per_channel = [np.array(x, np.float64)[:, None, None] for x in (mean, std)]
        if images.ndim < 3 or any(len(x) != images.shape[-3] for x in per_channel):
            counts = " and ".join(str(len(x)) for x in per_channel)
            raise ValueError(
                f"to_input: expected images (…, C, H, W), got the shape {images.shape} for {counts} means and stds"
            )
        xp = array_module(images)
        scale, shift = (xp.asarray(x.astype(np.float32)) for x in (1 / (255 * per_channel[1]), per_channel[0] / per_channel[1]))
        x = images * scale
    else:
        if images.ndim < 2:
            raise ValueError(f"to_input: expected images (…, H, W), got the shape {images.shape}")
        scale, shift = 1 / (255 * std), mean / std  # type: ignore[operator]
        x = array_module(images).multiply(images[..., None, :, :], scale, dtype=np.float32)
    x -= shift
    return x


class LabelledImages(Dataset):
    """Images of the same size, with one label each.

    `dataset[i]` is the i-th image after `to_input`, float32 (C, H, W), and its label. A slice or an array of indices gives
    several: float32 (N, C, H, W) and int64 (N,).

    Args:
        images: uint8 (N, H, W), grey, 0 for the background; or (N, C, H, W), if `mean` is a sequence of C numbers. Kept as
            `images`.
        labels: integers (N,) from 0; kept as `labels`, int64.
        classes: the name of each label.
        mean, std: passed to `to_input`.
        names: names of `images` and `labels` in error messages, such as the files that they are from.

    Raises:
        TypeError: images or labels are not NumPy arrays.
        ValueError: they have another form, or different lengths.
    """

    shape: ClassVar[tuple[int, ...] | None] = None
    """Shape of an image in `images`, if all images of the data set have the same."""

    def __init__(
        self,
        images: NDArray[Any],
        labels: NDArray[Any],
        classes: Sequence[str] = DIGITS,
        mean: float | Sequence[float] = MNIST_MEAN,
        std: float | Sequence[float] = MNIST_STD,
        names: tuple[object, object] = ("images", "labels"),
    ) -> None:
        form: tuple[Any, ...] = self.shape or ((len(mean), "H", "W") if isinstance(mean, Sequence) else ("H", "W"))
        _check(type(self).__name__, images, labels, form, len(classes), names)
        self.images = images
        self.labels = labels.astype(np.int64)
        self.classes = tuple(classes)
        self.mean, self.std = mean, std

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[NDArray[Any], Any]:
        return to_input(self.images[index], self.mean, self.std), self.labels[index]

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], Any]:
        """The images with these indices, float32 (n, C, H, W), and their labels, int64 (n,)."""
        return self[indices]

    def raw(self) -> TensorDataset:
        """The images as stored, uint8 (N, C, H, W), and the labels: input for transforms, which work on pixels.

        `DataLoader(digits.raw(), transform=Compose([RandomCrop(28, padding=2), Normalize(digits.mean, digits.std)]))`
        """
        return TensorDataset(self.images if self.images.ndim == 4 else self.images[:, None], self.labels)

    def tensors(self, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """All images, float32 (N, C, H, W), and all labels, int64 (N,), on `device`.

        An image of MNIST takes 3,136 bytes, all 60,000 take 188 MB. To cut batches on a GPU:
        `DataLoader(TensorDataset(*dataset.tensors("cuda")))`.
        """
        images = to_device(self.images, device)  # as uint8: a quarter of the bytes of float32
        return Tensor(to_input(images, self.mean, self.std), device=device), Tensor(self.labels, device=device)


def _check(
    kind: str, images: NDArray[Any], labels: NDArray[Any], form: tuple[Any, ...], classes: int, names: tuple[object, object]
) -> None:
    for name, array in zip(names, (images, labels)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{kind}: {name}: expected a NumPy array, got {type(array).__name__}")
    fits = images.ndim == 1 + len(form) and all(want in (n, "H", "W") for want, n in zip(form, images.shape[1:]))
    if images.dtype != np.uint8 or not fits:
        wanted = ", ".join(map(str, form))
        raise ValueError(f"{kind}: {names[0]}: expected images as uint8 (N, {wanted}), found {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ValueError(f"{kind}: {names[1]}: expected labels as integers (N,), found {labels.dtype} {labels.shape}")
    if len(images) != len(labels):
        raise ValueError(f"{kind}: {len(images)} images in {names[0]}, but {len(labels)} labels in {names[1]}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(f"{kind}: {names[1]}: expected labels from 0 to {classes - 1}, found {wrong[0]}")


def part_name(name: str, train: bool, test: str) -> str:
    """The name of the part: "train", or `test` for the test set.

    Raises:
        TypeError: `train` is not a bool; a string such as "test" would count as true.
    """
    if not isinstance(train, (bool, np.bool_)):
        raise TypeError(f"{name}: train: expected True for the training set or False for the test set, got {train!r}")
    return "train" if train else test
