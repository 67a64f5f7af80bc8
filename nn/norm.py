"""Batch normalisation: each channel brought to mean 0 and variance 1, then to a scale and a mean that are learned."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from microtensor.arguments import check_tensors
from microtensor.backend import Array, array_module
from microtensor.gradient import partials
from microtensor.graph import T, mode
from microtensor.nn.module import Buffer, Module, Parameter
from microtensor.op import Rule, op
from microtensor.tensor import Tensor


def batch_norm(
    x: T,
    running_mean: T | None,
    running_var: T | None,
    weight: T | None = None,
    bias: T | None = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> T:
    """weight · (x − mean) / √(var + eps) + bias, channel by channel: (N, C, …) → (N, C, …), all else of shape (C,).

    Ioffe & Szegedy 2015, algorithm 1, arxiv.org/abs/1502.03167. While training, mean and (biased) variance are those of the
    channel over batch and positions, and the running ones, if given, follow them in place; otherwise they are the running ones,
    and what is left is a scale and a shift per channel.

    Args:
        running_mean, running_var: running += momentum · (batch's − running), where the batch's variance is the unbiased one,
            over n − 1.
        weight, bias: the scale and the shift; 1 and 0 if None.
        eps: keeps a channel that does not vary from being divided by 0.

    Raises:
        TypeError: the tensors do not share one floating-point dtype.
        ValueError: shapes that do not fit; training on one value per channel, whose variance says nothing; not training, and no
            running statistics.

    >>> x = Tensor([[1.0], [3.0]])
    >>> batch_norm(x, None, None, training=True, eps=0.0)
    Tensor([[-1.],
            [ 1.]])
    """
    given = check_tensors("batch_norm", 1, x=x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    x, running_mean, running_var, weight, bias = given
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x must have axes (N, C, …), got shape {x.shape}")
    for name, vector in zip(("running_mean", "running_var", "weight", "bias"), given[1:]):
        if vector is not None and vector.shape != (x.shape[1],):
            raise ValueError(f"batch_norm: x {x.shape} has {x.shape[1]} channels, but {name} has shape {vector.shape}")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: without running statistics it can only normalise by the batch's: training=True")
        mean, variance, *_ = given[1:]
        scale = (1 if weight is None else weight) / (variance + eps).sqrt()
        return _affine(x, scale, (0 if bias is None else bias) - mean * scale)
    if x.data.size <= x.shape[1]:
        raise ValueError(
            f"batch_norm: x {x.shape} has {x.data.size // max(x.shape[1], 1)} values per channel, and a variance needs two; "
            "train on larger batches, or call eval()"
        )
    return _batch_norm(x, weight, bias, running=(running_mean, running_var), momentum=momentum, eps=eps)


# One rule rather than `_composed`, which takes four to nine times as long, and of all its results keeps x alone.
@op
def _batch_norm(x: Any, weight: Any = None, bias: Any = None, *, running: Any, momentum: Any, eps: float) -> Rule[T]:
    count = x.data.size // x.shape[1]
    data = x.xp.empty(x.shape, x.dtype)
    y = _rows(data)
    mean = _sum(_rows(x.data), x) / count
    x.xp.subtract(_rows(x.data), _row(mean, x), out=y)
    var = _dot(y, y, x) / count
    inverse = 1 / x.xp.sqrt(var + eps)
    scale = inverse if weight is None else inverse * weight.data
    y *= _row(scale, x)
    if bias is not None:
        y += _row(bias.data, x)

    for follower, value in zip(running, (mean, var * (count / (count - 1)))):
        if follower is not None:
            follower.data += momentum * (value - follower.data)

    composed = _composed(eps)
    sums: list[Any] = []

    def sums_of(g: Any, centred: Array | None = None) -> list[Any]:
        """Σ g and Σ g · (x − mean) of each channel: the gradients of weight and bias are these, and x's contains them."""
        if not sums or sums[0]() is not g:
            centred = _rows(x.data) - _row(mean, x) if centred is None else centred
            sums[:] = weakref.ref(g), _sum(_rows(g.data), x), _dot(_rows(g.data), centred, x)
        return sums[1:]

    def for_x(g: Any) -> Any:
        """scale · (g − mean of g − x̂ · mean of g · x̂), where x̂ = (x − mean) · inverse."""
        if mode.recording:
            return partials(composed, (x, weight), g)[0]
        back = x.xp.empty(x.shape, x.dtype)
        dx = _rows(back)
        x.xp.subtract(_rows(x.data), _row(mean, x), out=dx)
        total, product = sums_of(g, dx)
        dx *= _row(-inverse * inverse * product / count, x)
        dx += _rows(g.data)
        dx -= _row(total / count, x)
        dx *= _row(inverse if weight is None else inverse * weight.data, x)
        return x.constant(back)

    def for_weight(g: Any) -> Any:
        if mode.recording:
            return partials(composed, (x, weight), g)[1]
        return x.constant(inverse * sums_of(g)[1])

    def for_bias(g: Any) -> Any:
        return _total(g) if mode.recording else x.constant(sums_of(g)[0].copy())

    return data, (for_x, for_weight, for_bias)


def _composed(eps: float) -> Any:
    """What `_batch_norm` computes, but for the bias, composed of generic operations: higher derivatives come from it."""

    def function(x: Any, weight: Any) -> Any:
        dims = (0, *range(2, x.ndim))
        centred = x - x.mean(dims, keepdim=True)
        y = centred / ((centred * centred).mean(dims, keepdim=True) + eps).sqrt()
        return y if weight is None else y * weight.reshape((-1,) + (1,) * (x.ndim - 2))

    return function


@op
def _affine(x: Any, scale: Any, shift: Any = None) -> Rule[T]:
    """scale · x + shift, channel by channel: x (N, C, …), scale and shift (C,) → (N, C, …)."""
    data = x.xp.empty(x.shape, x.dtype)
    y = _rows(data)
    x.xp.multiply(_rows(x.data), _row(scale.data, x), out=y)
    if shift is not None:
        y += _row(shift.data, x)
    return data, (lambda g: _affine(g, scale, None), lambda g: _total(g * x), _total)


def _total(x: Any) -> Any:
    """(N, C, …) → (C,): the sum of each channel."""
    return x.sum(0).reshape((x.shape[1], -1)).sum(1)


# An image of all channels is one row of numbers, (N, C · positions), and what is known per channel is spread over such a row:
# so each pass over the data is one long loop, however small the images are. At 4×4 pixels that is five times as fast.


def _rows(data: Array) -> Array:
    return data.reshape(data.shape[0], math.prod(data.shape[1:]))


def _row(values: Array, x: Any) -> Array:
    """(C,) → (C · positions,), each value repeated at every position."""
    return x.xp.repeat(values, math.prod(x.shape[2:]))


def _sum(rows: Array, x: Any) -> Array:
    """(N, C · positions) → (C,): the sum of each channel."""
    return rows.sum(0).reshape(x.shape[1], -1).sum(1)


def _dot(a: Array, b: Array, x: Any) -> Array:
    """(N, C · positions) twice → (C,): the sum of the products of each channel."""
    return array_module(a).einsum("ni,ni->i", a, b).reshape(x.shape[1], -1).sum(1)


class BatchNorm2d(Module):
    """`batch_norm` of images, with scale and shift that learn and statistics that it keeps: (N, C, H, W) → (N, C, H, W).

    While training it normalises by the batch's statistics, and the running ones follow; after `eval()` by the running ones.
    `weight` starts at 1 and `bias` at 0, `running_mean` at 0 and `running_var` at 1; `num_batches_tracked` counts the batches.

    Args:
        num_features: the number of channels C.
        eps: keeps a channel that does not vary from being divided by 0.
        momentum: the part of the batch's statistics in the running ones; None takes the mean over all batches so far.
        affine: whether there is a scale and a shift to learn; without, `weight` and `bias` are None.
        track_running_stats: whether there are running statistics; without, the batch's are used always.

    Raises:
        ValueError: num_features is less than 1.

    >>> norm = BatchNorm2d(16)
    >>> norm(Tensor(np.ones((2, 16, 4, 4), np.float32))).shape
    (2, 16, 4, 4)
    >>> [*norm.state_dict()]
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        if not isinstance(num_features, (int, np.integer)) or num_features < 1:
            raise ValueError(f"BatchNorm2d: num_features must be a whole number of 1 or more, got {num_features!r}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if track_running_stats else None

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) → the same shape.

        Raises:
            ValueError: x has other axes or another number of channels; training on one value per channel.
        """
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ValueError(f"BatchNorm2d: expected images (N, {self.num_features}, H, W), got shape {x.shape}")
        momentum: Any = self.momentum
        if self.training and self.num_batches_tracked is not None and x.data.size > x.shape[1]:
            self.num_batches_tracked.data += 1
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.data
        batch = self.training or self.running_mean is None
        mean: Any = self.running_mean
        return batch_norm(x, mean, self.running_var, self.weight, self.bias, batch, momentum, self.eps)

    def extra_repr(self) -> str:
        """The settings."""
        settings = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        return f"{settings}, affine={self.affine}, track_running_stats={self.track_running_stats}"
