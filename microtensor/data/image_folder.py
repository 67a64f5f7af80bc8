"""`ImageFolder`: image files in folders, one folder per class."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..runtime.integers import as_integer
from .dataset import Dataset
from .image_file import pillow, read_picture
from .prefetch import in_order
from .transform_base import Transform, pair

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

IGNORED_NAMES = frozenset(
    {"__macosx", "__pycache__", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
    | {"thumbs.db", "desktop.ini"}
)
"""Names, in lower case, that operating systems and file servers add to folders. Names that start with a dot are ignored too."""


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or was added by an operating system.

    >>> [is_ignored(name) for name in (".ipynb_checkpoints", "._1.jpg", "__MACOSX", "Thumbs.db", "@eaDir", "cat")]
    [True, True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in IGNORED_NAMES


class Broken(NamedTuple):
    """An image file that cannot be read, and why."""

    path: Path
    reason: str


class ImageFolder(Dataset):
    """Image files below `root`, in one folder per class: root/cat/1.jpg, root/cat/more/2.png, root/dog/3.jpg.

    `dataset[i]` is uint8 (3, H, W), red, green and blue, rotated upright by its EXIF orientation, and its label. A file is read
    when its sample is requested; worker threads of a `DataLoader` read several at once. Of an animation it is the first frame.

    Hidden files (`.ipynb_checkpoints`, `._1.jpg`) and files of the operating system (`__MACOSX`, `Thumbs.db`) are ignored.

    A broken file raises in the middle of an epoch. `check()` reads all files beforehand, and lists those that cannot be read.

    Args:
        root: the folder of folders. Their names, sorted, are the classes, kept as `classes`; label i is the i-th of them.
        size: (height, width), or one number for a square: images are scaled to just cover it, and the middle is cropped, so
            that all have the same size and can be stacked. None: as they are.
        transform: a function applied to each image afterwards: uint8 (3, H, W) → NumPy array.
        on_error: "raise" an error when a sample whose file cannot be read is requested; or "skip": read all files now, and
            leave out those that cannot be read, with a warning that lists them. Length, labels and the state of a loader are
            then those of the remaining samples. This takes as long as reading an epoch.

    Attributes:
        samples: the (path, label) of each image, by class, then by name.
        labels: all labels, int64 (N,).
        broken: the (path, reason) of each file that was left out.

    Raises:
        ImportError: Pillow is missing.
        TypeError: `transform` is not a function, or is one of `microtensor.data.transforms`, which are for the loader.
        FileNotFoundError: `root` does not exist, has no folders, or has a folder without images.
        ValueError: `on_error` is invalid, or "skip" leaves a class without images; when a sample is requested: the file is not
            an image, is damaged, or would take far more memory than a file of its size should
            (`PIL.Image.MAX_IMAGE_PIXELS = None` allows any).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: int | Sequence[int] | None = None,
        transform: Callable[[NDArray[np.uint8]], NDArray[Any]] | None = None,
        *,
        on_error: str = "raise",
    ) -> None:
        pillow("Image")
        self.root = Path(root).expanduser()
        self.size = None if size is None else pair("ImageFolder", "size", size)
        if transform is not None and not callable(transform):
            raise TypeError(f"ImageFolder: transform: expected a function or None, got {type(transform).__name__}")
        if isinstance(transform, type):
            name = transform.__name__
            raise TypeError(f"ImageFolder: transform: expected a function, got the class {name}; create one: {name}(...)")
        if on_error not in ("raise", "skip"):
            raise ValueError(f'ImageFolder: on_error: expected "raise" or "skip", got {on_error!r}')
        if isinstance(transform, Transform):
            raise TypeError(
                f"ImageFolder: transform: expected a function of one picture, but {type(transform).__name__} is for batches; "
                "give it to the loader: DataLoader(pictures, transform=…)"
            )
        self.transform = transform
        if not self.root.is_dir():
            raise FileNotFoundError(f"ImageFolder: {self.root} is no folder; expected one that holds a folder for each class")
        self.classes = tuple(sorted(e.name for e in self.root.iterdir() if e.is_dir() and not is_ignored(e.name)))
        if not self.classes:
            raise FileNotFoundError(f"ImageFolder: {self.root} has no folders in it; expected one for each class")
        self.samples: list[tuple[Path, int]] = []
        for label, name in enumerate(self.classes):
            pictures = _pictures(self.root / name)
            if not pictures:
                raise FileNotFoundError(f"ImageFolder: {self.root / name} has no pictures ({', '.join(SUFFIXES)})")
            self.samples += [(path, label) for path in pictures]
        self.broken: tuple[Broken, ...] = ()
        if on_error == "skip":
            self._leave_out(self.check())
        self.labels = np.array([label for _, label in self.samples], np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> tuple[NDArray[Any], int]:
        path, label = self.samples[index]
        try:
            picture = read_picture(path, self.size)
        except ValueError as error:
            raise ValueError(
                f'{error}; ImageFolder(…).check() names all such files, on_error="skip" leaves them out'
            ) from error
        return picture if self.transform is None else self.transform(picture), label

    def check(self, num_workers: int = 4) -> list[Broken]:
        """Read every file and list those that cannot be read, with the reasons. Empty if all can be read.

        To be called before training: `for path, reason in pictures.check(): print(path, reason)`. `transform` is not called.

        Args:
            num_workers: threads that read; 0: the calling thread.

        Raises:
            TypeError, ValueError: `num_workers` is not an integer of 0 or more.
        """
        as_integer("ImageFolder.check", "num_workers", num_workers, least=0)
        paths = [path for path, _ in self.samples]
        reasons = in_order(lambda i: _reason(paths[i]), range(len(paths)), num_workers, 2 * num_workers)
        return [Broken(path, reason) for path, reason in zip(paths, reasons) if reason]

    def _leave_out(self, broken: list[Broken]) -> None:
        """Remove these samples, with a warning."""
        if not broken:
            return
        gone = {path for path, _ in broken}
        count, left = len(self.samples), [(path, label) for path, label in self.samples if path not in gone]
        if lost := sorted(set(range(len(self.classes))) - {label for _, label in left}):
            folder = self.root / self.classes[lost[0]]
            reason = next(reason for path, reason in broken if folder in path.parents)
            raise ValueError(f"ImageFolder: of the pictures in {folder} none can be read, such as: {reason}")
        self.samples, self.broken = left, tuple(broken)
        names = ", ".join(str(path) for path in [path for path, _ in broken][:3]) + (", …" if len(broken) > 3 else "")
        warnings.warn(
            f"ImageFolder: {len(broken)} of {count} pictures cannot be read, and are left out: {names}; `broken` has each "
            "with its reason",
            stacklevel=3,
        )


def _pictures(folder: Path) -> list[Path]:
    """The image files in a folder and its subfolders, sorted."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not is_ignored(name)]
        found += [Path(place, name) for name in files if not is_ignored(name) and Path(name).suffix.lower() in SUFFIXES]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error  # `os.walk` would skip a folder without read permission


def _reason(path: Path) -> str:
    """Why a file cannot be read; empty if it can."""
    try:
        read_picture(path)
    except (ValueError, OSError) as error:
        return str(error)
    return ""
