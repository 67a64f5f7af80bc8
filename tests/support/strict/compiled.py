"""RawModule: a kernel's own source, compiled by g++ and run by the processor. See cuda_on_cpu.h.

It checks what CUDA takes on trust: that each argument has the size and kind that the kernel declares, and lies on the GPU; that
no thread ends while others of its block wait for it; that a grid is no larger than there can be. Memory that a block shares is
poisoned when it begins. Two environment variables have it look closer, and take longer:

    STRICT_ORDERS=1      every launch runs three times: blocks and threads in their order, backward, and shuffled. The results
                         must be the same bit for bit; where they are not, threads race.
    STRICT_SANITIZE=1    kernels are compiled for the sanitizers of addresses and of undefined behaviour: see `preloaded`
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from .array import array_of, ndarray
from .counts import count

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = shutil.which("g++")
FLAGS = ["-std=c++17", "-O2", "-shared", "-fPIC", "-fno-strict-aliasing", "-ffp-contract=off"]
FLAGS += [
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wno-sign-conversion",
    "-Wno-unused-function",
    "-Wno-unknown-pragmas",
    "-Wno-float-conversion",
]
FLAGS += ["-Wno-attributes", "-Wno-unused-variable", "-Werror"]
SANITIZE, EVERY_ORDER = (bool(os.environ.get(name)) for name in ("STRICT_SANITIZE", "STRICT_ORDERS"))
if SANITIZE:
    FLAGS += ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
SCALARS = {"int": np.int32, "size": np.int64, "long long": np.int64, "unsigned": np.uint32, "unsigned long long": np.uint64}
SCALARS |= {"float": np.float32, "double": np.float64}
MOST = (2**31 - 1, 65535, 65535)
ORDERS = ("as they are numbered", "backward", "shuffled")
SIZES = {"float": 4, "double": 8, "__half": 2}


class Launch(ctypes.Structure):
    """As in cuda_on_cpu.h."""

    _fields_ = [
        ("grid", ctypes.POINTER(ctypes.c_uint)),
        ("block", ctypes.POINTER(ctypes.c_uint)),
        ("first", ctypes.c_longlong),
        ("last", ctypes.c_longlong),
        ("order", ctypes.c_int),
    ]


def preloaded():
    """What the environment of Python must hold where it loads kernels compiled for the sanitizers; None where g++ has none."""
    libraries = [_library(name) for name in ("libasan.so", "libubsan.so")]
    if not all(path.is_absolute() for path in libraries):
        return None
    options = "detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1"
    settings = {"ASAN_OPTIONS": options, "UBSAN_OPTIONS": "print_stacktrace=1", "STRICT_SANITIZE": "1"}
    return {"LD_PRELOAD": " ".join(map(str, libraries)), **settings}


def _library(name):
    command = [COMPILER, f"-print-file-name={name}"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


def scalar_types(code):
    """What `real` and `wide` are in this source."""
    return {name: SCALARS[kind] for kind, name in re.findall(r"typedef (float|double) (real|wide);", code)}


class RawModule:
    """cupy.RawModule."""

    def __init__(
        self,
        *,
        code=None,
        path=None,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        name_expressions=None,
        jitify=False,
    ):
        if path is not None or name_expressions is not None or jitify or backend != "nvrtc":
            raise NotImplementedError("cupy.RawModule: the stand-in takes code and options")
        if not all(isinstance(option, str) for option in options):
            raise TypeError("cupy.RawModule: options are strings")
        self.code, self.options = code, options
        self.scalars = SCALARS | scalar_types(code)
        self.item = SIZES[re.search(r"typedef (float|double|__half) real;", code)[1]]
        self.parameters = {
            name: tuple("pointer" if "*" in part else " ".join(part.split()[:-1]) for part in _split(text))
            for name, text in re.findall(r'extern "C" __global__ void\s+(?:__launch_bounds__\(\d+\)\s*)?(\w+)\(([^)]*)\)', code)
        }

    def get_function(self, name):
        if name not in self.parameters:
            raise ValueError(f"cupy.RawModule: the source has no kernel {name}: it has {', '.join(self.parameters)}")
        return RawKernel(self, name)


def _split(text):
    return [part.strip() for part in re.sub(r"\s+", " ", text).split(",") if part.strip()]


class RawKernel:
    """What RawModule.get_function gives."""

    def __init__(self, module, name):
        self.module, self.name, self.kinds = module, name, module.parameters[name]
        self.run = getattr(library(module.code, tuple(module.parameters)), f"run_{name}")

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        self.launch(grid, block, args)

    def launch(self, grid, block, args, first=0, last=None):
        """Run the blocks `first` to `last` of the grid: all of them, as CuPy does, or, for a test, some."""
        grid, block = _axes("grid", grid), _axes("block", block)
        if any(n > most for n, most in zip(grid, MOST)) or np.prod(block) > 1024 or 0 in grid + block:
            raise ValueError(f"{self.name}: CUDA_ERROR_INVALID_VALUE: grid {grid}, block {block}")
        if len(args) != len(self.kinds):
            raise TypeError(f"{self.name}: the kernel has {len(self.kinds)} parameters, got {len(args)}")
        kept = [self._argument(i, kind, x) for i, (kind, x) in enumerate(zip(self.kinds, args))]
        pointers = (ctypes.c_void_p * max(len(kept), 1))(*[x.ctypes.data for x in kept])
        sides = [(ctypes.c_uint * 3)(*axes) for axes in (grid, block)]
        memory = self._memory(args) if EVERY_ORDER and not first and last is None else []
        last = int(np.prod(grid, dtype=np.int64)) if last is None else last
        before = [part.copy() for part in memory]
        for order in range(3 if memory else 1):
            results = [part.copy() for part in memory] if order else []
            for part, content in zip(memory, before):
                part[:] = content
            if self.run(ctypes.byref(Launch(*sides, first, last, order)), pointers):
                raise RuntimeError(
                    f"{self.name}: some threads of a block ended while others waited for them at __syncthreads()"
                )
            if not all(np.array_equal(part, result) for part, result in zip(memory, results)):
                raise RuntimeError(f"{self.name}: a race: other results where blocks and threads run {ORDERS[order]}")
        count(self.name, kernels=1)

    def _memory(self, args):
        """The bytes of all arrays that the kernel may write to: those among its arguments, and in the struct of multi_tensor.py."""
        memory = [x._host.reshape(-1).view(np.uint8) for x in args if type(x) is ndarray and x.size]
        for x in args:
            if isinstance(x, np.ndarray) and x.dtype.names == ("at", "count", "end"):
                for address, numbers in zip(x["at"].T.tolist(), x["count"].tolist()):
                    nbytes = numbers * self.module.item
                    memory += [_bytes_at(pointer, nbytes) for pointer in address if pointer and nbytes]
        return memory

    def _argument(self, i, kind, x):
        """An argument → a NumPy array whose bytes the kernel gets."""
        if type(x) is ndarray:
            array_of(self.name, x)
            if kind != "pointer":
                raise TypeError(f"{self.name}: parameter {i} is a {kind}, got an array")
            return np.array([x._host.ctypes.data], np.uint64)
        if kind == "pointer":
            if isinstance(x, np.int64) and x == 0:
                return np.zeros(1, np.uint64)
            raise TypeError(f"{self.name}: parameter {i} is a pointer, got {x!r}")
        if isinstance(x, np.ndarray):  # a struct
            if x.size != 1:
                raise TypeError(f"{self.name}: CuPy passes NumPy's arrays of one element alone by value, got shape {x.shape}")
            if kind in self.module.scalars:
                raise TypeError(f"{self.name}: parameter {i} is a {kind}, got a struct")
            return np.ascontiguousarray(x)
        wanted = self.module.scalars.get(kind.removeprefix("const "))
        if type(x) is not wanted:  # CuPy passes the bytes that it is given, and the kernel reads the bytes that it expects
            raise TypeError(f"{self.name}: parameter {i} is a {kind}, got {type(x).__name__} {x!r}")
        return np.array([x])


def _bytes_at(address, nbytes):
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))


def _axes(what, axes):
    if not isinstance(axes, tuple) or not all(type(n) is int for n in axes):
        raise TypeError(f"cupy.RawKernel: {what} must be a tuple of ints, got {axes!r}")
    return (*axes, 1, 1)[:3]


@cache
def library(code, names):
    """The source as a library for the processor, compiled once for all processes that test."""
    runs = "".join(f"RUN({name})\n" for name in names)
    waits = "#define THREADS_WAIT\n" if _waits(code) else ""
    own = code.replace("#include <cuda_fp16.h>", "")
    source = f'{waits}#include "{HEADER}"\nnamespace {{\n{own}\n}}\n{runs}'
    key = hashlib.sha256((source + HEADER.read_text(encoding="utf-8") + " ".join(FLAGS)).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"microtensor-kernels-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    path = folder / f"{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            (Path(work) / "kernels.cpp").write_text(source, encoding="utf-8")
            made = Path(work) / "kernels.so"
            command = [COMPILER, *FLAGS, "-o", made, "kernels.cpp"]
            own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # that is Python's
            result = subprocess.run(command, cwd=work, env=own, capture_output=True, text=True, timeout=300)
            if result.returncode:
                raise RuntimeError(f"g++ does not compile the kernels {', '.join(names)}:\n{result.stderr[:4000]}")
            os.replace(made, path)
    return ctypes.PyDLL(str(path))  # holding the GIL: threadIdx and the like are one for all


def _waits(code):
    """Whether a kernel of this source waits for other threads: itself, or in a function of the prelude."""
    own = code.partition('extern "C"')[2]
    return any(word in own for word in ("__syncthreads", "block_sum", "block_max", "team_sum", "team_max", "line_max"))
