"""How many threads NumPy's BLAS uses: one for each call while threads of our own share the work.

OpenBLAS, which NumPy's wheels bring along, has a thread pool of its own. Two pools on the same cores would compete for them
(oversubscription). So `single_threaded_blas` sets its number of threads to 1 for a block; the last one out sets it back.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .forking import in_child
from .scoped import Block, Entry


class _Blas(Block):
    """The thread pool of NumPy's BLAS, as a block: while anybody is inside, each call uses one thread; when the last one has
    left, as many as before. `core` is the processor that it computes for, by OpenBLAS' name."""

    def __init__(self, get: Callable[[], int], set_: Callable[[int], Any], core: str) -> None:
        self.get, self.set, self.core = get, set_, core  # type: ignore[method-assign, assignment]
        self.lock, self.single, self.before = threading.Lock(), False, 0
        self.users: dict[int, tuple[int, weakref.ref[Any]]] = {}
        """Who is inside: by a key of its own, its thread, and a weak reference that reports when it died without leaving."""
        self.died = self._died
        in_child(self.renew)

    @property
    def inside(self) -> int:
        """How many are inside."""
        return len(self.users)

    def now(self) -> None:
        """Nothing: the setting is the process's, not the thread's. See `enter`."""

    def enter(self, entry: Entry) -> None:
        """One more is inside."""
        self.come(-1 - id(entry), weakref.ref(entry, self.died))  # negative: none of `keys`

    def leave(self, entry: Entry) -> None:
        """One less is inside. Called again if it was interrupted."""
        self.go(-1 - id(entry))

    def come(self, key: int, reference: weakref.ref[Any]) -> None:
        """One more is inside, under this key, until it goes or dies."""
        with self.lock:
            self.users[key] = threading.get_ident(), reference
            if not self.single:
                self.before = self.get()
                self.single = True  # first, so that whatever interrupts the next line is undone
                if self.before != 1:
                    self.set(1)

    def go(self, key: int) -> None:
        """One less is inside. It is removed last: if Ctrl-C comes before that, its reference dies, and `died` does the rest."""
        with self.lock:
            if len(self.users) == 1 and key in self.users:
                self._restore()
            self.users.pop(key, None)

    def _restore(self) -> None:
        """As many threads as before."""
        if self.single:
            if self.before != 1:
                self.set(self.before)
            self.single = False

    def _died(self, reference: Any) -> None:
        """Something that was inside is gone without having left: Ctrl-C came in between."""
        with self.lock:
            others = {key: user for key, user in self.users.items() if user[1] is not reference}
            if not others:
                self._restore()
            self.users = others

    def renew(self) -> None:
        """In a forked child only the thread that called fork goes on: those of other threads are inside no longer."""
        self.lock = threading.Lock()
        self.users = {key: user for key, user in self.users.items() if user[0] == threading.get_ident()}
        if not self.users:
            self._restore()


class _Leave:
    """`__exit__` of `_Inside`. A `with` statement looks it up before it enters, and holds what it got until its end."""

    def __get__(self, inside: _Inside | None, kind: type[_Inside]) -> Callable[..., None]:
        if inside is None:
            return _leave_by_hand
        inside.key = next(keys)
        leave = functools.partial(_leave, inside.blas, inside.key)  # no frame holds it, so no traceback does
        inside.reference = weakref.ref(leave, inside.blas.died)
        return leave


keys = itertools.count()


def _leave(blas: _Blas, key: int, *error: object) -> None:
    blas.go(key)


def _leave_by_hand(inside: _Inside, *error: object) -> None:
    """`type(inside).__exit__(inside, …)`, which contextlib.ExitStack calls."""
    inside.blas.go(inside.key)


class _Inside:
    """One `with single_threaded_blas()`. If Ctrl-C comes before its `__exit__` runs, that dies, and BLAS is set back.

    A `Block`, which does the same for any setting, costs more.
    """

    __slots__ = ("blas", "key", "reference", "__weakref__")

    def __init__(self, blas: _Blas) -> None:
        self.blas, self.key = blas, -1
        self.reference: weakref.ref[Any] | None = None

    def __enter__(self) -> None:
        if self.reference is None:
            self.key, self.reference = next(keys), weakref.ref(self, self.blas.died)
        self.blas.come(self.key, self.reference)

    __exit__ = _Leave()


@cache
def blas() -> _Blas | None:
    """NumPy's BLAS, if it is an OpenBLAS whose number of threads can be set; None if not."""
    folder = Path(np.__file__).parent
    for path in [*folder.parent.glob("numpy.libs/*openblas*"), *folder.glob(".dylibs/*openblas*")]:
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")):
            try:
                get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}")
                set_ = getattr(library, f"{prefix}openblas_set_num_threads{suffix}")
                core = getattr(library, f"{prefix}openblas_get_corename{suffix}")
            except AttributeError:
                continue
            core.restype = ctypes.c_char_p
            return _Blas(get, set_, core().decode())
    return None


def single_threaded_blas() -> AbstractContextManager[Any, Any]:
    """Inside, BLAS uses one thread for each call, where its number of threads can be set."""
    library = blas()
    return nullcontext() if library is None else _Inside(library)
