import io
import os
import pickle
import struct
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch_files import LEGACY_BEGIN, Raw, archive, call, legacy, name, pickled, piece, storage
from trees import assert_same, scalars

from microtensor.io import state
from microtensor.io.pickled_pytorch import find_class, find_storage
from microtensor.io.unpickle import Unpickler

plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=300)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text() | st.integers(-(2**62), 2**62), inner, max_size=5)
    ),
)


def unpickle(data):
    return Unpickler(io.BytesIO(data), len(data), find_class, find_storage).load()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@given(value=plain)
def test_as_pythons_own(value, protocol):
    assert_same(unpickle(pickle.dumps(value, protocol)), value)


def test_one_pickle_after_another():
    data = pickled(1) + pickled([2])
    unpickler = Unpickler(io.BytesIO(data), len(data), find_class, find_storage)
    assert [unpickler.load(), unpickler.load()] == [1, [2]]
    assert unpickler.left == 0
    with pytest.raises(ValueError, match="ends in the middle"):
        unpickler.load()


# Pickles made to run something. Each would leave a file named `canary` behind, were it only given to `pickle.loads`.


def runs(command):
    """Pickles by which Python would run a command."""
    system, text = name("posix", "system"), piece(command)
    code = piece(f"__import__('os').system({command!r})")
    builtin = lambda function: name("__builtin__", function)  # noqa: E731
    return {
        "reduce": system + b"(" + text + b"tR",
        "reduce, the modern name": name("os", "system") + b"(" + text + b"tR",
        "eval": builtin("eval") + b"(" + code + b"tR",
        "exec": builtin("exec") + b"(" + code + b"tR",
        "getattr": builtin("getattr")
        + b"("
        + builtin("__import__")
        + b"("
        + piece("os")
        + b"tR"
        + piece("system")
        + b"tR("
        + text
        + b"tR",
        "map": builtin("list") + b"(" + builtin("map") + b"(" + system + b"(" + text + b"ttRtR",
        "apply of a known module": name("collections", "abc.__builtins__") + b"(" + text + b"tR",
        "a name with dots": name("collections", "_sys.modules") + b"(tR",
        "torch.hub": name("torch.hub", "load") + b"(" + piece("a/b") + piece("c") + b"tR",
        "torch.load": name("torch", "load") + b"(" + text + b"tR",
        "torch.serialization": name("torch.serialization", "os.system") + b"(" + text + b"tR",
        "numpy's own loader": name("numpy", "load") + b"(" + text + b"tR",
        "functools.partial": name("functools", "partial") + b"(" + system + text + b"tR",
        "inst": b"(" + text + b"iposix\nsystem\n",
        "obj": b"(" + system + text + b"o",
        "newobj": system + b"(" + text + b"t\x81",
        "newobj_ex": system + b"(" + text + b"t}\x92",
        "stack_global": piece("posix") + piece("system") + b"\x93(" + text + b"tR",
        "ext1": b"\x82\x01",
        "ext2": b"\x83\x01\x00",
        "ext4": b"\x84\x01\x00\x00\x00",
        "build": name("torch", "Size") + b"}(" + piece("__setstate__") + system + b"ub" + text + b"b",
        "build of a dict": b"}" + b"}(" + piece("__class__") + system + b"ub",
        "persid": b"Pos.system\n",
        "binpersid": system + b"(" + text + b"tRQ",
        "a persistent id that is called": b"(" + piece("storage") + system + piece("0") + piece("cpu") + b"K\x04tQ",
        "constructor given a function": call("collections", "OrderedDict", Raw(system)),
        "reduce of a text": text + b"(" + text + b"tR",
        "reduce of a dtype": name("torch", "float32") + b"(" + text + b"tR",
        "reduce of a storage type": name("torch", "FloatStorage") + b"(K\x04tR",
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("way", runs(""))
def test_nothing_runs(tmp_path, monkeypatch, way, old, protocol):
    monkeypatch.chdir(tmp_path)
    data = pickled(Raw(runs("touch canary")[way]), protocol)
    (tmp_path / "evil.pth").write_bytes(legacy(data, {}) if old else archive(data, {}))
    if way == "build of a dict":  # the attributes of an OrderedDict are not looked at
        assert state.load(tmp_path / "evil.pth") == {}
    else:
        with pytest.raises(ValueError, match=r"is not a \.pth file of tensors, or is damaged"):
            state.load(tmp_path / "evil.pth")
    assert os.listdir(tmp_path) == ["evil.pth"]


@pytest.mark.skipif(os.name != "posix", reason="touch")
@pytest.mark.parametrize("way", ["reduce", "eval", "getattr", "inst", "obj"])
def test_they_would_run(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickled(Raw(runs("touch canary")[way])))
    assert os.listdir(tmp_path) == ["canary"]


def test_refusals_name_what_they_refuse(tmp_path):
    for module, function in [("os", "system"), ("torch.nn.modules.conv", "Conv2d"), ("__builtin__", "eval"), ("nt", "system")]:
        (tmp_path / "x.pth").write_bytes(archive(pickled({"a": name(module, function)}), {}))
        with pytest.raises(ValueError, match=rf"it refers to {module}\.{function}; only tensors, numbers and strings"):
            state.load(tmp_path / "x.pth")


# Pickles made to take memory or time

BIG = 2**15


def doubled(begin, end=b""):
    """`begin`, then a tuple that holds a tuple twice, which holds another twice, and so on, then `end`."""
    return begin + b")q\0" + b"h\0\x86q\0" * 1000 + end


def again(module, function, argument):
    """A list of what a constructor makes of one large argument, time after time."""
    return name(module, function) + b"q\0" + piece(argument) + b"q\1](" + b"h\0h\1\x85R" * BIG + b"e"


REBUILD = name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage("0", "FloatStorage", 4)
STORAGE = b"(" + piece("storage") + name("torch", "FloatStorage")

BOMBS = {
    "text of 4 GiB": b"X\xff\xff\xff\xffa",
    "bytes of 2^63": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa",
    "integer of 2 GiB": b"\x8b\xff\xff\xff\x7fa",
    "decimal integer": b"L" + b"9" * BIG + b"L\n",
    "frame of 2^63": b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fa",
    "name without end": b"c" + b"a" * BIG,
    "lists in lists": b"]" * BIG + b"a" * (BIG - 1),
    "tuples in tuples": b")" + b"\x85" * BIG,
    "marks": b"(" * BIG,
    "a tuple twice in a tuple, and so on": doubled(b""),
    "a list twice in a list, and so on": b"(]q\0" + b"](h\0h\0eq\0" * 1000 + b"t",
    "a dict twice in a dict, and so on": b"(}q\0" + b"}(K\1h\0K\2h\0uq\0" * 1000 + b"t",
    "such a tuple as a key": doubled(b"}", b"Ns"),
    "such a tuple in a set": doubled(name("__builtin__", "set") + b"]", b"a\x85R"),
    "such a tuple as an offset": doubled(REBUILD, b"))\x89NtR"),
    "such a tuple as a shape": doubled(REBUILD + b"K\0", b")\x89NtR"),
    "such a tuple as a dtype": doubled(REBUILD.replace(b"v2", b"v3") + b"K\0))\x89N", b"tR"),
    "such a tuple as metadata": doubled(REBUILD + b"K\0))\x89N", b"tR"),
    "such a tuple as a storage's key": doubled(STORAGE, piece("cpu") + b"K\4tQ"),
    "a list in itself": b"]q\0h\0a",
    "a list in itself, twice": b"]q\0(h\0h\0e",
    "a dict in itself": b"}q\0(K\1h\0u",
    "keys that collide": b"}("
    + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(9, BIG))
    + b"u",
    "a text as a device": name("torch", "device") + b"q\0" + piece("a" * BIG) + b"q\1](" + b"h\0h\1K\1\x86R" * BIG + b"e",
    "a list as a set": again("__builtin__", "set", list(range(BIG))),
    "a dict as a dict": again("collections", "Counter", dict.fromkeys(range(BIG), 1)),
    **{
        f"{kind} as a {function}": again(module, function, held)
        for module, function in [
            ("__builtin__", "set"),
            ("builtins", "frozenset"),
            ("collections", "OrderedDict"),
            ("collections", "deque"),
            ("torch", "Size"),
            ("builtins", "bytes"),
        ]
        for kind, held in [
            ("a set", Raw(b"\x8f(" + b"".join(b"M" + struct.pack("<H", i) for i in range(BIG)) + b"\x90")),
            ("a set of protocol 2", call("__builtin__", "set", list(range(BIG)))),
            ("a frozenset", Raw(b"(" + b"".join(b"M" + struct.pack("<H", i) for i in range(BIG)) + b"\x91")),
            ("a tuple", tuple(range(BIG))),
            ("bytes", Raw(b"B" + struct.pack("<I", BIG) + bytes(BIG))),
            ("a text", "a" * BIG),
        ]
    },
    "a text as bytes": name("_codecs", "encode") + b"q\0" + piece("a" * BIG) + b"q\1](" + b"h\0h\1\x85R" * BIG + b"e",
    "a set by another instruction": again("builtins", "set", Raw(b"\x8f(" + b"K\1" * 9 + b"\x90")).replace(b"R", b"\x81"),
    "sets": b"](" + b"\x8f" * BIG + b"e",
    "shapes of a tensor with attributes": name("torch._tensor", "_rebuild_from_type_v2")
    + b"q\0("
    + name("torch._utils", "_rebuild_tensor_v2")
    + piece((None, (None, 0, list(range(1000)), (), False, None), None))[1:]
    + b"q\1]("
    + b"h\0h\1R" * BIG
    + b"e",
    "one array of NumPy's, time after time": name("numpy.core.numeric", "_frombuffer")
    + b"q\0(B"
    + struct.pack("<I", BIG)
    + bytes(BIG)
    + call("numpy", "dtype", "u1")
    + piece(((BIG,), "C"))[1:-1]
    + b"tq\1]("
    + b"h\0h\1R" * BIG
    + b"e",
    "tuples as keys": b"}(" + b"".join(b"J" + struct.pack("<i", i) + b"\x85N" for i in range(BIG)) + b"u",
    "a list as a size": again("torch", "Size", list(range(BIG))),
    "a part of a storage that is long": STORAGE + piece("0") + piece("cpu") + b"K\4](" + b"K\1" * BIG + b"etQ",
    "a shape of large integers": REBUILD + b"K\0(\x8b\0\x80\0\0" + b"\1" * BIG + b"q\0" + b"h\0" * 60 + b"t)\x89NtR",
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(tmp_path, bomb, old):
    data = pickled(Raw(BOMBS[bomb]))
    (tmp_path / "bomb.pth").write_bytes(legacy(data, {}) if old else archive(data, {}))
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(ValueError, match=r"is not a \.pth file of tensors, or is damaged"):
            state.load(tmp_path / "bomb.pth")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 10
    assert peak < 200 * len(data) + 2**20


def test_a_list_of_storages_is_a_bomb(tmp_path):
    (tmp_path / "bomb.pth").write_bytes(LEGACY_BEGIN + pickled(1) + pickled(Raw(b"](" + doubled(b"", b"e"))))
    with pytest.raises(ValueError, match="its list of storages does not match its tensors"):
        state.load(tmp_path / "bomb.pth")


def test_a_memo_takes_as_much_as_is_in_it():
    tracemalloc.start()
    try:
        assert unpickle(pickled(Raw(b"]r\xff\xff\xff\xff"))) == []  # Python's C version makes room for 2³² objects
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**16


# Pickles that are damaged


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"NN",
        b"(N",
        b"0",
        b"a",
        b"NNa",
        b"Ne",
        b"(Ne",
        b"N(Ne",
        b"}(Nu",
        b"}NNNNu",
        b"N(NNu",
        b"}Ns",
        b"NNNs",
        b"t",
        b"\x85",
        b"N\x86",
        b"NN\x87",
        b"h\0",
        b"j\0\0\0\0",
        b"q\0",
        b"R",
        b"NR",
        b"N)R",
        b"Q",
        b"NQ",
        b"b",
        b"Nb",
        b"N}b",
        b"}Nb",
        b"c\xff\n\n",
        b"X\1\0\0\0\xff",
        b"U\1\xff",
        b"G1234",
        b"J123",
        b"}]Ns",
        b"}}Ns",
        call("torch", "Size", 1),
        call("torch", "Size", (-1,)),
        call("torch", "Size"),
        call("torch", "device", 1),
        call("torch", "device", "cuda", "x"),
        call("collections", "OrderedDict", 1),
        call("collections", "OrderedDict", [1]),
        call("collections", "OrderedDict", [[[], 1]]),
        call("collections", "OrderedDict", {}, {}),
        call("__builtin__", "set", [[]]),
        call("torch._utils", "_rebuild_parameter", 1),
        call("torch._utils", "_rebuild_parameter"),
        call("torch._utils", "_rebuild_tensor_v2"),
        call("torch._utils", "_rebuild_tensor_v2", None, 0, (), ()),
        call("torch._utils", "_rebuild_tensor_v3", None, 0, (), (), False, None, "float32"),
    ],
)
def test_damaged_pickles(body):
    with pytest.raises(ValueError, match=r"pickle|a .* in it|codec|not enough|unpack|shorter"):
        unpickle(pickled(Raw(body)))


def test_what_stands_for_itself_is_no_data(tmp_path):
    for body in (name("torch", "FloatStorage"), name("torch", "Size"), piece([name("collections", "OrderedDict")])):
        (tmp_path / "x.pth").write_bytes(archive(pickled(Raw(body)), {}))
        with pytest.raises(ValueError, match="which is not a tensor, number, str or None"):
            state.load(tmp_path / "x.pth")


def test_every_cut_is_noticed():
    data = pickled({"a": [1, 2.5, "text", (None, 2**70)], "b": call("collections", "OrderedDict")})
    unpickle(data)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="pickle"):
            unpickle(data[:end])


def test_other_protocols_are_refused():
    with pytest.raises(ValueError, match=r"the opcode"):
        unpickle(pickle.dumps({"a": 1}, 0))
    for protocol in (0, 1, 6, 255):
        with pytest.raises(ValueError, match=f"of protocol {protocol}; 2 to 5 are read"):
            unpickle(pickled({"a": 1}, protocol))


def test_floats_are_read_exactly():
    assert struct.pack("<d", unpickle(pickled(-0.0))) == struct.pack("<d", -0.0)
