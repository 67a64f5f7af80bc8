"""`load_state_dict`: checks that a saved state fits a module, and copies its values into the parameters and buffers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from microtensor.autograd.grad_mode import no_grad
from microtensor.autograd.graph import Node
from microtensor.io.placeholder import Placeholder
from microtensor.runtime.arrays import is_array
from microtensor.tensor import Tensor


class Loaded(NamedTuple):
    """The names that `load_state_dict(state, strict=False)` skipped."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<all names were loaded>"
        return f"<missing_keys: {few(self.missing_keys)}; unexpected_keys: {few(self.unexpected_keys)}>"


NAMES_SHOWN = 3
"""Names that a message lists, of many."""

NAME_CHARACTERS = 200
"""Characters of a name that a message shows."""


def few(names: Sequence[str]) -> str:
    """Names as a message lists them: three, and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if not names:
        return "none"
    shown = [name if len(name) <= NAME_CHARACTERS else f"{name[:NAME_CHARACTERS]}…" for name in names[:NAMES_SHOWN]]
    rest = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(shown) + rest


def load(name: str, own: Mapping[str, Any], state: Any, strict: bool) -> Loaded:
    """Copy the values of `state` into the tensors of the same names: see `Module.load_state_dict`.

    Args:
        name: the class of the module, for errors.
        own: its tensors by dotted name, and its `set_extra_state` methods, which are called with the value of that name.
    """
    if not isinstance(state, Mapping):
        hint = "; read it first: microtensor.load(path)" if isinstance(state, (str, os.PathLike)) else ""
        raise TypeError(f"load_state_dict: expected tensors by name, as state_dict() gives, got {type(state).__name__}{hint}")
    extra = {key: set_state for key, set_state in own.items() if not isinstance(set_state, Node)}
    nested = next((key for key, value in state.items() if isinstance(value, Mapping)), None)
    if nested is not None and not any(key in own for key in state):
        raise TypeError(
            f"load_state_dict: {nested} must be a Tensor or an array, got {type(state[nested]).__name__}; the state may be one "
            f"of several in a file: load_state_dict(state[{nested!r}])"
        )
    values = {key: _tensor(key, state[key]) for key in own if key in state and key not in extra}
    missing = [key for key in own if key not in state]
    unexpected = [str(key) for key in state if key not in own]
    mismatched = [
        f"{key} is {own[key].shape} here, {value.shape} in the state"
        for key, value in values.items()
        if value.shape != own[key].shape
    ]
    if mismatched or strict and (missing or unexpected):
        lines = [f"load_state_dict: the state does not fit {name}, and nothing was loaded"]
        lines += [f"missing: {few(missing)}"] if missing and strict else []
        lines += [f"unexpected: {few(unexpected)}"] if unexpected and strict else []
        lines += [f"of another shape: {few(mismatched)}"] if mismatched else []
        lines += ["strict=False skips missing and unexpected names"] if strict and values and not mismatched else []
        raise ValueError("\n  ".join(lines))
    with no_grad():
        for key, value in values.items():
            own[key][...] = value.to(own[key].dtype)
    for key, set_state in extra.items():
        if key in state:
            set_state(state[key])
    return Loaded(missing, unexpected)


def _tensor(key: str, value: Any) -> Tensor:
    """A value of a state as a Tensor, from a Tensor, an array, or another library's tensor, such as PyTorch's."""
    if isinstance(value, (Node, np.generic)) or is_array(value):
        return Tensor(value)
    if not hasattr(value, "__array__"):
        given = repr(value) if isinstance(value, Placeholder) else type(value).__name__
        raise TypeError(f"load_state_dict: {key} must be a Tensor or an array, got {given}")
    try:
        for method in ("detach", "cpu"):
            value = getattr(value, method, lambda same=value: same)()
        return Tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:  # e.g. PyTorch's bfloat16
        raise TypeError(f"load_state_dict: NumPy cannot read {key}, a {type(value).__name__}: {error}") from error
