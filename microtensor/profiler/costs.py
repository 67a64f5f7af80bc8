"""The cost of an operation in multiply-adds: products of an input element and a weight, each added to a sum.

Convolutions, linear layers and matrix products are counted; biases, activations, pooling and normalisation are not: as in the
papers and in torchvision's tables. Padding counts as input: a kernel is multiplied with its zeros too. Each operation
counts its own, `@op(multiply_adds=…)`; without that it costs 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.graph import Node


def multiply_adds(operation: Any, inputs: Sequence[Any], result: Node) -> int:
    """Multiply-adds of an operation, which ran on `inputs`.

    >>> from microtensor import ones, op
    >>> @op(multiply_adds=lambda inputs, result: 3 * result.numel())
    ... def blur(x):
    ...     return x.array * 1.0, (lambda g: g,)
    >>> x = ones(2, 5)
    >>> multiply_adds(blur, [x], blur(x))
    30
    """
    count = getattr(operation, "multiply_adds", None)
    return 0 if count is None else count(inputs, result)


def each_result(inputs: Sequence[Any], result: Node) -> int:
    """Of a convolution: one kernel per element of the result (N, O, H', W'), with weight (O, C/groups, kh, kw)."""
    return math.prod(result.shape) * math.prod(inputs[1].shape[1:])


def each_input(inputs: Sequence[Any], result: Node) -> int:
    """Of a transposed convolution: one kernel per element of the input."""
    return math.prod(inputs[0].shape) * math.prod(inputs[1].shape[1:])


def each_pair(inputs: Sequence[Any], result: Node) -> int:
    """Of the gradient to a convolution's weight: each element of the gradient times the window that it came from."""
    return math.prod(inputs[1].shape) * math.prod(result.shape[1:])
