"""A module and the modules below it form a tree: this file walks over it and names what it finds.

The dotted name `layer1.0.conv1.weight` is the path of attributes that leads to a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from microtensor.tensor import Tensor

from .parameter import Buffer, Parameter

if TYPE_CHECKING:
    from .module import Module

V = TypeVar("V")


class ModuleTree:
    """Finds the parameters, buffers and submodules among the attributes of a module. The base class of Module."""

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Each parameter once, even if it is shared: the module's own, then (`recurse`) those of the modules below."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, under its first dotted name; without `remove_duplicate` under all of its names.

        >>> from microtensor.nn import Module
        >>> class Pair(Module):
        ...     def __init__(self):
        ...         self.a, self.b = Parameter([1.0]), Parameter([2.0])
        >>> [name for name, _ in Pair().named_parameters()]
        ['a', 'b']
        """
        return _unique(self._named(Parameter, prefix, recurse), remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """Each buffer once: the module's own, then those of the modules below."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        """Each buffer once, under its first dotted name; without `remove_duplicate` under all of its names."""
        return _unique(self._named(Buffer, prefix, recurse), remove_duplicate)

    def children(self) -> Iterator[Module]:
        """Each module that is an attribute of this one, once."""
        return (child for _, child in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Each module that is an attribute of this one, once, under the name of the first such attribute."""
        return _unique(self._submodules())

    def modules(self) -> Iterator[Module]:
        """This module and each one below it, once, parents first."""
        return (module for _, module in self.named_modules())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module, named `prefix`, and each one below it, once, parents first, under its first dotted name.

        Without `remove_duplicate`, under all of its names.
        """
        walked = self._walk(f"{prefix}." if prefix else "")
        return _unique(((path.removesuffix("."), module) for path, module in walked), remove_duplicate)

    def get_submodule(self, target: str) -> Module:
        """The module of this dotted name; this module for the empty name.

        Raises:
            AttributeError: there is none.

        >>> from microtensor.nn import Linear, Sequential
        >>> Sequential(Sequential(Linear(2, 1))).get_submodule("0.0")
        Linear(in_features=2, out_features=1, bias=True)
        """
        module: Any = self
        for name in target.split(".") if target else ():
            below = dict(module._submodules())
            if name not in below:
                names = ", ".join(below) or "none"
                raise AttributeError(f"{type(self).__name__}: no module {target!r}; {type(module).__name__} holds {names}")
            module = below[name]
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of this dotted name.

        Raises:
            AttributeError: there is none.
        """
        return self._get(Parameter, target)

    def get_buffer(self, target: str) -> Buffer:
        """The buffer of this dotted name.

        Raises:
            AttributeError: there is none.
        """
        return self._get(Buffer, target)

    def _get(self, kind: type[V], target: str) -> V:
        path, _, name = target.rpartition(".")
        found = dict(self.get_submodule(path)._own(kind))
        if name not in found:
            names = ", ".join(found) or "none"
            raise AttributeError(f"{type(self).__name__}: no {kind.__name__.lower()} {target!r}; there is {names} beside it")
        return found[name]

    def _own(self, kind: type[V]) -> Iterator[tuple[str, V]]:
        """This module's own attributes of class `kind`, in the order of their first assignment."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, kind))

    def _submodules(self) -> Iterator[tuple[str, Any]]:
        """The modules among the attributes."""
        return self._own(ModuleTree)

    def _walk(self, path: str = "", above: tuple[ModuleTree, ...] = ()) -> Iterator[tuple[str, Any]]:
        """This module and all below it, parents first, under each of their names; below `self` a name ends in a dot."""
        if any(self is module for module in above):
            raise ValueError(f"{type(above[0]).__name__}: {path[:-1]} leads back to it; a module cannot hold itself")
        _refuse_hidden(type(self).__name__, vars(self))
        yield path, self
        for name, child in self._submodules():
            yield from child._walk(f"{path}{name}.", (*above, self))

    def _walk_up(self) -> Iterator[Any]:
        """All modules below, children before parents, then this one; a module that is held twice comes twice."""
        for child in self.children():
            yield from child._walk_up()
        yield self

    def _named(self, kind: type[V], prefix: str, recurse: bool) -> Iterator[tuple[str, V]]:
        walked = self._walk(f"{prefix}." if prefix else "")
        for path, module in walked if recurse else [next(walked)]:
            for name, value in module._own(kind):
                yield path + name, value


def _unique(named: Iterable[tuple[str, V]], remove_duplicate: bool = True) -> Iterator[tuple[str, V]]:
    """Each object under its first name, or without `remove_duplicate` under all."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen or not remove_duplicate:
            seen.add(id(value))
            yield name, value


def _refuse_hidden(owner: str, attributes: Mapping[str, Any]) -> None:
    """Raise TypeError for modules and parameters that the walk would miss, in an object of class `owner`."""
    for name, value in attributes.items():
        if isinstance(value, (list, tuple, set, dict)):
            held = next(_nested(value), None)
            if held is not None:
                raise TypeError(
                    f"{owner}.{name}: a plain {type(value).__name__} hides the {type(held).__name__} in it from parameters(), "
                    "to() and state_dict(); make each an attribute of its own, or hold modules in a Sequential, ModuleList or "
                    "ModuleDict, parameters in a ParameterList or ParameterDict"
                )
        elif isinstance(value, Tensor) and value.requires_grad and value.is_leaf and not isinstance(value, Parameter):
            raise TypeError(
                f"{owner}.{name}: a {type(value).__name__} that requires a gradient is not found by parameters(), and would "
                "never be learned; make it a Parameter, or call .detach() if it is not to be learned"
            )


def _nested(value: Any) -> Iterator[Any]:
    """The modules and parameters in plain containers, nested or not."""
    if isinstance(value, (ModuleTree, Parameter)):
        yield value
    elif isinstance(value, (list, tuple, set, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _nested(item)
