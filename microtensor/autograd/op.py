"""`@op`: a rule on arrays becomes an operation on tensors.

    @op(elementwise=True)
    def multiply(x, y):
        return x.array * y.array, (lambda g: g * y, lambda g: g * x)

A rule gets tensors, then settings, which are keyword-only, or stand after a `/` where PyTorch takes them by position too:
`def sum(x, /, dim=None, keepdim=False)`. It returns the array of the result and one vjp (vector-Jacobian product) per tensor: a
function from the gradient of the result to the gradient of that input, written in the library's own operations, so that a
gradient can itself be differentiated. `None` in place of a vjp says that no gradient flows to that input, `None` in place of
all of them that none flows at all.

A vjp returns its argument, a view of it, or a new array, because the engine adds gradients up in place. It may close over the
inputs (the tensors, not their arrays: so the engine sees when one was overwritten) and over anything else, but never over its
own result: that would be a reference cycle, and keep the graph alive. With `@op(output=True)` the engine passes the result as
second argument. A vjp that takes long may be marked for another thread: `may_run_in_parallel` in parallel.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, ParamSpec, TypeAlias, overload

import numpy as np
from numpy import ndarray

from ..runtime.arrays import Array, device_of, follow
from ..runtime.text import kind_of
from .arguments import Float, Form, Int, Traits, lift, shown, why_none
from .autocast import widened
from .broadcasting import align, check_devices, result_type
from .graph import Node, Origin, T, clock, is_floating, mode
from .meaning import Meaning, without_vjps
from .observers import Observer, observed, of_all_threads
from .validation import as_vjps, checked_rule

P = ParamSpec("P")

Rule: TypeAlias = tuple[Array, Sequence[Callable[..., T] | None] | None]
"""What a rule returns: the array of the result, and a vjp per tensor."""

new = object.__new__


@overload
def op(rule: Callable[P, Rule[T]], /) -> Callable[P, T]: ...
@overload
def op(
    *,
    elementwise: bool = ...,
    floating: bool = ...,
    output: bool = ...,
    wide: bool = ...,
    multiply_adds: Callable[[Sequence[Any], Any], int] | None = ...,
    receptive_field: Callable[..., Any] | None = ...,
    meaning: Callable[..., Any] | None = ...,
) -> Callable[[Callable[P, Rule[T]]], Callable[P, T]]: ...
def op(
    rule: Any = None,
    /,
    *,
    elementwise: bool = False,
    floating: bool = False,
    output: bool = False,
    wide: bool = False,
    multiply_adds: Callable[[Sequence[Any], Any], int] | None = None,
    receptive_field: Callable[..., Any] | None = None,
    meaning: Callable[..., Any] | None = None,
) -> Any:
    """Make an operation of a rule.

    Args:
        elementwise: each element of the result depends on the elements at its place only. Tensors of different shape or dtype
            are broadcast and promoted before the rule sees them.
        floating: integers and bools are taken as float32.
        output: each vjp is called with the result as second argument.
        wide: inside `autocast`, float16 is taken as float32.
        multiply_adds: a function of the list of inputs and the result, which returns how many multiply-adds with a weight were
            computed, for `nn.summary` and the profiler. None: it counts as 0.
        receptive_field: a function of the settings, by keyword, of an operation that slides a window over images (N, C, …):
            it returns (kernel, stride, padding), each a number of pixels or one for each axis of the image. None: an
            elementwise operation sees what its inputs see, and of any other `nn.receptive_field` says that it is unknown.
        meaning: for a rule whose forward and backward are written out on arrays: a function of the same tensors and settings
            (with the same defaults) that composes the same result of operations. A backward pass with `create_graph=True` takes
            the derivatives of that, once for all inputs, instead of calling the vjps: see meaning.py.

    The operation takes its settings by keyword, or by position after its tensors, and understands NumPy's `axis` and
    `keepdims`. Among its tensors it takes Python numbers, and arrays as constants. It returns a tensor.

    Raises:
        TypeError: `rule` is no function, or one of the last three arguments neither a function nor None. Of a call: an input
            is no tensor, number or array; an argument is missing or unknown; the rule returned something else than a pair.
        ValueError: the inputs are on different devices, or (elementwise) their shapes do not broadcast.

    >>> import microtensor as mt
    >>> @op
    ... def cube(x):
    ...     return x.array**3, (lambda g: 3 * g * x * x,)
    >>> x = mt.Tensor([2.0], requires_grad=True)
    >>> mt.grad(cube(x), x)[0]
    Tensor([12.])
    """
    traits = Traits(elementwise, floating, output, wide, multiply_adds, receptive_field, meaning)
    return functools.partial(_operation, traits=traits) if rule is None else _operation(rule, traits)


def _operation(rule: Any, traits: Traits) -> Any:
    """The function that users call."""
    if not isinstance(rule, FunctionType):
        raise TypeError(f"op: a rule is a function, written with def or lambda; got {kind_of(rule)}")
    form = Form(rule)

    @functools.wraps(rule)
    def operation(*args: Any, **settings: Any) -> Any:
        if of_all_threads or mode.observers:
            return observed(operation, run, args, settings)
        return run(args, settings, ())

    run = Call(operation, rule, form, traits).run
    shown.add(rule, operation, {"Rule[T]", str(rule.__annotations__.get("return"))})
    vars(operation).update(vars(traits), rule=rule, form=form)
    return operation


class Call:
    """What a call of an operation does: it brings its inputs together, lets the rule compute, and records the result."""

    __slots__ = (
        "operation", "function", "form", "name", "arity", "variadic", "known", "optional", "floating", "aligned", "output",
        "wide", "meaning", "checked",
    )  # fmt: skip

    def __init__(self, operation: Any, rule: FunctionType, form: Form, traits: Traits) -> None:
        self.operation, self.function, self.form, self.name = operation, rule, form, rule.__name__
        self.arity, self.variadic, self.known, self.optional = len(form.tensors), form.variadic, form.known, bool(form.optional)
        self.floating, self.output, self.wide, self.meaning = traits.floating, traits.output, traits.wide, traits.meaning
        self.aligned = traits.elementwise or traits.floating
        self.checked = False
        """Whether the rule has returned what it must once: later calls check less."""

    def run(self, args: Sequence[Any], settings: dict[str, Any], observers: Sequence[Observer]) -> Any:
        """The result of the operation; `observers` are told."""
        inputs = args
        if (len(inputs) != self.arity and not self.variadic) or (settings and not self.known.issuperset(settings)):
            inputs, settings = self.form.sort(inputs, settings)
        if self.wide and mode.autocast is not None:
            inputs = [widened(x) for x in inputs]
        first, numbers, needs_grad = None, False, False
        for x in inputs:
            if isinstance(x, Node):
                data = x._data
                if first is None:
                    first, array_type, shape, dtype = x, type(data), data.shape, data.dtype
                    alike = not self.floating or dtype.kind == "f"
                elif type(data) is not array_type:
                    check_devices(self.name, inputs)  # raises
                elif data.dtype is not dtype or data.shape != shape:
                    alike = False
                if x.origin is not None:
                    needs_grad = True
            elif type(x) is Float or type(x) is Int:
                numbers = True
            elif x is not None:
                return self.run(lift(self.name, inputs), settings, observers)
            elif not self.optional:
                raise TypeError(f"{self.name}: expected a Tensor, a number or an array, got None{why_none(x)}")
        if first is None:
            raise TypeError(f"{self.name}: expected a Tensor, got {', '.join(type(x).__name__ for x in inputs) or 'nothing'}")
        if array_type is not ndarray:
            check_devices(self.name, inputs)
            follow(first._data)
        if self.aligned and (not alike or (numbers and dtype.kind != "f")):
            dtype = result_type(*inputs)
            inputs = align(self.name, inputs, dtype if is_floating(dtype) or not self.floating else np.dtype(np.float32))

        try:
            returned = self.function(*inputs, **settings) if settings else self.function(*inputs)
        except OverflowError as error:  # a Python integer that the dtype cannot hold
            raise ValueError(f"{self.name}: {error}; convert the tensor first: .to('int64') or .to('float32')") from None
        data, vjps = returned if type(returned) is tuple and len(returned) == 2 else (None, None)
        if type(data) is not array_type or not self.checked:
            data, vjps = checked_rule(self.name, returned, inputs, array_type, moves="device" in self.known)
            self.checked = True
        result: Any = new(first.kind)  # as Node.wrap does
        result._data = data
        result.origin = result._grad = None
        result.assigned = [0]
        if data.base is not None:
            _share_version(result, inputs)
        if needs_grad and mode.recording and (vjps is not None or self.meaning is not None):
            self.record(result, inputs, settings, vjps)
        if observers:
            for observer in observers:
                observer.operation(self.operation, inputs, settings, result)
        return result

    def record(self, result: Any, inputs: Sequence[Any], settings: dict[str, Any], vjps: Any) -> None:
        """Give the result its place in the graph."""
        by_meaning = vjps is None
        if by_meaning:
            vjps = without_vjps(inputs)
        if type(vjps) is not tuple or len(vjps) != len(inputs):
            vjps = as_vjps(self.name, vjps, inputs)
        sources: Any = ()
        if len(inputs) == 2:  # the loop below, unrolled: it saves a tenth of the time of a small operation
            (x, y), (vjp, vjp_of_y) = inputs, vjps
            if vjp is not None and x is not None and x.origin is not None:
                sources = ((x.origin, vjp),)
                if not callable(vjp):
                    as_vjps(self.name, vjps, inputs)  # raises
            if vjp_of_y is not None and y is not None and y.origin is not None:
                sources += ((y.origin, vjp_of_y),)
                if not callable(vjp_of_y):
                    as_vjps(self.name, vjps, inputs)
        else:
            for x, vjp in zip(inputs, vjps):
                if vjp is not None and x is not None and x.origin is not None:
                    sources += ((x.origin, vjp),)
                    if not callable(vjp):
                        as_vjps(self.name, vjps, inputs)
        if sources:
            data = result._data
            result.origin = origin = Origin()
            origin.sources = sources
            origin.shape, origin.dtype = data.shape, data.dtype
            origin.op, origin.time = self.operation, clock[0]
            if type(data) is not ndarray:
                origin.device = device_of(data)
            if self.output:
                origin.output = data, result.assigned
            if self.meaning is not None:
                origin.meaning = Meaning(self.meaning, inputs, settings, vjps, by_meaning)


def _share_version(result: Node, inputs: Sequence[Any]) -> None:
    """If the result is a view of an input's memory: a write to one is a new version of both."""
    base = result._data.base
    for x in inputs:
        if isinstance(x, Node) and (x._data is base or x._data.base is base):
            result.assigned = x.assigned
            return
