"""Settings that hold in a `with` block, or in a function that is decorated: `no_grad`, `autocast`, `default_device` and others.

`Setting` sets attributes of an object; `FunctionSetting` calls a function. Both are a `Block`, which is safe against Ctrl-C.

KeyboardInterrupt may be raised between any two bytecodes, also at the start of `__exit__`, before it has put anything back. But
the interpreter always drops its references. During a `with` statement it refers to the bound `__exit__`, which here is an
object created for that one statement, with a weak reference whose callback ends the block if it has not ended. So a setting
lasts as long as its block, and no longer.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from threading import get_ident
from typing import Any, TypeVar

from .text import kind_of

B = TypeVar("B", bound="Block")
F = TypeVar("F", bound=Callable[..., Any])


class Entry:
    """One entry into a block: what was set before, and whether that is still to be put back."""

    __slots__ = ("block", "before", "open", "thread", "watch", "__weakref__")

    def __init__(self, block: Block) -> None:
        self.block, self.thread, self.open = block, get_ident(), False
        self.before: Any = None
        self.watch: Any = None

    def begin(self) -> None:
        """Set what is to hold inside."""
        self.before = self.block.now()
        self.open = True  # first, so that whatever interrupts the next line undoes it
        self.block.enter(self)

    def end(self) -> None:
        """Put back what was set before."""
        if self.open:
            self.block.leave(self)
            self.open = False
        self.watch = None  # it holds this entry, which holds it

    def dropped(self, _: object) -> None:
        """Nothing refers to the exit any more. Another thread may have dropped it, as the garbage collector does: its settings
        are its own."""
        if self.thread == get_ident():
            self.end()


class _Exit:
    """`__exit__` of a block. A `with` statement gets it, then enters the block, and refers to what it got until the end."""

    def __get__(self, block: Block | None, kind: type[Block]) -> Callable[..., None]:
        if block is None:
            return _leave_by_hand
        entry = Entry(block)
        leave = functools.partial(_leave, entry)  # no frame holds it, so no traceback does
        entry.watch = weakref.ref(leave, entry.dropped)
        block._coming.append(weakref.ref(entry))
        return leave


def _leave(entry: Entry, *error: object) -> None:
    if not entry.open:  # block.__exit__(…) by hand: this exit was created after the block was entered
        _leave_by_hand(entry.block)
    entry.end()


def _leave_by_hand(block: Block, *error: object) -> None:
    """`type(block).__exit__(block, …)`, as contextlib.ExitStack has it."""
    entry = next((entry for entry in reversed(block._by_hand) if entry.thread == get_ident()), None)
    if entry is not None:
        entry.end()
        block._by_hand.remove(entry)


class Block:
    """A context manager and a decorator that sets something in this thread, and puts back what was set before.

    A subclass says what is set `now`, how to `set` it, and what is `wanted` inside. A block may be entered several times, also
    inside itself and by several threads.

    As a decorator it holds while the function runs. In a generator, a coroutine or an asynchronous generator it does not hold
    while that is suspended at a `yield` or an `await`: then other code runs, which has its own settings.
    """

    _coming: list[weakref.ref[Entry]]
    """Entries of exits that were created, of blocks that are about to be entered."""
    _by_hand: list[Entry]
    """Entries without a `with` statement that refers to their exit: `__enter__` was called by hand."""

    def __new__(cls, *args: Any, **settings: Any) -> Any:
        """Sets what every block has, so that a subclass need not call `Block.__init__`."""
        block = super().__new__(cls)
        block._coming, block._by_hand = [], []
        return block

    def now(self) -> Any:
        """What is set now."""
        raise NotImplementedError

    def set(self, value: Any) -> None:
        """Set it."""
        raise NotImplementedError

    def wanted(self, before: Any) -> Any:
        """What is to be set inside, where `before` was set before."""
        raise NotImplementedError

    def enter(self, entry: Entry) -> None:
        """Set what is to hold inside. If it is interrupted, `leave` undoes what there is to undo."""
        self.set(self.wanted(entry.before))

    def leave(self, entry: Entry) -> None:
        """Put back what was set before. If it is interrupted, it is called again."""
        self.set(entry.before)

    def __enter__(self: B) -> B:
        for coming in reversed(tuple(self._coming)):
            entry = coming()
            if entry is None or entry.thread == get_ident():
                self._coming.remove(coming)
                if entry is not None:
                    entry.begin()
                    return self
        entry = Entry(self)
        self._by_hand.append(entry)
        try:
            entry.begin()
        except BaseException:
            _leave_by_hand(self)
            raise
        return self

    __exit__ = _Exit()

    def __call__(self, function: F) -> F:
        """The function, with this block around each call.

        Raises:
            TypeError: it is a class, or nothing that can be called.
        """
        name = type(self).__name__
        if isinstance(function, type):
            raise TypeError(
                f"{name}: it decorates functions; of the class {function.__name__} it may mean the constructor or each method: "
                "decorate the methods that are meant"
            )
        if not callable(function):
            hint = f"; write @{kind_of(function)} above @{name}()" if isinstance(function, (classmethod, property)) else ""
            raise TypeError(f"{name}: it decorates a function, got {kind_of(function)}{hint}")
        return _decorated(self, function)


class Setting(Block):
    """A block in which attributes of an object, such as a `threading.local`, have other values.

    >>> import types
    >>> thread = types.SimpleNamespace(way="usual")
    >>> with Setting(thread, way="other"):
    ...     thread.way
    'other'
    >>> thread.way
    'usual'
    """

    def __init__(self, holder: Any, **values: Any) -> None:
        self._holder, self._values = holder, values

    def now(self) -> dict[str, Any]:
        """The values of the attributes."""
        return {name: getattr(self._holder, name) for name in self._values}

    def set(self, value: dict[str, Any]) -> None:
        """Set them."""
        for name in value:
            setattr(self._holder, name, value[name])

    def wanted(self, before: dict[str, Any]) -> dict[str, Any]:
        """Those to set inside."""
        return self._values


class FunctionSetting(Block):
    """A block in which `get()` returns `value`, because it called `set_(value)`; at its end it sets the value of before.

    >>> state = [1]
    >>> with FunctionSetting(lambda: state[0], lambda value: state.__setitem__(0, value), 2):
    ...     state
    [2]
    >>> state
    [1]
    """

    def __init__(self, get: Callable[[], Any], set_: Callable[[Any], Any], value: Any) -> None:
        self.now, self.set, self._value = get, set_, value  # type: ignore[method-assign, assignment]

    def wanted(self, before: Any) -> Any:
        """The value to set inside."""
        return self._value


def _decorated(block: Block, function: Any) -> Any:
    """A function of the kind of `function`: a coroutine function of a coroutine function, and so on."""
    body = function if inspect.isroutine(function) or isinstance(function, functools.partial) else function.__call__
    wrapped = inspect.unwrap(body) is not body  # another decorator, which may wrap a generator function
    inner: Any
    if inspect.isasyncgenfunction(body):

        def inner(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            return _items(block, function(*args, **kwargs))

    elif inspect.iscoroutinefunction(body):

        async def inner(*args: Any, **kwargs: Any) -> Any:
            return await _awaited(block, function(*args, **kwargs))

    elif inspect.isgeneratorfunction(body):

        def inner(*args: Any, **kwargs: Any) -> Any:
            return (yield from _steps(_Own(block), function(*args, **kwargs)))

    else:

        def inner(*args: Any, **kwargs: Any) -> Any:
            with block:
                result = function(*args, **kwargs)
            if wrapped and inspect.isgenerator(result):
                return _steps(_Own(block), result)
            if wrapped and inspect.iscoroutine(result):
                return _awaited(block, result)
            return _items(block, result) if wrapped and inspect.isasyncgen(result) else result

    return functools.wraps(function)(inner)


class _Own(Block):
    """The block around a generator, each time that it runs: what the generator has set is set again after a `yield`."""

    def __init__(self, block: Block) -> None:
        self.now, self.set, self.wanted = block.now, block.set, block.wanted  # type: ignore[method-assign]

    def keep(self) -> None:
        """The generator is about to be suspended: what is set now is to be set when it goes on."""
        kept = self.now()
        self.wanted = lambda before: kept  # type: ignore[method-assign]


def _steps(own: _Own, steps: Any) -> Generator[Any, Any, Any]:
    """The items of a generator or a coroutine, and what it returns; what is sent or thrown is passed on to it."""
    step = functools.partial(steps.send, None)
    try:
        while True:
            with own:
                given = step()
                own.keep()
            try:
                step = functools.partial(steps.send, (yield given))
            except BaseException as error:  # GeneratorExit too: it is being closed
                step = functools.partial(steps.throw, error)
    except StopIteration as end:
        return end.value


class _Await:
    """An awaitable that runs a coroutine, or a step of an asynchronous generator, inside a block."""

    def __init__(self, own: _Own, steps: Any) -> None:
        self.own, self.steps = own, steps

    def __await__(self) -> Generator[Any, Any, Any]:
        return _steps(self.own, self.steps)


async def _awaited(block: Block, coroutine: Any) -> Any:
    return await _Await(_Own(block), coroutine)


async def _items(block: Block, items: Any) -> AsyncGenerator[Any, Any]:
    """The items of an asynchronous generator."""
    own = _Own(block)
    step = items.asend(None)
    try:
        while True:
            item = await _Await(own, step)
            try:
                step = items.asend((yield item))
            except BaseException as error:
                step = items.athrow(error)
    except StopAsyncIteration:
        return
