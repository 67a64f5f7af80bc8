"""`checkpoint`: intermediate results are recomputed in the backward pass instead of being kept in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from . import random
from .autograd.autocast import current
from .autograd.backward import Pass, same
from .autograd.grad_mode import enable_grad
from .autograd.graph import Node, Origin, clock, mode
from .autograd.shared import SharedByVjps
from .tensor import Tensor


def checkpoint(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, without keeping its intermediate results: the backward pass computes them again.

    It saves memory and costs time: a network cut into √n parts of √n layers, each in a checkpoint, keeps O(√n) activations, for
    one more forward pass (Chen et al. 2016, arxiv.org/abs/1604.06174). Gradients flow to the inputs and to everything else that
    the function uses, such as the parameters of a module. The default random generator is reset for the second run, so that
    dropout draws the same mask; other generators are not. Under `autocast` both runs use the same precision. Running statistics
    of batch normalisation are updated by both runs.

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
    clock[0] += 1  # so that origins made by the function have a later time than those that it captures
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
    gradients = SharedByVjps(lambda g: _gradients(function, inputs, captured, state, precision, g))

    def run_again(key: Any, _watched: Any, g: Any) -> Any:
        """The gradient for an input, by its index, or for a tensor that the function captured, by its origin."""
        found = gradients(g)
        if mode.recording:
            gradients.forget()  # a gradient that has a graph would keep this graph alive: a reference cycle
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
    """Run the function a second time, this time keeping its graph, and differentiate that."""
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
    """The origins behind `root`: those made from time `start` on, and the older ones that they use, which were captured."""
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
    """The origin of each input that has one, and its index."""
    return {x.origin: i for i, x in enumerate(inputs) if isinstance(x, Node) and x.origin is not None}


def _apart(x: Any) -> Any:
    """A separate leaf on the same array; an input that requires no gradient as it is."""
    return x.detach().requires_grad_() if isinstance(x, Tensor) and x.origin is not None else x
