"""A stand-in for CuPy over NumPy: arrays of a class of their own. Code that mixes host and device, or names one library, fails."""

import types

import numpy as np


class ndarray(np.ndarray):
    """An array "on the device": it does not mix with host arrays, and reductions give arrays, never scalars."""

    device = types.SimpleNamespace(id=0)

    def get(self):
        return np.array(self)

    def __getitem__(self, index):
        return np.asarray(super().__getitem__(index)).view(ndarray)

    def argmax(self, *args, **settings):
        return np.asarray(self.view(np.ndarray).argmax(*args, **settings)).view(ndarray)

    def argmin(self, *args, **settings):
        return np.asarray(self.view(np.ndarray).argmin(*args, **settings)).view(ndarray)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return array.view(ndarray)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **settings):
        for x in (*inputs, *out):
            if isinstance(x, (np.ndarray, np.generic)) and not isinstance(x, ndarray):
                raise TypeError(f"{ufunc.__name__}: a host array or scalar among device arrays")
        plain = [x.view(np.ndarray) if isinstance(x, ndarray) else x for x in inputs]
        if out:
            settings["out"] = tuple(x.view(np.ndarray) for x in out)
        result = getattr(ufunc, method)(*plain, **settings)
        return out[0] if out else np.asarray(result).view(ndarray)


def on_device(result):
    return result if isinstance(result, ndarray) else np.asarray(result).view(ndarray)


class Module(types.ModuleType):
    """NumPy's functions, with device arrays in and out."""

    ndarray = ndarray
    lib = types.SimpleNamespace(
        stride_tricks=types.SimpleNamespace(
            as_strided=lambda x, shape, strides: np.lib.stride_tricks.as_strided(x, shape, strides, subok=True)
        )
    )
    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1),
        Device=lambda index: __import__("contextlib").nullcontext(),
    )

    def __getattr__(self, name):
        value = getattr(np, name)
        if isinstance(value, np.ufunc) or not callable(value) or isinstance(value, type):
            return value

        def function(*args, **settings):
            result = value(*args, **settings)
            return tuple(map(on_device, result)) if isinstance(result, tuple) else on_device(result)

        return function


cupy = Module("cupy")
