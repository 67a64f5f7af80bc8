"""For every operation: how to call it, on what, and what PyTorch calls it. One table, from which several suites are made.

`CASES` maps the name of an operation to a strategy of `Case`s. An operation without an entry fails the suite, and so does an
entry without an operation.
"""

from cases import elementwise, indexing, layers, product, reduce, shape
from cases.common import Case

CASES = elementwise.CASES | reduce.CASES | shape.CASES | indexing.CASES | product.CASES | layers.CASES
NOT_DIFFERENTIABLE = elementwise.NOT_DIFFERENTIABLE | reduce.NOT_DIFFERENTIABLE
"""Operations through which no gradient flows."""

__all__ = ["CASES", "NOT_DIFFERENTIABLE", "Case"]
