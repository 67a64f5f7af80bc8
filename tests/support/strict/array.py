"""`ndarray`: an array "on the device". It holds NumPy's and shows no more of it than CuPy's array would.

What goes in is checked here: device arrays and Python's own numbers pass; NumPy's arrays and scalars, lists, and subclasses of
int and float do not, as CuPy asks for exactly `int`, `float`, `bool` or `complex`. (CuPy takes NumPy's scalars. They decide on
the dtype of the result, as no Python number does, so code that is to be one path for both has no use for them.)
"""

import threading
from typing import NamedTuple

import numpy as np

from . import streams
from .counts import count
from .names import CLASSES, Parameters
from .streams import Refused, touch

NUMBERS = (bool, int, float, complex)

make = object.__new__


class Current(threading.local):
    gpu = 0


current = Current()
"""Each thread's GPU, on which new arrays are made and kernels run."""


def new(host, base=None):
    """A device array on the memory of `host`, a NumPy array that nobody else holds; or a view of `base`."""
    if host.dtype.kind not in "biufc" or host.dtype.char == "g":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    array = make(ndarray)
    array._host, array.base, array.gpu, array._order = host, base, current.gpu if base is None else base.gpu, None
    if base is None and streams.current.stream not in (None, streams.Stream.null):
        streams.watch(array, streams.current.stream)
    return array


def lend(result, sources, name, kernels=1):
    """What NumPy gave back → a device array: a source itself, a view of one, or a new one, for which kernels ran."""
    if isinstance(result, (tuple, list)):
        return type(result)([lend(part, sources, name, kernels) for part in result])
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    if isinstance(result, np.ndarray):
        for source in sources:
            if result is source._host:
                return source
        if result.base is not None:
            for source in sources:
                if result.base is source._host or result.base is source._host.base:
                    return new(result, source if source.base is None else source.base)
    count(name, kernels=kernels)
    for source in sources:
        array_of(name, source)
    return new(np.asarray(result))


def checked(name, x):
    """x, which must be a device array or one of Python's own numbers."""
    if type(x) is ndarray:
        return array_of(name, x)
    if type(x) in NUMBERS:
        return x
    hint = "a NumPy scalar" if isinstance(x, np.generic) else f"a {type(x).__module__}.{type(x).__qualname__}"
    raise Refused(f"cupy.{name}: expected a cupy.ndarray or a Python number, got {hint}: {x!r:.60}")


def array_of(name, x):
    """x, which must be a device array, and on the current GPU."""
    if type(x) is not ndarray:
        raise Refused(f"cupy.{name}: expected a cupy.ndarray, got {type(x).__name__}")
    if x.gpu != current.gpu:
        raise ValueError(f"cupy.{name}: the array is on GPU {x.gpu}, and the current one is {current.gpu}")
    touch(name, x)
    return x


def stripped(name, x):
    """An argument → the same for NumPy: arrays without their cover, in tuples and lists too."""
    if type(x) is ndarray:
        return array_of(name, x)._host
    if isinstance(x, (np.ndarray, np.generic)) and not isinstance(x, np.integer):
        checked(name, x)
    if isinstance(x, (tuple, list)):
        return type(x)([stripped(name, part) for part in x]) if type(x) in (tuple, list) else x
    return x


def sources_of(args):
    """The device arrays among arguments, and in tuples and lists of them."""
    found = []
    for x in args:
        if type(x) is ndarray:
            found.append(x)
        elif isinstance(x, (tuple, list)):
            found += sources_of(x)
    return found


def poison(host):
    """Fresh memory holds anything: here nan, or the largest number."""
    host.fill({"b": True, "f": np.nan, "c": np.nan}.get(host.dtype.kind) or np.iinfo(host.dtype).max)
    return host


class DeviceOf(NamedTuple):
    """Where an array is: `array.device.id`."""

    id: int


class Memory(NamedTuple):
    """Where its first number is: `array.data.ptr`."""

    ptr: int


class Flags:
    """How an array lies in memory. (No `writeable`: CuPy knows nothing of the kind.)"""

    def __init__(self, array):
        self.c_contiguous, self.f_contiguous = array._host.flags.c_contiguous, array._host.flags.f_contiguous
        self.forc, self.fnc = self.c_contiguous or self.f_contiguous, self.f_contiguous and not self.c_contiguous
        self.owndata = array.base is None

    def __getitem__(self, name):
        return getattr(self, {"C_CONTIGUOUS": "c_contiguous", "F_CONTIGUOUS": "f_contiguous", "OWNDATA": "owndata"}[name])


class ndarray:
    """An array on the device."""

    __slots__ = ("__weakref__", "_host", "_order", "base", "gpu")
    __hash__ = None
    __array_priority__ = 100

    def __new__(cls, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("cupy.ndarray: memptr and strides are not in the stand-in")
        return new(poison(np.empty(shape, dtype, order)))

    # What it is

    shape = property(lambda self: self._host.shape)
    strides = property(lambda self: self._host.strides)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(Flags)
    device = property(lambda self: DeviceOf(self.gpu))
    data = property(lambda self: Memory(self._host.ctypes.data))
    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getattr__(self, name):
        why = "not in the stand-in" if name in CLASSES["ndarray"] else "CuPy has no such name"
        raise AttributeError(f"cupy.ndarray.{name}: {why}")

    # What NumPy would do to it, and may not

    def __array__(self, dtype=None, copy=None):
        raise Refused("Implicit conversion to a NumPy array is not allowed: a copy to the host is .get()")

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        names = ", ".join(type(x).__name__ for x in inputs)
        raise Refused(f"numpy.{ufunc.__name__} of ({names}): a function or a number of NumPy among device arrays")

    def __array_function__(self, function, types, args, settings):
        raise Refused(f"numpy.{function.__name__} of a device array: ask for the array's own library")

    # To the host: all of these wait

    def get(self, stream=None, order="C", out=None, blocking=True):
        touch("get", self)
        count("get", copies=1, waits=1)
        return np.array(self._host, order=order)

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        touch("item", self)
        count("item", copies=1, waits=1)
        return self._host.item()

    def tolist(self):
        return self.get().tolist()

    def tobytes(self, order="C"):
        return self.get().tobytes(order)

    def __bool__(self):
        return bool(self.item())

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __complex__(self):
        return complex(self.item())

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __reduce__(self):
        return _unpickled, (self.get(),)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # DLPack

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **settings):
        raise BufferError("the stand-in for CuPy is on no device that another library could read")

    # Indexing

    def __getitem__(self, index):
        parts, arrays, masks = self._index("getitem", index)
        if not arrays and not masks:
            return lend(self._host[parts], [self], "getitem")
        result = self._host[parts]
        count("getitem", kernels=_indexing_kernels(arrays, masks), waits=len(masks))
        return new(np.asarray(result))

    def __setitem__(self, index, value):
        checked("setitem", value)
        parts, arrays, masks = self._index("setitem", index)
        number = type(value) is not ndarray
        if arrays and not number:
            self._refuse_a_race(parts, value._host)
        elif not number and np.shares_memory(self._host[parts], value._host) and not _same(self._host[parts], value._host):
            raise Refused("cupy.setitem: the value overlaps what it is assigned to: CuPy reads and writes at once")
        self._host[parts] = value if number else value._host
        count(
            "setitem",
            kernels=_indexing_kernels(arrays, masks),
            waits=len(masks),
            copies=int(number and bool(arrays or masks)),  # CuPy makes an array of the number
        )

    def _scatter(self, function, index, value):
        """For ufunc.at."""
        parts, arrays, masks = self._index("at", index)
        host = value._host if type(value) is ndarray else value
        function.at(self._host, parts, host)
        count("at", kernels=_indexing_kernels(arrays, masks), waits=len(masks))

    def _index(self, name, index):
        """An index → as NumPy takes it, so that it gives a view and no number; the arrays of integers in it; its masks."""
        parts, arrays, masks = [], [], []
        for part in index if isinstance(index, tuple) else (index,):
            if type(part) is ndarray:
                if part.dtype.kind not in "biu":
                    raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})")
                (masks if part.dtype.kind == "b" else arrays).append(part)
                part = array_of(name, part)._host
            elif isinstance(part, (list, tuple, bool, np.bool_, np.ndarray)):  # CuPy makes a device array of it
                count(name, copies=1)
                part = np.asarray(part)
                part = part if part.size else part.astype(np.int32)
                (masks if part.dtype.kind == "b" else arrays).append(part)
            parts.append(part)
        if arrays or masks or name != "getitem":
            array_of(name, self)
        return tuple(parts if any(part is Ellipsis for part in parts) else [*parts, ...]), arrays, masks

    def _refuse_a_race(self, parts, values):
        """An element may be named twice, if it is to get the same number twice."""
        places = np.arange(self.size).reshape(self.shape)[parts]
        if np.unique(places).size < places.size:
            there = self._host.copy()
            there[parts] = values
            if not np.array_equal(there[parts], np.broadcast_to(values, places.shape), equal_nan=values.dtype.kind == "f"):
                raise Refused("cupy.setitem: the index names an element twice, and CuPy does not say which value stays")

    # Methods that are NumPy's

    def fill(self, value):
        checked("fill", value), array_of("fill", self)
        self._host.fill(value if type(value) is not ndarray else value._host)
        count("fill", kernels=1)

    def sort(self, axis=-1, kind=None):
        if kind not in (None, "stable"):
            raise ValueError(f"cupy.sort: kind: CuPy knows None and 'stable', got {kind!r}")
        self._host.sort(axis, kind="stable")
        count("sort", kernels=2)

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise Refused("cupy.ndarray.astype: CuPy takes no casting and no subok")
        if np.dtype(dtype) == array_of("astype", self).dtype and not copy:
            return self
        count("astype", kernels=1)
        with np.errstate(all="ignore"):
            return new(self._host.astype(dtype, order))

    def set(self, arr, stream=None):
        streams.upload(self, arr, stream)

    def view(self, dtype=None, type=None):
        return lend(self._host.view() if dtype is None else self._host.view(dtype), [self], "view")

    def scatter_add(self, slices, value):
        self._scatter(np.add, slices, value)


def _same(x, y):
    return (x.shape, x.strides, x.__array_interface__["data"]) == (y.shape, y.strides, y.__array_interface__["data"])


def _indexing_kernels(arrays, masks):
    """One for a slice or a single array; CuPy adds several arrays up to one first, and counts along a mask."""
    return 1 + (len(arrays) + 1 if len(arrays) > 1 else 0) + 2 * len(masks)


def _unpickled(host):
    count("unpickle", copies=1)
    return new(np.array(host))


KERNELS = {"repeat": 2, "argsort": 2, "var": 2, "std": 3, "searchsorted": 1, "ptp": 3, "nonzero": 3, "compress": 4}
"""Of methods and functions that launch more than one."""

WAITS = {"nonzero", "compress", "choose"}
"""Of methods and functions that wait for the device: mostly to learn how large their result is."""

METHODS = ["all", "any", "argmax", "argmin", "argpartition", "argsort", "choose", "clip", "compress", "conj", "conjugate"]
METHODS += ["copy", "cumprod", "cumsum", "diagonal", "dot", "flatten", "max", "mean", "min", "nonzero", "prod", "ptp", "ravel"]
METHODS += [
    "repeat",
    "reshape",
    "round",
    "searchsorted",
    "squeeze",
    "std",
    "sum",
    "swapaxes",
    "take",
    "trace",
    "transpose",
    "var",
]


def method(name):
    """A method that does what NumPy's of that name does, with CuPy's parameters."""
    parameters = Parameters.of(CLASSES["ndarray"][name])
    own = getattr(np.ndarray, name, None) or getattr(np, name)

    def call(self, *args, out=None, **settings):
        if out is not None:
            settings["out"] = array_of(name, out)
        parameters.check(f"ndarray.{name}", args, settings)
        arguments = [stripped(name, x) for x in args]
        settings = {key: stripped(name, x) for key, x in settings.items()}
        if name in WAITS:
            count(name, waits=1)
        with np.errstate(all="ignore"):
            result = own(self._host, *arguments, **settings)
        return out if out is not None else lend(result, [self, *sources_of(args)], name, KERNELS.get(name, 1))

    call.__name__ = name
    return call


for each in METHODS:
    setattr(ndarray, each, method(each))

__all__ = ["METHODS", "Refused", "array_of", "checked", "current", "lend", "ndarray", "new", "poison", "sources_of", "stripped"]
