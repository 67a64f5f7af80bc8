"""Calling a module, and hooks: functions that are called with a module's inputs, results and gradients, and may replace them.

    before    hook(module, args)                       → new arguments, or None
    after     hook(module, args, result)               → a new result, or None
    backward  hook(module, grad_input, grad_output)    → a new grad_input, or None

Without hooks a call only checks that a tuple (of hooks) and a list (of `watch_calls`) are empty.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from microtensor.autograd.arguments import nothing, why_none
from microtensor.autograd.backward import same
from microtensor.autograd.graph import Node, mode
from microtensor.autograd.hooks import RemovableHandle, register_hook
from microtensor.ops.join import cat, split
from microtensor.runtime import allocator

Shapes: TypeAlias = Sequence[tuple[int, ...]]


class Hook:
    """A function that is called "before" or "after" the forward of a module, or in the "backward" pass through it."""

    def __init__(self, place: str, function: Callable[..., Any], with_kwargs: bool = False, always: bool = False) -> None:
        self.place, self.function, self.with_kwargs, self.always = place, function, with_kwargs, always


class Watcher(NamedTuple):
    """Functions that are called around every call of any module in one thread."""

    thread: int
    before: Callable[[Any], Any]
    after: Callable[[Any, Any], Any]


watchers: list[Watcher] = []
"""The watchers of all threads."""


def _nothing(*_: Any) -> None:
    """The default of `watch_calls`."""


@contextmanager
def watch_calls(before: Callable[[Any], Any] = _nothing, after: Callable[[Any, Any], Any] = _nothing) -> Iterator[None]:
    """Inside the block, call before(module) and after(module, result) around every call of any module in this thread.

    It finds out which modules a function calls.

    >>> import microtensor as mt
    >>> from microtensor.nn import Identity, Sequential
    >>> model = Sequential(Identity())
    >>> with watch_calls(lambda module: print(type(module).__name__)):
    ...     y = (lambda x: 2 * model(x))(mt.ones(1))
    Sequential
    Identity
    """
    watcher = Watcher(threading.get_ident(), before, after)
    try:
        watchers.append(watcher)  # inside try: Ctrl-C may come right after it
        yield
    finally:
        if watcher in watchers:
            watchers.remove(watcher)


class Hooked:
    """Makes a module callable, with hooks. A base class of Module."""

    _hooks: tuple[Hook, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes. Each subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} computes nothing yet: define its method forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = nothing[0]
        if kwargs and "input" in kwargs:
            args, kwargs = _input_as_argument(self, args, kwargs)
        try:
            result = _call(self, args, kwargs) if self._hooks or watchers else self.forward(*args, **kwargs)
        except (TypeError, ValueError, IndexError) as error:
            _explain_none(error, args)
            _prefix_with_layer(self, error)
            raise
        except AttributeError as error:  # 'NoneType' object has no attribute …
            if _explain_none(error, args) or hasattr(error, "layer"):
                _prefix_with_layer(self, error)
            raise
        if result is None and nothing[0] is before and not (args and args[0] is None):  # else it came from another module
            nothing[0] = (type(self).__name__,)
        if allocator.undecided and isinstance(result, Node) and result._data.nbytes >= allocator.RETURNED_BYTES:
            allocator.keep()  # what a step frees, the next one takes
        return result

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args) before each forward. What it returns, if not None, replaces the arguments.

        Args:
            hook: gets the positional arguments as a tuple; returns None, a tuple of new arguments, or a single new argument.
            prepend: call it before the registered hooks, not after them.
            with_kwargs: call hook(module, args, kwargs), which returns None or (args, kwargs).

        Returns:
            A handle: `handle.remove()` detaches the hook, as does the end of `with handle:`.

        >>> from microtensor import Tensor
        >>> from microtensor.nn import Identity
        >>> layer = Identity()
        >>> with layer.register_forward_pre_hook(lambda module, args: args[0] * 2):
        ...     layer(Tensor([1.0]))
        Tensor([2.])
        >>> layer(Tensor([1.0]))
        Tensor([1.])
        """
        return _attach(self, Hook("before", hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args, result) after each forward. What it returns, if not None, replaces the result.

        With `with_kwargs`, hook(module, args, kwargs, result). With `always_call` it is also called if the module or another
        hook raises: with None as `result`; what it returns is ignored, and the error propagates. All else is as in
        `register_forward_pre_hook`.

        >>> from microtensor import Tensor
        >>> from microtensor.nn import ReLU, Sequential
        >>> seen = {}
        >>> net = Sequential(ReLU(), ReLU())
        >>> handle = net[0].register_forward_hook(lambda module, args, result: seen.update(first=result))
        >>> y = net(Tensor([-1.0, 2.0]))
        >>> seen["first"]
        Tensor([0., 2.])
        """
        return _attach(self, Hook("after", hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call hook(module, grad_input, grad_output) when a backward pass has passed through a call of this module.

        `grad_input` is a tuple of the gradients of the positional arguments, `grad_output` one of those of the results; None
        stands for an argument or result that has no gradient. What the hook returns, if not None, replaces `grad_input`. If no
        argument has a gradient, as in a first layer, it is called when that of the result is known. It must not write into the
        gradients that it is given.

        Returns:
            A handle, as `register_forward_pre_hook`. Results computed before it is removed keep the hook.

        Raises:
            TypeError: (when the module computes) the result is neither a Tensor nor a tuple with one in it.

        >>> from microtensor import Tensor
        >>> from microtensor.nn import ReLU
        >>> layer = ReLU()
        >>> handle = layer.register_full_backward_hook(lambda module, grad_input, grad_output: grad_output)
        >>> x = Tensor([-1.0, 2.0], requires_grad=True)
        >>> layer(x).sum().backward()
        >>> x.grad  # the gradient of the result, also where that of relu is 0
        Tensor([1., 1.])
        """
        return _attach(self, Hook("backward", hook), prepend)


def _input_as_argument(module: Hooked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Pass a keyword `input` (PyTorch's name) by position, to a layer of this library whose `forward` has another name."""
    forward = type(module).forward
    names = forward.__code__.co_varnames[: forward.__code__.co_argcount]
    if args or "input" in names or len(names) < 2 or not forward.__module__.startswith("microtensor."):
        return args, kwargs
    return (kwargs["input"],), {name: value for name, value in kwargs.items() if name != "input"}


def _explain_none(error: Exception, args: tuple[Any, ...]) -> bool:
    """Add to the message which function returned the None that is the module's input, if it is one. Returns whether it is."""
    hint = why_none(args[0] if args else 0)
    if hint and len(error.args) == 1 and isinstance(error.args[0], str) and hint not in error.args[0]:
        error.args = (error.args[0] + hint,)
    return bool(hint)


def _prefix_with_layer(module: Any, error: Exception) -> None:
    """Put the dotted name of the layer that raised, below `module`, at the beginning of the message."""
    if not (len(error.args) == 1 and isinstance(error.args[0], str)):
        return
    layer, message = vars(error).setdefault("layer", (module, error.args[0]))
    name = next((name for name, below in module.named_modules() if below is layer), "")
    if name:
        error.args = (f"{name} ({type(layer).__name__}): {message}",)


def _attach(module: Hooked, hook: Hook, prepend: bool) -> RemovableHandle:
    if not callable(hook.function):
        raise TypeError(f"{type(module).__name__}: a hook must be a function, got {hook.function!r}")
    module._hooks = (hook, *module._hooks) if prepend else (*module._hooks, hook)

    def detach() -> None:
        module._hooks = tuple(left for left in module._hooks if left is not hook)

    return RemovableHandle(detach)


def _call(module: Hooked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """module.forward(*args, **kwargs), with its hooks around it."""
    watching = [watcher for watcher in watchers if watcher.thread == threading.get_ident()]
    for watcher in watching:
        watcher.before(module)
    hooks = module._hooks
    called: set[Hook] = set()
    try:
        result = _hooked(module, hooks, called, args, kwargs)
        for watcher in watching:
            watcher.after(module, result)
        return result
    except BaseException:  # Ctrl-C too
        for hook in hooks:
            if hook.always and hook not in called:
                hook.function(module, *((args, kwargs) if hook.with_kwargs else (args,)), None)
        raise


def _hooked(module: Hooked, hooks: Sequence[Hook], called: set[Hook], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    for hook in hooks:
        if hook.place == "before":
            args, kwargs = _replaced(module, hook, args, kwargs)
    backward = [hook.function for hook in hooks if hook.place == "backward"]
    call = _BackwardHooks(module, backward, len(args)) if backward and mode.recording else None
    if call is not None:
        args = call.wrap_arguments(args)
    result = module.forward(*args, **kwargs)
    for hook in hooks:
        if hook.place == "after":
            given = (args, kwargs) if hook.with_kwargs else (args,)
            called.add(hook)
            answer = hook.function(module, *given, result)
            result = result if answer is None else answer
    return result if call is None else call.wrap_result(result)


def _replaced(
    module: Hooked, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, or what a hook before the forward replaced them with."""
    if not hook.with_kwargs:
        answer = hook.function(module, args)
        return (args if answer is None else answer if isinstance(answer, tuple) else (answer,)), kwargs
    answer = hook.function(module, args, kwargs)
    if answer is None:
        return args, kwargs
    if not (isinstance(answer, tuple) and [type(part) for part in answer] == [tuple, dict]):
        raise TypeError(
            f"{type(module).__name__}: a hook before it that takes keywords must return None or (args, kwargs), a tuple and a "
            f"dict, it returned {answer!r}"
        )
    return answer[0], answer[1]


class _BackwardHooks:
    """The backward hooks of one call of a module.

    Identity operations around the module's forward put nodes into the graph, at which the gradients of its result, and then of
    its arguments, are caught.
    """

    def __init__(self, module: Hooked, hooks: Sequence[Callable[..., Any]], count: int) -> None:
        self.module, self.hooks, self.count = module, hooks, count
        self.places: list[int] = []
        """The indices of the arguments that have a gradient."""
        self.grad_output: tuple[Any, ...] = ()
        """The gradients of the result, until those of the arguments are known too."""

    def wrap_arguments(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those with a gradient as new nodes of the graph."""
        self.places = [i for i, x in enumerate(args) if isinstance(x, Node) and x.requires_grad]
        if not self.places:
            return args
        node, wrapped = _joined([args[i] for i in self.places])
        shapes = [args[i].shape for i in self.places]  # not the tensors: the hook would keep their memory
        register_hook(node, lambda g: self.on_grad_input(g, shapes))
        new = dict(zip(self.places, wrapped))
        return tuple(new.get(i, x) for i, x in enumerate(args))

    def wrap_result(self, result: Any) -> Any:
        """The result, its tensors as new nodes of the graph."""
        several = isinstance(result, (tuple, list))
        parts = list(result) if several else [result]
        if parts and not any(isinstance(part, Node) for part in parts):
            raise TypeError(
                f"{type(self.module).__name__}: a backward hook needs a Tensor or a tuple of them as result, "
                f"got {type(result).__name__}"
            )
        places = [i for i, part in enumerate(parts) if isinstance(part, Node) and part.requires_grad]
        if not places:
            return result
        node, wrapped = _joined([parts[i] for i in places])
        shapes, count = [parts[i].shape for i in places], len(parts)
        register_hook(node, lambda g: self.on_grad_output(g, shapes, places, count))
        for i, part in zip(places, wrapped):
            parts[i] = part
        if not several:
            return parts[0]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)

    def on_grad_output(self, g: Any, shapes: Shapes, places: Sequence[int], count: int) -> None:
        """Called when the gradient of the result is complete."""
        found = dict(zip(places, _split(g, shapes)))
        self.grad_output = tuple(found.get(i) for i in range(count))
        if not self.places:  # no argument has a gradient, so `on_grad_input` will not be called
            for hook in self.hooks:
                answer = hook(self.module, (None,) * self.count, self.grad_output)
                given = answer if isinstance(answer, (tuple, list)) else (answer,)
                if any(gradient is not None for gradient in given):
                    raise ValueError(f"{type(self.module).__name__}: a backward hook replaced a gradient that is not computed")
            self.grad_output = ()

    def on_grad_input(self, g: Any, shapes: Shapes) -> Any:
        """Called when the gradient of the arguments is complete: calls the hooks, which may replace it."""
        found: dict[int, Any] = dict(zip(self.places, _split(g, shapes)))
        grad_output, self.grad_output = self.grad_output, ()
        for hook in self.hooks:
            answer = hook(self.module, tuple(found.get(i) for i in range(self.count)), grad_output)
            if answer is not None:
                found = self.checked(answer, shapes)
        gradients = [found[i] for i in self.places]
        return gradients[0] if len(gradients) == 1 else cat([gradient.reshape(-1) for gradient in gradients])

    def checked(self, answer: Any, shapes: Shapes) -> dict[int, Any]:
        """What a hook returned as the gradients of the arguments, if it fits."""
        given = answer if isinstance(answer, (tuple, list)) else (answer,)
        if len(given) == self.count:
            fitting = [given[i] for i in self.places]
            if all(isinstance(g, Node) for g in fitting) and [g.shape for g in fitting] == shapes:
                return dict(zip(self.places, fitting))
        found = [g.shape if isinstance(g, Node) else type(g).__name__ for g in given]
        raise ValueError(
            f"{type(self.module).__name__}: a backward hook must return None or one gradient for each of the {self.count} "
            f"arguments, of shape {', '.join(map(str, shapes))} where they have one, it returned {', '.join(map(str, found))}"
        )


def _joined(tensors: Sequence[Any]) -> tuple[Any, list[Any]]:
    """One node of the graph that the gradients of all `tensors` pass through, and the tensors as computed from it.

    A single tensor passes through an identity. Several are concatenated and split again, which copies them.
    """
    if len(tensors) == 1:
        node = same(tensors[0])
        return node, [node]
    node = cat([x.reshape(-1) for x in tensors])
    parts = _split(node, [x.shape for x in tensors])
    return node, [part.to(x.dtype) for part, x in zip(parts, tensors)]


def _split(joined: Any, shapes: Shapes) -> list[Any]:
    """The tensors of these shapes that were concatenated."""
    if len(shapes) == 1:
        return [joined]
    return [part.reshape(shape) for part, shape in zip(split(joined, [math.prod(shape) for shape in shapes]), shapes)]
