"""RMSprop. PyTorch's, by name and by number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from microtensor.runtime.arrays import Array, array_module

from .fused import FusedOptimizer, gradient_with_decay, state_array, update_mean
from .optimizer import blocks


class RMSprop(FusedOptimizer):
    """Gradients divided by the root of the running mean of their squares.

    p ← p − lr · g / (√s + eps), where s ← alpha · s + (1 − alpha) · g²

    Hinton 2012, "Neural networks for machine learning", lecture 6e; centered: Graves 2013, equations 38 to 41,
    arxiv.org/abs/1308.0850. As in PyTorch, eps is added after the root, and momentum adds up g / (√s + eps), before lr.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        alpha: the decay rate of the running mean.
        eps: avoids a division by 0 where all gradients are 0.
        weight_decay: adds weight_decay · p to the gradient: that of the L2 penalty weight_decay / 2 · |p|².
        momentum: the factor of the velocity at each step.
        centered: divide by the root of the variance of the gradients, s minus the square of their mean, or 0 if rounding makes
            that negative.
        maximize: gradient ascent instead of descent.

    >>> from microtensor import Tensor
    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = RMSprop([p], lr=0.1, alpha=0.75)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.8
    """

    kernel, memory = "rmsprop", ("step", "square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        super().__init__(params, {**defaults, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        """Numbers of at least 0, and an alpha of at most 1."""
        self._number(group, "lr", "alpha", "eps", "weight_decay", "momentum")
        self._flag(group, "centered", "maximize")
        if group["alpha"] > 1:
            raise ValueError(f"RMSprop: alpha must be at most 1, got {group['alpha']}")

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The number of steps and the mean of squares; with momentum its buffer; if centered the mean of gradients."""
        velocity = {"momentum_buffer"} if group["momentum"] else set()
        return {"step", "square_avg"} | velocity | ({"grad_avg"} if group["centered"] else set())

    def prepare(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The running means and the momentum buffer, and the settings."""
        state["step"] = state.get("step", 0) + 1
        alpha, momentum = float(group["alpha"]), float(group["momentum"])
        square = state_array(state, p, "square_avg")
        mean = state_array(state, p, "grad_avg") if group["centered"] else None
        velocity = state_array(state, p, "momentum_buffer") if momentum else None
        settings = float(group["lr"]), alpha, 1 - alpha, float(group["eps"]), momentum, float(group["weight_decay"])
        return (square, mean, velocity), (*settings, bool(group["maximize"]))

    def apply(
        self,
        arrays: tuple[Any, ...],
        lr: float,
        alpha: float,
        rest: float,
        eps: float,
        momentum: float,
        weight_decay: float,
        maximize: bool,
    ) -> None:
        """The formula of the class."""
        xp = array_module(arrays[0])
        for p, g, square, mean, velocity in blocks(*arrays):
            g, work = gradient_with_decay(p, g, weight_decay, maximize), xp.empty_like(p)
            update_mean(square, xp.multiply(g, g, out=work), alpha, rest, work)
            if mean is None:
                xp.sqrt(square, out=work)
            else:
                update_mean(mean, g, alpha, rest, work)
                xp.subtract(square, xp.multiply(mean, mean, out=work), out=work)
                xp.sqrt(xp.maximum(work, 0, out=work), out=work)
            work += eps
            xp.divide(g, work, out=work)
            if velocity is not None:
                velocity *= momentum
                velocity += work
            p -= xp.multiply(work if velocity is None else velocity, lr, out=work)
