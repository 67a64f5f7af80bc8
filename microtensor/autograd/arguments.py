"""How arguments arrive: by position or by name, under PyTorch's names or NumPy's, as tensors, numbers or arrays."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from numbers import Number
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from ..runtime.arrays import follow, takes_array
from ..runtime.text import kind_of
from .graph import Node, is_floating

P = ParamSpec("P")
R = TypeVar("R")

NUMPY_NAMES = {"axis": "dim", "axes": "dims", "keepdims": "keepdim", "ddof": "correction", "unbiased": "correction"}
"""NumPy's names for settings, which have PyTorch's names here; `unbiased` is PyTorch's old one. Both are accepted."""

PYTORCH_TENSORS = ("input", "other")
"""What PyTorch calls the first and the second tensor of an operation, for `relu(input=x)`."""


class Int(int):
    """A Python integer among an operation's tensors. It has an `array`, but no gradient, and does not change their dtype."""

    array = property(int)
    origin = None


class Float(float):
    """A Python float among an operation's tensors."""

    array = property(float)
    origin = None


def composed(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function composed of operations, or a method, take its arguments as an operation does: it accepts NumPy's names for
    its settings, and an error about an x that is no tensor names the function.

    >>> @composed
    ... def last(y, dim=-1):
    ...     return dim
    >>> last(None, axis=2)
    2
    """
    positional, keyword, _ = _parameters(function)
    tensors = positional[: 2 if positional[1:2] == ("y",) else 1]
    name, known, of_x = function.__name__, frozenset((*positional, *keyword)), positional[:1] == ("x",)

    @functools.wraps(function)
    def understanding(*args: Any, **settings: Any) -> R:
        if settings and not known.issuperset(settings):
            settings = _renamed(name, settings, known, tensors)
        if of_x and args and not isinstance(args[0], Node):
            lift(name, args[:1])  # raises, in words
        return function(*args, **settings)

    shown.add(function, understanding, ("T", "Any"))
    return understanding


class Shown:
    """What `help` and `inspect.signature` show of operations: that they take and return tensors, not what their rules do.

    For a type checker nothing changes. Operations are defined before the class Tensor, and get its name when it is defined.
    """

    def __init__(self) -> None:
        self.tensor: type | None = None
        self.waiting: list[tuple[Any, Any, Collection[str]]] = []

    def add(self, function: Any, operation: Any, returns: Collection[str]) -> None:
        """`operation`, which wraps `function`, returns a tensor if its annotation is missing or one of `returns`."""
        if self.tensor is None:
            self.waiting.append((function, operation, returns))
            return
        annotations = dict(function.__annotations__)
        for key, value in annotations.items():
            if key != "return" and (value == "T" or key == "x"):
                annotations[key] = self.tensor
        if annotations.get("return", returns) in (returns, *returns):
            annotations["return"] = self.tensor
        function.__annotations__ = operation.__annotations__ = annotations  # help follows the operation to what it wraps

    def define(self, tensor: type) -> None:
        """The class of tensors is defined."""
        self.tensor = tensor
        for waiting in self.waiting:
            self.add(*waiting)
        self.waiting.clear()


shown = Shown()

Either: TypeAlias = Any
"""What some functions return, depending on their arguments: one tensor, or a named tuple. `help` does not show it as Tensor."""


def _renamed(name: str, settings: dict[str, Any], known: Set[str], tensors: Sequence[str] = ()) -> dict[str, Any]:
    """Settings under the names that are `known`, where the caller wrote NumPy's; and the first and second of the tensors for
    PyTorch's `input` and `other`."""
    renamed: dict[str, Any] = {}
    by_pytorch = dict(zip(PYTORCH_TENSORS, tensors))
    for key, value in settings.items():
        if value is None and key in ("out", "dtype") and key not in known:
            continue  # np.mean(x) calls x.mean(axis=None, dtype=None, out=None)
        if key not in known:
            key = by_pytorch.get(key, key)
        name_here = NUMPY_NAMES.get(key, key)
        candidates = (key, name_here, name_here + "s")  # where PyTorch says dims and shifts, NumPy says axis and shift
        ours = next((candidate for candidate in candidates if candidate in known), key)
        if ours in renamed:
            raise TypeError(f"{name}: {ours} is given twice, by two of its names: {', '.join(settings)}")
        renamed[ours] = value
    return renamed


def _parameters(function: Any) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """The names of the parameters that may be given by position, and by keyword alone; and whether there is a `*args`.

    As inspect.signature says, in a twentieth of the time: there are some two hundred operations to import.
    """
    code = inspect.unwrap(function).__code__
    last = code.co_argcount + code.co_kwonlyargcount
    return (
        code.co_varnames[: code.co_argcount],
        code.co_varnames[code.co_argcount : last],
        bool(code.co_flags & inspect.CO_VARARGS),
    )


@dataclass
class Traits:
    """What `@op(…)` says of an operation."""

    elementwise: bool
    floating: bool
    output: bool
    wide: bool
    multiply_adds: Callable[[Sequence[Any], Any], int] | None
    receptive_field: Callable[..., Any] | None
    meaning: Callable[..., Any] | None

    def __post_init__(self) -> None:
        for key in ("multiply_adds", "receptive_field", "meaning"):
            value = getattr(self, key)
            if value is not None and not callable(value):
                raise TypeError(f"op: {key} must be a function or None, got {value!r}")


class Form:
    """The signature of a rule: its tensors, then its settings."""

    def __init__(self, rule: Callable[..., Any]) -> None:
        positional, keyword, self.variadic = _parameters(rule)
        before_slash = rule.__code__.co_posonlyargcount
        self.name = rule.__name__
        self.tensors = positional[:before_slash] if before_slash else positional
        self.settings = (*positional[len(self.tensors) :], *keyword)
        defaults = dict(zip(reversed(positional), reversed(rule.__defaults__ or ())))
        self.defaults = {k: v for k, v in (defaults | (rule.__kwdefaults__ or {})).items() if k in self.settings}
        self.optional = {name for name in self.tensors if name in defaults}
        self.known = frozenset(self.settings)

    def sort(self, inputs: Sequence[Any], settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments as callers write them → the tensors by position, the settings by their own names."""
        settings = _renamed(self.name, settings, self.known, self.tensors)
        if self.variadic:
            tensors = list(inputs)
        else:
            places = len(self.tensors)
            positional = dict(zip(self.settings, inputs[places:]))
            if len(inputs) > places + len(self.settings) or positional.keys() & settings.keys():
                raise TypeError(f"{self.name}: too many arguments: it takes {self}")
            settings |= positional
            tensors = list(inputs[:places])
            for name in self.tensors[len(tensors) :]:
                if name not in settings and name not in self.optional:
                    raise TypeError(f"{self.name}: {name} is missing: it takes {self}")
                tensors.append(settings.pop(name, None))
        if unknown := settings.keys() - self.known:
            raise TypeError(f"{self.name}: unexpected {', '.join(sorted(unknown))}: it takes {self}")
        return tensors, settings

    def __str__(self) -> str:
        return ", ".join(self.tensors or ("*tensors",)) + "".join(f", {name}=" for name in self.settings)


def is_number(value: Any) -> bool:
    """Whether a setting is one real number, of Python's or of NumPy's. A bool is none: it is a flag in the wrong place.

    >>> is_number(0.5), is_number(np.float32(1)), is_number(True), is_number("1")
    (True, True, False, False)
    """
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


nothing: list[tuple[str] | None] = [None]
"""The class of the last module whose `forward` returned None, for the error that follows from it."""


def why_none(x: Any) -> str:
    """A hint for an operation that gets None in place of a tensor; empty for anything else.

    >>> why_none(3.0)
    ''
    """
    return "" if x is not None or nothing[0] is None else f"; {nothing[0][0]}.forward returned None: is `return` missing?"


def plain_array(name: str, array: Any) -> Any:
    """An array as tensors hold them: of numbers or bools, and of no subclass with operators of its own.

    Raises:
        TypeError: its elements have more than 64 bits, or are no numbers; or it is a matrix, whose `*` is a matrix product.
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name}: expected numbers of 64 bits at most, got an array of {array.dtype}")
    if isinstance(array, np.matrix):
        raise TypeError(f"{name}: a numpy.matrix multiplies by a rule of its own; take np.asarray(matrix)")
    return np.asarray(array) if isinstance(array, np.ndarray) else array


def lift(name: str, inputs: Sequence[Any]) -> list[Any]:
    """Every input as a rule may get it: a tensor, an Int or Float, or None."""
    like = next((x for x in inputs if isinstance(x, Node)), None)
    if like is None:
        hint = why_none(inputs[0] if inputs else 0) or "; wrap it: Tensor(...)"
        raise TypeError(f"{name}: expected a Tensor, got {', '.join(map(kind_of, inputs))}{hint}")
    lifted: list[Any] = []
    for x in inputs:
        if isinstance(x, Node):
            lifted.append(x)
            continue
        if isinstance(x, np.generic):
            x = x.item()
        if isinstance(x, float) and type(x) is not Float:
            x = Float(x)
        elif isinstance(x, int) and type(x) is not Int:
            x = Int(x)
        elif takes_array(name, x):
            follow(x)
            x = like.constant(plain_array(name, x).copy())  # the caller may overwrite the array before the backward pass
        elif not (x is None or isinstance(x, (Int, Float))):
            raise TypeError(f"{name}: expected a Tensor, a number or an array, got {kind_of(x)}; wrap it: Tensor(...)")
        lifted.append(x)
    return lifted


BYTES = (
    "images of uint8 are to be scaled as well: microtensor.data.transforms.ToFloat() makes them float32 from 0 to 1, "
    "Normalize(mean, std) also subtracts and divides; give one to DataLoader(…, transform=…), or call it with the array"
)
"""A hint for a layer that is given images of uint8."""


def comparable(other: Any) -> bool:
    """Whether `x == other` is a comparison element by element. For other objects, such as None or a marker, it is False. A
    list, an array.array or a string count as comparable too: the operation refuses them with an error that says why.

    >>> comparable(2.5), comparable([1, 2]), comparable("2"), comparable(None), comparable(object())
    (True, True, True, False, False)
    """
    kinds = (Node, Number, Decimal, str, bytes, list, tuple, range, np.generic, np.ndarray, Sequence)
    foreign = ("__array__", "__array_interface__", "__dlpack__")
    return isinstance(other, kinds) or any(hasattr(type(other), name) for name in foreign)


def check_tensors(name: str, required: int, **tensors: Any) -> list[Any]:
    """The tensors of a layer's operation, arrays as constants. All but the first `required` may be None.

    Raises:
        TypeError: one is a number or no tensor, or they do not share one floating-point dtype.
    """
    lifted = lift(name, [*tensors.values()])
    for i, (key, value) in enumerate(zip(tensors, lifted)):
        if not isinstance(value, Node) and (value is not None or i < required):
            raise TypeError(f"{name}: {key} must be a Tensor, got {value}{why_none(value)}")
    if len({value.dtype for value in lifted if value is not None}) != 1 or not is_floating(lifted[0].dtype):
        given = ", ".join(f"{key} {value.dtype}" for key, value in zip(tensors, lifted) if value is not None)
        bytes_given = any(value is not None and value.dtype == np.uint8 for value in lifted)
        hint = BYTES if bytes_given else "use .to('float32'), or .to('float64') for all"
        raise TypeError(f"{name}: needs one floating-point dtype, got {given}; {hint}")
    return lifted
