"""Settings as numbers and text, for checkpoints: of objects and functions of a user's own too, as far as they show them."""

from __future__ import annotations

import dis
import functools
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from enum import Enum
from types import CodeType
from typing import Any

import numpy as np

from microtensor.runtime.arrays import is_array, to_numpy
from microtensor.tensor import Tensor

from ..losses.reduction import Loss
from ..module import Buffer, Module

LOOKED_AT = 32
"""Samples of a data set in memory that are looked at to tell it from another, and entries of a long list in a function."""

DEVICE = re.compile(r"(cpu|cuda|gpu)(:\d+)?")
"""Where things are is no setting: a run may go on elsewhere."""

RECENT = 30 * 24 * 3600
"""Seconds. A number of so little before now is a reading of the clock, as of when a program began."""


def plain(value: Any, depth: int = 8) -> Any:
    """A setting as numbers and text. Of large arrays a checksum, of functions their name and the numbers in them."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Module):
        return of_module(value)
    if isinstance(value, Tensor) or is_array(value):
        array = host(value)
        return array.tolist() if array.size <= 64 else f"{array.dtype} {array.shape}, checksum {checksum(array):08x}"
    if not depth:
        return type(value).__name__
    if isinstance(value, Mapping):
        return {str(key): plain(each, depth - 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each, depth - 1) for each in value]
    if isinstance(value, functools.partial):
        return {"function": plain(value.func, depth - 1), **of_others(value.keywords, depth), "arguments": plain(value.args)}
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType) and not str(function.__module__).startswith("microtensor."):
        return {
            "function": function.__qualname__,
            "constants": [*_constants(code, function.__doc__)],
            **_values(function, depth),
        }
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    return {"kind": type(value).__name__, **_attributes(value)}


def _constants(code: CodeType, doc: str | None = None) -> Iterator[Any]:
    """The numbers and names in a function."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _constants(constant)
        elif isinstance(constant, (int, float, str)) and constant != doc and ".<" not in str(constant):
            yield from () if _is_passing(constant) else (constant,)
        elif isinstance(constant, tuple):
            yield from (each for each in constant if isinstance(each, (int, float, str)))
    yield from code.co_names


def _values(function: Any, depth: int) -> dict[str, Any]:
    """What a function takes from outside: defaults, variables around it, numbers of its module."""
    code = function.__code__
    values = dict(zip(reversed(code.co_varnames[: code.co_argcount]), reversed(function.__defaults__ or ())))
    values |= function.__kwdefaults__ or {}
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # a variable that is not assigned yet
            continue
    known = function.__globals__
    values |= {n: known[n] for n in code.co_names if isinstance(known.get(n), (bool, int, float, str))}
    written = {*_written(code)}  # counters of the function's own
    return of_others({name: value for name, value in values.items() if name not in written}, depth)


def _written(code: CodeType) -> Iterator[str]:
    """The variables outside of a function that it assigns to."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in ("STORE_GLOBAL", "STORE_DEREF"))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _written(constant)


def of_others(values: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """What functions and objects of a user's own have, in brief: all but what is another each time that a program runs."""
    return {str(name): _brief(value, depth) for name, value in values.items() if not _is_passing(value)}


def _brief(value: Any, depth: int) -> Any:
    """As `plain`; of many things, a checksum of some."""
    if isinstance(value, Mapping):
        value = value if len(value) <= LOOKED_AT else [*value.items()]
    if not is_listed(value) or len(value) <= LOOKED_AT:
        return plain(value, depth - 1)
    some = [plain(value[i], depth - 1) for i in np.linspace(0, len(value) - 1, LOOKED_AT).astype(int)]
    return f"{len(value)} entries, checksum {zlib.crc32(repr(some).encode('utf-8', 'surrogatepass')):08x}"


def _is_passing(value: Any) -> bool:
    """Whether this is no setting, but where or when a program runs."""
    if isinstance(value, str):
        return DEVICE.fullmatch(value) is not None
    return isinstance(value, float) and abs(time.time() - value) < RECENT


def _attributes(value: Any) -> dict[str, Any]:
    """Public attributes that are settings by their kind: integers may be counters in objects of a user's own."""
    own = getattr(value, "__dict__", {})
    kinds = (bool, float, str) if isinstance(value, Module) else (bool, int, float, str)
    return {n: x for n, x in own.items() if type(x) in kinds and not n.startswith("_") and not _is_passing(x)}


def of_module(module: Module) -> dict[str, Any]:
    """Each layer by its dotted name: its class and its settings. Constants of losses, such as class weights, are such too."""
    layers: dict[str, Any] = {}
    for name, layer in module.named_modules():
        text = layer.extra_repr()
        if type(layer).extra_repr is Module.extra_repr:
            own = _attributes(layer)
            text = ", ".join(
                f"{key}={x!r}" for key, x in own.items() if key not in ("training", "frozen", "inplace")
            )  # which changes nothing
        layers[name or "itself"] = f"{type(layer).__name__}({re.sub(' at 0x[0-9a-fA-F]+', '', text)})"
    constants = {
        f"{name}.{key}".removeprefix("."): plain(x)
        for name, layer in module.named_modules()
        if isinstance(layer, Loss)
        for key, x in vars(layer).items()
        if isinstance(x, Buffer)
    }
    return {**layers, **constants}


def host(value: Any) -> np.ndarray[Any, Any]:
    """The numbers of a tensor, an array or a number, in host memory."""
    return to_numpy(value.array) if isinstance(value, Tensor) else to_numpy(value) if is_array(value) else np.asarray(value)


def checksum(array: np.ndarray[Any, Any], start: int = 0) -> int:
    """CRC-32 of the numbers, after what gave `start`."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes(), start)


def is_listed(value: Any) -> bool:
    """Whether this is a list or a tuple."""
    return isinstance(value, (list, tuple))
