"""The settings of a run: saved in its checkpoints, compared when it is resumed, and reported where they differ."""

from __future__ import annotations

import functools
import sys
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np

from microtensor import random
from microtensor.data.dataset import ConcatDataset, Subset, TensorDataset
from microtensor.data.labelled_images import LabelledImages
from microtensor.runtime.arrays import is_array
from microtensor.tensor import Tensor

from .fingerprint import SAMPLED_ENTRIES, attributes_fingerprint, checksum, fingerprint, host_array, is_list, module_fingerprint

if TYPE_CHECKING:
    from .run import Run

MISSING = "nothing"
"""The value of a setting that only the other side has."""

PROBED_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
"""The steps at which the function of a LambdaLR is evaluated, to compare it with another: functions cannot be saved."""


_settings_after: WeakKeyDictionary[Any, dict[tuple[str, ...], tuple[Any, Any]]] = WeakKeyDictionary()
"""Object given to `fit` → path of its settings → these after the run, and those that the run started with."""


class Difference(NamedTuple):
    """A setting of this run that is not the one in the checkpoint."""

    path: tuple[str, ...]
    saved: Any
    own: Any

    def __str__(self) -> str:
        name = ", ".join(part for part in self.path if part != "itself")
        return f"{name}: {_short(self.saved)} in the checkpoint, {_short(self.own)} here"


def settings_of(run: Run) -> dict[str, Any]:
    """The settings of a run when it starts, as nested dicts of numbers and text.

    Training may change them: a schedule or a callback changes the learning rate. So when the same objects are given to `fit`
    again, as in a notebook, and are as the last run left them, their settings are those that the last run started with.
    """
    settings, current = _current_settings(run), _current_settings(run)
    for path, part in _changing_parts(run).items():
        after, started_with = _settings_after.get(part, {}).get(path, (None, None))
        if after is not None and same(after, _at(current, path)):
            _at(settings, path[:-1])[path[-1]] = started_with
    return settings


def remember_settings_after(run: Run) -> None:
    """At the end of a run: remember the settings of its parts as they are now, for `settings_of` of the next run."""
    if run.given is not None:
        current = _current_settings(run)
        for path, part in _changing_parts(run).items():
            _settings_after.setdefault(part, {})[path] = _at(current, path), _at(run.given, path)


def _changing_parts(run: Run) -> dict[tuple[str, ...], Any]:
    """The parts whose settings training may change, by the path of these. (Losses and transforms may count their calls.)"""
    parts: dict[str, Any] = {"model": run.model, "frozen": run.model, "optimizer": run.optimizer, "precision": run.scaler}
    parts |= {"loss": run.loss, "schedule": run.schedule}
    changing: dict[tuple[str, ...], Any] = {(name,): part for name, part in parts.items()}
    for name, data in (("data", run.data), ("validation", run.validation)):
        if getattr(data, "dataset", None) is not None:
            changing[name, "transform"] = getattr(data, "transform", None)
    return {path: getattr(part, "__func__", part) for path, part in changing.items() if _is_weak_key(part)}


def _is_weak_key(part: Any) -> bool:
    """Whether this object can be a key of a WeakKeyDictionary."""
    try:
        return ref(part) is not None and hash(part) is not None
    except TypeError:
        return False


def _at(tree: Any, path: Sequence[str]) -> Any:
    """The branch of nested dicts at this path; {} if there is none."""
    return functools.reduce(lambda branch, name: branch.get(name, {}), path, tree)


def _current_settings(run: Run) -> dict[str, Any]:
    """The settings as they are now."""
    optimizer, schedule, average = run.optimizer, run.schedule, run.average
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    settings: dict[str, Any] = {
        "epochs": run.epochs,
        "model": module_fingerprint(run.model),
        "frozen": [name for name, p in run.model.named_parameters() if not p.requires_grad],
        "loss": fingerprint(run.loss),
        "optimizer": {"kind": type(optimizer).__name__, "groups": groups},
        "schedule": None,
        "average": None,
        "precision": {"kind": "mixed" if run.scaler.is_enabled() else "full", **run.scaler.state_dict()},
        "fit": {"accumulate": run.accumulate, "clip_norm": run.clip_norm},
        "data": _data_settings(run.data),
        "validation": None if run.validation is None else _data_settings(run.validation, training=False),
        "seeds": {name: generator.initial_seed() for name, generator in run.generators().items()},
        "callbacks": [
            {"kind": type(callback).__name__, **{name: getattr(callback, name) for name in callback.settings}}
            for callback in run.callbacks
        ],
    }
    if schedule is not None:
        state, functions = schedule.state_dict(), [_values_of(function) for function in schedule.functions()]
        settings["schedule"] = {"kind": type(schedule).__name__, "counts": run.schedule_per, "functions": functions, **state}
    if average is not None:
        settings["average"] = {"decay": average.decay, "warmup": average.warmup}
    return {name: fingerprint(value) for name, value in settings.items()}


def differences(saved: Any, own: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Where two trees of settings differ, value by value. Left out is what may differ, such as the number of epochs, and what
    one side does not know, such as the seed of a generator that was seeded by the system.
    """
    if isinstance(saved, Mapping) and isinstance(own, Mapping):
        keys = [key for key in dict.fromkeys((*saved, *own)) if not _is_left_out(key, path, saved, own)]
        for key in ["kind"] if saved.get("kind") != own.get("kind") else keys:
            yield from differences(saved.get(key, MISSING), own.get(key, MISSING), (*path, str(key)))
    elif is_list(saved) and is_list(own) and len(saved) == len(own) and any(isinstance(x, Mapping) for x in (*saved, *own)):
        for i, (old, new) in enumerate(zip(saved, own)):
            yield from differences(old, new, _item_path(path, i, new, len(saved)))
    elif not same(saved, own):
        yield Difference(tuple("lr" if part == "initial_lr" else part for part in path), saved, own)


def _item_path(path: tuple[str, ...], i: int, part: Any, count: int) -> tuple[str, ...]:
    """The path of the i-th of a list of dicts: the name of a callback; "group 1" of parameter groups, if there are several."""
    if path == ("optimizer", "groups"):
        return path[:1] if count == 1 else ("optimizer", f"group {i}")
    name = part.get("kind") if isinstance(part, Mapping) else None
    return (*path, str(name or i))


def _is_left_out(key: str, path: tuple[str, ...], saved: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether a setting is not compared: it follows from others, or one side does not know it."""
    if path == () and (key not in saved or key == "epochs"):  # a file of an older version; a run may be continued for longer
        return True
    if key in ("_last_lr", "base_lrs"):  # the same numbers are compared with the optimizer
        return path[:1] == ("schedule",)
    if key in ("lr", "initial_lr"):  # with a schedule, "lr" is computed from "initial_lr"
        both = "initial_lr" in saved and "initial_lr" in own
        return path[:1] == ("optimizer",) and (key == "lr") == both
    seed = path == ("seeds",) or key == "seed"
    return seed and (saved.get(key) is None or own.get(key) is None)


def same(a: Any, b: Any) -> bool:
    """Whether two settings are equal: 1 and 1.0 are, a list and a tuple of equal values, nan and nan; 1 and True are not."""
    if is_list(a) and is_list(b):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    return bool(a == b or a != a and b != b)


def difference_lines(found: Sequence[Difference]) -> list[str]:
    """Differences as text, a line each: at most three of the model's, and eight of any other part."""
    parts: dict[str, list[Difference]] = {}
    for each in found:
        parts.setdefault(each.path[0], []).append(each)
    lines: dict[str, None] = {}  # each line once: all groups of an optimizer may have the same difference
    for part, members in parts.items():
        shown = 3 if part == "model" else 8
        lines |= dict.fromkeys(map(str, members[:shown]))
        if len(members) > shown:
            lines[f"{part}: {len(members) - shown} more"] = None
    return [*lines]


def _values_of(function: Any) -> list[Any]:
    """The values of a function of the step, at `PROBED_STEPS`; None where it raises, as a table does after its end."""
    values: list[Any] = []
    for step in PROBED_STEPS:
        try:
            values.append(float(function(step)))
        except Exception:
            values.append(None)
    return values


def _data_settings(data: Any, training: bool = True) -> dict[str, Any]:
    """The class and the settings of a DataLoader, the size of its data set, and of one in memory a checksum of some samples."""
    described: dict[str, Any] = {"kind": type(data).__name__}
    dataset = getattr(data, "dataset", None)
    if dataset is None:
        if (count := length_of(data)) is not None:
            described["batches"] = count
        if isinstance(data, (list, tuple)) and data:
            described["content"] = _data_checksum(data, np.arange(len(data)))
        return described
    count = length_of(dataset)
    described |= {} if count is None else {"samples": count}
    described |= {n: getattr(data, n) for n in ("batch_size", "shuffle", "drop_last") if training and hasattr(data, n)}
    transform = getattr(data, "transform", None)
    generator = getattr(data, "generator", None)
    if training and isinstance(generator, random.Generator) and generator is not random.default:
        described["seed"] = generator.initial_seed()
    described["transform"] = None if transform is None else _transform_settings(transform)
    if count:
        described["content"] = _data_checksum(dataset, np.arange(count))
    return {name: fingerprint(value) for name, value in described.items()}


def length_of(data: Any) -> int | None:
    """The length of data; None if it has none, as PyTorch's DataLoader of an iterable data set."""
    try:
        return len(data) if isinstance(data, Sized) else None
    except TypeError:
        return None


def _transform_settings(transform: Any) -> Any:
    inner = getattr(transform, "transforms", None)
    if isinstance(inner, (list, tuple)):
        return [_transform_settings(each) for each in inner]
    if hasattr(transform, "__code__") or isinstance(transform, functools.partial):
        return fingerprint(transform)
    return {"kind": type(transform).__name__, **attributes_fingerprint(getattr(transform, "__dict__", {}), 3)}


def _data_checksum(dataset: Any, rows: Any) -> str | None:
    """A checksum of some of these samples, of a data set in memory, which reading does not change; None for any other."""
    if len(rows) > SAMPLED_ENTRIES:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLED_ENTRIES).astype(np.int64)]
    parts: list[Any]
    if isinstance(dataset, Subset):
        return _data_checksum(dataset.dataset, dataset.indices[rows])
    if isinstance(dataset, ConcatDataset):
        sums = [_data_checksum(part, np.arange(len(part))) for part in dataset.datasets if len(part)]
        return None if None in sums else " ".join(map(str, sums))
    if isinstance(dataset, TensorDataset):
        parts = [x.detach()[rows] for x in dataset.tensors]
    elif isinstance(dataset, LabelledImages):
        parts = [dataset.images[rows], dataset.labels[rows], np.asarray(dataset.mean), np.asarray(dataset.std)]
    elif type(dataset) in (list, tuple):
        samples = [dataset[int(i)] for i in rows]
        parts = [x for sample in samples if isinstance(sample, (list, tuple)) for x in sample]
    else:
        return None
    parts = [host_array(x) for x in parts if isinstance(x, (Tensor, int, float)) or is_array(x)]
    total = 0
    for part in parts:
        total = checksum(part, zlib.crc32(f"{part.shape} {part.dtype}".encode(), total))
    return f"checksum {total:08x}"


def warn(message: str) -> None:
    """A UserWarning that points to the line that called `fit`."""
    level, frame = 2, sys._getframe(1)
    inside = ("microtensor.nn.training.", "contextlib")
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(inside):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _short(value: Any) -> str:
    """A setting as text of at most 80 characters."""
    if isinstance(value, Mapping):
        name = value.get("kind") or value.get("function") or ""
        rest = ", ".join(f"{key}={x!r}" for key, x in value.items() if key not in ("kind", "function") and x not in ([], None))
        text = f"{name}({rest})"
    else:
        text = "none" if value is None else value if value is MISSING else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
