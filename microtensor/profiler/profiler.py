"""`profile`: where the time of a program goes, operation by operation."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..autograd.observers import of_all_threads
from ..io.files import whole_file
from ..runtime.arrays import on
from ..runtime.console import legible
from ..runtime.integers import is_integer
from ..runtime.scoped import Block, Entry
from ..runtime.text import bytes_text, kind_of, table
from . import spans as measure
from .spans import Recorder, Span, here

OUTSIDE, MODEL = "(outside)", "(model)"
"""Layers of operations that no module called, or the model itself."""


class ProfileRow(NamedTuple):
    """Totals of all calls of an operation, or of all operations of a layer."""

    name: str
    """Of the operation, or the dotted name of the layer: "(model)" for the model itself, "(outside)" for all outside of it."""
    direction: str
    """"forward", or "backward": in a row of operations, the derivative of the operation."""
    calls: int
    """How often it ran. Of a layer: how many operations."""
    seconds: float
    """Of the host: self time, without that of operations inside, which have rows of their own."""
    device_seconds: float
    """Of GPUs, between CUDA events before and after the work; 0 on the CPU."""
    bytes: int
    """Of the tensors that were read and the results that were written, each once. Views count none."""
    flops: int
    """Two for each multiply-add of convolutions, linear layers and matrix products. Other operations count none."""


SORTS = ("time", *ProfileRow._fields)
"""What rows can be sorted by: "time" is that of the GPU where there is one."""


@legible
class Profile(Recorder):
    """What `profile` measured: `print` it for a table, take its rows, or write them, or a trace of all calls, to a file."""

    def __init__(self, names: dict[int, str] | None) -> None:
        super().__init__()
        self.began = self.ended = measure.now()
        self._names = names
        self._thread = self._stack.thread
        self._zeros: dict[str, tuple[Any, int]] = {}
        self._read: dict[int, tuple[float, float, float]] = {}
        """Of spans on GPUs, by id: when the work began and ended, by the host's clock, and how long it took, in seconds."""
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """From the beginning of the block to its end; inside the block, until now."""
        return ((measure.now() if self in of_all_threads else self.ended) - self.began) / 1e9

    @property
    def outside_seconds(self) -> float:
        """Of these, the seconds that the thread of the block spent in no operation and no backward pass."""
        inside = sum(span.ended - span.began for span in self.spans if span.thread == self._thread and not self._is_inner(span))
        return self.seconds - inside / 1e9

    @property
    def rows(self) -> tuple[ProfileRow, ...]:
        """One for each operation and direction, the longest first."""
        return _sorted(self._rows(lambda span: _whole(span).name), "time")

    @property
    def layers(self) -> tuple[ProfileRow, ...]:
        """One for each layer and direction, the longest first.

        Raises:
            ValueError: the profile does not know the model.
        """
        if self._names is None:
            raise ValueError("profile: to tell layers apart it must know the model: with profile(model) as profile: …")
        return _sorted(self._rows(self._layer), "time")

    def table(self, by: str = "operation", sort: str = "time", limit: int | None = None) -> str:
        """The rows as text.

        Args:
            by: "operation" or "layer".
            sort: "time", which is that of the GPU where there is one, or the name of a field of `ProfileRow`. The largest
                number is first, and the first name.
            limit: how many rows to show; None for all.

        Raises:
            ValueError: `by` or `sort` is none of these, or `limit` is no integer of at least 1; or as `layers`.
        """
        rows = _sorted(self._by(by), sort)
        if limit is not None and (not is_integer(limit) or limit < 1):
            raise ValueError(f"profile: limit must be an integer of at least 1, or None for all rows, got {limit!r}")
        device = any(row.device_seconds for row in rows)
        whole = sum(_time(row, device) for row in rows) or 1.0
        header = [by, "calls", "self time", *(["GPU time"] if device else []), "share", "bytes", "FLOPs"]
        cells = [
            [
                f"{row.name} backward" if row.direction == "backward" and row.name != measure.PASS else row.name,
                f"{row.calls:,}",
                _time_text(row.seconds),
                *([_time_text(row.device_seconds)] if device else []),
                f"{100 * _time(row, device) / whole:.1f} %",
                bytes_text(row.bytes) if row.bytes else "",
                _count_text(row.flops),
            ]
            for row in rows[:limit]
        ]
        left_out = len(rows) - len(cells)
        note = f"\n{left_out} more rows; limit=None shows them all" if left_out else ""
        return table(header, cells) + note

    def __repr__(self) -> str:
        spans = [span for span in self.spans if span.kind == "operation" or span.kind == "step"]
        if not spans:
            return "profile: no operation has run"
        threads = len({span.thread for span in spans})
        several = f" in {threads} threads" if threads > 1 else ""
        notes = [
            f"{_time_text(self.seconds)} in all, of which {_time_text(self.outside_seconds)} outside of operations{several}",
            "self time: without that of operations inside; bytes: read and written, views none; FLOPs: 2 × multiply-adds",
        ]
        if self._zeros:
            notes.append("self time: the host's, which runs ahead; GPU time: between CUDA events, waits for the host included")
        return "\n".join([self.table(), "", *notes])

    def to_csv(self, path: str | os.PathLike[str], by: str = "operation") -> None:
        """Write the rows, one a line under a line of names, whole or not at all.

        Raises:
            ValueError: `by` is neither "operation" nor "layer"; or as `layers`.
            OSError: the folder does not exist, or the file cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(ProfileRow._fields)
        writer.writerows(self._by(by))
        with whole_file(path) as file:
            file.write(text.getvalue().encode())

    def chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write a trace of all calls, for chrome://tracing and ui.perfetto.dev, whole or not at all.

        Every operation, backward pass and step is a bar, on the line of its thread, inside the one that called it. A GPU has
        lines of its own: its work for each thread. See chrome_trace.py for the format.

        Raises:
            OSError: the folder does not exist, or the file cannot be written.
        """
        from .chrome_trace import write_trace  # with json: few need it

        self._settle()
        layers = [self._layer(span) if self._names is not None else "" for span in self.spans]
        write_trace(path, self.began, self.spans, layers, self._read)

    def meet(self, device: str) -> None:
        """Before the first work on a GPU: wait for it once, so that an event and the host's clock have a time in common."""
        if device in self._zeros:
            return
        with self._lock, on(device) as xp:
            if device not in self._zeros:
                xp.cuda.Device().synchronize()
                self._zeros[device] = measure.mark(device), measure.now()

    def _settle(self) -> None:
        """Wait once for each GPU, and read the events of the spans that have ended since the last call."""
        spans = [span for span in list(self.spans) if span.device in self._zeros and id(span) not in self._read]
        for device in {span.device for span in spans}:
            with on(device) as xp:
                xp.cuda.Device().synchronize()
                zero, at = self._zeros[device]
                for span in spans:
                    if span.device == device:
                        first, last = (at / 1e9 + xp.cuda.get_elapsed_time(zero, mark) / 1e3 for mark in span.marks)
                        self._read[id(span)] = first, last, xp.cuda.get_elapsed_time(*span.marks) / 1e3

    def _by(self, by: str) -> tuple[ProfileRow, ...]:
        if by not in ("operation", "layer"):
            raise ValueError(f'profile: by must be "operation" or "layer", got {by!r}')
        return self.rows if by == "operation" else self.layers

    def _rows(self, name: Callable[[Span], str]) -> list[ProfileRow]:
        """The spans summed up by `name` and direction."""
        self._settle()
        spans = list(self.spans)
        device = {id(span): self._read[id(span)][2] if id(span) in self._read else 0.0 for span in spans}
        alone = dict(device)
        for span in spans:
            parent = span.parent
            if parent is not None and id(parent) in alone and parent.device == span.device:
                alone[id(parent)] -= device[id(span)]
        rows: dict[tuple[str, str], ProfileRow] = {}
        for span in spans:
            key = name(span), "backward" if span.backward else "forward"
            row = rows.get(key, ProfileRow(*key, 0, 0.0, 0.0, 0, 0))
            rows[key] = row._replace(
                calls=row.calls + (span is _whole(span)),
                seconds=row.seconds + (span.ended - span.began - span.inner) / 1e9,
                device_seconds=row.device_seconds + alone[id(span)],
                bytes=row.bytes + span.bytes,
                flops=row.flops + 2 * span.multiply_adds,
            )
        return list(rows.values())

    def _layer(self, span: Span) -> str:
        """The name of the layer that a span belongs to."""
        name = None if self._names is None else self._names.get(id(span.layer))
        return OUTSIDE if name is None else name or MODEL

    def _is_inner(self, span: Span) -> bool:
        """Whether it ran inside another span of this profile."""
        return span.parent is not None and span.parent.began >= self.began


class profile(Block):
    """Measure every operation inside, forward and backward: its time, calls, bytes and FLOPs.

    The backward of an operation is named after it, "conv2d backward", and includes all that runs in it, and the sum with other
    gradients. "backward pass" is the time that the pass itself takes to sort and walk the graph. What is no operation, such as
    an optimiser's step or reading data, is in `outside_seconds`. Operations of all threads are measured, also of those that
    prepare batches, and the times of threads add up. An operation that raises counts until then. A measured backward pass runs
    in one thread (see parallel.py), so it may take longer than without the profile.

    On a GPU nothing waits for an operation: CUDA events in its stream measure the time. There is one wait before the first, and
    one when the block ends or its results are read. Measuring takes 3 to 6 µs for each operation, a seventeenth of a training
    step of LeNet-5 on 32 digits, and some 250 bytes until the profile is gone: measure a few steps, not an epoch, and not the
    first, which is slower.

    Args:
        model: a Module, whose layers are then told apart: `profile.layers`, `profile.table(by="layer")`.

    The block gives:
        A `Profile`: prints as a table; `rows`, `layers`, `seconds` are the numbers; `to_csv(path)`, `chrome_trace(path)` write.

    Raises:
        TypeError: `model` is no Module.

    >>> import microtensor as mt
    >>> x, w = mt.ones(64, 100), mt.ones(100, 10, requires_grad=True)
    >>> with profile() as found:
    ...     (x @ w).sum().backward()
    >>> sorted((row.name, row.direction, row.calls, row.flops) for row in found.rows if row.flops)
    [('matmul', 'backward', 1, 128000), ('matmul', 'forward', 1, 128000)]
    """

    def __init__(self, model: Any = None) -> None:
        if model is not None and (isinstance(model, type) or not hasattr(model, "named_modules")):
            given = (
                f"the class {model.__name__}; create one: {model.__name__}(...)" if isinstance(model, type) else kind_of(model)
            )
            raise TypeError(f"profile: expected a Module, or nothing, got {given}")
        self._model = model
        self._profile: Profile

    def __enter__(self) -> Profile:  # type: ignore[override]
        modules = {} if self._model is None else {id(module): name for name, module in self._model.named_modules()}
        self._profile = found = Profile(None if self._model is None else modules)
        super().__enter__()
        return found

    def now(self) -> Any:
        """The profile, and the handles of its hooks."""
        return self._profile, []

    def enter(self, entry: Entry) -> None:
        """Observe operations, and hook the layers that call them."""
        found, handles = entry.before
        for module in [] if self._model is None else self._model.modules():
            handles.append(module.register_forward_pre_hook(_enter, prepend=True))
            handles.append(module.register_forward_hook(_leave, always_call=True))
        of_all_threads.append(found)

    def leave(self, entry: Entry) -> None:
        """Observe no more."""
        found, handles = entry.before
        if found in of_all_threads:
            found.ended = measure.now()
            of_all_threads.remove(found)
        for handle in handles:
            handle.remove()
        found._settle()


def _enter(module: Any, args: Any) -> None:
    """A hook before a module. (A function, not a method: a copy of the model shares it.)"""
    here.layers.append(module)


def _leave(module: Any, args: Any, result: Any) -> None:
    """A hook after a module, also where it raised."""
    if here.layers and here.layers[-1] is module:
        here.layers.pop()


def _whole(span: Span) -> Span:
    """The span that it counts for: what runs inside a step counts for the step."""
    return span.step if span.step is not None and span.kind == "operation" else span


def _time(row: ProfileRow, device: bool) -> float:
    return row.device_seconds if device else row.seconds


def _sorted(rows: Sequence[ProfileRow], sort: str) -> tuple[ProfileRow, ...]:
    if sort not in SORTS:
        raise ValueError(f"profile: sort must be one of {', '.join(SORTS)}, got {sort!r}")
    if sort in ("name", "direction"):
        return tuple(sorted(rows, key=lambda row: getattr(row, sort)))
    device = any(row.device_seconds for row in rows)
    return tuple(sorted(rows, key=lambda row: _time(row, device) if sort == "time" else getattr(row, sort), reverse=True))


# As text


def _time_text(seconds: float) -> str:
    """In s, ms or µs, with three digits or more."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.1f} µs"


def _count_text(count: int) -> str:
    """1.2 M for 1,234,567; nothing for 0."""
    return bytes_text(count).removesuffix("B").rstrip() if count else ""
