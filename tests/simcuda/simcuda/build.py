"""The driver's libraries, compiled by g++ when they are first needed, and kept in a folder."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent

SONAMES = {
    12: {"cublas": "libcublas.so.12", "cublasLt": "libcublasLt.so.12", "nvrtc": "libnvrtc.so.12", "curand": "libcurand.so.10"}
    | {"cusolver": "libcusolver.so.11", "cusparse": "libcusparse.so.12", "cufft": "libcufft.so.11"},
    13: {"cublas": "libcublas.so.13", "cublasLt": "libcublasLt.so.13", "nvrtc": "libnvrtc.so.13", "curand": "libcurand.so.10"}
    | {"cusolver": "libcusolver.so.12", "cusparse": "libcusparse.so.12", "cufft": "libcufft.so.12"},
}
"""The files that CuPy's modules ask for, by the version of CUDA that they are built for."""

WARNINGS = ["-w"]  # the kernels are CuPy's as well as the user's: g++ warns of what NVIDIA's compiler does not
KERNEL_FLAGS = ["-std=c++17", "-O1", "-fpermissive", "-fno-strict-aliasing", "-ffp-contract=off", "-fwrapv", "-fPIC", "-shared"]
SANITIZERS = [
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize=vptr,alignment,signed-integer-overflow",
    "-fno-omit-frame-pointer",
]


class Unusable(RuntimeError):
    """simcuda cannot run here; the message says what is missing."""


def folder(version, sanitize=False):
    """Where the driver is kept, for these sources and this compiler: in $SIMCUDA_DIR, or ~/.cache/simcuda."""
    return _base() / _key(sorted((HERE / "driver").glob("*")) + [HERE / "build.py"], version, sanitize)


def kernel_folder(sanitize=False):
    """Where compiled kernels are kept, and the headers that they need, compiled, too: other drivers use the same."""
    headers = sorted(path for path in (HERE / "include").rglob("*") if path.is_file())
    return _base() / ("kernels-" + _key(headers, *KERNEL_FLAGS, sanitize))


def _base():
    return Path(os.environ.get("SIMCUDA_DIR") or Path.home() / ".cache" / "simcuda")


def _key(files, *more):
    key = hashlib.sha256(repr((*more, sys.version_info[:2], compiler_version())).encode())
    for path in files:
        key.update(path.read_bytes())
    return key.hexdigest()[:16]


def compiler():
    """The path of g++."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unusable(f"simcuda runs on Linux on x86-64 alone, not on {sys.platform} on {platform.machine()}")
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise Unusable("simcuda needs g++ (12 or later), which compiles the kernels: apt-get install g++")
    return found


def compiler_version():
    """The first line of what g++ says it is."""
    return subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def build(version, sanitize=False):
    """The folder of the libraries for a CuPy that is built for CUDA `version` (12 or 13), made if it is not there.

    Several processes may ask at once: one builds, the others wait.

    Raises:
        Unusable: no g++, or another system than Linux on x86-64.
    """
    home = folder(version, sanitize)
    once(kernel_folder(sanitize), lambda place: _build_headers(place, sanitize))
    once(home, lambda place: _build(place, version))
    return home


def once(place, make):
    """Have `make` fill a folder, unless it was filled before, by this process or another."""
    if not (place / "ready").exists():
        place.mkdir(parents=True, exist_ok=True)
        with locked(place / "lock"):
            if not (place / "ready").exists():
                make(place)
                (place / "ready").touch()


@contextmanager
def locked(path):
    """Inside, no other process is inside with the same file."""
    import fcntl

    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_headers(place, sanitize):
    """The headers of kernels, compiled ahead, without fibers and with them: a kernel takes a quarter of the time then."""
    for name, define in (("plain", ""), ("fibers", "#define SIM_FIBERS\n")):
        (place / name).mkdir(exist_ok=True)
        header = place / name / "simcuda.h"
        shutil.copytree(HERE / "include", place / "include", dirs_exist_ok=True)
        header.write_text(f'{define}#include "{place}/include/simcuda.h"\n')
        run([compiler(), *kernel_flags(sanitize), "-x", "c++-header", header, "-o", f"{header}.gch"])


def _build(home, version):
    include = _headers(version)
    sources = sorted((HERE / "driver").glob("*.cpp"))
    driver = home / "libsimcuda.so"
    optimised = ["-O3", "-mavx2", "-mf16c"] if _has_avx2() else ["-O2"]
    run(
        [
            compiler(),
            "-std=c++17",
            *optimised,
            "-ffp-contract=off",
            "-w",
            "-shared",
            "-fPIC",
            "-o",
            driver,
            *include,
            *sources,
            "-ldl",
        ]
    )
    have = defined(driver)
    for library, soname in (SONAMES[version] | {"cuda": "libcuda.so.1"}).items():
        missing = sorted(wanted(library) - have)
        stub(home, soname, missing)


def kernel_flags(sanitize):
    """How g++ compiles a kernel."""
    own = ["-I", str(kernel_folder(sanitize) / "include")]
    return [*KERNEL_FLAGS, *WARNINGS, *(SANITIZERS if sanitize else []), *own]


def _has_avx2():
    return " avx2 " in Path("/proc/cpuinfo").read_text() and " f16c " in Path("/proc/cpuinfo").read_text()


def _headers(version):
    """The folders of CUDA's headers for the runtime, from NVIDIA's packages, as g++ takes them."""
    site = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    folders = [site / f"cu{version}", site / "cuda_runtime", site / "cuda_nvcc"]
    found = [place / "include" for place in folders if (place / "include").exists()]
    for wanted in ("cuda_runtime_api.h", "crt/host_defines.h"):
        if not any((place / wanted).exists() for place in found):
            packages = (
                "nvidia-cuda-runtime-cu12 nvidia-cuda-nvcc-cu12" if version == 12 else "nvidia-cuda-runtime nvidia-cuda-crt"
            )
            raise Unusable(f"simcuda needs CUDA's headers: pip install {packages}")
    return [part for place in found for part in ("-I", place)]


def run(command):
    """Run a compiler.

    Raises:
        Unusable: it fails.
    """
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if result.returncode:
        raise Unusable(f"simcuda cannot be built: {' '.join(map(str, command))}\n{result.stderr[:4000]}")


def symbols(path, undefined):
    """The dynamic symbols that a library defines, or asks for."""
    kind = "--undefined-only" if undefined else "--defined-only"
    listed = subprocess.run(["nm", "-D", kind, str(path)], capture_output=True, text=True).stdout
    return {line.split()[-1].partition("@")[0] for line in listed.splitlines() if line.split()}


def defined(path):
    return symbols(path, undefined=False)


def wanted(library):
    """The functions of this library of NVIDIA's that CuPy's modules are linked to."""
    import importlib.util

    found = set()
    for package in ("cupy_backends", "cupyx", "cupy"):
        for place in importlib.util.find_spec(package).submodule_search_locations:
            for path in Path(place).rglob("*.so"):
                if _may_use(path, library):
                    found |= {name for name in symbols(path, undefined=True) if re.match(rf"{library}[A-Z]", name)}
    return found


def _may_use(path, library):
    return library.encode() in path.read_bytes()


def stub(home, soname, missing):
    """A library of this name: what the driver has is found through it, and each other function fails in words."""
    lines = ["#include <stdio.h>"]
    for name in missing:
        lines.append(f'int {name}() {{ fprintf(stderr, "simcuda: {name} is not there\\n"); return 15; }}')
    source = home / f"{soname}.c"
    source.write_text("\n".join(lines) + "\n")
    linked = ["-L", home, "-Wl,--no-as-needed", "-lsimcuda", "-Wl,-rpath,$ORIGIN"]
    run(
        [
            compiler().replace("g++", "gcc"),
            "-shared",
            "-fPIC",
            "-w",
            f"-Wl,-soname,{soname}",
            "-o",
            home / soname,
            source,
            *linked,
        ]
    )
    source.unlink()
