"""Gradient clipping, between `backward()` and the step of the optimizer: by norm and by value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from microtensor.autograd.arguments import is_number
from microtensor.autograd.autocast import at_least_float32
from microtensor.autograd.grad_mode import no_grad
from microtensor.autograd.graph import Node
from microtensor.ops.extremes import norm
from microtensor.ops.indexing import refuse_read_only
from microtensor.runtime.arrays import Array, array_module, device_of, follow, to_device
from microtensor.runtime.cuda.kernels import Kernels
from microtensor.runtime.cuda.multi_tensor import ArrayRow, alike, fit, launch, packed
from microtensor.tensor import Tensor

from ..module import Module
from .optimizer import blocks, listed

kernels = Kernels(__file__, "clip_grad.cu")


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients in place by one factor, so that their norm, taken as one vector, is at most `max_norm`.

    The direction is kept. (Pascanu, Mikolov & Bengio 2013, algorithm 1, arxiv.org/abs/1211.5063.) The factor is
    max_norm / (norm + 10⁻⁶), as in PyTorch, but at most 1. It is computed on the device, without waiting for it.

    Args:
        parameters: tensors, or one. Those without a gradient are skipped.
        max_norm: at least 0. With math.inf the norm is computed, and nothing is scaled.
        norm_type: the p of the p-norm, above 0; math.inf for the largest |g|.
        error_if_nonfinite: whether to raise if the norm is not finite, which waits for the device. Otherwise an infinite
            gradient becomes nan and the finite ones 0, and a single nan makes all of them nan.

    Returns:
        The norm before scaling, a 0-dimensional tensor of at least float32; inf above about 10¹⁹, where its square overflows.

    Raises:
        TypeError: something is not a tensor, or a setting is no number.
        ValueError: a setting is out of range; `parameters` is an iterator that was used up; the array of a gradient is
            read-only; or the norm is not finite, with `error_if_nonfinite`. Nothing is scaled then.

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
    """Clamp every element of every gradient, in place, to −clip_value … clip_value. This changes the direction.

    Args:
        parameters: tensors, or one. Those without a gradient are skipped.
        clip_value: at least 0.

    Raises:
        TypeError: something is not a tensor, or `clip_value` is no number.
        ValueError: `clip_value` is negative or nan; `parameters` is an iterator that was used up; the array of a gradient is
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
    """The gradients of the parameters that have one."""
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
    """Multiply arrays in place by a factor, a 0-dimensional array; on a GPU in one launch."""
    for data in arrays:
        if not fit((data,)):
            local = to_device(factor, device_of(data))
            follow(data)
            data *= local.astype(data.dtype)
    for rows in alike((data,) for data in arrays if fit((data,))):
        first = rows[0][0]
        local = to_device(factor, device_of(first))
        follow(first)
        launch(kernels, "scale", rows, local.astype(np.result_type(np.float32, first.dtype), copy=False))


def _sum_of_squares_fused(rows: list[ArrayRow]) -> Array:
    """The sum of squares of all elements of GPU arrays of one dtype: one launch for each block's sum, one to add these up."""
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


def _sum_of_squares(x: Array) -> Array:
    """The sum of squares of all elements of x."""
    follow(x)
    wide = at_least_float32(x)
    return array_module(x).vdot(wide, wide)


def _total_norm(gradients: list[Array], p: float) -> Tensor:
    """The norm of all arrays as one vector: the norm of their norms, on the device of the first."""
    if not gradients:
        return Tensor(0.0)
    xp, device = array_module(gradients[0]), device_of(gradients[0])
    if p == 2:  # block by block: one pass over memory, and short sums, with little rounding
        parts = [_sum_of_squares(part) for g in gradients if not fit((g,)) for (part,) in blocks(g)]
        parts += [_sum_of_squares_fused(rows) for rows in alike((g,) for g in gradients if fit((g,)))]
    else:
        parts = [norm(Tensor.wrap(at_least_float32(g)), p).array for g in gradients]
    dtype = np.result_type(np.float32, *{g.dtype for g in gradients})  # squares overflow in float16
    parts = [to_device(part, device) for part in parts]
    follow(gradients[0])
    lengths = xp.stack([part.astype(dtype, copy=False) for part in parts])
    if p == 2:
        return Tensor.wrap(xp.asarray(xp.sqrt(lengths.sum())))
    return norm(Tensor.wrap(lengths), p)
