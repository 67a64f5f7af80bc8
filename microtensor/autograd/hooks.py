"""Hooks: functions that a backward pass calls when the gradient of a tensor is complete."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from ..runtime.text import kind_of
from .graph import Node, Origin
from .leaves import own, recorded
from .validation import origin_of


class RemovableHandle:
    """A registered hook: `remove()` detaches it, and so does the end of a `with` block."""

    def __init__(self, detach: Callable[[], None]) -> None:
        self._detach = detach

    def remove(self) -> None:
        """Detach the hook. A second call does nothing."""
        self._detach()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _attach(start: Origin, place: str, function: Callable[[Any], Any]) -> RemovableHandle:
    """Add a hook to the tuple `place` of an origin."""
    added = functools.partial(function)  # so that the same function attached twice is two hooks
    setattr(start, place, (*getattr(start, place), added))

    def detach() -> None:
        origin: Origin | None = start
        while origin is not None:
            setattr(origin, place, tuple(hook for hook in getattr(origin, place) if hook is not added))
            origin = origin.heir

    return RemovableHandle(detach)


def register_hook(tensor: Node, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Call `hook` with the gradient of `tensor` when a backward pass completes it; what it returns, if not None, replaces it.

    Gradients are complete in the reverse order of the operations: those of a network's last layer first.

    Returns:
        A handle: `handle.remove()` detaches the hook, as does the end of `with handle:`.

    Raises:
        TypeError: the hook cannot be called.
        RuntimeError: the tensor does not require a gradient.
        ValueError (in the pass): the hook returned something else than None or a tensor of the shape and dtype.

    The hook must not write into the gradient that it is given, which may be shared. If it raises, the pass ends there.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0], requires_grad=True)
    >>> y = x * 3
    >>> handle = y.register_hook(lambda g: g * 10)
    >>> y.backward()
    >>> x.grad
    Tensor([30.])
    """
    return _attach(_checked("register_hook", tensor, hook), "hooks", hook)


def register_post_accumulate_grad_hook(tensor: Node, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Call `hook` with `tensor`, a leaf, each time that `backward()` has added the complete gradient to its `.grad`.

    That is in the middle of the pass: for a network's last layer first. A hook that takes the optimiser's step and drops the
    gradient keeps only a few gradients in memory at a time:

        optimizers = {p: optim.SGD([p], lr=0.1) for p in model.parameters()}

        def step(p):
            optimizers[p].step()
            p.grad = None

        for p in model.parameters():
            p.register_post_accumulate_grad_hook(step)

    What the hook returns is ignored. `grad()` adds to no `.grad` and calls no such hook. The hook runs without recording,
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
    return _attach(origin, "after", hook)


def _checked(name: str, tensor: Node, hook: Any) -> Origin:
    if not callable(hook):
        raise TypeError(f"{name}: a hook must be a function, got {hook!r} ({kind_of(hook)})")
    return origin_of(f"{name}:", tensor)


def retain_grad(tensor: Node) -> None:
    """Let backward passes add the gradient of a result to its `.grad` too, as they do for leaves.

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
    """The gradient of `origin` after its hooks have seen it, and perhaps replaced it.

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
                f"a hook on {origin.name} must return None or a Tensor {origin.dtype} {origin.shape}, it returned {found}"
            )
        g = replaced
    return g
