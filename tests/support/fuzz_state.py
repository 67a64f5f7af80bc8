"""Damage files of tensors in thousands of ways, load each, and report what happened. `test_fuzz_state` runs this as a process
of its own, so that limits can be set: whatever is loaded, no code may run, and neither memory nor time be out of proportion.

    python fuzz_state.py FORMAT SEED COUNT FOLDER
"""

import collections
import io
import itertools
import json
import pickletools
import random
import re
import struct
import sys
import time
import tracemalloc
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch_files import Raw, archive, call, legacy, name, pickled, piece, storage, tensor
from torch_views import draw

import microtensor as mt
from microtensor.io import state
from microtensor.io.placeholder import Placeholder

MEMORY = 2**26
"""Bytes that a file of a few KiB may take while it is loaded: twice what it may announce, as bytes and as tensors, and copies."""

SECONDS = 5.0
"""Of one core, for one file."""

VIEWS = ("views", "legacy views")
"""Kinds of files of which it is known what is right: see torch_views.py."""

FORBIDDEN = ("exec", "compile", "os.", "subprocess.", "pickle.", "ctypes.", "socket.", "shutil.", "import", "marshal.", "code.")
"""Audit events (Python's Library Reference, "Audit events table") of which none may occur while a file is loaded."""

POWERS = (0, 1, 2, 3, 6, 7, 8, 15, 16, 24, 31, 32, 40, 53, 61, 62, 63, 64)

INTERESTING = [*(2**n + d for n in POWERS for d in (-1, 0, 1)), 10**30]
"""Numbers at which things go wrong."""

ARRAYS = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc.bias": np.array([0.5, -0.0]),
    "mask": np.array([True, False]),
    "count": np.array(3),
    "empty": np.zeros((0, 2), np.float16),
}
TREE = {
    "model": ARRAYS,
    "optimizer": {"state": {0: {"step": 3, "m": np.ones(2)}}, "betas": (0.9, 0.999)},
    "others": [2**127, -0.5, float("nan"), "ключ", None, [[{"a": (1, True)}]]],
}


def samples(kind, folder):
    """A few good files of a format."""
    if kind == "npz":
        np.savez_compressed(folder / "squeezed.npz", **ARRAYS)
        np.savez(folder / "theirs.npz", w=np.asfortranarray(np.ones((2, 3))), v=np.ones(2, ">i4"))
        state.save(folder / "ours.npz", ARRAYS)
        return [(folder / f"{name}.npz").read_bytes() for name in ("squeezed", "theirs", "ours")]
    if kind == "tree":
        state.save(folder / "tree.npz", TREE)
        return [(folder / "tree.npz").read_bytes()]
    if kind == "safetensors":
        state.save(folder / "ours.safetensors", ARRAYS)
        half = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
        return [(folder / "ours.safetensors").read_bytes(), with_header(json.dumps(half).encode(), b"1234")]
    return [pytorch(data, storages, kind == "legacy") for data, storages in pickles(kind == "legacy")]


def pickles(old):
    """Pickles of PyTorch's, and the storages that they speak of: key → how many numbers, and their bytes."""
    more = [None] if old else []
    floats, longs = storage("0", "FloatStorage", 6, *more), storage("1", "LongStorage", 1, *more)
    half, raw = storage("2", "BFloat16Storage", 2, *more), storage("3", "UntypedStorage", 4, *more)
    raw = Raw(raw.replace(b"ctorch\n", b"ctorch.storage\n"))
    ordered = call("collections", "OrderedDict")
    weights = {
        "fc.weight": Raw(tensor(floats, 0, (2, 3), (3, 1)) + b"q\1"),
        "fc.bias": call("torch._utils", "_rebuild_parameter", tensor(floats, 1, (2,), (2,)), True, ordered),
        "tied": Raw(b"h\1"),
        "t": tensor(floats, 0, (3, 2), (1, 3)),
    }
    metadata = piece({"_metadata": Raw(ordered + b"(" + piece("") + piece({"version": 1}) + b"u")})
    state_dict = Raw(ordered + piece(weights)[1:] + metadata + b"b")
    double = call("numpy", "dtype", "f8", False, True) + piece((3, "<", None, None, None, -1, -1, 0)) + b"b"
    array = piece((1, (2, 1), Raw(b"h\2"), False, Raw(b"C\x10" + bytes(16))))
    checkpoint = {
        "state_dict": state_dict,
        "long": tensor(longs, 0, (), ()),
        "half": tensor(half, 0, (2,), (1,)),
        "raw": call("torch._utils", "_rebuild_tensor_v3", raw, 0, (2,), (1,), False, ordered, name("torch", "uint16")),
        "words": [call("torch", "Size", (2, 3)), call("torch", "device", "cuda", 1), name("torch", "float32")],
        "sets": [call("__builtin__", "set", [1, "a"]), call("collections", "Counter", {2: 1})],
        "numbers": [3, 0.5, 2**80, None, (True,)],
        "numpy": [
            Raw(call("numpy.core.multiarray", "scalar", Raw(double + b"q\2"), Raw(b"C\x08" + bytes(8)))),
            Raw(call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), (0,), Raw(b"C\1b")) + array + b"b"),
            call("numpy._core.numeric", "_frombuffer", Raw(b"\x96\x10\0\0\0\0\0\0\0" + bytes(16)), Raw(b"h\2"), (1, 2), "F"),
        ],
        "bytes": [Raw(b"C\2ab"), call("_codecs", "encode", "é", "latin1"), Raw(b"\x8f(K\1\x90"), Raw(b"(K\1\x91")],
        "args": Raw(name("argparse", "Namespace") + b")\x81" + piece({"lr": 0.1}) + b"b"),
        "keys": {(1, "a"): 2, Raw(name("__main__", "Colour") + b"K\1\x85R"): 3},
    }
    floats = {"0": (6, struct.pack("<6f", *range(6)))}
    others = {"1": (1, bytes(8)), "2": (2, b"1234"), "3": (4, b"1234")}
    return [(pickled(checkpoint), floats | others), (pickled(state_dict), floats)]


def pytorch(data, storages, old):
    if old:
        return legacy(data, storages)
    return archive(data, {key: content for key, (_, content) in storages.items()}, byteorder=b"little")


def with_header(header, numbers):
    return struct.pack("<Q", len(header)) + header + numbers


# Ways to do damage


def bent(rng, content, others):
    """`content`, bytes of any kind, with one to four changes."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(content) + 1)
        length = rng.choice([1, 2, 4, 8, 30, 200])
        other = rng.choice(others)
        begin = rng.randrange(len(other) + 1)
        how = rng.randrange(8)
        if how == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif how == 1:
            content[at : at + length] = rng.randbytes(length)
        elif how == 2:
            width = rng.choice([1, 2, 4, 8])
            content[at : at + width] = (rng.choice(INTERESTING) % 256**width).to_bytes(width, rng.choice(["little", "big"]))
        elif how == 3:
            del content[at : at + length]
        elif how == 4:
            content[at:at] = content[at : at + length] * rng.choice([1, 2, 50])
        elif how == 5:
            del content[at:]
        elif how == 6:
            content[at:] = other[begin:]
        else:
            content[at:at] = other[begin : begin + length]
    return bytes(content)


def renumbered(rng, text):
    """A text with some of its numbers, words or brackets exchanged for others."""
    parts = re.split(rb'(-?\d+(?:\.\d+)?|"[^"]*"|[\[\]{}:,()])', text)
    for _ in range(rng.choice([1, 1, 2, 4])):
        numbers = [i for i, part in enumerate(parts) if part[-1:].isdigit()]
        at = rng.choice(numbers) if numbers and rng.random() < 0.7 else rng.randrange(len(parts))
        number = str(rng.choice([-1, 1, 1, 1]) * rng.choice(INTERESTING)).encode()
        tags = [f'"{tag}"'.encode() for tag in ("$tensor", "$tuple", "$dict", "$int", "$float", "F64", "BF16")]
        tags += [b"null", b"[" * 99, b"1e999", b"NaN"]
        parts[at] = rng.choice([number, number, rng.choice(parts), rng.choice(tags), b"", parts[at] * 2])
    return b"".join(parts)


def reordered(rng, data):
    """A pickle with some of its instructions exchanged for others, left out or repeated."""
    ends = [position for _, _, position in pickletools.genops(data)] + [len(data)]
    ops = [data[a:b] for a, b in itertools.pairwise(ends)]
    fresh = [bytes([instruction]) for instruction in b"()]}N\x88RbQteusa\x85\x86\x8702\x81\x93o\x94\x8f\x90\x91\x921"]
    fresh += [name("builtins", "set"), name("collections", "deque"), name("argparse", "Namespace"), name("_codecs", "encode")]
    fresh += [name("os", "system"), name("torch", "FloatStorage"), name("torch.nn", "Linear")]
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        at = rng.randrange(1, len(ops))
        number = rng.choice(INTERESTING) * rng.choice([1, 1, -1])
        get = rng.choice([b"h", b"q"]) + bytes([rng.randrange(4)]), b"r" + struct.pack("<I", rng.choice([0, 2**31, 2**32 - 1]))
        piece_ = rng.choice([piece(number), piece(number), rng.choice(ops), rng.choice(ops), rng.choice(fresh), *get])
        ops[at : at + rng.choice([0, 1, 1, 3])] = [piece_] * rng.choice([0, 1, 1, 1, 2])
    return b"".join(ops)


def strange(rng, old):
    """A pickle of tensors that are any views of a storage of six numbers, and mostly none."""

    def view():
        axes = rng.choice([0, 1, 1, 2, 2, 3, 64, 65])
        number = lambda few: rng.choice(few) if rng.random() < 0.8 else rng.choice(INTERESTING) * rng.choice([1, 1, -1])  # noqa: E731
        shape, strides = [number([0, 1, 1, 2, 3, 6, 7]) for _ in range(axes)], [number([0, 0, 1, 1, 2, 3]) for _ in range(axes)]
        return tensor(storage("0", "FloatStorage", 6, *[None] * old), number([0, 0, 1, 5, 6]), shape, strides)

    return pickled([view() for _ in range(rng.choice([1, 1, 3]))])


def rezipped(rng, content, change):
    """A zip archive with one member changed, or its members, and all its checksums right."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = [(member.orig_filename, file.read(member)) for member in file.infolist()]
    structures = [i for i, (path, _) in enumerate(members) if path.endswith((".json", "data.pkl"))]
    at = rng.choice(structures) if structures and rng.random() < 0.6 else rng.randrange(len(members))
    path, data = members[at]
    how = rng.randrange(20)
    if how == 0:
        del members[at]
    elif how == 1:
        members.insert(
            rng.randrange(len(members)), (rng.choice([path, f"../{path}", "x.npy", "tree.json", "a/data.pkl"]), data)
        )
    else:
        members[at] = (path, change(path, data))
    buffer = io.BytesIO()
    compression = rng.choice([zipfile.ZIP_STORED] * 12 + [zipfile.ZIP_DEFLATED] * 6 + [zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for path, data in members:
            member = zipfile.ZipInfo()
            member.filename = path
            file.writestr(member, data, compression)
    return buffer.getvalue()


def mutated(rng, kind, goods):
    good = rng.choice(goods)
    if rng.random() < 0.4:
        return bent(rng, good, goods)
    if kind == "safetensors":
        length = struct.unpack("<Q", good[:8])[0]
        header = renumbered(rng, good[8 : 8 + length]) if rng.random() < 0.8 else bent(rng, good[8 : 8 + length], goods)
        return with_header(header, good[8 + length :])
    if kind in ("pth", "legacy") and rng.random() < 0.8:
        old = kind == "legacy"
        data, storages = rng.choice(pickles(old))
        how = rng.randrange(4)
        if how == 0:
            return pytorch(strange(rng, old), {"0": storages["0"]}, old)
        return pytorch(bent(rng, data, goods) if how == 1 else reordered(rng, data), storages, old)

    def change(path, data):
        if path.endswith("data.pkl") and rng.random() < 0.7:
            return reordered(rng, data)
        if path.endswith(".json") and rng.random() < 0.7:
            return renumbered(rng, data)
        if path.endswith(".npy") and rng.random() < 0.7:
            header, end, numbers = data[10:].partition(b"\n")
            header = renumbered(rng, header)
            return data[:8] + struct.pack("<H", len(header) + 1) + header + end + numbers
        return bent(rng, data, goods)

    return bent(rng, good, goods) if kind == "legacy" else rezipped(rng, good, change)


# Load, and look


def check(tree, depth=0):
    """How many bytes of tensors are in what was loaded. It must be a tree, and end."""
    if isinstance(tree, mt.Tensor):
        assert isinstance(tree.numpy().sum(dtype=np.float64 if tree.dtype.kind == "f" else None).item(), (int, float))
        return tree.data.nbytes
    assert depth < 100
    if isinstance(tree, dict):
        assert all(isinstance(key, (str, int, float, bytes, tuple, type(None), Placeholder)) for key in tree)
        return sum(check(value, depth + 1) for value in tree.values())
    if isinstance(tree, (list, tuple, set, frozenset)):
        return sum(check(value, depth + 1) for value in tree)
    assert tree is None or isinstance(tree, (bool, int, float, str, bytes, Placeholder)), type(tree)
    return 0


def same(found, right):
    """Whether tensors are those of `torch_views.draw`."""
    return right is ... or right is not None and [(x.shape, x.numpy().ravel().tolist()) for x in found] == right


def fuzz(kind, seed, count, folder):
    """Load `count` damaged files. Prints how many were loaded, and how often each kind of message came."""
    rng = random.Random(f"{kind} {seed}")
    path = folder / {"tree": "x.npz", "npz": "x.npz", "safetensors": "x.safetensors"}.get(kind, "x.pth")
    if kind in VIEWS:
        goods, rights = [], {}
        for _ in range(count):
            content, right = draw(rng, kind == "legacy views")
            rights[len(goods)] = right
            goods.append(content)
        files = goods
    else:
        goods = samples(kind, folder)
        files, rights = [*goods, *(mutated(rng, kind, goods) for _ in range(count))], {}
    loaded, messages, events, watching = 0, collections.Counter(), [], False

    def audit(event, args):
        if watching and event.startswith(FORBIDDEN):
            events.append((event, str(args)[:100]))

    for content in files[:50]:  # what is imported when first used
        path.write_bytes(content)
        with suppress(ValueError):
            state.load(path)
    sys.addaudithook(audit)
    np.seterr(all="ignore")
    tracemalloc.start()
    for number, content in enumerate(files):
        path.write_bytes(content)
        tracemalloc.reset_peak()
        before, begin, refusal = tracemalloc.get_traced_memory()[0], time.process_time(), None
        watching = True
        try:
            found = state.load(path)
        except (ValueError, OSError) as error:
            refusal = str(error)
        watching = False
        if refusal is None:
            loaded += 1
            assert check(found) <= max(2**24, 100 * len(content))
            assert number not in rights or same(found, rights[number]), f"{found} of {content!r}"
            del found
        else:
            good = number < len(goods) if number not in rights else rights[number] not in (None, ...)
            assert not good, f"a good file is refused: {refusal}: {content!r}"
            messages[re.sub(r"['\"].*['\"]|[\d,]+", "…", refusal.partition("damaged: ")[2][:60])] += 1
        taken, seconds = tracemalloc.get_traced_memory()[1] - before, time.process_time() - begin
        assert taken < MEMORY + 300 * len(content), f"{taken} bytes for a file of {len(content)}: {content[:3000]!r}"
        assert seconds < SECONDS, f"{seconds} seconds for a file of {len(content)}: {content[:3000]!r}"
        assert not events, f"{events}: {content[:3000]!r}"
    print(json.dumps({"loaded": loaded, "refused": sum(messages.values()), "messages": dict(messages.most_common())}))


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
