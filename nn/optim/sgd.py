"""Stochastic gradient descent, with momentum and Nesterov momentum. PyTorch's, by name and by number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from microtensor.runtime.arrays import Array, array_module

from .fused import FusedOptimizer, gradient_with_decay
from .optimizer import blocks


class SGD(FusedOptimizer):
    """Stochastic gradient descent: p ← p − lr · g; with momentum p ← p − lr · v, where v ← momentum · v + (1 − dampening) · g.

    Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; for Nesterov's form, which steps along
    g + momentum · v, Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", section 2.
    Both as PyTorch has them: lr scales v where it is used, and the first v is g itself.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        momentum: the factor of the velocity at each step.
        dampening: the velocity adds 1 − dampening times the gradient.
        weight_decay: adds weight_decay · p to the gradient: that of the L2 penalty weight_decay / 2 · |p|².
        nesterov: Nesterov momentum: step along g + momentum · v.
        maximize: gradient ascent instead of descent.

    >>> from microtensor import Tensor
    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p
    Tensor([0.8], requires_grad=True)
    """

    kernel, memory = "sgd", ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "nesterov": nesterov, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        """Numbers of at least 0; Nesterov momentum needs a momentum above 0, and no dampening."""
        self._number(group, "lr", "momentum", "dampening", "weight_decay")
        self._flag(group, "nesterov", "maximize")
        if group["nesterov"] and not (group["momentum"] > 0 and group["dampening"] == 0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, "
                f"got momentum {group['momentum']} and dampening {group['dampening']}"
            )

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The momentum buffer, with momentum."""
        return {"momentum_buffer"} if group["momentum"] else set()

    def prepare(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The momentum buffer, and the settings."""
        momentum, first, velocity = float(group["momentum"]), False, None
        if momentum:
            first = "momentum_buffer" not in state
            if first:
                state["momentum_buffer"] = array_module(p).zeros_like(p)  # should this step fail, the next one uses it
            velocity = state["momentum_buffer"]
        settings = float(group["lr"]), momentum, 1.0 - group["dampening"], float(group["weight_decay"])
        return (velocity,), (*settings, first, bool(group["nesterov"]), bool(group["maximize"]))

    def apply(
        self,
        arrays: tuple[Any, ...],
        lr: float,
        momentum: float,
        undampened: float,
        weight_decay: float,
        first: bool,
        nesterov: bool,
        maximize: bool,
    ) -> None:
        """The formula of the class; `undampened` is 1 − dampening."""
        xp = array_module(arrays[0])
        for p, g, v in blocks(*arrays):
            g = gradient_with_decay(p, g, weight_decay, maximize)
            work = xp.empty_like(p)  # a buffer for results: a new array for each would be slower
            if v is not None:
                if first:
                    v[...] = g
                else:
                    v *= momentum
                    v += xp.multiply(g, undampened, out=work) if undampened != 1 else g
                g = xp.add(g, xp.multiply(v, momentum, out=work), out=work) if nesterov else v
            p -= xp.multiply(g, lr, out=work)
