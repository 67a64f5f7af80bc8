"""For every operation: how to call it, on what, and what PyTorch calls it. One table, from which several suites are made.

`CASES` maps the name of an operation to a strategy of `Case`s. An operation without an entry fails the suite, and so does an
entry without an operation.
"""

from cases import (
    activations,
    diagonals,
    elementwise,
    extremes,
    functions,
    gathering,
    indexing,
    join,
    layers,
    logic,
    order,
    padding,
    product,
    reduce,
    repeating,
    scan,
    shape,
)
from cases.common import Case

CASES = (
    elementwise.CASES
    | functions.CASES
    | activations.CASES
    | reduce.CASES
    | shape.CASES
    | repeating.CASES
    | join.CASES
    | padding.CASES
    | diagonals.CASES
)
CASES |= extremes.CASES | order.CASES | scan.CASES
CASES |= indexing.CASES | gathering.CASES | product.CASES | layers.CASES
COMPOSED = (
    functions.COMPOSED
    | activations.COMPOSED
    | shape.COMPOSED
    | repeating.COMPOSED
    | join.COMPOSED
    | padding.COMPOSED
    | diagonals.COMPOSED
)
COMPOSED |= reduce.COMPOSED | extremes.COMPOSED | order.COMPOSED | scan.COMPOSED
COMPOSED |= indexing.COMPOSED | gathering.COMPOSED | product.COMPOSED
"""The same for functions that are made of operations."""

NOT_DIFFERENTIABLE = elementwise.NOT_DIFFERENTIABLE | logic.NOT_DIFFERENTIABLE | reduce.NOT_DIFFERENTIABLE
NOT_DIFFERENTIABLE |= extremes.NOT_DIFFERENTIABLE | order.NOT_DIFFERENTIABLE | scan.NOT_DIFFERENTIABLE
"""Operations through which no gradient flows."""

__all__ = ["CASES", "COMPOSED", "NOT_DIFFERENTIABLE", "Case"]
