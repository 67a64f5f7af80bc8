"""`Module`: a function with state. Its parameters, buffers and submodules are its attributes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from microtensor.backend import is_array, to_device
from microtensor.gradient import no_grad
from microtensor.graph import Node, is_floating
from microtensor.tensor import Tensor

V = TypeVar("V")
M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a module learns. As an attribute of a module it is found by `parameters()`, saved and moved.

    What is computed from a parameter is a Tensor. An array given as `data` keeps its dtype and shares its memory.

    Raises:
        TypeError: `data` is not numeric, or not floating point and requires_grad.

    >>> weight = Parameter([1.0, 2.0])
    >>> weight.requires_grad, type(weight * 2).__name__
    (True, 'Tensor')
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)


class Buffer(Tensor):
    """A tensor that a module keeps but does not learn, such as a running mean. As an attribute it is saved and moved."""

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data)


class Loaded(NamedTuple):
    """What `load_state_dict(state, strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A layer, a network or a part of one: `forward` computes, the attributes remember.

    Attributes that are a Parameter, a Buffer or a Module are the module's own, in the order in which they were first
    assigned, and their names, joined by dots, name what the modules below hold. No call of `super().__init__()` is needed.

    Modules or parameters in a plain list, tuple or dict would be found by nobody, and a Tensor that requires a gradient but is
    no Parameter would never be learned: whoever walks over the module raises TypeError for both, in words. A plain Tensor is
    neither saved nor moved.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> scale = Scale()
    >>> scale(Tensor([3.0]))
    Tensor([6.], op=multiply)
    >>> scale.state_dict()
    {'factor': Tensor([2.])}
    """

    training: bool = True
    """Whether the module computes as in training, where dropout drops and batch normalisation uses the batch's statistics."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes: each module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} computes nothing yet: define its method forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # What it holds

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Each parameter once, also where it is shared: the module's own, then (`recurse`) those of the modules below."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, under the first dotted name that leads to it.

        >>> class Pair(Module):
        ...     def __init__(self):
        ...         self.a, self.b = Parameter([1.0]), Parameter([2.0])
        >>> [name for name, _ in Pair().named_parameters()]
        ['a', 'b']
        """
        return _once(self._named(Parameter, prefix, recurse))

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """Each buffer once: the module's own, then those of the modules below."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        """Each buffer once, under the first dotted name that leads to it."""
        return _once(self._named(Buffer, prefix, recurse))

    def children(self) -> Iterator[Module]:
        """Each module that is an attribute of this one, once."""
        return (child for _, child in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Each module that is an attribute of this one, once, under the name of the first such attribute."""
        return _once(self._own(Module))

    def modules(self) -> Iterator[Module]:
        """This module and each one below it, once, parents first."""
        return (module for _, module in self.named_modules())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module, named `prefix`, and each one below it, once, parents first, under the first dotted name of each."""
        return _once((place.removesuffix("."), module) for place, module in self._walk(_place(prefix)))

    def _own(self, kind: type[V]) -> Iterator[tuple[str, V]]:
        """This module's own attributes of class `kind`, in the order of their first assignment."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, kind))

    def _walk(self, place: str = "", above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """This module and all below it, parents first, under every name that they have. Below `self` a name ends in a dot."""
        if any(self is module for module in above):
            raise ValueError(f"{type(above[0]).__name__}: {place[:-1]} leads back to it; a module cannot hold itself")
        _refuse_hidden(self)
        yield place, self
        for name, child in self._own(Module):
            yield from child._walk(f"{place}{name}.", (*above, self))

    def _named(self, kind: type[V], prefix: str, recurse: bool) -> Iterator[tuple[str, V]]:
        walked = self._walk(_place(prefix))
        for place, module in walked if recurse else [next(walked)]:
            for name, value in module._own(kind):
                yield place + name, value

    # What can be done to all of it

    def train(self: M, mode: bool = True) -> M:
        """Set `training` here and in every module below, and return the module itself.

        Raises:
            TypeError: `mode` is no bool.
        """
        if not isinstance(mode, bool):
            raise TypeError(
                f"train: mode must be True or False, got {type(mode).__name__}; it only sets the mode and trains nothing"
            )
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Set `training` to False, here and in every module below, and return the module itself."""
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """In eval mode inside the `with`; afterwards each module is in its own mode again, which need not be one for all.

        >>> class Model(Module):
        ...     pass
        >>> model = Model()
        >>> with model.evaluating():
        ...     model.training
        False
        >>> model.training
        True
        """
        before = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, training in before:
                module.training = training

    def zero_grad(self) -> None:
        """Forget the gradient of every parameter: `grad` becomes None."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set `requires_grad` of every parameter, and return the module itself. What does not require a gradient is frozen."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def to(self: M, target: Any) -> M:
        """Move every parameter and buffer to a device, or change the dtype of those that are floating point.

        In place: the Parameter objects stay, so an optimiser goes on with them, and what was shared stays shared. Gradients go
        along.

        Args:
            target: a device ("cpu", "cuda", "cuda:N"), or a floating-point dtype.

        Returns:
            The module itself.

        Raises:
            TypeError, ValueError: `target` is neither a device nor a floating-point dtype.
        """
        for tensor in [*self.parameters(), *self.buffers()]:
            data = tensor.detach().to(target).data
            if is_floating(tensor.dtype) and not is_floating(data.dtype):
                raise TypeError(f"to: a module computes in floating point, not in {data.dtype}; use 'float32' or 'float64'")
            if data is tensor.data or data.dtype != tensor.dtype and not is_floating(tensor.dtype):
                continue
            tensor.data = data
            if tensor.grad is not None:
                tensor.grad = tensor.grad.detach().to(target)
        return self

    # Saving and loading

    def state_dict(self) -> dict[str, Tensor]:
        """Every parameter and buffer under its dotted name, detached, in the same memory.

        A tensor that is shared is there under each of its names.
        """
        return {name: tensor.detach() for name, tensor in self._state()}

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for place, module in self._walk():
            for kind in (Parameter, Buffer):
                for name, tensor in module._own(kind):
                    yield place + name, tensor

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Copy the values of `state` into the parameters and buffers of the same names, in their dtype, on their device.

        Args:
            state: tensors or arrays by dotted name, as `state_dict()` gives.
            strict: refuse names that only one side has; otherwise pass over them.

        Returns:
            The names that were passed over: `missing_keys`, `unexpected_keys`.

        Raises:
            TypeError: `state` is no mapping, or holds something that is no tensor and no array.
            ValueError: a name is missing or unexpected, or a shape differs. One message lists them all, and nothing is loaded.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: expected tensors by name, as state_dict() gives, got {type(state).__name__}")
        for name, value in state.items():
            if not (isinstance(value, (Node, np.generic)) or is_array(value)):
                raise TypeError(f"load_state_dict: {name} must be a Tensor or an array, got {type(value).__name__}")
        own = dict(self._state())
        values = {name: Tensor(state[name]) for name in own if name in state}
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        unlike = [
            f"{name} is {own[name].shape} here, {value.shape} in the state"
            for name, value in values.items()
            if value.shape != own[name].shape
        ]
        if unlike or strict and (missing or unexpected):
            lines = [f"load_state_dict: the state does not fit {type(self).__name__}, and nothing was loaded"]
            lines += [f"missing: {', '.join(missing)}"] if missing and strict else []
            lines += [f"unexpected: {', '.join(unexpected)}"] if unexpected and strict else []
            lines += [f"of another shape: {'; '.join(unlike)}"] if unlike else []
            lines += ["strict=False passes over missing and unexpected names"] if strict and not unlike else []
            raise ValueError("\n  ".join(lines))
        with no_grad():
            for name, value in values.items():
                own[name][...] = to_device(value.data.astype(own[name].dtype, copy=False), own[name].device)
        return Loaded(missing, unexpected)

    # How it shows itself

    def extra_repr(self) -> str:
        """What stands between the parentheses of `repr`: the settings."""
        return ""

    def __repr__(self) -> str:
        name, settings = type(self).__name__, self.extra_repr()
        below = [f"({key}): {child!r}" for key, child in self._own(Module)]
        if not below:
            return f"{name}({settings})"
        lines = "\n".join([settings, *below] if settings else below)
        return f"{name}(\n  " + lines.replace("\n", "\n  ") + "\n)"


def _place(prefix: str) -> str:
    return f"{prefix}." if prefix else ""


def _once(named: Iterable[tuple[str, V]]) -> Iterator[tuple[str, V]]:
    """Each object under its first name."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _refuse_hidden(module: Module) -> None:
    """Raise for what looks like a part of the module, but that nobody would find."""
    for name, value in vars(module).items():
        place = f"{type(module).__name__}.{name}"
        if isinstance(value, (list, tuple, set, dict)):
            held = next(_hidden(value), None)
            if held is not None:
                raise TypeError(
                    f"{place}: a plain {type(value).__name__} hides the {type(held).__name__} in it from parameters(), to() "
                    "and state_dict(); make each an attribute of its own, or hold modules in a Sequential"
                )
        elif isinstance(value, Tensor) and value.requires_grad and value.is_leaf and not isinstance(value, Parameter):
            raise TypeError(
                f"{place}: a {type(value).__name__} that requires a gradient is not found by parameters(), and would never be "
                "learned; make it a Parameter, or call .detach() if it is not to be learned"
            )


def _hidden(value: Any) -> Iterator[Module | Parameter]:
    """The modules and parameters in plain containers, nested or not."""
    if isinstance(value, (Module, Parameter)):
        yield value
    elif isinstance(value, (list, tuple, set, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _hidden(item)
