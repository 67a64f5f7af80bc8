"""Hooks: functions that are called when a module computes. They may look, and they may replace what goes through.

    before    hook(module, args)                       → new arguments, or None
    after     hook(module, args, result)               → a new result, or None
    backward  hook(module, grad_input, grad_output)    → a new grad_input, or None

A module without hooks pays for them with one look at an empty tuple, and one at an empty list: that of `watch_calls`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from microtensor.autograd.arguments import nothing, why_none
from microtensor.autograd.backward import register_hook, same
from microtensor.autograd.graph import Node, mode
from microtensor.ops.join import cat, split
from microtensor.runtime import allocator

Shapes: TypeAlias = Sequence[tuple[int, ...]]


class Hook:
    """A function at a place of a module: "before" it computes, "after" it has, or on the way "backward" through it."""

    def __init__(self, place: str, function: Callable[..., Any], with_kwargs: bool = False, always: bool = False) -> None:
        self.place, self.function, self.with_kwargs, self.always = place, function, with_kwargs, always


class RemovableHandle:
    """A hook that was registered: `remove()` detaches it, and so does the end of a `with` block that it opens."""

    def __init__(self, module: Hooked, hook: Hook) -> None:
        self._module, self._hook = module, hook

    def remove(self) -> None:
        """Detach the hook; once detached, nothing more."""
        self._module._hooks = tuple(hook for hook in self._module._hooks if hook is not self._hook)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Watcher(NamedTuple):
    """Who is told of every call of a module in one thread."""

    thread: int
    before: Callable[[Any], Any]
    after: Callable[[Any, Any], Any]


watchers: list[Watcher] = []
"""Those of all threads."""


def _nothing(*_: Any) -> None:
    """Nobody wants to know."""


@contextmanager
def watch_calls(before: Callable[[Any], Any] = _nothing, after: Callable[[Any, Any], Any] = _nothing) -> Iterator[None]:
    """Inside, call before(module) and after(module, result) around every call of any module in this thread.

    So it is known which modules a function uses, of which nothing else is known.

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
        watchers.append(watcher)  # inside: Ctrl-C may come right behind it
        yield
    finally:
        if watcher in watchers:
            watchers.remove(watcher)


class Hooked:
    """What can be called, and has hooks."""

    _hooks: tuple[Hook, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes: each module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} computes nothing yet: define its method forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = nothing[0]
        if kwargs and "input" in kwargs:
            args, kwargs = _under_pytorchs_name(self, args, kwargs)
        try:
            result = _call(self, args, kwargs) if self._hooks or watchers else self.forward(*args, **kwargs)
        except (TypeError, ValueError, IndexError) as error:
            _say_where_none_is_from(error, args)
            _name_the_layer(self, error)
            raise
        except AttributeError as error:  # 'NoneType' object has no attribute …
            if _say_where_none_is_from(error, args) or hasattr(error, "layer"):
                _name_the_layer(self, error)
            raise
        if result is None and nothing[0] is before and not (args and args[0] is None):  # else it was another module's
            nothing[0] = (type(self).__name__,)
        if allocator.undecided and isinstance(result, Node) and result._data.nbytes >= allocator.RETURNED_BYTES:
            allocator.keep()  # what a step frees, the next one takes
        return result

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args) before each computation. What it returns, if not None, takes the place of the arguments.

        Args:
            hook: gets the positional arguments as a tuple; returns None, a tuple of new ones, or the only new one.
            prepend: before the hooks that are there, not after them.
            with_kwargs: hook(module, args, kwargs), which returns None or (args, kwargs).

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
        """Call hook(module, args, result) after each computation. What it returns, if not None, takes the result's place.

        With `with_kwargs`, hook(module, args, kwargs, result). With `always_call` also where the module or another hook raises:
        then `result` is None, what the hook returns is of no account, and the error goes on. All else is as in
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
        """Call hook(module, grad_input, grad_output) when a backward pass has gone through a computation of this module.

        Both are tuples: a gradient for each positional argument (None where it has none) and for each part of the result (None
        where it is no tensor, or has none).
        What the hook returns, if not None, takes the place of `grad_input`. Where no argument has a gradient, as in a first
        layer, it is called when that of the result is known. It must not write into the gradients that it is given.

        Returns:
            A handle, as `register_forward_pre_hook`. Computations made before it is removed keep the hook.

        Raises:
            TypeError: (when the module computes) the result is neither a Tensor nor a tuple with one in it.

        >>> from microtensor import Tensor
        >>> from microtensor.nn import ReLU
        >>> layer = ReLU()
        >>> handle = layer.register_full_backward_hook(lambda module, grad_input, grad_output: grad_output)
        >>> x = Tensor([-1.0, 2.0], requires_grad=True)
        >>> layer(x).sum().backward()
        >>> x.grad  # the gradient that came to the result, also where relu would stop it
        Tensor([1., 1.])
        """
        return _attach(self, Hook("backward", hook), prepend)


def _under_pytorchs_name(
    module: Hooked, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a layer of this library, whose first is `input` in PyTorch, and has another name here."""
    forward = type(module).forward
    names = forward.__code__.co_varnames[: forward.__code__.co_argcount]
    if args or "input" in names or len(names) < 2 or not forward.__module__.startswith("microtensor."):
        return args, kwargs
    return (kwargs["input"],), {name: value for name, value in kwargs.items() if name != "input"}


def _say_where_none_is_from(error: Exception, args: tuple[Any, ...]) -> bool:
    """Let the message say who returned the None that was to be the module's input. Returns whether there is such."""
    hint = why_none(args[0] if args else 0)
    if hint and len(error.args) == 1 and isinstance(error.args[0], str) and hint not in error.args[0]:
        error.args = (error.args[0] + hint,)
    return bool(hint)


def _name_the_layer(module: Any, error: Exception) -> None:
    """Let the message begin with the dotted name of the layer that raised, seen from `module`, through which it passes."""
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
    return RemovableHandle(module, hook)


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
    passage = _Passage(module, backward, len(args)) if backward and mode.recording else None
    if passage is not None:
        args = passage.enter(args)
    result = module.forward(*args, **kwargs)
    for hook in hooks:
        if hook.place == "after":
            given = (args, kwargs) if hook.with_kwargs else (args,)
            called.add(hook)
            answer = hook.function(module, *given, result)
            result = result if answer is None else answer
    return result if passage is None else passage.leave(result)


def _replaced(
    module: Hooked, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, as a hook before the module leaves them."""
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


class _Passage:
    """One computation of a module, so that the gradient of what came out, then that of what went in, pass by its hooks."""

    def __init__(self, module: Hooked, hooks: Sequence[Callable[..., Any]], count: int) -> None:
        self.module, self.hooks, self.count = module, hooks, count
        self.places: list[int] = []
        """Which arguments have a gradient."""
        self.outer: tuple[Any, ...] = ()
        """The gradient of what came out, from when it is known until that of what went in is."""

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those with a gradient at places of their own in the graph."""
        self.places = [i for i, x in enumerate(args) if isinstance(x, Node) and x.requires_grad]
        if not self.places:
            return args
        gate, apart = _gate([args[i] for i in self.places])
        shapes = [args[i].shape for i in self.places]  # of the tensors the hook keeps no more than that: it may live long
        register_hook(gate, lambda g: self.at_entry(g, shapes))
        fresh = dict(zip(self.places, apart))
        return tuple(fresh.get(i, x) for i, x in enumerate(args))

    def leave(self, result: Any) -> Any:
        """The result, at a place of its own in the graph."""
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
        gate, apart = _gate([parts[i] for i in places])
        shapes, count = [parts[i].shape for i in places], len(parts)
        register_hook(gate, lambda g: self.at_exit(g, shapes, places, count))
        for i, part in zip(places, apart):
            parts[i] = part
        if not several:
            return parts[0]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)

    def at_exit(self, g: Any, shapes: Shapes, places: Sequence[int], count: int) -> None:
        """The gradient of what came out is complete."""
        found = dict(zip(places, _parts(g, shapes)))
        self.outer = tuple(found.get(i) for i in range(count))
        if not self.places:  # nothing that went in has a gradient: nobody will come by the entry
            for hook in self.hooks:
                answer = hook(self.module, (None,) * self.count, self.outer)
                given = answer if isinstance(answer, (tuple, list)) else (answer,)
                if any(gradient is not None for gradient in given):
                    raise ValueError(f"{type(self.module).__name__}: a backward hook replaced a gradient that nothing asks for")
            self.outer = ()

    def at_entry(self, g: Any, shapes: Shapes) -> Any:
        """The gradient of what went in is complete: the hooks see it, and may replace it."""
        found: dict[int, Any] = dict(zip(self.places, _parts(g, shapes)))
        outer, self.outer = self.outer, ()
        for hook in self.hooks:
            answer = hook(self.module, tuple(found.get(i) for i in range(self.count)), outer)
            if answer is not None:
                found = self.checked(answer, shapes)
        gradients = [found[i] for i in self.places]
        return gradients[0] if len(gradients) == 1 else cat([gradient.reshape(-1) for gradient in gradients])

    def checked(self, answer: Any, shapes: Shapes) -> dict[int, Any]:
        """What a hook returned as the gradient of what went in, if it fits."""
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


def _gate(tensors: Sequence[Any]) -> tuple[Any, list[Any]]:
    """One place in the graph that the gradients of all `tensors` pass together; and the tensors behind it.

    A single tensor passes as it is. Several are laid end to end and cut apart again, which copies them.
    """
    if len(tensors) == 1:
        gate = same(tensors[0])
        return gate, [gate]
    gate = cat([x.reshape(-1) for x in tensors])
    parts = _parts(gate, [x.shape for x in tensors])
    return gate, [part.to(x.dtype) for part, x in zip(parts, tensors)]


def _parts(gate: Any, shapes: Shapes) -> list[Any]:
    """What lies in a gate, in these shapes."""
    if len(shapes) == 1:
        return [gate]
    return [part.reshape(shape) for part, shape in zip(split(gate, [math.prod(shape) for shape in shapes]), shapes)]
