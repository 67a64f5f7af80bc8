"""CuPy's ufuncs: they take `out`, `dtype` and `casting`, device arrays and Python's own numbers, and the dtypes that CuPy knows."""

import numpy as np

from .array import array_of, checked, ndarray, new
from .counts import count
from .names import UFUNCS, VERSION

SCATTERED = {"add": "iILQefd", "sub": "iILQefd", "max": "iILQfd", "min": "iILQfd"}
"""The dtypes, by their letters, in which `.at` works: those that CUDA adds or compares in one step. Others: integers."""


class Ufunc:
    """A ufunc of CuPy, computed by NumPy's of that name."""

    def __init__(self, name):
        facts = UFUNCS[name]
        self.name, self.__name__ = f"cupy_{name}", name
        self.nin, self.nout = facts["inputs"], facts["outputs"]
        self.scattered = facts["at"]
        self.loops = [tuple(side) for side in (loop.split("->") for loop in facts["types"].split())]
        self.numpy = getattr(np, name)
        self.resolved = {}

    def __repr__(self):
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **settings):
        name = self.__name__
        if settings:
            raise TypeError(f"cupy.{name}: CuPy's ufuncs take out, dtype and casting alone, got {', '.join(settings)}")
        if not self.nin <= len(args) <= self.nin + self.nout:
            raise TypeError(f"cupy.{name}: takes {self.nin} arrays, got {len(args)}")
        if len(args) > self.nin:
            out, args = args[self.nin :], args[: self.nin]
        outs = out if isinstance(out, tuple) else (out,) * (out is not None)
        for x in args:
            checked(name, x)
        for y in outs:
            if y is not None:
                array_of(name, y)
        takes, gives = self.loop(args, dtype)
        inputs = [x._host if type(x) is ndarray else x for x in args]
        settings = {"casting": casting}
        if outs:
            settings["out"] = tuple(None if y is None else y._host for y in outs)
        if dtype is not None:
            settings["dtype"] = dtype
        elif not any(type(x) is ndarray for x in args):
            inputs = [np.asarray(x, letter) for x, letter in zip(inputs, takes)]
        with np.errstate(all="ignore"):
            result = self.numpy(*inputs, **settings)
        count(name, kernels=1)
        if self.nout == 1:
            return outs[0] if outs else new(np.asarray(result, gives))
        given = outs or (None,) * self.nout
        return tuple(new(np.asarray(y, letter)) if mine is None else mine for y, letter, mine in zip(result, gives, given))

    def loop(self, args, dtype):
        """The letters of the dtypes that CuPy computes in: the first of its own that hold the arguments without loss.

        Python's numbers are weak, as in NumPy 2: they take the dtype of the arrays that they meet, if it is of their kind.
        """
        key = (*(x.dtype if type(x) is ndarray else type(x) for x in args), dtype)
        found = self.resolved.get(key)
        if found is None:
            found = self.resolved[key] = self._loop(args, dtype)
        return found

    def _loop(self, args, dtype):
        if dtype is not None:
            wanted = np.dtype(dtype).char
            for takes, gives in self.loops:
                if wanted in gives:
                    return takes, gives
            raise TypeError(f"cupy.{self.__name__}: CuPy {VERSION} has no loop that gives {np.dtype(dtype)}")
        arrays = [x.dtype for x in args if type(x) is ndarray]
        kinds = [x.dtype if type(x) is ndarray else np.result_type(*arrays, x) if arrays else np.result_type(x) for x in args]
        for takes, gives in self.loops:
            if all(np.can_cast(kind, letter) for kind, letter in zip(kinds, takes)):
                return takes, gives
        raise TypeError(f"cupy.{self.__name__}: CuPy {VERSION} has no loop for {', '.join(map(str, kinds))}")

    # What else a ufunc can do

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        method = {"add": "sum", "multiply": "prod"}.get(self.__name__)
        if method is None:
            raise NotImplementedError(f"cupy.{self.__name__}.reduce: CuPy has it for add and multiply alone")
        return getattr(array_of(self.__name__, array), method)(axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        method = {"add": "cumsum", "multiply": "cumprod"}.get(self.__name__)
        if method is None:
            raise NotImplementedError(f"cupy.{self.__name__}.accumulate: CuPy has it for add and multiply alone")
        return getattr(array_of(self.__name__, array), method)(axis, dtype, out)

    def at(self, a, indices, b=None):
        """a[indices] = ufunc(a[indices], b), where an element that is named twice takes part twice."""
        name = self.__name__
        if self.scattered is None:
            raise NotImplementedError(f"cupy.{name}.at: CuPy {VERSION} does not have it")
        array_of(name, a)
        checked(name, b)
        if a.dtype.char not in SCATTERED.get(self.scattered, "iIlLqQ"):
            raise TypeError(f"cupy.{name}.at: CuPy has it for {SCATTERED[self.scattered]!r}, not for {a.dtype}")
        a._scatter(self.numpy, indices, b)

    def outer(self, A, B, **settings):
        A, B = array_of(self.__name__, A), array_of(self.__name__, B)
        return self(A.reshape(A.shape + (1,) * B.ndim), B, **settings)

    def reduceat(self, *args, **settings):
        raise NotImplementedError(f"cupy.{self.__name__}.reduceat: not in the stand-in")


ufuncs = {name: Ufunc(name) for name in UFUNCS if isinstance(getattr(np, name, None), np.ufunc)}

OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "divmod": "divmod",
    "pow": "power",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}
COMPARISONS = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}


def give_operators():
    """The array's operators are ufuncs."""

    def operator(name, ufunc):
        if name in UNARY:
            return lambda x: ufunc(x)
        return lambda x, y: ufunc(x, y)

    def in_place(ufunc):
        return lambda x, y: ufunc(x, y, out=x)

    def reflected(ufunc):
        return lambda x, y: ufunc(y, x)

    for name, of in (OPERATORS | COMPARISONS | UNARY).items():
        setattr(ndarray, f"__{name}__", operator(name, ufuncs[of]))
    for name, of in OPERATORS.items():
        setattr(ndarray, f"__r{name}__", reflected(ufuncs[of]))
        if name != "divmod":
            setattr(ndarray, f"__i{name}__", in_place(ufuncs[of]))


give_operators()
