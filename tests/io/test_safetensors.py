import io
import json
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import TENSORS, arrays, assert_same, names

import microtensor as mt
from microtensor.io import safetensors as ours
from microtensor.io import state

safetensors = pytest.importorskip("safetensors")


def content(header, numbers=b""):
    header = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(header)) + header + numbers


def entry(dtype="F32", shape=(1,), begin=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("safetensors")


@given(st.dictionaries(names, arrays, max_size=4))
def test_named_tensors(folder, tensors):
    path = folder / "roundtrip.safetensors"
    state.save(path, {name: mt.Tensor(array) for name, array in tensors.items()})
    assert_same(state.load(path), dict(sorted(tensors.items())))


def test_other_layouts_and_byte_orders(tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "big": array.astype(">f4"),
        "fortran": np.asfortranarray(array),
        "number": np.array(3.0),
        "strided": array[::-1, ::2],
        "turned": array.T,
        "wide": np.broadcast_to(np.float32(2), (2, 2)),
    }
    state.save(tmp_path / "layouts.safetensors", tensors)
    for name, tensor in state.load(tmp_path / "layouts.safetensors").items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name])
        assert tensor.dtype == tensors[name].dtype.newbyteorder("=")
        assert tensor.shape == tensors[name].shape
        assert tensor.numpy().flags.writeable


def test_what_the_file_says_of_itself(tmp_path):
    state.save(tmp_path / "a.safetensors", TENSORS)
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_bfloat16_is_read_exactly(tmp_path):
    path = tmp_path / "half.safetensors"
    every = np.arange(2**16, dtype="<u2")
    path.write_bytes(content({"x": entry("BF16", (2**16,), 0, 2**17)}, every.tobytes()))
    found = state.load(path)["x"].numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), every.astype(np.uint32) << 16)


def test_pytorch_reads_ours_and_we_read_pytorchs(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    tensors = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(True), "c": np.zeros((0, 2), np.float16), "d": np.arange(3)}
    state.save(tmp_path / "ours.safetensors", tensors)
    found = theirs.load_file(tmp_path / "ours.safetensors")
    assert sorted(found) == sorted(tensors)
    for name, array in tensors.items():
        assert found[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(found[name].numpy(), array)
    half = torch.linspace(-3, 3, 7, dtype=torch.bfloat16)
    theirs.save_file({**{n: t.contiguous() for n, t in found.items()}, "half": half}, tmp_path / "theirs.safetensors")
    expected = {**{name: np.ascontiguousarray(a) if a.ndim else a for name, a in tensors.items()}, "half": half.float().numpy()}
    assert_same(state.load(tmp_path / "theirs.safetensors"), expected)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", "damaged"),
        (b"1234567", "damaged"),
        (struct.pack("<Q", 2**63) + b"{}", "damaged"),
        (content(b"{"), "damaged"),
        (content(b"[" * 10**6), "damaged"),
        (content({}, b"1"), "damaged"),
        (content({"x": entry()}), "damaged"),
        (content({"x": entry(shape=(2**40, 2**40))}, b"1234"), "damaged"),
        (content({"x": entry(shape=(0, 2**63), end=0)}), "damaged"),
        (content({"x": entry(shape=(1,) * 100)}, b"1234"), "damaged"),
        (content({"x": entry(shape=(-1,))}, b"1234"), "damaged"),
        (content({"x": entry("C64", end=8)}, b"12345678"), "'x' is of C64; a tensor holds real numbers|damaged"),
        (
            content({"x": entry("F8_E4M3", end=1)}, b"1"),
            "'x' is of F8_E4M3; supported are real dtypes of 8 to 64 bits, but no 8-bit",
        ),
        (content({"x": entry("os.system")}, b"1234"), "damaged"),
        (content({"x": entry(), "y": entry()}, b"1234"), "damaged"),
    ],
)
def test_damaged_files(tmp_path, damaged, message):
    (tmp_path / "x.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match=message):
        state.load(tmp_path / "x.safetensors")


def test_each_bool_is_0_or_1(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(content({"x": entry("BOOL", (3,), 0, 3)}, b"\x00\x01\x07"))
    assert state.load(tmp_path / "x.safetensors")["x"].numpy().tobytes() == b"\x00\x01\x01"


def test_a_panic_of_the_library_is_damage_too(tmp_path, monkeypatch):
    class Panic(BaseException):
        """pyo3's is no Exception."""

    def deserialize(content):
        raise Panic("index out of bounds")

    monkeypatch.setattr(safetensors, "deserialize", deserialize)
    (tmp_path / "x.safetensors").write_bytes(content({}))
    with pytest.raises(ValueError, match="index out of bounds"):
        state.load(tmp_path / "x.safetensors")


def test_bytes_that_cannot_be_written_to_are_copied(monkeypatch):
    entries = [("x", {"dtype": "F32", "shape": [1], "data": struct.pack("<f", 2.0)})]
    monkeypatch.setattr(safetensors, "deserialize", lambda content: entries)
    found = ours.read(io.BytesIO())["x"].numpy()
    assert found.tolist() == [2.0]
    assert found.flags.writeable


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ([mt.Tensor([1.0])], TypeError, "holds a dict of name → Tensor, got list; .npz holds any tree"),
        ({1: mt.Tensor([1.0])}, TypeError, "a name must be a string in a .safetensors file, got 1; .npz holds any tree"),
        ({"x": 1.0}, TypeError, "'x' must be a Tensor or an array of numbers, got float; .npz holds any tree"),
        (
            {"x": {"y": mt.Tensor([1.0])}},
            TypeError,
            "'x' must be a Tensor or an array of numbers, got dict; .npz holds any tree",
        ),
        ({"x": np.array(["a"])}, TypeError, "got an array of <U1"),
        ({"x": np.array([1j])}, TypeError, "got an array of complex128"),
        ({"__metadata__": mt.Tensor([1.0])}, ValueError, "cannot hold the name '__metadata__'"),
        ({"\ud800": mt.Tensor([1.0])}, ValueError, "cannot hold the name"),
    ],
)
def test_what_cannot_be_saved(tmp_path, tree, error, message):
    (tmp_path / "old.safetensors").write_bytes(b"old")
    with pytest.raises(error, match=message):
        state.save(tmp_path / "old.safetensors", tree)
    assert (tmp_path / "old.safetensors").read_bytes() == b"old"


def test_without_the_library(tmp_path, monkeypatch):
    state.save(tmp_path / "a.safetensors", TENSORS)
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "safetensors>=0.4.5"$'):
        state.save(tmp_path / "b.safetensors", TENSORS)
    with pytest.raises(ImportError, match=r'pip install "safetensors>=0.4.5"$'):
        state.load(tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
