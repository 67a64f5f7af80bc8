"""The chain rule over the graph: `backward`, `grad`, and whether operations record at all."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence, Set
from contextlib import ContextDecorator
from typing import Any

from numpy import ndarray

from . import aside
from .backend import follow
from .graph import Node, Origin, T, clock, mode
from .op import Rule, op
from .overwritten import check_unchanged
from .watching.anomaly import check_gradient
from .watching.measure import begin_step, entered, measured_pass, profiles


class _Recording(ContextDecorator):
    """Switches recording for a block or a function, and back afterwards."""

    value: bool

    def __new__(cls, function: Any = None) -> Any:
        """`@no_grad` without parentheses decorates too."""
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self) -> None:
        self._before: list[bool] = []

    def _recreate_cm(self) -> _Recording:  # a decorated function may run in several threads at once
        return type(self)()

    def __enter__(self) -> None:
        self._before.append(mode.recording)
        mode.recording = self.value

    def __exit__(self, *error: object) -> None:
        mode.recording = self._before.pop()


class no_grad(_Recording):
    """Operations inside record nothing: no gradient will be asked for. A context manager and a decorator, per thread.

    >>> import microtensor as mt
    >>> x = mt.Tensor([3.0], requires_grad=True)
    >>> with no_grad():
    ...     (x * x).requires_grad
    False
    """

    value = False


class enable_grad(_Recording):
    """Operations inside record again, inside a `no_grad`.

    >>> import microtensor as mt
    >>> x = mt.Tensor([3.0], requires_grad=True)
    >>> with no_grad(), enable_grad():
    ...     (x * x).requires_grad
    True
    """

    value = True


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded now."""
    return mode.recording


def grad(
    outputs: T | Sequence[T],
    inputs: T | Sequence[T],
    grad_outputs: T | Sequence[T | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradient of `outputs` with respect to each of `inputs`: the vector-Jacobian product with `grad_outputs`.

    Args:
        outputs: one tensor or several, whose gradients add up.
        inputs: one tensor or several, leaves or results. Nothing is written to their `.grad`.
        grad_outputs: a tensor of the shape and dtype of each output. None for an output of one element: 1.
        retain_graph: keep the graph for another pass; as `create_graph` if None.
        create_graph: record the pass itself, so that the gradients can be differentiated in turn.
        allow_unused: give None for an input that no output depends on, instead of raising.

    Returns:
        A tuple, one gradient per input, each of its input's shape and dtype. Their arrays may be shared: do not write to them.

    Raises:
        TypeError: an output, an input or a gradient is no tensor.
        ValueError: a gradient is missing, or is not of its output's shape and dtype; an input is unused.
        RuntimeError: there is no graph, it was released, or a tensor that it needs was overwritten since.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0], requires_grad=True)
    >>> (dx,) = grad((x**3).sum(), x, create_graph=True)
    >>> dx, grad(dx.sum(), x)[0]
    (Tensor([ 3., 12.], op=multiply), Tensor([ 6., 12.]))
    """
    outputs, inputs = _nodes("outputs", outputs), _nodes("inputs", inputs)
    seeds = _seeds("grad", outputs, grad_outputs)
    wanted = [_origin(f"grad: input {i}", x) for i, x in enumerate(inputs)]
    found = walk(seeds, set(wanted), create_graph if retain_graph is None else retain_graph, create_graph)[0]
    if not allow_unused:
        for i, origin in enumerate(wanted):
            if origin not in found:
                raise ValueError(f"grad: no output depends on input {i} {origin.shape}; allow_unused=True gives None for it")
    return tuple(found.get(origin) for origin in wanted)


def backward(
    tensor: T | Sequence[T],
    gradient: T | Sequence[T | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: T | Sequence[T] | None = None,
) -> None:
    """Add the gradient of `tensor` (or of several) to the `.grad` of every leaf that it depends on, or of `inputs` alone.

    `gradient` and the errors are `grad`'s. The graph is released while the pass goes over it, so a second pass raises
    unless the first was told to retain it.

    >>> import microtensor as mt
    >>> x = mt.Tensor([3.0], requires_grad=True)
    >>> (x * x).backward()
    >>> x.grad
    Tensor([6.])
    """
    outputs = _nodes("backward", tensor)
    seeds = _seeds("backward", outputs, gradient)
    nodes = None if inputs is None else _nodes("inputs", inputs)
    wanted = None if nodes is None else {_origin(f"backward: input {i}", x): x for i, x in enumerate(nodes)}
    retain = create_graph if retain_graph is None else retain_graph
    found, owned = walk(seeds, None if wanted is None else set(wanted), retain, create_graph)
    for origin, g in found.items():
        node: Any = wanted[origin] if wanted is not None else origin.leaf() if origin.leaf is not None else None
        if node is None or origin.retained:
            continue  # the leaf is gone, and its gradient with it; or a hook has seen to it
        follow(g._data)
        if node.grad is None:
            node.grad = g if origin in owned or g.origin is not None else g.constant(g._data.copy())
        elif create_graph or node.grad.origin is not None or node.grad.dtype != g.dtype or node.grad.device != g.device:
            node.grad = node.grad + g
        else:
            node.grad.data += g._data


def walk(
    seeds: Sequence[tuple[Origin, Any]], wanted: set[Origin] | None, retain: bool, create: bool, beyond: bool = True
) -> tuple[dict[Origin, Any], set[Origin]]:
    """Carry gradients from results to what they were computed from: each origin once, after all that depend on it.

    Args:
        seeds: results' origins, each with the gradient to start from.
        wanted: the origins to stop and be counted at; None for every leaf.
        retain: keep sources; otherwise each origin is released as the walk passes it, and memory with it.
        create: record the vjps' own operations.
        beyond: go on above a wanted origin, to others.

    Returns:
        The gradient for each wanted origin that was reached, and the origins whose gradient nobody else holds.
    """
    if profiles and not entered():
        return measured_pass(walk, seeds, wanted, retain, create, beyond)
    order = topological([origin for origin, _ in seeds], wanted or frozenset(), beyond)
    needed: set[Origin] | None = None
    if wanted is not None:
        needed = set()
        for origin in order:
            if origin in wanted or any(parent in needed for parent, _ in origin.sources or ()):
                needed.add(origin)

    gradients: dict[Origin, Any] = {}
    owned: set[Origin] = set()  # where the gradient is an array of our own, to be added to in place

    now = clock[0]
    for origin in order:  # before anything is released
        if origin.time != now and (needed is None or origin in needed):
            check_unchanged(origin, [vjp for parent, vjp in origin.sources or () if needed is None or parent in needed])

    found: dict[Origin, Any] = {}
    elsewhere = aside.Aside() if not create and aside.wanted() else None  # gradients of leaves that other threads compute
    anomaly = mode.anomaly
    before, mode.recording = mode.recording, create
    watchers, mode.watchers = mode.watchers, ()  # a pass inside a derivative, as of `checkpoint`, is part of its step
    casting, mode.autocast = mode.autocast, None  # the casts are in the graph: each vjp computes in its result's dtype
    try:
        for origin, g in seeds:
            gradients[origin] = gradients[origin] + g if origin in gradients else g
        while order:
            origin = order.pop()
            if needed is not None and origin not in needed:
                continue
            if profiles:
                begin_step(origin, gradients, needed)
            if elsewhere is not None and origin in elsewhere.waiting:
                continue
            g = gradients.pop(origin)
            if origin.hooks:
                g = _hooked(origin, g)
                owned.discard(origin)
            if watchers:
                for watcher in watchers:
                    watcher(origin, g, gradients, found, order, needed)
            if origin.leaf is not None if wanted is None else origin in wanted:
                found[origin] = g
                if not beyond:
                    continue
            if not origin.sources or (needed is not None and not any(p in needed for p, _ in origin.sources)):
                continue
            output = None
            if origin.output is not None:
                output = g.kind.wrap(origin.output[0], origin if create else None)
                output.assigned = origin.output[1]
            for parent, vjp in origin.sources:
                if needed is not None and parent not in needed:
                    continue
                if elsewhere is not None and parent.leaf is not None:
                    if parent in elsewhere.waiting:  # a leaf that is used twice
                        source, gradients[parent] = elsewhere.collect(parent)
                        _check_fits(gradients[parent], source, parent)
                        owned.add(parent)
                    elif parent not in gradients and elsewhere.take(origin, parent, vjp, g, needed):
                        continue
                back = vjp(g) if output is None else vjp(g, output)
                _check_fits(back, origin, parent)
                data = back._data
                if anomaly:
                    check_gradient(origin, g, back)
                sofar = gradients.get(parent)
                if sofar is None:
                    gradients[parent] = back
                    if data is not g._data and data.base is None:
                        owned.add(parent)
                elif parent in owned and not create:
                    follow(data)
                    sofar._data += data
                else:
                    gradients[parent] = sofar + back
                    owned.add(parent)
            if not retain:
                origin.sources = None
                if output is not None:
                    origin.output = None
        if elsewhere is not None:
            for leaf in tuple(elsewhere.waiting):
                source, found[leaf] = elsewhere.collect(leaf)
                _check_fits(found[leaf], source, leaf)
                owned.add(leaf)
    finally:
        mode.recording, mode.autocast, mode.watchers = before, casting, watchers
        if elsewhere is not None:
            elsewhere.cancel()
    return found, owned


class Hook:
    """A function that `register_hook` attached: `remove()` detaches it."""

    def __init__(self, origin: Origin, function: Callable[[Any], Any]) -> None:
        self._origin, self._function = origin, function

    def remove(self) -> None:
        """Detach the hook; once detached, nothing more."""
        self._origin.hooks = tuple(hook for hook in self._origin.hooks if hook is not self._function)


def register_hook(tensor: Node, hook: Callable[[Any], Any]) -> Hook:
    """Call `hook` with the gradient of `tensor` when a backward pass completes it; what it returns, if not None, replaces it.

    Raises:
        RuntimeError: the tensor does not require a gradient.

    The hook must not write into the gradient that it is given: others may hold it.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0], requires_grad=True)
    >>> y = x * 3
    >>> handle = y.register_hook(lambda g: g * 10)
    >>> y.backward()
    >>> x.grad
    Tensor([30.])
    """
    origin = _origin("register_hook:", tensor)
    function = functools.partial(hook)  # so that the same function attached twice is two hooks
    origin.hooks += (function,)
    return Hook(origin, function)


def retain_grad(tensor: Node) -> None:
    """Let backward passes leave the gradient of a result in `.grad` too, as they do for leaves.

    Raises:
        RuntimeError: the tensor has no graph.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0], requires_grad=True)
    >>> y = x * 3
    >>> retain_grad(y)
    >>> y.sum().backward()
    >>> y.grad
    Tensor([1., 1.])
    """
    if tensor.is_leaf:
        _origin("retain_grad:", tensor)
        return
    origin = _origin("retain_grad:", tensor)
    if origin.retained:
        return
    origin.retained = True
    keeper = weakref.ref(tensor)

    def keep(g: Any) -> None:
        node = keeper()
        if node is not None:
            follow(g._data)
            own = g if g.origin is not None else g.constant(g._data.copy())
            node.grad = own if node.grad is None else node.grad + own

    register_hook(tensor, keep)


def _hooked(origin: Origin, g: Any) -> Any:
    """What the hooks make of a gradient."""
    for hook in origin.hooks:
        replaced = hook(g)
        g = g if replaced is None else _checked(origin, replaced)
    return g


def _checked(origin: Origin, replaced: Any) -> Any:
    if not isinstance(replaced, Node) or replaced.shape != origin.shape or replaced.dtype != origin.dtype:
        found = f"{replaced.dtype} {replaced.shape}" if isinstance(replaced, Node) else type(replaced).__name__
        raise ValueError(
            f"a hook on {_name(origin)} must return None or a Tensor {origin.dtype} {origin.shape}, it returned {found}"
        )
    return replaced


def partials(function: Callable[..., T], inputs: Sequence[Node | None], g: T) -> tuple[Any, ...]:
    """The gradient of `function(*inputs)` for each input, recorded, each as if the inputs were independent of each other.

    For rules whose forward and backward are written out on arrays for speed: to differentiate such a backward, hand the plain
    composition of operations that the rule stands for to this function, and every order follows from the engine.
    """
    before, mode.recording = mode.recording, True
    try:
        apart = [None if x is None else same(x) for x in inputs]
        places = [None if x is None else x.origin for x in apart]
        wanted = {origin for origin in places if origin is not None}
        seed = (_origin("partials: the result", function(*apart)), g)
        found = walk([seed], wanted, retain=True, create=True, beyond=False)[0]
    finally:
        mode.recording = before
    return tuple(None if origin is None else found.get(origin) for origin in places)


@op(elementwise=True)
def same(x: T) -> Rule[T]:
    """x again, at a place of its own in the graph."""
    return x.data[...], (lambda g: g,)


def topological(roots: Sequence[Origin], wanted: Set[Origin] = frozenset(), beyond: bool = True) -> list[Origin]:
    """All origins that `roots` stand on, each after its sources. No recursion: a graph may be 100,000 operations deep.

    Args:
        wanted: origins at which to stop: always if they were released, else unless `beyond`.

    Raises:
        RuntimeError: another was released.
    """
    order: list[Origin] = []
    visited: set[Origin] = set()
    stack: list[Any] = list(roots)
    while stack:
        origin = stack.pop()
        if origin is None:  # the sources of the one below are all in order
            order.append(stack.pop())
        elif origin not in visited:
            visited.add(origin)
            if origin.sources is None and origin not in wanted:
                raise RuntimeError(
                    f"backward: the graph behind {_name(origin)} was released by an earlier pass; "
                    "compute the result again, or give the first pass retain_graph=True"
                )
            stack += (origin, None)
            if beyond or origin not in wanted:
                for parent, _ in origin.sources or ():  # a loop costs half of what a comprehension does here
                    if parent not in visited:
                        stack.append(parent)
    return order


def _name(origin: Origin) -> str:
    return "a leaf" if origin.op is None else str(origin.op.__name__)


def _nodes(what: str, value: Any) -> list[Any]:
    nodes = [value] if isinstance(value, Node) else list(value) if isinstance(value, (list, tuple)) else None
    if not nodes or not all(isinstance(x, Node) for x in nodes):
        raise TypeError(f"{what}: expected a Tensor or a sequence of Tensors, got {value!r}")
    return nodes


def _origin(what: str, x: Node) -> Origin:
    if x.origin is None:
        raise RuntimeError(
            f"{what} {x.shape} has no graph: make a leaf require a gradient before computing with it, outside no_grad()"
        )
    return x.origin


def _seeds(what: str, outputs: Sequence[Any], gradients: Any) -> list[tuple[Origin, Any]]:
    """Each output's origin, with the gradient to start from."""
    given = [None] * len(outputs) if gradients is None else gradients if isinstance(gradients, (list, tuple)) else [gradients]
    for g in given:
        if g is not None and not isinstance(g, Node):
            raise TypeError(f"{what}: the gradient of an output must be a Tensor of its shape, got {type(g).__name__}")
    if len(given) != len(outputs):
        raise ValueError(f"{what}: {len(given)} gradients for {len(outputs)} outputs: give one each")
    seeds = []
    for y, g in zip(outputs, given):
        origin = _origin(f"{what}: output", y)
        if g is None:
            if y._data.size != 1:
                raise ValueError(
                    f"{what}: the output has shape {y.shape}, and only a single number has an implied gradient (1): "
                    "pass a gradient of that shape, or reduce it first, with .sum() or .mean()"
                )
            follow(y._data)
            g = y.constant(y.xp.ones_like(y._data))
        elif g.shape != y.shape or g.dtype != y.dtype or g.device != y.device:
            raise ValueError(
                f"{what}: the gradient is {g.dtype} {g.shape} on {g.device}, "
                f"but its output is {y.dtype} {y.shape} on {y.device}"
            )
        fresh = g.kind.wrap(g._data, g.origin)
        fresh.assigned = g.assigned
        seeds.append((origin, fresh))
    return seeds


def _check_fits(back: Any, origin: Origin, parent: Origin) -> None:
    """Check that what a vjp of `origin` returned is a gradient for `parent`.

    Raises:
        TypeError: it is no tensor.
        ValueError: it is of another shape, dtype or device.
    """
    if not isinstance(back, Node):
        raise TypeError(f"{_name(origin)}: a vjp returned {type(back).__name__}, expected a Tensor of shape {parent.shape}")
    data = back._data
    fits = data.shape == parent.shape and (data.dtype is parent.dtype or data.dtype == parent.dtype)
    if not fits or ((type(data) is not ndarray or parent.device != "cpu") and back.device != parent.device):
        raise ValueError(
            f"{_name(origin)}: a vjp returned a gradient of {back.dtype} {back.shape} on {back.device}, "
            f"but its input is {parent.dtype} {parent.shape} on {parent.device}"
        )
