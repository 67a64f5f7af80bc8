"""NVIDIA's compiler as CuPy uses it: CUDA source → machine code of a GPU, with no GPU at hand.

pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12
"""

import ctypes
import importlib.util
import re
from functools import cache
from pathlib import Path

OLD = re.compile(r"nvrtc: warning: Architectures prior to .* are deprecated")
"""It says so of sm_70, whatever is compiled."""


def _folder(package):
    """Where a part of CUDA is installed, or None."""
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    return Path(next(iter(found.submodule_search_locations))) if found else None


@cache
def library():
    """NVRTC, or None where it is not installed."""
    folder = _folder("nvidia.cuda_nvrtc")
    if folder is None or _folder("nvidia.cuda_runtime") is None:
        return None
    builtins = next((folder / "lib").glob("libnvrtc-builtins.so*"))
    ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(next((folder / "lib").glob("libnvrtc.so*"))))


def compiled(source, architecture, options=()):
    """The machine code, in bytes, and what the compiler said: nothing, if all is well.

    Raises:
        ValueError: it does not compile.
    """
    nvrtc, program = library(), ctypes.c_void_p()
    include = _folder("nvidia.cuda_runtime") / "include"
    given = [f"-arch={architecture}", f"-I{include}", *options]
    flags = (ctypes.c_char_p * len(given))(*[option.encode() for option in given])
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None) == 0
    try:
        failed = nvrtc.nvrtcCompileProgram(program, len(given), flags)
        log = _read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).rstrip(b"\0").decode().strip()
        if failed:
            raise ValueError(f"NVRTC does not compile it for {architecture}:\n{log}")
        said = [line for line in log.splitlines() if not OLD.match(line)]
        return _read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), "\n".join(said)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(size_of, get, program):
    size = ctypes.c_size_t()
    assert size_of(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert get(program, buffer) == 0
    return buffer.raw
