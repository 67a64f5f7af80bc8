"""`ImageFolder`: pictures of many kinds in folders; damaged ones; worker threads."""

import sys

import numpy as np
import pytest

from microtensor.data import DataLoader, ImageFolder, transforms

pillow = pytest.importorskip("PIL.Image")

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


@pytest.fixture
def folder(tmp_path):
    """Three pictures of each of three colours, of different sizes, in different formats, one of them in a folder further down."""
    for colour, rgb in COLOURS.items():
        for i, name in enumerate(("b.png", "a.BMP", "deep/c.jpg")):
            path = tmp_path / colour / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pillow.new("RGB", (20 + 7 * i, 16 + i), rgb).save(path)
        (tmp_path / colour / "notes.txt").write_text("no picture")
    (tmp_path / "a file.png").write_text("not of any class")
    return tmp_path


def test_classes_are_folders_and_samples_are_in_order(folder):
    dataset = ImageFolder(str(folder))
    assert dataset.classes == ("blue", "green", "red")
    assert len(dataset) == 9
    assert [path.name for path, _ in dataset.samples] == ["a.BMP", "b.png", "c.jpg"] * 3
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    image, label = dataset[4]
    assert (image.shape, image.dtype, label) == ((3, 16, 20), np.uint8, 1)
    assert image.flags.c_contiguous
    assert (image == np.array([0, 255, 0])[:, None, None]).all()
    assert dataset[-1][1] == 2


@pytest.mark.parametrize("workers", [0, 3])
def test_pictures_of_one_size_make_batches(folder, workers):
    dataset = ImageFolder(folder, size=(12, 10))
    normalize = transforms.Normalize(0.5, 0.5)
    loader = DataLoader(dataset, 4, num_workers=workers, transform=normalize)
    batches = list(loader)
    assert [(x.shape, x.dtype) for x, _ in batches] == [((n, 3, 12, 10), np.float32) for n in (4, 4, 1)]
    labels = np.concatenate([y.numpy() for _, y in batches])
    assert labels.tolist() == dataset.labels.tolist()
    for x, y in batches:
        for image, label in zip(x.numpy(), y.tolist()):
            rgb = np.array(list(COLOURS.values())[label]) / 127.5 - 1
            np.testing.assert_allclose(image, np.broadcast_to(rgb[:, None, None], image.shape), atol=0.02)  # JPEG


def test_pictures_of_many_sizes_are_refused_with_what_to_do(folder):
    with pytest.raises(ValueError, match=r"sample 1 of ImageFolder: part 0 is \(3, 16, 20\).* sample 0 is \(3, 17, 27\)"):
        next(iter(DataLoader(ImageFolder(folder), 4)))


def test_a_transform_of_each_picture(folder):
    dataset = ImageFolder(folder, transform=lambda image: image[:, :8, :8].astype(np.float32))
    assert dataset[0][0].dtype == np.float32
    assert next(iter(DataLoader(dataset, 9)))[0].shape == (9, 3, 8, 8)


def test_size_covers_and_takes_the_middle(tmp_path):
    (tmp_path / "x").mkdir()
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    pillow.fromarray(pixels).save(tmp_path / "x" / "wide.png")
    image, _ = ImageFolder(tmp_path, size=10)[0]
    assert (image == 255).all()  # the middle third
    image, _ = ImageFolder(tmp_path, size=(5, 15))[0]
    assert image.shape == (3, 5, 15)
    assert (image[:, :, 6:9] == 255).all()
    assert (image[:, :, [0, -1]] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_picture_becomes_red_green_and_blue(tmp_path, mode):
    (tmp_path / "x").mkdir()
    name = "a.tif" if mode == "CMYK" else "a.png"
    pillow.new("RGB", (4, 3), (255, 255, 255)).convert(mode).save(tmp_path / "x" / name)
    image, _ = ImageFolder(tmp_path)[0]
    assert image.shape == (3, 3, 4)
    assert (image == 255).all()


def test_a_picture_lying_on_its_side_is_put_upright(tmp_path):
    (tmp_path / "x").mkdir()
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255  # left half white
    exif = pillow.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    pillow.fromarray(pixels).save(tmp_path / "x" / "a.png", exif=exif)
    image, _ = ImageFolder(tmp_path)[0]
    assert image.shape == (3, 8, 4)
    assert (image[:, :4] == 255).all()
    assert (image[:, 4:] == 0).all()


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"<html>", lambda b: b"", lambda b: b[:20] + bytes(40) + b[60:]]
)
@pytest.mark.parametrize("name", ["b.png", "deep/c.jpg"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_named(folder, damage, name, workers):
    path = folder / "green" / name
    path.write_bytes(damage(path.read_bytes()))
    dataset = ImageFolder(folder, size=8)
    assert dataset[0][0].shape == (3, 8, 8)  # the others are read
    with pytest.raises(ValueError, match=f"^read_picture: {path}: no picture that can be read"):
        list(DataLoader(dataset, 4, num_workers=workers))


def test_a_picture_of_more_than_eight_bits_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    pillow.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "x" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: .*\(its pixels are of mode I;16, not of 8 bits"):
        ImageFolder(tmp_path)[0]


def test_wrong_folders_are_refused(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match="ImageFolder: .*absent is no folder; expected one that holds a folder for each"
    ):
        ImageFolder(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="has no folders in it; expected one for each class"):
        ImageFolder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty has no pictures \(\.bmp"):
        ImageFolder(tmp_path)
    with pytest.raises(TypeError, match="ImageFolder: size: expected a whole number or two"):
        ImageFolder(tmp_path, size="big")
    with pytest.raises(TypeError, match="ImageFolder: transform: expected a function or None, got int"):
        ImageFolder(tmp_path, transform=3)
    with pytest.raises(
        TypeError, match=r"but ToFloat is for batches; give it to the loader: DataLoader\(pictures, transform=…"
    ):
        ImageFolder(tmp_path, transform=transforms.ToFloat())
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'pictures need Pillow: pip install "microtensor\[data\]"'):
        ImageFolder(tmp_path)


def test_a_picture_that_went_away_is_named(folder):
    dataset = ImageFolder(folder)
    (folder / "blue" / "a.BMP").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.BMP"):
        dataset[0]
