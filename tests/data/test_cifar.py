"""CIFAR-10 and CIFAR-100 from files in the binary form, packed and unpacked; damaged and hostile archives."""

import gzip
import io
import tarfile
import tracemalloc

import numpy as np
import pytest
from data_files import ROWS, content, members, pack, rows

from microtensor.data import CIFAR10, CIFAR100, to_input


def archive_of(kind):
    return next(iter(kind.source.sha256))


@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_images_and_labels_are_read(tmp_path, kind, packed, inner, train):
    place = tmp_path / kind.__name__ if inner else tmp_path
    files = {name: content(labels, images) for name, labels, images in members(kind)}
    if packed:
        readme = {f"{kind.folder}/readme.html": b"<html>" * 1000}
        pack(place / archive_of(kind), readme | files)
    else:
        for name, data in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
    dataset = kind(tmp_path, train=train)
    wanted = [(labels, images) for name, labels, images in members(kind) if ("test" in name) != train]
    images = np.concatenate([images for _, images in wanted])
    labels = np.concatenate([labels for labels, _ in wanted])
    np.testing.assert_array_equal(dataset.images, images)
    assert dataset.images.flags.writeable
    assert dataset.images.flags.c_contiguous
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == labels[:, -1].tolist()
    if kind is CIFAR100:
        assert dataset.coarse_labels.dtype == np.int64
        assert dataset.coarse_labels.tolist() == labels[:, 0].tolist()
    x, y = dataset[1]
    assert (x.shape, x.dtype, y) == ((3, 32, 32), np.float32, labels[1, -1])
    np.testing.assert_array_equal(x, to_input(images[1], dataset.mean, dataset.std))
    np.testing.assert_array_equal(dataset.raw()[[0, 2]][0].numpy(), images[[0, 2]])


def test_classes_have_names():
    assert len(CIFAR100.coarse_classes) == 20
    assert CIFAR100.coarse_classes[14] == "people"
    from microtensor.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES

    assert CIFAR10_CLASSES[3] == "cat"
    assert len(CIFAR10_CLASSES) == 10
    assert len(set(CIFAR100_CLASSES)) == 100
    assert sorted(CIFAR100_CLASSES) == list(CIFAR100_CLASSES)
    assert CIFAR100_CLASSES[98] == "woman"


def test_missing_files_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        CIFAR10(tmp_path)
    for words in (
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        str(tmp_path / "CIFAR10"),
        "download=True",
        "kriz/cifar.html",
    ):
        assert words in str(caught.value)
    with pytest.raises(TypeError, match="CIFAR100: train: expected True .* got 'test'"):
        CIFAR100(tmp_path, train="test")


TEST = "cifar-10-batches-bin/test_batch.bin"
GOOD = content(*rows(1, 0))


def link():
    info = tarfile.TarInfo(TEST)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no cifar-10-batches-bin/test_batch.bin; is it the binary version"),
        ({"cifar-10-batches-py/test_batch": GOOD}, "is it the binary version"),
        ({TEST: link()}, "has no cifar-10-batches-bin/test_batch.bin"),
        ({TEST: b""}, "test_batch.bin in .* expected rows of 3073 bytes, found 0 bytes"),
        ({TEST: GOOD[:-1]}, "expected rows of 3073 bytes, found 12291 bytes"),
        ({TEST: bytes(10_001 * 3073)}, "expected 30730000 bytes at most, found more"),
        ({TEST: b"\x0a" + GOOD[1:]}, "expected labels from 0 to 9, found 10"),
    ],
)
def test_wrong_contents_are_refused(tmp_path, files, message):
    pack(tmp_path / "packed" / "cifar-10-binary.tar.gz", files)
    with pytest.raises(ValueError, match=f"^CIFAR.*{message}"):
        CIFAR10(tmp_path / "packed", train=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["cifar-10-binary.tar.gz"]  # nothing unpacked
    if isinstance(files.get(TEST), bytes):
        (tmp_path / TEST).parent.mkdir()
        (tmp_path / TEST).write_bytes(files[TEST])
        with pytest.raises(ValueError, match=f"^CIFAR.*{message}"):
            CIFAR10(tmp_path, train=False)


@pytest.mark.parametrize(
    "damage", [lambda z: z[: len(z) // 2], lambda z: b"<html>" + z, lambda z: z[:500] + bytes(50) + z[550:]]
)
def test_a_damaged_archive_is_refused(tmp_path, damage):
    path = pack(tmp_path / "cifar-10-binary.tar.gz", {TEST: GOOD})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"^CIFAR.*cifar-10-binary\.tar\.gz is no \.tar\.gz, or is cut short or damaged"):
        CIFAR10(tmp_path, train=False)


def test_members_that_are_not_wanted_cost_no_memory(tmp_path):
    path = pack(tmp_path / "cifar-10-binary.tar.gz", {"big": bytes(60 << 20), TEST: GOOD})
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        assert len(CIFAR10(tmp_path, train=False)) == ROWS
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def header(name=TEST, size=0, type=b"0"):
    """A tar header, whose numbers may be anything."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, type
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(text, size=None):
    return header("pax", len(text) if size is None else size, b"x") + text + bytes(-len(text) % 512)


BODY = GOOD + bytes(-len(GOOD) % 512)
MEMBER = header(size=len(GOOD)) + BODY
ZEROS = "zeros"  # some GB, which gzip packs into MB


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([header("readme", 2**80)], id="2**80 bytes that are not there"),
        pytest.param([header("readme", 2**80), MEMBER], id="2**80 bytes, and the next member"),
        pytest.param([header(TEST, 2**80)], id="a wanted file of 2**80 bytes"),
        pytest.param([header("readme", 2**40), ZEROS], id="a terabyte, 300 MB of which are there"),
        pytest.param([header("x", 300 << 20, b"L"), ZEROS], id="a long name"),
        pytest.param([header("x", 300 << 20, b"K"), ZEROS], id="a long link"),
        pytest.param([header("x", 300 << 20, b"x"), ZEROS], id="a list of attributes"),
        pytest.param([header("x", 300 << 20, b"g"), ZEROS], id="a global list of attributes"),
        pytest.param(
            [pax(b"30 size=9999999999999999999999\n"), MEMBER], id="a size in attributes, of more digits than there are"
        ),
        pytest.param([pax(b"20 size=99999999999\n"), MEMBER], id="a size in attributes"),
        pytest.param([pax(b"99999999999999999999 path=x\n"), MEMBER], id="an attribute longer than its list"),
        pytest.param([pax(b"0 path=x\n"), MEMBER], id="an attribute of no length"),
        pytest.param([pax(b"26 GNU.sparse.realsize=99\n"), MEMBER], id="a sparse file, by attributes"),
        pytest.param([header(TEST, 512, b"S"), BODY], id="a sparse file"),
        pytest.param([header("d", 0, b"5")] * 20_000 + [MEMBER], id="many members"),
        pytest.param([MEMBER, bytes(1024), ZEROS], id="zeros after the end"),
        pytest.param([header("readme", len(GOOD)), BODY[:700]], id="an end in the middle of a file"),
        pytest.param([MEMBER, b"x" * 100], id="an end in the middle of a block"),
    ],
)
def test_no_header_is_believed(tmp_path, parts):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        for part in parts:
            for piece in [bytes(1 << 20)] * 300 if part is ZEROS else [part]:
                file.write(piece)
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match="^CIFAR: .*cifar-10-binary.tar.gz .*; (get it again|expected 30730000 bytes at most)"
        ):
            CIFAR10(tmp_path, train=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_archive_is_read(tmp_path, format):
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", format=format) as archive:
        for name, data in {"./" + "a" * 90 + "/" + "b" * 90: b"x" * 700, "./" + TEST: GOOD}.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.uname = len(data), 0o777, "mötorhead"
            info.mtime = 1234567890 + 0.5 * (format == tarfile.PAX_FORMAT)  # attributes
            archive.addfile(info, io.BytesIO(data))
    assert CIFAR10(tmp_path, train=False).labels.tolist() == rows(1, 0)[0][:, 0].tolist()


def test_an_archive_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = pack(tmp_path / "cifar-10-binary.tar.gz", {TEST: GOOD})

    def refused(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "open", refused)
    with pytest.raises(PermissionError, match="cifar-10-binary"):
        CIFAR10(tmp_path, train=False)


def test_a_mutated_archive_is_read_or_refused_in_words(tmp_path):
    path = pack(tmp_path / "cifar-10-binary.tar.gz", {"a/b": b"readme", TEST: GOOD})
    whole = gzip.decompress(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(300):
        mutated = bytearray(whole)
        for place in rng.integers(0, 2048, 3):  # the headers are there
            mutated[place] = rng.integers(256)
        path.write_bytes(gzip.compress(bytes(mutated), 1))
        refusal = None
        try:
            CIFAR10(tmp_path, train=False)
        except ValueError as error:
            refusal = str(error)
        assert refusal is None or refusal.startswith("CIFAR")
