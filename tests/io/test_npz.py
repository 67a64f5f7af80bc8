import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trees import TENSORS, arrays, assert_same, names, trees

import microtensor as mt
from microtensor.io import state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("npz")


@given(st.dictionaries(names, arrays, max_size=4))
def test_named_tensors(folder, tensors):
    path = folder / "roundtrip.npz"
    state.save(path, {name: mt.Tensor(array) for name, array in tensors.items()})
    assert_same(state.load(path), tensors)
    with zipfile.ZipFile(path) as file:
        assert [member.orig_filename for member in file.infolist()] == [f"{name}.npy" for name in tensors]


@given(trees)
@settings(max_examples=200)
def test_trees(folder, tree):
    path = folder / "tree.npz"
    state.save(path, tree)
    assert_same(state.load(path), tree)


def test_a_tree_shows_its_structure_and_numpy_reads_its_tensors(tmp_path):
    path = tmp_path / "checkpoint.npz"
    tree = {"model": {"fc.weight": np.eye(2)}, "optimizer": {"state": {0: {"step": 3, "momentum": np.ones(2)}}}, "rng": 2**127}
    state.save(path, tree)
    with np.load(path, allow_pickle=False) as archive:
        assert archive.files == ["tree.json", "model.fc.weight", "optimizer.state.0.momentum"]
        np.testing.assert_array_equal(archive["model.fc.weight"], np.eye(2))
        assert archive["tree.json"].startswith(
            b'{"version": 1, "tree": {"model": {"fc.weight": {"$tensor": "model.fc.weight"}}'
        )


def test_two_paths_of_one_name(tmp_path):
    tree = {"a": {"b": np.zeros(1), "b~2": np.full(1, 2.0)}, "a.b": np.ones(1), 1: [np.full(1, 3.0)], "1": [np.full(1, 4.0)]}
    state.save(tmp_path / "twins.npz", tree)
    assert_same(state.load(tmp_path / "twins.npz"), tree)


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
    with pytest.raises(ValueError, match=r"not a \.npz file"):
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
    with pytest.raises(ValueError, match="not a .npz file"):
        state.load(plain)
    archive(plain, {"archive/data.pkl": pickle.dumps(Evil()), "archive/data/0": b"1234"})
    with pytest.raises(ValueError, match=r"not a \.npz file of tensors, or is damaged: it refers to .*Evil|builtins.setattr"):
        state.load(plain)  # its bytes say that it is PyTorch's
    archive(plain, {"code.pkl": pickle.dumps(Evil())})
    with pytest.raises(ValueError, match=r"its member 'code.pkl' is not a .npy array"):
        state.load(plain)
    assert not Evil.ran


def test_a_header_is_not_executed(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').mkdir('" + bytes(tmp_path) + b"/x'),), }\n"
    archive(tmp_path / "code.npz", {"x.npy": npy(header)})
    with pytest.raises(ValueError, match=r"'x.npy' is not a numeric array"):
        state.load(tmp_path / "code.npz")
    assert os.listdir(tmp_path) == ["code.npz"]


@pytest.mark.parametrize(
    ("header", "content", "message"),
    [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000,), }\n", b"1234", "header says float32"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", b"1234", "has 4 bytes of data"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", b"12345678", "has 8 bytes of data"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, " + b"9" * 30 + b"), }\n", b"", "damaged"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, " + b"9" * 9999 + b"), }\n", b"", "damaged"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1, " * 99 + b"), }\n", b"1234", "damaged"),
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }\n", b"1234", "not a numeric array"),
        (b"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }\n", b"12345678", "not a numeric array"),
        (b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }\n", b"12345678", "not a numeric array"),
        (b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", b"1234", "not a numeric array"),
        (b"{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }\n", b"123", "damaged"),
        (b"", b"", "not a numeric array"),
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
        with pytest.raises(ValueError, match="not a numeric array"):
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
        with pytest.raises(ValueError, match="declares 134,217,8"):
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
    with pytest.raises(ValueError, match="it has two members named 'x.npy'"):
        state.load(tmp_path / "twice.npz")


STRUCTURES = [
    ("", "damaged"),
    ("[]", "not of version 1"),
    ('{"version": 2, "tree": 1}', "a later microtensor"),
    ('{"version": 1}', "not of version 1"),
    ('{"version": 1, "tree": {"$tensor": "x"}, "a": NaN}', "has the number NaN"),
    ('{"version": 1, "tree": null}', "does not mention the tensor 'x'"),
    ('{"version": 1, "tree": {"$tensor": "y"}}', "an unknown object, or a tensor that is missing"),
    ('{"version": 1, "tree": [{"$tensor": "x"}, {"$tensor": "x"}]}', "or used twice"),
    ('{"version": 1, "tree": {"$tensor": ["x"]}}', "an unknown object"),
    ('{"version": 1, "tree": {"$tensor": "x", "a": 1}}', "an unknown object"),
    ('{"version": 1, "tree": {"$call": "os.system"}}', "an unknown object"),
    ('{"version": 1, "tree": {"$float": "1e400"}}', "an unknown object"),
    ('{"version": 1, "tree": {"$int": 1}}', "an unknown object"),
    ('{"version": 1, "tree": {"$int": "os"}}', "damaged"),
    ('{"version": 1, "tree": {"$dict": [[1]]}}', "damaged"),
    ('{"version": 1, "tree": {"$dict": [[[], 1]]}}', r"has the key \[\]"),
    ('{"version": 1, "tree": {"$dict": [[9223372036854775808, 1]]}}', "has the key 9223372036854775808"),
    ('{"version": 1, "tree": {"$dict": [[true, 1]]}}', "has the key True"),
    ('{"version": 1, "tree": ' + "9" * 10**6 + "}", "a number of 1,000,000 digits"),
    ('{"version": 1, "tree": ' + "[" * 67 + "]" * 67 + "}", "nested more than 64 deep"),
    ('{"version": 1, "tree": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
]


@pytest.mark.parametrize(("structure", "message"), STRUCTURES, ids=[message for _, message in STRUCTURES])
def test_structures_made_to_harm(tmp_path, structure, message):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n"
    archive(tmp_path / "tree.npz", {"tree.json": structure, "x.npy": npy(header, b"1234")})
    with pytest.raises(ValueError, match=message):
        state.load(tmp_path / "tree.npz")


def test_a_structure_that_is_larger_than_the_file_is_refused(tmp_path):
    structure = '{"version": 1, "tree": [' + "[]," * 2**20 + "0]}"  # 3 MiB, which would become 60
    archive(tmp_path / "tree.npz", {"tree.json": structure}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"'tree.json' declares 3,145,755 bytes, more than the file has"):
        state.load(tmp_path / "tree.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, compression):
    archive(tmp_path / "other.npz", {"x.npy": npy(b"")}, compression)
    with pytest.raises(ValueError, match="'x.npy' is encrypted, or compressed by another method than deflate"):
        state.load(tmp_path / "other.npz")


def test_each_bool_is_0_or_1(tmp_path):
    header = b"{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }\n"
    archive(tmp_path / "bools.npz", {"x.npy": npy(header, b"\x00\x01\x07")})
    assert state.load(tmp_path / "bools.npz")["x"].numpy().tobytes() == b"\x00\x01\x01"


def deep(depth):
    tree = 0
    for _ in range(depth):
        tree = [tree]
    return tree


def cycle():
    tree = []
    tree += [tree, tree]
    return tree


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"x": np.array(["a"])}, TypeError, "save: 'x' is an array of <U1; arrays must have numeric dtypes"),
        ({"x": np.array([None])}, TypeError, "is an array of object"),
        ({"x": np.array([1j])}, TypeError, "is an array of complex128"),
        ({"a": {"b": {1, 2}}}, TypeError, "save: 'a.b' is of type set; supported are dicts, lists, tuples, tensors"),
        ([0, b"1"], TypeError, "save: '1' is of type bytes"),
        ({"x": 1j}, TypeError, "is of type complex"),
        (print, TypeError, "save: the tree itself is of type builtin_function_or_method"),
        ({"a": {(1, 2): 3}}, TypeError, r"save: 'a' has the key \(1, 2\) \(tuple\); a key must be a str or an int of 64 bits"),
        ({True: 1}, TypeError, "has the key True"),
        ({2**63: 1}, TypeError, "has the key 9223372036854775808"),
        ({None: 1}, TypeError, "has the key None"),
        (cycle(), ValueError, "save: '0' contains itself"),
        ({"a": deep(65)}, ValueError, "nested more than 64 deep"),
        ({"a": mt.Tensor([1.0]), "\ud800": mt.Tensor([1.0])}, ValueError, "is not Unicode text"),
        ({"a": mt.Tensor([1.0]), "n" * 65532: mt.Tensor([1.0])}, ValueError, "more than 65,531 bytes"),
    ],
)
def test_what_is_no_tree(tmp_path, tree, error, message):
    (tmp_path / "old.npz").write_bytes(b"old")
    with pytest.raises(error, match=message):
        state.save(tmp_path / "old.npz", tree)
    assert (tmp_path / "old.npz").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old.npz"]


def test_the_deepest_tree(tmp_path):
    state.save(tmp_path / "deep.npz", deep(65))
    assert_same(state.load(tmp_path / "deep.npz"), deep(65))


def test_a_tensor_alone_and_the_scalars_of_numpy(tmp_path):
    state.save(tmp_path / "alone.npz", mt.Tensor([1.0]))
    assert_same(state.load(tmp_path / "alone.npz"), mt.Tensor([1.0]))
    state.save(tmp_path / "scalars.npz", [np.float32(0.1), np.int8(-3), np.bool_(True), np.float64(-0.0), np.str_("a")])
    assert_same(state.load(tmp_path / "scalars.npz"), [float(np.float32(0.1)), -3, True, -0.0, "a"])


def test_the_longest_name(tmp_path):
    state.save(tmp_path / "long.npz", {"n" * 65531: mt.Tensor([1.0])})
    assert_same(state.load(tmp_path / "long.npz"), {"n" * 65531: mt.Tensor([1.0])})


def test_a_size_of_64_bits_that_lies_is_refused(tmp_path):
    path = tmp_path / "zip64.npz"
    with zipfile.ZipFile(path, "w") as file:
        member = zipfile.ZipInfo("x.npy")
        member.extra = struct.pack("<HHQ", 1, 8, 2**60)
        file.writestr(member, npy(b""))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = b"\xff" * 4  # "see the extra field"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="declares 1,152,921,504,606,846,976"):
        state.load(path)
