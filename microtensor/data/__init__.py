"""Data sets, and the loader that cuts them into batches.

>>> from microtensor.data import DataLoader, mnist_sample
>>> digits = mnist_sample()
>>> for inputs, labels in DataLoader(digits, batch_size=64, shuffle=True):
...     print(inputs.shape, inputs.dtype, labels.shape, labels.dtype)
...     break
(64, 1, 28, 28) float32 (64,) int64
"""

from .idx import read_idx, write_idx
from .loader import DataLoader, TensorDataset
from .mnist import MNIST, FashionMNIST, LabelledImages, mnist_sample, to_input

__all__ = [
    "DataLoader",
    "FashionMNIST",
    "LabelledImages",
    "MNIST",
    "TensorDataset",
    "mnist_sample",
    "read_idx",
    "to_input",
    "write_idx",
]
