"""Layer-wise learning rates, smaller for earlier layers, and gradual unfreezing, from the last layers to the first."""

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
"""The dotted name of a part of a network that is not divided, and the part."""

CONTAINERS = (Sequential, ModuleList, ModuleDict)
"""Modules that are divided into their children. Any other module, such as a residual block, is one part."""


def layer_groups(model: Module, lr: float, factor: float = 3.0, count: int = 3) -> list[dict[str, Any]]:
    """The parameters of `model` in groups for an optimizer, with learning rates that are smaller for earlier layers.

    (Discriminative fine-tuning: Howard & Ruder 2018, "Universal language model fine-tuning for text classification", section
    3.2, arxiv.org/abs/1801.06146, where each layer has 1 / 2.6 of the rate of the next.)

    The last group is the head, the last part with weights. The other parts are divided among the other groups, in the order of
    registration. A part is a child of the model, or a child of a Sequential, ModuleList or ModuleDict in it; layers without a
    weight matrix or kernels, such as normalisation, stay with the part before. So a ResNet-18 has ten parts: its first
    convolution, eight blocks and the linear layer; three groups have 5, 4 and 1 of them. Auxiliary heads, children with "aux"
    in their name, are in the last group. Frozen parameters are in the groups too: the optimizer skips them until unfrozen.

    Args:
        lr: the learning rate of the last group; the group before it has lr / factor, the one before that lr / factor² …
        factor: usually 3 to 10; with 1 all rates are equal.
        count: the number of groups, 2 or more; fewer if the model has fewer parts.

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
    for parameter in model.parameters():  # parameters of the model itself, in no part, go into the first group
        groups[of_part.get(id(parameter), 0)]["params"].append(parameter)
    return groups


class UnfreezeGradually(Callback):
    """Gradual unfreezing: train the head only, and unfreeze one more group of layers every few epochs, the last first.

    So the gradients of a head that is not trained yet do not spoil the trained layers (Howard & Ruder 2018, section 3.3,
    arxiv.org/abs/1801.06146). The groups are those of `layer_groups`. Frozen layers keep their running statistics.

    The optimizer must have all parameters from the start, also frozen ones: `layer_groups(model, …)` or `model.parameters()`. A
    resumed run continues with the groups that it had. A parameter with `requires_grad = False` set by hand stays frozen.

    Args:
        every: epochs between one group and the next.
        count: the number of groups.

    Attributes:
        learning: the names of the parts that are not frozen.

    Raises:
        TypeError: a setting is no integer.
        ValueError: it is below 1, or `count` below 2; (when the run starts) the model has no parameters, or the optimizer does
            not have all of them.

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
        """Freeze all groups but those that are trained in this epoch."""
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
        """Unfreeze the next group, every `every` epochs."""
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
    """The parts of a model that have parameters, in up to `count` groups; the last group is the last part.

    Raises:
        TypeError, ValueError: messages begin with the name of the calling `function`.
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
    """The parts of a module that have parameters, in the order of registration."""
    for name, child in module.named_children():
        below = f"{place}.{name}" if place else name
        if isinstance(child, CONTAINERS):
            yield from _units(child, below)
        elif any(True for _ in child.parameters()):
            yield below, child
