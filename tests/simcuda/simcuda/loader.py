"""How the real CuPy comes to call the simulated driver.

Most of CuPy's modules load NVIDIA's libraries by name, and find the simulated ones, which are loaded before. The CUDA runtime is
another matter: CuPy's wheel has a copy of it compiled into its own modules. So each of its functions is found in the module's
table of symbols, and its first bytes are overwritten, in memory, by a jump to the simulated one.
"""

import ctypes
import importlib
import importlib.util
import mmap
import os
import re
import struct
import sys
import warnings
from pathlib import Path

from . import build

FUNCTION, SYMBOL_TABLE = 2, 2
"""STT_FUNC and SHT_SYMTAB of the ELF format."""

MOST_DEVICES = 8
"""As many as `simcuda.devices` may ask for."""

REDIRECTED = {
    "cupy_backends.cuda.api.runtime": r"(cuda[A-Z]\w*?)(_v\d+)?(_ptsz|_ptds)?",
    "cupy.cuda.thrust": r"(cuda[A-Z]\w*?)(_v\d+)?(_ptsz|_ptds)?|(_Z\d+thrust_(?:sort|argsort|lexsort)\w*)",
    "cupy.cuda.cub": r"(cuda[A-Z]\w*?)(_v\d+)?(_ptsz|_ptds)?|(_Z\d+cub_device_\w+)",
}
"""Modules with a copy of the runtime, or with device code of their own, and which of their functions are redirected."""


class State:
    """The driver, once it is loaded."""

    driver = None
    version = None
    home = None
    redirected = None


state = State()


def cuda_version():
    """12 or 13: what the installed CuPy is built for.

    Raises:
        Unusable: there is no CuPy from a wheel.
    """
    from importlib import metadata

    for version in (12, 13):
        try:
            metadata.distribution(f"cupy-cuda{version}x")
        except metadata.PackageNotFoundError:
            continue
        return version
    raise build.Unusable("simcuda runs the wheels of CuPy: pip install cupy-cuda12x (or cupy-cuda13x)")


def install(sanitize=False):
    """Load the driver, and CuPy on it. Call it before CuPy is imported; a second call does nothing.

    Raises:
        build.Unusable: CuPy is not installed, or g++ is missing; the message says what to do.
        RuntimeError: CuPy was imported before.
    """
    if state.driver is not None:
        return
    if "cupy" in sys.modules:
        raise RuntimeError("simcuda.install() must come before `import cupy`")
    state.version = cuda_version()
    state.home = home = build.build(state.version, sanitize)
    os.environ["SIMCUDA_FOLDER"] = str(build.kernel_folder(sanitize))
    os.environ["SIMCUDA_COMPILER"] = " ".join([build.compiler(), *build.kernel_flags(sanitize)])
    os.environ["SIMCUDA_VERSION"] = {12: "12090", 13: "13000"}[state.version]
    os.environ.setdefault("CUPY_CACHE_DIR", str(home / "cupy"))  # what CuPy keeps names compiled kernels: not those of a GPU
    state.driver = ctypes.CDLL(str(home / "libsimcuda.so"), ctypes.RTLD_GLOBAL)
    state.driver.sim_counts.restype = ctypes.c_char_p
    for soname in [*build.SONAMES[state.version].values(), "libcuda.so.1"]:
        ctypes.CDLL(str(home / soname), ctypes.RTLD_GLOBAL)
    devices = state.driver.sim_set(b"devices", MOST_DEVICES)  # CuPy's pool has a part for each that is there at the import
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no CUDA_PATH is found: there is none
        state.redirected = {name: redirect(name, names) for name, names in REDIRECTED.items()}
        importlib.import_module("cupy").ones(1)  # and this thread a stream and a context for each
    state.driver.sim_set(b"devices", devices)


def redirect(module, names):
    """Redirect the functions of an extension module whose names match, once it is imported: how many were redirected, and
    those that the driver does not have (they fail in words)."""
    path = importlib.import_module(module).__file__
    base, found, missing = load_address(path), 0, []
    for name, offset in functions(path).items():
        match = re.fullmatch(names, name)
        if not match or name.startswith("cudart"):
            continue
        target = next((f"sim_{n}" for n in (name, match[1], match[match.lastindex]) if n and has(f"sim_{n}")), None)
        if target is None:
            missing.append(name)
        overwrite(base + offset, address(target or "sim_unsupported"))
        found += 1
    return found, missing


def has(name):
    return hasattr(state.driver, name)


def address(name):
    return ctypes.cast(getattr(state.driver, name), ctypes.c_void_p).value


def functions(path):
    """The functions of an ELF file, local ones too: name → offset from where it is loaded."""
    data = Path(path).read_bytes()
    (sections_at,) = struct.unpack_from("<Q", data, 0x28)
    entry_size, count = struct.unpack_from("<HH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections_at + i * entry_size) for i in range(count)]
    found = {}
    for _, kind, _, _, offset, size, link, _, _, _ in headers:
        if kind != SYMBOL_TABLE:
            continue
        names_at = headers[link][4]
        for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", data[offset : offset + size]):
            if info & 15 == FUNCTION and section:
                found[data[names_at + name : data.index(b"\0", names_at + name)].decode()] = value
    return found


def load_address(path):
    """Where a library is loaded in this process."""
    real = os.path.realpath(path)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(real):
            return int(line.partition("-")[0], 16)
    raise RuntimeError(f"simcuda: {real} is not loaded")


def overwrite(at, target):
    """Put a jump to `target` at this address: jmp [rip + 0], and the address after it."""
    code = b"\xff\x25\x00\x00\x00\x00" + struct.pack("<Q", target)
    page = at & ~(mmap.PAGESIZE - 1)
    read_write_execute = 7
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(at + len(code) - page), read_write_execute):
        raise OSError(ctypes.get_errno(), "simcuda: the system does not let a library's code be changed in memory")
    ctypes.memmove(at, code, len(code))
