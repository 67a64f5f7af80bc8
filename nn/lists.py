"""Lists and dicts of modules and of parameters. Unlike in a plain list, what they hold is found, named, saved and moved."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, Generic, SupportsIndex, TypeVar, overload

from microtensor.runtime.arrays import is_array
from microtensor.tensor import Tensor

from .module import Module, Parameter

V = TypeVar("V")
L = TypeVar("L", bound="Ordered[Any]")


def _index(index: Any) -> int | None:
    """An index as an int, from whatever Python accepts as one, NumPy's integers and integer tensors too. None for others."""
    try:
        return operator.index(index)
    except (TypeError, ValueError):
        return None


class _Container(Module, Generic[V]):
    """A module that holds modules or parameters, as attributes under names that the caller gives, or under numbers."""

    kind: ClassVar[type[Any]] = Module
    """The class of what it holds: Module or Parameter."""

    def _parts(self) -> dict[str, V]:
        return dict(self._own(self.kind))

    def _add(self, name: str, value: V) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: a name must be a string, got {name!r}")
        if not name or "." in name or hasattr(self, name):
            kind = self.kind.__name__.lower()
            raise ValueError(f"{type(self).__name__}: {name!r} cannot name a {kind}: it is empty, has a dot or is taken")
        setattr(self, name, self._checked(value))

    def _checked(self, value: Any) -> Any:
        if isinstance(value, self.kind):
            return value
        if self.kind is Parameter and (isinstance(value, Tensor) or is_array(value)):
            return Parameter(value)
        raise TypeError(f"{type(self).__name__}: expected a {self.kind.__name__}, got {value!r}{self._hint(value)}")

    def _hint(self, value: Any) -> str:
        """What to write instead of a value of another class."""
        if isinstance(value, type) and issubclass(value, Module):
            return f"; create one: {value.__name__}(...)"
        if self.kind is Module and isinstance(value, (list, tuple)) and value and all(isinstance(x, Module) for x in value):
            return f"; unpack it: {type(self).__name__}(*layers)"
        if self.kind is Module and callable(value):
            return "; take the layer of this function, such as ReLU(), or call it in the forward of a Module of your own"
        return ""

    def __len__(self) -> int:
        return sum(1 for _ in self._own(self.kind))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Not defined: the module that holds the container calls what is in it."""
        raise NotImplementedError(
            f"{type(self).__name__} only holds modules or parameters, and computes nothing: call what is in it, or use a "
            "Sequential, which calls one module after the other"
        )

    def _child_lines(self) -> list[str]:
        if self.kind is Module:
            return super()._child_lines()
        return [f"({name}): Parameter {parameter.dtype} {parameter.shape}" for name, parameter in self._own(Parameter)]


class Ordered(_Container[V]):
    """Modules or parameters in order, as attributes named "0", "1" … or as the caller names them.

    If the names are the numbers from 0 on, `insert` and `del` renumber them; other names stay as they are. What is added gets
    the first free number as its name.
    """

    def append(self: L, value: V) -> L:
        """Add `value` at the end, and return the container itself."""
        self._add(self._free_name(), value)
        return self

    def extend(self: L, values: Iterable[V]) -> L:
        """Add each of `values` at the end, and return the container itself."""
        for value in [self._checked(value) for value in values]:
            self.append(value)
        return self

    def insert(self: L, index: SupportsIndex, value: V) -> L:
        """Insert `value` before position `index`, and return the container itself.

        Raises:
            IndexError: there is no such position.
        """
        names, values = list(self._parts()), list(self)
        position = _index(index)
        if position is None or not -len(values) <= position <= len(values):
            raise IndexError(f"{type(self).__name__}: cannot insert at {index!r}, there are {len(values)}")
        values.insert(position, self._checked(value))
        names.insert(position, self._free_name())
        self._replace_all(names, values)
        return self

    def pop(self, index: Any = -1) -> Any:
        """Remove what is at `index`, the last one by default, and return it."""
        removed = self[index]
        del self[index]
        return removed

    def _free_name(self) -> str:
        number = len(self)
        while hasattr(self, str(number)):  # a slice keeps its names
            number += 1
        return str(number)

    def _replace_all(self, names: list[str], values: list[V]) -> None:
        """Replace all that it holds, and renumber it if it was numbered."""
        before = list(self._parts())
        if before == [str(i) for i in range(len(before))]:
            names = [str(i) for i in range(len(values))]
        for name in before:
            delattr(self, name)
        for name, value in zip(names, values):
            setattr(self, name, value)

    def _key(self, index: SupportsIndex | str) -> str:
        names = list(self._parts())
        if isinstance(index, str) and index in names:
            return index
        position = _index(index)
        if position is not None and -len(names) <= position < len(names):
            return names[position]
        kind = self.kind.__name__.lower()
        raise IndexError(f"{type(self).__name__}: no {kind} {index!r} among the {len(names)}: {', '.join(names)}")

    def __iter__(self) -> Iterator[V]:
        return (part for _, part in self._own(self.kind))

    @overload
    def __getitem__(self, index: SupportsIndex | str) -> V: ...
    @overload
    def __getitem__(self: L, index: slice) -> L: ...
    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            return vars(self)[self._key(index)]
        copy = type(self).__new__(type(self))
        parts = self._parts()
        rest = {name: value for name, value in vars(self).items() if name not in parts and name not in ("_hooks", "_reserved")}
        vars(copy).update(rest | dict(list(parts.items())[index]))
        return copy

    def __setitem__(self, index: SupportsIndex | str, value: V) -> None:
        setattr(self, self._key(index), self._checked(value))

    def __delitem__(self, index: SupportsIndex | str | slice) -> None:
        names, values = list(self._parts()), list(self)
        positions = index if isinstance(index, slice) else names.index(self._key(index))
        del names[positions], values[positions]
        self._replace_all(names, values)

    def __add__(self: L, other: Iterable[V]) -> L:
        if not isinstance(other, Iterable):
            return NotImplemented
        return self[:].extend(other)

    def __iadd__(self: L, other: Iterable[V]) -> L:
        return self.extend(other)


class _List(Ordered[V]):
    """An Ordered that is made of one iterable, and is always numbered."""

    def __init__(self, values: Iterable[V] | None = None) -> None:
        if values is not None and not isinstance(values, Iterable):
            name, kind = type(self).__name__, self.kind.__name__.lower()
            raise TypeError(f"{name}: expected a list of {kind}s, {name}([a, b]), got {type(values).__name__}")
        self.extend(values or ())

    def _replace_all(self, names: list[str], values: list[V]) -> None:
        super()._replace_all([str(i) for i in range(len(values))], values)

    @overload
    def __getitem__(self, index: SupportsIndex | str) -> V: ...
    @overload
    def __getitem__(self: L, index: slice) -> L: ...
    def __getitem__(self, index: Any) -> Any:
        part: Any = super().__getitem__(index)
        if isinstance(index, slice):
            part._replace_all([], list(part))
        return part


class ModuleList(_List[Module]):
    """Modules in a list, for a `forward` that calls them in its own way.

    It supports what a list does: index, slice, `len`, iteration, `append`, `extend`, `insert`, `pop`, `del`, `+`.

    Args:
        modules: modules, or None.

    Raises:
        TypeError: one of them is no module.

    >>> from microtensor.nn.layers.linear import Linear
    >>> layers = ModuleList([Linear(2, 3), Linear(3, 1)])
    >>> list(layers.state_dict())
    ['0.weight', '0.bias', '1.weight', '1.bias']
    >>> x = Tensor([1.0, 2.0])
    >>> for layer in layers:
    ...     x = layer(x).relu()
    >>> x.shape
    (1,)
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__(modules)


class ParameterList(_List[Parameter]):
    """Parameters in a list. A Tensor or array among them becomes a Parameter. See `ModuleList`.

    >>> ParameterList([Tensor([1.0, 2.0]), Parameter([3.0])])
    ParameterList(
      (0): Parameter float32 (2,)
      (1): Parameter float32 (1,)
    )
    """

    kind = Parameter

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__(values)


class _Dict(_Container[V], MutableMapping[str, V]):
    """Modules or parameters by name: a MutableMapping, with `keys`, `items`, `get`, `pop`, `update`, `clear`."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, values: Mapping[str, V] | Iterable[tuple[str, V]] | None = None) -> None:
        if values is not None and not isinstance(values, Iterable):
            name, kind = type(self).__name__, self.kind.__name__.lower()
            raise TypeError(f"{name}: expected {kind}s by name, {name}({{'a': a}}), got {type(values).__name__}")
        self.update(values or {})

    def __getitem__(self, key: str) -> V:
        parts = self._parts()
        if key not in parts:
            kind = self.kind.__name__.lower()
            raise KeyError(f"{type(self).__name__}: no {kind} {key!r} among the {len(parts)}: {', '.join(parts)}")
        return parts[key]

    def __setitem__(self, key: str, value: V) -> None:
        if key in self._parts():
            setattr(self, key, self._checked(value))
        else:
            self._add(key, value)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts())


class ModuleDict(_Dict[Module]):
    """Modules by name, in the order in which they were added, for a `forward` that chooses among them.

    Args:
        modules: a dict, or (name, module) pairs.

    Raises:
        TypeError: a value is no module, or a name is no string.
        ValueError: a name is empty, has a dot or is another attribute already, such as "keys" and "training".

    >>> from microtensor.nn.layers.activation import ReLU, Tanh
    >>> choices = ModuleDict({"relu": ReLU(), "tanh": Tanh()})
    >>> choices["relu"](Tensor([-1.0, 1.0]))
    Tensor([0., 1.])
    >>> "tanh" in choices, len(choices)
    (True, 2)
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__(modules)


class ParameterDict(_Dict[Parameter]):
    """Parameters by name. A Tensor or array among them becomes a Parameter. See `ModuleDict`.

    >>> scales = ParameterDict({"first": Tensor([1.0])})
    >>> scales["second"] = Parameter([2.0])
    >>> [*scales.state_dict()]
    ['first', 'second']
    """

    kind = Parameter

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__(parameters)
