"""`ImageFolder`: pictures in folders, one folder per class."""

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

PASSED_OVER = frozenset(
    {"__macosx", "__pycache__", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
    | {"thumbs.db", "desktop.ini"}
)
"""Names, in small letters, of what systems and file servers put among a user's own files. Others begin with a dot."""


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's: hidden, or put there by a system.

    >>> [passed_over(name) for name in (".ipynb_checkpoints", "._1.jpg", "__MACOSX", "Thumbs.db", "@eaDir", "cat")]
    [True, True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in PASSED_OVER


class Broken(NamedTuple):
    """A picture that cannot be read, and why."""

    path: Path
    reason: str


class ImageFolder(Dataset):
    """Pictures below `root`, in one folder per class: root/cat/1.jpg, root/cat/more/2.png, root/dog/3.jpg.

    `dataset[i]` is uint8 (3, H, W), red, green and blue, upright as its EXIF entry says, and its label. A picture is read when
    it is asked for; worker threads of a `DataLoader` read several at once. Of an animation it is the first frame.

    What is hidden (`.ipynb_checkpoints`, `._1.jpg`) or put there by a system (`__MACOSX`, `Thumbs.db`) is passed over.

    One broken file ends an epoch. `check()` reads them all beforehand, and names those that cannot be read.

    Args:
        root: the folder of folders. Their names, sorted, are the classes, kept as `classes`; label i is the i-th of them.
        size: (height, width), or one number for a square: pictures are scaled to just cover it, and the middle is taken, so
            that all are of one size and make a batch. None: as they are.
        transform: a function of each picture, uint8 (3, H, W), after that: to a NumPy array.
        on_error: "raise" when a picture is asked for that cannot be read; or "skip": all are read at once, now, and those that
            cannot be are left out, with a warning that counts and names them. So lengths, labels and what a loader resumes
            from are those of the good ones. It takes as long as an epoch's reading.

    Attributes:
        samples: the (path, label) of each picture, by class, then by name.
        labels: all labels, int64 (N,).
        broken: the (path, reason) of each picture that was left out.

    Raises:
        ImportError: Pillow is missing.
        TypeError: `transform` is no function, or one of `microtensor.data.transforms`, which are for the loader.
        FileNotFoundError: there is no such folder, no folder in it, or a folder without pictures.
        ValueError: `on_error` is neither, or leaves a class without pictures; when a sample is asked for: the file is no
            picture, is damaged, or would take far more memory than its size lets expect (`PIL.Image.MAX_IMAGE_PIXELS = None`
            takes any).
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
        self.classes = tuple(sorted(e.name for e in self.root.iterdir() if e.is_dir() and not passed_over(e.name)))
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
        """Read every picture, and give those that cannot be read, each with the reason: none, where all is well.

        `for path, reason in pictures.check(): print(path, reason)` is to be asked before training. `transform` is not called.

        Args:
            num_workers: threads that read; 0: this one.

        Raises:
            TypeError, ValueError: `num_workers` is no integer of 0 or more.
        """
        as_integer("ImageFolder.check", "num_workers", num_workers, least=0)
        paths = [path for path, _ in self.samples]
        reasons = in_order(lambda i: _reason(paths[i]), range(len(paths)), num_workers, 2 * num_workers)
        return [Broken(path, reason) for path, reason in zip(paths, reasons) if reason]

    def _leave_out(self, broken: list[Broken]) -> None:
        """Keep the other samples, and say which are gone."""
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
    """The picture files in a folder and those below it, in order."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not passed_over(name)]
        found += [Path(place, name) for name in files if not passed_over(name) and Path(name).suffix.lower() in SUFFIXES]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error  # `os.walk` would pass over a folder that it may not read


def _reason(path: Path) -> str:
    """Why a picture cannot be read; nothing if it can be."""
    try:
        read_picture(path)
    except (ValueError, OSError) as error:
        return str(error)
    return ""
