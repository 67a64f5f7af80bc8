"""A thread pool for work on arrays: a convolution's images, the halves of a matrix product, gradients beside a backward pass.

NumPy releases the GIL while it computes, but most of its functions use one core. So work that takes long is cut into parts, and
the pool's threads and the caller take them from a queue (`share`). During that, BLAS, which has a thread pool of its own, uses
one thread for each call: more threads than cores would slow each other down (oversubscription).

How work is cut depends on shapes alone: the results are the same, bit for bit, whatever the number of threads.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from .blas import blas, single_threaded_blas
from .forking import generation, in_child
from .integers import as_integer

Part = TypeVar("Part")

VARIABLES = ("MICROTENSOR_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables with the number of threads: the first that is set. Without one, a thread for each core."""


def get_num_threads() -> int:
    """How many threads share the work: as `set_num_threads` or an environment variable says, else one for each core."""
    return settings.count


def set_num_threads(count: int) -> None:
    """Set how many threads share the work, for the whole process.

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

    A part that raises ends the work: no further part is begun, and the error is raised here. Inside a part, and if `alone`
    (for work that takes less time than to wake a thread), the caller does all parts itself, in order.

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
    """`function(memory, part)` for every part, with a buffer from `make()` for each thread that works.

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
    """Whether other threads could take work from this one: not inside a part, where all of them work already."""
    return settings.count > 1 and not here.busy and blas() is not None


class Later:
    """A call that a thread of the pool makes while this one goes on; or this one, if it asks for the result before that begins.

    >>> later = Later(sum, [1, 2, 3])
    >>> later.result()
    6
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        outcome: list[Any] = []

        def call(arguments: tuple[Any, ...]) -> None:
            busy, here.busy = here.busy, False  # it may share its own work with idle threads
            try:
                outcome.append(function(*arguments))
            finally:
                here.busy = busy

        self._outcome, self._job = outcome, _Job(call, deque([arguments]))
        if idle():
            settings.pool(settings.count - 1).put(self._job)

    @property
    def waits(self) -> bool:
        """Whether no thread has begun it."""
        return bool(self._job.waiting)

    def result(self) -> Any:
        """What the function returned. An error that it raised is raised here."""
        self._job.work()
        self._job.wait()
        if self._job.error is not None:
            raise self._job.error
        return self._outcome[0]

    def take(self) -> Any:
        """`result()`, once: no reference to it is kept here."""
        self.result()
        return self._outcome.pop()

    def cancel(self) -> None:
        """Do not begin it any more; wait for its end if it has begun."""
        self._job.waiting.clear()
        if self._job.generation == generation[0]:  # else it was forked since
            self._job.wait()


SPREAD_ELEMENTS = 1 << 20
"""Elements of an array from which on `spread` uses several threads: to wake a thread takes as long as to add some 100,000."""

SLICE_ELEMENTS = 1 << 18
"""Elements that a thread takes at once. With fewer, threads contend for the GIL between NumPy's calls."""


def spread(function: Callable[..., Any], *arrays: Any) -> Any:
    """`function(*arrays)`, an element-wise function with an argument `out`, such as NumPy's, of arrays of one shape and dtype.

    Large contiguous arrays are worked on in slices, by several threads.

    >>> spread(np.maximum, np.array([1.0, 5.0]), np.array([3.0, 2.0]))
    array([3., 5.])
    """
    first = arrays[0]
    if first.size < SPREAD_ELEMENTS or settings.count == 1 or not all(_alike(array, first) for array in arrays):
        return function(*arrays)
    result = np.empty(first.shape, first.dtype)
    flat, out = [array.reshape(-1) for array in arrays], result.reshape(-1)
    share(lambda part: function(*[array[part] for array in flat], out=out[part]), slices(first.size, SLICE_ELEMENTS))
    return result


def _alike(array: Any, first: Any) -> bool:
    return (
        type(array) is np.ndarray
        and array.shape == first.shape
        and array.dtype == first.dtype
        and bool(array.flags.c_contiguous)
    )


def slices(count: int, step: int) -> list[slice]:
    """0 … count cut into slices of `step`, the last one shorter.

    >>> slices(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(i, min(i + step, count)) for i in range(0, count, step)]


class _Job:
    """A queue of parts, and the function to call with each."""

    def __init__(self, function: Callable[[Any], Any], waiting: deque[Any]) -> None:
        self.function, self.waiting = function, waiting
        self.context = contextvars.copy_context()  # NumPy's errstate is the caller's in every thread
        self.lock, self.ended = threading.Lock(), SimpleQueue[None]()
        self.at_work = 0
        self.error: BaseException | None = None
        self.generation = generation[0]

    def work(self) -> None:
        """Take parts from the queue until it is empty."""
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
        except BaseException as error:  # KeyboardInterrupt too, which Python raises in the main thread
            self.waiting.clear()
            self.error = self.error or error
        finally:
            self.check_threads()
            with self.lock:
                self.at_work -= 1
            self.ended.put(None)

    def wait(self) -> None:
        """Wait until no thread works on a part."""
        self.check_threads()
        while self.at_work:
            self.ended.get()

    def check_threads(self) -> None:
        """Raise if the process was forked since: the other threads are not in the child, and their parts are lost."""
        if self.generation != generation[0]:
            raise RuntimeError(
                "the process was forked in the middle of an operation or of a backward pass, and its other threads are not in "
                "the child: fork before, or begin the computation again in the child"
            )


class _Thread(threading.local):
    busy = False
    """Whether this thread works on a part."""


here = _Thread()


class _Settings:
    """The number of threads, and the pool."""

    def __init__(self) -> None:
        self.count = self.usual()
        self.forget()

    def usual(self) -> int:
        """As an environment variable says, else the cores that this process may use."""
        for name in VARIABLES:
            value = os.environ.get(name, "").partition(",")[0].strip()
            if value.isdecimal() and int(value) > 0:
                return int(value)
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def forget(self) -> None:
        """An empty pool: at the start, and in a forked child, which has none of its parent's threads."""
        self.lock, self.jobs, self.threads = threading.Lock(), SimpleQueue[_Job](), 0

    def pool(self, least: int) -> SimpleQueue[_Job]:
        """The queue of jobs, from which at least this many threads take."""
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
        del job  # it would keep its arrays alive until the next one comes


settings = _Settings()
in_child(settings.forget)
