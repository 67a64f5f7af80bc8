"""Adam and AdamW. PyTorch's, by name and by number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from microtensor.runtime.arrays import Array, array_module

from .fused import FusedOptimizer, gradient_with_decay, state_array, update_mean
from .optimizer import blocks


class Adam(FusedOptimizer):
    """p ← p − lr · m / (√v + eps), with m and v the bias-corrected running means of g and of g².

    So a step is of about lr for every element, whatever the size of its gradient.

    Kingma & Ba 2014, algorithm 1, arxiv.org/abs/1412.6980; amsgrad: Reddi et al. 2018, algorithm 2, arxiv.org/abs/1904.09237.
    As in PyTorch, eps is added after the bias correction.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        betas: the decay rates of the two running means.
        eps: avoids a division by 0 where all gradients are 0.
        weight_decay: adds weight_decay · p to the gradient: that of the L2 penalty weight_decay / 2 · |p|².
        amsgrad: use the largest v so far.
        maximize: gradient ascent instead of descent.
        decoupled_weight_decay: weight decay as in AdamW: not part of the gradient.

    >>> from microtensor import Tensor
    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([p], lr=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.5
    """

    kernel, memory = "adam", ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {**defaults, "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay})

    def check(self, group: dict[str, Any]) -> None:
        """Numbers of at least 0, and betas less than 1."""
        self._number(group, "lr", "eps", "weight_decay")
        self._flag(group, "amsgrad", "maximize", "decoupled_weight_decay")
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"{self._name}: betas must be a pair of numbers, got {betas!r}")
        for i, beta in enumerate(betas):
            self._number({f"betas[{i}]": beta}, f"betas[{i}]", below=1)

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The number of steps and the running means."""
        return set(self.memory[: 4 if group["amsgrad"] else 3])

    def prepare(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The running means, and the factors of this step that correct their bias."""
        beta1, beta2 = (float(beta) for beta in group["betas"])
        mean, square = state_array(state, p, "exp_avg"), state_array(state, p, "exp_avg_sq")
        max_square = state_array(state, p, "max_exp_avg_sq") if group["amsgrad"] else None
        step = state["step"] = state.get("step", 0) + 1
        step_size, correction_root = group["lr"] / (1 - beta1**step), math.sqrt(1 - beta2**step)
        kept, decay = 1.0, float(group["weight_decay"])
        if group["decoupled_weight_decay"]:
            kept, decay = 1.0 - group["lr"] * decay, 0.0
        means = beta1, 1 - beta1, beta2, 1 - beta2
        scalars = step_size, correction_root, *means, float(group["eps"]), kept, decay, bool(group["maximize"])
        return (mean, square, max_square), scalars

    def apply(
        self,
        arrays: tuple[Any, ...],
        step_size: float,
        correction_root: float,
        beta1: float,
        rest1: float,
        beta2: float,
        rest2: float,
        eps: float,
        kept: float,
        weight_decay: float,
        maximize: bool,
    ) -> None:
        """The formula of the class; `kept` is 1 − lr · weight_decay if the decay is decoupled, else 1."""
        xp = array_module(arrays[0])
        for p, g, mean, square, max_square in blocks(*arrays):
            if kept != 1:
                p *= kept
            g = gradient_with_decay(p, g, weight_decay, maximize)
            work = xp.empty_like(p)  # a buffer: with new arrays a step of a million elements takes four times as long
            update_mean(mean, g, beta1, rest1, work)
            update_mean(square, xp.multiply(g, g, out=work), beta2, rest2, work)
            if max_square is not None:
                square = xp.maximum(max_square, square, out=max_square)
            xp.sqrt(square, out=work)
            work /= correction_root
            work += eps
            xp.divide(mean, work, out=work)
            work *= step_size
            p -= work


class AdamW(Adam):
    """Adam with decoupled weight decay, which is not part of the gradient: before each step p ← (1 − lr · weight_decay) · p.

    In Adam the gradient of an L2 penalty is divided by √v too, so that weights with small gradients decay most. Here all decay
    at the same rate. Loshchilov & Hutter 2019, algorithm 2, arxiv.org/abs/1711.05101.

    Args:
        weight_decay: at each step a parameter loses lr · weight_decay of its value.

    The other settings are Adam's.

    >>> from microtensor import Tensor
    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = AdamW([p], lr=0.1, weight_decay=0.5)
    >>> (p * 0).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.95
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)

    def check(self, group: dict[str, Any]) -> None:
        """As Adam, with decoupled weight decay: so the state of an Adam is refused."""
        super().check(group)
        if not group["decoupled_weight_decay"]:
            raise ValueError("AdamW: decoupled_weight_decay must be True; where it is False, the optimiser is Adam")
