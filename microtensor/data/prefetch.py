"""Work done ahead of its use by threads, its results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_order(work: Callable[[int], T], numbers: Iterable[int], workers: int, ahead: int) -> Generator[T, None, None]:
    """`work(n)` for each n, in order. So many `workers` do it, up to `ahead` results before they are asked for; with none,
    each is done when it is asked for.

    What work raises is raised here, in its turn, with the traceback of the thread. The threads end with the iterator: when it
    is through, when it raises, when it is closed or nobody holds it any more. Nobody waits for them then: each ends the piece
    of work that it is at. They are the interpreter's own kind, which it joins at its exit. In a forked child there are no such
    threads: what they were at is done again there, and the rest each when it is asked for.

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
        if os.getpid() == process:  # else another process may have held its locks
            pool.shutdown(wait=False, cancel_futures=True)
