"""The tensors that a module holds: those that it learns, those that it only keeps; and what is held so that nobody finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from microtensor.tensor import Tensor


class Parameter(Tensor):
    """A tensor that a module learns. As an attribute of a module it is found by `parameters()`, saved and moved.

    What is computed from a parameter is a Tensor. An array given as `data` keeps its dtype and shares its memory.

    Raises:
        TypeError: `data` is not numeric, or not floating point and requires_grad.

    >>> weight = Parameter([1.0, 2.0])
    >>> weight.requires_grad, type(weight * 2).__name__
    (True, 'Tensor')
    """

    frozen: bool = False
    """Whether `freeze()` took its gradient away, so that `unfreeze()` gives it back."""

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)


class Buffer(Tensor):
    """A tensor that a module keeps but does not learn, such as a running mean. As an attribute it is saved and moved.

    Args:
        persistent: whether it is saved: part of `state_dict()`. What the constructor makes again need not be.
    """

    persistent: bool = True

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent


def forget(parameter: Tensor, set_to_none: bool) -> None:
    """Forget the gradient of a parameter: None, or zeros where there is one."""
    gradient = parameter.grad
    parameter.grad = None if set_to_none or gradient is None else gradient.constant(gradient.xp.zeros_like(gradient.array))


def refuse_hidden(owner: str, attributes: Mapping[str, Any], module: type[Any]) -> None:
    """Raise for what looks like a part of a module, but that nobody would find.

    Args:
        owner: the name of its class, for the error.
        module: the class of modules.
    """
    for name, value in attributes.items():
        place = f"{owner}.{name}"
        if isinstance(value, (list, tuple, set, dict)):
            held = next(_hidden(value, (module, Parameter)), None)
            if held is not None:
                raise TypeError(
                    f"{place}: a plain {type(value).__name__} hides the {type(held).__name__} in it from parameters(), to() "
                    "and state_dict(); make each an attribute of its own, or hold modules in a Sequential, ModuleList or "
                    "ModuleDict, parameters in a ParameterList or ParameterDict"
                )
        elif isinstance(value, Tensor) and value.requires_grad and value.is_leaf and not isinstance(value, Parameter):
            raise TypeError(
                f"{place}: a {type(value).__name__} that requires a gradient is not found by parameters(), and would never be "
                "learned; make it a Parameter, or call .detach() if it is not to be learned"
            )


def _hidden(value: Any, kinds: tuple[type[Any], ...]) -> Iterator[Any]:
    """What is of these kinds in plain containers, nested or not."""
    if isinstance(value, kinds):
        yield value
    elif isinstance(value, (list, tuple, set, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _hidden(item, kinds)
