import doctest
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import stand_in
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from microtensor import state

DTYPES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"]
TENSORS = {"é/weight": mt.Tensor([[1.0, -2.0]]), "fc.bias": mt.Tensor(np.arange(3)), "empty": mt.Tensor(np.zeros((0, 2)))}

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "/etc/passwd",
        "../up",
        "a\\b",
        "x.npy",
        "file",
        "\0",
        "a\0b",
        "\n",
        "ключ",
        "重み",
        "layer1.0.conv1.weight",
    ]
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
)


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        a, b = found[name].numpy(), np.asarray(tensor.numpy() if isinstance(tensor, mt.Tensor) else tensor)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()  # nan and −0 too


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@given(st.dictionaries(names, arrays, max_size=4))
def test_roundtrip(folder, tensors):
    path = folder / "roundtrip.npz"
    state.save(path, {name: mt.Tensor(array) for name, array in tensors.items()})
    assert_same(state.load(path), tensors)


@given(
    st.binary(min_size=1, max_size=4),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["replace", "insert", "delete", "cut"]),
)
@settings(max_examples=150)
@example(b"\0", 0.999, "cut")
def test_a_damaged_file_is_refused_or_harmless(folder, noise, where, how):
    path = folder / "damaged.npz"
    state.save(path, TENSORS)
    content = path.read_bytes()
    at = int(where * len(content))
    rest = {"replace": at + len(noise), "insert": at, "delete": at + 1, "cut": len(content)}[how]
    path.write_bytes(content[:at] + (noise if how in ("replace", "insert") else b"") + content[rest:])
    try:
        found = state.load(path)
    except ValueError:
        return
    assert_same(found, TENSORS)


def test_every_byte_matters_or_is_harmless(folder):
    path = folder / "bytes.npz"
    state.save(path, TENSORS)
    content = path.read_bytes()
    refused = 0
    for at in range(len(content)):
        for flip in (0x01, 0x08, 0x80, 0xFF):
            path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
            try:
                found = state.load(path)
            except ValueError:
                refused += 1
            else:
                assert_same(found, TENSORS)
    assert refused > len(content)


@given(st.binary(max_size=200))
def test_noise_is_refused(folder, content):
    path = folder / "noise.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"no \.npz file"):
        state.load(path)


def test_numpy_reads_ours_and_we_read_numpys(tmp_path):
    ours, theirs, squeezed = tmp_path / "ours.npz", tmp_path / "theirs.npz", tmp_path / "squeezed.npz"
    plain = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    state.save(ours, TENSORS)
    with np.load(ours, allow_pickle=False) as archive:
        assert {name: archive[name].tolist() for name in archive} == {name: array.tolist() for name, array in plain.items()}
    np.savez(theirs, **plain)
    np.savez_compressed(squeezed, **plain)
    assert_same(state.load(theirs), TENSORS)
    assert_same(state.load(squeezed), TENSORS)


def test_other_layouts_and_byte_orders(tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4)
    tensors = {"turned": array.T, "strided": array[::-1, ::2], "big": array.astype(">f4"), "fortran": np.asfortranarray(array)}
    state.save(tmp_path / "layouts.npz", tensors)
    for name, tensor in state.load(tmp_path / "layouts.npz").items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name])
        assert tensor.dtype == tensors[name].dtype.newbyteorder("=")
        assert tensor.numpy().flags.c_contiguous
        assert tensor.numpy().flags.writeable


def test_same_tensors_same_bytes(tmp_path):
    state.save(tmp_path / "a.npz", TENSORS)
    state.save(tmp_path / "b.NPZ", TENSORS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.NPZ").read_bytes()
    assert_same(state.load(str(tmp_path / "b.NPZ")), TENSORS)


def test_a_leaf_comes_back_as_plain_numbers(tmp_path):
    x = mt.Tensor([1.0], requires_grad=True)
    x.grad = mt.Tensor([2.0])
    state.save(tmp_path / "leaf.npz", {"x": x, "y": x * 2})
    found = state.load(tmp_path / "leaf.npz")
    assert [t.requires_grad for t in found.values()] == [False, False]
    assert found["x"].grad is None


def test_from_a_device(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", stand_in.cupy)
    x = mt.Tensor([1.0, 2.0], device="cuda")
    state.save(tmp_path / "device.npz", {"x": x})
    found = state.load(tmp_path / "device.npz")["x"]
    assert found.device == "cpu"
    assert found.tolist() == [1.0, 2.0]


# Files made to harm


class Evil:
    """Unpickled, it would say so."""

    ran = False

    def __reduce__(self):
        return (setattr, (Evil, "ran", True))


def npy(header, content=b""):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_pickles_are_never_read(tmp_path):
    objects, plain = tmp_path / "objects.npz", tmp_path / "plain.npz"
    np.savez(objects, x=np.array([Evil()], dtype=object))
    with pytest.raises(ValueError, match="pickled Python objects"):
        state.load(objects)
    plain.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="no .npz file"):
        state.load(plain)
    archive(plain, {"archive/data.pkl": pickle.dumps(Evil()), "archive/data/0": b"1234"})
    with pytest.raises(ValueError, match=r"holds 'archive/data.pkl'"):
        state.load(plain)
    assert not Evil.ran


def test_a_header_is_not_executed(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').mkdir('" + bytes(tmp_path) + b"/x'),), }\n"
    archive(tmp_path / "code.npz", {"x.npy": npy(header)})
    with pytest.raises(ValueError, match=r"'x.npy' is not an array of plain numbers"):
        state.load(tmp_path / "code.npz")
    assert os.listdir(tmp_path) == ["code.npz"]


@pytest.mark.parametrize(
    ("header", "content", "message"),
    [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000,), }\n", b"1234", "header says float32"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", b"1234", "has 4 bytes of numbers"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", b"12345678", "has 8 bytes of numbers"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, " + b"9" * 30 + b"), }\n", b"", "damaged"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, " + b"9" * 9999 + b"), }\n", b"", "damaged"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1, " * 99 + b"), }\n", b"1234", "damaged"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }\n", b"1234", "not an array of plain numbers"),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }\n", b"12345678", "not an array of plain numbers"),
        (b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }\n", b"12345678", "not an array of plain numbers"),
        (b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", b"1234", "not an array of plain numbers"),
        (b"{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }\n", b"123", "damaged"),
        (b"", b"", "not an array of plain numbers"),
    ],
)
def test_headers_that_lie(tmp_path, header, content, message):
    archive(tmp_path / "lie.npz", {"x.npy": npy(header, content)})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            state.load(tmp_path / "lie.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_only_version_1_of_the_array_format(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros(2), version=(1, 0))
    content = buffer.getvalue()
    for other in (content.replace(b"NUMPY\x01", b"NUMPY\x07"), content.replace(b"NUMPY", b"NUMPX")):
        archive(tmp_path / "other.npz", {"x.npy": other})
        with pytest.raises(ValueError, match="not an array of plain numbers"):
            state.load(tmp_path / "other.npz")


def test_too_little_memory_is_not_called_damage(tmp_path, monkeypatch):
    state.save(tmp_path / "large.npz", TENSORS)
    monkeypatch.setattr(np, "frombuffer", lambda *args: (_ for _ in ()).throw(MemoryError("too large")))
    with pytest.raises(MemoryError, match="too large"):
        state.load(tmp_path / "large.npz")


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros(2**24))  # 128 MiB in 130 KiB
    assert path.stat().st_size < 2**18
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="announces 134,217,8"):
            state.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


def test_a_bomb_that_announces_little_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros(2**24))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 2**20)  # the uncompressed size
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="header says float64"):
            state.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


def test_one_name_twice_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as file:
        file.writestr("x.npy", buffer.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("x.npy", buffer.getvalue())
    with pytest.raises(ValueError, match="not the only one of that name"):
        state.load(tmp_path / "twice.npz")


# Errors in words


@pytest.mark.parametrize("suffix", ["", ".pt", ".npy", ".npz.bak"])
def test_unknown_suffixes(tmp_path, suffix):
    with pytest.raises(ValueError, match=r"save: .* has the suffix .*; supported: \.npz"):
        state.save(tmp_path / f"weights{suffix}", TENSORS)
    with pytest.raises(ValueError, match=r"load: .* has the suffix .*; supported: \.npz"):
        state.load(tmp_path / f"weights{suffix}")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        ([mt.Tensor([1.0])], TypeError, "expected a dict of name → Tensor, got list"),
        ({1: mt.Tensor([1.0])}, TypeError, "a name must be a string, got 1"),
        ({"x": 1.0}, TypeError, "'x' must be a Tensor or an array of numbers, got float"),
        ({"x": np.array(["a"])}, TypeError, "got an array of <U1"),
        ({"x": np.array([None])}, TypeError, "got an array of object"),
        ({"x": np.array([1j])}, TypeError, "got an array of complex128"),
        ({"a": mt.Tensor([1.0]), "\ud800": mt.Tensor([1.0])}, ValueError, "is not Unicode text"),
        ({"a": mt.Tensor([1.0]), "n" * 65532: mt.Tensor([1.0])}, ValueError, "more than 65,531 bytes"),
    ],
)
def test_what_cannot_be_saved(tmp_path, tensors, error, message):
    (tmp_path / "old.npz").write_bytes(b"old")
    with pytest.raises(error, match=message):
        state.save(tmp_path / "old.npz", tensors)
    assert (tmp_path / "old.npz").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old.npz"]


def test_the_longest_name(tmp_path):
    state.save(tmp_path / "long.npz", {"n" * 65531: mt.Tensor([1.0])})
    assert_same(state.load(tmp_path / "long.npz"), {"n" * 65531: mt.Tensor([1.0])})


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder .* does not exist; make it first"):
        state.save(tmp_path / "runs" / "a.npz", TENSORS)
    with pytest.raises(FileNotFoundError):
        state.load(tmp_path / "a.npz")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "old.npz"
    state.save(path, TENSORS)
    monkeypatch.setattr(np.lib.format, "write_array", lambda *args, **settings: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        state.save(path, {"x": mt.Tensor([1.0])})
    assert os.listdir(tmp_path) == ["old.npz"]
    assert_same(state.load(path), TENSORS)


def test_examples():
    result = doctest.testmod(state)
    assert result.attempted
    assert not result.failed
