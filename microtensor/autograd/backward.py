"""The chain rule over the graph: `backward` and `grad`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence, Set
from typing import Any

from numpy import ndarray

from ..profiler.spans import begin_step, entered, measured_pass, profiles
from ..runtime.arrays import follow
from . import parallel
from .anomaly import check_gradient
from .grad_mode import enable_grad as enable_grad
from .grad_mode import is_grad_enabled as is_grad_enabled
from .grad_mode import no_grad as no_grad
from .graph import Node, Origin, T, clock, mode
from .leaves import accumulate, alone, hooked, name_of, origin_of, own
from .leaves import register_hook as register_hook
from .leaves import register_post_accumulate_grad_hook as register_post_accumulate_grad_hook
from .leaves import retain_grad as retain_grad
from .op import Rule, op
from .versions import check_unchanged, needs_no_numbers


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
        A tuple, one gradient per input, each of its input's shape and dtype, and in memory of its own.

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
    wanted = [origin_of(f"grad: input {i}", x) for i, x in enumerate(inputs)]
    found = walk(seeds, set(wanted), create_graph if retain_graph is None else retain_graph, create_graph)
    if not allow_unused:
        for i, origin in enumerate(wanted):
            if origin not in found:
                raise ValueError(f"grad: no output depends on input {i} {origin.shape}; allow_unused=True gives None for it")
    del seeds  # or they would count as shared
    last = {origin: i for i, origin in enumerate(wanted)}  # an input that is named twice gets a copy first
    return tuple(
        own([found.pop(origin) if i == last[origin] else found[origin]]) if origin in found else None
        for i, origin in enumerate(wanted)
    )


def backward(
    tensor: T | Sequence[T],
    gradient: T | Sequence[T | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: T | Sequence[T] | None = None,
) -> None:
    """Add the gradient of `tensor` (or of several) to the `.grad` of every leaf that it depends on, or of `inputs` alone.

    `gradient` and the errors are `grad`'s. The graph is released while the pass goes over it, so a second pass raises
    unless the first was told to retain it. (Where the derivatives need no numbers, as those of a view, there is nothing to
    release, and other results of the same view can be differentiated later.)

    A gradient is added as soon as it is complete, those of a network's last layer first. It is in memory of its own: to write
    into one `.grad` changes no other, nor `gradient`. An error in the pass, of a hook for one, leaves the gradients that were
    complete by then where they are: set `.grad` to None before the next.

    >>> import microtensor as mt
    >>> x = mt.Tensor([3.0], requires_grad=True)
    >>> (x * x).backward()
    >>> x.grad
    Tensor([6.])
    """
    outputs = _nodes("backward", tensor)
    seeds = _seeds("backward", outputs, gradient)
    given = [] if inputs is None else _nodes("inputs", inputs)
    nodes = None if inputs is None else {origin_of(f"backward: input {i}", x): x for i, x in enumerate(given)}

    def arrive(origin: Origin, held: list[Any]) -> Any:
        node = nodes[origin] if nodes is not None else origin.leaf() if origin.leaf is not None else None
        if node is None or origin.retained:
            return None  # the leaf is gone, and its gradient with it; or a hook has seen to it
        accumulate(node, held)
        for hook in origin.after:
            hook(node)
        return node.grad

    retain = create_graph if retain_graph is None else retain_graph
    walk(seeds, None if nodes is None else set(nodes), retain, create_graph, arrive=arrive)


def walk(
    seeds: Sequence[tuple[Origin, Any]],
    wanted: set[Origin] | None,
    retain: bool,
    create: bool,
    beyond: bool = True,
    arrive: Callable[[Origin, list[Any]], Any] | None = None,
) -> dict[Origin, Any]:
    """Carry gradients from results to what they were computed from: each origin once, after all that depend on it.

    Args:
        seeds: results' origins, each with the gradient to start from.
        wanted: the origins to stop and be counted at; None for every leaf.
        retain: keep sources; otherwise each origin is released as the walk passes it, and memory with it.
        create: record the vjps' own operations.
        beyond: go on above a wanted origin, to others; if not, its hooks are for the pass of which this one is a part.
        arrive: called with each wanted origin and a list that holds its gradient, when that is complete. It may take the
            gradient out of the list, and returns what stays in memory.

    Returns:
        The gradient for each wanted origin that was reached; nothing if they have arrived elsewhere.
    """
    if profiles and not entered():
        return measured_pass(walk, seeds, wanted, retain, create, beyond, arrive)
    order = topological([origin for origin, _ in seeds], wanted or frozenset(), beyond)
    needed = None if wanted is None else _leading_to(wanted, order)
    now = clock[0]
    for origin in order:  # before anything is released
        if origin.sources and origin.time != now and (needed is None or origin in needed):
            _check_unchanged(origin, needed)

    gradients: dict[Origin, Any] = {}
    found: dict[Origin, Any] = {}
    elsewhere = parallel.Aside()  # gradients of leaves that other threads compute
    waiting, may_wait = elsewhere.waiting, not create and parallel.wanted()
    anomaly, hooks_ran = mode.anomaly, False
    before, watchers, casting = mode.recording, mode.watchers, mode.autocast
    try:
        mode.recording = create
        mode.watchers = ()  # a pass inside a derivative, as of `checkpoint`, is part of its step
        mode.autocast = None  # the casts are in the graph: each vjp computes in its result's dtype
        for origin, g in seeds:
            gradients[origin] = gradients[origin] + g if origin in gradients else g
        while order or waiting:
            if not order:
                order += _collect(elsewhere, gradients)
            origin = order.pop()
            if needed is not None and origin not in needed:
                continue
            if profiles:
                begin_step(origin, gradients, needed)
            if waiting and origin in waiting:
                elsewhere.due.append(origin)
                continue
            g, sources = gradients.pop(origin), origin.sources
            if origin.hooks and (beyond or wanted is None or origin not in wanted):
                g, hooks_ran = hooked(origin, g), True
            if watchers:
                for watcher in watchers:
                    watcher(origin, g, gradients, found, order, needed)
            if not sources if wanted is None else origin in wanted:
                if arrive is None:
                    found[origin] = g
                else:
                    if origin.after:
                        hooks_ran = True
                        order += _collect(elsewhere, gradients)  # they read what a hook may change
                    held, back, data = [g], None, None
                    if not sources:
                        del g  # so that nobody but the list holds it
                    stays = arrive(origin, held)
                    if watchers and stays is not None:
                        found[origin] = stays
                if not beyond:
                    continue
            if not sources or (needed is not None and not any(parent in needed for parent, _ in sources)):
                continue
            if hooks_ran and clock[0] != now:
                _check_unchanged(origin, needed)
            meaning = origin.meaning
            if meaning is not None and (create or meaning.alone):
                sources = _by_meaning(origin, g, needed, create)
            output = None
            if origin.output is not None:
                output = g.kind.wrap(origin.output[0], origin if create else None)
                output.assigned = origin.output[1]
            for parent, vjp in sources:
                if needed is not None and parent not in needed:
                    continue
                if may_wait and parent.leaf is not None:
                    if parent in waiting:  # a leaf that is used twice
                        _collect(elsewhere, gradients, parent)
                    elif parent not in gradients and elsewhere.take(origin, parent, vjp, g, needed):
                        continue
                back = vjp(g) if output is None else vjp(g, output)
                data = back._data if isinstance(back, Node) else None
                fits = type(data) is ndarray and data.shape == parent.shape and data.dtype is parent.dtype
                if not fits or parent.device != "cpu":  # else it is faster not to call
                    _check_fits(back, origin, parent)
                if anomaly:
                    check_gradient(origin, g, back)
                if parent not in gradients:
                    gradients[parent] = back
                elif create:
                    gradients[parent] = gradients[parent] + back
                else:
                    _add(gradients, parent, back)
            if not retain and (output is not None or meaning is not None or not needs_no_numbers(sources)):
                origin.sources = None
                if meaning is not None:
                    meaning = origin.meaning = None
                if output is not None:
                    origin.output = None
    finally:
        mode.recording, mode.autocast, mode.watchers = before, casting, watchers
        elsewhere.cancel()
    return found


def _leading_to(wanted: set[Origin], order: Sequence[Origin]) -> set[Origin]:
    """The origins through which gradients flow to those that are wanted, these among them."""
    needed: set[Origin] = set()
    for origin in order:
        if origin in wanted or any(parent in needed for parent, _ in origin.sources or ()):
            needed.add(origin)
    return needed


def _check_unchanged(origin: Origin, needed: Set[Origin] | None) -> None:
    check_unchanged(origin, [vjp for parent, vjp in origin.sources or () if needed is None or parent in needed])


def _add(gradients: dict[Origin, Any], parent: Origin, back: Any) -> None:
    """Add to the gradient that waits for `parent`: in place, where nobody else holds that."""
    held = [gradients.pop(parent)]
    if alone(held):
        follow(back._data)
        held[0]._data += back._data
        gradients[parent] = held[0]
    else:
        gradients[parent] = held[0] + back


def _collect(elsewhere: parallel.Aside, gradients: dict[Origin, Any], leaf: Origin | None = None) -> list[Origin]:
    """Wait for the gradient of one leaf, or of all, that other threads compute. Returns those whose turn has come meanwhile."""
    for x in tuple(elsewhere.waiting) if leaf is None else (leaf,):
        source, gradients[x] = elsewhere.collect(x)
        _check_fits(gradients[x], source, x)
    due = elsewhere.due
    if leaf is None:
        elsewhere.due = []
    return due


def _by_meaning(
    origin: Origin, g: Any, needed: Set[Origin] | None, create: bool
) -> tuple[tuple[Origin, Callable[..., Any]], ...]:
    """The sources of an operation that has a meaning, with vjps that hand over the derivatives of that."""
    meaning = origin.meaning
    check_unchanged(origin, meaning.inputs)
    found = partials(functools.partial(meaning.compute, origin), meaning.inputs, g, needed, create)
    return meaning.sources(origin, found, needed)


def partials(
    function: Callable[..., T], inputs: Sequence[Any], g: T, needed: Set[Origin] | None = None, create: bool = True
) -> tuple[Any, ...]:
    """The gradient of `function(*inputs)` for each input, as if the inputs were independent of each other.

    Args:
        needed: the origins of the inputs to differentiate for; None for all that require a gradient.
        create: record it, so that the gradients can be differentiated in turn, for all inputs.
    """
    before, mode.recording = mode.recording, True
    try:
        apart = [same(x) if isinstance(x, Node) and x.origin is not None else x for x in inputs]
        places = [x.origin if isinstance(x, Node) else None for x in apart]
        wanted = {p for x, p in zip(inputs, places) if p is not None and (needed is None or x.origin in needed)}
        seed = (origin_of("partials: the result", function(*apart)), g)
        others = [(p, p.sources) for p in places if p is not None and p not in wanted]
        for place, _ in others:
            place.sources = ()  # the walk is not to go on above it
        found = walk([seed], wanted, retain=create, create=create, beyond=False)
        for place, sources in others:
            place.sources = sources
    finally:
        mode.recording = before
    return tuple(None if origin is None else found.get(origin) for origin in places)


@op(elementwise=True)
def same(x: T) -> Rule[T]:
    """x again, at a place of its own in the graph."""
    return x.array[...], (lambda g: g,)


def topological(roots: Sequence[Origin], wanted: Set[Origin] = frozenset(), beyond: bool = True) -> list[Origin]:
    """All origins that `roots` stand on, each after its sources, and leaves as late as may be.

    No recursion: a graph may be 100,000 operations deep.

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
                    f"backward: the graph behind {name_of(origin)} was released by an earlier pass; "
                    "compute the result again, or give the first pass retain_graph=True"
                )
            stack += (origin, None)
            if beyond or origin not in wanted:
                first = len(stack)
                for parent, _ in origin.sources or ():  # a loop costs half of what a comprehension does here
                    if parent not in visited:
                        if parent.sources:
                            stack.append(parent)
                        else:  # below the rest: a pass comes by a leaf right after the last that depends on it
                            stack.insert(first, parent)
    return order


def _nodes(what: str, value: Any) -> list[Any]:
    nodes = [value] if isinstance(value, Node) else list(value) if isinstance(value, (list, tuple)) else None
    if not nodes or not all(isinstance(x, Node) for x in nodes):
        raise TypeError(f"{what}: expected a Tensor or a sequence of Tensors, got {value!r}")
    return nodes


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
        origin = origin_of(f"{what}: output", y)
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
        raise TypeError(f"{name_of(origin)}: a vjp returned {type(back).__name__}, expected a Tensor of shape {parent.shape}")
    data = back._data
    fits = data.shape == parent.shape and (data.dtype is parent.dtype or data.dtype == parent.dtype)
    if not fits or ((type(data) is not ndarray or parent.device != "cpu") and back.device != parent.device):
        raise ValueError(
            f"{name_of(origin)}: a vjp returned a gradient of {back.dtype} {back.shape} on {back.device}, "
            f"but its input is {parent.dtype} {parent.shape} on {parent.device}"
        )
