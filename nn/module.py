"""`Module`, the base class of layers and networks: `forward` computes, and the attributes hold parameters and submodules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from microtensor.autograd.graph import is_floating
from microtensor.runtime.arrays import follow, parse_gpu
from microtensor.tensor import Tensor

from .eval_mode import EvalMode
from .hooks import Hooked
from .loading import Loaded, load
from .module_tree import ModuleTree
from .parameter import Buffer as Buffer
from .parameter import Parameter as Parameter
from .parameter import clear_grad
from .registration import Registration

M = TypeVar("M", bound="Module")


class Module(Registration, ModuleTree, Hooked):
    """A layer, a network or a part of one: a function with state.

    A subclass defines `forward(self, x)`, and assigns what it learns to attributes: each Parameter, Buffer or Module that is an
    attribute belongs to the module, in the order of first assignment. The parameters of submodules have dotted names, such as
    `conv1.weight`. `super().__init__()` need not be called.

    What a Module offers, and where it is written:

        calling it, hooks                                  hooks.py
        parameters(), modules() …, by dotted name          module_tree.py
        register_buffer(), register_parameter()            registration.py
        train(), freeze(), to(), apply(), state_dict()     here

    A module or parameter in a plain list, tuple or dict would not be found, and a Tensor that requires a gradient but is no
    Parameter would not be learned: `parameters()` and all others that walk over the modules raise TypeError for both. A plain
    Tensor is neither saved nor moved; assigned to an attribute that holds a Buffer, it becomes a Buffer.

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
    """Whether dropout drops and batch normalisation uses the statistics of the batch: see `train` and `eval`."""
    frozen: bool = False
    """Whether `freeze()` was called, and not `unfreeze()` since."""

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as the assignment `self.name = module`, for a name that is only known at run time.

        Raises:
            TypeError: `module` is neither a Module nor None; the name is no string.
            ValueError: the name is empty, has a dot or is another attribute already.
        """
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"register_module: {name} must be a Module or None, got {type(module).__name__}")
        self._register("register_module", name, module, Module)

    add_module = register_module

    # Mode

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

    def evaluating(self) -> EvalMode:
        """Eval mode inside a `with` block; afterwards each module has its former mode again.

        >>> class Model(Module):
        ...     pass
        >>> model = Model()
        >>> with model.evaluating():
        ...     model.training
        False
        >>> model.training
        True
        """
        return EvalMode(self.modules)

    def freeze(self: M) -> M:
        """Keep all parameters and running statistics as they are in training, and return the module itself: transfer learning.

        No parameter requires a gradient, and all gradients are cleared, so no optimiser changes a parameter and no gradient is
        computed for it. `frozen` becomes True here and in every module below: a frozen batch normalisation normalises by its
        running statistics and does not update them, also in training mode. Dropout depends on `training` alone.

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

        Parameters whose `requires_grad` was cleared by `freeze()` require a gradient again, others stay as they are:
        `requires_grad_()` sets all.
        """
        for module in self.modules():
            module.frozen = False
        for parameter in self.parameters():
            if parameter.frozen:
                parameter.requires_grad, parameter.frozen = True, False
        return self

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set `requires_grad` of every parameter, and return the module itself. `freeze` also keeps running statistics."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradient of every parameter: `grad` becomes None, or with `set_to_none=False` zeros."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` with every module once, children before parents, and return the module itself.

        >>> from microtensor.nn import Linear, Sequential, init
        >>> def start(module):
        ...     if isinstance(module, Linear):
        ...         init.zeros_(module.bias)
        >>> Sequential(Linear(2, 2)).apply(start)[0].bias.detach()
        Tensor([0., 0.])
        """
        list(self.modules())  # raises for hidden modules, before fn is called
        for module in dict.fromkeys(self._walk_up()):
            fn(module)
        return self

    def to(self: M, *targets: Any, dtype: DTypeLike | None = None, device: str | None = None) -> M:
        """Move every parameter and buffer to a device, and change the dtype of those that are floating point.

        In place: the Parameter objects stay the same, so an optimiser keeps them, and shared parameters stay shared. Gradients
        are moved too.

        Args:
            targets: a device ("cpu", "cuda", "cuda:N"), a floating-point dtype, both in either order, or a tensor with both.

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

        result_dtype = moved(Tensor(np.empty(0, np.float32))).dtype  # raises for wrong targets, before anything is moved
        if not is_floating(result_dtype):
            raise TypeError(f"to: a module computes in floating point, not in {result_dtype}; use 'float32' or 'float64'")
        for tensor in [*self.parameters(), *self.buffers()]:
            if is_floating(tensor.dtype):
                data = moved(tensor).array
            else:  # integers and bools: to that device, in their own dtype
                follow(tensor.array)
                target = moved(tensor.constant(tensor.xp.empty_like(tensor.array, np.float32))).device
                data = tensor.detach().to(target).array
            if data is not tensor.array:
                tensor.array = data
            if tensor.grad is not None:
                tensor.grad = moved(tensor.grad)
        return self

    def cpu(self: M) -> M:
        """Move every parameter and buffer to main memory, and return the module itself."""
        return self.to("cpu")

    def cuda(self: M, device: Any = None) -> M:
        """Move every parameter and buffer to a GPU, the current one or that of this index or name; return the module itself.

        Raises:
            TypeError, ValueError: there is no GPU of this index or name.
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
        """More than tensors for `state_dict()`, saved under "_extra_state": override it in a module that has such state.

        Numbers, strings and tensors, in dicts, lists and tuples, can be saved to a `.npz` file; `save` refuses other objects.

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
        """Restore what `get_extra_state()` returned: `load_state_dict` calls it, after the tensors have been loaded.

        Raises:
            RuntimeError: the class does not override it.
        """
        raise RuntimeError(f"{type(self).__name__} has get_extra_state(), and no set_extra_state(): define both, or neither")

    def state_dict(self, prefix: str = "") -> dict[str, Any]:
        """Every parameter and persistent buffer by its dotted name, after `prefix`: detached tensors that share the memory.

        A shared tensor is there under each of its names. A module's `get_extra_state()` comes after its tensors.
        """
        state: dict[str, Any] = {}
        for path, module in self._walk():
            state |= {path + name: tensor.detach() for name, tensor in module._tensors()}
            if _overrides(module, "get_extra_state"):
                state[path + EXTRA_STATE] = module.get_extra_state()
        return {prefix + name: value for name, value in state.items()} if prefix else state

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """This module's own tensors that are saved: parameters and persistent buffers."""
        yield from self._own(Parameter)
        yield from ((name, buffer) for name, buffer in self._own(Buffer) if buffer.persistent)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Copy the values of `state_dict` into the parameters and buffers of these names, in their dtype, on their device.

        Then each module's `set_extra_state()` is called with its extra state: if it raises, all tensors are loaded already.

        Args:
            state_dict: tensors or arrays by dotted name, as `state_dict()` gives; PyTorch's tensors too.
            strict: refuse missing and unexpected names; otherwise skip them.

        Returns:
            The names that were skipped: `missing_keys`, `unexpected_keys`.

        Raises:
            TypeError: `state_dict` is no mapping, or a value in it is neither a tensor nor an array.
            ValueError: a name is missing or unexpected, or a shape differs: the first few are listed, and nothing is loaded.
        """
        own: dict[str, Any] = {}
        for path, module in self._walk():
            own |= {path + name: tensor for name, tensor in module._tensors()}
            if _overrides(module, "get_extra_state") or _overrides(module, "set_extra_state"):
                own[path + EXTRA_STATE] = module.set_extra_state
        return load(type(self).__name__, own, state_dict, strict)

    # repr

    def extra_repr(self) -> str:
        """The settings, as `repr` shows them between the parentheses. Override it in a layer."""
        return ""

    def _child_lines(self) -> list[str]:
        return [f"({name}): {child!r}" for name, child in self._own(Module)]

    def __repr__(self) -> str:
        name, settings = type(self).__name__, self.extra_repr()
        if self.frozen and any(self._own(Tensor)):
            settings = f"{settings}, frozen=True" if settings else "frozen=True"
        children = self._child_lines()
        if not children:
            return f"{name}({settings})"
        lines = "\n".join([settings, *children] if settings else children)
        return f"{name}(\n  " + lines.replace("\n", "\n  ") + "\n)"


EXTRA_STATE = "_extra_state"
"""The name of the extra state in a state_dict, as in PyTorch."""


def _overrides(module: Module, method: str) -> bool:
    return getattr(type(module), method) is not getattr(Module, method)
