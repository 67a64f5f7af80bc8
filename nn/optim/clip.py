"""Gradients kept from being too large: between `backward()` and the optimiser's step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.autocast import at_least_float32
from microtensor.autograd.backward import no_grad
from microtensor.autograd.graph import Node
from microtensor.ops.extremes import norm
from microtensor.ops.indexing import refuse_read_only
from microtensor.runtime.arrays import Array, array_module, device_of, follow, to_device
from microtensor.runtime.cuda.kernels import Kernels
from microtensor.runtime.cuda.multi_tensor import ArrayRow, alike, fit, launch, packed
from microtensor.tensor import Tensor

from ..module import Module
from .optimizer import blocks, listed

kernels = Kernels(__file__, "clip.cu")


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients, in place and by one number, so that their norm, as one vector, is at most `max_norm`.

    Their direction stays. (Pascanu, Mikolov & Bengio 2013, algorithm 1, arxiv.org/abs/1211.5063.) The factor is
    max_norm / (norm + 10⁻⁶), as in PyTorch, or 1 if that is less. It is computed on the device, and nothing waits for it.

    Args:
        parameters: tensors, or one. Those without a gradient are passed over.
        max_norm: at least 0. With math.inf nothing is scaled, and the norm is told.
        norm_type: above 0; math.inf takes the largest |g|.
        error_if_nonfinite: look whether the norm is finite, for which a device is waited for. Otherwise an infinite gradient
            becomes nan and the finite ones 0, and one nan makes all of them nan.

    Returns:
        The norm before, a tensor without axes, of float32 at least. Its square overflows at about 10¹⁹; it is inf then.

    Raises:
        TypeError: there is something that is no tensor, or a setting is no number.
        ValueError: a setting is out of range; `parameters` is an iterator that was used up; the memory of a gradient is
            read-only; or the norm is not finite, and an error was asked for. Nothing is scaled then.

    >>> p = Tensor([3.0, 4.0], requires_grad=True)
    >>> (p * p / 2).sum().backward()
    >>> clip_grad_norm_([p], max_norm=1.0)
    Tensor(5.)
    >>> round(p.grad.norm().item(), 6)
    1.0
    """
    gradients = _gradients("clip_grad_norm_", parameters)
    _check_number("clip_grad_norm_", "max_norm", max_norm)
    _check_number("clip_grad_norm_", "norm_type", norm_type)
    if norm_type == 0:
        raise ValueError("clip_grad_norm_: norm_type must be above 0; 2.0 is Euclid's length, math.inf the largest |g|")
    if not gradients:
        return Tensor(0.0)
    with no_grad():
        total = _total_norm([g.array for g in gradients if g.array.size], float(norm_type))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise ValueError(
            f"clip_grad_norm_: the norm of the gradients is {total.item()}; look for the first operation that makes one with "
            "detect_anomaly(), or take a smaller learning rate"
        )
    if max_norm != math.inf:
        _refuse_read_only("clip_grad_norm_", gradients)
        xp = array_module(total.array)
        _scale([gradient.array for gradient in gradients], xp.minimum(max_norm / (total.array + 1e-6), 1.0))
        for gradient in gradients:
            gradient.touch()
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp every number of every gradient, in place, to between −clip_value and clip_value. Their direction changes.

    Args:
        parameters: tensors, or one. Those without a gradient are passed over.
        clip_value: at least 0.

    Raises:
        TypeError: there is something that is no tensor, or `clip_value` is no number.
        ValueError: `clip_value` is negative or nan; `parameters` is an iterator that was used up; the memory of a gradient is
            read-only.

    >>> p = Tensor([3.0, 0.5], requires_grad=True)
    >>> (p * p).sum().backward()
    >>> clip_grad_value_([p], clip_value=2.0)
    >>> p.grad
    Tensor([2., 1.])
    """
    gradients = _gradients("clip_grad_value_", parameters)
    _check_number("clip_grad_value_", "clip_value", clip_value)
    _refuse_read_only("clip_grad_value_", gradients)
    for gradient in gradients:
        data = gradient.array
        follow(data)
        array_module(data).clip(data, -clip_value, clip_value, out=data)
        gradient.touch()


def _gradients(name: str, parameters: Any) -> list[Tensor]:
    if isinstance(parameters, Node):
        parameters = [parameters]
    if isinstance(parameters, Module) or not isinstance(parameters, Iterable):
        hint = "; pass model.parameters()" if isinstance(parameters, Module) else ""
        raise TypeError(f"{name}: parameters must be Tensors, got {type(parameters).__name__}{hint}")
    given = listed(name, parameters)
    for i, p in enumerate(given):
        if not isinstance(p, Node):
            raise TypeError(f"{name}: parameter {i} must be a Tensor, got {type(p).__name__}")
    return [p.grad for p in given if p.grad is not None]


def _refuse_read_only(name: str, gradients: Iterable[Tensor]) -> None:
    for gradient in gradients:
        refuse_read_only(name, gradient, "a gradient", "p.grad = p.grad.clone()")


def _check_number(name: str, key: str, value: Any) -> None:
    if not is_number(value):
        raise TypeError(f"{name}: {key} must be a number, got {value!r} ({type(value).__name__})")
    if not value >= 0:
        raise ValueError(f"{name}: {key} must be at least 0, got {value}")


def _scale(arrays: list[Array], factor: Array) -> None:
    """Multiply arrays, in place, by one number: those on a GPU together."""
    for data in arrays:
        if not fit((data,)):
            there = to_device(factor, device_of(data))
            follow(data)
            data *= there.astype(data.dtype)
    for rows in alike((data,) for data in arrays if fit((data,))):
        first = rows[0][0]
        there = to_device(factor, device_of(first))
        follow(first)
        launch(kernels, "scale", rows, there.astype(np.result_type(np.float32, first.dtype), copy=False))


def _squares(rows: list[ArrayRow]) -> Array:
    """The sum of the squares of all numbers of arrays that fit, of one kind: the sum of each block's, then of these."""
    first = rows[0][0]
    follow(first)
    xp, wide = array_module(first), np.result_type(np.float32, first.dtype)
    launches = [*packed(rows)]
    parts, total, before = xp.empty(sum(blocks for _, blocks in launches), wide), xp.empty((), wide), 0
    for struct, count in launches:
        kernels.blocks("squares", first.dtype, count, struct, parts, before)
        before += count
    kernels.blocks("add_up", first.dtype, 1, total, parts, before, threads=1024)
    return total


def _square(x: Array) -> Array:
    """The sum of the squares of all numbers of x."""
    follow(x)
    wide = at_least_float32(x)
    return array_module(x).vdot(wide, wide)


def _total_norm(gradients: list[Array], p: float) -> Tensor:
    """The norm of arrays that are taken as one vector: the norm of their norms, where the first of them is."""
    if not gradients:
        return Tensor(0.0)
    xp, device = array_module(gradients[0]), device_of(gradients[0])
    if p == 2:  # in parts, each by one pass: as fast as memory, and exact, for no sum is long
        parts = [_square(part) for g in gradients if not fit((g,)) for (part,) in blocks(g)]
        parts += [_squares(rows) for rows in alike((g,) for g in gradients if fit((g,)))]
    else:
        parts = [norm(Tensor.wrap(at_least_float32(g)), p).array for g in gradients]
    dtype = np.result_type(np.float32, *{g.dtype for g in gradients})  # the squares of float16 are soon more than it holds
    there = [to_device(part, device) for part in parts]
    follow(gradients[0])
    lengths = xp.stack([part.astype(dtype, copy=False) for part in there])
    if p == 2:
        return Tensor.wrap(xp.asarray(xp.sqrt(lengths.sum())))
    return norm(Tensor.wrap(lengths), p)
