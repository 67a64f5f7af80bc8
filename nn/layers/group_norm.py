"""Normalisation within each sample over groups of channels, or each channel: group and instance normalisation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import check_tensors
from microtensor.autograd.autocast import at_least_float32, widened
from microtensor.autograd.graph import T
from microtensor.runtime.integers import as_integer
from microtensor.runtime.sizes import check_size
from microtensor.tensor import Tensor

from ..module import Module, Parameter
from .batch_norm import FeatureNorm, batch_norm, check_channels, check_eps, check_momentum, of_nothing
from .layer_norm import _normalize_rows


def group_norm(x: T, num_groups: int, weight: T | None = None, bias: T | None = None, eps: float = 1e-5) -> T:
    """weight · (x − mean) / √(var + eps) + bias, with mean and variance of each group of channels in each sample.

    Wu & He 2018, section 3, arxiv.org/abs/1803.08494. x (N, C, …) → the same shape, weight and bias (C,): 1 and 0 if None.
    One group is layer normalisation over all but the batch, with a weight per channel; C groups are instance normalisation.

    Raises:
        TypeError: the tensors do not share one floating-point dtype, or num_groups is no integer.
        ValueError: the groups do not divide the channels, or a shape does not fit; one value per group, which has no
            variance.

    >>> group_norm(Tensor([[1.0, 3.0, 50.0, 70.0]]), 2).round(decimals=3)
    Tensor([[-1.,  1., -1.,  1.]])
    """
    check_eps("group_norm", eps)
    x, weight, bias = check_tensors("group_norm", 1, x=widened(x), weight=weight, bias=bias)
    check_channels("group_norm", x, (None, None, weight, bias))
    groups, channels = as_integer("group_norm", "num_groups", num_groups, least=1), x.shape[1]
    if channels % groups:
        raise ValueError(f"group_norm: num_groups={groups} must divide the {channels} channels of x {x.shape}")
    if not x.array.size:
        return of_nothing(x, weight, bias)
    positions = math.prod(x.shape[2:])
    if channels // groups * positions == 1:
        raise ValueError(
            f"group_norm: x {x.shape} in {groups} groups has one value per group of a sample, and a variance needs two; take "
            "fewer groups, or larger images"
        )
    return _normalize_rows(x, weight, bias, width=channels // groups * positions, positions=positions, eps=eps)


def instance_norm(
    x: T,
    running_mean: T | None = None,
    running_var: T | None = None,
    weight: T | None = None,
    bias: T | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> T:
    """weight · (x − mean) / √(var + eps) + bias, with mean and variance of each channel in each sample, over its positions.

    Ulyanov, Vedaldi & Lempitsky 2016, equation 3, arxiv.org/abs/1607.08022. x (N, C, L…) → the same shape, all else (C,).

    Args:
        running_mean, running_var: if given, they are updated, as in `batch_norm`, by the mean over the samples of their mean
            and unbiased variance.
        weight, bias: the scale and the shift; 1 and 0 if None.
        use_input_stats: without, x is normalised by the running statistics: that is `batch_norm` in evaluation.

    Raises:
        TypeError: the tensors do not share one floating-point dtype; eps or momentum is no number.
        ValueError: shapes that do not fit; one position, which has no variance; no statistics to use; eps is negative.

    >>> x = Tensor([[[1.0, 3.0], [50.0, 70.0]]])
    >>> instance_norm(x).round(decimals=3)
    Tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """
    x = widened(x)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    check_eps("instance_norm", eps)
    check_momentum("instance_norm", momentum, running_mean, running_var)
    name, settings = "instance_norm", {"running_mean": running_mean, "running_var": running_var}
    given = check_tensors(name, 1, x=x, **settings, weight=weight, bias=bias)
    check_channels(name, given[0], given[1:])
    x, running_mean, running_var, weight, bias = given
    positions = math.prod(x.shape[2:])
    if positions == 1:
        raise ValueError(f"{name}: x {x.shape} has one value per channel of a sample, and a variance needs two")
    if not x.array.size:
        return of_nothing(x, weight, bias)
    samples = x.shape[0]
    if any(running is not None for running in (running_mean, running_var)):
        rows = at_least_float32(x.array).reshape(samples, x.shape[1], positions)
        mean = rows.sum(2, keepdims=True) / positions
        var = ((rows - mean) ** 2).sum(2) / (positions - 1)
        for running, values in ((running_mean, mean[..., 0]), (running_var, var)):
            if running is not None:
                running.array += momentum * (values.sum(0) / samples - running.array)
    return _normalize_rows(x, weight, bias, width=positions, positions=positions, eps=eps)


class GroupNorm(Module):
    """`group_norm` with learned scale and shift: (N, C, …) → the same shape.

    `weight` (C,) starts at 1 and `bias` (C,) at 0.

    Args:
        num_groups: the number of groups of adjacent channels.
        num_channels: the number of channels C.
        eps: avoids division by 0 where a group does not vary.
        affine: whether scale and shift are learned; else `weight` and `bias` are None.
        bias: False for a scale without a shift.

    Raises:
        TypeError: a number of groups or channels is no integer, eps is no number.
        ValueError: the groups do not divide the channels, eps is negative; on call, x has another number of channels.

    >>> norm = GroupNorm(4, 16)
    >>> norm(Tensor(np.ones((2, 16, 4, 4), np.float32))).shape, norm
    ((2, 16, 4, 4), GroupNorm(4, 16, eps=1e-05, affine=True, bias=True))
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, bias: bool = True
    ) -> None:
        self.num_groups = as_integer("GroupNorm", "num_groups", num_groups, least=1)
        self.num_channels = as_integer("GroupNorm", "num_channels", num_channels, least=1)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        check_eps("GroupNorm", eps)
        self.eps, self.affine = eps, affine
        check_size("GroupNorm", "a vector", (num_channels,), np.empty(0, np.float32))
        self.weight = Parameter(np.ones(num_channels, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, np.float32)) if affine and bias else None
        self._reserve("weight", "bias")

    def forward(self, x: Tensor) -> Tensor:
        vector = self.bias if self.weight is None else self.weight
        channels = self.num_channels if vector is None else vector.shape[0]
        if x.ndim < 2 or x.shape[1] != channels:
            raise ValueError(f"GroupNorm: expected (N, {channels}, …), got shape {x.shape}")
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        settings = f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
        return f"{settings}, bias={self.bias is not None}"


class _InstanceNorm(FeatureNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        if momentum is None:
            raise TypeError(f"{type(self).__name__}: momentum must be a number, got None: no batches are counted here")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, x: Tensor) -> Tensor:
        own = self.uses_own_statistics(x) or not self.track_running_stats
        mean, variance = (self.running_mean, self.running_var) if self.track_running_stats else (None, None)
        momentum: Any = self.momentum
        return instance_norm(x, mean, variance, self.weight, self.bias, own, momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """`instance_norm` of sequences: (N, C, L) → the same shape. All else is as in `InstanceNorm2d`."""

    expected: ClassVar[dict[int, str]] = {3: "(N, C, L)"}


class InstanceNorm2d(_InstanceNorm):
    """`instance_norm` of images: (N, C, H, W) → the same shape. By default it has no parameters and no buffers.

    Args:
        num_features: the number of channels C.
        eps: avoids division by 0 where a channel does not vary.
        momentum: the weight of a batch in the running statistics.
        affine: whether a scale, which starts at 1, and a shift, which starts at 0, are learned.
        track_running_stats: whether there are running statistics, which are used after `eval()` or `freeze()`.
        bias: False for a scale without a shift.

    Raises:
        TypeError: eps or momentum is no number.
        ValueError: num_features is less than 1, eps is negative; on call, x has other axes or another number of channels,
            or one value per channel.

    >>> norm = InstanceNorm2d(3)
    >>> norm(Tensor(np.ones((2, 3, 4, 4), np.float32))).shape, norm.state_dict()
    ((2, 3, 4, 4), {})
    """

    expected: ClassVar[dict[int, str]] = {4: "images (N, C, H, W)"}
