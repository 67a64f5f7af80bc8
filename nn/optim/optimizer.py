"""The base class of optimizers: parameter groups, settings, state, saving and loading. See sgd.py, adam.py …"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.graph import Node
from microtensor.ops.indexing import refuse_read_only
from microtensor.runtime.arrays import Array, array_module, follow, is_array, to_device
from microtensor.tensor import Tensor

from ..module import Module
from ..parameter import clear_grad

BLOCK_BYTES = 1 << 17
"""Parameters are updated in blocks of this size: a block, its gradient, its state and a buffer fit in the cache of a core."""


class Optimizer:
    """The base class of optimizers: groups of parameters, each with its settings, and a state for each parameter.

    An optimizer defines a constructor with its settings, `check` for their values, and `update`: the step of one parameter, on
    arrays and in place.

    Args:
        params: tensors, or dicts of a group's tensors under "params" and the settings that are the group's own.
        defaults: the settings of groups that do not give their own.

    Attributes:
        param_groups: one dict per group: "params" and every setting. Assign to a setting to change it: `group["lr"] = 0.01`.
        state: parameter → a dict of arrays and counters, such as momentum; moved when `model.to(...)` moves the parameter.
        has_stepped: whether a step was taken, or skipped by a GradScaler, or a state was loaded.
        early_schedule: the class name of a schedule that stepped before the first step of the optimizer; else empty.

    Raises:
        TypeError: `params` holds something that is no tensor, or a setting has the wrong type.
        ValueError: there are no parameters, because an iterator was used up; one is given twice, or is computed from others
            (not a leaf); a setting is unknown or out of range.
    """

    memory: ClassVar[tuple[str, ...]] = ()
    """All names that `update` may use in the state of a parameter."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Any, dict[str, Any]] = {}
        self._seen: dict[Any, Array] = {}
        self.has_stepped, self.early_schedule = False, ""
        if isinstance(params, (Mapping, Node)):
            hint = "put it in a list" if isinstance(params, Node) or "params" in params else "pass model.parameters()"
            raise TypeError(f"{self._name}: expected a sequence of Tensors or of groups, got {_a(params)}; {hint}")
        given = self._listed("expected a sequence of Tensors or of groups", params)
        if not given:
            raise ValueError(f"{self._name}: there are no parameters; model.parameters() found none, or was used up before")
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _listed(self, expected: str, params: Any) -> list[Any]:
        if isinstance(params, (Module, Mapping, str, set, frozenset)) or not isinstance(params, Iterable):
            hint = "pass model.parameters()" if isinstance(params, Module) else "put what there is in a list, in an order"
            raise TypeError(f"{self._name}: {expected}, got {_a(params)}; {hint}")
        return listed(self._name, params)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group of parameters: {"params": tensors, settings that differ from the defaults}.

        Raises:
            TypeError, ValueError: as the constructor. Nothing is changed then.
        """
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f'{self._name}: a group is a dict with "params" and settings, got {group!r}')
        given = group["params"]
        params = (
            [given] if isinstance(given, Node) else self._listed('"params" of a group must be a sequence of Tensors', given)
        )
        if unknown := group.keys() - self.defaults.keys() - {"params", "initial_lr"}:
            known = ", ".join(self.defaults)
            raise ValueError(f"{self._name}: unknown setting {', '.join(sorted(unknown))}; a group may set {known}")
        seen = {id(p) for p in self._all()}
        for i, p in enumerate(params):
            if not isinstance(p, Node):
                hint = "; pass model.parameters(), without the names" if isinstance(p, tuple) else ""
                raise TypeError(f"{self._name}: parameter {i} must be a Tensor, got {_a(p)}{hint}")
            if not p.is_leaf:
                raise ValueError(f"{self._name}: parameter {i} {p.shape} is computed from others, and only they can be learned")
            if id(p) in seen:
                raise ValueError(f"{self._name}: parameter {i} {p.shape} is given twice, and would be updated twice")
            seen.add(id(p))
        complete = {"params": params, **self.defaults, **{key: group[key] for key in group if key != "params"}}
        self.check(complete)
        self.param_groups.append(complete)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set `grad` of every parameter to None, or with `set_to_none=False` to zeros."""
        for p in self._all():
            clear_grad(p, set_to_none)

    def step(self) -> None:
        """Update every parameter that has a gradient, in place.

        A UserWarning says if a schedule stepped before the first step: its first learning rate was never used.

        Raises:
            ValueError: a gradient does not have the shape of its parameter, or is not on its device; the array of a parameter
                is read-only.
        """
        self.has_stepped = True
        if self.early_schedule:
            self._warn_of_schedule()
        for group in self.param_groups:
            settings = {key: value.item() if isinstance(value, np.generic) else value for key, value in group.items()}
            updated = [p for p in group["params"] if p.grad is not None]
            for p in updated:
                data, g = p.array, p.grad.array
                if g.shape != data.shape:
                    raise ValueError(f"{self._name}: a parameter {p.shape} has a gradient of another shape, {g.shape}")
                if type(data) is not np.ndarray or type(g) is not np.ndarray:
                    self._check_device(p, p.grad)
                if self._seen.get(p) is not data:
                    self._move_state(p)
            self.update_all([(p.array, p.grad.array, self.state[p]) for p in updated], settings)
            for p in updated:
                p.touch()

    def _warn_of_schedule(self) -> None:
        name, self.early_schedule = self.early_schedule, ""
        warnings.warn(
            f"{self._name}: {name} stepped before the first step of the optimizer, and its first learning rate was skipped; "
            "call optimizer.step() before schedule.step()",
            stacklevel=3,
        )

    def _check_device(self, p: Node, gradient: Node) -> None:
        """Check that a gradient is on the device of its parameter, and make that GPU the current one."""
        if gradient.device != p.device:
            raise ValueError(
                f"{self._name}: a parameter {p.shape} is on {p.device}, its gradient on {gradient.device}; move that: "
                f"p.grad = p.grad.to({p.device!r})"
            )
        follow(p.array)

    def _move_state(self, p: Node) -> None:
        """The parameter has another array than at the last step: move its state to that device and dtype."""
        refuse_read_only(f"{self._name}.step", p, "a parameter", "p.array = p.array.copy()")
        state = self.state.setdefault(p, {})
        for key, value in state.items():
            if is_array(value):
                state[key] = self._fitting(p, key, value)
        self._seen[p] = p.array

    def check(self, group: dict[str, Any]) -> None:
        """Check the settings of a group. Raises TypeError or ValueError."""
        raise NotImplementedError(f"{self._name}: define check(self, group)")

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of the parameter `p`, in place, with its gradient `g`, which must not be changed.

        Args:
            state: the state of this parameter: empty at first. Arrays in it have the shape of `p`.
            group: the settings.
        """
        raise NotImplementedError(f"{self._name}: define update(self, p, g, state, group)")

    def update_all(self, steps: Sequence[tuple[Array, Array, dict[str, Any]]], group: dict[str, Any]) -> None:
        """`update` for all parameters of a group: (p, g, state) of each. Overridden where one kernel can update many."""
        for p, g, state in steps:
            follow(p)
            self.update(p, g, state, group)

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The names that the state of a parameter has after its first step with these settings."""
        return set(self.memory)

    # For `check`

    def _number(self, group: Mapping[str, Any], *keys: str, below: float = math.inf) -> None:
        """These settings are numbers, at least 0 and less than `below`."""
        for key in keys:
            value = group[key]
            if not is_number(value):
                raise TypeError(f"{self._name}: {key} must be a number, got {value!r} ({_a(value)})")
            if not 0 <= value < below:
                bound = "finite" if below == math.inf else f"less than {below}"
                raise ValueError(f"{self._name}: {key} must be at least 0 and {bound}, got {value}")

    def _flag(self, group: Mapping[str, Any], *keys: str) -> None:
        """These settings are True or False."""
        for key in keys:
            if not isinstance(group[key], (bool, np.bool_)):
                raise TypeError(f"{self._name}: {key} must be True or False, got {group[key]!r} ({_a(group[key])})")

    # Saving and loading

    def state_dict(self) -> dict[str, Any]:
        """State and settings, in PyTorch's format: parameters are numbered across all groups. Arrays are not copied."""
        numbers = {p: i for i, p in enumerate(self._all())}
        return {
            "state": {
                numbers[p]: {key: Tensor(v) if is_array(v) else v for key, v in state.items()}
                for p, state in self.state.items()
                if state
            },
            "param_groups": [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a `state_dict()`, also one of PyTorch's: the state, copied, and the settings.

        Settings that only PyTorch's optimizers have (`foreach`, `fused` …) are ignored.

        Raises:
            TypeError: it is no dict with "state" and "param_groups", or a setting has the wrong type.
            ValueError: the numbers of parameters per group, or their shapes, differ; the state has other names than this
                optimizer uses; a setting is out of range. Nothing is changed then.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
            raise TypeError(f'{self._name}: expected a dict with "state" and "param_groups", as state_dict() gives it')
        saved, params = state_dict["param_groups"], self._all()
        sizes, own = ([len(group["params"]) for group in groups] for groups in (saved, self.param_groups))
        if sizes != own:
            raise ValueError(f"{self._name}: the state has groups of {sizes} parameters, this optimiser of {own}")
        settings = [
            {key: loaded.get(key, group.get(key)) for key in (*self.defaults, "initial_lr") if key in loaded or key in group}
            for group, loaded in zip(self.param_groups, saved)
        ]
        for group in settings:
            self.check(group)
        group_of = [group for group, count in zip(settings, own) for _ in range(count)]
        state: dict[Any, dict[str, Any]] = {}
        for number, memory in state_dict["state"].items():
            if not 0 <= int(number) < len(params):
                raise ValueError(f"{self._name}: the state is of a parameter {number}, but there are {len(params)}")
            p, needed = params[int(number)], self.remembers(group_of[int(number)])
            kept = {key: value for key, value in memory.items() if value is not None}
            if kept and not needed <= kept.keys() <= needed.union(self.memory):
                raise ValueError(f"{self._name}: the state remembers {sorted(kept)}, this optimiser {sorted(needed)}")
            state[p] = {key: self._restored(p, key, value) for key, value in kept.items()}
        self.state, self._seen = state, {}
        self.has_stepped, self.early_schedule = True, ""
        for group, loaded in zip(self.param_groups, settings):
            group.update(loaded)

    def _restored(self, p: Node, key: str, value: Any) -> Any:
        if key == "step":
            step = value.item() if hasattr(value, "item") else value
            if not is_number(step) or not 0 <= step < 2**63 or step != int(step):
                raise ValueError(f"{self._name}: step of the state must be an integer of 0 or more, got {step!r}")
            return int(step)
        array = value.array if isinstance(value, Node) else value if is_array(value) else np.asarray(value)  # PyTorch's too
        fitting = self._fitting(p, key, array)
        return fitting.copy() if fitting is array else fitting

    def _fitting(self, p: Node, key: str, array: Array) -> Array:
        """An array of the state of `p`, on its device and with its dtype."""
        if array.shape != p.shape:
            raise ValueError(f"{self._name}: {key} of the state has shape {array.shape}, its parameter {p.shape}")
        return to_device(array, p.device).astype(p.dtype, copy=False)

    def _all(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            settings = ", ".join(f"{key}={value}" for key, value in group.items() if key not in ("params", "initial_lr"))
            lines.append(f"{len(group['params'])} parameters: {settings}")
        return f"{self._name}(\n  " + "\n  ".join(lines) + "\n)"


def blocks(*arrays: Array | None) -> Iterator[tuple[Any, ...]]:
    """Slices of arrays of one shape, along axis 0, that fit in the cache; None stays None.

    A step reads its arrays about ten times: block by block they come from memory only once. On a GPU, where each call is a
    kernel launch, there is one block.

    >>> [len(part) for part, _ in blocks(np.zeros((3, 1 << 15), np.float32), None)]
    [1, 1, 1]
    """
    first = arrays[0]
    if first is None or first.nbytes <= BLOCK_BYTES or array_module(first) is not np:
        yield arrays
        return
    rows = max(1, BLOCK_BYTES * len(first) // first.nbytes)
    for i in range(0, len(first), rows):
        yield tuple(None if array is None else array[i : i + rows] for array in arrays)


def listed(who: str, parameters: Iterable[Any]) -> list[Any]:
    """An iterable of parameters as a list.

    Raises:
        ValueError: it is an iterator without elements: `model.parameters()` can be iterated over once. An empty list is fine.
    """
    given = list(parameters)
    if not given and isinstance(parameters, Iterator):
        raise ValueError(
            f"{who}: there are no parameters: the iterator was used up before, or had none; model.parameters() can be iterated "
            "over once: call it again, or keep a list: params = list(model.parameters())"
        )
    return given


def decay_groups(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters of `model` in two groups for an optimizer: with weight decay, and without.

    Parameters with two or more axes (weights) decay. Biases, and the scales and shifts of normalisation layers, have at most
    one axis and do not: decay does not regularise them (He et al. 2019, "Bag of tricks for image classification", section 3.1,
    arxiv.org/abs/1812.01187).

    >>> from microtensor import nn
    >>> groups = decay_groups(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), weight_decay=0.01)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(1, 0.01), (3, 0.0)]
    >>> optimizer = nn.SGD(groups, lr=0.1)
    """
    if not isinstance(model, Module):
        raise TypeError(f"decay_groups: expected a Module, got {_a(model)}")
    learned = [p for p in model.parameters() if p.requires_grad]
    decaying, others = [p for p in learned if p.ndim >= 2], [p for p in learned if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _a(value: object) -> str:
    return type(value).__name__
