"""`ImageFolder`: pictures in folders, one folder per class."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .transform import Transform, pair

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset):
    """Pictures below `root`, in one folder per class: root/cat/1.jpg, root/cat/more/2.png, root/dog/3.jpg.

    `dataset[i]` is uint8 (3, H, W), red, green and blue, upright as its EXIF entry says, and its label. A picture is read when
    it is asked for; worker threads of a `DataLoader` read several at once. Of an animation it is the first frame.

    Args:
        root: the folder of folders. Their names, sorted, are the classes, kept as `classes`; label i is the i-th of them.
        size: (height, width), or one number for a square: pictures are scaled to just cover it, and the middle is taken, so
            that all are of one size and make a batch. None: as they are.
        transform: a function of each picture, uint8 (3, H, W), after that: to a NumPy array.

    Attributes:
        samples: the (path, label) of each picture, by class, then by name.
        labels: all labels, int64 (N,).

    Raises:
        ImportError: Pillow is missing.
        TypeError: `transform` is no function, or one of `microtensor.data.transforms`, which are for the loader.
        FileNotFoundError: there is no such folder, no folder in it, or a folder without pictures.
        ValueError: when a sample is asked for: the file is no picture, or is damaged.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int | Sequence[int] | None = None,
        transform: Callable[[NDArray[np.uint8]], NDArray[Any]] | None = None,
    ) -> None:
        _pillow("Image")
        self.root = Path(root).expanduser()
        self.size = None if size is None else pair("ImageFolder", "size", size)
        if transform is not None and not callable(transform):
            raise TypeError(f"ImageFolder: transform: expected a function or None, got {type(transform).__name__}")
        if isinstance(transform, Transform):
            raise TypeError(
                f"ImageFolder: transform: expected a function of one picture, but {type(transform).__name__} is for batches; "
                "give it to the loader: DataLoader(pictures, transform=…)"
            )
        self.transform = transform
        if not self.root.is_dir():
            raise FileNotFoundError(f"ImageFolder: {self.root} is no folder; expected one that holds a folder for each class")
        self.classes = tuple(sorted(entry.name for entry in self.root.iterdir() if entry.is_dir()))
        if not self.classes:
            raise FileNotFoundError(f"ImageFolder: {self.root} has no folders in it; expected one for each class")
        self.samples: list[tuple[Path, int]] = []
        for label, name in enumerate(self.classes):
            pictures = [path for path in (self.root / name).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
            if not pictures:
                raise FileNotFoundError(f"ImageFolder: {self.root / name} has no pictures ({', '.join(SUFFIXES)})")
            self.samples += [(path, label) for path in sorted(pictures)]
        self.labels = np.array([label for _, label in self.samples], np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> tuple[NDArray[Any], int]:
        path, label = self.samples[index]
        picture = read_picture(path, self.size)
        return picture if self.transform is None else self.transform(picture), label


def read_picture(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A picture file as uint8 (3, H, W), red, green and blue, the right way up; with `size`, its middle resized to (H, W).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture of 8 bits that can be read.
        ImportError: Pillow is missing.
    """
    image, ops = _pillow("Image"), _pillow("ImageOps")
    try:
        with image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                raise ValueError(f"its pixels are of mode {file.mode}, not of 8 bits; convert it")
            picture = ops.exif_transpose(file).convert("RGB")
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow's decoders raise of many kinds
        raise ValueError(f"read_picture: {path}: no picture that can be read ({error}); repair or remove it") from error
    if size is not None:
        picture = ops.fit(picture, size[::-1], method=image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _pillow(part: str) -> ModuleType:
    try:
        return importlib.import_module(f"PIL.{part}")
    except ImportError as error:
        raise ImportError('pictures need Pillow: pip install "microtensor[data]"') from error
