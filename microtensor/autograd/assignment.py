"""Checks of what is assigned to a tensor: `x.array = …` and `x.grad = …`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.arrays import Array, is_array


def checked_array(data: Any) -> Array:
    """What is assigned to `array`, as an array of no subclass.

    Raises:
        TypeError: it is no array, or not of numbers of 64 bits at most.
    """
    if isinstance(data, np.generic):
        data = np.asarray(data)
    if not is_array(data):
        raise TypeError(f"data: expected an array, got {type(data).__name__}; to write values into it: x[...] = values")
    if data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
        raise TypeError(f"data: expected numbers of 64 bits at most, got an array of {data.dtype}")
    return np.asarray(data) if isinstance(data, np.ndarray) else data  # a memory map is of a subclass


def check_gradient(kind: type, tensor: Any, gradient: Any) -> None:
    """Check what is assigned to the `grad` of a tensor. `kind` is the class of tensors.

    Raises:
        TypeError: it is no tensor.
        ValueError: it is the tensor itself, or of another shape or dtype, or on another device.
    """
    if not isinstance(gradient, kind):
        given = f"{gradient!r} ({type(gradient).__name__})"
        raise TypeError(f"grad: expected a Tensor of shape {tensor.shape} and dtype {tensor.dtype}, or None, got {given}")
    if gradient is tensor:
        raise ValueError("grad: a tensor cannot be its own gradient: assign a copy, x.detach().clone()")
    found: Any = gradient
    if found.shape != tensor.shape:
        raise ValueError(f"grad: expected the shape of the tensor, {tensor.shape}, got {found.shape}")
    if found.dtype != tensor.dtype:
        raise ValueError(
            f"grad: expected the dtype of the tensor, {tensor.dtype}, got {found.dtype}; use .to('{tensor.dtype}')"
        )
    if found.device != tensor.device:
        raise ValueError(f"grad: expected it on {tensor.device}, as its tensor, got {found.device}; use .to({tensor.device!r})")
