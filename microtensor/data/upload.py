"""Copy batches to a GPU while it computes with the previous batch.

A copy from host to GPU runs concurrently with kernels if its source is pinned (page-locked) memory and it is on another CUDA
stream. The host does not wait; the two streams wait for each other by events:

    host             batch → pinned memory
    copy stream      ·············· wait until the buffer is free · pinned memory → buffer ·
    compute stream   ··· kernels of the last step ··············· wait for the copy · buffer → batch · kernels of this step ···

Two buffers on the GPU are used in turn. The compute stream copies a batch out of its buffer into new memory, which so belongs
to the compute stream. (CuPy reuses freed memory at once for the next allocation on the same stream. If the batch were allocated
on the copy stream, the next batch could overwrite it while kernels still read it.) A copy within the GPU is cheap compared with
the copy from the host.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..runtime.arrays import Array, index_of, library, on

ALIGNMENT_BYTES = 256
"""Arrays in a buffer start at multiples of this, as CuPy's own allocations do."""


class CopyStream:
    """The stream for copies to one GPU, and the pinned memory that pending copies still read."""

    def __init__(self, xp: Any) -> None:
        self.stream = xp.cuda.Stream(non_blocking=True)
        self._reading: deque[tuple[Any, Any]] = deque()
        self._lock = threading.Lock()

    def keep(self, pinned: Any, copied: Any) -> None:
        """Keep pinned memory until its copy is done; drop what is done."""
        with self._lock:
            self._reading.append((copied, pinned))
            while self._reading[0][0].done:
                self._reading.popleft()
                if not self._reading:
                    break


@functools.cache
def _copy_stream(xp: Any, index: int) -> CopyStream:
    with on(f"cuda:{index}"):
        return CopyStream(xp)


class GpuBuffer:
    """GPU memory that a batch is copied to first."""

    def __init__(self) -> None:
        self.memory: Array | None = None
        self.copied: Any = None
        """Event: the copy from the host is done."""
        self.free: Any = None
        """Event: the batch has been copied out, so the buffer may be overwritten."""


class PendingBatch:
    """A batch being copied: the original, and the offsets of its NumPy arrays in the buffer."""

    def __init__(self, batch: Sequence[Any], buffer: GpuBuffer) -> None:
        self.batch, self.buffer = batch, buffer
        self.starts, self.size = [], 0
        for x in self.batch:
            self.starts.append(self.size)
            if type(x) is np.ndarray:
                self.size += -(-x.nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class Upload:
    """Copies the batches of one pass of a loader to `device`, such as "cuda:0"."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._xp = library(device)
        self._copy_stream = _copy_stream(self._xp, index_of(device))
        self._buffers = [GpuBuffer(), GpuBuffer()]

    def begin(self, batch: Sequence[Any]) -> PendingBatch:
        """Start copying the NumPy arrays of a batch. At most two batches may be in flight."""
        xp, stream, buffer = self._xp, self._copy_stream.stream, self._buffers[0]
        self._buffers.reverse()
        pending = PendingBatch(batch, buffer)
        if not pending.size:
            return pending
        with on(self.device):
            pinned = xp.cuda.alloc_pinned_memory(pending.size)
            staging = np.frombuffer(pinned, np.uint8, pending.size)
            for x, start in zip(pending.batch, pending.starts):
                if type(x) is np.ndarray:
                    staging[start : start + x.nbytes].view(x.dtype).reshape(x.shape)[...] = x
            with stream:
                if buffer.free is not None:
                    stream.wait_event(buffer.free)
                if buffer.memory is None or buffer.memory.size < pending.size:
                    buffer.memory = xp.empty(pending.size, np.uint8)
                buffer.memory[: pending.size].set(staging, stream)
                buffer.copied = stream.record(xp.cuda.Event(disable_timing=True))
            self._copy_stream.keep(pinned, buffer.copied)
        return pending

    def finish(self, pending: PendingBatch) -> tuple[Any, ...]:
        """The batch with its NumPy arrays on the GPU. The current stream waits for the copy; the host does not."""
        xp, buffer, batch = self._xp, pending.buffer, list(pending.batch)
        memory: Any = buffer.memory
        with on(self.device):
            stream = xp.cuda.get_current_stream()
            if pending.size:
                stream.wait_event(buffer.copied)
            for i, (x, start) in enumerate(zip(batch, pending.starts)):
                if type(x) is np.ndarray and not x.nbytes:
                    batch[i] = xp.empty(x.shape, x.dtype)
                elif type(x) is np.ndarray:
                    batch[i] = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape).copy()
            if pending.size:
                buffer.free = stream.record(xp.cuda.Event(disable_timing=True))
        return tuple(batch)

    def close(self) -> None:
        """Give up the buffers. Later copies on the stream may reuse their memory only once it is free."""
        for buffer in self._buffers:
            if buffer.free is not None:
                self._copy_stream.stream.wait_event(buffer.free)
        self._buffers = []


def uploaded(batches: Iterator[Sequence[Any]], device: str) -> Generator[tuple[Any, ...], None, None]:
    """Batches, in order, with their NumPy arrays on a GPU: when one is returned, the copy of the next has already started.

    Other values in a batch are not changed. An exception in `batches` is raised in the place of its batch.
    """
    upload = Upload(device)

    def start_next() -> PendingBatch | Exception | None:
        try:
            batch = next(batches)
        except StopIteration:
            return None
        except Exception as error:
            return error
        return upload.begin(batch)

    try:
        ahead = start_next()
        while ahead is not None:
            if isinstance(ahead, Exception):
                raise ahead
            following = start_next()
            yield upload.finish(ahead)
            ahead = following
    finally:
        upload.close()
