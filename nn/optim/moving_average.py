"""An exponential moving average (EMA) of the weights, which often predicts better than the last weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.graph import Node
from microtensor.ops.indexing import refuse_read_only
from microtensor.runtime.arrays import Array, array_module, device_of, follow, is_array, to_device
from microtensor.runtime.cuda.kernels import Kernels
from microtensor.runtime.cuda.multi_tensor import fit, launch
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from ..module import Module
from .optimizer import blocks, listed

kernels = Kernels(__file__, "moving_average.cu")


class ExponentialMovingAverage:
    """A moving average of a model's weights: average ← decay · average + (1 − decay) · weights, at each `update()`.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; exponential as in Szegedy et al. 2015,
    section 8, arxiv.org/abs/1512.00567. It starts as a copy of the weights, and covers about the last 1 / (1 − decay) updates.

    Buffers are copied at each update, not averaged: the running statistics of batch normalisation are averages already, and
    counters must stay integers. The average moves to the device and dtype of the weights.

    Args:
        model: a Module; or its parameters, a sequence of tensors, without any buffers.
        decay: the factor of the average at each update, at least 0 and less than 1.
        warmup: use at most (1 + n) / (10 + n) as the decay of the n-th update, so that the initial weights lose their influence
            soon: for training of fewer than about 1 / (1 − decay) updates.

    Attributes:
        average: the averaged weights, and the buffers: Tensors, under the names of `model.state_dict()`, or "0", "1" …

    Raises:
        TypeError: `model` is neither a Module nor a sequence of tensors; a setting has the wrong type.
        ValueError: there are no parameters; `decay` is out of range.

    >>> from microtensor import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = ExponentialMovingAverage(model, decay=0.75)
    >>> start = model.weight.item()
    >>> model.weight.array += 1
    >>> average.update()
    >>> with average.applied():
    ...     round(model.weight.item() - start, 6)
    0.25
    >>> round(model.weight.item() - start, 6)
    1.0
    """

    def __init__(self, model: Module | Iterable[Tensor], decay: float = 0.999, warmup: bool = False) -> None:
        _check_settings(decay, warmup)
        self.decay, self.warmup = float(decay), warmup
        self._parameters, self._buffers = _named(model)
        self._applied = False
        self.begin()

    def begin(self) -> None:
        """Start again, with a copy of the present weights.

        Raises:
            RuntimeError: inside `applied()`.
        """
        self._refuse_inside("begin")
        self.updates = 0
        self.average = {name: tensor.detach().clone() for name, tensor in self._tensors()}

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        yield from self._parameters.items()
        yield from self._buffers.items()

    def __repr__(self) -> str:
        warm = ", warmup=True" if self.warmup else ""
        return f"{type(self).__name__}({len(self.average)} tensors, decay={self.decay}{warm}, updates={self.updates})"

    def follows(self, model: Module) -> bool:
        """Whether this is the average of a parameter of the model."""
        own = {id(p) for p in model.parameters()}
        return any(id(p) in own for p in self._parameters.values())

    def update(self) -> None:
        """Update the average in place: call it after each step of the optimizer.

        Raises:
            RuntimeError: inside `applied()`, where the weights of the model are the average.
        """
        self._refuse_inside("update")
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        weights = [(parameter.array, self._average_of(name, parameter.array)) for name, parameter in self._parameters.items()]
        buffers = [(buffer.array, self._average_of(name, buffer.array)) for name, buffer in self._buffers.items()]
        for data, average in weights:
            if not fit((data, average)):
                _update_average(data, average, 1 - decay)
        for data, average in buffers:
            if not fit((data, average)):
                follow(data)
                average[...] = data
        launch(kernels, "update_average", (row for row in weights if fit(row)), 1 - decay)  # on a GPU, in one launch
        launch(kernels, "copy", (row for row in buffers if fit(row)))
        for name in self.average:
            self.average[name].touch()

    def _average_of(self, name: str, data: Array) -> Array:
        """The array of the average of a tensor, moved to the device and dtype of its array `data`."""
        average = self.average[name]
        if average.shape != data.shape:
            raise ValueError(
                f"ExponentialMovingAverage: {name} is {data.shape} now, and was {average.shape}; create another average"
            )
        if average.dtype != data.dtype or average.device != device_of(data):
            average.array = to_device(average.array, device_of(data)).astype(data.dtype, copy=False)
        follow(data)
        return average.array

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the `with`, the model has the averaged weights and buffers, to evaluate or save it; afterwards its own.

        Arrays are exchanged, not copied, and exchanged back also after an error. A state_dict taken inside shares memory with
        the average, so save it before the next update. Training inside would train the average.

        Raises:
            RuntimeError: inside another `applied()`.
        """
        self._refuse_inside("applied")
        for name, tensor in self._tensors():
            self._average_of(name, tensor.array)
        self._exchange()
        self._applied = True
        try:
            yield
        finally:
            self._applied = False
            self._exchange()

    def _exchange(self) -> None:
        for name, tensor in self._tensors():
            average = self.average[name]
            tensor.array, average.array = average.array, tensor.array

    def _refuse_inside(self, what: str) -> None:
        if self._applied:
            raise RuntimeError(f"ExponentialMovingAverage: {what}() inside `with applied():`; leave it first")

    def copy_to(self, model: Module | Iterable[Tensor] | None = None) -> None:
        """Copy the averaged weights and buffers into the model, or into another one with the same names.

        Raises:
            TypeError, ValueError: `model` is of the wrong type, or its names or shapes differ. Nothing is copied then.
            RuntimeError: inside `applied()`.
        """
        self._refuse_inside("copy_to")
        own = dict(self._tensors())
        if model is not None:
            parameters, buffers = _named(model)
            own = {**parameters, **buffers}
        self._check("copy_to: the model", own)
        for name, tensor in own.items():
            refuse_read_only("copy_to", tensor, name, "p.array = p.array.copy()")
            data, mean = tensor.array, to_device(self.average[name].array, device_of(tensor.array))
            follow(data)
            data[...] = mean.astype(data.dtype, copy=False)
            tensor.touch()

    def state_dict(self) -> dict[str, Any]:
        """The average by name, the settings and the number of updates. Arrays are not copied.

        Raises:
            RuntimeError: inside `applied()`.
        """
        self._refuse_inside("state_dict")
        average = {name: tensor.detach() for name, tensor in self.average.items()}
        return {"decay": self.decay, "warmup": self.warmup, "updates": self.updates, "average": average}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a `state_dict()`: the weights, copied, and the settings.

        Raises:
            TypeError: it is no such dict, or has a value that is neither a tensor nor an array.
            ValueError: names or shapes differ from those of this average. Nothing is changed then.
            RuntimeError: inside `applied()`.
        """
        self._refuse_inside("load_state_dict")
        keys = ("decay", "warmup", "updates", "average")
        if (
            not isinstance(state_dict, Mapping)
            or state_dict.keys() != {*keys}
            or not isinstance(state_dict["average"], Mapping)
        ):
            raise TypeError(f"ExponentialMovingAverage: expected a dict with {', '.join(keys)}, as state_dict() gives it")
        given = state_dict["average"]
        for name, value in given.items():
            if not (isinstance(value, (Node, np.generic)) or is_array(value)):
                raise TypeError(f"ExponentialMovingAverage: {name} must be a Tensor or an array, got {type(value).__name__}")
        self._check("load_state_dict: the state", given)
        _check_settings(state_dict["decay"], state_dict["warmup"])
        as_integer("ExponentialMovingAverage", "updates", state_dict["updates"], least=0)
        self.decay, self.warmup = float(state_dict["decay"]), state_dict["warmup"]
        self.updates = int(state_dict["updates"])
        for name, average in self.average.items():
            average[...] = to_device(Tensor(given[name]).array.astype(average.dtype, copy=False), average.device)

    def _check(self, what: str, given: Mapping[str, Any]) -> None:
        """Check that these have the names and the shapes of the average."""
        missing, unexpected = [n for n in self.average if n not in given], [n for n in given if n not in self.average]
        unlike = [
            f"{name} {given[name].shape} for {average.shape}"
            for name, average in self.average.items()
            if name in given and given[name].shape != average.shape
        ]
        problems = {"missing": missing, "unexpected": unexpected, "of another shape": unlike}
        if any(problems.values()):
            listing = "; ".join(f"{key}: {', '.join(names)}" for key, names in problems.items() if names)
            raise ValueError(f"ExponentialMovingAverage: {what} does not fit: {listing}")


def _update_average(data: Array, average: Array, rest: float) -> None:
    """average ← average + rest · (data − average), in place."""
    follow(data)
    xp = array_module(data)
    for p, mean in blocks(data, average):
        work = xp.subtract(p, mean, out=xp.empty_like(p))
        work *= rest
        mean += work


def _check_settings(decay: Any, warmup: Any) -> None:
    if not is_number(decay):
        raise TypeError(f"ExponentialMovingAverage: decay must be a number, got {decay!r} ({type(decay).__name__})")
    if not 0 <= decay < 1:
        raise ValueError(f"ExponentialMovingAverage: decay must be at least 0 and less than 1, got {decay}")
    if not isinstance(warmup, bool):
        raise TypeError(f"ExponentialMovingAverage: warmup must be True or False, got {warmup!r}")


def _named(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of a model by name, without duplicates."""
    parameters: dict[str, Any]
    buffers: dict[str, Any] = {}
    if isinstance(model, Module):
        parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    elif isinstance(model, Node) or not isinstance(model, Iterable):
        raise TypeError(f"ExponentialMovingAverage: expected a Module or a sequence of Tensors, got {type(model).__name__}")
    else:
        parameters = {}
        for i, tensor in enumerate(listed("ExponentialMovingAverage", model)):
            if not isinstance(tensor, Node):
                raise TypeError(f"ExponentialMovingAverage: parameter {i} must be a Tensor, got {type(tensor).__name__}")
            parameters[str(i)] = tensor
    if not parameters:
        raise ValueError("ExponentialMovingAverage: there are no parameters to average")
    return parameters, buffers
