"""Several tensors in one operation: on one device, broadcast to one shape, promoted to one dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..runtime.arrays import device_of
from .graph import Node, is_floating


def align(name: str, inputs: Sequence[Any], dtype: np.dtype[Any] | None) -> list[Any]:
    """Tensors broadcast to one shape and, unless `dtype` is None, cast to it. Python numbers stay as they are."""
    nodes = [x for x in inputs if isinstance(x, Node)]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in nodes))
    except ValueError:
        shapes = " and ".join(str(x.shape) for x in nodes)
        raise ValueError(
            f"{name}: shapes {shapes} do not broadcast: counted from the right, two lengths must be equal, or one of them 1"
        ) from None
    aligned = []
    for x in inputs:
        if isinstance(x, Node):
            tensor: Any = x
            if dtype is not None and x.dtype != dtype:
                tensor = tensor.to(dtype)
            x = tensor if x.shape == shape else tensor.broadcast_to(shape)
        aligned.append(x)
    return aligned


def result_type(*inputs: Any) -> np.dtype[Any]:
    """The dtype to which tensors and Python numbers are promoted: a float's over an integer's, the wider of two of a kind.

    Python numbers do not change the dtype of a tensor, but a Python float among integers alone gives float32. So float32
    becomes float64 only where it meets a float64 tensor: PyTorch's rule, where NumPy promotes int64 with float32 to float64.
    """
    dtypes = [x.dtype for x in inputs if isinstance(x, Node)]
    floats = [dtype for dtype in dtypes if is_floating(dtype)]
    if floats:
        return np.result_type(*floats)
    if any(isinstance(x, float) for x in inputs):
        return np.dtype(np.float32)
    return np.result_type(*dtypes) if dtypes else np.dtype(np.int64)


def check_devices(name: str, inputs: Sequence[Any]) -> None:
    """Raise ValueError, which names two of them, unless all tensors among `inputs` are on one device."""
    nodes = [x for x in inputs if isinstance(x, Node)]
    for x in nodes[1:]:
        if device_of(x._data) != device_of(nodes[0]._data):
            name = name.lstrip("_")  # the user called cat() or where(), not the private operation inside
            raise ValueError(
                f"{name}: one tensor {nodes[0].shape} is on {nodes[0].device}, another {x.shape} on {x.device}; "
                f"move one: .to({nodes[0].device!r})"
            )
