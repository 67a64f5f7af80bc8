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

from .autograd.anomaly import detect_anomaly
from .autograd.autocast import autocast, is_autocast_enabled
from .autograd.backward import backward, grad
from .autograd.grad_mode import enable_grad, is_grad_enabled, no_grad
from .autograd.op import op
from .checkpoint import checkpoint
from .creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from .functional import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .ops.activations import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    prelu,
    relu,
    relu6,
    softshrink,
    threshold,
)
from .ops.contraction import bilinear, einsum, tensordot
from .ops.diagonals import diag, diagonal, tril, triu
from .ops.elementwise import (
    abs,
    add,
    clamp,
    clip,
    clone,
    divide,
    floor_divide,
    lerp,
    maximum,
    minimum,
    multiply,
    neg,
    pow,
    remainder,
    sign,
    subtract,
    where,
)
from .ops.error_function import erf, erfc
from .ops.extremes import amax, amin, aminmax, argmax, argmin, max, min, norm
from .ops.functions import (
    acos,
    acosh,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    cos,
    cosh,
    exp,
    exp2,
    expm1,
    floor,
    frac,
    log,
    log1p,
    log2,
    log10,
    reciprocal,
    round,
    rsqrt,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    trunc,
)
from .ops.gathering import gather, index_add, index_select, one_hot, scatter, scatter_add, take_along_dim
from .ops.indexing import masked_fill, masked_select, nonzero, take
from .ops.join import cat, chunk, hstack, split, stack, unbind, vstack
from .ops.logic import (
    allclose,
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from .ops.order import argsort, kthvalue, median, sort, topk, unique
from .ops.padding import pad
from .ops.product import bmm, dot, matmul, mm, mv, outer
from .ops.reduce import all, any, count_nonzero, logsumexp, mean, prod, std, sum, var, var_mean
from .ops.repeating import broadcast_to, meshgrid, repeat_interleave, tile
from .ops.scan import cummax, cummin, cumprod, cumsum
from .ops.shape import (
    flatten,
    flip,
    moveaxis,
    movedim,
    permute,
    reshape,
    roll,
    rot90,
    squeeze,
    swapaxes,
    transpose,
    unflatten,
    unsqueeze,
)
from .ops.smooth_activations import (
    celu,
    elu,
    gelu,
    glu,
    logsigmoid,
    mish,
    selu,
    sigmoid,
    silu,
    softmin,
    softplus,
    softsign,
    tanhshrink,
)
from .ops.softmax import log_softmax, softmax
from .profiler.backward_trace import trace_backward
from .profiler.draw import draw_graph
from .profiler.profiler import profile
from .random import (
    Generator,
    bernoulli,
    manual_seed,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from .runtime.checkout import find_packages_beside
from .runtime.device import default_device, get_default_device, set_default_device
from .runtime.names import missing
from .runtime.threads import get_num_threads, set_num_threads
from .tensor import Tensor

if TYPE_CHECKING:
    from . import cuda, data, gradcheck, models, nn, plot, saliency
    from . import testing as testing
    from .io import state
    from .io.state import load, save

__version__ = "0.1.0"

PARTS = ("cuda", "data", "functional", "gradcheck", "models", "nn", "plot", "saliency", "state", "testing")
"""Imported when first used. `testing` is in no `from microtensor import *`, for it needs hypothesis."""

__all__ = [
    "Generator", "Tensor", "abs", "acos", "acosh", "add", "all", "allclose", "amax", "amin", "aminmax", "any", "arange",
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "as_tensor",
    "asin", "asinh", "atan", "atan2", "atanh", "autocast", "backward", "bernoulli", "bilinear", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bmm", "broadcast_to", "cat",
    "ceil", "celu", "checkpoint", "chunk", "clamp", "clip", "clone", "cos", "cosh", "count_nonzero", "cuda", "cummax",
    "cummin", "cumprod", "cumsum", "data", "default_device", "detect_anomaly", "diag", "diagonal", "divide", "dot",
    "draw_graph", "einsum", "elu", "empty", "empty_like", "enable_grad", "eq", "equal", "erf", "erfc", "exp", "exp2",
    "expm1", "eye", "flatten", "flip", "floor", "floor_divide", "frac", "from_dlpack", "from_numpy", "full", "full_like",
    "functional", "gather", "ge", "gelu", "get_default_device", "get_num_threads", "glu", "grad", "gradcheck", "gt",
    "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hessian", "hstack", "hvp", "index_add", "index_select",
    "is_autocast_enabled", "is_grad_enabled", "isclose", "isfinite", "isinf", "isnan", "jacobian", "jvp", "kthvalue", "le",
    "leaky_relu", "lerp", "linspace", "load", "log", "log10", "log1p", "log2", "log_softmax", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logsigmoid", "logsumexp", "lt", "manual_seed", "masked_fill", "masked_select", "matmul",
    "max", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mish", "mm", "models", "moveaxis", "movedim",
    "multiply", "mv", "ne", "neg", "nn", "no_grad", "nonzero", "norm", "normal", "one_hot", "ones", "ones_like", "op",
    "outer", "pad", "permute", "plot", "pow", "prelu", "prod", "profile", "rand", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "randperm", "reciprocal", "relu", "relu6", "remainder", "repeat_interleave", "reshape", "roll",
    "rot90", "round", "rsqrt", "saliency", "save", "scatter", "scatter_add", "selu", "set_default_device",
    "set_num_threads", "sigmoid", "sign", "silu", "sin", "sinh", "softmax", "softmin", "softplus", "softshrink", "softsign",
    "sort", "split", "sqrt", "square", "squeeze", "stack", "state", "std", "subtract", "sum", "swapaxes", "take",
    "take_along_dim", "tan", "tanh", "tanhshrink", "tensor", "tensordot", "threshold", "tile", "topk", "trace_backward",
    "transpose", "tril", "triu", "trunc", "unbind", "unflatten", "unique", "unsqueeze", "value_and_grad", "var", "var_mean",
    "vjp", "vstack", "where", "zeros", "zeros_like",
]  # fmt: skip

find_packages_beside()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *PARTS})


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in ("load", "save"):
            return getattr(importlib.import_module(f"{__name__}.io.state"), name)
        if name in PARTS:
            try:
                return importlib.import_module(f"{__name__}.{'io.state' if name == 'state' else name}")
            except ImportError as error:  # of an extra; so that hasattr() answers
                raise AttributeError(f"module {__name__!r} has no attribute {name!r} here: {error}") from error
        raise missing(__name__, name, __dir__())
