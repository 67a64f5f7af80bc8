"""For every operation: how to call it, on what, and what PyTorch calls it. One table, from which several suites are made.

`CASES` maps the name of an operation to a strategy of `Case`s. An operation without an entry fails the suite, and so does an
entry without an operation. `COMPOSED` has the same for functions that are made of operations, `NOT_DIFFERENTIABLE` the names of
operations through which no gradient flows.
"""

from cases import (
    activations,
    convolution,
    diagonals,
    elementwise,
    extremes,
    functions,
    gathering,
    indexing,
    join,
    layers,
    logic,
    losses,
    normalisation,
    order,
    padding,
    pooling,
    product,
    reduce,
    repeating,
    resizing,
    scan,
    shape,
    singular,
)
from cases.common import Case

FAMILIES = [elementwise, functions, activations, logic, reduce, extremes, order, scan, shape, repeating, join, padding]
FAMILIES += [diagonals, indexing, gathering, product, layers, convolution, pooling, resizing, normalisation, losses, singular]

CASES, COMPOSED, NOT_DIFFERENTIABLE = {}, {}, set()
for family in FAMILIES:
    CASES |= getattr(family, "CASES", {})
    COMPOSED |= getattr(family, "COMPOSED", {})
    NOT_DIFFERENTIABLE |= getattr(family, "NOT_DIFFERENTIABLE", set())

__all__ = ["CASES", "COMPOSED", "NOT_DIFFERENTIABLE", "Case"]
