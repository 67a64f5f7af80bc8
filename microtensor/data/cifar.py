"""CIFAR-10 and CIFAR-100, read from the binary version of their archives (not the pickled Python version).

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", www.cs.toronto.edu/~kriz/cifar.html, "Binary version":
rows of one byte per label, then 3 · 32 · 32 bytes of red, green and blue.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from numpy.typing import NDArray

from .download import Source
from .idx import take
from .labelled_images import LabelledImages, part_name
from .tar import read_members

SHAPE = (3, 32, 32)
ARCHIVE_BYTES = 1 << 28
"""Limit on the unpacked size of an archive. The published ones hold 184 MB."""
MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)

# Mean and standard deviation of each channel over all pixels of the 50,000 training images, where black is 0 and white is 1:
# the constants that the field uses, to four digits.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100_MEAN, CIFAR100_STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""
_COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture insects
large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals
non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""
CIFAR100_CLASSES, CIFAR100_COARSE_CLASSES = tuple(_FINE.split()), tuple(_COARSE.split())


class CIFAR10(LabelledImages):
    """Photographs of ten kinds of things, 32 × 32 pixels in colour: 50,000 for training, 10,000 for testing.

    `dataset[i]` is float32 (3, 32, 32) and its label; `dataset.images` uint8 (N, 3, 32, 32).

    Args:
        root: the folder that holds `cifar-10-binary.tar.gz` or the unpacked cifar-10-batches-bin, or has either in a folder
            CIFAR10. None: the folder in the environment variable MICROTENSOR_DATA, then the user's cache.
        train: True for the training set, False for the test set.
        download: download the archive (170 MB) if it is missing, into the folder CIFAR10 of `root` or of the cache, and check
            its SHA-256. Needs pooch: `pip install pooch`.

    Raises:
        TypeError: `train` is not a bool.
        FileNotFoundError: the files are missing. The message says where to get them.
        ImportError: a download is needed, and pooch is missing.
        OSError: the download failed.
        ValueError: a file is damaged.
    """

    shape = SHAPE
    source: ClassVar[Source] = Source(
        "CIFAR10",
        MIRRORS,
        {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        "By hand: www.cs.toronto.edu/~kriz/cifar.html, the binary version",
        inner="CIFAR10",
    )
    folder: ClassVar[str] = "cifar-10-batches-bin"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    }
    max_rows: ClassVar[int] = 10_000  # of a file

    def __init__(self, root: str | os.PathLike[str] | None = None, train: bool = True, download: bool = False) -> None:
        path, labels, images = self._load(root, train, download, kinds=1)
        super().__init__(images, labels[:, 0], CIFAR10_CLASSES, CIFAR10_MEAN, CIFAR10_STD, (path, path))

    @classmethod
    def _load(
        cls, root: str | os.PathLike[str] | None, train: bool, download: bool, kinds: int
    ) -> tuple[Path, NDArray[np.uint8], NDArray[np.uint8]]:
        """The path of the data, the labels (N, kinds) and the images (N, 3, 32, 32)."""
        source = cls.source
        part = part_name(source.name, train, "test")
        names = cls.files[part]
        (archive,) = source.sha256

        def look(folder: Path) -> Path | None:
            for inner in (folder / source.inner, folder):
                unpacked = inner / cls.folder
                if all((unpacked / name).is_file() for name in names):
                    return unpacked
                if (inner / archive).is_file():
                    return inner / archive
            return None

        path = source.find(root, look, f"{archive} or {cls.folder}", (archive,), download)
        width = kinds + math.prod(SHAPE)
        read = _unpacked if path.is_dir() else _archived
        contents = read(path, cls.folder, names, cls.max_rows * width)
        for name, content in zip(names, contents):
            if not content or len(content) % width:
                raise ValueError(f"{source.name}: {name} in {path}: expected rows of {width} bytes, found {len(content)} bytes")
        rows = [np.frombuffer(content, np.uint8).reshape(-1, width) for content in contents]
        labels, images = np.concatenate([r[:, :kinds] for r in rows]), np.concatenate([r[:, kinds:] for r in rows])
        return path, labels, images.reshape(-1, *SHAPE)


class CIFAR100(CIFAR10):
    """Photographs of a hundred kinds of things, in twenty groups of five. Arguments and errors as for `CIFAR10`; 169 MB.

    `labels` and `classes` are the hundred classes; `coarse_labels`, int64 (N,), and `coarse_classes` the twenty groups. The
    archive is `cifar-100-binary.tar.gz`, its contents cifar-100-binary, the folder CIFAR100.
    """

    source = Source(
        "CIFAR100",
        MIRRORS,
        {"cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
        CIFAR10.source.by_hand,
        inner="CIFAR100",
    )
    folder = "cifar-100-binary"
    files: ClassVar[dict[str, tuple[str, ...]]] = {"train": ("train.bin",), "test": ("test.bin",)}
    max_rows = 50_000
    coarse_classes: ClassVar[tuple[str, ...]] = CIFAR100_COARSE_CLASSES

    def __init__(self, root: str | os.PathLike[str] | None = None, train: bool = True, download: bool = False) -> None:
        path, labels, images = self._load(root, train, download, kinds=2)
        LabelledImages.__init__(self, images, labels[:, 1], CIFAR100_CLASSES, CIFAR100_MEAN, CIFAR100_STD, (path, path))
        self.coarse_labels = labels[:, 0].astype(np.int64)


def _unpacked(folder: Path, _: str, names: Sequence[str], most: int) -> list[bytes]:
    contents = []
    for name in names:
        with (folder / name).open("rb") as file:
            contents.append(_at_most(file, most, folder / name))
    return contents


def _archived(path: Path, folder: str, names: Sequence[str], most: int) -> list[bytes]:
    """The contents of these members of a .tar.gz. Nothing is unpacked to the disk; other members are skipped."""
    try:
        found = read_members(path, folder, names, most, ARCHIVE_BYTES)
    except ValueError as error:
        raise ValueError(f"CIFAR: {error}") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"CIFAR: {path} has no {folder}/{missing[0]}; is it the binary version?")
    return [found[name] for name in names]


def _at_most(file: IO[bytes], most: int, name: object) -> bytes:
    content = take(file, most + 1)
    if len(content) > most:
        raise ValueError(f"CIFAR: {name}: expected {most} bytes at most, found more")
    return bytes(content)
