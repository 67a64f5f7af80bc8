"""A stand-in for CuPy over NumPy that refuses what CuPy refuses, and counts what a GPU would have had to do.

    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)   # from here on device "cuda" is there
    with strict.counting() as counts:
        loss.backward()
    assert not counts.waits

Real CuPy raises where code takes for granted that arrays are NumPy's, or, worse, goes on with other numbers. This one raises in
both cases:

- Nothing converts by itself. NumPy's functions, arrays and scalars are refused among device arrays, and so are lists.
- A name, or a parameter, that CuPy 14.2 does not have is refused. cupy_names.json says which it has; tools/cupy_names.py wrote
  it from a real one. A ufunc computes in CuPy's dtypes, not in NumPy's.
- A result without axes is an array. To read it, `float`, `bool`, `item`, waits for the device, and is counted.
- Memory from `empty` and `empty_like` holds nan, and the largest of integers.
- Kernels of our own are compiled by g++ from the very source that a GPU gets, and run thread by thread.
- Streams that did not wait for each other, and pinned memory that is written to or dropped too soon, are found: see streams.py.
- Where CuPy says nothing and gives any result, this one raises: an array of indices out of range, an assignment that names an
  element twice, or one whose value overlaps its place.

What it cannot tell: whether two numbers differ in the last digit on a GPU, and how long anything takes.
"""

import types

from .array import Refused, ndarray
from .compiled import COMPILER, RawModule
from .counts import Counts, counting
from .cuda import Cuda, Random, memory_pool, pinned_memory_pool
from .functions import OWN, as_strided, find
from .names import VERSION
from .ufuncs import Ufunc, ufuncs

__all__ = ["COMPILER", "VERSION", "Counts", "Cupy", "Refused", "counting", "cupy", "ndarray"]


class Space(types.ModuleType):
    """A namespace of CuPy's, filled as it is asked."""

    space = ""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = find(self.space, name)
        setattr(self, name, value)
        return value


class LinAlg(Space):
    """cupy.linalg."""

    space = "linalg"


class Cupy(Space):
    """cupy, on a machine with so many GPUs."""

    __version__ = VERSION
    ndarray, ufunc, RawModule = ndarray, Ufunc, RawModule
    inf, nan, pi, e = float("inf"), float("nan"), 3.141592653589793, 2.718281828459045
    get_default_memory_pool = staticmethod(lambda: memory_pool)
    get_default_pinned_memory_pool = staticmethod(lambda: pinned_memory_pool)

    def __init__(self, gpus=1):
        super().__init__("cupy", __doc__)
        self.linalg, self.random, self.cuda = LinAlg("cupy.linalg"), Random("cupy.random"), Cuda(gpus)
        self.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=as_strided))
        for name, value in (ufuncs | OWN).items():
            setattr(self, name, value)


cupy = Cupy()
