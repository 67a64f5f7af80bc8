"""Kernels written by a test, with a fault in them."""

import sys

import strict

from microtensor.runtime.cuda.kernels import Kernels


def launcher(folder, monkeypatch):
    """A function that launches three blocks of 64 threads of a kernel `name(real *y, size n)`, of a given body, over 64 numbers,
    and returns the numbers."""
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)

    def launch(body, n=64):
        source = f'extern "C" __global__ void planted(real *y, size n) {{ (void)n; {body} }}'
        (folder / "planted.cu").write_text(source, encoding="utf-8")
        y = strict.cupy.zeros(64, "float32")
        Kernels(str(folder / "planted.py"), "planted.cu").blocks("planted", y.dtype, 3, y, n, threads=64)
        return y.get()

    return launch
