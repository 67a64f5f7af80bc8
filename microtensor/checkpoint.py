"""`checkpoint`: recompute instead of keep."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from . import random
from .autograd.autocast import current
from .autograd.backward import Pass, enable_grad, same
from .autograd.graph import Node, Origin, clock, mode
from .tensor import Tensor


def checkpoint(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, but keeping none of its intermediate results: the backward pass computes them again.

    Memory for time: a network cut into √n parts of √n layers, each in a checkpoint, keeps O(√n) activations for one more
    forward pass (Chen et al. 2016, arxiv.org/abs/1604.06174). Gradients flow to the inputs and to everything else that the
    function uses, such as the parameters of a module. The default random generator is set back for the second run, so that
    dropout drops the same; another generator is not. Under `autocast` both runs compute alike. Running statistics of batch
    normalisation are updated by both runs.

    Raises:
        TypeError: the function returns something else than one tensor.
        RuntimeError (in the backward pass): a tensor that it uses was assigned to since, or its second run differs.

    >>> x = Tensor([2.0], requires_grad=True)
    >>> checkpoint(lambda x: (x * x) * x, x).backward()
    >>> x.grad
    Tensor([12.])
    """
    if not mode.recording:
        return function(*inputs)
    state = random.default.get_state()
    clock[0] += 1  # what the function computes is from now on, what it captures from before
    start = clock[0]
    leaves = [_apart(x) for x in inputs]
    precision = current()
    with precision():
        result = function(*leaves)
    if not isinstance(result, Tensor):
        raise TypeError(f"checkpoint: the function must return one Tensor, it returned {type(result).__name__}")
    output = result.detach()
    if result.origin is None:
        return output
    inside, captured = _used(result.origin, start)
    places = _places(leaves)
    used = [leaf for leaf in places if leaf in inside]
    watched = tuple(place.leaf() for place in captured if place.leaf is not None)  # so that the engine sees an assignment
    cache: list[Any] = []

    def run_again(key: Any, _watched: Any, g: Any) -> Any:
        """The gradient for an input, by its number, or for what the function captured, by its origin."""
        if not cache or cache[0]() is not g:
            cache[:] = weakref.ref(g), _gradients(function, inputs, captured, state, precision, g)
        found: dict[Any, Any] = cache[1]
        if mode.recording:
            cache.clear()  # gradients with graphs of their own would hold this one in a circle
        if key not in found:
            raise RuntimeError(
                "checkpoint: the second run used other tensors than the first: the function must be deterministic"
            )
        return found.pop(key)

    origin = Origin()
    origin.sources = (
        *((inputs[places[leaf]].origin, functools.partial(run_again, places[leaf], watched)) for leaf in used),
        *((place, functools.partial(run_again, place, watched)) for place in captured),
    )
    origin.shape, origin.dtype, origin.device = output.shape, output.dtype, output.device
    origin.op, origin.time = checkpoint, clock[0]
    output.origin = origin
    return output


def _gradients(
    function: Any, inputs: Sequence[Any], captured: set[Origin], state: Any, precision: Any, g: Any
) -> dict[Any, Any]:
    """Run the function a second time, now keeping its graph, and run a pass over it."""
    recording, now = mode.recording, random.default.get_state()
    random.default.set_state(state)
    try:
        with enable_grad(), precision():
            again = [same(x) if recording and isinstance(x, Node) and x.origin is not None else _apart(x) for x in inputs]
            origin: Any = function(*again).origin
    finally:
        random.default.set_state(now)
    if origin is None:
        return {}
    places = _places(again)
    found = Pass([(origin, g)], {*places, *captured}, retain=recording, create=recording, past_wanted=False).run()
    return {places.get(place, place): v for place, v in found.items()}


def _used(root: Origin, start: int) -> tuple[set[Origin], set[Origin]]:
    """What stands behind `root`: what was made from `start` on, and what of before that was captured."""
    inside, captured, stack = {root}, set(), [root]
    while stack:
        for parent, _ in stack.pop().sources or ():
            if parent.time < start:
                captured.add(parent)
            elif parent not in inside:
                inside.add(parent)
                stack.append(parent)
    return inside, captured


def _places(inputs: Sequence[Any]) -> dict[Origin, int]:
    """The origins of those inputs that have one, and their numbers."""
    return {x.origin: i for i, x in enumerate(inputs) if isinstance(x, Node) and x.origin is not None}


def _apart(x: Any) -> Any:
    """A leaf of its own, with the same numbers; what requires no gradient as it is."""
    return x.detach().requires_grad_() if isinstance(x, Tensor) and x.origin is not None else x
