"""Adagrad. PyTorch's, by name and by number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from microtensor.runtime.arrays import Array, array_module

from .fused import FusedOptimizer, gradient_with_decay, state_array
from .optimizer import blocks


class Adagrad(FusedOptimizer):
    """Gradients divided by the root of the sum of all their squares so far: p ← p − lr · g / (√s + eps), where s ← s + g².

    So elements that seldom have a gradient keep taking large steps. Duchi, Hazan & Singer 2011, "Adaptive subgradient methods
    for online learning and stochastic optimization", section 1.1, diagonal matrices.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        lr_decay: in step t, counted from 0, the learning rate is lr / (1 + t · lr_decay).
        weight_decay: adds weight_decay · p to the gradient: that of the L2 penalty weight_decay / 2 · |p|².
        initial_accumulator_value: the sum of squares at the start.
        eps: avoids a division by 0 where all gradients are 0.
        maximize: gradient ascent instead of descent.

    >>> from microtensor import Tensor
    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adagrad([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.9
    """

    kernel, memory = "adagrad", ("step", "sum")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "initial_accumulator_value": initial_accumulator_value, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        """Numbers of at least 0."""
        self._number(group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
        self._flag(group, "maximize")

    def prepare(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The sum of squares, and the learning rate of this step."""
        squares = state_array(state, p, "sum", group["initial_accumulator_value"])
        step = state["step"] = state.get("step", 0) + 1
        rate = group["lr"] / (1.0 + (step - 1) * group["lr_decay"])
        return (squares,), (rate, float(group["eps"]), float(group["weight_decay"]), bool(group["maximize"]))

    def apply(self, arrays: tuple[Any, ...], rate: float, eps: float, weight_decay: float, maximize: bool) -> None:
        """The formula of the class."""
        xp = array_module(arrays[0])
        for p, g, squares in blocks(*arrays):
            g, work = gradient_with_decay(p, g, weight_decay, maximize), xp.empty_like(p)
            squares += xp.multiply(g, g, out=work)
            xp.sqrt(squares, out=work)
            work += eps
            xp.divide(g, work, out=work)
            work *= rate
            p -= work
