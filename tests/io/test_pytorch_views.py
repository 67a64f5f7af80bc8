"""Tensors of PyTorch's files that share storages, overlap, are expanded, transposed or empty; and claims that are not true."""

import random
import struct

import numpy as np
import pytest
from torch_files import archive, pickled, storage, tensor
from torch_views import draw

from microtensor.io import state

BOTH = pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])


def load(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    return state.load(tmp_path / "x.pth")


def check(tmp_path, content, expected):
    """Whether what is loaded is right: the numbers that are there, or a refusal."""
    try:
        found = load(tmp_path, content)
    except ValueError:
        if expected not in (None, ...):
            raise
        return "refused"
    assert expected is not None
    if expected is not ...:
        assert [(x.shape, x.numpy().ravel().tolist()) for x in found] == expected
    return "loaded"


@BOTH
def test_whatever_a_file_claims_the_numbers_are_its_own_or_it_is_refused(tmp_path, old):
    rng = random.Random(0)
    outcomes = [check(tmp_path, *draw(rng, old)) for _ in range(600)]
    assert 120 < outcomes.count("loaded") < 480


@BOTH
def test_pytorch_reads_the_same_where_the_file_is_right(tmp_path, old):
    torch = pytest.importorskip("torch")
    rng, compared = random.Random(1), 0
    for _ in range(200):
        content, expected = draw(rng, old)
        if expected in (None, ...):
            continue
        (tmp_path / "x.pth").write_bytes(content)
        found = torch.load(tmp_path / "x.pth", weights_only=True)
        assert [(tuple(x.shape), x.flatten().tolist()) for x in found] == expected
        compared += 1
    assert compared > 50


@BOTH
def test_what_pytorch_saves_of_views(tmp_path, old):
    torch = pytest.importorskip("torch")
    rng = random.Random(2)
    for _ in range(100):
        base = torch.arange(36).to(rng.choice([torch.float32, torch.int16, torch.bfloat16, torch.bool, torch.float64]))
        views = []
        for _ in range(4):
            shape, strides = [rng.choice([1, 2, 3]) for _ in range(3)], [rng.choice([0, 1, 2, 4]) for _ in range(3)]
            views.append(base.as_strided(shape, strides, rng.randrange(8)))
        views += [base.view(6, 6).T, base[5:5], base.view(3, 3, 4).permute(2, 0, 1)[1:], base[3], base]
        torch.save(views, tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
        for ours, theirs in zip(state.load(tmp_path / "x.pth"), views, strict=True):
            theirs = theirs.float() if theirs.dtype == torch.bfloat16 else theirs
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
            assert ours.numpy().flags.owndata or ours.numpy().flags.c_contiguous


@pytest.mark.parametrize(
    ("count", "shape", "strides"), [(100_000, (100_000,), (1,)), (2**44, (2,), (2**43,)), (11, (1,), (1,))]
)
@pytest.mark.parametrize("first", [False, True])
def test_a_second_description_that_says_more(tmp_path, count, shape, strides, first):
    """The second one was believed: numbers from beyond the file's bytes came back as weights, or the process was killed."""
    honest = tensor(storage("0", "FloatStorage", 10), 0, (10,), (1,))
    lie = tensor(storage("0", "FloatStorage", count), 0, shape, strides)
    data = pickled({"a": lie, "b": honest} if first else {"a": honest, "b": lie})
    with pytest.raises(ValueError, match="its storage '0' has two descriptions that differ|should have .* bytes, and has 40"):
        load(tmp_path, archive(data, {"0": struct.pack("<10f", *range(10))}))
