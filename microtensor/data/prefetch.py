"""Work done ahead of its use by threads, its results in order."""

from __future__ import annotations

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
    of work that it is at. They are the interpreter's own kind, which it joins at its exit.

    >>> list(in_order(lambda n: n * n, range(5), workers=2, ahead=4))
    [0, 1, 4, 9, 16]
    """
    numbers = iter(numbers)
    if not workers:
        yield from map(work, numbers)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="microtensor-data")
    try:
        waiting = deque(pool.submit(work, n) for n in islice(numbers, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, n) for n in islice(numbers, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
