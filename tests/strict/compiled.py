"""RawModule: a kernel's own source, compiled by g++ and run by the processor. See cuda_on_cpu.h.

It checks what CUDA takes on trust: that each argument has the size and kind that the kernel declares, and lies on the GPU; that
no thread ends while others of its block wait for it; that a grid is no larger than there can be.
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
SCALARS = {"int": np.int32, "size": np.int64, "long long": np.int64, "unsigned": np.uint32, "unsigned long long": np.uint64}
SCALARS |= {"float": np.float32, "double": np.float64}
MOST = (2**31 - 1, 65535, 65535)


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
        last = int(np.prod(grid, dtype=np.int64)) if last is None else last
        if self.run(*sides, ctypes.c_longlong(first), ctypes.c_longlong(last), pointers):
            raise RuntimeError(f"{self.name}: some threads of a block ended while others waited for them at __syncthreads()")
        count(self.name, kernels=1)

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
            if kind in self.module.scalars:
                raise TypeError(f"{self.name}: parameter {i} is a {kind}, got a struct")
            return np.ascontiguousarray(x)
        wanted = self.module.scalars.get(kind.removeprefix("const "))
        if type(x) is not wanted:  # CuPy passes the bytes that it is given, and the kernel reads the bytes that it expects
            raise TypeError(f"{self.name}: parameter {i} is a {kind}, got {type(x).__name__} {x!r}")
        return np.array([x])


def _axes(what, axes):
    if not isinstance(axes, tuple) or not all(type(n) is int for n in axes):
        raise TypeError(f"cupy.RawKernel: {what} must be a tuple of ints, got {axes!r}")
    return (*axes, 1, 1)[:3]


@cache
def library(code, names):
    """The source as a library for the processor, compiled once for all processes that test."""
    runs = "".join(f"RUN({name})\n" for name in names)
    waits = "#define THREADS_WAIT\n" if _waits(code) else ""
    source = f'{waits}#include "{HEADER}"\n{code.replace("#include <cuda_fp16.h>", "")}\n{runs}'
    key = hashlib.sha256((source + HEADER.read_text(encoding="utf-8") + " ".join(FLAGS)).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"microtensor-kernels-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    path = folder / f"{key}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            (Path(work) / "kernels.cpp").write_text(source, encoding="utf-8")
            made = Path(work) / "kernels.so"
            result = subprocess.run(
                [COMPILER, *FLAGS, "-o", made, "kernels.cpp"], cwd=work, capture_output=True, text=True, timeout=300
            )
            if result.returncode:
                raise RuntimeError(f"g++ does not compile the kernels {', '.join(names)}:\n{result.stderr[:4000]}")
            os.replace(made, path)
    return ctypes.PyDLL(str(path))  # holding the GIL: threadIdx and the like are one for all


def _waits(code):
    """Whether a kernel of this source waits for other threads: itself, or in a function of the prelude."""
    own = code.partition('extern "C"')[2]
    return any(word in own for word in ("__syncthreads", "block_sum", "block_max", "team_sum", "team_max", "line_max"))
