"""Registering parameters and buffers: what may be assigned to an attribute that holds one, or that is reserved for one.

An attribute is reserved while it is None, if it was registered with None or held a Buffer before: a Parameter or tensor that
is assigned later becomes the module's own, and is saved and moved. None assigned over a Parameter reserves nothing, so that a
plain tensor, computed from other parameters, may follow.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from microtensor.tensor import Tensor

from .parameter import Buffer, Parameter

buffer_of: dict[int, tuple[Any, Any]] = {}
"""For each tensor (by its id) that a Buffer was made from: weak references to the tensor and to the Buffer."""


def as_buffer(value: Any, persistent: bool = True) -> Buffer:
    """A Buffer of these values. One tensor gives one Buffer, even under several names, so that it stays shared when moved.

    >>> table = Tensor([1.0, 2.0])
    >>> as_buffer(table) is as_buffer(table)
    True
    """
    if isinstance(value, Buffer) and value.persistent == persistent:
        return value
    if not isinstance(value, Tensor):
        return Buffer(value, persistent=persistent)
    tensor, found = (reference() for reference in buffer_of.get(id(value), (lambda: None, lambda: None)))
    if tensor is value and found is not None and found.array is value.array and found.persistent == persistent:
        buffer: Buffer = found
        return buffer
    buffer, key = Buffer(value, persistent=persistent), id(value)
    buffer_of[key] = weakref.ref(value, lambda _: buffer_of.pop(key, None)), weakref.ref(buffer)
    return buffer


class Registration:
    """Checks what is assigned to attributes that hold parameters and buffers. A base class of Module."""

    _reserved: Mapping[str, bool | None] = MappingProxyType({})
    """Attributes that are None: reserved for a Parameter (None) or for a Buffer (whether it is persistent)."""

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        old = own.get(name)
        if isinstance(old, (Parameter, Buffer)) or old is None and name in self._reserved:
            value = self._replacement(name, old, value)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._unreserve(name)

    def _replacement(self, name: str, old: Any, value: Any) -> Any:
        """What to store for a `value` that is assigned where a Parameter or Buffer is, or where one is reserved.

        Raises:
            TypeError: it would be missing from `state_dict()`.
        """
        persistent = self._reserved[name] if old is None else old.persistent if isinstance(old, Buffer) else None
        for_parameter = persistent is None
        if value is None:
            if old is None or not for_parameter:
                self._reserve_for(name, persistent)
            return None
        if isinstance(value, (Parameter, Buffer)) or not isinstance(value, Tensor) and hasattr(value, "named_parameters"):
            self._unreserve(name)
            return value
        if for_parameter or not isinstance(value, Tensor) or value.requires_grad:
            kind = "Parameter" if for_parameter else "Buffer"
            given = "Tensor" if isinstance(value, Tensor) else type(value).__name__
            hint = ", or del it first to compute it from others" if for_parameter else " of its .detach()"
            raise TypeError(
                f"{type(self).__name__}.{name} is a {kind}, and a {given} in its place would be lost to state_dict(); copy the "
                f"values, {name}[...] = x in no_grad(), or assign a new {kind}{hint if isinstance(value, Tensor) else ''}"
            )
        self._unreserve(name)
        return as_buffer(value, bool(persistent))

    def _reserve_for(self, name: str, persistent: bool | None) -> None:
        """Reserve an attribute for a Parameter (`persistent` None) or a Buffer. In a new dict: copies share the old one."""
        object.__setattr__(self, "_reserved", {**self._reserved, name: persistent})

    def _unreserve(self, name: str) -> None:
        if name in self._reserved:
            object.__setattr__(self, "_reserved", {key: value for key, value in self._reserved.items() if key != name})

    def _reserve(self, *names: str, buffers: bool = False) -> None:
        """Reserve those of these attributes that are None, for Parameters or for Buffers."""
        for name in names:
            if getattr(self, name) is None:
                self._reserve_for(name, True if buffers else None)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as the assignment `self.name = param`, for a name that is only known at run time.

        None reserves the name: what is assigned to it later must be a Parameter.

        Raises:
            TypeError: `param` is neither a Parameter nor None; the name is no string.
            ValueError: the name is empty, has a dot or is another attribute already.
        """
        if not (param is None or isinstance(param, Parameter)):
            raise TypeError(
                f"register_parameter: {name} must be a Parameter or None, got {type(param).__name__}; make it one: Parameter(x)"
            )
        self._register("register_parameter", name, param, Parameter)
        if param is None:
            self._reserve_for(name, None)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """The same as the assignment `self.name = Buffer(tensor, persistent=persistent)`.

        One tensor under two names is one Buffer. None reserves the name: a tensor assigned to it later becomes a Buffer.

        Raises:
            TypeError: `tensor` is not numeric; the name is no string.
            ValueError: the name is empty, has a dot or is another attribute already.

        >>> from microtensor.nn import Module
        >>> module = Module()
        >>> module.register_buffer("mean", None)
        >>> module.mean = Tensor([1.0])
        >>> module.state_dict()
        {'mean': Tensor([1.])}
        """
        buffer = None if tensor is None else as_buffer(tensor, persistent)
        self._register("register_buffer", name, buffer, Buffer)
        if buffer is None:
            self._reserve_for(name, bool(persistent))

    def _register(self, operation: str, name: str, value: Any, kind: type[Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{operation}: a name must be a string, got {name!r}")
        taken = hasattr(self, name) and not isinstance(vars(self).get(name, ...), (kind, type(None)))
        if not name or "." in name or taken:
            raise ValueError(f"{operation}: {name!r} cannot name a {kind.__name__}: it is empty, has a dot or is taken")
        self._unreserve(name)
        setattr(self, name, value)
