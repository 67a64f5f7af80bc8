"""Batch normalisation: each channel brought to mean 0 and variance 1, then to a scale and a mean that are learned.

Normalisation within each sample, which needs no batch, is in layer_norm.py and group_norm.py.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import check_tensors, is_number
from microtensor.autograd.autocast import at_least_float32
from microtensor.autograd.backward import partials
from microtensor.autograd.graph import Node, T, mode
from microtensor.autograd.op import Rule, check_devices, op
from microtensor.ops.reduce import LONG, wide
from microtensor.runtime.arrays import Array, array_module, is_array
from microtensor.runtime.blocking import BLOCK_BYTES, MIN_BLOCKED_BYTES
from microtensor.runtime.cuda.kernels import usable
from microtensor.runtime.integers import is_integer
from microtensor.runtime.sizes import check_size
from microtensor.runtime.threads import share, slices
from microtensor.tensor import Tensor

from ..module import Buffer, Module, Parameter
from .batch_norm_kernels import Normalised, normalised, normalised_by, summed
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
    """weight · (x − mean) / √(var + eps) + bias, channel by channel: (N, C, …) → (N, C, …), all else of shape (C,).

    Ioffe & Szegedy 2015, algorithm 1, arxiv.org/abs/1502.03167. While training, mean and (biased) variance are those of the
    channel over batch and positions, and the running ones, if given, follow them in place; otherwise they are the running ones,
    and what is left is a scale and a shift per channel. Sums of float16 are float32's; beside an x of float16 all else may be
    float32, as in a network under autocast.

    Args:
        running_mean, running_var: running += momentum · (batch's − running), where the batch's variance is the unbiased one,
            over n − 1.
        weight, bias: the scale and the shift; 1 and 0 if None.
        eps: keeps a channel that does not vary from being divided by 0: all of it becomes the bias. With 0 it becomes nan.

    An empty batch, of no sample or no positions, gives an empty result, and leaves the running statistics as they are.

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
            return _by_known(mean, variance, eps)(x, weight, bias)
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
    """What a norm with a weight and a bias per channel makes of x without numbers: the same, and gradients of zeros."""
    zeros = x.constant(x.xp.zeros(x.shape[1], at_least_float32(x.array).dtype))
    return _normalise_by(x, weight, bias, mean=zeros, variance=zeros + 1, eps=0.0)


PART = 8
"""The eighth part of a batch, or of a row, says roughly what the mean is."""


# One rule rather than `_composed`, which takes four to nine times as long, and of all its results keeps x alone.
# On a GPU it is four kernels: see batch_norm_kernels.py.
@op
def _batch_norm(x: Any, weight: Any = None, bias: Any = None, *, running: Any, momentum: Any, eps: float) -> Rule[T]:
    way = normalised if usable(x.array) else _normalised
    data, to_x, to_weight, to_bias = way(x, weight, bias, running, momentum, eps)
    composed = _composed(eps)
    learned = next((v.dtype for v in (weight, bias) if v is not None), x.dtype)  # may be float32 where x is float16

    def constant(data: Array, dtype: Any) -> Any:
        return x.constant(data.astype(dtype, copy=False))

    def for_x(g: Any) -> Any:
        return partials(composed, (x, weight), g)[0] if mode.recording else constant(to_x(g), x.dtype)

    def for_weight(g: Any) -> Any:
        return partials(composed, (x, weight), g)[1] if mode.recording else constant(to_weight(g), learned)

    def for_bias(g: Any) -> Any:
        return _total(g, learned) if mode.recording else constant(to_bias(g), learned)

    return data.astype(x.dtype, copy=False), (for_x, for_weight, for_bias)


# Mean and variance come from one look at x − pivot, where the pivot is the mean of an eighth of the batch: mean = pivot + rest,
# var = mean of (x − pivot)² − rest². A part of the batch cannot be far off, rest² is at most 7 times the variance, so no more
# than a digit is lost. And `rest` contains what the pivot was rounded by: a channel that does not vary becomes 0 to the last
# digit, where the rounding of its mean, divided by √eps, would be 1e-4.
#
# Both passes take some rows at a time, which the cache holds, and are shared among threads.
def _normalised(x: Any, weight: Any, bias: Any, running: Any, momentum: Any, eps: float) -> Normalised:
    """x normalised by its own statistics, which the `running` ones follow; and the gradients of x, weight and bias."""
    xp, channels, count = x.xp, x.shape[1], x.array.size // x.shape[1]
    rows = _rows(x.array)
    few = -(-rows.shape[0] // PART)
    pivot = channel_sums(rows[:few], channels) / (few * rows.shape[1] // channels)
    data = xp.empty(x.shape, rows.dtype)
    y, apart = _rows(data), _row(pivot, rows)

    def sums_of_part(part: slice) -> tuple[Array, Array]:
        centred = xp.subtract(rows[part], apart, out=y[part])
        return channel_sums(centred, channels), channel_products(centred, centred, channels)

    total, squares = _totals(rows, sums_of_part)
    rest = total / count
    var = (squares / count - rest * rest).clip(0, math.inf)
    inverse = 1 / xp.sqrt(var + eps)
    scale = inverse if weight is None else inverse * weight.array
    factor, offset = _row(scale, rows), _row((0 if bias is None else bias.array) - rest * scale, rows)

    def scale_part(part: slice) -> None:
        some = y[part]
        some *= factor
        some += offset

    share(scale_part, _parts(rows))
    for follower, value in zip(running, (pivot + rest, var * (count / (count - 1)))):
        if follower is not None:
            follower.array += momentum * (value - follower.array)

    sums: list[Any] = []

    def sums_of(g: Any, centred: Array | None = None) -> list[Any]:
        """Σ g and Σ g · (x − mean) of each channel: the gradients of weight and bias are these, and x's contains them."""
        if not sums or sums[0]() is not g:
            rows, slopes, apart = _rows(x.array), _rows(g.array), _row(pivot, _rows(x.array))

            def sums_of_part(part: slice) -> tuple[Array, Array]:
                some = xp.subtract(rows[part], apart, out=None if centred is None else centred[part])
                return channel_sums(slopes[part], channels), channel_products(slopes[part], some, channels)

            whole, products = _totals(rows, sums_of_part)
            sums[:] = weakref.ref(g), whole, products - rest * whole
        elif centred is not None:
            xp.subtract(_rows(x.array), _row(pivot, centred), out=centred)
        return sums[1:]

    def to_x(g: Any) -> Array:
        """scale · (g − mean of g − x̂ · mean of g · x̂), where x̂ = (x − pivot − rest) · inverse."""
        back: Array = xp.empty(x.shape, at_least_float32(x.array).dtype)
        dx, slopes = _rows(back), _rows(g.array)
        whole, product = sums_of(g, dx)
        slope = -inverse * inverse * product / count
        turn, shift = _row(slope, dx), _row(whole / count + rest * slope, dx)
        factor = _row(inverse if weight is None else inverse * weight.array, dx)

        def part_of(part: slice) -> None:
            some = dx[part]
            some *= turn
            some += slopes[part]
            some -= shift
            some *= factor

        share(part_of, _parts(dx))
        return back

    return data, to_x, lambda g: inverse * sums_of(g)[1], lambda g: sums_of(g)[0].copy()


def _parts(rows: Array) -> list[slice]:
    """Some rows at a time: those of a few arrays fill the cache, and there are at most a thousand. For a GPU all at once.

    All at once, too, if they are few: there are only some passes between two waits for all threads.
    """
    if array_module(rows) is not np or (rows.nbytes < 2 * MIN_BLOCKED_BYTES and len(rows) <= LONG):
        return [slice(0, len(rows))]
    return slices(len(rows), max(min(BLOCK_BYTES * len(rows) // max(rows.nbytes, 1), LONG), 1))


def _totals(rows: Array, sums_of_part: Any) -> tuple[Array, Array]:
    """Two sums over all rows: those of the parts, added up in their order."""
    parts = _parts(rows)
    found: list[Any] = [None] * len(parts)

    def work(i: int) -> None:
        found[i] = sums_of_part(parts[i])

    share(work, range(len(parts)))
    first, second = zip(*found)
    return sum(first), sum(second)


def _composed(eps: float) -> Any:
    """What `_batch_norm` computes, but for the bias, composed of generic operations: higher derivatives come from it."""

    def function(x: Any, weight: Any) -> Any:
        dims, numbers = (0, *range(2, x.ndim)), wide(x)
        centred = numbers - numbers.mean(dims, keepdim=True)
        y = centred / ((centred * centred).mean(dims, keepdim=True) + eps).sqrt()
        return (y if weight is None else y * weight.reshape((-1,) + (1,) * (x.ndim - 2))).to(x.dtype)

    return function


@op
def _normalise_by(x: Any, weight: Any = None, bias: Any = None, *, mean: Any, variance: Any, eps: float) -> Rule[T]:
    """`_by_known` as one rule, which has no gradients for mean and variance."""
    composed = _by_known(mean, variance, eps)
    learned = next((v.dtype for v in (weight, bias) if v is not None), x.dtype)

    def scale() -> Array:
        inverse = 1 / x.xp.sqrt(at_least_float32(variance.array) + eps)
        return inverse if weight is None else inverse * weight.array

    def for_x(g: Any) -> Any:
        if mode.recording:
            return partials(composed, (x, weight, bias), g)[0]
        if usable(g.array):
            return g.constant(normalised_by(g.array, None, variance, weight, None, eps))
        return g.constant(_scaled(g.array, scale()))

    def for_weight(g: Any) -> Any:
        if mode.recording:
            return partials(composed, (x, weight, bias), g)[1]
        if usable(g.array):
            return g.constant(summed(g.array, x.array, mean, variance, eps)[0].astype(learned, copy=False))
        rows, channels = _rows(g.array), x.shape[1]
        product = channel_products(rows, _rows(x.array), channels) - mean.array * channel_sums(rows, channels)
        return g.constant((product / x.xp.sqrt(at_least_float32(variance.array) + eps)).astype(learned, copy=False))

    if usable(x.array):
        data = normalised_by(x.array, mean, variance, weight, bias, eps)
    else:
        data = _scaled(x.array, scale(), (0 if bias is None else bias.array) - mean.array * scale())
    return data, (for_x, for_weight, lambda g: _total(g, learned))


def _by_known(mean: Any, variance: Any, eps: float) -> Any:
    """(x, weight, bias) → weight · (x − mean) / √(variance + eps) + bias, composed of generic operations."""

    def function(x: Any, weight: Any, bias: Any) -> Any:
        scale = (1 if weight is None else weight) / (variance + eps).sqrt()
        return _affine(x, scale, (0 if bias is None else bias) - mean * scale)

    return function


@op
def _affine(x: Any, scale: Any, shift: Any = None) -> Rule[T]:
    """scale · x + shift, channel by channel: x (N, C, …), scale and shift (C,) → (N, C, …)."""
    data = _scaled(x.array, scale.array, None if shift is None else shift.array)
    dtype = scale.dtype
    return data, (
        lambda g: _affine(g, scale, None),
        lambda g: _total(wide(g) * x, dtype),
        lambda g: _total(g, dtype),
    )


def _scaled(x: Array, scale: Array, shift: Array | None = None) -> Array:
    """scale · x + shift, channel by channel, in the dtype of x."""
    xp, rows = array_module(x), x.reshape(x.shape[0], math.prod(x.shape[1:]))
    data = xp.empty(x.shape, x.dtype)
    y = data.reshape(rows.shape)
    xp.multiply(rows, _row(scale, rows), out=y)
    if shift is not None:
        y += _row(shift, rows)
    return data


def _total(x: Any, dtype: Any) -> Any:
    """(N, C, …) → (C,): the sum of each channel, in `dtype`."""
    return wide(x).sum(0).reshape((x.shape[1], math.prod(x.shape[2:]))).sum(1).to(dtype)


# An image of all channels is one row of numbers, (N, C · positions), and what is known per channel is spread over such a row:
# so each pass over the data is one long loop, however small the images are. At 4×4 pixels that is five times as fast.


def _rows(data: Array) -> Array:
    """(N, C, …) → (N, C · positions), of float32 at least."""
    return at_least_float32(data).reshape(data.shape[0], math.prod(data.shape[1:]))


def _row(values: Array, rows: Array) -> Array:
    """(C,) → (C · positions,), each value repeated at every position."""
    return array_module(values).repeat(values, rows.shape[1] // values.size) if values.size else values


class FeatureNorm(Module):
    """What the layers of batch and instance normalisation share: their settings and tensors, how they check and print."""

    expected: ClassVar[dict[int, str]]
    """The axes that x may have, by their number."""

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
        """How many there are: the tensors say so, which may have been replaced by shorter ones; without any, `num_features`."""
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
    """Check that `momentum` is a number, or an array without axes, if there are running statistics that it moves.

    Raises:
        TypeError: it is neither.
    """
    if not is_number(momentum) and not is_array(momentum) and any(follower is not None for follower in running):
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
            if values != x.shape[1] and (values or momentum is not None):  # of nothing there is no mean to take in
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
    """`batch_norm` of images, with scale and shift that learn and statistics that it keeps: (N, C, H, W) → (N, C, H, W).

    While training it normalises by the batch's statistics, and the running ones follow; after `eval()` by the running ones.
    So it does after `freeze()` too, also in training mode, and the running ones stay as they are.
    `weight` starts at 1 and `bias` at 0, `running_mean` at 0 and `running_var` at 1; `num_batches_tracked` counts the batches.

    Args:
        num_features: the number of channels C.
        eps: keeps a channel that does not vary from being divided by 0.
        momentum: the part of the batch's statistics in the running ones; None takes the mean over all batches so far.
        affine: whether there is a scale and a shift to learn; without, `weight` and `bias` are None.
        track_running_stats: whether there are running statistics; without, the batch's are used always. Set to False
            later, they stay as they are.
        bias: without, the scale is learned alone.

    Raises:
        TypeError: eps or momentum is no number.
        ValueError: num_features is less than 1, eps is negative; on call, x has other axes or another number of channels,
            or one value per channel to train on. (An empty batch is fine: `num_batches_tracked` counts it, unless `momentum` is
            None, for then it divides by the count.)

    >>> norm = BatchNorm2d(16)
    >>> norm(Tensor(np.ones((2, 16, 4, 4), np.float32))).shape
    (2, 16, 4, 4)
    >>> [*norm.state_dict()]
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    expected: ClassVar[dict[int, str]] = {4: "images (N, C, H, W)"}
