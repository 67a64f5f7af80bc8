"""What an operation costs in multiply-adds: multiplications of a number of the data with a weight, each added to a sum.

Convolutions, linear layers and matrix products are counted; biases, activations, pooling and normalisation are not: as in the
papers and in torchvision's tables. Padding counts as data: a kernel is multiplied with its zeros too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..graph import Node


def multiply_adds(operation: str, inputs: Sequence[Any], result: Node) -> int:
    """Multiply-adds of the operation of this name, which ran on `inputs`.

    >>> from microtensor import ones
    >>> x, y = ones(2, 3), ones(3, 5)
    >>> multiply_adds("_matmul", [x, y], x @ y)
    30
    """
    count = COUNTS.get(operation)
    return 0 if count is None else count(inputs, result)


def _each_result(inputs: Sequence[Any], result: Node) -> int:
    """Each number of the result meets a kernel: (N, O, H', W'), with weight (O, C/groups, kh, kw)."""
    return math.prod(result.shape) * math.prod(inputs[1].shape[1:])


def _each_input(inputs: Sequence[Any], result: Node) -> int:
    """Each number of the input meets a kernel: the transposed convolution."""
    return math.prod(inputs[0].shape) * math.prod(inputs[1].shape[1:])


def _each_pair(inputs: Sequence[Any], result: Node) -> int:
    """Each number of the gradient meets what a kernel saw: the gradient to a convolution's weight."""
    return math.prod(inputs[1].shape) * math.prod(result.shape[1:])


def _each_row(inputs: Sequence[Any], result: Node) -> int:
    """Each number of the result is a sum over the last axis of the first tensor."""
    return math.prod(result.shape) * int(inputs[0].shape[-1])


COUNTS: dict[str, Callable[[Sequence[Any], Node], int]] = {
    "_conv2d": _each_result,
    "_to_input": _each_input,
    "_to_weight": _each_pair,
    "_linear": _each_row,
    "_matmul": _each_row,
}
"""By the name of the operation; what is not here costs nothing."""
