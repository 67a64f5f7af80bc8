"""Storages, and tensors that are views of them, as a file of PyTorch's may claim them, rightly or not; and what is right."""

import itertools
import struct

from torch_files import archive, call, legacy, name, pickled, storage, tensor

FORMS = {"Float": "f", "Double": "d", "Long": "q", "Short": "h", "Byte": "B", "Char": "b"}
"""A class of storages → the letter that `struct` has for its numbers."""

DTYPES = {"float32": "f", "int64": "q", "int16": "h", "uint8": "B"}

LARGE = (2**31, 2**32, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 10**30)

MOST = 2**24
"""Bytes of tensors that a small file may announce."""


def draw(rng, old):
    """A file, and its tensors as (shape, list of numbers); or None in their place, where the file claims what is not there.

    Two of a thousand are in doubt, such as strides of 2⁶² along an axis of length 1: `...` stands in place of their tensors.
    """
    held = {}  # key → class of the storage, number of numbers, bytes
    for key in "012"[: rng.choice([1, 1, 2, 3])]:
        kind, count = rng.choice([*FORMS]), rng.choice([0, 1, 2, 6, 6, 12])
        numbers = [rng.randrange(100) for _ in range(count)]
        held[key] = kind, count, struct.pack(f"<{count}{FORMS[kind]}", *numbers)
    honest = rng.random() < 0.5
    claims = [claim(rng, held, old, honest) for _ in range(rng.choice([1, 1, 2, 3, 5]))]
    used = {claimed["key"]: held[claimed["key"]] for claimed in claims if claimed["key"] in held}
    data = pickled([written(claimed, old) for claimed in claims])
    if old:
        content = legacy(data, {key: (count, numbers) for key, (_, count, numbers) in used.items()})
    else:
        content = archive(data, {key: numbers for key, (_, _, numbers) in held.items()}, byteorder=b"little")
    return content, right(claims, held, old)


def claim(rng, held, old, honest):
    """What the pickle says of one tensor."""
    lie = lambda truth, others: truth if honest or rng.random() < 0.9 else rng.choice(others)  # noqa: E731
    key = rng.choice([*held])
    kind, count, _ = held[key]
    claimed = {"key": lie(key, ["9", "", "0"]), "kind": lie(kind, [*FORMS]), "dtype": None, "part": None}
    claimed["count"] = lie(count, [0, count + 1, count * 2, 1000, *LARGE, -1])
    if kind == "Byte" and rng.random() < 0.5:  # as the newer dtypes are written
        claimed["dtype"] = rng.choice([*DTYPES])
    room = count if claimed["dtype"] is None else count // struct.calcsize(DTYPES[claimed["dtype"]])
    if old and rng.random() < 0.3 and claimed["dtype"] is None:
        start = rng.randrange(count + 1)
        claimed["part"] = (
            f"{key}-{start}",
            lie(start, [start + 1, -1, *LARGE]),
            lie(count - start, [count, count + 1, -1, *LARGE]),
        )
        room = count - start
    claimed |= view(rng, room, honest)
    return claimed


def view(rng, room, honest):
    """An offset, a shape and strides. Those of an honest one stay within `room` numbers."""
    axes = rng.choice([0, 1, 1, 2, 2, 3, 4])
    few = lambda choices: rng.choice(choices) if honest or rng.random() < 0.97 else rng.choice([-1, -3, *LARGE])  # noqa: E731
    shape = [few([0, 1, 1, 2, 3, 4, 6]) for _ in range(axes)]
    strides = [few([0, 0, 1, 1, 2, 3, 6]) for _ in range(axes)]
    offset = few([0, 0, 0, 1, 2, 5])
    while honest and 0 not in shape and offset + sum((n - 1) * s for n, s in zip(shape, strides)) >= room:
        if offset:
            offset -= 1
        elif any(n > 1 for n in shape):
            shape[max((i for i in range(axes) if shape[i] > 1), key=lambda i: (shape[i] - 1) * strides[i])] = 1
        else:
            shape, strides = [*shape, 0], [*strides, 1]
    return {"offset": offset, "shape": shape, "strides": strides}


def written(claimed, old):
    """A claim as a piece of a pickle."""
    more = [claimed["part"]] if old else []
    place = claimed["offset"], claimed["shape"], claimed["strides"]
    if claimed["dtype"] is None:
        return tensor(storage(claimed["key"], claimed["kind"] + "Storage", claimed["count"], *more), *place)
    stored = storage(claimed["key"], "ByteStorage", claimed["count"], *more)
    dtype, shape, strides = name("torch", claimed["dtype"]), tuple(place[1]), tuple(place[2])
    return call("torch._utils", "_rebuild_tensor_v3", stored, place[0], shape, strides, False, None, dtype)


def right(claims, held, old):
    """The tensors that the claims are about, number by number; None if one of them is a lie, ... if it may be refused."""
    described, found, doubt, total = {}, [], False, 0
    for claimed in claims:
        key = claimed["key"]
        kind = "Byte" if claimed["dtype"] else claimed["kind"]
        if key not in held or described.setdefault(key, (kind, claimed["count"])) != (kind, claimed["count"]):
            return None
        width, bytes_held = struct.calcsize(FORMS[kind]), held[key][2]
        if claimed["count"] * width != len(bytes_held) or old and kind != held[key][0] and claimed["count"] != held[key][1]:
            return None
        start, length = (0, claimed["count"]) if claimed["part"] is None else claimed["part"][1:]
        offset, shape, strides = claimed["offset"], claimed["shape"], claimed["strides"]
        sizes = [start, length, offset, *shape, *strides]
        if min(sizes) < 0 or max(sizes) >= 2**63 or start + length > claimed["count"]:
            return None
        letter = FORMS[kind] if claimed["dtype"] is None else DTYPES[claimed["dtype"]]
        item, numbers = struct.calcsize(letter), 1
        for n in shape:
            numbers *= n
        begin, end = start * width, (start + length) * width
        if numbers and begin + (offset + sum((n - 1) * s for n, s in zip(shape, strides)) + 1) * item > end:
            return None
        total += numbers * item
        if total > MOST - 1000 * len(claims):
            return None
        doubt |= max([0, *strides, *shape]) >= 2**28
        if not doubt:
            indices = itertools.product(*map(range, shape))
            places = [offset + sum(i * s for i, s in zip(index, strides)) for index in indices]
            found.append((tuple(shape), [struct.unpack_from(f"<{letter}", bytes_held, begin + at * item)[0] for at in places]))
    return ... if doubt else found
