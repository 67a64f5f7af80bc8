"""Optimisers: how parameters follow their gradients, step by step. PyTorch's, by name and number.

Each rule stands twice: here in array calls, and in optimizers.cu, where one kernel moves all parameters on a GPU at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from microtensor.runtime.arrays import Array, array_module

from .fused import Rule
from .optimizer import blocks


class SGD(Rule):
    """Stochastic gradient descent: p ← p − lr · g; with momentum p ← p − lr · v, where v ← momentum · v + (1 − dampening) · g.

    Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; for Nesterov's form, which steps along
    g + momentum · v, Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", section 2.
    Both as PyTorch has them: lr scales v where it is used, and the first v is g itself.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        momentum: the part of its velocity that a parameter keeps.
        dampening: the part of the gradient that the velocity leaves out.
        weight_decay: adds weight_decay · p to the gradient: a penalty of weight_decay / 2 · |p|².
        nesterov: step along the gradient as if the velocity had already been followed.
        maximize: go up instead of down.

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
        """Numbers of 0 or more; Nesterov's momentum is one, and is not dampened."""
        self._number(group, "lr", "momentum", "dampening", "weight_decay")
        self._flag(group, "nesterov", "maximize")
        if group["nesterov"] and not (group["momentum"] > 0 and group["dampening"] == 0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, "
                f"got momentum {group['momentum']} and dampening {group['dampening']}"
            )

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The velocity, if there is momentum."""
        return {"momentum_buffer"} if group["momentum"] else set()

    def prepared(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The velocity, if there is momentum."""
        momentum, first, velocity = float(group["momentum"]), False, None
        if momentum:
            first = "momentum_buffer" not in state
            if first:
                state["momentum_buffer"] = array_module(p).zeros_like(p)  # should this step fail, the next reads it
            velocity = state["momentum_buffer"]
        settings = float(group["lr"]), momentum, 1.0 - group["dampening"], float(group["weight_decay"])
        return (velocity,), (*settings, first, bool(group["nesterov"]), bool(group["maximize"]))

    def plain(
        self,
        arrays: tuple[Any, ...],
        lr: float,
        momentum: float,
        taken: float,
        decay: float,
        first: bool,
        nesterov: bool,
        maximize: bool,
    ) -> None:
        """See the class; `taken` is 1 − dampening."""
        xp = array_module(arrays[0])
        for p, g, v in blocks(*arrays):
            g = _descent(p, g, decay, maximize)
            work = xp.empty_like(p)  # written to where each operator would make a fresh array
            if v is not None:
                if first:
                    v[...] = g
                else:
                    v *= momentum
                    v += xp.multiply(g, taken, out=work) if taken != 1 else g
                g = xp.add(g, xp.multiply(v, momentum, out=work), out=work) if nesterov else v
            p -= xp.multiply(g, lr, out=work)


class Adam(Rule):
    """Steps of about lr for every parameter: the mean of its gradients over the root of the mean of their squares.

    Kingma & Ba 2014, algorithm 1, arxiv.org/abs/1412.6980; amsgrad: Reddi et al. 2018, algorithm 2, arxiv.org/abs/1904.09237.
    As in PyTorch, eps is added after the correction of the bias.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        betas: the parts of the two running means that stay at each step.
        eps: keeps a parameter whose gradients are 0 from being divided by 0.
        weight_decay: adds weight_decay · p to the gradient: a penalty of weight_decay / 2 · |p|².
        amsgrad: divide by the largest mean of squares so far.
        maximize: go up instead of down.
        decoupled_weight_decay: the decay of AdamW, which stays out of the gradient.

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
        """Numbers of 0 or more, and betas less than 1."""
        self._number(group, "lr", "eps", "weight_decay")
        self._flag(group, "amsgrad", "maximize", "decoupled_weight_decay")
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"{self._name}: betas must be a pair of numbers, got {betas!r}")
        for i, beta in enumerate(betas):
            self._number({f"betas[{i}]": beta}, f"betas[{i}]", below=1)

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The steps, and the means of gradients and of their squares."""
        return set(self.memory[: 4 if group["amsgrad"] else 3])

    def prepared(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The running means, and what corrects their bias at this step."""
        beta1, beta2 = (float(beta) for beta in group["betas"])
        mean, square = _remembered(state, p, "exp_avg"), _remembered(state, p, "exp_avg_sq")
        largest = _remembered(state, p, "max_exp_avg_sq") if group["amsgrad"] else None
        step = state["step"] = state.get("step", 0) + 1
        rate, root = group["lr"] / (1 - beta1**step), math.sqrt(1 - beta2**step)
        kept, decay = 1.0, float(group["weight_decay"])
        if group["decoupled_weight_decay"]:
            kept, decay = 1.0 - group["lr"] * decay, 0.0
        means = beta1, 1 - beta1, beta2, 1 - beta2
        return (mean, square, largest), (rate, root, *means, float(group["eps"]), kept, decay, bool(group["maximize"]))

    def plain(
        self,
        arrays: tuple[Any, ...],
        rate: float,
        root: float,
        beta1: float,
        rest1: float,
        beta2: float,
        rest2: float,
        eps: float,
        kept: float,
        decay: float,
        maximize: bool,
    ) -> None:
        """See the class; `kept` is the part of the parameter that decoupled decay leaves."""
        xp = array_module(arrays[0])
        for p, g, mean, square, largest in blocks(*arrays):
            if kept != 1:
                p *= kept
            g = _descent(p, g, decay, maximize)
            work = xp.empty_like(p)  # written to again and again: with fresh arrays a million numbers take four times as long
            _running_mean(mean, g, beta1, rest1, work)
            _running_mean(square, xp.multiply(g, g, out=work), beta2, rest2, work)
            if largest is not None:
                square = xp.maximum(largest, square, out=largest)
            xp.sqrt(square, out=work)
            work /= root
            work += eps
            xp.divide(mean, work, out=work)
            work *= rate
            p -= work


class AdamW(Adam):
    """Adam whose weight decay stays out of the gradient and its means: before each step p ← (1 − lr · weight_decay) · p.

    In Adam a penalty of the weights is divided by the size of the gradients like all else, and restrains most where they are
    small; here every weight decays at the same rate. Loshchilov & Hutter 2019, algorithm 2, arxiv.org/abs/1711.05101.

    Args:
        weight_decay: times lr, the part of each parameter that is lost at each step.

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
        """Adam's, and the decay is decoupled: a state of Adam does not fit."""
        super().check(group)
        if not group["decoupled_weight_decay"]:
            raise ValueError("AdamW: decoupled_weight_decay must be True; where it is False, the optimiser is Adam")


class RMSprop(Rule):
    """Gradients over the root of the mean of their squares: p ← p − lr · g / (√s + eps), s ← alpha · s + (1 − alpha) · g².

    Hinton 2012, "Neural networks for machine learning", lecture 6e; centered: Graves 2013, equations 38 to 41,
    arxiv.org/abs/1308.0850. As in PyTorch, eps is added to the root, and momentum gathers the quotients, before lr.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        alpha: the part of the running mean that stays at each step.
        eps: keeps a parameter whose gradients are 0 from being divided by 0.
        weight_decay: adds weight_decay · p to the gradient: a penalty of weight_decay / 2 · |p|².
        momentum: the part of its velocity that a parameter keeps.
        centered: divide by the root of the variance of the gradients, s minus the square of their mean. Where rounding makes
            it negative, it is 0.
        maximize: go up instead of down.

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
        """Numbers of 0 or more, and an alpha of at most 1."""
        self._number(group, "lr", "alpha", "eps", "weight_decay", "momentum")
        self._flag(group, "centered", "maximize")
        if group["alpha"] > 1:
            raise ValueError(f"RMSprop: alpha must be at most 1, got {group['alpha']}")

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The steps, the mean of squares, and the velocity and the mean of gradients where there are such."""
        velocity = {"momentum_buffer"} if group["momentum"] else set()
        return {"step", "square_avg"} | velocity | ({"grad_avg"} if group["centered"] else set())

    def prepared(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The mean of squares, and the mean of gradients and the velocity where there are such."""
        state["step"] = state.get("step", 0) + 1
        alpha, momentum = float(group["alpha"]), float(group["momentum"])
        square = _remembered(state, p, "square_avg")
        mean = _remembered(state, p, "grad_avg") if group["centered"] else None
        velocity = _remembered(state, p, "momentum_buffer") if momentum else None
        settings = float(group["lr"]), alpha, 1 - alpha, float(group["eps"]), momentum, float(group["weight_decay"])
        return (square, mean, velocity), (*settings, bool(group["maximize"]))

    def plain(
        self,
        arrays: tuple[Any, ...],
        lr: float,
        alpha: float,
        rest: float,
        eps: float,
        momentum: float,
        decay: float,
        maximize: bool,
    ) -> None:
        """See the class."""
        xp = array_module(arrays[0])
        for p, g, square, mean, velocity in blocks(*arrays):
            g, work = _descent(p, g, decay, maximize), xp.empty_like(p)
            _running_mean(square, xp.multiply(g, g, out=work), alpha, rest, work)
            if mean is None:
                xp.sqrt(square, out=work)
            else:
                _running_mean(mean, g, alpha, rest, work)
                xp.subtract(square, xp.multiply(mean, mean, out=work), out=work)
                xp.sqrt(xp.maximum(work, 0, out=work), out=work)
            work += eps
            xp.divide(g, work, out=work)
            if velocity is not None:
                velocity *= momentum
                velocity += work
            p -= xp.multiply(work if velocity is None else velocity, lr, out=work)


class Adagrad(Rule):
    """Gradients over the root of the sum of all their squares so far: p ← p − lr · g / (√s + eps), where s ← s + g².

    What seldom has a gradient takes large steps still. Duchi, Hazan & Singer 2011, "Adaptive subgradient methods for online
    learning and stochastic optimization", section 1.1, diagonal matrices.

    Args:
        params: tensors, or dicts of groups.
        lr: the learning rate.
        lr_decay: in step t, counted from 0, the learning rate is lr / (1 + t · lr_decay).
        weight_decay: adds weight_decay · p to the gradient: a penalty of weight_decay / 2 · |p|².
        initial_accumulator_value: the sum of squares to start from.
        eps: keeps a parameter whose gradients are 0 from being divided by 0.
        maximize: go up instead of down.

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
        """Numbers of 0 or more."""
        self._number(group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
        self._flag(group, "maximize")

    def prepared(self, p: Array, state: dict[str, Any], group: dict[str, Any]) -> tuple[Any, Any]:
        """The sum of squares, and the learning rate of this step."""
        squares = _remembered(state, p, "sum", group["initial_accumulator_value"])
        step = state["step"] = state.get("step", 0) + 1
        rate = group["lr"] / (1.0 + (step - 1) * group["lr_decay"])
        return (squares,), (rate, float(group["eps"]), float(group["weight_decay"]), bool(group["maximize"]))

    def plain(self, arrays: tuple[Any, ...], rate: float, eps: float, decay: float, maximize: bool) -> None:
        """See the class."""
        xp = array_module(arrays[0])
        for p, g, squares in blocks(*arrays):
            g, work = _descent(p, g, decay, maximize), xp.empty_like(p)
            squares += xp.multiply(g, g, out=work)
            xp.sqrt(squares, out=work)
            work += eps
            xp.divide(g, work, out=work)
            work *= rate
            p -= work


def _remembered(state: dict[str, Any], p: Array, name: str, start: float = 0.0) -> Array:
    """An array of the state, which is full of `start` before it is first asked for."""
    if name not in state:
        state[name] = array_module(p).full_like(p, start)
    return state[name]


def _descent(p: Array, g: Array, decay: float, maximize: bool) -> Array:
    """The gradient of what is to become small: negated to maximise, and with that of the weights' penalty."""
    if not decay:
        return -g if maximize else g
    xp = array_module(p)
    combined = xp.multiply(p, decay, out=xp.empty_like(p))
    return (xp.subtract if maximize else xp.add)(combined, g, out=combined)


def _running_mean(mean: Array, values: Array, beta: float, rest: float, work: Array) -> None:
    """mean ← beta · mean + rest · values, by way of an array to work in; rest is 1 − beta. (Not mean + rest · (values − mean),
    which loses small values that follow large ones if beta is small.)
    """
    mean *= beta
    mean += array_module(mean).multiply(values, rest, out=work)
