"""Dropout: elements are set to 0 at random, so that a network does not rely on any one of them.

On the CPU a mask is drawn, and stored for the derivative. On a GPU a kernel draws from a counter-based generator (philox.py),
with a seed from the generator, and draws the same mask again for the derivative. So one seed gives other masks there.

`inplace` is accepted, so that networks written for PyTorch run unchanged, but a result always has its own memory.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import check_tensors, is_number
from microtensor.autograd.graph import T
from microtensor.autograd.op import Rule, op
from microtensor.ops.smooth_activations import SELU_ALPHA, SELU_SCALE
from microtensor.random import Generator, default, seed_from
from microtensor.runtime.arrays import Array, array_module
from microtensor.runtime.cuda.kernels import Kernels, usable
from microtensor.runtime.cuda.philox import threshold, words
from microtensor.tensor import Tensor

from ..module import Module

kernels = Kernels(__file__, "dropout.cu")


def dropout(x: T, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None) -> T:
    """Set each element to 0 with probability `p` and divide the others by 1 − p, so that the expected value stays the same.

    The gradient is multiplied by the same mask. When not training, x itself is returned.
    Srivastava et al. 2014, section 10, "Dropout: a simple way to prevent neural networks from overfitting".

    Args:
        p: from 0 (no element is dropped) to 1 (all are).
        generator: draws the mask; the default generator if None.

    Raises:
        TypeError: x is not floating point, p is no number, or another setting is no bool.
        ValueError: p is not between 0 and 1.

    >>> dropout(Tensor([1.0, 2.0, 3.0, 4.0]), 0.5, generator=Generator(3))
    Tensor([0., 4., 6., 8.])
    """
    (given,) = check_tensors("dropout", 1, x=x)
    _check("dropout", p, inplace, training)
    if not training or p == 0:
        return given
    return _dropped_out(given, p, 0, generator)


def dropout1d(x: T, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None) -> T:
    """`dropout` of whole channels of sequences: (N, C, L) → the same shape.

    Neighbours in a sequence are correlated, so dropping single elements would have little effect.

    Raises:
        TypeError, ValueError: as in `dropout`; or x has another number of axes.
    """
    return _drop_channels("dropout1d", x, p, training, inplace, generator, 3)


def dropout2d(x: T, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None) -> T:
    """`dropout` of whole channels of images: (N, C, H, W) → the same shape.

    Tompson et al. 2015, section 3.2, "Efficient object localization using convolutional networks", arxiv.org/abs/1411.4280.

    Raises:
        TypeError, ValueError: as in `dropout`; or x has another number of axes.

    >>> dropout2d(Tensor([[[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]]]), generator=Generator(3)).tolist()
    [[[[0.0, 0.0]], [[6.0, 8.0]], [[10.0, 12.0]]]]
    """
    return _drop_channels("dropout2d", x, p, training, inplace, generator, 4)


SHAPES = {3: "(N, C, L)", 4: "(N, C, H, W)"}
"""What x must be, by its number of axes."""


def _drop_channels(name: str, x: Any, p: float, training: bool, inplace: bool, generator: Generator | None, ndim: int) -> Any:
    (given,) = check_tensors(name, 1, x=x)
    _check(name, p, inplace, training)
    if given.ndim != ndim:
        hint = "; a single sample: x[None] is a batch of one" if given.ndim == ndim - 1 else ""
        raise ValueError(f"{name}: expected x {SHAPES[ndim]}, got shape {given.shape}{hint}")
    if not training or p == 0:
        return given
    return _dropped_out(given, p, ndim - 2, generator)


def _dropped_out(x: Any, p: float, shared: int, generator: Generator | None) -> Any:
    """x with elements dropped. The last `shared` axes share one draw: they are kept or dropped as a whole."""
    if array_module(x.array) is not np:
        return _drop(x, seed=seed_from(generator), keep=1 - p, shared=shared, scale=1 / (1 - p) if p < 1 else 1.0, shifts=None)
    return x * _mask(x, p, _mask_shape(x, shared), generator)


def _mask_shape(x: Any, shared: int) -> tuple[int, ...]:
    return x.shape[: x.ndim - shared] + (1,) * shared


@op
def _drop(x: T, *, seed: int, keep: float, shared: int, scale: float, shifts: tuple[float, float] | None) -> Rule[T]:
    """x · scale with probability `keep`, else x · 0; then `shifts` are added, the first to kept elements, the second to others.

    The derivative draws the same mask from the seed.
    """
    data = _drop_array(x.array, seed, threshold(keep), shared, float(scale), shifts)
    return data, (lambda g: _drop(g, seed=seed, keep=keep, shared=shared, scale=scale, shifts=None),)


def _drop_array(x: Array, seed: int, below: int, shared: int, scale: float, shifts: tuple[float, float] | None) -> Array:
    xp, each = array_module(x), math.prod(x.shape[x.ndim - shared :])
    if usable(x):
        x, y = xp.ascontiguousarray(x).reshape(x.shape), xp.empty(x.shape, x.dtype)
        settings = seed, below, scale, shifts is not None, *(shifts or (0.0, 0.0))
        if shared:
            kernels.blocks("drop_channels", x.dtype, x.size // each if each else 0, y, x, *settings, each)
        else:
            kernels.each("drop", x.dtype, -(-x.size // 4), y, x, *settings, x.size)
        return y
    shape = _mask_shape(x, shared)
    kept = (words(xp, seed, math.prod(shape)) < below).reshape(shape)
    wide = np.result_type(np.float32, x.dtype)
    y = x.astype(wide, copy=False) * (kept.astype(wide) * scale)
    if shifts is not None:
        y += xp.where(kept, *shifts).astype(wide)
    return y.astype(x.dtype, copy=False)


def _mask(x: Any, p: float, shape: tuple[int, ...], generator: Generator | None, scale: float | None = None) -> Any:
    """1 / (1 − p), or `scale`, for kept elements, else 0: a constant with the dtype of x."""
    kept = (default if generator is None else generator).bernoulli(1 - p, shape)
    mask = kept.astype(x.dtype)
    if p < 1:
        mask *= 1 / (1 - p) if scale is None else scale
    return x.constant(mask)


def alpha_dropout(
    x: T, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> T:
    """`dropout` that keeps mean 0 and variance 1, for networks with `selu`: dropped elements become selu(−∞) = −1.7581.

    Then all are scaled and shifted: y = a · x + b for kept elements, a · −1.7581 + b for dropped ones, with
    a = 1 / √((1 − p) (1 + p · 1.7581²)) and b = a · p · 1.7581. Klambauer et al. 2017, section 3 ("new dropout technique"),
    arxiv.org/abs/1706.02515. As in PyTorch, `training` is False by default.

    Raises:
        TypeError, ValueError: as in `dropout`.

    >>> alpha_dropout(Tensor([1.0, 1.0, 1.0]), 0.5, training=True, generator=Generator(3)).round(decimals=4)
    Tensor([-0.7792,  1.6656,  1.6656])
    """
    return _alpha_dropout("alpha_dropout", x, p, training, inplace, generator, whole_channels=False)


def feature_alpha_dropout(
    x: T, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> T:
    """`alpha_dropout` of whole channels: (N, C, …) → the same shape.

    Raises:
        TypeError, ValueError: as in `dropout`; or x has no axis of channels.
    """
    return _alpha_dropout("feature_alpha_dropout", x, p, training, inplace, generator, whole_channels=True)


def _alpha_dropout(
    name: str, x: Any, p: float, training: bool, inplace: bool, generator: Generator | None, *, whole_channels: bool
) -> Any:
    (given,) = check_tensors(name, 1, x=x)
    _check(name, p, inplace, training)
    if whole_channels and given.ndim < 2:
        raise ValueError(f"{name}: expected x (N, C, …), got shape {given.shape}")
    if not training or p == 0:
        return given
    shared = given.ndim - 2 if whole_channels else 0
    if p == 1:
        return _dropped_out(given, p, shared, generator)
    lowest = -SELU_ALPHA * SELU_SCALE
    a = 1 / math.sqrt((1 - p) * (1 + p * lowest**2))
    if array_module(given.array) is not np:
        shifts = -a * p * lowest, lowest * a - a * p * lowest
        return _drop(given, seed=seed_from(generator), keep=1 - p, shared=shared, scale=a, shifts=shifts)
    mask = _mask(given, p, _mask_shape(given, shared), generator, a)
    return given * mask + (lowest * (a - mask) - a * p * lowest)


def _check(name: str, p: Any, inplace: Any, training: Any = True) -> None:
    if not is_number(p):
        raise TypeError(f"{name}: p is the probability to drop an element, between 0 and 1, got {p!r}")
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p is the probability to drop an element, between 0 and 1, got {p}")
    for setting, value in (("training", training), ("inplace", inplace)):
        if not isinstance(value, bool):
            raise TypeError(f"{name}: {setting} must be True or False, got {type(value).__name__}")


class _Dropout(Module):
    """The base class of dropout layers."""

    function: ClassVar[Any]

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None) -> None:
        _check(type(self).__name__, p, inplace)
        self.p, self.inplace, self.generator = p, inplace, generator

    def forward(self, x: Tensor) -> Tensor:
        return type(self).function(x, self.p, self.training, self.inplace, generator=self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """`dropout` while training, the identity otherwise: any shape → the same.

    Args:
        p: the probability to drop an element.
        inplace: accepted, and ignored.
        generator: draws the mask; the default generator if None.

    Raises:
        TypeError: p is no number, or inplace no bool.
        ValueError: p is not between 0 and 1.

    >>> Dropout(0.5).eval()(Tensor([1.0, 2.0]))
    Tensor([1., 2.])
    """

    function = staticmethod(dropout)


class Dropout1d(_Dropout):
    """`dropout1d` while training, the identity otherwise: whole channels of (N, C, L). Arguments as in `Dropout`."""

    function = staticmethod(dropout1d)


class Dropout2d(_Dropout):
    """`dropout2d` while training, the identity otherwise: whole channels of (N, C, H, W). Arguments as in `Dropout`."""

    function = staticmethod(dropout2d)


class AlphaDropout(_Dropout):
    """`alpha_dropout` while training, the identity otherwise: for networks with SELU. Arguments as in `Dropout`."""

    function = staticmethod(alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """`feature_alpha_dropout` while training, the identity otherwise: whole channels. Arguments as in `Dropout`."""

    function = staticmethod(feature_alpha_dropout)
