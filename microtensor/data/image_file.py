"""Read an image file as an array. Files need not be trusted: the image size is checked before pixels are decompressed."""

from __future__ import annotations

import importlib
import os
import stat
import struct
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.extras import install_hint

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF", "DIB")
"""Formats that are read, by Pillow's names. It has more, and for one of them (EPS) it starts another program."""

MAX_INFLATION = 256
"""How many times the file's size the pixels may take. Photographs take 5 to 100 times; a single colour, 1,000."""

SMALL_BYTES = 1 << 27
"""Memory that any image may take: 33 million pixels in colour, 134 million in grey."""

MAX_SCANS = 256
"""Of a JPEG file, with its previews. A progressive one has a dozen scans, 16 ms each for 5,000×5,000 pixels."""

UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation → Pillow's transposition that rotates the image upright."""


def read_picture(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Read an image file as uint8 (3, H, W), red, green and blue, upright; with `size`, scaled and cropped to (H, W).

    Of an animation or a file with several pages, the first image is read. The format is detected from the content.

    Raises:
        OSError: the file does not exist or cannot be opened.
        ValueError: it is not an 8-bit image in a known format; or it would take more memory than 256 times the file's size
            and more than 128 MiB (33 million pixels in colour), or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
        ImportError: Pillow is missing.
    """
    image, ops = pillow("Image"), pillow("ImageOps")
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"read_picture: {path} is {_kind(status.st_mode)}, no picture file")
    with path.open("rb") as stream:
        try:
            file = _opened(image, stream, path)
            _check_size(image, file, status.st_size)
            _check_scans(file, path)
            picture = _upright(image, file)
        except (_TooLarge, image.DecompressionBombError, image.DecompressionBombWarning) as error:
            hint = "scale it down, or, if you trust it, set PIL.Image.MAX_IMAGE_PIXELS = None first"
            raise ValueError(f"read_picture: {path}: {error}; {hint}") from None
        except Exception as error:  # Pillow's decoders raise many kinds of errors
            raise ValueError(f"read_picture: {path}: no picture that can be read ({error}); repair or remove it") from error
    if size is not None:
        picture = ops.fit(picture, size[::-1], method=image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape)) if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def pillow(part: str) -> ModuleType:
    """A module of Pillow.

    Raises:
        ImportError: Pillow is missing.
    """
    try:
        return importlib.import_module(f"PIL.{part}")
    except ImportError as error:
        raise ImportError(f"pictures need Pillow: {install_hint('Pillow')}") from error


class _TooLarge(Exception):
    """The image has too many pixels."""


def _opened(image: ModuleType, stream: IO[bytes], path: Path) -> Any:
    """Open an image and read its header only, like `Image.open`, but for `FORMATS` and without its warning about many pixels:
    warnings cannot be turned off per thread."""
    image.init()
    start = stream.read(16)
    for name in FORMATS:
        factory, accepts = image.OPEN.get(name, (None, None))  # Pillow may be built without this format
        if factory is None:
            continue
        try:
            if accepts is None or accepts(start) is True:  # it returns a str if not
                stream.seek(0)
                return factory(stream, str(path))
        except (SyntaxError, IndexError, TypeError, struct.error):  # not of this format
            continue
    raise ValueError(f"it is none of {', '.join(FORMATS)}")


def _check_size(image: ModuleType, file: Any, file_bytes: int) -> None:
    """Refuse an image whose pixels would take too much memory, unless `PIL.Image.MAX_IMAGE_PIXELS` is None."""
    if image.MAX_IMAGE_PIXELS is None:
        return
    width, height = file.size
    pixels, each = width * height, 1 if file.mode in ("1", "L") else 4
    if file.format == "TIFF":  # a tile may be larger than the image, and is decompressed whole
        pixels = max(pixels, int(file.tag_v2.get(322, 1)) * int(file.tag_v2.get(323, 1)))
    most = min(image.MAX_IMAGE_PIXELS, max(MAX_INFLATION * file_bytes, SMALL_BYTES) // each)
    if pixels > most:
        raise _TooLarge(
            f"a picture of {width:,}×{height:,} pixels ({file.mode}) in {file_bytes:,} bytes; expected {most:,} pixels at most"
        )


def _check_scans(file: Any, path: Path) -> None:
    """Refuse a JPEG with very many scans: each has a few bytes but updates all pixels, so a megabyte of them takes minutes."""
    if file.format in ("JPEG", "MPO"):
        scans = path.read_bytes().count(b"\xff\xda")  # the marker SOS, which does not occur in compressed data
        if scans > MAX_SCANS:
            raise ValueError(f"it has {scans:,} scans, expected {MAX_SCANS} at most")


def _upright(image: ModuleType, file: Any) -> Any:
    """The image as 8-bit RGB or grey (L), rotated by its EXIF orientation."""
    if file.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of mode {file.mode}, not of 8 bits; convert it")
    file.load()
    turned = UPRIGHT.get(file.getexif().get(0x0112, 1))
    picture = file if turned is None else file.transpose(image.Transpose(turned))
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)  # which copies


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
