"""What a forked child makes anew.

`os.fork`, by which multiprocessing starts its processes on many systems, copies the memory but only the thread that calls it. A
lock that another thread held at that moment stays locked in the child, for nobody is there to release it; what another thread
was to put back, nobody puts back. So whoever has a lock, or changes something for a while, says here how a child starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
F = TypeVar("F", bound=Callable[[], Any])


def in_child(renew: F) -> F:
    """Let `renew()` be called in each forked child, first of all. Where there is no fork, it never is."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
    return renew


generation = [0]
"""How often this process is a child of one that used this package: what began in another generation has lost its threads."""


@in_child
def _count() -> None:
    generation[0] += 1


class cached_property(Generic[T]):
    """`functools.cached_property` without its lock, which it has before Python 3.12, one for all objects of a class.

    Two threads that ask at once may both compute the value; the last is kept.

    >>> class Circle:
    ...     radius = 2.0
    ...     @cached_property
    ...     def area(self):
    ...         print("computed")
    ...         return 3.14 * self.radius**2
    >>> circle = Circle()
    >>> circle.area, circle.area
    computed
    (12.56, 12.56)
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute, self.name, self.__doc__ = compute, compute.__name__, compute.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any]) -> cached_property[T] | T:
        if instance is None:
            return self
        value = self.compute(instance)
        vars(instance)[self.name] = value  # found there from now on, before this is asked
        return value
