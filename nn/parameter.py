"""The tensors of a module: a Parameter is learned, a Buffer is only kept."""

from __future__ import annotations

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
    """Whether `freeze()` cleared its requires_grad, so that `unfreeze()` sets it again."""

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)


class Buffer(Tensor):
    """A tensor that a module keeps but does not learn, such as a running mean. As an attribute it is saved and moved.

    Args:
        persistent: whether it is saved, as a part of `state_dict()`. What the constructor computes again need not be.
    """

    persistent: bool = True

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent


def clear_grad(parameter: Tensor, set_to_none: bool) -> None:
    """Clear the gradient of a parameter: None, or zeros where there is one."""
    gradient = parameter.grad
    parameter.grad = None if set_to_none or gradient is None else gradient.constant(gradient.xp.zeros_like(gradient.array))
