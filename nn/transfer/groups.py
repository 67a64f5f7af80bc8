"""A network in groups of layers, from the pixels to the scores: smaller steps for the earlier ones; unfrozen one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.runtime.integers import as_integer

from ..containers import Sequential
from ..inspect.layer_outputs import check_model
from ..lists import ModuleDict, ModuleList
from ..module import Module
from ..training.callbacks import Callback
from ..training.run import Run
from .head import is_auxiliary

Unit = tuple[str, Module]
"""A part of a network that stays in one piece, and its dotted name."""

OPENED = (Sequential, ModuleList, ModuleDict)
"""Their parts are units of their own. Every other module is one piece: a residual block, a branching one."""


def layer_groups(model: Module, lr: float, factor: float = 3.0, count: int = 3) -> list[dict[str, Any]]:
    """The parameters of `model` in groups for an optimiser, each earlier one with a learning rate `factor` times smaller.

    The last group is the last part with weights, the head, and learns at `lr`; the others share the rest, in the order in which
    the parts were registered, as many parts each as can be. A part is a child of the model, or where that is a Sequential or a
    ModuleList, a child of that; layers without a matrix or kernels, such as norms, stay with the part before. So a ResNet-18
    has its first convolution, eight blocks, and the linear layer; three groups are of 5 parts, of 4 and of 1. Auxiliary heads,
    in children whose name has "aux" in it, learn with the head.

    Frozen parameters are in the groups too: an optimiser passes over them until they are unfrozen. (Howard & Ruder 2018,
    "Universal language model fine-tuning for text classification", section 3.2, arxiv.org/abs/1801.06146, divide by 2.6 from
    layer to layer.)

    Args:
        lr: the learning rate of the last group; that of group i, counted back from 0 for the last, is lr / factorⁱ.
        factor: 3 to 10 is usual; 1 gives all the same.
        count: how many groups, 2 or more; fewer, where the model has fewer parts.

    Raises:
        TypeError: `model` is no Module; a setting is no number.
        ValueError: the model has no parameters; a setting is out of range.

    >>> from microtensor import models, nn
    >>> optimizer = nn.SGD(layer_groups(models.lenet5(), lr=0.1, factor=10), lr=0.1)
    >>> [(len(group["params"]), round(group["lr"], 6)) for group in optimizer.param_groups]
    [(4, 0.001), (4, 0.01), (2, 0.1)]
    """
    for name, value, least in (("lr", lr, 0), ("factor", factor, 1)):
        if not is_number(value):
            raise TypeError(f"layer_groups: {name} must be a number, got {value!r}")
        if not least <= value < np.inf:
            raise ValueError(f"layer_groups: {name} must be finite and at least {least}, got {value}")
    parts = split(model, count, "layer_groups")
    of_part = {id(p): i for i, part in reversed([*enumerate(parts)]) for _, module in part for p in module.parameters()}
    groups: list[dict[str, Any]] = [{"params": [], "lr": lr / factor**i} for i in reversed(range(len(parts)))]
    for parameter in model.parameters():  # the model's own, which are of no part, learn as the first group
        groups[of_part.get(id(parameter), 0)]["params"].append(parameter)
    return groups


class UnfreezeGradually(Callback):
    """Begin with the head alone, and unfreeze one more group of layers after every so many epochs, from the top down.

    What is fresh learns first, so that its random gradients do not spoil what was learned before (Howard & Ruder 2018, section
    3.3, arxiv.org/abs/1801.06146). The groups are those of `layer_groups`. Frozen layers keep their running statistics.

    The optimizer is to hold all parameters from the start, frozen ones too: `layer_groups(model, …)`, `model.parameters()`. A
    run that is resumed goes on with as many groups as it had. A parameter whose `requires_grad` was cleared by hand stays so.

    Args:
        every: epochs between one group and the next.
        count: how many groups.

    Attributes:
        learning: the names of the parts that learn at present.

    Raises:
        TypeError: a setting is no integer.
        ValueError: it is below 1, or `count` below 2; (when the run begins) the model has no parameters, or the optimizer does
            not hold all of them.

    >>> import numpy as np
    >>> from microtensor import nn
    >>> from microtensor.data import DataLoader, TensorDataset
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = DataLoader(TensorDataset(np.eye(2, dtype="float32"), np.array([0, 1])), batch_size=2)
    >>> gradually, optimizer = UnfreezeGradually(every=1, count=2), nn.SGD(layer_groups(model, lr=0.1), lr=0.1)
    >>> history = nn.fit(model, data, nn.cross_entropy, optimizer, epochs=3, callbacks=[gradually])  # doctest: +ELLIPSIS
    learning: 2
    epoch 1/3: ...
    learning: 0, 2
    epoch 2/3: ...
    epoch 3/3: ...
    """

    settings = ("every", "count")

    def __init__(self, every: int = 1, count: int = 3) -> None:
        self.every = as_integer("UnfreezeGradually", "every", every, least=1)
        self.count = as_integer("UnfreezeGradually", "count", count, least=2)
        self.learning: tuple[str, ...] = ()

    def on_start(self, run: Run) -> None:
        """Freeze all but what learns at this epoch."""
        self.learning = ()
        held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
        left_out = [name for name, p in run.model.named_parameters() if id(p) not in held and (p.requires_grad or p.frozen)]
        if left_out:
            shown = ", ".join(left_out[:3]) + (" …" if len(left_out) > 3 else "")
            raise ValueError(
                f"UnfreezeGradually: the optimizer does not hold {shown}, which would never learn; make it of all parameters, "
                "frozen ones too: layer_groups(model, lr), or model.parameters()"
            )
        self._set(run)

    def on_epoch(self, run: Run) -> None:
        """Unfreeze the next group, if it is time."""
        if not run.stopping:
            self._set(run)

    def _set(self, run: Run) -> None:
        parts = split(run.model, self.count, "UnfreezeGradually")
        number = min(len(parts), 1 + run.epoch // self.every)
        units = [unit for part in parts[len(parts) - number :] for unit in part]
        names = tuple(name for name, _ in units)
        if names == self.learning:
            return
        self.learning = names
        run.model.freeze()
        if number == len(parts):
            run.model.unfreeze()
        for _, module in units:
            module.unfreeze()
        run.say("learning: " + (", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]}, {len(names)} parts"))


def split(model: Module, count: int, function: str) -> list[list[Unit]]:
    """The parts of a model that hold parameters, in up to `count` groups; the last is the last part alone.

    Raises:
        TypeError, ValueError: in the name of the function that asks.
    """
    check_model(function, model)
    as_integer(function, "count", count, least=2)
    joined: list[list[Unit]] = []
    beside: list[Unit] = []
    for name, module in _units(model):
        if is_auxiliary(name):
            beside.append((name, module))
        elif joined and all(p.ndim < 2 for p in module.parameters()):
            joined[-1].append((name, module))
        else:
            joined.append([(name, module)])
    if not joined:
        raise ValueError(f"{function}: {type(model).__name__} has no layers with parameters to put in groups")
    *base, head = joined
    cuts = np.array_split(np.arange(len(base)), min(count - 1, len(base)) or 1)
    return [*([unit for i in cut for unit in base[i]] for cut in cuts if len(cut)), [*head, *beside]]


def _units(module: Module, place: str = "") -> Iterator[Unit]:
    """The pieces of a module that hold parameters, each once, in the order of registration."""
    for name, child in module.named_children():
        below = f"{place}.{name}" if place else name
        if isinstance(child, OPENED):
            yield from _units(child, below)
        elif any(True for _ in child.parameters()):
            yield below, child
