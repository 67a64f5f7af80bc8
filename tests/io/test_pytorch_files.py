import struct
import sys
import zipfile

import numpy as np
import pytest
from torch_files import Raw, archive, call, legacy, name, pickled, storage, tensor
from trees import assert_same

import microtensor as mt
from microtensor.io import state

FOUR = struct.pack("<4f", 1, 2, 3, 4)
BOTH = pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])


def content(tree, old, kind="FloatStorage", count=4, numbers=FOUR):
    """A file with one storage, "0", which `tree` is given, and may use."""
    stored = storage("0", kind, count, *([None] if old else []))
    data = pickled(tree(stored))
    return legacy(data, {"0": (count, numbers)}) if old else archive(data, {"0": numbers})


def load(tmp_path, written):
    (tmp_path / "x.pth").write_bytes(written)
    return state.load(tmp_path / "x.pth")


# Without PyTorch


@BOTH
def test_a_tree(tmp_path, old):
    whole = {"a": [1, -2, 2**70, 2.5, -0.0, None, True, "é"], 3: (), "w": ((1,),)}
    found = load(tmp_path, content(lambda s: {**whole, "t": tensor(s, 1, (3,), (1,))}, old))
    assert_same(found, {**whole, "t": np.array([2, 3, 4], np.float32)})


@BOTH
@pytest.mark.parametrize(
    ("offset", "shape", "strides", "expected"),
    [
        (0, (4,), (1,), [1, 2, 3, 4]),
        (0, (2, 2), (2, 1), [[1, 2], [3, 4]]),
        (0, (2, 2), (1, 2), [[1, 3], [2, 4]]),
        (1, (2,), (2,), [2, 4]),
        (3, (), (), 4),
        (3, (2, 1), (0, 9), [[4], [4]]),
        (0, (2, 3), (1, 1), [[1, 2, 3], [2, 3, 4]]),
        (99, (0, 2), (1, 1), np.zeros((0, 2))),
    ],
)
def test_views(tmp_path, old, offset, shape, strides, expected):
    found = load(tmp_path, content(lambda s: tensor(s, offset, shape, strides), old))
    assert_same(found, np.array(expected, np.float32))
    assert found.numpy().flags.c_contiguous
    assert found.numpy().flags.writeable


@BOTH
def test_tensors_that_shared_memory_have_their_own(tmp_path, old):
    found = load(tmp_path, content(lambda s: [tensor(s, 0, (4,), (1,)), tensor(s, 0, (2, 2), (2, 1))], old))
    found[0][...] = 0
    assert found[1].tolist() == [[1, 2], [3, 4]]


@BOTH
def test_one_tensor_in_two_places_is_one(tmp_path, old):
    a, b = load(tmp_path, content(lambda s: [Raw(tensor(s, 0, (4,), (1,)) + b"q\0"), Raw(b"h\0")], old))
    assert a is b


@BOTH
@pytest.mark.parametrize(
    ("kind", "numbers", "expected"),
    [
        ("DoubleStorage", struct.pack("<2d", 1, -2), np.array([1.0, -2])),
        ("FloatStorage", struct.pack("<2f", 1, -2), np.array([1, -2], np.float32)),
        ("HalfStorage", struct.pack("<2e", 1, -2), np.array([1, -2], np.float16)),
        ("BFloat16Storage", b"\x80\x3f\x00\xc0", np.array([1, -2], np.float32)),
        ("LongStorage", struct.pack("<2q", 1, -2), np.array([1, -2])),
        ("IntStorage", struct.pack("<2i", 1, -2), np.array([1, -2], np.int32)),
        ("ShortStorage", struct.pack("<2h", 1, -2), np.array([1, -2], np.int16)),
        ("CharStorage", b"\x01\xfe", np.array([1, -2], np.int8)),
        ("ByteStorage", b"\x01\xfe", np.array([1, 254], np.uint8)),
        ("BoolStorage", b"\x07\x00", np.array([True, False])),
    ],
)
def test_dtypes(tmp_path, old, kind, numbers, expected):
    found = load(tmp_path, content(lambda s: tensor(s, 0, (2,), (1,)), old, kind, 2, numbers))
    assert_same(found, expected)


def test_big_endian_archives(tmp_path):
    data = pickled(tensor(storage("0", "FloatStorage", 4), 0, (4,), (1,)))
    written = archive(data, {"0": struct.pack(">4f", 1, 2, 3, 4)}, byteorder=b"big")
    assert_same(load(tmp_path, written), np.array([1, 2, 3, 4], np.float32))
    with pytest.raises(ValueError, match="byte order is neither little nor big"):
        load(tmp_path, archive(data, {"0": FOUR}, byteorder=b"middle"))


def test_a_view_of_a_storage_in_the_old_format(tmp_path):
    stored = storage("0", "FloatStorage", 4, ("1", 1, 2))
    assert load(tmp_path, legacy(pickled(tensor(stored, 1, (1,), (1,))), {"0": (4, FOUR)})).tolist() == [3]
    for part in (("1", 3, 2), ("1", 3, -1), ("1", -1, 2), ("1", 1), "part", 1, ("1", None, 1)):
        stored = storage("0", "FloatStorage", 4, part)
        with pytest.raises(ValueError, match="damaged"):
            load(tmp_path, legacy(pickled(tensor(stored, 0, (1,), (1,))), {"0": (4, FOUR)}))


def test_what_python_2_wrote(tmp_path):
    pairs = [[Raw(b"U\x01a"), 1], [Raw(b"T\x02\0\0\0\xc3\xa9"), 2]]
    assert load(tmp_path, archive(pickled(call("collections", "OrderedDict", pairs)), {})) == {"a": 1, "é": 2}


# Shapes, strides and storages that lie


@BOTH
@pytest.mark.parametrize(
    ("offset", "shape", "strides", "message"),
    [
        (1, (4,), (1,), r"a tensor of shape \(4,\) reaches beyond its storage of 16 bytes"),
        (0, (2, 2), (3, 1), "reaches beyond its storage"),
        (4, (), (), "reaches beyond its storage"),
        (0, (2**62, 2**62), (2**62, 1), "more memory than a file of its size may"),
        (-1, (4,), (1,), "not an integer of 63 bits"),
        (0, (-4,), (1,), "not an integer of 63 bits"),
        (3, (4,), (-1,), "not an integer of 63 bits"),
        (0, (2**63,), (0,), "not an integer of 63 bits"),
        (0, (True,), (1,), "not an integer of 63 bits"),
        (0, (1.0,), (1,), "not an integer of 63 bits"),
        (0, (4,), (), "1 axes and 0 strides"),
        (0, (1,) * 65, (1,) * 65, "65 axes and 65 strides"),
        (0, (2**62,), (0,), "more memory than a file of its size may"),
        (0, (2**12, 2**12), (0, 0), r"more memory than a file of its size may; one has the shape \(4096, 4096\)"),
        (0, (0, 2**62, 2**62), (0, 0, 0), "damaged"),
        (0, (1,), (2**62,), "damaged"),
    ],
)
def test_views_that_lie(tmp_path, old, offset, shape, strides, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, content(lambda s: tensor(s, offset, shape, strides), old))


@BOTH
def test_many_copies_of_one_storage_are_refused(tmp_path, old):
    numbers = bytes(2**20)

    def tree(stored):
        again = Raw(b"h\0")  # the storage once, then from the memo
        return [tensor(Raw(stored + b"q\0"), 0, (2**20,), (1,)), *(tensor(again, 0, (2**20,), (1,)) for _ in range(150))]

    with pytest.raises(ValueError, match="more memory than a file of its size may"):
        load(tmp_path, content(tree, old, "ByteStorage", 2**20, numbers))


@pytest.mark.parametrize("count", [3, 5, 2**61])
def test_storages_of_another_size(tmp_path, count):
    data = pickled(tensor(storage("0", "FloatStorage", count), 0, (1,), (1,)))
    with pytest.raises(ValueError, match=rf"its storage '0' should have {4 * count:,} bytes, and has 16"):
        load(tmp_path, archive(data, {"0": FOUR}))
    with pytest.raises(ValueError, match=r"its storage '0' should have .* bytes, and has no bytes"):
        load(tmp_path, archive(data, {"1": FOUR}))
    data = pickled(tensor(storage("0", "FloatStorage", count, None), 0, (1,), (1,)))
    for said in (count, 4, 2**62, 2**64 - 1):
        with pytest.raises(ValueError, match=r"its storage '0' should have .* bytes, and has not|follow its last storage"):
            load(tmp_path, legacy(data, {"0": (said, FOUR)}))


@pytest.mark.parametrize("keys", [[], ["1"], ["0", "0"], ["0", "1"], 0, [0], [[]], "0"])
def test_lists_of_storages_that_do_not_fit(tmp_path, keys):
    data = pickled(tensor(storage("0", "FloatStorage", 4, None), 0, (1,), (1,)))
    written = legacy(data, {}).removesuffix(pickled([])) + pickled(keys) + struct.pack("<Q", 4) + FOUR
    with pytest.raises(ValueError, match="its list of storages does not match its tensors"):
        load(tmp_path, written)


def test_one_storage_described_in_two_ways(tmp_path):
    tree = [tensor(storage("0", kind, count, None), 0, (1,), (1,)) for kind, count in [("FloatStorage", 4), ("IntStorage", 4)]]
    with pytest.raises(ValueError, match="its storage '0' has two descriptions that differ"):
        load(tmp_path, legacy(pickled(tree), {"0": (4, FOUR)}))


@pytest.mark.parametrize(
    "description",
    [
        "storage",
        ("storage",),
        ("module", 1, 2, 3, 4),
        ("storage", "FloatStorage", "0", "cpu", 4),
        ("storage", name("torch", "FloatStorage"), 0, "cpu", 4),
        ("storage", name("torch", "FloatStorage"), "0", "cpu", -4),
        ("storage", name("torch", "FloatStorage"), "0", "cpu", None),
        ("storage", name("torch", "FloatStorage"), "0", "cpu", 4, None, None),
    ],
)
def test_storages_described_wrongly(tmp_path, description):
    data = pickled(Raw(pickled(description)[2:-1] + b"Q"))
    with pytest.raises(ValueError, match="its pickle|not an integer"):
        load(tmp_path, archive(data, {"0": FOUR}))


# What is not a file of tensors


def test_other_files(tmp_path):
    for written in (b"", b"\x80", b"PK", b"PK\x03\x04", b"\x89HDF", bytes(600)):
        with pytest.raises(ValueError, match=r"not a \.pth file of tensors, or is damaged"):
            load(tmp_path, written)
    with pytest.raises(ValueError, match="it is a pickle, but not from torch.save"):
        load(tmp_path, pickled({"w": [1.0]}))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("notes.txt", "")
    with pytest.raises(ValueError, match=r"not from torch.save: it has no data.pkl"):
        load(tmp_path, (tmp_path / "x.zip").read_bytes())
    with pytest.raises(ValueError, match="it is a TorchScript program"):
        load(tmp_path, archive(pickled(1), {}, **{"constants.pkl": pickled(())}))


def test_bytes_after_the_end_of_an_old_file(tmp_path):
    written = legacy(pickled(1), {})
    assert load(tmp_path, written) == 1
    with pytest.raises(ValueError, match="3 bytes follow its last storage"):
        load(tmp_path, written + b"123")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "archive/../../up"])
def test_names_of_members_lead_nowhere(tmp_path, path):
    written = archive(pickled(tensor(storage(path, "FloatStorage", 4), 0, (4,), (1,))), {path: FOUR})
    assert load(tmp_path, written).tolist() == [1, 2, 3, 4]
    assert [found.name for found in tmp_path.iterdir()] == ["x.pth"]


def test_compressed_pickles_are_as_small_as_the_file(tmp_path):
    data = pickled([Raw(b"]" * 2**20)])
    with pytest.raises(ValueError, match="'archive/data.pkl' declares 1,048,5.* bytes, more than the file has"):
        load(tmp_path, archive(data, {}, zipfile.ZIP_DEFLATED))
    found = load(tmp_path, archive(pickled({"a": [1] * 1000}), {}, zipfile.ZIP_DEFLATED))
    assert found == {"a": [1] * 1000}


# With PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def saved(torch, tmp_path, tree, old=False):
    torch.save(tree, tmp_path / "theirs.pt", _use_new_zipfile_serialization=not old)
    return state.load(tmp_path / "theirs.pt")


def as_arrays(tree):
    """A tree of PyTorch's as it should come back."""
    if hasattr(tree, "detach"):
        tensor = tree.detach()
        return (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).contiguous().numpy()
    if isinstance(tree, dict):
        return {key: as_arrays(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return (tuple if isinstance(tree, tuple) else list)(as_arrays(value) for value in tree)
    return tree


@BOTH
def test_what_pytorch_writes(torch, tmp_path, old):
    x = torch.arange(24.0).reshape(2, 3, 4)
    dtypes = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool uint16 uint32 uint64"
    tree = {
        "dtypes": {dtype: torch.tensor([[0, 1], [2, 3]]).to(getattr(torch, dtype)) for dtype in dtypes.split()},
        "views": [x.T if x.ndim == 2 else x.permute(2, 0, 1), x[1], x[:, 1:, ::2], x[0, 0, 0], x[:1].expand(3, 3, 4), x[:0], x],
        "parameter": torch.nn.Parameter(x.clone()),
        "numbers": [1, -1, 2**80, 0.1, -0.0, float("inf"), True, None, "ключ", x.shape],
        7: {"empty": {}, "none": (), "one": (1,), "two": (1, 2), "three": (1, 2, 3), "four": (1, 2, 3, 4)},
    }
    assert_same(saved(torch, tmp_path, tree, old), as_arrays(tree))
    assert saved(torch, tmp_path, [torch.float32, torch.device("cuda", 1), {1, "a"}], old) == ["float32", "cuda:1", {1, "a"}]


def network(nn):
    return nn.Sequential(
        nn.Conv2d(1, 4, kernel_size=3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3),
    )


@BOTH
def test_a_network_of_pytorchs_predicts_the_same_here(torch, tmp_path, old):
    from microtensor import nn

    theirs, ours = network(torch.nn), network(nn)
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(theirs.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        theirs(x).square().mean().backward()
        optimizer.step()
    theirs.eval()
    ours.load_state_dict(saved(torch, tmp_path, theirs.state_dict(), old))
    np.testing.assert_allclose(ours.eval()(mt.Tensor(x.numpy())).numpy(), theirs(x).detach().numpy(), rtol=1e-5, atol=1e-6)

    checkpoint = {"state_dict": theirs.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5}
    found = saved(torch, tmp_path, checkpoint, old)
    assert_same(found, as_arrays(checkpoint))
    ours.load_state_dict(found["state_dict"])
    nn.Adam(ours.parameters()).load_state_dict(found["optimizer"])


def test_schedules_of_pytorchs(torch, tmp_path):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    found = saved(torch, tmp_path, schedule.state_dict())
    assert found["milestones"] == {2: 1, 4: 1}
    assert found["base_lrs"] == [0.1]


@BOTH
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_what_is_not_read_is_said(torch, tmp_path, old):
    x = torch.ones(2)
    for value, message in [
        (torch.nn.Linear(1, 1), r"refers to torch.nn.modules.linear.Linear; .*: torch.save\(model.state_dict\(\), path\)"),
        (x.to(torch.complex64), "holds a tensor of complex64"),
        (x.to(torch.float8_e4m3fn), "holds a tensor of float8_e4m3fn"),
        (x.to_sparse(), r"save sparse tensors as x.to_dense\(\)"),
        (torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), r"save quantized tensors as x.dequantize\(\)"),
        (x.to("meta"), "on the device 'meta', which has no data"),
        (torch._neg_view(x), "conjugated or negated"),
        (x.untyped_storage(), "holds a Storage, which is not a tensor"),
        (np.array(["a"]), "it holds NumPy's U1, which tensors do not support"),
        (np.complex64(1j), "it holds NumPy's c8, which tensors do not support"),
        (np.ma.array([1.0]), r"refers to numpy.ma.*; .*torch.from_numpy\(x\)"),
        (x[:1].expand(10**9), "more memory than a file of its size may"),
    ]:
        with pytest.raises(ValueError, match=message):
            saved(torch, tmp_path, {"x": value}, old)


def test_no_pytorch_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert load(tmp_path, content(lambda s: tensor(s, 0, (4,), (1,)), False)).tolist() == [1, 2, 3, 4]
