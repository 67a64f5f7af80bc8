"""Files as `torch.save` writes them, made without PyTorch, and with anything in them: a pickle is put together piece by piece."""

import io
import pickle
import struct
import zipfile

LEGACY_BEGIN = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."


class Raw(bytes):
    """A piece of a pickle that stands as it is."""


def piece(value):
    """The instructions that make `value`: None, bool, int, float, str, list, tuple, dict, or a Raw in any of these."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, (list, tuple, dict)):
        items = [x for pair in value.items() for x in pair] if isinstance(value, dict) else value
        begin, end = {list: (b"](", b"e"), tuple: (b"(", b"t"), dict: (b"}(", b"u")}[type(value)]
        return Raw(begin + b"".join(piece(item) for item in items) + end)
    if isinstance(value, str):
        return Raw(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
    return Raw(pickle.dumps(value, protocol=2)[2:-1])


def name(module, function):
    return Raw(b"c" + module.encode() + b"\n" + function.encode() + b"\n")


def call(module, function, *arguments):
    return Raw(name(module, function) + piece(tuple(arguments)) + b"R")


def storage(key, kind, count, *more, location="cpu"):
    """What a pickle says of a storage. `more`: None in the old format."""
    return Raw(piece(("storage", name("torch", kind), key, location, count, *more)) + b"Q")


def tensor(stored, offset, shape, strides):
    ordered = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", stored, offset, tuple(shape), tuple(strides), False, ordered)


def pickled(value, protocol=2):
    return b"\x80" + bytes([protocol]) + piece(value) + b"."


def archive(data, storages, compression=zipfile.ZIP_STORED, root="archive", **more):
    """The content of a .pth file. `data`: the pickle; `storages`: key → bytes; `more`: other members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for path, content in {
            "data.pkl": data,
            **more,
            **{f"data/{key}": s for key, s in storages.items()},
            "version": b"3\n",
        }.items():
            file.writestr(zipfile.ZipInfo(f"{root}/{path}"), content, compression)
    return buffer.getvalue()


def legacy(data, storages):
    """The content of a .pth file of before 1.6. `storages`: key → (how many numbers, bytes)."""
    content = LEGACY_BEGIN + data + pickled(list(storages))
    return content + b"".join(struct.pack("<Q", count) + s for count, s in storages.values())
