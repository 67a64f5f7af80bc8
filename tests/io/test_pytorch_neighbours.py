"""What lies beside the weights in checkpoints, under every name that such files have, in every protocol: the weights are read."""

import argparse
import collections
import datetime
import enum
import functools
import io
import pathlib
import pickle
import struct
import types
import zipfile

import numpy as np
import pytest
from torch_files import Raw, archive, call, legacy, name, pickled, piece, storage, tensor

import microtensor as mt
from microtensor import nn
from microtensor.io import state
from microtensor.io.placeholder import Placeholder
from microtensor.models.weights import load_weights

FORMATS = pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4, 5])


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Strange:
    """Pickled with every instruction that a class can ask for."""

    def __new__(cls, *arguments, **named):
        return object.__new__(cls)

    def __reduce__(self):
        return Strange, (1, {"a": 2}), {"state": [self]}, iter([1, 2]), iter([("k", 1)])


class Named:
    def __new__(cls, *, size):
        return object.__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"size": 3}


class Settings(dict):
    pass


class Rows(list):
    pass


Pair = collections.namedtuple("Pair", "a b")

UNREAD = {
    "namespace": argparse.Namespace(lr=0.1, sub=argparse.Namespace(layers=[1, 2])),
    "simple namespace": types.SimpleNamespace(a=1),
    "time": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
    "path": pathlib.PurePosixPath("a/b"),
    "enum": Colour.RED,
    "reduce": Strange(),
    "new with names": Named(size=3),
    "dict's": Settings(a=1),
    "list's": Rows([1, 2]),
    "namedtuple": Pair(1, 2),
    "partial": functools.partial(Strange, 1),
    "class": Strange,
    "function": struct.pack,
    "complex": 1j,
    "array of texts": np.array(["a", "b"]),
    "array of objects": np.array([None, {}]),
    "structured array": np.zeros(2, [("a", "f4")]),
    "generator": np.random.default_rng(0),
}

READ = {
    "number": (np.float64(0.7), 0.7),
    "float32": (np.float32(0.1), float(np.float32(0.1))),
    "int": (np.int64(-3), -3),
    "bool": (np.bool_(True), True),
    "bytes": (b"\x00\xff", b"\x00\xff"),
    "no bytes": (b"", b""),
    "bytearray": (bytearray(b"ab"), b"ab"),
    "frozenset": (frozenset([1]), frozenset([1])),
    "sets": ([set(), {1, "a"}], [set(), {1, "a"}]),
    "ordered": (collections.OrderedDict(a=1), {"a": 1}),
    "default": (collections.defaultdict(list, a=[1]), {"a": [1]}),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
    "deque": (collections.deque([1, 2], maxlen=3), [1, 2]),
    "tuples as keys": ({(1, "a"): 2, (None, 0.5): 3}, {(1, "a"): 2, (None, 0.5): 3}),
    "set of tuples": ({(1, 2), (3, 4)}, {(1, 2), (3, 4)}),
    "dtype": (np.dtype("f4"), "float32"),
    "long": (2**100, 2**100),
}

ARRAYS = {
    "array": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(8)[::2],
    "big-endian": np.arange(3, dtype=">f4"),
    "scalar": np.array(3.0),
    "empty": np.zeros((0, 3), np.float16),
    "bools": np.array([True, False]),
}


def written(beside, old, protocol):
    """A checkpoint as torch.save writes it, without PyTorch: weights, and beside them a pickle of `beside`."""
    buffer = io.BytesIO()
    pickle.Pickler(buffer, protocol).dump(beside)
    start = 2 if protocol < 4 else 11  # without PROTO and FRAME
    inner = buffer.getvalue()
    inner = inner[start:-1] if protocol < 4 or inner[2:3] == b"\x95" else inner[2:-1]
    more = [None] if old else []
    weights = tensor(storage("0", "FloatStorage", 4, *more), 0, (2, 2), (2, 1))
    body = b"\x80" + bytes([protocol]) + b"}(" + piece("args") + inner + piece("weights") + weights + b"u."
    numbers = struct.pack("<4f", 1, 2, 3, 4)
    return legacy(body, {"0": (4, numbers)}) if old else archive(body, {"0": numbers})


def load(path, content):
    path.write_bytes(content)
    found = state.load(path)
    assert found["weights"].tolist() == [[1, 2], [3, 4]]
    return found["args"]


@FORMATS
@PROTOCOLS
@pytest.mark.parametrize("what", UNREAD)
def test_objects_become_placeholders(tmp_path, what, protocol, old):
    found = load(tmp_path / "x.pth", written(UNREAD[what], old, protocol))
    assert isinstance(found, Placeholder)
    assert repr(found) == f"<{found.name}, not read>"
    assert not hasattr(found, "__dict__")


@FORMATS
@PROTOCOLS
@pytest.mark.parametrize("what", READ)
def test_plain_data_is_read(tmp_path, what, protocol, old):
    given, expected = READ[what]
    found = load(tmp_path / "x.pth", written(given, old, protocol))
    assert found == expected
    assert type(found) is type(expected)


@FORMATS
@PROTOCOLS
@pytest.mark.parametrize("what", ARRAYS)
def test_arrays_are_tensors(tmp_path, what, protocol, old):
    found = load(tmp_path / "x.pth", written([ARRAYS[what]] * 2, old, protocol))
    assert found[0] is found[1]
    assert found[0].dtype == ARRAYS[what].dtype.newbyteorder("=")
    np.testing.assert_array_equal(found[0].numpy(), ARRAYS[what])
    assert found[0].numpy().flags.writeable


def test_enums_as_keys_stay_apart(tmp_path):
    found = load(tmp_path / "x.pth", written({Colour.RED: 1, Colour.BLUE: 2}, False, 2))
    assert list(found.values()) == [1, 2]


def test_nothing_of_a_class_runs(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(Strange, "__new__", lambda cls, *rest: ran.append(rest), raising=False)
    monkeypatch.setattr(Strange, "__setstate__", lambda self, given: ran.append(given), raising=False)
    for old in (False, True):
        load(tmp_path / "x.pth", written(Strange, old, 4))
        load(tmp_path / "x.pth", written(Settings(a=1), old, 4))
    body = name("tests", "x") + b")R}" + piece("a") + name("os", "system") + piece(("true",)) + b"Rsb"
    data = pickled({"w": tensor(storage("0", "FloatStorage", 1), 0, (1,), (1,)), "x": Raw(body)})
    (tmp_path / "x.pth").write_bytes(archive(data, {"0": bytes(4)}))
    assert isinstance(state.load(tmp_path / "x.pth")["x"], Placeholder)
    assert not ran


def test_a_file_that_holds_nothing_else_is_refused(tmp_path):
    for tree in ({"args": name("argparse", "Namespace")}, [1, Raw(name("a", "B") + b")R")], name("a", "B")):
        (tmp_path / "x.pth").write_bytes(archive(pickled(tree), {}))
        with pytest.raises(ValueError, match=r"it refers to .*; only tensors, numbers and strings"):
            state.load(tmp_path / "x.pth")


def test_names_that_would_spoil_a_terminal_are_refused(tmp_path):
    data = pickled({"w": name("a", "\x1b[31m")})
    (tmp_path / "x.pth").write_bytes(archive(data, {}))
    with pytest.raises(ValueError, match="a name that cannot be printed"):
        state.load(tmp_path / "x.pth")


@pytest.mark.parametrize("dtype", ["complex64", "float8_e4m3fn", "uint128"])
def test_tensors_that_are_not_read_do_not_hide_the_others(tmp_path, dtype):
    stored = storage("1", "UntypedStorage", 16).replace(b"ctorch\n", b"ctorch.storage\n")
    other = call("torch._utils", "_rebuild_tensor_v3", Raw(stored), 0, (1,), (1,), False, None, name("torch", dtype))
    data = pickled({"w": tensor(storage("0", "FloatStorage", 1), 0, (1,), (1,)), "x": other})
    (tmp_path / "x.pth").write_bytes(archive(data, {"0": bytes(4), "1": bytes(16)}))
    found = state.load(tmp_path / "x.pth")
    assert found["w"].tolist() == [0]
    assert repr(found["x"]) == f"<a tensor of {dtype}, not read>"


# Whatever the file is called


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".npz", ".safetensors", ".pkl", ""])
def test_the_bytes_decide(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    for old in (False, True):
        assert load(path, written({"lr": 0.1}, old, 2)) == {"lr": 0.1}
    state.save(tmp_path / "x.npz", {"w": mt.Tensor([1.0])})
    path.write_bytes((tmp_path / "x.npz").read_bytes())
    assert state.load(path)["w"].tolist() == [1]


def test_safetensors_under_another_name(tmp_path):
    pytest.importorskip("safetensors")
    state.save(tmp_path / "x.safetensors", {"w": mt.Tensor([1.0])})
    for name_ in ("x.bin", "x.npz", "x"):
        (tmp_path / name_).write_bytes((tmp_path / "x.safetensors").read_bytes())
        assert state.load(tmp_path / name_)["w"].tolist() == [1]


def test_a_length_that_begins_as_pickles_do(tmp_path):
    pytest.importorskip("safetensors")
    begins = set()
    for length in range(1, 400, 7):
        state.save(tmp_path / "x.safetensors", {"n" * length: mt.Tensor([1.0])})
        begins.add((tmp_path / "x.safetensors").read_bytes()[:1])
        assert list(state.load(tmp_path / "x.safetensors")) == ["n" * length]
    assert {b"\x80", b"P"} <= begins


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n123", "an HDF5 file"),
        (b"\x1f\x8b123", "compressed with gzip"),
        (b"\x93NUMPY\x01\x00", "a single array written by numpy.save"),
        (b"noise", "starts neither like a zip archive"),
        (b"", "starts neither like a zip archive"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".npz", ".bin"])
def test_what_people_have_in_place_of_weights(tmp_path, content, message, suffix):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        state.load(tmp_path / f"x{suffix}")


def test_archives_with_a_comment_behind_or_other_bytes_before(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, w=np.ones(2))
    plain = path.read_bytes()
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"trained on Tuesday, PK\x05 and all"
    assert state.load(path)["w"].tolist() == [1, 1]
    commented = path.read_bytes()
    path.write_bytes(b"#!/bin/sh\n" + plain)
    assert state.load(path)["w"].tolist() == [1, 1]
    count = commented.rindex(b"PK\x05\x06") + 10  # of members
    path.write_bytes(commented[:count] + b"\x07" + commented[count + 1 :])
    with pytest.raises(ValueError, match="its table of contents is damaged"):
        state.load(path)


def test_archives_that_were_packed_again(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(2))
    with zipfile.ZipFile(tmp_path / "a.npz") as file, zipfile.ZipFile(tmp_path / "b.npz", "w") as again:
        again.writestr("__MACOSX/._w.npy", b"1234")
        again.writestr("folder/", b"")
        again.writestr("w.npy", file.read("w.npy"))
    assert list(state.load(tmp_path / "b.npz")) == ["w"]


class Pipe(io.RawIOBase):
    """A file that cannot seek: zipfile writes the sizes behind each member then."""

    def __init__(self, file):
        self.file = file

    def writable(self):
        return True

    def write(self, content):
        return self.file.write(content)


def test_archives_that_were_written_to_a_pipe(tmp_path):
    with open(tmp_path / "x.npz", "wb") as file:
        np.savez(Pipe(file), w=np.ones(2))
    assert state.load(tmp_path / "x.npz")["w"].tolist() == [1, 1]


# With PyTorch


@FORMATS
@PROTOCOLS
def test_checkpoints_of_pytorchs(tmp_path, protocol, old):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(theirs.parameters())
    theirs(torch.ones(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    marked = torch.zeros(2)
    marked.attribute = 1
    tree = {
        "args": argparse.Namespace(lr=0.1),
        "state_dict": theirs.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9).state_dict(),
        "model": theirs,
        "optimizer itself": optimizer,
        "best": np.float64(0.7),
        "generators": [np.random.RandomState(0).get_state(), torch.get_rng_state()],
        "tensors": [
            marked,
            torch.nn.Parameter(torch.ones(1)),
            torch.zeros(2).as_subclass(torch.nn.Buffer),
            torch.eye(2).to_sparse(),
        ],
        "others": [
            torch.zeros(1, dtype=torch.complex64),
            torch.ones(1).to(torch.float8_e5m2),
            torch.zeros(1).untyped_storage(),
        ],
    }
    torch.save(tree, tmp_path / "x.ckpt", pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
    ours = load_weights(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), tmp_path / "x.ckpt")
    for key, x in ours.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), theirs.state_dict()[key].numpy())
    found = state.load(tmp_path / "x.ckpt")
    assert found["best"] == 0.7
    assert repr([found["args"], found["others"][0]]) == "[<argparse.Namespace, not read>, <a tensor of complex64, not read>]"
    assert [type(x).__name__ for x in found["tensors"]] == ["Tensor", "Tensor", "Tensor", "Placeholder"]
    assert found["generators"][0][1].shape == (624,)
