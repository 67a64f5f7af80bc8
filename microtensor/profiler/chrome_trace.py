"""A profile as a trace that browsers show, in Google's Trace Event Format.

A JSON object with "traceEvents", each of which is drawn as a bar: "ph": "X", a name, its start ("ts") and duration ("dur") in
microseconds, and the line on which it is drawn ("pid", a group of lines, and "tid"). Bars of one line are nested or do not
overlap. Events with "ph": "M" name the lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..io.files import whole_file
from .spans import Span


def write_trace(
    path: str | os.PathLike[str],
    zero: int,
    spans: Sequence[Span],
    layers: Sequence[str],
    on_device: Mapping[int, tuple[float, ...]],
) -> None:
    """Write spans as a trace, whole or not at all.

    Args:
        zero: the start of the profile, in nanoseconds.
        layers: the layer of each span; "" where it is unknown.
        on_device: by the id of a span, start and end of its work on a GPU, in seconds of the same clock.
    """
    lines: dict[tuple[str, tuple[int, str]], tuple[int, int]] = {}
    groups: dict[str, int] = {}
    threads: dict[tuple[int, str], int] = {}

    def line(group: str, thread: tuple[int, str]) -> dict[str, int]:
        """Small identifiers: viewers read numbers as JavaScript does, and identifiers of threads have up to 64 bits."""
        number = groups.setdefault(group, len(groups)), threads.setdefault(thread, len(threads))
        pid, tid = lines.setdefault((group, thread), number)
        return {"pid": pid, "tid": tid}

    bars = []
    for span, layer in reversed([*zip(spans, layers)]):  # outer spans end after inner ones
        about: dict[str, Any] = {"bytes": span.bytes, "FLOPs": 2 * span.multiply_adds}
        if layer:
            about["layer"] = layer
        bar: dict[str, Any] = {
            "name": f"{span.name} backward" if span.kind == "step" else span.name,
            "cat": "backward" if span.backward else "forward",
            "ph": "X",
            "args": about,
        }
        bars.append(bar | _place(span.began - zero, span.ended - zero) | line("host", span.thread))
        if id(span) in on_device:
            first, last = (round(1e9 * seconds) - zero for seconds in on_device[id(span)][:2])
            bars.append(bar | _place(first, last) | line(span.device, span.thread))
    bars.sort(key=lambda bar: (bar["ts"], -bar["dur"]))  # outer bars first
    names: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": number, "tid": 0, "args": {"name": group}}
        for group, number in groups.items()
    ]
    for (_, thread), (pid, tid) in lines.items():
        names.append({"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": thread[1]}})
    text = json.dumps({"traceEvents": names + bars, "displayTimeUnit": "ms"}, allow_nan=False)
    with whole_file(path) as file:
        file.write(text.encode())


def _place(first: int, last: int) -> dict[str, float]:
    """Start and end in nanoseconds → start and duration in microseconds."""
    return {"ts": first / 1e3, "dur": (last - first) / 1e3}
