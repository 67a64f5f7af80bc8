"""oneDNN's C library through ctypes: as much of it as convolutions need.

oneDNN (github.com/uxlfoundation/oneDNN, Apache 2.0) compiles each convolution for this CPU and these shapes, and has a memory
layout of its own for it: usually blocks of 16 channels, side by side for each pixel. So there is a `Primitive` for each
convolution, and others ("reorders") that copy elements from one layout into another.

A primitive may be run by several threads at once, for what a run writes belongs to its caller: the memory objects and the
scratchpad are an `Execution`'s (oneDNN's documentation, "Primitives", sections "Thread safety" and "Scratchpad").
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Address = ctypes.c_void_p

# Constants of the C interface: dnnl_types.h and dnnl_common_types.h, the same in all of version 3.
MAJOR = 3
SEQUENTIAL, OPENMP = 1, 2
CPU, IN_ORDER, FLOAT32, ANY_LAYOUT, USER_SCRATCHPAD, DIRECT, TRAINING = 1, 1, 3, 1, 1, 1, 64
IMPLEMENTATION, LAYOUT_OF = 8, 255
FROM, TO, SCRATCHPAD = 1, 17, 80

Sizes = ctypes.c_int64 * 12
"""An array has at most this many axes."""


class _Version(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("major", "minor", "patch")),
        ("hash", ctypes.c_char_p),
        *((name, ctypes.c_uint) for name in ("cpu_runtime", "gpu_runtime")),
    ]


class _Argument(ctypes.Structure):
    _fields_ = [("index", ctypes.c_int), ("memory", Address)]


class Failure(Exception):
    """The library returned an error."""


class Object:
    """An object of the library; it is destroyed with the last reference to it."""

    def __init__(self, value: Address, destroy: Any) -> None:
        self._as_parameter_, self._destroy = value, destroy

    def __del__(self) -> None:
        self._destroy(self._as_parameter_)


class Library:
    """The library in this file.

    Raises:
        OSError: it cannot be loaded, or is another library, another version, or one whose threads cannot be turned off.
    """

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        try:
            self.c.dnnl_version.restype = ctypes.POINTER(_Version)
            version = self.c.dnnl_version().contents
        except AttributeError:
            raise OSError(f"{path} is not oneDNN: it has no function dnnl_version") from None
        self.version = f"{version.major}.{version.minor}.{version.patch}"
        if version.major != MAJOR:
            raise OSError(f"{path} is oneDNN {self.version}, and version {MAJOR} is needed")
        if version.cpu_runtime not in (SEQUENTIAL, OPENMP):
            raise OSError(f"{path} is oneDNN with threads that cannot be turned off: it must be built for OpenMP, or for none")
        # PyDLL keeps the GIL during a call: for short calls, releasing it takes longer than the call. OpenMP's functions are
        # found by this library's handle, since the library links to OpenMP.
        at_once = ctypes.PyDLL(str(path))
        self.openmp = (at_once.omp_get_max_threads, at_once.omp_set_num_threads) if version.cpu_runtime == OPENMP else None
        self.set_address = at_once.dnnl_memory_set_data_handle
        self.set_address.argtypes = [Address, Address]
        self.c.dnnl_primitive_desc_query_md.restype = Address
        self.c.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        self.c.dnnl_memory_desc_get_size.argtypes = [Address]
        self.c.dnnl_primitive_execute.argtypes = [Address, Address, ctypes.c_int, Address]
        self.engine = Address()  # never destroyed: at the end of the process, other objects may still refer to it
        self.call("engine_create", ctypes.byref(self.engine), CPU, ctypes.c_size_t(0))
        self.attributes = self.make("primitive_attr", "primitive_attr_create")
        self.call("primitive_attr_set_scratchpad_mode", self.attributes, USER_SCRATCHPAD)

    def call(self, name: str, *arguments: Any) -> None:
        """dnnl_<name>(arguments).

        Raises:
            Failure: it returns an error.
        """
        status = self.c[f"dnnl_{name}"](*arguments)
        if status:
            raise Failure(f"oneDNN {self.version}: dnnl_{name} answers with status {status}")

    def make(self, kind: str, name: str, *arguments: Any) -> Object:
        """The new object that dnnl_<name> makes."""
        value = Address()
        self.call(name, ctypes.byref(value), *arguments)
        return Object(value, self.c[f"dnnl_{kind}_destroy"])

    def stream(self) -> Object:
        """A stream: a thread needs one of its own to run primitives."""
        return self.make("stream", "stream_create", self.engine, IN_ORDER)

    def layout(self, shape: Sequence[int], strides: Sequence[int] | None = None) -> Object:
        """A layout of float32, by strides in elements; None: the one that the primitive made from this prefers."""
        count, sizes = len(shape), Sizes(*shape)
        if strides is None:
            return self.make("memory_desc", "memory_desc_create_with_tag", count, sizes, FLOAT32, ANY_LAYOUT)
        return self.make("memory_desc", "memory_desc_create_with_strides", count, sizes, FLOAT32, Sizes(*strides))

    def size(self, layout: Any) -> int:
        """Bytes of an array in this layout, with its padding."""
        return int(self.c.dnnl_memory_desc_get_size(layout))

    def reorder(self, before: Any, after: Any) -> Primitive:
        """The primitive that copies elements from one layout into another: arguments FROM and TO."""
        made = self.make(
            "primitive_desc", "reorder_primitive_desc_create", before, self.engine, after, self.engine, self.attributes
        )
        return Primitive(self, made, (FROM, TO))

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Inside, primitives are made and run by this thread alone, without OpenMP's threads: those do not survive a fork."""
        if self.openmp is None:
            yield
            return
        get, set_ = self.openmp
        before = get()
        set_(1)
        try:
            yield
        finally:
            set_(before)


class Primitive:
    """Code compiled from the description of an operation.

    Args:
        arguments: the indices of what it reads and writes, in the order in which an `Execution` takes their addresses.
    """

    def __init__(self, library: Library, description: Object, arguments: Sequence[int]) -> None:
        self.library, self.description, self.arguments = library, description, (*arguments, SCRATCHPAD)
        self.layouts = [self._layout(index) for index in self.arguments]
        self.sizes = [library.size(layout) for layout in self.layouts]
        """Bytes of each argument, and of the scratchpad, which is the last."""
        self.object = library.make("primitive", "primitive_create", description)

    def _layout(self, argument: int) -> Address:
        return Address(self.library.c.dnnl_primitive_desc_query_md(self.description, LAYOUT_OF, argument))

    @property
    def implementation(self) -> str:
        """The library's name for the code that it chose."""
        name = ctypes.c_char_p()
        self.library.call("primitive_desc_query", self.description, IMPLEMENTATION, 0, ctypes.byref(name))
        return (name.value or b"").decode()


class Execution:
    """The memory objects for runs of a primitive; not for two threads at once."""

    def __init__(self, primitive: Primitive) -> None:
        library = self.library = primitive.library
        self.primitive, self.count = primitive, len(primitive.arguments)
        self.memories = [
            library.make("memory", "memory_create", layout, library.engine, Address()) for layout in primitive.layouts
        ]
        pairs = zip(primitive.arguments, self.memories)
        self.arguments = (_Argument * self.count)(*(_Argument(index, memory._as_parameter_) for index, memory in pairs))

    def run(self, stream: Object, addresses: Sequence[int]) -> None:
        """Run it on arrays at these addresses: those of its arguments, then of the scratchpad."""
        set_address = self.library.set_address
        for memory, address in zip(self.memories, addresses):
            set_address(memory, address)
        status = self.library.c.dnnl_primitive_execute(self.primitive.object, stream, self.count, self.arguments)
        if status:
            raise RuntimeError(f"oneDNN {self.library.version}: a convolution failed with status {status}")
