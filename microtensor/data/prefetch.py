"""Prefetching: a function called ahead of time by worker threads, with its results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_order(work: Callable[[int], T], numbers: Iterable[int], workers: int, ahead: int) -> Generator[T, None, None]:
    """Yield `work(n)` for each n, in order. `workers` threads compute up to `ahead` results in advance; with 0 workers, each is
    computed when requested.

    An exception in `work` is raised here, in the place of its result, with the traceback of the thread. The threads end when
    the iterator is exhausted, raises, is closed or is garbage collected. They are not waited for then: each finishes its
    current call. The interpreter joins them at exit. A forked child has no such threads: it repeats the calls that were
    pending, and computes the rest when requested.

    >>> list(in_order(lambda n: n * n, range(5), workers=2, ahead=4))
    [0, 1, 4, 9, 16]
    """
    numbers = iter(numbers)
    if not workers:
        yield from map(work, numbers)
        return
    pool, process = ThreadPoolExecutor(workers, thread_name_prefix="microtensor-data"), os.getpid()
    try:
        waiting = deque((n, pool.submit(work, n)) for n in islice(numbers, ahead))
        while waiting:
            result = waiting[0][1].result()
            del waiting[0]
            waiting.extend((n, pool.submit(work, n)) for n in islice(numbers, 1))
            yield result
            del result
            if os.getpid() != process:
                yield from map(work, [n for n, _ in waiting])
                yield from map(work, numbers)
                return
    finally:
        if os.getpid() == process:  # in a forked child, the locks of the pool may be held forever
            pool.shutdown(wait=False, cancel_futures=True)
