"""Work on arrays shared among threads: a convolution's images, the halves of a matrix product; or done aside, by one of them.

NumPy lets other threads run while it computes, but most of its functions use one core. So what takes long is cut into parts,
and `share` has a pool of threads take them, one after the other, the caller among them. Meanwhile BLAS, which has threads of
its own, is told to use one for each call: two pools on the same cores would wait for each other.

How work is cut depends on shapes alone: the same numbers come out, bit for bit, whatever the number of threads.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from .forking import generation, in_child
from .integers import as_integer
from .scoped import Block, Entry

Part = TypeVar("Part")

VARIABLES = ("MICROTENSOR_NUM_THREADS", "OMP_NUM_THREADS")
"""The first of these environment variables that is set says how many threads there are; else it is the process's cores."""


def get_num_threads() -> int:
    """How many threads share the work: those of `set_num_threads`, or of an environment variable, else a thread per core."""
    return settings.count


def set_num_threads(count: int) -> None:
    """From now on so many threads share the work, in all of the process.

    Raises:
        TypeError: it is no integer.
        ValueError: it is less than 1.

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    settings.count = as_integer("set_num_threads", "count", count, least=1)


def share(function: Callable[[Part], Any], parts: Iterable[Part], alone: bool = False) -> None:
    """`function(part)` for every part, on several threads. It returns when all are done.

    A part that raises ends the work: no further part is begun, and the error is raised here. Called from inside a part, it does
    all parts itself, one after the other; or, `alone`, what would be done before another thread has woken.

    >>> squares = np.zeros(4)
    >>> def square(i):
    ...     squares[i] = i * i
    >>> share(square, range(4))
    >>> squares
    array([0., 1., 4., 9.])
    """
    waiting = deque(parts)
    helpers = min(settings.count, len(waiting)) - 1 if blas() else 0
    if helpers < 1 or alone or here.busy:
        with single_threaded_blas():
            for part in waiting:
                function(part)
        return
    job = _Job(function, waiting)
    try:
        here.busy = True
        with single_threaded_blas():
            pool = settings.pool(helpers)
            for _ in range(helpers):
                pool.put(job)
            job.work()
            job.wait()
    finally:
        here.busy = False
    if job.error is not None:
        raise job.error


def share_with(
    make: Callable[[], Any], function: Callable[[Any, Part], Any], parts: Iterable[Part], alone: bool = False
) -> None:
    """`function(memory, part)` for every part, with memory from `make`, of which each thread has its own.

    >>> seen = []
    >>> share_with(list, lambda memory, part: seen.append(part), range(3))
    >>> sorted(seen)
    [0, 1, 2]
    """
    spare: list[Any] = []

    def work(part: Part) -> None:
        memory = spare.pop() if spare else make()
        function(memory, part)
        spare.append(memory)

    share(work, parts, alone)


def idle() -> bool:
    """Whether there are other threads to take work from this one: not inside a part, which is shared already."""
    return settings.count > 1 and not here.busy and blas() is not None


class Later:
    """A call that another thread makes while this one goes on; or this one, if it asks for the result first.

    >>> later = Later(sum, [1, 2, 3])
    >>> later.result()
    6
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        outcome: list[Any] = []

        def call(arguments: tuple[Any, ...]) -> None:
            busy, here.busy = here.busy, False  # what it shares, idle threads may take
            try:
                outcome.append(function(*arguments))
            finally:
                here.busy = busy

        self._outcome, self._job = outcome, _Job(call, deque([arguments]))
        if idle():
            settings.pool(settings.count - 1).put(self._job)

    @property
    def waits(self) -> bool:
        """Whether no thread has begun with it."""
        return bool(self._job.waiting)

    def result(self) -> Any:
        """What the function returned. An error that it raised is raised here."""
        self._job.work()
        self._job.wait()
        if self._job.error is not None:
            raise self._job.error
        return self._outcome[0]

    def take(self) -> Any:
        """`result()`, handed over, once: nobody here holds it any more."""
        self.result()
        return self._outcome.pop()

    def cancel(self) -> None:
        """Do not begin with it any more; wait for its end if it has begun."""
        self._job.waiting.clear()
        if self._job.generation == generation[0]:  # else it was forked since
            self._job.wait()


MANY = 1 << 20
"""Numbers of an array from which on it is worth while to share work that is done number by number: to wake a thread takes as
long as to add some hundred thousand."""

SOME = 1 << 18
"""Numbers that a thread takes at once. Where it takes fewer, threads meet too often between NumPy's calls."""


def spread(function: Callable[..., Any], *arrays: Any) -> Any:
    """`function(*arrays)` of arrays of one shape and dtype, number by number, where the function takes an `out` as NumPy's do.

    Large arrays that lie in one piece are worked on in parts, on several threads.

    >>> spread(np.maximum, np.array([1.0, 5.0]), np.array([3.0, 2.0]))
    array([3., 5.])
    """
    first = arrays[0]
    if first.size < MANY or settings.count == 1 or not all(_alike(array, first) for array in arrays):
        return function(*arrays)
    result = np.empty(first.shape, first.dtype)
    flat, out = [array.reshape(-1) for array in arrays], result.reshape(-1)
    share(lambda part: function(*[array[part] for array in flat], out=out[part]), slices(first.size, SOME))
    return result


def _alike(array: Any, first: Any) -> bool:
    return (
        type(array) is np.ndarray
        and array.shape == first.shape
        and array.dtype == first.dtype
        and bool(array.flags.c_contiguous)
    )


def slices(count: int, step: int) -> list[slice]:
    """0 … count cut into slices of `step`, the last as long as it comes.

    >>> slices(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(i, min(i + step, count)) for i in range(0, count, step)]


class _Job:
    """Parts, and what is to be done with each."""

    def __init__(self, function: Callable[[Any], Any], waiting: deque[Any]) -> None:
        self.function, self.waiting = function, waiting
        self.context = contextvars.copy_context()  # NumPy's errstate is the caller's in every thread
        self.lock, self.ended = threading.Lock(), SimpleQueue[None]()
        self.at_work = 0
        self.error: BaseException | None = None
        self.generation = generation[0]

    def work(self) -> None:
        """Take parts until there are none."""
        self.check_threads()
        with self.lock:
            if not self.waiting:
                return
            self.at_work += 1
        try:
            while True:
                try:
                    part = self.waiting.popleft()
                except IndexError:
                    return
                self.function(part)
        except BaseException as error:  # Ctrl-C too, which comes to the caller's thread
            self.waiting.clear()
            self.error = self.error or error
        finally:
            self.check_threads()
            with self.lock:
                self.at_work -= 1
            self.ended.put(None)

    def wait(self) -> None:
        """Until nobody works on a part."""
        self.check_threads()
        while self.at_work:
            self.ended.get()

    def check_threads(self) -> None:
        """Raise if the process was forked since: the threads that worked on it are not here, and their parts are lost."""
        if self.generation != generation[0]:
            raise RuntimeError(
                "the process was forked in the middle of an operation or of a backward pass, and its other threads are not in "
                "the child: fork before, or begin the computation again in the child"
            )


class _Here(threading.local):
    busy = False
    """Whether this thread works on a part."""


here = _Here()


class _Settings:
    """How many threads there are, and the pool."""

    def __init__(self) -> None:
        self.count = self.usual()
        self.forget()

    def usual(self) -> int:
        for name in VARIABLES:
            value = os.environ.get(name, "").partition(",")[0].strip()
            if value.isdecimal() and int(value) > 0:
                return int(value)
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def forget(self) -> None:
        """No thread yet, and, in a forked process, none any more."""
        self.lock, self.jobs, self.threads = threading.Lock(), SimpleQueue[_Job](), 0

    def pool(self, least: int) -> SimpleQueue[_Job]:
        """Where at least so many threads take jobs from."""
        with self.lock:
            while self.threads < least:
                threading.Thread(target=_serve, args=(self.jobs,), name="microtensor", daemon=True).start()
                self.threads += 1
        return self.jobs


def _serve(jobs: SimpleQueue[_Job]) -> None:
    here.busy = True
    while True:
        job = jobs.get()
        job.context.copy().run(job.work)
        del job  # or it would keep its arrays alive until the next comes


settings = _Settings()
in_child(settings.forget)


# BLAS


class _Blas(Block):
    """The threads of NumPy's BLAS: how many it uses, and how to say so. Entered, it uses one for each call, until the last of
    those who are inside has left; then as many as before. `core` is the processor that it computes for, in its own words."""

    def __init__(self, get: Callable[[], int], set_: Callable[[int], Any], core: str) -> None:
        self.get, self.set, self.core = get, set_, core  # type: ignore[method-assign, assignment]
        self.lock, self.single, self.before = threading.Lock(), False, 0
        self.users: dict[int, tuple[int, weakref.ref[Any]]] = {}
        """Who is inside: by the number of each, its thread, and a reference that tells when it has died without leaving."""
        self.died = self._died
        in_child(self.renew)

    @property
    def inside(self) -> int:
        """How many are inside."""
        return len(self.users)

    def now(self) -> None:
        """It is not the thread's own: see `enter`."""

    def enter(self, entry: Entry) -> None:
        """One more is inside."""
        self.come(-1 - id(entry), weakref.ref(entry, self.died))  # no number of `keys`

    def leave(self, entry: Entry) -> None:
        """One less is inside. Whoever was interrupted before may leave again."""
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
        """One less is inside. It is struck off last: if Ctrl-C comes before, it dies, and all this is done again."""
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
        """Somebody was inside, and Ctrl-C kept it from leaving."""
        with self.lock:
            others = {key: user for key, user in self.users.items() if user[1] is not reference}
            if not others:
                self._restore()
            self.users = others

    def renew(self) -> None:
        """In a forked process nobody is inside who was there in another thread."""
        self.lock = threading.Lock()
        self.users = {key: user for key, user in self.users.items() if user[0] == threading.get_ident()}
        if not self.users:
            self._restore()


class _Leave:
    """`__exit__` of `_Inside`: a `with` statement asks for it before it enters, and holds what it gets until its end."""

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
    """As contextlib.ExitStack has it."""
    inside.blas.go(inside.key)


class _Inside:
    """Who is inside `single_threaded_blas()`. If Ctrl-C keeps its `__exit__` from being called, that dies all the same.

    It costs less than a `Block`, which does the same for any setting.
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
    """NumPy's BLAS, if it is an OpenBLAS that can be told how many threads to use; None if not."""
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
    """Inside, BLAS uses one thread for each call, if it can be told."""
    library = blas()
    return nullcontext() if library is None else _Inside(library)
