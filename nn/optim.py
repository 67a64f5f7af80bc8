"""Optimisers: how parameters follow their gradients, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from microtensor.backend import Array, array_module, is_array, to_device
from microtensor.graph import Node
from microtensor.nn.module import Module
from microtensor.tensor import Tensor


class Optimizer:
    """What optimisers share: parameters in groups, each with its settings, and a memory for each parameter.

    An optimiser is a constructor that names the settings, `check` for their values, and `update`: the rule for one parameter,
    on arrays and in place.

    Args:
        params: tensors, or dicts of a group's tensors under "params" and the settings that are the group's own.
        defaults: the settings of groups that do not give their own.

    Attributes:
        param_groups: one dict per group: "params" and every setting. Assign to a setting to change it: `group["lr"] = 0.01`.
        state: what the optimiser remembers of each parameter.

    Raises:
        TypeError: `params` holds something that is no tensor, or a setting is no number.
        ValueError: there are no parameters; one is given twice, or computed from others; a setting is unknown or out of range.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Node, Module, Mapping, str)) or not isinstance(params, Iterable):
            hint = "; pass model.parameters()" if isinstance(params, Module) else "; put it in a list"
            raise TypeError(f"{self._name}: expected a sequence of Tensors or of groups, got {type(params).__name__}{hint}")
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Any, dict[str, Any]] = {}
        given = list(params)
        if not given:
            raise ValueError(f"{self._name}: there are no parameters; model.parameters() found none, or was used up before")
        for group in given if isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take in further parameters: {"params": tensors, settings that differ from the defaults}."""
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f'{self._name}: a group is a dict with "params" and settings, got {group!r}')
        params = [group["params"]] if isinstance(group["params"], Node) else list(group["params"])
        if unknown := group.keys() - self.defaults.keys() - {"params"}:
            known = ", ".join(self.defaults)
            raise ValueError(f"{self._name}: unknown setting {', '.join(sorted(unknown))}; a group may set {known}")
        seen = {id(p) for other in self.param_groups for p in other["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Node):
                raise TypeError(f"{self._name}: parameter {i} must be a Tensor, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"{self._name}: parameter {i} {p.shape} is computed from others, and only they can be learned")
            if id(p) in seen:
                raise ValueError(f"{self._name}: parameter {i} {p.shape} is given twice, and would be updated twice")
            seen.add(id(p))
        complete = {"params": params, **self.defaults, **{key: group[key] for key in group if key != "params"}}
        self.check(complete)
        self.param_groups.append(complete)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradient of every parameter: `grad` becomes None, or with `set_to_none=False` zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none or p.grad is None else p.grad.detach() * 0

    def step(self) -> None:
        """Move every parameter that has a gradient one step, in place.

        Raises:
            ValueError: a gradient does not have the shape of its parameter.
        """
        for group in self.param_groups:
            settings = {key: value.item() if isinstance(value, np.generic) else value for key, value in group.items()}
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.shape != p.shape:
                    raise ValueError(f"{self._name}: a parameter {p.shape} has a gradient of another shape, {p.grad.shape}")
                data = p.data
                self.update(data, p.grad.data, self.state.setdefault(p, {}), settings)
                p.data = data  # the same memory; assigning counts the change

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings that mean nothing."""
        raise NotImplementedError(f"{self._name}: define check(self, group)")

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change the parameter `p` in place, given its gradient `g`, which stays as it is.

        Args:
            state: what is remembered of this parameter: empty at first. Arrays in it have the shape of `p`.
            group: the settings.
        """
        raise NotImplementedError(f"{self._name}: define update(self, p, g, state, group)")

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The names of what `update` keeps in the state of a parameter, under these settings."""
        raise NotImplementedError(f"{self._name}: define remembers(self, group)")

    def _number(self, group: Mapping[str, Any], key: str, below: float = math.inf) -> None:
        value = group[key]
        if not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"{self._name}: {key} must be a number, got {type(value).__name__}")
        if not 0 <= value < below:
            bound = "" if below == math.inf else f" and less than {below}"
            raise ValueError(f"{self._name}: {key} must be at least 0{bound}, got {value}")

    # Saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Memory and settings, in PyTorch's form: parameters are numbered through all groups. Arrays are not copied."""
        numbers = {p: i for i, p in enumerate(self._all())}
        return {
            "state": {
                numbers[p]: {key: Tensor(v) if is_array(v) else v for key, v in state.items()}
                for p, state in self.state.items()
            },
            "param_groups": [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where the optimiser of `state_dict` stood: its memory, copied, and its settings.

        Raises:
            TypeError: it is no dict with "state" and "param_groups", or a setting is of the wrong kind.
            ValueError: its groups do not have as many parameters as these, or not of the same shapes; it remembers other
                things than this optimiser does; a setting is out of range. Nothing is changed then.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
            raise TypeError(f'{self._name}: expected a dict with "state" and "param_groups", as state_dict() gives it')
        saved, params = state_dict["param_groups"], self._all()
        sizes, own = ([len(group["params"]) for group in groups] for groups in (saved, self.param_groups))
        if sizes != own:
            raise ValueError(f"{self._name}: the state has groups of {sizes} parameters, this optimiser of {own}")
        settings = [
            {key: loaded.get(key, value) for key, value in group.items() if key != "params"}
            for group, loaded in zip(self.param_groups, saved)
        ]
        for group in settings:
            self.check(group)
        group_of = [group for group, count in zip(settings, own) for _ in range(count)]
        state: dict[Any, dict[str, Any]] = {}
        for number, memory in state_dict["state"].items():
            if not 0 <= int(number) < len(params):
                raise ValueError(f"{self._name}: the state is of a parameter {number}, but there are {len(params)}")
            p, needed = params[int(number)], self.remembers(group_of[int(number)])
            kept = {key: value for key, value in memory.items() if value is not None}
            if kept and kept.keys() != needed:
                raise ValueError(f"{self._name}: the state remembers {sorted(kept)}, this optimiser {sorted(needed)}")
            state[p] = {key: self._restored(p, key, value) for key, value in kept.items()}
        self.state = state
        for group, loaded in zip(self.param_groups, settings):
            group.update(loaded)

    def _restored(self, p: Node, key: str, value: Any) -> Any:
        if key == "step":
            return int(value)
        data = value.data if isinstance(value, Node) else value if is_array(value) else np.asarray(value)  # PyTorch's too
        if data.shape != p.shape:
            raise ValueError(f"{self._name}: {key} of the state has shape {data.shape}, its parameter {p.shape}")
        return to_device(data, p.device).astype(p.dtype)

    def _all(self) -> list[Node]:
        return [p for group in self.param_groups for p in group["params"]]


class SGD(Optimizer):
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

    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p
    Tensor([0.8], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "nesterov": nesterov, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        """Numbers of 0 or more; Nesterov's momentum is one, and is not dampened."""
        for key in ("lr", "momentum", "weight_decay"):
            self._number(group, key)
        if group["nesterov"] and not (group["momentum"] > 0 and group["dampening"] == 0):
            raise ValueError(
                f"SGD: nesterov needs a momentum above 0 and no dampening, "
                f"got momentum {group['momentum']} and dampening {group['dampening']}"
            )

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The velocity, if there is momentum."""
        return {"momentum_buffer"} if group["momentum"] else set()

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """See the class."""
        g, momentum = _descent(p, g, group), group["momentum"]
        if momentum:
            if not state:
                velocity = state["momentum_buffer"] = array_module(p).array(g)
            else:
                velocity = state["momentum_buffer"]
                velocity *= momentum
                velocity += (1 - group["dampening"]) * g if group["dampening"] else g
            g = g + momentum * velocity if group["nesterov"] else velocity
        p -= group["lr"] * g


class Adam(Optimizer):
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

    >>> p = Tensor([1.0], requires_grad=True)
    >>> optimizer = Adam([p], lr=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 6)
    0.5
    """

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
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "amsgrad": amsgrad, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        """Numbers of 0 or more, and betas less than 1."""
        for key in ("lr", "eps", "weight_decay"):
            self._number(group, key)
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"Adam: betas must be a pair of numbers, got {betas!r}")
        for i, beta in enumerate(betas):
            self._number({f"betas[{i}]": beta}, f"betas[{i}]", below=1)

    def remembers(self, group: Mapping[str, Any]) -> set[str]:
        """The steps, and the means of gradients and of their squares."""
        return {"step", "exp_avg", "exp_avg_sq"} | ({"max_exp_avg_sq"} if group["amsgrad"] else set())

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """See the class."""
        xp = array_module(p)
        beta1, beta2 = group["betas"]
        if not state:
            names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if group["amsgrad"] else 2]
            state.update(step=0, **{name: xp.zeros_like(p) for name in names})
        state["step"] += 1
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        g = _descent(p, g, group)

        work = xp.empty_like(p)  # written to again and again: with fresh arrays a million numbers take four times as long
        xp.subtract(g, mean, out=work)
        work *= 1 - beta1
        mean += work
        xp.multiply(g, g, out=work)
        work *= 1 - beta2
        square *= beta2
        square += work

        if group["amsgrad"]:
            square = xp.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
        xp.sqrt(square, out=work)
        work /= math.sqrt(1 - beta2 ** state["step"])
        work += group["eps"]
        xp.divide(mean, work, out=work)
        work *= group["lr"] / (1 - beta1 ** state["step"])
        p -= work


def _descent(p: Array, g: Array, group: dict[str, Any]) -> Array:
    """The gradient of what is to become small: negated to maximise, and with that of the weights' penalty."""
    if group["maximize"]:
        g = -g
    return g + group["weight_decay"] * p if group["weight_decay"] else g
