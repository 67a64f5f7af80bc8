"""The head of a classifier, the layer that computes the score of each class: to find it, replace it, or train only it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

from microtensor.random import Generator
from microtensor.runtime.integers import as_integer
from microtensor.runtime.text import kind_of

from ..inspect.layer_outputs import check_model, layer_of
from ..layers.conv import Conv1d, Conv2d
from ..layers.linear import Linear
from ..module import Buffer, Module, Parameter

M = TypeVar("M", bound=Module)

Head: TypeAlias = Linear | Conv1d | Conv2d

KINDS = (Linear, Conv1d, Conv2d)
"""Layers that may be a head: the number of their outputs can be changed."""


def head_of(model: Module, name: str | None = None) -> Head:
    """The layer of `model` that computes the scores: the Linear or the convolution that was registered last.

    Auxiliary heads, in children with "aux" in their name, are skipped.

    Args:
        name: the dotted name of the layer, if it is another one.

    Raises:
        TypeError: `model` is no Module, or `name` no string.
        ValueError: the last layer with weights is of another class, or there is no layer with this name.

    >>> from microtensor.nn import ReLU, Sequential
    >>> head_of(Sequential(Linear(4, 8), ReLU(), Linear(8, 3)))
    Linear(in_features=8, out_features=3, bias=True)
    """
    return find("head_of", model, name)[1]


def replace_head(model: M, num_classes: int, name: str | None = None, *, generator: Generator | None = None) -> M:
    """Replace the head of `model` by one for `num_classes` classes, in place, and return the model.

    The new layer has the settings, the inputs, the device and the dtype of the old one, new random weights, and is not frozen.
    Auxiliary heads with as many outputs as the head are replaced too. An optimizer that was created before has the old
    parameters: create it again.

    Args:
        name: the dotted name of the only layer to replace; None: see `head_of`.
        generator: for the new weights; None: the default generator.

    Raises:
        TypeError: `model` is no Module, `num_classes` no integer.
        ValueError: `num_classes` is below 1; the layer is not found; it is the model itself.

    >>> from microtensor import models
    >>> model = replace_head(models.lenet5(), num_classes=26)
    >>> model.classifier
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=400, out_features=120, bias=True)
      (2): ReLU()
      (3): Linear(in_features=120, out_features=84, bias=True)
      (4): ReLU()
      (5): Linear(in_features=84, out_features=26, bias=True)
    )
    """
    as_integer("replace_head", "num_classes", num_classes, least=1)
    for old in _heads("replace_head", model, name):
        if old is model:
            raise ValueError(f"replace_head: the model is the layer itself; make a new one: {type(old).__name__}(…)")
        new = _like(old, num_classes, generator)
        for place, child in list(model.named_modules(remove_duplicate=False)):
            if child is old:
                above, _, last = place.rpartition(".")
                setattr(model.get_submodule(above), last, new)
    return model


def freeze_base(model: M, name: str | None = None) -> M:
    """Freeze all of `model` but its head, and auxiliary heads, and return it. `model.unfreeze()` undoes it.

    Frozen batch normalisation uses its running statistics, and does not update them: see `Module.freeze`.

    Args:
        name: the dotted name of the module to train, which may be more than the last layer; None: see `head_of`.

    Raises:
        TypeError, ValueError: as `head_of`.

    >>> from microtensor import models
    >>> model = freeze_base(models.lenet5())
    >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    ['classifier.5.weight', 'classifier.5.bias']
    """
    learning: list[Any] = [layer_of("freeze_base", model, name)] if name is not None else _heads("freeze_base", model, None)
    model.freeze()
    for module in learning:
        module.unfreeze()
    return model


def scores_of(layer: Head) -> int:
    """The number of outputs of a head."""
    return layer.out_features if isinstance(layer, Linear) else layer.out_channels


def _heads(function: str, model: Any, name: str | None) -> list[Head]:
    """The head; and unless a name is given, auxiliary heads with as many outputs."""
    _, head = find(function, model, name)
    if name is not None:
        return [head]
    lasts = [_last(child)[1] for child_name, child in model.named_children() if is_auxiliary(child_name)]
    return [head, *(last for last in lasts if isinstance(last, KINDS) and scores_of(last) == scores_of(head))]


def find(function: str, model: Any, name: str | None) -> tuple[str, Head]:
    """The head of a model, and its name. See `head_of`."""
    check_model(function, model)
    place, found = _last(model) if name is None else (name, layer_of(function, model, name))
    if isinstance(found, KINDS):
        return place, found
    if name is not None:
        raise ValueError(f"{function}: {name!r} is {kind_of(found)}; a Linear, a Conv1d or a Conv2d gives scores")
    whose = f"those of {place}, {kind_of(found)}" if place else "its own, beside its layers"
    what = "has no weights" if found is None else f"has no layer of scores at its end: its last weights are {whose}"
    raise ValueError(
        f"{function}: {type(model).__name__} {what}; name the Linear, Conv1d or Conv2d that alone gives the scores, name=…, or "
        "build the network with as many classes, and load all weights but those of its last part, say last: "
        "model.load_state_dict({key: x for key, x in state.items() if not key.startswith('last.')}, strict=False)"
    )


def _last(model: Module) -> tuple[str, Module | None]:
    """The module with the parameter or buffer that was assigned last, and its name; None if there are none."""
    holders: list[tuple[str, Module | None]] = [("", None), *_holders(model)]
    return holders[-1]


def _holders(module: Module, place: str = "") -> Iterator[tuple[str, Module]]:
    """For each parameter and buffer, in the order of assignment, the module that has it; without auxiliary heads."""
    for name, value in vars(module).items():
        if isinstance(value, (Parameter, Buffer)):
            yield place, module
        elif isinstance(value, Module) and not is_auxiliary(name):
            yield from _holders(value, f"{place}.{name}" if place else name)


def is_auxiliary(name: str) -> bool:
    """Whether a child of this name is an auxiliary head: aux1 and aux2, AuxLogits, aux_classifier."""
    return "aux" in name.lower()


def _like(old: Head, count: int, generator: Generator | None) -> Head:
    """A new layer with the settings of `old` and `count` outputs."""
    new: Head
    bias = old.bias is not None
    if isinstance(old, Linear):
        new = Linear(old.in_features, count, bias, generator=generator)
    else:
        kind = Conv1d if isinstance(old, Conv1d) else Conv2d
        settings = (old.kernel_size, old.stride, old.padding, old.dilation, old.groups, bias, old.padding_mode)
        new = kind(old.in_channels, count, *settings, generator=generator)
    return new.to(old.weight).train(old.training)
