"""What a run was begun with: written into its checkpoints, compared when it is resumed, told in words where it differs."""

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
from microtensor.data.images import LabelledImages
from microtensor.runtime.arrays import is_array
from microtensor.tensor import Tensor

from .fingerprint import LOOKED_AT, checksum, host, is_listed, of_module, of_others, plain

if TYPE_CHECKING:
    from .run import Run

MISSING = "nothing"
"""What stands in a comparison where one side has no such setting."""

PROBED = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
"""The steps at which a function of steps is asked, to tell it from another: functions cannot be saved."""


_left: WeakKeyDictionary[Any, dict[tuple[str, ...], tuple[Any, Any]]] = WeakKeyDictionary()
"""How `fit` left what it was given, by the place of its settings, and what these were before."""


class Difference(NamedTuple):
    """A setting that is not what it was."""

    path: tuple[str, ...]
    then: Any
    now: Any

    def __str__(self) -> str:
        name = ", ".join(part for part in self.path if part != "itself")
        return f"{name}: {_short(self.then)} in the checkpoint, {_short(self.now)} here"


def settings_of(run: Run) -> dict[str, Any]:
    """What a run is given at its start, as a tree of numbers and text. What training changes is noted as it is at the start:
    a learning rate that a schedule, or a callback, changes on the way is no other setting. Nor is it one where the same
    optimizer comes to `fit` again, as in a notebook: if it is as it was left, its settings are those of the first time.
    """
    settings, now = _settings(run), _settings(run)
    for path, part in _changing(run).items():
        left, given = _left.get(part, {}).get(path, (None, None))
        if left is not None and same(left, _at(now, path)):
            _at(settings, path[:-1])[path[-1]] = given
    return settings


def leave(run: Run) -> None:
    """Note how a run leaves what it was given."""
    if run.given is not None:
        now = _settings(run)
        for path, part in _changing(run).items():
            _left.setdefault(part, {})[path] = _at(now, path), _at(run.given, path)


def _changing(run: Run) -> dict[tuple[str, ...], Any]:
    """What training may change, by the place of its settings: losses and transforms may count their calls."""
    parts: dict[str, Any] = {"model": run.model, "frozen": run.model, "optimizer": run.optimizer, "precision": run.scaler}
    parts |= {"loss": run.loss, "schedule": run.schedule}
    changing: dict[tuple[str, ...], Any] = {(name,): part for name, part in parts.items()}
    for name, data in (("data", run.data), ("validation", run.validation)):
        if getattr(data, "dataset", None) is not None:
            changing[name, "transform"] = getattr(data, "transform", None)
    return {path: getattr(part, "__func__", part) for path, part in changing.items() if _is_remembered(part)}


def _is_remembered(part: Any) -> bool:
    """Whether something can be noted about this object for as long as it lives."""
    try:
        return ref(part) is not None and hash(part) is not None
    except TypeError:
        return False


def _at(tree: Any, path: Sequence[str]) -> Any:
    return functools.reduce(lambda branch, name: branch.get(name, {}), path, tree)


def _settings(run: Run) -> dict[str, Any]:
    """The settings as they are."""
    optimizer, schedule, average = run.optimizer, run.schedule, run.average
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    settings: dict[str, Any] = {
        "epochs": run.epochs,
        "model": of_module(run.model),
        "frozen": [name for name, p in run.model.named_parameters() if not p.requires_grad],
        "loss": plain(run.loss),
        "optimizer": {"kind": type(optimizer).__name__, "groups": groups},
        "schedule": None,
        "average": None,
        "precision": {"kind": "mixed" if run.scaler.is_enabled() else "full", **run.scaler.state_dict()},
        "fit": {"accumulate": run.accumulate, "clip_norm": run.clip_norm},
        "data": _data(run.data),
        "validation": None if run.validation is None else _data(run.validation, training=False),
        "seeds": {name: generator.initial_seed() for name, generator in run.generators().items()},
        "callbacks": [
            {"kind": type(callback).__name__, **{name: getattr(callback, name) for name in callback.settings}}
            for callback in run.callbacks
        ],
    }
    if schedule is not None:
        state, functions = schedule.state_dict(), [_probed(function) for function in schedule.functions()]
        settings["schedule"] = {"kind": type(schedule).__name__, "counts": run.schedule_per, "functions": functions, **state}
    if average is not None:
        settings["average"] = {"decay": average.decay, "warmup": average.warmup}
    return {name: plain(value) for name, value in settings.items()}


def differences(then: Any, now: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Where two trees of settings differ, leaf by leaf. What differs for another reason, as the number of epochs, or may not be
    known, as a seed of entropy, is left out.
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        keys = [key for key in dict.fromkeys((*then, *now)) if not _hidden(key, path, then, now)]
        for key in ["kind"] if then.get("kind") != now.get("kind") else keys:
            yield from differences(then.get(key, MISSING), now.get(key, MISSING), (*path, str(key)))
    elif is_listed(then) and is_listed(now) and len(then) == len(now) and any(isinstance(x, Mapping) for x in (*then, *now)):
        for i, (old, new) in enumerate(zip(then, now)):
            yield from differences(old, new, _numbered(path, i, new, len(then)))
    elif not same(then, now):
        yield Difference(tuple("lr" if part == "initial_lr" else part for part in path), then, now)


def _numbered(path: tuple[str, ...], i: int, part: Any, count: int) -> tuple[str, ...]:
    """The place of the i-th in a list of dicts: the name of a callback; group 1 of groups; the only group has no number."""
    if path == ("optimizer", "groups"):
        return path[:1] if count == 1 else ("optimizer", f"group {i}")
    name = part.get("kind") if isinstance(part, Mapping) else None
    return (*path, str(name or i))


def _hidden(key: str, path: tuple[str, ...], then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a setting is not compared: it follows from others, or is not known on both sides."""
    if path == () and (key not in then or key == "epochs"):  # a file of an older version; and more epochs are no other setting
        return True
    if key in ("_last_lr", "base_lrs"):  # they stand at the optimizer
        return path[:1] == ("schedule",)
    if key in ("lr", "initial_lr"):  # with a schedule, "lr" is what it has made of "initial_lr"
        both = "initial_lr" in then and "initial_lr" in now
        return path[:1] == ("optimizer",) and (key == "lr") == both
    seed = path == ("seeds",) or key == "seed"
    return seed and (then.get(key) is None or now.get(key) is None)


def same(then: Any, now: Any) -> bool:
    """Whether two settings are the same: 1 and 1.0 are, a list and a tuple of the same, nan and nan."""
    if is_listed(then) and is_listed(now):
        return len(then) == len(now) and all(map(same, then, now))
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return then.keys() == now.keys() and all(same(then[key], now[key]) for key in then)
    if isinstance(then, bool) != isinstance(now, bool):
        return False
    return bool(then == now or then != then and now != now)


def told(found: Sequence[Difference]) -> list[str]:
    """Differences in words, a line each. Of many of one part, such as the layers of a model, three are named."""
    parts: dict[str, list[Difference]] = {}
    for each in found:
        parts.setdefault(each.path[0], []).append(each)
    lines: dict[str, None] = {}  # each once: groups of an optimizer may differ alike
    for part, members in parts.items():
        most = 3 if part == "model" else 8
        lines |= dict.fromkeys(map(str, members[:most]))
        if len(members) > most:
            lines[f"{part}: {len(members) - most} more"] = None
    return [*lines]


def _probed(function: Any) -> list[Any]:
    """What a function of steps gives at some steps; None where it gives nothing."""
    values: list[Any] = []
    for step in PROBED:
        try:
            values.append(float(function(step)))
        except Exception:  # a table may end before
            values.append(None)
    return values


def _data(data: Any, training: bool = True) -> dict[str, Any]:
    """What batches are: how many of what, and a checksum of some of them, where they are in memory."""
    described: dict[str, Any] = {"kind": type(data).__name__}
    dataset = getattr(data, "dataset", None)
    if dataset is None:
        if (count := length_of(data)) is not None:
            described["batches"] = count
        if isinstance(data, (list, tuple)) and data:
            described["content"] = _content(data, np.arange(len(data)))
        return described
    count = length_of(dataset)
    described |= {} if count is None else {"samples": count}
    described |= {n: getattr(data, n) for n in ("batch_size", "shuffle", "drop_last") if training and hasattr(data, n)}
    transform = getattr(data, "transform", None)
    generator = getattr(data, "generator", None)
    if training and isinstance(generator, random.Generator) and generator is not random.default:
        described["seed"] = generator.initial_seed()
    described["transform"] = None if transform is None else _transform(transform)
    if count:
        described["content"] = _content(dataset, np.arange(count))
    return {name: plain(value) for name, value in described.items()}


def length_of(data: Any) -> int | None:
    """How long something is; None where it does not say, as loaders of PyTorch's do whose data set is a stream."""
    try:
        return len(data) if isinstance(data, Sized) else None
    except TypeError:
        return None


def _transform(transform: Any) -> Any:
    inner = getattr(transform, "transforms", None)
    if isinstance(inner, (list, tuple)):
        return [_transform(each) for each in inner]
    if hasattr(transform, "__code__") or isinstance(transform, functools.partial):
        return plain(transform)
    return {"kind": type(transform).__name__, **of_others(getattr(transform, "__dict__", {}), 3)}


def _content(dataset: Any, rows: Any) -> str | None:
    """A checksum of some of these samples, if looking at them changes nothing: of arrays in memory, and of parts of such."""
    if len(rows) > LOOKED_AT:
        rows = rows[np.linspace(0, len(rows) - 1, LOOKED_AT).astype(np.int64)]
    parts: list[Any]
    if isinstance(dataset, Subset):
        return _content(dataset.dataset, dataset.indices[rows])
    if isinstance(dataset, ConcatDataset):
        sums = [_content(part, np.arange(len(part))) for part in dataset.datasets if len(part)]
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
    parts = [host(x) for x in parts if isinstance(x, (Tensor, int, float)) or is_array(x)]
    total = 0
    for part in parts:
        total = checksum(part, zlib.crc32(f"{part.shape} {part.dtype}".encode(), total))
    return f"checksum {total:08x}"


def warn(message: str) -> None:
    """A UserWarning at the line that called `fit`."""
    level, frame = 2, sys._getframe(1)
    inside = ("microtensor.nn.training.", "contextlib")
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(inside):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        name = value.get("kind") or value.get("function") or ""
        rest = ", ".join(f"{key}={x!r}" for key, x in value.items() if key not in ("kind", "function") and x not in ([], None))
        text = f"{name}({rest})"
    else:
        text = "none" if value is None else value if value is MISSING else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
