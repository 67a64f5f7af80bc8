"""`ImageFolder`: pictures of many kinds in folders; damaged ones; worker threads."""

import sys

import numpy as np
import pytest

from microtensor.data import DataLoader, ImageFolder, transforms
from microtensor.random import Generator

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
    with pytest.raises(
        ValueError, match=r"sample 1 of ImageFolder: part 0 is \(3, 16, 20\).* sample 0 is \(3, 17, 27\) .*size="
    ):
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
    with pytest.raises(ValueError, match=f"^read_picture: {path}: no picture that can be read .*check.. names all such files"):
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
    with pytest.raises(TypeError, match="ImageFolder: size: expected an integer or two"):
        ImageFolder(tmp_path, size="big")
    with pytest.raises(TypeError, match="ImageFolder: transform: expected a function or None, got int"):
        ImageFolder(tmp_path, transform=3)
    with pytest.raises(TypeError, match=r"expected a function, got the class ToFloat; create one: ToFloat"):
        ImageFolder(tmp_path, transform=transforms.ToFloat)
    with pytest.raises(ValueError, match='on_error: expected "raise" or "skip", got \'ignore\''):
        ImageFolder(tmp_path, on_error="ignore")
    with pytest.raises(
        TypeError, match=r"but ToFloat is for batches; give it to the loader: DataLoader\(pictures, transform=…"
    ):
        ImageFolder(tmp_path, transform=transforms.ToFloat())
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'pictures need Pillow: pip install "Pillow>=10"$'):
        ImageFolder(tmp_path)


def test_a_picture_that_went_away_is_named(folder):
    dataset = ImageFolder(folder)
    (folder / "blue" / "a.BMP").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.BMP"):
        dataset[0]


HIDDEN = [
    ".ipynb_checkpoints/b-checkpoint.png",
    "__MACOSX/blue/._b.png",
    ".git/x.png",
    "@eaDir/b.png",
    "$RECYCLE.BIN/b.png",
    "blue/.ipynb_checkpoints/b-checkpoint.png",
    "blue/._b.png",
    "blue/.b.png",
    "blue/deep/@eaDir/c.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "blue/__MACOSX/b.png",
    "blue/Thumbs.db",
    "red/desktop.ini",
]


def test_what_is_hidden_or_a_systems_own_is_passed_over(folder):
    before = ImageFolder(folder)
    for name in HIDDEN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    after = ImageFolder(folder)
    assert after.classes == before.classes
    assert after.samples == before.samples
    assert after.check() == []


def test_the_root_itself_may_be_hidden(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("x") / ".cache" / "@eaDir"
    root.parent.mkdir()
    folder.rename(root)
    assert len(ImageFolder(root)) == 9


def test_a_class_of_hidden_pictures_alone_has_none(folder):
    (folder / "yellow").mkdir()
    (folder / "yellow" / "._a.png").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match="yellow has no pictures"):
        ImageFolder(folder)


@pytest.fixture
def broken(folder):
    """Three of the nine cannot be read: cut short, no picture, gone."""
    cut = folder / "blue" / "b.png"
    cut.write_bytes(cut.read_bytes()[:-30])
    (folder / "green" / "a.BMP").write_bytes(b"<html>")
    gone = folder / "red" / "deep" / "c.jpg"
    gone.unlink()
    gone.symlink_to("nowhere")
    return [cut, folder / "green" / "a.BMP", gone]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_check_names_all_that_are_broken(folder, broken, workers):
    dataset = ImageFolder(folder, size=8)
    found = dataset.check(num_workers=workers)
    assert [path for path, _ in found] == broken
    assert all(str(path) in reason for path, reason in found)
    assert len(dataset) == 9
    with pytest.raises(TypeError, match="ImageFolder.check: num_workers"):
        dataset.check(num_workers="two")


@pytest.mark.parametrize("workers", [0, 3])
def test_skipped_pictures_leave_everything_else_consistent(folder, broken, workers):
    with pytest.warns(
        UserWarning, match="3 of 9 pictures cannot be read, and are left out: .*b.png, .*a.BMP, .*c.jpg; `broken`"
    ) as seen:
        dataset = ImageFolder(folder, size=8, on_error="skip")
    assert seen[0].filename == __file__
    assert [path for path, _ in dataset.broken] == broken
    assert len(dataset) == len(dataset.labels) == 6
    assert dataset.labels.tolist() == [label for _, label in dataset.samples] == [0, 0, 1, 1, 2, 2]

    def loader(seed):
        return DataLoader(dataset, 2, shuffle=True, generator=Generator(seed), num_workers=workers)

    batches = [(x.numpy(), y.numpy()) for x, y in loader(0)]
    for images, labels in batches:
        for image, label in zip(images, labels):
            assert abs(image - np.array(list(COLOURS.values())[label])[:, None, None]).max() < 5  # JPEG
    first = loader(0)
    next(iter(first))
    again = loader(1)
    again.load_state_dict(first.state_dict())
    rest = [(x.numpy(), y.numpy()) for x, y in again]
    assert len(rest) == 2
    for (x, y), (images, labels) in zip(rest, batches[1:]):
        np.testing.assert_array_equal(x, images)
        np.testing.assert_array_equal(y, labels)


def test_skipping_says_nothing_where_all_is_well_and_refuses_a_class_that_is_lost(folder):
    assert ImageFolder(folder, on_error="skip").broken == ()
    for path in (folder / "green").rglob("*.*"):
        path.write_bytes(b"no")
    with pytest.raises(ValueError, match="of the pictures in .*green none can be read, such as: read_picture: .*a.BMP"):
        ImageFolder(folder, on_error="skip")


def test_a_folder_that_may_not_be_read_is_not_passed_over(folder, monkeypatch):
    import os

    scandir = os.scandir

    def refusing(path="."):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match="deep"):
        ImageFolder(folder)
