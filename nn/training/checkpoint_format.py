"""The format of a checkpoint, checked before anything is loaded into a run: files can be edited or damaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from microtensor.autograd.arguments import is_number


def check_format(state: Any) -> None:
    """Check that this has the structure of `Run.state_dict()`.

    Raises:
        TypeError, ValueError: it has not; the message says what is wrong.
    """
    keys = {"parts": Mapping, "callbacks": list, "generators": Mapping, "place": Mapping, "stopping": bool, "history": list}
    _check_keys("the file", state, keys)
    _check_keys("parts", state["parts"], {"optimizer": Mapping, "means": Mapping})
    for name, value in state["parts"].items():
        if not isinstance(value, Mapping):
            raise TypeError(f"parts: {name} must be a dict, got {type(value).__name__}")
    place = state["place"]
    _check_keys("place", place, dict.fromkeys(("epoch", "batch", "step"), int))
    for name in ("epoch", "batch", "step"):
        if isinstance(place[name], bool) or not 0 <= place[name] < 2**63:
            raise ValueError(f"place: {name} must be an integer of 0 or more, got {place[name]!r}")
    seconds = place.get("seconds")
    if not is_number(seconds) or not 0 <= seconds < math.inf:
        raise ValueError(f"place: seconds must be a number of 0 or more, got {seconds!r}")
    for row in state["history"]:
        if not (
            isinstance(row, Mapping) and "epoch" in row and all(isinstance(n, str) and _is_float(x) for n, x in row.items())
        ):
            raise ValueError(f"history: expected a dict of numbers for each epoch, got {row!r}")
    if len(state["history"]) != place["epoch"]:
        raise ValueError(f"history: there are {len(state['history'])} rows, and {place['epoch']} epochs are done")
    for pair in state["callbacks"]:
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not isinstance(pair[0], str)
            or not isinstance(pair[1], Mapping)
        ):
            raise TypeError(f"callbacks: expected a name and a dict for each, got {type(pair).__name__}")
    given = state.get("given")
    if given is not None:
        kinds = {
            "optimizer": Mapping,
            "fit": Mapping,
            "callbacks": list,
            "precision": Mapping,
            "schedule": (Mapping, type(None)),
        }
        _check_keys("given", given, kinds)
        _check_keys("given, optimizer", given["optimizer"], {"groups": list})
        _check_keys("given, fit", given["fit"], {"accumulate": int, "clip_norm": (int, float, type(None))})
        if not all(isinstance(each, Mapping) for each in (*given["callbacks"], *given["optimizer"]["groups"])):
            raise TypeError("given: callbacks and groups must be dicts")


def _is_float(value: Any) -> bool:
    """Whether this is a number that a float can hold: an integer of Python may have any number of digits."""
    return is_number(value) and (not isinstance(value, int) or abs(value) < 1 << 1000)


def _check_keys(where: str, tree: Any, kinds: Mapping[str, Any]) -> None:
    if not isinstance(tree, Mapping):
        raise TypeError(f"{where} must hold a dict with {', '.join(kinds)}, got {type(tree).__name__}")
    for name, kind in kinds.items():
        if name not in tree:
            raise ValueError(f"{where}: {name} is missing; there is {', '.join(map(str, tree)) or 'nothing'}")
        if not isinstance(tree[name], kind):
            raise TypeError(f"{where}: {name} is of the wrong kind, {type(tree[name]).__name__}")
