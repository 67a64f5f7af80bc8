"""What is recreated in a forked child: locks, the thread pool, random generators.

`os.fork`, by which multiprocessing starts processes on many systems, copies the memory, but of the threads only the one that
calls it. A lock that another thread held at that moment stays locked in the child for good, and a setting that another thread
had changed stays changed. So each module with a lock or such a setting registers here a function that renews it in the child.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
F = TypeVar("F", bound=Callable[[], Any])


def in_child(renew: F) -> F:
    """Register `renew` to be called in each forked child, before anything else runs there. Usable as a decorator."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
    return renew


generation = [0]
"""How many forks lie between this process and the one that imported the package: a job begun in another generation has lost
its threads."""


@in_child
def _count() -> None:
    generation[0] += 1


class cached_property(Generic[T]):
    """`functools.cached_property` without the lock that it has before Python 3.12, one for all objects of a class.

    Two threads that ask at once may both compute the value; the one computed last is kept.

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
        vars(instance)[self.name] = value  # an instance attribute, which Python looks up before this descriptor
        return value
