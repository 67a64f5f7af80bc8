"""CuPy's functions: NumPy's of the same name, with CuPy's parameters, device arrays in and out."""

import numpy as np

from .array import KERNELS, WAITS, Refused, array_of, checked, current, lend, ndarray, new, poison, sources_of, stripped
from .counts import count
from .names import SPACES, Parameters, missing

HOST = {"broadcast_shapes", "can_cast", "issubdtype", "min_scalar_type", "promote_types", "result_type"}
HOST |= {"may_share_memory", "shares_memory", "ndim", "shape", "size"}
"""Functions that ask what can be told without the device."""

JOINED = {"concatenate", "stack", "vstack", "hstack", "dstack", "column_stack"}
"""Functions that launch a kernel for each of the arrays that they join."""

FUNCTION_KERNELS = KERNELS | {
    "roll": 2,
    "pad": 8,
    "tril": 4,
    "triu": 4,
    "take_along_axis": 12,
    "sort": 3,
    "argwhere": 3,
    "flatnonzero": 3,
    "unique": 8,
    "linspace": 2,
    "einsum": 4,
    "tensordot": 3,
    "allclose": 2,
    "array_equal": 2,
    "isin": 4,
    "bincount": 4,
    "histogram": 4,
}
FUNCTION_WAITS = {*WAITS, "argwhere", "flatnonzero", "unique", "bincount", "histogram", "extract", "setdiff1d", "isin"}
FUNCTION_WAITS |= {"array_equiv", "percentile"}
NUMBERS_FIRST = {"where", "full", "arange", "linspace", "eye", "identity", "zeros", "ones", "tri", "indices", "einsum"}
"""Functions whose first argument need be no array."""


def function(space, name):
    """A function that does what NumPy's of that name does. Space is "" for cupy itself, "linalg" for cupy.linalg."""
    full = f"{space}.{name}" if space else name
    text = SPACES[space][name]
    parameters = None if text is None else Parameters.of(text)
    own = getattr(getattr(np, space) if space else np, name)
    first_is_array = name not in NUMBERS_FIRST | HOST

    def call(*args, **settings):
        if parameters is not None:
            parameters.check(full, args, settings)
        first = args[0] if args else next(iter(settings.values()), None)
        arrays = first if isinstance(first, (tuple, list)) and first else [first]  # as concatenate takes them
        if first_is_array and any(type(x) is not ndarray for x in arrays):
            raise Refused(f"cupy.{full}: expected a cupy.ndarray, got {type(first).__name__}")
        out = settings.get("out")
        if out is not None:
            array_of(full, out)
        if name == "where":
            for x in args:
                checked(name, x)
        hosts = [stripped(full, x) for x in args]
        named = {key: stripped(full, x) for key, x in settings.items()}
        if name in HOST:
            return own(*hosts, **named)
        if name in FUNCTION_WAITS or name == "where" and len(args) == 1:
            count(full, waits=1)
        with np.errstate(all="ignore"):
            result = own(*hosts, **named)
        if type(result) is bool:  # allclose, array_equal: CuPy's answer stays on the device
            result = np.asarray(result)
        if out is not None:
            count(full, kernels=FUNCTION_KERNELS.get(name, 1))
            return out
        sources = sources_of([*args, *settings.values()])
        return lend(result, sources, full, len(sources) if name in JOINED else FUNCTION_KERNELS.get(name, 1))

    call.__name__ = name
    return call


# Those that are not as NumPy's


def empty(shape, dtype=float, order="C"):
    return new(poison(np.empty(shape, dtype, order)))


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    if subok is not None:
        raise TypeError("cupy.empty_like: subok is not supported")
    return new(poison(np.empty_like(array_of("empty_like", prototype)._host, dtype, order, shape=shape)))


def _filled_like(name, number):
    def call(a, dtype=None, order="K", subok=None, shape=None):
        if subok is not None:
            raise TypeError(f"cupy.{name}: subok is not supported")
        count(name, kernels=1)
        return new(np.full_like(array_of(name, a)._host, number, dtype, order, shape=shape))

    return call


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    checked("full_like", fill_value)
    if type(fill_value) is ndarray:
        raise NotImplementedError("cupy.full_like: a number, in the stand-in")
    return _filled_like("full_like", fill_value)(a, dtype, order, subok, shape)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """From a device array, or up from the host: numbers, lists of them, and NumPy's arrays."""
    if type(obj) is ndarray:
        if obj.gpu != current.gpu:
            count("array", copies=1)
            return new(np.array(obj._host, dtype, order=order, ndmin=ndmin))
        if not copy and (dtype is None or obj.dtype == np.dtype(dtype)) and obj.ndim >= ndmin and order in ("K", "A"):
            return obj
        return lend(np.array(obj._host, dtype, copy=copy or None, order=order, ndmin=ndmin), [obj], "array")
    if sources_of([obj]):
        raise NotImplementedError("cupy.array: of a list of arrays: use stack")
    if type(obj).__module__.partition(".")[0] not in ("builtins", "numpy"):
        raise TypeError(f"Unsupported type {type(obj)}")
    count("array", copies=1)
    return new(np.array(obj, dtype, order=order, ndmin=ndmin))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, bool(copy), order or "K", blocking=blocking)


def ascontiguousarray(a, dtype=None):
    host = array_of("ascontiguousarray", a)._host
    if a.ndim == 0:
        return a.reshape(1)
    return lend(np.ascontiguousarray(host, dtype), [a], "ascontiguousarray")


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return array_of("asnumpy", a).get()


def matmul(x1, x2, out=None, **settings):
    """One kernel; one more for each stack of matrices that does not lie in memory as cuBLAS reads it."""
    if unknown := settings.keys() - {"dtype", "casting", "order", "axes", "axis", "keepdims"}:
        raise TypeError(f"cupy.matmul: CuPy takes no {', '.join(unknown)}")
    a, b = array_of("matmul", x1)._host, array_of("matmul", x2)._host
    copies = sum(x.ndim > 2 and not x.flags.c_contiguous for x in (a, b))
    count("matmul", kernels=1 + copies)
    with np.errstate(all="ignore"):
        result = np.matmul(a, b, out=None if out is None else array_of("matmul", out)._host, **settings)
    return new(np.asarray(result)) if out is None else out


def as_strided(x, shape=None, strides=None):
    host = np.lib.stride_tricks.as_strided(array_of("as_strided", x)._host, shape, strides)
    return new(host, x if x.base is None else x.base)


def fuse(*args, **settings):
    """Of a Python function, one kernel."""

    def fused(inner):
        def call(*inputs):
            from . import counts

            before, counts.open_counts = counts.open_counts, []
            try:
                result = inner(*inputs)
            finally:
                counts.open_counts = before
            count(inner.__name__, kernels=1)
            return result

        return call

    return fused(args[0]) if args and callable(args[0]) else fused


OWN = {f.__name__: f for f in (empty, empty_like, full_like, array, asarray, ascontiguousarray, asnumpy, matmul, fuse)}
OWN |= {"zeros_like": _filled_like("zeros_like", 0), "ones_like": _filled_like("ones_like", 1), "asanyarray": asarray}
"""By name: what takes the place of NumPy's."""


def find(space, name):
    """The function or constant `name` of a namespace of CuPy's.

    Raises:
        AttributeError: CuPy does not have it.
        NotImplementedError: CuPy has it, the stand-in does not.
    """
    if name not in SPACES[space]:
        raise missing(f"{space}.{name}" if space else name)
    value = getattr(getattr(np, space) if space else np, name, None)
    if value is None and name != "newaxis":
        raise NotImplementedError(
            f"cupy.{name}: CuPy has it, the stand-in does not: write it in tests/support/strict/functions.py"
        )
    return value if isinstance(value, (type, int, float)) or name in ("newaxis", "dtype") else function(space, name)


ndarray.__matmul__ = lambda x, y: matmul(x, y)
ndarray.__rmatmul__ = lambda x, y: matmul(y, x)
