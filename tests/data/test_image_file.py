"""`read_picture`: what it gives for every kind of file, and what it refuses before a pixel is unpacked."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest

from microtensor.data import ImageFolder, image_file
from microtensor.data.image_file import read_picture
from microtensor.models.imagenet import Preprocessing

pillow = pytest.importorskip("PIL.Image")
ops = pytest.importorskip("PIL.ImageOps")


def noise(mode, size=(23, 17)):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size[1], size[0], 4), np.uint8)
    return pillow.fromarray(pixels, "RGBA").convert("RGB").convert(mode) if mode != "RGBA" else pillow.fromarray(pixels)


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [None, (8, 8), (5, 30)])
@pytest.mark.parametrize("orientation", [None, *range(1, 9), 77])
def test_the_pixels_are_pillows(tmp_path, mode, size, orientation):
    path = tmp_path / "a"
    exif = pillow.Exif()
    if orientation:
        exif[0x0112] = orientation
    noise(mode).save(path, "JPEG" if mode == "CMYK" else "PNG", exif=exif)
    with pillow.open(path) as file:
        expected = ops.exif_transpose(file).convert("RGB")
    if size:
        expected = ops.fit(expected, size[::-1], method=pillow.Resampling.BILINEAR)
    found = read_picture(path, size)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.asarray(expected).transpose(2, 0, 1))


FORMATS = ["PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_size_is_looked_at_before_the_pixels(tmp_path, monkeypatch, format):
    path = tmp_path / "a.png"  # content decides, not the name
    path.write_bytes(encoded(pillow.new("RGB", (100, 80), (200, 10, 10)), format))
    assert read_picture(path).shape == (3, 80, 100)
    monkeypatch.setattr(image_file, "SMALL_BYTES", 4000)
    monkeypatch.setattr(image_file, "MAX_INFLATION", 0)
    monkeypatch.setattr(image_file, "_upright", None)  # is not reached
    with pytest.raises(
        ValueError, match=r"a\.png: a picture of 100×80 pixels \(\w+\) in [\d,]+ bytes; expected 1,000 pixels at"
    ):
        read_picture(path)


def bomb(n):
    """A PNG of n × n black pixels, a thousandth as large as they are."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer, row = zlib.compressobj(1), bytes(3 * n + 1)
    data = b"".join(packer.compress(row) for _ in range(n)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", n, n, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("n", [6_000, 10_000, 14_000])  # below Pillow's warning, above it, above its error
def test_a_bomb_is_refused_in_words_and_without_a_warning(tmp_path, n):
    (tmp_path / "x").mkdir()
    path = tmp_path / "x" / "a.png"
    header = bomb(2)[:8] + bomb(2)[8:33].replace(struct.pack(">II", 2, 2), struct.pack(">II", n, n))
    body = header[:29] + struct.pack(">I", zlib.crc32(header[12:29])) + bomb(2)[33:]
    path.write_bytes(bomb(n) if n < 10_000 else body)  # it need not be there to be refused
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for read in (ImageFolder(tmp_path, size=8).__getitem__, lambda _: Preprocessing()(path)):
            with pytest.raises(
                ValueError, match=rf"a\.png: a picture of {n:,}×{n:,} pixels .* scale it down, or, if you trust it, set"
            ):
                read(0)
    assert not seen


def test_a_trusted_picture_is_read_as_the_message_says(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(bomb(6_000))
    monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", None)
    assert read_picture(tmp_path / "a.png", (8, 8)).shape == (3, 8, 8)


def test_pillows_own_limit_holds_too(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(noise("RGB"), "PNG"))
    for most in (300, 100):  # Pillow warns, and would raise
        monkeypatch.setattr(pillow, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(ValueError, match=f"23×17 pixels .* expected {most} pixels at most; scale it down"):
            read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("side", [12_000, 40_000])  # refused here, refused by Pillow
def test_a_tile_larger_than_its_picture_is_refused(tmp_path, side):
    """TIFF's tiles are unpacked whole."""
    plain = encoded(noise("RGB"), "TIFF")
    entries = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 100}
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, x) for tag, x in entries.items())
    start = 8 + 100
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + zlib.compress(bytes(10_000)).ljust(100, b"\0") + table + bytes(4))
    with pytest.raises(ValueError, match="a.tif: .*(pixels at most|could be decompression bomb).*; scale it down"):
        read_picture(path)
    path.write_bytes(plain)
    assert read_picture(path).shape == (3, 17, 23)


def test_a_jpeg_of_ever_more_scans_is_refused(tmp_path):
    good = encoded(noise("RGB"), "JPEG", progressive=True)
    last = good[good.rfind(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(good)
    assert read_picture(tmp_path / "a.jpg").shape == (3, 17, 23)
    (tmp_path / "a.jpg").write_bytes(good[:-2] + last * 1000 + good[-2:])
    with pytest.raises(ValueError, match=r"it has 1,0\d\d scans, expected 256 at most"):
        read_picture(tmp_path / "a.jpg")


def test_what_starts_programs_is_no_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="no picture that can be read .it is none of PNG, JPEG, BMP"):
        read_picture(path)


def test_a_folder_and_a_pipe_are_no_files(tmp_path):
    with pytest.raises(ValueError, match="is a folder, no picture file"):
        read_picture(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "p.png")
        with pytest.raises(ValueError, match="is a device or pipe, no picture file"):
            read_picture(tmp_path / "p.png")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_picture(tmp_path / "absent")


def test_a_strip_costs_no_more_than_its_middle():
    """Its other side would be two billion pixels long after resizing."""
    strip = np.random.default_rng(0).integers(0, 256, (3, 1, 8_000_000), np.uint8)
    whole = Preprocessing(36, 32)(strip)
    assert whole.shape == (1, 3, 32, 32)
    np.testing.assert_array_equal(whole.numpy(), Preprocessing(36, 32)(strip[:, :, 3_999_900:4_000_100]).numpy())
