"""Batch normalisation: each channel is normalised to mean 0 and variance 1, then scaled and shifted by learned vectors.

Normalisation within each sample is in layer_norm.py and group_norm.py.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import check_tensors, is_number
from microtensor.autograd.autocast import at_least_float32
from microtensor.autograd.broadcasting import check_devices
from microtensor.autograd.graph import Node, T
from microtensor.autograd.op import Rule, op
from microtensor.ops.reduce import wide
from microtensor.runtime.arrays import Array, is_array
from microtensor.runtime.cuda.kernels import usable
from microtensor.runtime.integers import is_integer
from microtensor.runtime.sizes import check_size
from microtensor.tensor import Tensor

from ..module import Buffer, Module, Parameter
from . import batch_norm_arrays, batch_norm_kernels
from .batch_norm_arrays import as_rows, scaled
from .channels import channel_products, channel_sums


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
    """weight · (x − mean) / √(var + eps) + bias, channel by channel: x (N, C, …) → the same shape, all else (C,).

    Ioffe & Szegedy 2015, algorithm 1, arxiv.org/abs/1502.03167. While training, mean and (biased) variance are those of the
    channel over batch and positions, and update the running ones, if given, in place; otherwise they are the running ones, so
    that it is a scale and a shift per channel. Sums of float16 are computed in float32; beside an x of float16 all else may be
    float32, as under autocast.

    Args:
        running_mean, running_var: running += momentum · (batch's − running), with the unbiased variance of the batch, over
            n − 1.
        weight, bias: the scale and the shift; 1 and 0 if None.
        eps: avoids division by 0 where a channel does not vary: the result is the bias there, or nan if eps is 0.

    An empty batch gives an empty result, and leaves the running statistics unchanged.

    Raises:
        TypeError: the tensors do not share one floating-point dtype, nor is x float16 and all else float32; eps or momentum is
            no number.
        ValueError: shapes that do not fit; training on one value per channel, whose variance says nothing; not training, and no
            running statistics; eps is negative.

    >>> x = Tensor([[1.0], [3.0]])
    >>> batch_norm(x, None, None, training=True, eps=0.0)
    Tensor([[-1.],
            [ 1.]])
    """
    check_eps("batch_norm", eps)
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    given = _checked("batch_norm", x, vectors)
    check_channels("batch_norm", given[0], given[1:])
    x, running_mean, running_var, weight, bias = given
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: without running statistics it can only normalise by the batch's: training=True")
        mean, variance, *_ = given[1:]
        if mean.requires_grad or variance.requires_grad:
            return _by_known_statistics(x, weight, bias, mean=mean, variance=variance, eps=eps)
        return _normalise_by(x, weight, bias, mean=mean, variance=variance, eps=eps)
    if not x.array.size:
        return of_nothing(x, weight, bias)
    if x.array.size == x.shape[1]:
        raise ValueError(
            f"batch_norm: x {x.shape} has one value per channel, and a variance needs two; "
            "train on larger batches (drop_last=True leaves out a last one that is small), or call eval()"
        )
    check_momentum("batch_norm", momentum, running_mean, running_var)
    return _batch_norm(x, weight, bias, running=(running_mean, running_var), momentum=momentum, eps=eps)


# The formula first, then the fast way: one rule takes a fourth to a ninth of the composition's time, and keeps only x. By array
# calls: batch_norm_arrays.py; on a GPU, by four kernels: batch_norm_kernels.py.


def _by_batch_statistics(x: Any, weight: Any = None, bias: Any = None, *, running: Any, momentum: Any, eps: float) -> Any:
    """γ · (x − μ) / √(σ² + ε) + β, with mean μ and variance σ² of each channel: Ioffe & Szegedy 2015, algorithm 1."""
    dims, values = (0, *range(2, x.ndim)), wide(x)
    centred = values - values.mean(dims, keepdim=True)
    variance = (centred * centred).mean(dims, keepdim=True)
    return _scale_and_shift(centred / (variance + eps).sqrt(), weight, bias).to(x.dtype)


@op(meaning=_by_batch_statistics)
def _batch_norm(x: Any, weight: Any = None, bias: Any = None, *, running: Any, momentum: Any, eps: float) -> Rule[T]:
    normalised = batch_norm_kernels.normalised if usable(x.array) else batch_norm_arrays.normalised
    data, grad_input, grad_weight, grad_bias = normalised(x, weight, bias, running, momentum, eps)
    learned = _dtype_of_vectors(x, weight, bias)
    return data.astype(x.dtype, copy=False), (
        lambda g: x.constant(grad_input(g).astype(x.dtype, copy=False)),
        lambda g: x.constant(grad_weight(g).astype(learned, copy=False)),
        lambda g: x.constant(grad_bias(g).astype(learned, copy=False)),
    )


def _by_known_statistics(x: Any, weight: Any = None, bias: Any = None, *, mean: Any, variance: Any, eps: float) -> Any:
    """γ · (x − μ) / √(σ² + ε) + β, with μ and σ² that are given: Ioffe & Szegedy 2015, algorithm 2, step 11."""
    scale = (1 if weight is None else weight) / (variance + eps).sqrt()
    return _affine(x, scale, (0 if bias is None else bias) - mean * scale)


@op(meaning=_by_known_statistics)
def _normalise_by(x: Any, weight: Any = None, bias: Any = None, *, mean: Any, variance: Any, eps: float) -> Rule[T]:
    """`_by_known_statistics` as one rule, in which mean and variance are constants."""
    learned = _dtype_of_vectors(x, weight, bias)

    def scale() -> Array:
        inverse = 1 / x.xp.sqrt(at_least_float32(variance.array) + eps)
        return inverse if weight is None else inverse * weight.array

    def for_x(g: Any) -> Any:
        if usable(g.array):
            return g.constant(batch_norm_kernels.normalised_by(g.array, None, variance, weight, None, eps))
        return g.constant(scaled(g.array, scale()))

    def for_weight(g: Any) -> Any:
        if usable(g.array):
            product, _ = batch_norm_kernels.summed(g.array, x.array, mean, variance, eps)
            return g.constant(product.astype(learned, copy=False))
        rows, channels = as_rows(g.array), x.shape[1]
        product = channel_products(rows, as_rows(x.array), channels) - mean.array * channel_sums(rows, channels)
        return g.constant((product / x.xp.sqrt(at_least_float32(variance.array) + eps)).astype(learned, copy=False))

    if usable(x.array):
        data = batch_norm_kernels.normalised_by(x.array, mean, variance, weight, bias, eps)
    else:
        data = scaled(x.array, scale(), (0 if bias is None else bias.array) - mean.array * scale())
    return data, (for_x, for_weight, lambda g: _channel_totals(g, learned))


@op
def _affine(x: Any, scale: Any, shift: Any = None) -> Rule[T]:
    """scale · x + shift, channel by channel: x (N, C, …), scale and shift (C,) → (N, C, …)."""
    data = scaled(x.array, scale.array, None if shift is None else shift.array)
    dtype = scale.dtype
    return data, (
        lambda g: _affine(g, scale, None),
        lambda g: _channel_totals(wide(g) * x, dtype),
        lambda g: _channel_totals(g, dtype),
    )


def _scale_and_shift(x: Any, weight: Any, bias: Any) -> Any:
    """weight · x + bias, channel by channel, where each may be None."""
    for_channels = (-1,) + (1,) * (x.ndim - 2)
    y = x if weight is None else x * weight.reshape(for_channels)
    return y if bias is None else y + bias.reshape(for_channels)


def _channel_totals(x: Any, dtype: Any) -> Any:
    """(N, C, …) → (C,): the sum of each channel, in `dtype`."""
    return wide(x).sum(0).reshape((x.shape[1], math.prod(x.shape[2:]))).sum(1).to(dtype)


def _dtype_of_vectors(x: Any, weight: Any, bias: Any) -> Any:
    """That of weight and bias, which may be float32 where x is float16."""
    return next((v.dtype for v in (weight, bias) if v is not None), x.dtype)


def _checked(name: str, x: Any, vectors: dict[str, Any]) -> list[Any]:
    """x and the vectors as tensors: of one dtype, or x of float16 and the vectors of float32."""
    half = isinstance(x, Node) and x.dtype == np.float16
    if half and all(getattr(v, "dtype", None) in (None, np.float32) for v in vectors.values()):
        like = x.constant(x.xp.empty(0, np.float32))  # in the place of x, for the vectors to be checked against
        return [x, *check_tensors(name, 1, x=like, **vectors)[1:]]
    return check_tensors(name, 1, x=x, **vectors)


def check_channels(name: str, x: Any, vectors: Any) -> None:
    """Check that x has axes (N, C, …), and that the running mean and variance, weight and bias that are given are (C,).

    Raises:
        ValueError: one does not fit, or is on another device.
    """
    check_devices(name, [x, *vectors])
    if x.ndim < 2:
        raise ValueError(f"{name}: x must have axes (N, C, …), got shape {x.shape}")
    for what, vector in zip(("running_mean", "running_var", "weight", "bias"), vectors):
        if vector is not None and vector.shape != (x.shape[1],):
            raise ValueError(f"{name}: x {x.shape} has {x.shape[1]} channels, but {what} has shape {vector.shape}")


def of_nothing(x: Any, weight: Any, bias: Any) -> Any:
    """The norm of an empty x: x itself, with gradients of zeros for weight and bias."""
    zeros = x.constant(x.xp.zeros(x.shape[1], at_least_float32(x.array).dtype))
    return _normalise_by(x, weight, bias, mean=zeros, variance=zeros + 1, eps=0.0)


class FeatureNorm(Module):
    """The base class of batch and instance normalisation: settings, tensors, checks."""

    expected: ClassVar[dict[int, str]]
    """The axes that x may have, by their count."""

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool, bias: bool
    ) -> None:
        name = type(self).__name__
        if not is_integer(num_features) or num_features < 1:
            raise ValueError(f"{name}: num_features must be an integer of 1 or more, got {num_features!r}")
        check_eps(name, eps)
        if momentum is not None and not is_number(momentum):
            raise TypeError(f"{name}: momentum must be a number or None, got {momentum!r}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        check_size(name, "a vector", (num_features,), np.empty(0, np.float32))
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine and bias else None
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if track_running_stats else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if track_running_stats else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if track_running_stats else None
        self._reserve("weight", "bias")
        self._reserve("running_mean", "running_var", "num_batches_tracked", buffers=True)

    def uses_own_statistics(self, x: Any) -> bool:
        """Whether x is normalised by its own statistics rather than by the running ones.

        Raises:
            ValueError: x is no tensor and no array, or has other axes or another number of channels.
        """
        if getattr(x, "ndim", 0) not in self.expected or x.shape[1] != self._channels():
            axes = " or ".join(self.expected.values()).replace("C", str(self._channels()))
            given = f"shape {x.shape}" if hasattr(x, "shape") else type(x).__name__
            hint = "; a single sample: x[None] is a batch of one" if getattr(x, "ndim", 0) + 1 in self.expected else ""
            raise ValueError(f"{type(self).__name__}: expected {axes}, got {given}{hint}")
        return self.running_mean is None and self.running_var is None or self.training and not self.frozen

    def _channels(self) -> int:
        """The length of the tensors, which the user may have replaced; `num_features` if there are none."""
        for vector in (self.weight, self.bias, self.running_mean, self.running_var):
            if vector is not None:
                return int(vector.shape[0])
        return self.num_features

    def extra_repr(self) -> str:
        """The settings."""
        settings = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"
        return f"{settings}, bias={self.bias is not None}, track_running_stats={self.track_running_stats}"


def check_eps(name: str, eps: Any) -> None:
    """Check that `eps` is a number of 0 or more.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or nan.
    """
    if not is_number(eps):
        raise TypeError(f"{name}: eps must be a number, got {eps!r}")
    if not eps >= 0:
        raise ValueError(f"{name}: eps must be 0 or more, got {eps}: it keeps what does not vary from being divided by 0")


def check_momentum(name: str, momentum: Any, *running: Any) -> None:
    """Check that `momentum` is a number, or an array without axes, if there are running statistics.

    Raises:
        TypeError: it is neither.
    """
    if not is_number(momentum) and not is_array(momentum) and any(statistic is not None for statistic in running):
        raise TypeError(f"{name}: momentum must be a number, got {momentum!r}")


class _BatchNorm(FeatureNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, x: Tensor) -> Tensor:
        own, momentum = self.uses_own_statistics(x), self.momentum
        mean: Any = self.running_mean
        variance: Any = self.running_var
        if own and not self.track_running_stats:
            mean = variance = None
        elif self.training and not self.frozen and self.num_batches_tracked is not None:
            values = math.prod(x.shape)
            if values != x.shape[1] and (values or momentum is not None):  # an empty batch has no mean
                self.num_batches_tracked.array += 1
            if momentum is None and values:
                momentum = 1 / self.num_batches_tracked.array
        momentum = 0.0 if momentum is None else momentum
        return batch_norm(x, mean, variance, self.weight, self.bias, own, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """`batch_norm` of vectors or sequences: (N, C) → (N, C), or (N, C, L) → (N, C, L). All else is as in `BatchNorm2d`.

    >>> norm = BatchNorm1d(3)
    >>> norm(Tensor(np.ones((4, 3), np.float32))).shape, norm(Tensor(np.ones((4, 3, 7), np.float32))).shape
    ((4, 3), (4, 3, 7))
    """

    expected: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """`batch_norm` of images, with learned scale and shift and running statistics: (N, C, H, W) → (N, C, H, W).

    While training it normalises by the statistics of the batch, and updates the running ones; after `eval()` by the running
    ones. After `freeze()` it does so in training mode too, and the running ones are not updated.
    `weight` starts at 1 and `bias` at 0, `running_mean` at 0 and `running_var` at 1; `num_batches_tracked` counts the batches.

    Args:
        num_features: the number of channels C.
        eps: avoids division by 0 where a channel does not vary.
        momentum: the weight of a batch in the running statistics; None takes the mean over all batches so far.
        affine: whether scale and shift are learned; else `weight` and `bias` are None.
        track_running_stats: whether there are running statistics; else those of the batch are always used. Set to False
            later, they are not updated any more.
        bias: False for a scale without a shift.

    Raises:
        TypeError: eps or momentum is no number.
        ValueError: num_features is less than 1, eps is negative; on call, x has other axes or another number of channels,
            or one value per channel to train on. (An empty batch is accepted: `num_batches_tracked` counts it, unless
            `momentum` is None.)

    >>> norm = BatchNorm2d(16)
    >>> norm(Tensor(np.ones((2, 16, 4, 4), np.float32))).shape
    (2, 16, 4, 4)
    >>> [*norm.state_dict()]
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    expected: ClassVar[dict[int, str]] = {4: "images (N, C, H, W)"}
