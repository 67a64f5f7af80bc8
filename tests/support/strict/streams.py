"""Streams, events and pinned memory: what on the device happens before what, and what of it the host may take for done.

On a GPU each stream is a queue, and nothing says which of two streams is ahead, unless one has waited for an event of the other.
Here all is done at once; what is kept is what each stream may know: how many tasks of each other stream are done before its own
next one. Where work on one piece of memory is not in such an order, a GPU gives one result or another, and this raises. It also
raises where the host

- copies on a stream from memory that is not pinned: a GPU's driver would wait for it;
- writes to pinned memory, or drops it, before it may know that a copy from there is done (found when it learns so);
- drops memory of one stream that another still works on: CuPy gives it to the next who asks.

Only memory that was made on, or copied to by, a stream other than the first is watched. An event is done when the host has waited
for it, or, for it takes its time, at the second asking.
"""

import threading
import time
import weakref

import numpy as np

from .counts import count
from .names import CLASSES


class Refused(TypeError):
    """What CuPy does not take, or what would go wrong without a word."""


class Known:
    """An object of CuPy's: a name that CuPy's own does not have is an error."""

    kind = ""

    def __getattr__(self, name):
        known = CLASSES.get(self.kind, {})
        why = "not in the stand-in" if name in known else "CuPy has no such name"
        raise AttributeError(f"cupy.{self.kind}.{name}: {why}")


host = {}
"""How many tasks of each stream the host knows to be done."""

copies = []
"""From pinned memory, whose end the host does not know of."""

faults = []
"""What went wrong where nothing could be raised: the next use of a stream raises it."""


def learn(known, more):
    for stream, tasks in more.items():
        known[stream] = max(known.get(stream, 0), tasks)


def host_learns(more):
    """The host knows these tasks to be done, and so which copies are."""
    learn(host, more)
    for copy in [copy for copy in copies if host.get(copy.stream, 0) >= copy.task]:
        copies.remove(copy)
        copy.check()
    raise_faults()


def raise_faults():
    if faults:
        message = faults[0]
        faults.clear()
        raise Refused(message)


class Event(Known):
    """A point in a stream."""

    kind = "cuda.Event"

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.known, self.asked = {}, 0
        self.timed, self.at = not disable_timing, None

    def record(self, stream=None):
        (Stream.null if stream is None else stream).record(self)

    @property
    def done(self):
        self.asked += 1
        if self.asked > 1:
            host_learns(self.known)
        return all(host.get(stream, 0) >= task for stream, task in self.known.items())

    def synchronize(self):
        count("synchronize", waits=1)
        host_learns(self.known)


def get_elapsed_time(start, end):
    """Milliseconds. The host must know that both have happened: asking a GPU for the time of one that has not is an error."""
    for event in (start, end):
        if not event.timed or event.at is None:
            raise ValueError("cudaErrorInvalidResourceHandle: the event was not recorded, or was made without timing")
        if any(host.get(stream, 0) < task for stream, task in event.known.items()):
            raise RuntimeError("cudaErrorNotReady: the host has not waited for the event")
    return 1e3 * (end.at - start.at)


class Current(threading.local):
    stream = None


current = Current()


class Stream(Known):
    """A queue of work."""

    kind = "cuda.Stream"

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        if not null and not non_blocking:
            raise NotImplementedError("cupy.cuda.Stream: the stand-in knows the first stream, and those with non_blocking=True")
        self.known, self.before = {self: 0}, []

    def __enter__(self):
        self.before.append(current.stream)
        current.stream = self
        return self

    def __exit__(self, *error):
        current.stream = self.before.pop()

    def use(self):
        current.stream = self
        return self

    @property
    def ptr(self):
        """Its address: 0 of the first."""
        return 0 if self is Stream.null else id(self)

    def synchronize(self):
        count("synchronize", waits=1)
        host_learns(self.known)

    def task(self):
        """One more; its number."""
        self.known[self] += 1
        return self.known[self]

    def record(self, event=None):
        raise_faults()
        event = Event() if event is None else event
        self.task()
        event.known, event.asked, event.at = dict(self.known), 0, time.perf_counter()
        return event

    def wait_event(self, event):
        raise_faults()
        learn(self.known, event.known)


Stream.null = Stream(null=True)


def get_current_stream(device_id=None):
    return Stream.null if current.stream is None else current.stream


def everything_is_done():
    """The host has waited for all streams."""
    known = dict(host)
    for stream in [Stream.null, get_current_stream(), *(copy.stream for copy in copies)]:
        learn(known, stream.known)
    host_learns(known)


class Order:
    """Who works on a piece of memory: the stream that did last, and where it was made."""

    def __init__(self, home):
        self.home, self.last, self.task = home, home, home.task()

    def touch(self, name, stream):
        raise_faults()
        if stream is not self.last and stream.known.get(self.last, 0) < self.task:
            raise Refused(
                f"cupy.{name}: another stream works on this memory, and this stream has not waited for an event of it"
            )
        self.last, self.task = stream, stream.task()

    def dropped(self):
        if self.last is not self.home and self.home.known.get(self.last, 0) < self.task:
            faults.append("memory was dropped, for others of its stream to take, while another stream works on it")


def watch(array, home):
    """Keep an order of the work on this array's memory."""
    array._order = Order(home)
    weakref.finalize(array, array._order.dropped).atexit = False


def touch(name, array):
    """Called for every array that the device reads or writes."""
    owner = array if array.base is None else array.base
    if owner._order is not None:
        owner._order.touch(name, get_current_stream())
    elif current.stream not in (None, Stream.null):
        raise Refused(f"cupy.{name}: memory of the first stream, on another: the stand-in does not know whether it waited")


# Pinned memory


class Pinned(bytearray):
    """What alloc_pinned_memory gives: read it as numpy.frombuffer(memory, dtype, count)."""


def alloc_pinned_memory(size):
    return Pinned(b"\xff" * size)


class Copy:
    """A copy from pinned memory to the device, under way."""

    def __init__(self, source, memory, stream):
        self.seen, self.stream, self.task = source.tobytes(), stream, stream.known[stream]
        self.start = source.ctypes.data - np.frombuffer(memory, np.uint8).ctypes.data
        self.memory = weakref.ref(memory, self.dropped)

    def dropped(self, _):
        if self in copies:
            copies.remove(self)
            faults.append("pinned memory was dropped while a copy from it may be under way")

    def check(self):
        if bytes(self.memory()[self.start : self.start + len(self.seen)]) != self.seen:
            raise Refused("pinned memory was written to while a copy from it may have been under way")


def pinned_memory_of(source):
    """The pinned memory that an array of NumPy's lies in, or None."""
    while isinstance(source, np.ndarray):
        source = source.base
    memory = getattr(source, "obj", source)
    return memory if isinstance(memory, Pinned) else None


def upload(array, source, stream=None):
    """cupy.ndarray.set"""
    if not isinstance(source, np.ndarray):
        raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
    if array.dtype != source.dtype:
        raise TypeError(f"{source.dtype} array cannot be set to {array.dtype} array")
    if array.shape != source.shape:
        raise ValueError(f"Shape mismatch. Old shape: {array.shape}, new shape: {source.shape}")
    if not array._host.flags.c_contiguous or not source.flags.c_contiguous:
        raise RuntimeError("Cannot set to non-contiguous array")
    stream = get_current_stream() if stream is None else stream
    memory = pinned_memory_of(source)
    if memory is None and stream is not Stream.null:
        raise Refused("cupy.ndarray.set: a copy on a stream from memory that is not pinned waits for the copy")
    owner = array if array.base is None else array.base
    if owner._order is None and stream is not Stream.null:
        watch(owner, Stream.null)
    if owner._order is not None:
        owner._order.touch("set", stream)
    array._host[...] = source
    count("set", copies=1)
    if memory is not None:
        if stream is Stream.null:
            stream.task()
        copies.append(Copy(source, memory, stream))
