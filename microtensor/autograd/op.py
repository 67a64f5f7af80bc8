"""`@op`: a rule on arrays becomes an operation on tensors.

    @op(elementwise=True)
    def multiply(x, y):
        return x.array * y.array, (lambda g: g * y, lambda g: g * x)

A rule gets tensors, then settings, which are keyword-only, or stand after a `/` where PyTorch takes them by position too:
`def sum(x, /, dim=None, keepdim=False)`. It returns the result's array and one vjp (vector-Jacobian product) per tensor: a
function from the gradient of the result to the gradient of that input, written in the library's own operations, so that a
gradient can itself be differentiated. `None` in place of a vjp says that no gradient flows to that input, `None` in place of
them all that none flows at all.

A vjp returns its argument, a view of it, or a new array, for the engine adds gradients up in place. It may close over the
inputs (the tensors, not their arrays: so the engine sees when one was overwritten) and over anything else, but never over its
own result, or the graph would keep itself alive: under `@op(output=True)` the engine hands it the result as second argument.
One that takes long, for an input that is mostly a leaf, may be marked for another thread: `aside` in parallel.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, ParamSpec, TypeAlias, overload

import numpy as np
from numpy import ndarray

from ..profiler.spans import entered, measured, profiles
from ..runtime.arrays import Array, device_of, follow, is_array
from .arguments import Float, Form, Int, kind_of, lift, shown, why_none
from .autocast import widened
from .graph import Node, Origin, T, clock, is_floating, mode
from .meaning import Meaning, without_vjps

P = ParamSpec("P")

Rule: TypeAlias = tuple[Array, Sequence[Callable[..., T] | None] | None]
"""What a rule returns: the result's array, and a vjp per tensor."""

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
        elementwise: each number of the result depends on the numbers at its place alone. Tensors of different shape or dtype
            are broadcast and promoted before the rule sees them.
        floating: integers and bools are taken as float32.
        output: each vjp is called with the result as second argument.
        wide: inside `autocast`, float16 is taken as float32.
        multiply_adds: a function of the list of inputs and the result that says how many multiplications with a weight were
            added up, for `nn.summary` and the profiler. None: it counts as 0.
        receptive_field: a function of the settings, by keyword, that says of an operation which slides a window over images
            (N, C, …) how: (kernel, stride, padding), each a number of pixels or one for each axis of the image. None: an
            elementwise operation sees what its inputs see, and of any other `nn.receptive_field` says that it is unknown.
        meaning: for a rule whose forward and backward are written out on arrays: a function of the same tensors and settings
            (with the same defaults) that composes the same result of operations. A backward pass with `create_graph=True` takes
            its derivatives instead of calling the vjps, once for all inputs, so the vjps need not be differentiable. With a
            meaning, `None` in place of all vjps says that derivatives are always the meaning's. The graph holds the inputs, as
            if a vjp closed over them. Tensors among the settings count as constants.

    The operation takes its settings by keyword, or by position after its tensors, and understands NumPy's `axis` and
    `keepdims` for `dim` and `keepdim`. Among its tensors it takes Python numbers, and arrays as constants. It returns a
    tensor, which requires a gradient if one flows from it to an input that does.

    Raises:
        TypeError: an input is no tensor, number or array; an argument is missing or unknown. Of `op` itself: `rule` is no
            function; `multiply_adds` or `receptive_field` is neither a function nor None. Of a call: the rule returned
            something else than (array, vjps).
        ValueError: the inputs are on different devices, or (elementwise) their shapes do not broadcast.

    >>> import microtensor as mt
    >>> @op
    ... def cube(x):
    ...     return x.array**3, (lambda g: 3 * g * x * x,)
    >>> x = mt.Tensor([2.0], requires_grad=True)
    >>> mt.grad(cube(x), x)[0]
    Tensor([12.])

    The same by array calls alone, whose second derivative is that of x · x · x:

    >>> @op(meaning=lambda x: x * x * x)
    ... def cube(x):
    ...     return x.array**3, (lambda g: x.constant(3 * g.array * x.array**2),)
    >>> (dx,) = mt.grad(cube(x), x, create_graph=True)
    >>> dx.detach(), mt.grad(dx, x)[0]
    (Tensor([12.]), Tensor([12.]))
    """
    known_of: dict[str, Any] = {"multiply_adds": multiply_adds, "receptive_field": receptive_field, "meaning": meaning}
    for key, value in known_of.items():
        if value is not None and not callable(value):
            raise TypeError(f"op: {key} must be a function or None, got {value!r}")
    if rule is None:
        return functools.partial(op, elementwise=elementwise, floating=floating, output=output, wide=wide, **known_of)

    if not isinstance(rule, FunctionType):
        raise TypeError(f"op: a rule is a function, written with def or lambda; got {kind_of(rule)}")
    form = Form(rule)
    name, arity, variadic, known = form.name, len(form.tensors), form.variadic, form.known
    optional, aligned = bool(form.optional), elementwise or floating

    tried = False

    @functools.wraps(rule)
    def operation(*args: Any, **settings: Any) -> Any:
        nonlocal tried
        if profiles and not entered():
            return measured(operation, args, settings)
        inputs: Sequence[Any] = args
        if (len(inputs) != arity and not variadic) or (settings and not known.issuperset(settings)):
            inputs, settings = form.sort(inputs, settings)
        if wide and mode.autocast is not None:
            inputs = [widened(x) for x in inputs]
        like, number = None, False
        for x in inputs:
            if isinstance(x, Node):
                data = x._data
                if like is None:
                    like, array_type, shape, dtype = x, type(data), data.shape, data.dtype
                    alike = not floating or dtype.kind == "f"
                elif type(data) is not array_type:
                    raise _mixed_devices(name, like, x)
                elif aligned and (data.dtype is not dtype or data.shape != shape):
                    alike = False
            elif x is None:
                if not optional:
                    raise TypeError(f"{name}: expected a Tensor, a number or an array, got None{why_none(x)}")
            else:
                if type(x) is not Float and type(x) is not Int:
                    return operation(*lift(name, inputs), **settings)
                number = True
        if like is None:
            raise TypeError(f"{name}: expected a Tensor, got {', '.join(type(x).__name__ for x in inputs) or 'nothing'}")
        if array_type is not ndarray:
            check_devices(name, inputs)
            follow(like._data)
        if aligned and (not alike or (number and dtype.kind != "f")):
            dtype = result_type(*inputs)
            inputs = align(name, inputs, dtype if is_floating(dtype) or not floating else np.dtype(np.float32))

        try:
            returned = rule(*inputs, **settings) if settings else rule(*inputs)
        except OverflowError as error:  # a Python integer that the dtype cannot hold
            raise ValueError(f"{name}: {error}; convert the tensor first: .to('int64') or .to('float32')") from None

        if type(returned) is not tuple and not isinstance(returned, tuple):  # an array of two rows unpacks, too
            raise unfit(name, len(inputs), returned)
        try:
            data, vjps = returned
        except ValueError:
            raise unfit(name, len(inputs), returned) from None
        if type(data) is not array_type or not tried:  # all of it is looked at the first time
            data = as_result(name, data, array_type, moves="device" in known)
            vjps = vjps if vjps is None else as_vjps(name, vjps, inputs)
            tried = True
        result = new(like.kind)  # as Node.wrap does
        result._data = data
        result.origin = result._grad = None
        result.assigned = [0]
        if data.base is not None:
            _share_memory(result, inputs)
        if vjps is None and meaning is not None:
            vjps = without_vjps(inputs)
        if vjps is not None and mode.recording:
            if type(vjps) is not tuple:
                vjps = as_vjps(name, vjps, inputs)
            sources: Any = ()
            if len(inputs) == len(vjps) == 2:  # the loop below, unrolled: it saves a tenth of what an operation costs
                (x, y), (to_x, to_y) = inputs, vjps
                if x is not None and x.origin is not None and to_x is not None:
                    sources = ((x.origin, to_x),)
                    if not callable(to_x):
                        as_vjps(name, vjps, inputs)
                if y is not None and y.origin is not None and to_y is not None:
                    sources += ((y.origin, to_y),)
                    if not callable(to_y):
                        as_vjps(name, vjps, inputs)
            else:
                if len(inputs) != len(vjps):
                    as_vjps(name, vjps, inputs)  # raises, in words
                for x, vjp in zip(inputs, vjps):
                    if x is not None and x.origin is not None and vjp is not None:
                        sources += ((x.origin, vjp),)
                        if not callable(vjp):
                            as_vjps(name, vjps, inputs)
            if sources:
                result.origin = origin = Origin()
                origin.sources = sources
                origin.shape, origin.dtype = data.shape, data.dtype
                origin.op, origin.time = operation, clock[0]
                if type(data) is not ndarray:
                    origin.device = device_of(data)
                if output:
                    origin.output = data, result.assigned
                if meaning is not None:
                    origin.meaning = Meaning(meaning, inputs, settings, vjps, alone=returned[1] is None)
        if mode.observers:
            for observer in mode.observers:
                observer(operation, inputs, settings, result)
        return result

    shown.add(rule, operation, {"Rule[T]", str(rule.__annotations__.get("return"))})
    vars(operation).update(known_of, rule=rule, form=form, output=output, elementwise=elementwise)
    return operation


def unfit(name: str, count: int, returned: Any) -> TypeError:
    """What to raise where a rule returned something else than the pair that it must."""
    if isinstance(returned, tuple):
        given = f"a tuple of {len(returned)}"
    else:
        given = f"{kind_of(returned)} of shape {returned.shape}" if hasattr(returned, "shape") else kind_of(returned)
    wanted = "(vjp,)" if count == 1 else f"({', '.join(['vjp'] * count)})"
    return TypeError(
        f"{name}: its rule must return a pair (array, vjps), it returned {given}: write `return array, {wanted}`, with a "
        "function of the gradient for each of its tensors, or `return array, None` where no gradient flows"
    )


def as_result(name: str, data: Any, array_type: type, moves: bool) -> Array:
    """What a rule returned as its result → an array such as its tensors hold, or of another device if it `moves` them.

    Raises:
        TypeError: it is no array of numbers, or one that is elsewhere.
    """
    if isinstance(data, np.generic):
        data = np.asarray(data)  # NumPy answers with a scalar where the result has no axes
    if isinstance(data, np.ma.MaskedArray) or not is_array(data):
        hint = "; compute with x.array, not with x" if isinstance(data, Node) else ""
        raise TypeError(f"{name}: its rule must return an array as its result, it returned {kind_of(data)}{hint}")
    if isinstance(data, ndarray):
        data = np.asarray(data)
    if type(data) is not array_type and not moves:
        raise TypeError(
            f"{name}: its rule returned {kind_of(data)}, but its tensors hold {array_type.__module__}.{array_type.__name__}: "
            "compute with the functions of x.xp, which is NumPy or CuPy"
        )
    if data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        raise TypeError(f"{name}: its rule returned an array of {data.dtype}; tensors hold numbers of 64 bits at most")
    return data


def as_vjps(name: str, vjps: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    """The vjps that a rule returned.

    Raises:
        TypeError: they are not as many as its tensors, or one is neither a function nor None.
    """
    if not isinstance(vjps, (tuple, list)):
        hint = "; write (vjp,), with a comma" if callable(vjps) else ""
        raise TypeError(f"{name}: its rule must return a tuple of vjps beside the array, it returned {kind_of(vjps)}{hint}")
    if len(vjps) != len(inputs):
        raise TypeError(f"{name}: its rule returned {len(vjps)} vjps for {len(inputs)} tensors")
    for i, vjp in enumerate(vjps):
        if vjp is not None and not callable(vjp):
            raise TypeError(f"{name}: its rule returned {kind_of(vjp)} as vjp {i}: expected a function or None")
    return vjps


def align(name: str, inputs: Sequence[Any], dtype: np.dtype[Any] | None) -> list[Any]:
    """Tensors broadcast to one shape and, unless `dtype` is None, cast to it. Numbers stay as they are: they adapt."""
    nodes = [x for x in inputs if isinstance(x, Node)]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in nodes))
    except ValueError:
        shapes = " and ".join(str(x.shape) for x in nodes)
        raise ValueError(
            f"{name}: shapes {shapes} do not broadcast: counted from the right, two lengths must be equal, or one of them 1"
        ) from None
    aligned = []
    for x in inputs:
        if isinstance(x, Node):
            tensor: Any = x
            if dtype is not None and x.dtype != dtype:
                tensor = tensor.to(dtype)
            x = tensor if x.shape == shape else tensor.broadcast_to(shape)
        aligned.append(x)
    return aligned


def result_type(*inputs: Any) -> np.dtype[Any]:
    """The dtype in which tensors and Python numbers meet: a float's over an integer's, the wider of two of a kind.

    Python numbers give way to tensors, but a Python float among integers alone makes float32 of them. So no float32
    becomes float64 unless it meets a float64 tensor: PyTorch's rule, where NumPy takes int64 with float32 to float64.
    """
    dtypes = [x.dtype for x in inputs if isinstance(x, Node)]
    floats = [dtype for dtype in dtypes if is_floating(dtype)]
    if floats:
        return np.result_type(*floats)
    if any(isinstance(x, float) for x in inputs):
        return np.dtype(np.float32)
    return np.result_type(*dtypes) if dtypes else np.dtype(np.int64)


def _share_memory(result: Node, inputs: Sequence[Any]) -> None:
    """An assignment to a view is one to the tensor that it is a view of, and the reverse."""
    base = result._data.base
    for x in inputs:
        if isinstance(x, Node) and (x._data is base or x._data.base is base):
            result.assigned = x.assigned
            return


def check_devices(name: str, inputs: Sequence[Any]) -> None:
    """Raise ValueError, which names two of them, unless all tensors among `inputs` are on one device."""
    nodes = [x for x in inputs if isinstance(x, Node)]
    for x in nodes[1:]:
        if device_of(x._data) != device_of(nodes[0]._data):
            raise _mixed_devices(name, nodes[0], x)


def _mixed_devices(name: str, x: Node, y: Node) -> ValueError:
    name = name.lstrip("_")  # the user called cat() or where(), not the operation inside them
    return ValueError(
        f"{name}: one tensor {x.shape} is on {x.device}, another {y.shape} on {y.device}; move one: .to({x.device!r})"
    )
