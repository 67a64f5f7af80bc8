"""Traces one computation of a model: which modules were called, and what their operations cost. See `summary`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from microtensor import random
from microtensor.autograd.grad_mode import no_grad
from microtensor.autograd.graph import Node, is_floating
from microtensor.autograd.observers import Observer, observing
from microtensor.convert import as_dtype
from microtensor.profiler.costs import multiply_adds
from microtensor.runtime.integers import as_integers
from microtensor.runtime.scoped import Setting
from microtensor.tensor import Tensor

from ..module import Module, Parameter
from ..sketching import sketching
from .receptive_field_tracker import AxisField, FieldTracker, Unknown


class Called:
    """One call of a module: its operations, without those of the modules that it called in turn."""

    def __init__(self, name: str, module: Module, depth: int) -> None:
        self.name, self.module, self.depth = name, module, depth
        self.parameters: list[Parameter] = []
        """Parameters that were used here first: its own, then those of other modules that its operations use."""
        self.again: list[Parameter] = []
        """Its own parameters that were used before."""
        self.multiply_adds = 0
        self.activation_bytes = 0
        """Of the results that depend on the input, without views."""
        self.shapes: list[tuple[int, ...]] = []
        """Of the tensors that it returned, without the batch axis."""
        self.fields: tuple[AxisField, ...] | Unknown | None = None
        """The receptive fields of the first of them."""


class Trace(Observer):
    """The calls of one computation, in their order; the first is the model's own."""

    def __init__(self, model: Module, depth: int | None, size: tuple[int, ...]) -> None:
        self.size = size
        """Of the first input, (H, W), whose axes receptive fields are along."""
        self.names = {id(module): name for name, module in model.named_modules()}
        self.depth = depth
        self.calls: list[Called] = []
        self.stack: list[Called] = []
        self.counted: set[int] = set()
        """The ids of the parameters that were used."""
        self.tracker = FieldTracker()

    def enter(self, module: Module, args: Any) -> None:
        """The hook before a module."""
        if self.depth is None or len(self.stack) <= self.depth:
            call = Called(self.names[id(module)], module, len(self.stack))
            self.calls.append(call)
        else:
            call = self.stack[-1]
        self.stack.append(call)
        for parameter in module.parameters(recurse=False):
            if not self.count(parameter) and call.module is module:
                call.again.append(parameter)

    def leave(self, module: Module, args: Any, result: Any) -> None:
        """The hook after a module."""
        call = self.stack.pop()
        if call.module is module:
            tensors = list(_tensors(result))
            call.shapes = [x.shape[1:] for x in tensors]
            call.fields = self.tracker.of(tensors[0]) if tensors else None

    def count(self, parameter: Parameter) -> bool:
        """Count a parameter for the present call, unless it was used before."""
        new = id(parameter) not in self.counted
        if new:
            self.counted.add(id(parameter))
            self.stack[-1].parameters.append(parameter)
        return new

    def operation(self, operation: Any, inputs: Sequence[Any], settings: dict[str, Any], result: Node) -> None:
        """An operation has run."""
        call = self.stack[-1]
        for x in inputs:
            if isinstance(x, Parameter):
                self.count(x)
        call.multiply_adds += multiply_adds(operation, inputs, result)
        self.tracker.observe(operation, inputs, settings, result)
        view = any(isinstance(x, Node) and x.assigned is result.assigned for x in inputs)
        if self.tracker.of(result) is not None and not view:
            call.activation_bytes += result.array.nbytes


def trace(name: str, model: Any, input_shape: Any, dtype: Any = None, depth: int | None = None) -> Trace:
    """Call `model` once, on zeros of `input_shape`, and record the calls of its modules. The model is not changed.

    Convolutions and linear layers return results of the right shape without computing them, so that this is fast.

    Args:
        name: of the calling function, for error messages.
        input_shape: of one sample, without the batch axis; a list of shapes for several inputs.
        dtype: of the input, or a list with one per input; None: that of the model, or float32.
        depth: modules deeper than this are counted as parts of those that call them.

    Raises:
        TypeError: `model` is no Module, or `input_shape` is no shape.
        ValueError: a length is less than 1; the model cannot compute on this input.
    """
    if not isinstance(model, Module):
        hint = f"; create one: {model.__name__}(...)" if isinstance(model, type) else ""
        raise TypeError(f"{name}: expected a Module, got {model!r}{hint}")
    inputs = _inputs(name, model, input_shape, dtype)
    watch = Trace(model, depth, inputs[0].shape[2:])
    for x in inputs:
        watch.tracker.start(x)
    with ExitStack() as stack:
        stack.enter_context(model.evaluating())
        stack.enter_context(_generators_kept(model))
        stack.enter_context(no_grad())
        stack.enter_context(np.errstate(all="ignore"))  # zeros may be divided by zeros
        for module in list(model.modules()):
            stack.enter_context(module.register_forward_pre_hook(watch.enter, prepend=True))
            stack.enter_context(module.register_forward_hook(watch.leave))
        stack.enter_context(observing(watch))
        stack.enter_context(Setting(sketching, on=True))
        try:
            model(*inputs)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name}: {type(model).__name__} cannot compute for input_shape {input_shape}, which is that of one sample, "
                f"without the batch axis: {error}{_hint(str(error), inputs)}"
            ) from error
    return watch


def _inputs(name: str, model: Module, input_shape: Any, dtype: Any) -> list[Tensor]:
    several = isinstance(input_shape, list) and all(isinstance(shape, (tuple, list)) for shape in input_shape)
    shapes = input_shape if several else [input_shape]
    dtypes = dtype if isinstance(dtype, list) else [dtype] * len(shapes)
    if len(dtypes) != len(shapes):
        raise ValueError(f"{name}: {len(dtypes)} dtypes for {len(shapes)} inputs: give one, or one for each")
    tensors = [*model.parameters(), *model.buffers()]
    usual = next((x.dtype for x in tensors if is_floating(x.dtype)), np.dtype(np.float32))
    device = tensors[0].device if tensors else None

    def zeros(shape: Any, dtype: DTypeLike | None) -> Tensor:
        if isinstance(shape, tuple) and any(isinstance(part, (tuple, list)) for part in shape):
            raise TypeError(f"{name}: the shapes of several inputs are to be a list, got {shape}; write {[*shape]}")
        lengths = as_integers(name, "input_shape", shape, least=1)
        return Tensor(np.zeros((1, *lengths), as_dtype(name, dtype, usual)), device=device)

    return [zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes)]


def _hint(error: str, inputs: Sequence[Tensor]) -> str:
    """What to write if the model takes other inputs."""
    if "missing" in error and "positional argument" in error:
        return "; give a list with a shape for each input, such as [(1, 28, 28), (10,)]"
    if "integers" in error and all(is_floating(x.dtype) for x in inputs):
        return '; here: dtype="int64"'
    return ""


def _tensors(result: Any) -> Iterator[Node]:
    """The tensors in what a module returned."""
    if isinstance(result, Node):
        yield result
    elif isinstance(result, (tuple, list, dict)):
        for part in result.values() if isinstance(result, dict) else result:
            yield from _tensors(part)


@contextmanager
def _generators_kept(model: Module) -> Iterator[None]:
    """Restore the states of the random generators afterwards: the default one, and those of the modules."""
    found = {id(random.default): random.default}
    for module in model.modules():
        found |= {id(value): value for value in vars(module).values() if isinstance(value, random.Generator)}
    states = [(generator, generator.get_state()) for generator in found.values()]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
