"""Whether operations are recorded, so that gradients can flow back through them: `no_grad` and `enable_grad`."""

from __future__ import annotations

import threading
from typing import Any

from ..runtime.scoped import Setting


class Mode(threading.local):
    """Each thread's own switches."""

    recording = True
    """Whether operations remember their inputs: `no_grad` switches it off."""
    autocast: Any = None
    """What mixed precision computes in, a `Casting`: see autocast.py. None: each operation in the dtypes that it is given."""
    observers: tuple[Any, ...] = ()
    """Who watches what this thread computes: see observers.py."""


mode = Mode()


class _Recording(Setting):
    """Switches recording for a block or a function, and back afterwards."""

    value: bool

    def __new__(cls, function: Any = None) -> Any:
        """`@no_grad` without parentheses decorates too."""
        block = super().__new__(cls)
        if function is None:
            return block
        block.__init__()  # Python calls it only where a block is returned
        return block(function)

    def __init__(self) -> None:
        super().__init__(mode, recording=self.value)


class no_grad(_Recording):
    """Operations inside record nothing: no gradient will be asked for. A context manager and a decorator, per thread.

    Where it decorates a generator, a coroutine or an asynchronous generator, it holds while that runs, not while it waits.

    Raises:
        TypeError: it decorates a class, or nothing that can be called.

    >>> import microtensor as mt
    >>> x = mt.Tensor([3.0], requires_grad=True)
    >>> with no_grad():
    ...     (x * x).requires_grad
    False
    >>> @no_grad()
    ... def squares():
    ...     yield x * x
    >>> next(squares()).requires_grad
    False
    """

    value = False


class enable_grad(_Recording):
    """Operations inside record again, inside a `no_grad`. It decorates as `no_grad` does.

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
