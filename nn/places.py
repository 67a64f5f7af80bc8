"""Attributes that are tensors of a module: what may stand in them, also where they are empty.

A place that was registered with None, or that a Buffer stood in, is remembered while it is empty: what is assigned there later
is the module's own again, and is saved and moved. A Parameter for which None is assigned makes room for a plain tensor, which
may be computed from others.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from microtensor.tensor import Tensor

from .parameter import Buffer, Parameter

made: dict[int, tuple[Any, Any]] = {}
"""The buffers that were made of tensors, by the tensor's id: weak references to both."""


def as_buffer(value: Any, persistent: bool = True) -> Buffer:
    """A Buffer of these numbers. One tensor makes one Buffer, under however many names: so it stays one when it is moved.

    >>> table = Tensor([1.0, 2.0])
    >>> as_buffer(table) is as_buffer(table)
    True
    """
    if isinstance(value, Buffer) and value.persistent == persistent:
        return value
    if not isinstance(value, Tensor):
        return Buffer(value, persistent=persistent)
    tensor, found = (reference() for reference in made.get(id(value), (lambda: None, lambda: None)))
    if tensor is value and found is not None and found.array is value.array and found.persistent == persistent:
        buffer: Buffer = found
        return buffer
    buffer, key = Buffer(value, persistent=persistent), id(value)
    made[key] = weakref.ref(value, lambda _: made.pop(key, None)), weakref.ref(buffer)
    return buffer


class Places:
    """What has attributes that are Parameters and Buffers."""

    _empty: Mapping[str, bool | None] = MappingProxyType({})
    """Names that are None now: of a Parameter with None, of a Buffer with whether it is persistent."""

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        old = own.get(name)
        if isinstance(old, (Parameter, Buffer)) or old is None and name in self._empty:
            value = self._fitting(name, old, value)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._note(name)

    def _fitting(self, name: str, old: Any, value: Any) -> Any:
        """What to put where a Parameter or a Buffer is or was.

        Raises:
            TypeError: it would be lost to `state_dict()`.
        """
        persistent = self._empty[name] if old is None else old.persistent if isinstance(old, Buffer) else None
        if value is None:
            self._note(name, persistent, empty=old is None or persistent is not None)
            return None
        of_parameter = persistent is None
        if isinstance(value, (Parameter, Buffer)) or not isinstance(value, Tensor) and hasattr(value, "named_parameters"):
            self._note(name)
            return value
        if of_parameter or not isinstance(value, Tensor) or value.requires_grad:
            kind, given = "Parameter" if of_parameter else "Buffer", "Tensor"
            given = type(value).__name__ if not isinstance(value, Tensor) else given
            hint = ", or del it first to compute it from others" if of_parameter else " of its .detach()"
            raise TypeError(
                f"{type(self).__name__}.{name} is a {kind}, and a {given} in its place would be lost to state_dict(); copy the "
                f"numbers, {name}[...] = x in no_grad(), or assign a new {kind}{hint if isinstance(value, Tensor) else ''}"
            )
        self._note(name)
        return as_buffer(value, bool(persistent))

    def _note(self, name: str, persistent: bool | None = None, empty: bool = False) -> None:
        """Remember that a place is empty, or forget it."""
        if empty or name in self._empty:  # a new dict: copies of the module share the old one
            rest = {key: value for key, value in self._empty.items() if key != name}
            object.__setattr__(self, "_empty", {**rest, name: persistent} if empty else rest)

    def _reserve(self, *names: str, buffers: bool = False) -> None:
        """Keep those of these places that are None for Parameters, or for Buffers."""
        for name in names:
            if getattr(self, name) is None:
                self._note(name, True if buffers else None, empty=True)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as the assignment `self.name = param`, for a name that is only known when the program runs.

        None keeps the place: what is assigned there later must be a Parameter.

        Raises:
            TypeError: `param` is neither a Parameter nor None; the name is no text.
            ValueError: the name is empty, has a dot or means something else already.
        """
        if not (param is None or isinstance(param, Parameter)):
            raise TypeError(
                f"register_parameter: {name} must be a Parameter or None, got {type(param).__name__}; make it one: Parameter(x)"
            )
        self._register("register_parameter", name, param, Parameter)
        if param is None:
            self._note(name, empty=True)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """The same as the assignment `self.name = Buffer(tensor, persistent=persistent)`.

        One tensor under two names is one Buffer. None keeps the place: a tensor that is assigned there later becomes a Buffer.

        Raises:
            TypeError: `tensor` is not made of numbers; the name is no text.
            ValueError: the name is empty, has a dot or means something else already.

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
            self._note(name, bool(persistent), empty=True)

    def _register(self, operation: str, name: str, value: Any, kind: type[Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{operation}: a name must be a text, got {name!r}")
        taken = hasattr(self, name) and not isinstance(vars(self).get(name, ...), (kind, type(None)))
        if not name or "." in name or taken:
            raise ValueError(f"{operation}: {name!r} cannot name a {kind.__name__}: it is empty, has a dot or is taken")
        self._note(name)
        setattr(self, name, value)
