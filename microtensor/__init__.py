"""microtensor: a small tensor library that teaches how a convolutional network learns, and can train one.

>>> import microtensor as mt
>>> x = mt.Tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
Tensor([2., 4.])

`microtensor.nn`, `.models`, `.data`, `.saliency`, `.plot` and the other parts are imported when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .elementwise import (
    abs,
    add,
    clone,
    divide,
    eq,
    exp,
    ge,
    gt,
    le,
    log,
    logical_and,
    lt,
    maximum,
    minimum,
    multiply,
    ne,
    neg,
    pow,
    relu,
    sigmoid,
    sign,
    sqrt,
    subtract,
    tanh,
    where,
)
from .gradient import backward, enable_grad, grad, is_grad_enabled, no_grad
from .op import op
from .product import matmul
from .random import Generator, manual_seed
from .reduce import amax, amin, argmax, log_softmax, mean, softmax, sum
from .shape import broadcast_to, cat, flatten, pad, permute, reshape, squeeze, transpose, unsqueeze
from .tensor import Tensor

if TYPE_CHECKING:
    from . import data, models, nn

__version__ = "0.1.0"

__all__ = [
    "Generator",
    "Tensor",
    "abs",
    "add",
    "amax",
    "amin",
    "argmax",
    "backward",
    "broadcast_to",
    "cat",
    "clone",
    "divide",
    "enable_grad",
    "eq",
    "exp",
    "flatten",
    "ge",
    "grad",
    "gt",
    "is_grad_enabled",
    "le",
    "log",
    "log_softmax",
    "logical_and",
    "lt",
    "manual_seed",
    "matmul",
    "maximum",
    "mean",
    "minimum",
    "multiply",
    "ne",
    "neg",
    "no_grad",
    "op",
    "pad",
    "permute",
    "pow",
    "relu",
    "reshape",
    "sigmoid",
    "sign",
    "softmax",
    "sqrt",
    "squeeze",
    "subtract",
    "sum",
    "tanh",
    "transpose",
    "unsqueeze",
    "where",
    "data",
    "gradcheck",
    "models",
    "nn",
    "plot",
    "saliency",
    "state",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in __all__:  # a part: what is imported above never asks here
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
