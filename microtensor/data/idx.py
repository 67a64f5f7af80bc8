"""The IDX file format of MNIST and similar data sets: one array per file.

Two zero bytes, one byte for the dtype, one for the number of axes, four bytes for the length of each axis, then the elements in
row-major order; all big-endian. (LeCun, Cortes, Burges, "The MNIST database of handwritten digits",
yann.lecun.com/exdb/mnist, "File formats".)
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..io.stored_arrays import MAX_INFLATION, allowance

DTYPES = {code: np.dtype(name) for code, name in zip((8, 9, 11, 12, 13, 14), ("u1", "i1", ">i2", ">i4", ">f4", ">f8"))}
"""Dtype code in the header → dtype."""

_CHUNK_BYTES = 1 << 20  # read at a time
_GZIP = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read the array in an IDX file, plain or gzip (detected from the first bytes, not the name), in native byte order.

    The size of a plain file must match its header exactly. A gzip file may unpack to at most a hundred times its size, or 16
    MiB if that is more (MNIST's images unpack to five times theirs).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not an IDX file, is cut short, is longer than its header says, unpacks to more than that limit, or is
            damaged gzip.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "numbers-idx1-ubyte")
    ...     write_idx(path, np.array([3, 1, 4], np.uint8))
    ...     read_idx(path)
    array([3, 1, 4], dtype=uint8)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_idx: {path} is no file; expected an IDX file, plain or gzip")
    with path.open("rb") as file:
        zipped = file.read(len(_GZIP)) == _GZIP
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            return _read(cast("IO[bytes]", gzip.GzipFile(fileobj=file)), size, True) if zipped else _read(file, size, False)
        except ValueError as error:
            raise ValueError(f"read_idx: {path}: {error}") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"read_idx: {path}: gzip data cut short or damaged ({error}); get the file again") from error


def write_idx(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write `array` to a plain IDX file, which `read_idx` gives back.

    Raises:
        TypeError: the format does not support the dtype; it has uint8, int8, int16, int32, float32, float64.
    """
    array = np.asarray(array)
    code = next((code for code, dtype in DTYPES.items() if dtype.newbyteorder("=") == array.dtype.newbyteorder("=")), None)
    if code is None:
        raise TypeError(f"write_idx: the array is {array.dtype}, expected one of {_known()}; convert it with .astype()")
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    Path(path).write_bytes(header + array.astype(DTYPES[code]).tobytes())


def _read(stream: IO[bytes], file_size: int, zipped: bool) -> NDArray[Any]:
    magic = take(stream, 4)
    if len(magic) < 4:
        raise ValueError(f"expected an IDX header of 4 bytes or more, found {len(magic)} bytes")
    zeros, code, axes = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0":
        raise ValueError(f"no IDX file: expected the first bytes 00 00, found {zeros.hex(' ')}")
    if code not in DTYPES:
        raise ValueError(f"expected a dtype code of {_known()}, found 0x{code:02x}")
    lengths = take(stream, 4 * axes)
    if len(lengths) < 4 * axes:
        raise ValueError(f"cut short: expected {4 * axes} bytes for the lengths of {axes} axes, found {len(lengths)}")
    shape = struct.unpack(f">{axes}I", lengths)
    dtype = DTYPES[code]
    size = math.prod(shape) * dtype.itemsize
    what = f"{size} bytes for {dtype.name} {shape}"
    if zipped and size > allowance(file_size):
        raise ValueError(
            f"the file has {file_size:,} bytes, and announces {what}; expected {MAX_INFLATION} times as much at most. "
            "If you trust it, unpack it with gunzip, and read the plain file"
        )
    if not zipped and file_size - stream.tell() < size:
        raise ValueError(f"cut short: expected {what}, found {file_size - stream.tell()}")
    data = take(stream, size)
    if len(data) < size:
        raise ValueError(f"cut short: expected {what}, found {len(data)}")
    if stream.read(1):  # at the end, gzip also checks its checksum
        raise ValueError(f"too long: expected {what}, found more")
    try:
        array = np.frombuffer(data, dtype).reshape(shape)
    except ValueError:
        raise ValueError(f"NumPy has no array of {axes} axes with the lengths {shape}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def take(stream: IO[bytes], count: int) -> bytearray:
    """The next `count` bytes, or as many as exist. Memory grows with the data read, not with `count`."""
    data = bytearray()
    while len(data) < count:
        chunk = stream.read(min(count - len(data), _CHUNK_BYTES))
        if not chunk:
            break
        data += chunk
    return data


def _known() -> str:
    return ", ".join(f"0x{code:02x} ({dtype.name})" for code, dtype in DTYPES.items())
