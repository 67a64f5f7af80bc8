"""NumPy as it is where a pointer has 32 bits, such as WebAssembly: integers are int32 by default, so are indices, and some
functions refuse those of 64 bits. For a process of its own: `install()` changes NumPy for good.
"""

import ctypes
import functools
import gc

import numpy as np

INDEX = np.dtype(np.int32)
REFUSED = "Cannot cast array data from dtype('int64') to dtype('int32') according to the rule 'safe'"


def narrowed(value):
    """What NumPy answers in its own integers: int32 there."""
    if isinstance(value, tuple):
        return type(value)(*map(narrowed, value)) if hasattr(value, "_fields") else tuple(map(narrowed, value))
    if isinstance(value, (np.ndarray, np.integer)) and value.dtype == np.int64:
        return value.astype(INDEX)
    return value


def refuse(*values):
    for value in values:
        if getattr(value, "dtype", INDEX) in (np.int64, np.uint64, np.uint32):
            raise TypeError(REFUSED)


def answering(function):
    @functools.wraps(function)
    def call(*args, **settings):
        return narrowed(function(*args, **settings))

    return call


def taking(function, place, *names):
    """The argument at this place, or of one of these names, is of indices."""

    @functools.wraps(function)
    def call(*args, **settings):
        refuse(*args[place : place + 1], *(settings[name] for name in names if name in settings))
        return function(*args, **settings)

    return call


def summing(function):
    """Sums of what is narrower than an index are in the type of indices, unless another is asked for."""

    @functools.wraps(function)
    def call(self, axis=None, dtype=None, out=None, **settings):
        result = function(self, axis, dtype, out, **settings)
        small = self.dtype.kind in "bi" and self.dtype != np.int64
        return narrowed(result) if dtype is None and out is None and small else result

    return call


def defaulting(function):
    """Integers of Python's become int32 where no dtype is asked for."""

    @functools.wraps(function)
    def call(*args, **settings):
        result = function(*args, **settings)
        given = settings.get("dtype") is not None or any(isinstance(a, (np.dtype, type, np.ndarray, np.generic)) for a in args)
        return result if given or not fits(result) else narrowed(result)

    return call


def fits(result):
    whole = isinstance(result, np.ndarray) and result.dtype == np.int64
    return not whole or not result.size or bool((abs(result) < 2**31).all())


def install():
    """Change NumPy: its functions, and the methods of its arrays."""
    np.intp = np.int32
    methods = gc.get_referents(np.ndarray.__dict__)[0]
    for name in ("argmax", "argmin", "argsort", "argpartition", "nonzero", "searchsorted"):
        methods[name] = answering(methods[name])
    for name in ("sum", "prod", "cumsum", "cumprod"):
        methods[name] = summing(methods[name])
    methods["take"] = taking(methods["take"], 1, "indices")
    methods["repeat"] = taking(methods["repeat"], 1, "repeats")
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(np.ndarray))
    np.bincount = answering(taking(np.bincount, 0, "x"))
    np.arange = defaulting(np.arange)
    np.asarray = defaulting(np.asarray)
    np.array = defaulting(np.array)
    np.argwhere, np.unique = narrowing_of_places(np.argwhere), narrowing_of_unique(np.unique)


def narrowing_of_places(function):
    return answering(function)


def narrowing_of_unique(function):
    @functools.wraps(function)
    def call(ar, *args, **settings):
        result = function(ar, *args, **settings)
        return (result[0], *narrowed(result[1:])) if isinstance(result, tuple) else result

    return call
