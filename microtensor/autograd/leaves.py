"""Where gradients arrive: the `.grad` of a leaf, which is its own alone; and the hooks that are called on the way."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from typing import Any

from ..runtime.arrays import follow
from ..runtime.text import kind_of
from .graph import Node, Origin, mode

getrefcount: Callable[[Any], int] = getattr(sys, "getrefcount", lambda _: 0)
"""Where an interpreter does not count references, nothing is ever known to be ours alone, and more is copied."""

ONE_HOLDER = 2
"""What it says of an object that one other holds: it counts its own argument too."""


def alone(held: list[Any]) -> bool:
    """Whether nobody but this list holds the one tensor in it, and nobody but that its memory: then it may be written to.

    >>> import microtensor as mt
    >>> held = [mt.ones(2)]
    >>> alone(held)
    True
    >>> view = held[0][:1]
    >>> alone(held)
    False
    """
    if getrefcount(held[0]) != ONE_HOLDER or getrefcount(held[0]._data) != ONE_HOLDER:
        return False
    data = held[0]._data
    if data.base is None:
        return _writable(data)
    whole = type(data.base) is type(data) and data.base.base is None and data.base.nbytes == data.nbytes  # in another shape
    return whole and getrefcount(data.base) == ONE_HOLDER and _writable(data)


def own(held: list[Any]) -> Any:
    """The tensor in this list, if it is there alone; else a copy, recorded if the tensor has a graph."""
    if alone(held):
        return held.pop()
    g = held.pop()
    follow(g._data)
    return g.constant(g._data.copy()) if g.origin is None else recorded(g.clone)


def accumulate(node: Node, held: list[Any]) -> None:
    """Add the gradient in this list to the `.grad` of a tensor: in place, unless that or the gradient has a graph."""
    so_far: Any = node._grad
    if so_far is None:
        node._grad = own(held)
        return
    g = held.pop()
    follow(g._data)
    if so_far.shape != g.shape or so_far.device != g.device:
        raise ValueError(
            f"backward: a leaf has a .grad of shape {so_far.shape} on {so_far.device} from before, but its gradient is of "
            f"shape {g.shape} on {g.device} now: set .grad to None where you give a leaf other numbers"
        )
    if so_far.origin is not None or g.origin is not None:
        node._grad = recorded(so_far.__add__, g)
    elif so_far.dtype != g.dtype or not _writable(so_far._data):
        node._grad = g + so_far.to(g.dtype)
    else:
        so_far._data += g._data
        so_far.touch()


def recorded(operation: Callable[..., Any], *inputs: Any) -> Any:
    """`operation(*inputs)`, recorded whether or not the pass is."""
    before = mode.recording
    try:
        mode.recording = True
        return operation(*inputs)
    finally:
        mode.recording = before


def _writable(data: Any) -> bool:
    """Whether each number of an array has a place of its own, to be written to: not where it is repeated by a stride of 0."""
    if not getattr(data.flags, "writeable", True):
        return False
    return (
        data.base is None
        or data.flags.c_contiguous
        or all(stride or length < 2 for stride, length in zip(data.strides, data.shape))
    )


class RemovableHandle:
    """A function that is called when a gradient is complete: `remove()` detaches it, and so does the end of a `with` block."""

    def __init__(self, origin: Origin, place: str, function: Callable[[Any], Any]) -> None:
        self._origin, self._place = origin, place
        self._function = functools.partial(function)  # so that the same function attached twice is two hooks
        setattr(origin, place, (*getattr(origin, place), self._function))

    def remove(self) -> None:
        """Detach the hook; once detached, nothing more."""
        origin: Origin | None = self._origin
        while origin is not None:
            left = tuple(hook for hook in getattr(origin, self._place) if hook is not self._function)
            setattr(origin, self._place, left)
            origin = origin.heir

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def register_hook(tensor: Node, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Call `hook` with the gradient of `tensor` when a backward pass completes it; what it returns, if not None, replaces it.

    Gradients are complete in the reverse order of the operations: a network's last layer first, long before the pass is over.

    Returns:
        A handle: `handle.remove()` detaches the hook, as does the end of `with handle:`.

    Raises:
        TypeError: the hook cannot be called.
        RuntimeError: the tensor does not require a gradient.
        ValueError (in the pass): the hook returned something else than None or a tensor of the shape and dtype.

    The hook must not write into the gradient that it is given: others may hold it. If it raises, the pass ends there.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0], requires_grad=True)
    >>> y = x * 3
    >>> handle = y.register_hook(lambda g: g * 10)
    >>> y.backward()
    >>> x.grad
    Tensor([30.])
    """
    return RemovableHandle(_checked("register_hook", tensor, hook), "hooks", hook)


def register_post_accumulate_grad_hook(tensor: Node, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Call `hook` with `tensor`, a leaf, each time that `backward()` has added the complete gradient to its `.grad`.

    That is in the middle of the pass, as soon as nothing more can come: for a network's last layer first. Where the hook lets
    an optimiser take its step and forget the gradient, no more than a few gradients are in memory at a time:

        optimizers = {p: optim.SGD([p], lr=0.1) for p in model.parameters()}

        def step(p):
            optimizers[p].step()
            p.grad = None

        for p in model.parameters():
            p.register_post_accumulate_grad_hook(step)

    What the hook returns is of no account. `grad()` adds to no `.grad` and calls no such hook. The hook runs without recording,
    unless the pass has `create_graph=True`. If it raises, the pass ends there, and what was added by then stays.

    Returns:
        A handle: `handle.remove()` detaches the hook, as does the end of `with handle:`.

    Raises:
        TypeError: the hook cannot be called.
        RuntimeError: the tensor is no leaf, or does not require a gradient.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0], requires_grad=True)
    >>> handle = x.register_post_accumulate_grad_hook(lambda x: print(x.grad))
    >>> (x * 2 + x).backward()
    Tensor([3.])
    """
    origin = _checked("register_post_accumulate_grad_hook", tensor, hook)
    if not tensor.is_leaf:
        raise RuntimeError(
            f"register_post_accumulate_grad_hook: {tensor.shape} is the result of an operation, and backward() adds to the "
            ".grad of leaves alone; what register_hook() attaches is called with the gradient of a result"
        )
    return RemovableHandle(origin, "after", hook)


def _checked(name: str, tensor: Node, hook: Any) -> Origin:
    if not callable(hook):
        raise TypeError(f"{name}: a hook must be a function, got {hook!r} ({kind_of(hook)})")
    return origin_of(f"{name}:", tensor)


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
    origin = origin_of("retain_grad:", tensor)
    if tensor.is_leaf or origin.retained:
        return
    origin.retained = True
    keeper = weakref.ref(tensor)

    def keep(g: Any) -> None:
        node: Any = keeper()
        if node is not None:
            node._grad = own([g]) if node._grad is None else recorded(node._grad.__add__, g)

    register_hook(tensor, keep)


def hooked(origin: Origin, g: Any) -> Any:
    """What the hooks make of a gradient.

    Raises:
        ValueError: one returned something else than None or a tensor like it.
    """
    for hook in origin.hooks:
        replaced = hook(g)
        if replaced is None:
            continue
        if not isinstance(replaced, Node) or replaced.shape != origin.shape or replaced.dtype != origin.dtype:
            found = f"{replaced.dtype} {replaced.shape}" if isinstance(replaced, Node) else type(replaced).__name__
            raise ValueError(
                f"a hook on {name_of(origin)} must return None or a Tensor {origin.dtype} {origin.shape}, it returned {found}"
            )
        g = replaced
    return g


def name_of(origin: Origin) -> str:
    """What an error calls a place in the graph: the operation."""
    return "a leaf" if origin.op is None else str(origin.op.__name__)


def origin_of(what: str, x: Node) -> Origin:
    """The place of a tensor in its graph.

    Raises:
        RuntimeError: it has none. `what` stands at the start of the error.
    """
    if x.origin is None:
        raise RuntimeError(
            f"{what} {x.shape} has no graph: make a leaf require a gradient before computing with it, outside no_grad()"
        )
    return x.origin
