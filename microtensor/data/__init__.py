"""Data sets, `DataLoader`, which cuts them into batches, and `transforms`, which augment a batch.

>>> from microtensor.data import DataLoader, mnist_sample
>>> digits = mnist_sample()
>>> for inputs, labels in DataLoader(digits, batch_size=64, shuffle=True):
...     print(inputs.shape, inputs.dtype, labels.shape, labels.dtype)
...     break
(64, 1, 28, 28) float32 (64,) int64
"""

from typing import TYPE_CHECKING, Any

from ..runtime.names import missing
from . import transforms
from .cifar import CIFAR10, CIFAR100
from .dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from .idx import read_idx, write_idx
from .image_folder import ImageFolder
from .labelled_images import LabelledImages, to_input
from .loader import DataLoader
from .mnist import MNIST, FashionMNIST, mnist_sample

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "FashionMNIST",
    "ImageFolder",
    "LabelledImages",
    "MNIST",
    "Subset",
    "TensorDataset",
    "mnist_sample",
    "random_split",
    "read_idx",
    "to_input",
    "transforms",
    "write_idx",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing(__name__, name, __all__)
