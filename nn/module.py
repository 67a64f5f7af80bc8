"""`Module`: a function with state. Its parameters, buffers and submodules are its attributes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from microtensor.autograd.graph import is_floating
from microtensor.runtime.arrays import follow, parse_gpu
from microtensor.tensor import Tensor

from .hooks import Hooked
from .loading import Loaded, load
from .modes import Modes
from .parameter import Buffer as Buffer
from .parameter import Parameter as Parameter
from .parameter import forget, refuse_hidden
from .places import Places

V = TypeVar("V")
M = TypeVar("M", bound="Module")


class Module(Places, Hooked):
    """A layer, a network or a part of one: `forward` computes, the attributes remember.

    Attributes that are a Parameter, a Buffer or a Module are the module's own, in the order in which they were first
    assigned, and their names, joined by dots, name what the modules below hold. No call of `super().__init__()` is needed.

    Modules or parameters in a plain list, tuple or dict would be found by nobody, and a Tensor that requires a gradient but is
    no Parameter would never be learned: whoever walks over the module raises TypeError for both, in words. A plain Tensor is
    neither saved nor moved; assigned where a Buffer stands, it becomes one.

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
    frozen: bool = False
    """Whether `freeze()` was called last, not `unfreeze()`: nothing is learned here, running statistics stay as they are."""

    # What it holds

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Each parameter once, also where it is shared: the module's own, then (`recurse`) those of the modules below."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, under the first dotted name that leads to it; without `remove_duplicate` under every name.

        >>> class Pair(Module):
        ...     def __init__(self):
        ...         self.a, self.b = Parameter([1.0]), Parameter([2.0])
        >>> [name for name, _ in Pair().named_parameters()]
        ['a', 'b']
        """
        return _once(self._named(Parameter, prefix, recurse), remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """Each buffer once: the module's own, then those of the modules below."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        """Each buffer once, under the first dotted name that leads to it; without `remove_duplicate` under every name."""
        return _once(self._named(Buffer, prefix, recurse), remove_duplicate)

    def children(self) -> Iterator[Module]:
        """Each module that is an attribute of this one, once."""
        return (child for _, child in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Each module that is an attribute of this one, once, under the name of the first such attribute."""
        return _once(self._own(Module))

    def modules(self) -> Iterator[Module]:
        """This module and each one below it, once, parents first."""
        return (module for _, module in self.named_modules())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module, named `prefix`, and each one below it, once, parents first, under the first dotted name of each.

        Without `remove_duplicate`, under every name.
        """
        return _once(((place.removesuffix("."), module) for place, module in self._walk(_place(prefix))), remove_duplicate)

    def get_submodule(self, target: str) -> Module:
        """The module of this dotted name; this one for the empty name.

        Raises:
            AttributeError: there is none.

        >>> from microtensor.nn import Linear, Sequential
        >>> Sequential(Sequential(Linear(2, 1))).get_submodule("0.0")
        Linear(in_features=2, out_features=1, bias=True)
        """
        module: Module = self
        for name in target.split(".") if target else ():
            below = dict(module._own(Module))
            if name not in below:
                here = ", ".join(below) or "none"
                raise AttributeError(f"{type(self).__name__}: no module {target!r}; {type(module).__name__} holds {here}")
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
        place, _, name = target.rpartition(".")
        below = dict(self.get_submodule(place)._own(kind))
        if name not in below:
            here = ", ".join(below) or "none"
            raise AttributeError(f"{type(self).__name__}: no {kind.__name__.lower()} {target!r}; there is {here} beside it")
        return below[name]

    # How it comes to hold it

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as the assignment `self.name = module`, for a name that is only known when the program runs.

        Raises:
            TypeError: `module` is neither a Module nor None; the name is no text.
            ValueError: the name is empty, has a dot or means something else already.
        """
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"register_module: {name} must be a Module or None, got {type(module).__name__}")
        self._register("register_module", name, module, Module)

    add_module = register_module

    def _own(self, kind: type[V]) -> Iterator[tuple[str, V]]:
        """This module's own attributes of class `kind`, in the order of their first assignment."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, kind))

    def _walk(self, place: str = "", above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """This module and all below it, parents first, under every name that they have. Below `self` a name ends in a dot."""
        if any(self is module for module in above):
            raise ValueError(f"{type(above[0]).__name__}: {place[:-1]} leads back to it; a module cannot hold itself")
        refuse_hidden(type(self).__name__, vars(self), Module)
        yield place, self
        for name, child in self._own(Module):
            yield from child._walk(f"{place}{name}.", (*above, self))

    def _upwards(self) -> Iterator[Module]:
        """All modules below, children before parents, then this one; one that several hold, several times."""
        for child in self.children():
            yield from child._upwards()
        yield self

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

    def evaluating(self) -> Modes:
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
        return Modes(self.modules)

    def freeze(self: M) -> M:
        """Let nothing here change in training, and return the module itself: transfer learning keeps what was learned so.

        No parameter requires a gradient any more, and none keeps one, so no optimiser moves it and no time is spent on it.
        `frozen` is True here and in every module below: a frozen batch normalisation keeps its running statistics, and
        normalises by them, in training mode too. Dropout goes on dropping: that is `training`'s business.

        >>> class Model(Module):
        ...     def __init__(self):
        ...         self.weight, self.table = Parameter([1.0]), Parameter([2.0], requires_grad=False)
        >>> model = Model().freeze()
        >>> [parameter.requires_grad for parameter in model.parameters()]
        [False, False]
        >>> [parameter.requires_grad for parameter in model.unfreeze().parameters()]
        [True, False]
        """
        for module in self.modules():
            module.frozen = True
        for parameter in self.parameters():
            if parameter.requires_grad:
                parameter.requires_grad, parameter.grad, parameter.frozen = False, None, True
        return self

    def unfreeze(self: M) -> M:
        """Undo `freeze()`, here or in a part of what was frozen, and return the module itself.

        The parameters that `freeze()` found learnable are learnable again. One that was not stays as it is, and so does one
        whose `requires_grad` was cleared by hand: `requires_grad_()` makes all learnable.
        """
        for module in self.modules():
            module.frozen = False
        for parameter in self.parameters():
            if parameter.frozen:
                parameter.requires_grad, parameter.frozen = True, False
        return self

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set `requires_grad` of every parameter, and return the module itself. `freeze` also stops running statistics."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradient of every parameter: `grad` becomes None, or with `set_to_none=False` zeros."""
        for parameter in self.parameters():
            forget(parameter, set_to_none)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` with every module once, those below a module before it, this one last; return the module itself.

        >>> from microtensor.nn import Linear, Sequential, init
        >>> def start(module):
        ...     if isinstance(module, Linear):
        ...         init.zeros_(module.bias)
        >>> Sequential(Linear(2, 2)).apply(start)[0].bias.detach()
        Tensor([0., 0.])
        """
        list(self.modules())  # raises for what nobody would find, before anything is done
        for module in dict.fromkeys(self._upwards()):
            fn(module)
        return self

    def to(self: M, *targets: Any, dtype: DTypeLike | None = None, device: str | None = None) -> M:
        """Move every parameter and buffer to a device, and change the dtype of those that are floating point.

        In place: the Parameter objects stay, so an optimiser goes on with them, and what was shared stays shared. Gradients go
        along.

        Args:
            targets: a device ("cpu", "cuda", "cuda:N"), a floating-point dtype, both in either order, or a tensor to be like.

        Returns:
            The module itself.

        Raises:
            TypeError, ValueError: a target is neither a device nor a floating-point dtype.

        >>> from microtensor.nn import Linear
        >>> Linear(2, 1).to("cpu", "float64").weight.dtype
        dtype('float64')
        """

        def moved(tensor: Tensor) -> Tensor:
            return tensor.detach().to(*targets, dtype=dtype, device=device)

        goal = moved(Tensor(np.empty(0, np.float32))).dtype  # whatever is wrong is so before anything moves
        if not is_floating(goal):
            raise TypeError(f"to: a module computes in floating point, not in {goal}; use 'float32' or 'float64'")
        for tensor in [*self.parameters(), *self.buffers()]:
            if is_floating(tensor.dtype):
                data = moved(tensor).array
            else:  # to the same device, in its own dtype
                follow(tensor.array)
                place = moved(tensor.constant(tensor.xp.empty_like(tensor.array, np.float32))).device
                data = tensor.detach().to(place).array
            if data is not tensor.array:
                tensor.array = data
            if tensor.grad is not None:
                tensor.grad = moved(tensor.grad)
        return self

    def cpu(self: M) -> M:
        """Move every parameter and buffer to main memory, and return the module itself."""
        return self.to("cpu")

    def cuda(self: M, device: Any = None) -> M:
        """Move every parameter and buffer to a GPU, the current one or that of this number or name; return the module itself.

        Raises:
            TypeError, ValueError: it is the number or name of no GPU.
        """
        return self.to(parse_gpu("cuda", device))

    def float(self: M) -> M:
        """Compute in float32: `to("float32")`."""
        return self.to(np.float32)

    def double(self: M) -> M:
        """Compute in float64: `to("float64")`."""
        return self.to(np.float64)

    def half(self: M) -> M:
        """Compute in float16: `to("float16")`."""
        return self.to(np.float16)

    # Saving and loading

    def get_extra_state(self) -> Any:
        """What else than tensors `state_dict()` is to hold, as "_extra_state": a module that has any overrides this.

        Numbers, texts and tensors, in dicts, lists and tuples, can be saved to a `.npz` file; `save` refuses other objects.

        Raises:
            RuntimeError: the class does not override it.

        >>> class Counted(Module):
        ...     calls = 0
        ...     def get_extra_state(self):
        ...         return {"calls": self.calls}
        ...     def set_extra_state(self, state):
        ...         self.calls = state["calls"]
        >>> Counted().state_dict()
        {'_extra_state': {'calls': 0}}
        """
        raise RuntimeError(f"{type(self).__name__} has set_extra_state(), and no get_extra_state(): define both, or neither")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state()` gave: `load_state_dict` calls it, after the tensors have been loaded.

        Raises:
            RuntimeError: the class does not override it.
        """
        raise RuntimeError(f"{type(self).__name__} has get_extra_state(), and no set_extra_state(): define both, or neither")

    def state_dict(self, prefix: str = "") -> dict[str, Any]:
        """Every parameter and persistent buffer under its dotted name behind `prefix`, detached, in the same memory.

        A tensor that is shared is there under each of its names. What a module's `get_extra_state()` gives follows its tensors.
        """
        state: dict[str, Any] = {}
        for place, module in self._walk():
            state |= {place + name: tensor.detach() for name, tensor in module._tensors()}
            if _overrides(module, "get_extra_state"):
                state[place + EXTRA_STATE] = module.get_extra_state()
        return {prefix + name: value for name, value in state.items()} if prefix else state

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """This module's own tensors that are saved."""
        yield from self._own(Parameter)
        yield from ((name, buffer) for name, buffer in self._own(Buffer) if buffer.persistent)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Copy the values of `state_dict` into the parameters and buffers of these names, in their dtype, on their device.

        Each module's `set_extra_state()` then gets what `get_extra_state()` gave. What it raises comes when all else is loaded.

        Args:
            state_dict: tensors or arrays by dotted name, as `state_dict()` gives; PyTorch's tensors too.
            strict: refuse names that only one side has; otherwise pass over them.

        Returns:
            The names that were passed over: `missing_keys`, `unexpected_keys`.

        Raises:
            TypeError: `state_dict` is no mapping, or holds something that is no tensor and no array.
            ValueError: a name is missing or unexpected, or a shape differs. It says how many, and a few; nothing is loaded.
        """
        own: dict[str, Any] = {}
        for place, module in self._walk():
            own |= {place + name: tensor for name, tensor in module._tensors()}
            if _overrides(module, "get_extra_state") or _overrides(module, "set_extra_state"):
                own[place + EXTRA_STATE] = module.set_extra_state
        return load(type(self).__name__, own, state_dict, strict)

    # How it shows itself

    def extra_repr(self) -> str:
        """What stands between the parentheses of `repr`: the settings."""
        return ""

    def _below(self) -> list[str]:
        return [f"({name}): {child!r}" for name, child in self._own(Module)]

    def __repr__(self) -> str:
        name, settings = type(self).__name__, self.extra_repr()
        if self.frozen and any(self._own(Tensor)):
            settings = f"{settings}, frozen=True" if settings else "frozen=True"
        below = self._below()
        if not below:
            return f"{name}({settings})"
        lines = "\n".join([settings, *below] if settings else below)
        return f"{name}(\n  " + lines.replace("\n", "\n  ") + "\n)"


EXTRA_STATE = "_extra_state"
"""The name in a state of what `get_extra_state()` gives, as in PyTorch."""


def _overrides(module: Module, method: str) -> bool:
    return getattr(type(module), method) is not getattr(Module, method)


def _place(prefix: str) -> str:
    return f"{prefix}." if prefix else ""


def _once(named: Iterable[tuple[str, V]], remove_duplicate: bool = True) -> Iterator[tuple[str, V]]:
    """Each object under its first name, or under all."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen or not remove_duplicate:
            seen.add(id(value))
            yield name, value
