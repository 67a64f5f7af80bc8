"""Batches that travel to a GPU while it works on the ones before.

A copy to a GPU can run beside its kernels if it comes from pinned memory, which the system does not move, and on a stream of
its own, a second queue of work. Nobody waits on the host; the two queues wait for each other, on the device, by events:

    host      batch → pinned memory
    copies    ·············· wait until the room is free · pinned memory → room ·
    compute   ··· kernels of the step before ··················· wait for the copy · room → batch · kernels of this step ···

There are two rooms on the GPU, taken in turn. A batch is copied out of its room, by the queue that computes with it: so its
memory belongs to that queue, and whoever drops the batch need not think of streams. (Memory that is dropped CuPy gives to the
next who asks on the stream where it was made, at once. Had the copies made it, the next batch would be written over this one
while kernels still read it.) A copy within the GPU costs little beside the way there.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..runtime.arrays import Array, index_of, library, on

ALIGNED = 256
"""Bytes: where arrays begin in a room, as in memory of their own."""


class Lane:
    """The queue of copies to one GPU, and the pinned memory that it still reads."""

    def __init__(self, xp: Any) -> None:
        self.stream = xp.cuda.Stream(non_blocking=True)
        self._reading: deque[tuple[Any, Any]] = deque()
        self._lock = threading.Lock()

    def keep(self, pinned: Any, copied: Any) -> None:
        """Hold pinned memory until it has been read; drop what has."""
        with self._lock:
            self._reading.append((copied, pinned))
            while self._reading[0][0].done:
                self._reading.popleft()
                if not self._reading:
                    break


@functools.cache
def _lane(xp: Any, index: int) -> Lane:
    with on(f"cuda:{index}"):
        return Lane(xp)


class Room:
    """Memory on the GPU for a batch in passing."""

    def __init__(self) -> None:
        self.memory: Array | None = None
        self.copied: Any = None
        """The event after which a batch is in it."""
        self.free: Any = None
        """The event after which it has been taken out."""


class Arriving:
    """A batch on its way: what was given, and where in the room its arrays of NumPy's are."""

    def __init__(self, batch: Sequence[Any], room: Room) -> None:
        self.batch, self.room = batch, room
        self.starts, self.size = [], 0
        for x in self.batch:
            self.starts.append(self.size)
            if type(x) is np.ndarray:
                self.size += -(-x.nbytes // ALIGNED) * ALIGNED


class Upload:
    """The way of one pass of a loader to the GPU `device`, a full name."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._xp = library(device)
        self._lane = _lane(self._xp, index_of(device))
        self._rooms = [Room(), Room()]

    def begin(self, batch: Sequence[Any]) -> Arriving:
        """Let the arrays of NumPy's in a batch set out. At most two batches are on their way at a time."""
        xp, stream, room = self._xp, self._lane.stream, self._rooms[0]
        self._rooms.reverse()
        arriving = Arriving(batch, room)
        if not arriving.size:
            return arriving
        with on(self.device):
            pinned = xp.cuda.alloc_pinned_memory(arriving.size)
            buffer = np.frombuffer(pinned, np.uint8, arriving.size)
            for x, start in zip(arriving.batch, arriving.starts):
                if type(x) is np.ndarray:
                    buffer[start : start + x.nbytes].view(x.dtype).reshape(x.shape)[...] = x
            with stream:
                if room.free is not None:
                    stream.wait_event(room.free)
                if room.memory is None or room.memory.size < arriving.size:
                    room.memory = xp.empty(arriving.size, np.uint8)
                room.memory[: arriving.size].set(buffer, stream)
                room.copied = stream.record(xp.cuda.Event(disable_timing=True))
            self._lane.keep(pinned, room.copied)
        return arriving

    def finish(self, arriving: Arriving) -> tuple[Any, ...]:
        """The batch, its arrays of NumPy's on the GPU now. The current stream waits for them there; the host does not."""
        xp, room, batch = self._xp, arriving.room, list(arriving.batch)
        memory: Any = room.memory
        with on(self.device):
            stream = xp.cuda.get_current_stream()
            if arriving.size:
                stream.wait_event(room.copied)
            for i, (x, start) in enumerate(zip(batch, arriving.starts)):
                if type(x) is np.ndarray and not x.nbytes:
                    batch[i] = xp.empty(x.shape, x.dtype)
                elif type(x) is np.ndarray:
                    batch[i] = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape).copy()
            if arriving.size:
                room.free = stream.record(xp.cuda.Event(disable_timing=True))
        return tuple(batch)

    def close(self) -> None:
        """No batch sets out any more. The next copies, whosesoever, may get the rooms' memory once it is free."""
        for room in self._rooms:
            if room.free is not None:
                self._lane.stream.wait_event(room.free)
        self._rooms = []


def uploaded(batches: Iterator[Sequence[Any]], device: str) -> Generator[tuple[Any, ...], None, None]:
    """Batches, in order, with their arrays of NumPy's on a GPU: when one is handed out, the next has set out already.

    All else in a batch stays as it is. What `batches` raises is raised in its turn.
    """
    upload = Upload(device)

    def begun() -> Arriving | Exception | None:
        try:
            batch = next(batches)
        except StopIteration:
            return None
        except Exception as error:
            return error
        return upload.begin(batch)

    try:
        ahead = begun()
        while ahead is not None:
            if isinstance(ahead, Exception):
                raise ahead
            following = begun()
            yield upload.finish(ahead)
            ahead = following
    finally:
        upload.close()
