"""Fingerprints of settings: numbers and text to store and compare in checkpoints, also of a user's functions and objects."""

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

SAMPLED_ENTRIES = 32
"""How many samples of a data set in memory, and how many entries of a long list, go into a checksum."""

INLINE_ELEMENTS = 64
"""Arrays of up to this many elements are written out; of larger ones a checksum is taken."""

DEVICE_NAME = re.compile(r"(cpu|cuda|gpu)(:\d+)?")
"""Devices are not compared: a run may be resumed on another one."""

CLOCK_SECONDS = 30 * 24 * 3600
"""A float this close to the present time is taken to be a reading of the clock, which differs each time a program runs."""


def fingerprint(value: Any, depth: int = 8) -> Any:
    """A setting as numbers and text: large arrays as a checksum, functions as their name and the constants in them."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Module):
        return module_fingerprint(value)
    if isinstance(value, Tensor) or is_array(value):
        array = host_array(value)
        if array.size <= INLINE_ELEMENTS:
            return array.tolist()
        return f"{array.dtype} {array.shape}, checksum {checksum(array):08x}"
    if not depth:
        return type(value).__name__
    if isinstance(value, Mapping):
        return {str(key): fingerprint(each, depth - 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [fingerprint(each, depth - 1) for each in value]
    if isinstance(value, functools.partial):
        keywords = attributes_fingerprint(value.keywords, depth)
        return {"function": fingerprint(value.func, depth - 1), **keywords, "arguments": fingerprint(value.args)}
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType) and not str(function.__module__).startswith("microtensor."):
        return {
            "function": function.__qualname__,
            "constants": [*_constants(code, function.__doc__)],
            **_outer_values(function, depth),
        }
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    return {"kind": type(value).__name__, **_simple_attributes(value)}


def _constants(code: CodeType, doc: str | None = None) -> Iterator[Any]:
    """The constants and the names in the code of a function."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _constants(constant)
        elif isinstance(constant, (int, float, str)) and constant != doc and ".<" not in str(constant):
            yield from () if _is_transient(constant) else (constant,)
        elif isinstance(constant, tuple):
            yield from (each for each in constant if isinstance(each, (int, float, str)))
    yield from code.co_names


def _outer_values(function: Any, depth: int) -> dict[str, Any]:
    """The values that a function takes from outside: defaults, closure variables, global numbers and text."""
    code = function.__code__
    values = dict(zip(reversed(code.co_varnames[: code.co_argcount]), reversed(function.__defaults__ or ())))
    values |= function.__kwdefaults__ or {}
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # an empty cell: the variable is not assigned yet
            continue
    known = function.__globals__
    values |= {n: known[n] for n in code.co_names if isinstance(known.get(n), (bool, int, float, str))}
    written = {*_written(code)}  # such as a count of its calls
    return attributes_fingerprint({name: value for name, value in values.items() if name not in written}, depth)


def _written(code: CodeType) -> Iterator[str]:
    """The global and nonlocal variables that a function assigns to."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in ("STORE_GLOBAL", "STORE_DEREF"))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _written(constant)


def attributes_fingerprint(values: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """The attributes of a user's object, or the variables of a function, without what differs each time a program runs."""
    return {str(name): _shortened(value, depth) for name, value in values.items() if not _is_transient(value)}


def _shortened(value: Any, depth: int) -> Any:
    """The fingerprint of a value; of a long list or dict, a checksum of some of its entries."""
    if isinstance(value, Mapping):
        value = value if len(value) <= SAMPLED_ENTRIES else [*value.items()]
    if not is_list(value) or len(value) <= SAMPLED_ENTRIES:
        return fingerprint(value, depth - 1)
    some = [fingerprint(value[i], depth - 1) for i in np.linspace(0, len(value) - 1, SAMPLED_ENTRIES).astype(int)]
    return f"{len(value)} entries, checksum {zlib.crc32(repr(some).encode('utf-8', 'surrogatepass')):08x}"


def _is_transient(value: Any) -> bool:
    """Whether this is not a setting but the name of a device or a reading of the clock."""
    if isinstance(value, str):
        return DEVICE_NAME.fullmatch(value) is not None
    return isinstance(value, float) and abs(time.time() - value) < CLOCK_SECONDS


def _simple_attributes(value: Any) -> dict[str, Any]:
    """The public attributes that are numbers or text. Not the integers of a module: they may be counters."""
    own = getattr(value, "__dict__", {})
    kinds = (bool, float, str) if isinstance(value, Module) else (bool, int, float, str)
    return {n: x for n, x in own.items() if type(x) in kinds and not n.startswith("_") and not _is_transient(x)}


def module_fingerprint(module: Module) -> dict[str, Any]:
    """Each layer by its dotted name: its class and its settings, with the buffers of losses, such as class weights."""
    layers: dict[str, Any] = {}
    for name, layer in module.named_modules():
        text = layer.extra_repr()
        if type(layer).extra_repr is Module.extra_repr:
            own = _simple_attributes(layer)  # "inplace" does not change the result
            text = ", ".join(f"{key}={x!r}" for key, x in own.items() if key not in ("training", "frozen", "inplace"))
        layers[name or "itself"] = f"{type(layer).__name__}({re.sub(' at 0x[0-9a-fA-F]+', '', text)})"
    constants = {
        f"{name}.{key}".removeprefix("."): fingerprint(x)
        for name, layer in module.named_modules()
        if isinstance(layer, Loss)
        for key, x in vars(layer).items()
        if isinstance(x, Buffer)
    }
    return {**layers, **constants}


def host_array(value: Any) -> np.ndarray[Any, Any]:
    """A tensor, an array or a number as a NumPy array."""
    return to_numpy(value.array) if isinstance(value, Tensor) else to_numpy(value) if is_array(value) else np.asarray(value)


def checksum(array: np.ndarray[Any, Any], start: int = 0) -> int:
    """CRC-32 of the elements, continued from the checksum `start`."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes(), start)


def is_list(value: Any) -> bool:
    """Whether this is a list or a tuple."""
    return isinstance(value, (list, tuple))
