"""The IDX format: what it is byte by byte, and files that are damaged or hostile."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from microtensor.data import read_idx, write_idx

IDX_DTYPES = (np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For tests under hypothesis, which shares one fixture among its examples."""
    return tmp_path_factory.mktemp("idx")


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
        found = "and announces .* read the plain file" if zipped else "cut short: expected .* found 1000"
        with pytest.raises(ValueError, match=found):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_what_is_there_and_announced_is_bounded_by_the_packed_size_and_then_read_unpacked(tmp_path):
    content = struct.pack(">BBBBI", 0, 0, 8, 1, 40 << 20) + bytes(40 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(content))
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=r"bomb.gz: the file has 40,\d+ bytes, and announces 41943040 .* gunzip, and read the plain"
        ):
            read_idx(tmp_path / "bomb.gz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    (tmp_path / "plain").write_bytes(content)
    assert read_idx(tmp_path / "plain").shape == (40 << 20,)
    (tmp_path / "small.gz").write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 1 << 20) + bytes(1 << 20)))
    assert not read_idx(tmp_path / "small.gz").any()  # a thousand to one, and a megabyte


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
