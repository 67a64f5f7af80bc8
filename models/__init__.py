"""The networks of the field's history: one paper, one file."""

from microtensor.models.lenet import lenet5, lenet5_1998

__all__ = ["lenet5", "lenet5_1998"]
