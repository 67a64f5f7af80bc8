"""Which way computes a convolution: of those that fit the problem, the cheapest by the estimates of costs.py.

    forward      y = conv2d(x, weight)        (N, C, H, W), (O, C/G, kh, kw) → (N, O, H', W')
    grad_input   its adjoint in x             (N, O, H', W'), (O, C/G, kh, kw) → (N, C, H, W)
    grad_weight  its adjoint in weight        (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)

The choice is made once for each problem and cached: a call costs one look-up. `nn.convolution_ways` shows it as a table.

A new way is a file with `why_not`, `forward`, `grad_input` and `grad_weight`, its cost, and a line in `WAYS`. To change what is
chosen, change costs.py. tests/nn/layers/convolution/test_ways.py holds every way in the list to the definition of convolution.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any

import numpy as np

from microtensor.ops.product import through_float32
from microtensor.runtime.arrays import Array, array_module, device_of
from microtensor.runtime.cuda import kernels
from microtensor.runtime.cuda.settings import get_allow_tf32, get_convolution_workspace
from microtensor.runtime.scoped import Block, Setting

from ..windows import Pair, Window
from . import costs
from .cpu import depthwise, im2col, im2col_rows, pointwise, toeplitz
from .gpu import cudnn, implicit_gemm
from .gpu import depthwise as gpu_depthwise
from .gpu import im2col as gpu_im2col
from .gpu import pointwise as gpu_pointwise
from .onednn import convolution as onednn
from .problem import OPERATIONS, Device, Problem, Shape, Way, with_bias


def _way(name: str, module: Any, cost: Callable[[Problem], float], gpu: bool = False) -> Way:
    return Way(name, module.why_not, cost, module.forward, module.grad_input, module.grad_weight, gpu)


WAYS = (
    _way("pointwise", pointwise, costs.pointwise),
    _way("toeplitz", toeplitz, costs.toeplitz),
    _way("depthwise", depthwise, costs.depthwise),
    _way("im2col_rows", im2col_rows, costs.im2col_rows),
    _way("im2col", im2col, costs.im2col),
    _way("onednn", onednn, costs.onednn),
    _way("pointwise", gpu_pointwise, costs.gpu_pointwise, gpu=True),
    _way("depthwise", gpu_depthwise, costs.gpu_depthwise, gpu=True),
    _way("implicit_gemm", implicit_gemm, costs.gpu_implicit_gemm, gpu=True),
    _way("im2col", gpu_im2col, costs.gpu_im2col, gpu=True),
    _way("cudnn", cudnn, costs.gpu_cudnn, gpu=True),
)
"""Every way there is. Of equally cheap ones the first is taken."""


# The three convolutions


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) or None → (N, O, H', W')."""
    compute, problem = _chosen("forward", x, x.shape, weight.shape, window, groups, bias is not None)
    y: Array = compute(x, weight, bias, problem)
    return y


def grad_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """(N, O, H', W'), (O, C/G, kh, kw), (C,) or None → (N, C, *size). With a bias: a transposed convolution's forward."""
    shape = (len(g), groups * weight.shape[1], *size)
    compute, problem = _chosen("grad_input", g, shape, weight.shape, window, groups, False)
    x: Array = compute(g, weight, bias, problem)
    return x


def grad_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    shape = (g.shape[1], x.shape[1] // groups, *window.kernel)
    compute, problem = _chosen("grad_weight", x, x.shape, shape, window, groups, False)
    weight: Array = compute(x, g, problem)
    return weight


# The choice


class _Forced(threading.local):
    """Each thread's own."""

    way: str | None = None
    """The name of the way to take instead of the cheapest."""


forced = _Forced()


def way(name: str) -> Block:
    """Inside, this thread's convolutions are computed by the way of this name, to compare it with others.

    Raises:
        ValueError: there is no such way; inside: it does not compute such a convolution.
    """
    names = list(dict.fromkeys(way.name for way in WAYS))
    if name not in names:
        raise ValueError(f"way: expected one of {', '.join(names)}, got {name!r}")
    return Setting(forced, way=name)


def fitting(problem: Problem) -> list[Way]:
    """The ways that compute a problem."""
    return [way for way in WAYS if way.gpu == problem.device.has_gpu_ways and way.fits(problem)]


def cheapest(problem: Problem) -> Way:
    """The way that a problem is computed by, if none is forced."""
    return min(fitting(problem), key=lambda way: way.cost(problem))


def device(like: Array) -> Device:
    """Where this array is, and what is allowed there now."""
    if type(like) is np.ndarray:
        return _CPU if kernels.chosen.kernels else _PLAIN_CPU
    thread = threading.get_ident() if cudnn.allowed() else 0
    return Device(device_of(like), kernels.usable(like), get_allow_tf32(), get_convolution_workspace(), thread)


_CPU, _PLAIN_CPU = Device(), Device(kernels=False)


def _chosen(
    operation: str, like: Array, x: Shape, weight: Shape, window: Window, groups: int, bias: bool
) -> tuple[Callable[..., Array], Problem]:
    return _choose(operation, x, weight, window, groups, like.dtype.char, device(like), bias, forced.way)


@lru_cache(maxsize=4096)
def _choose(
    operation: str, x: Shape, weight: Shape, window: Window, groups: int, dtype: str, on: Device, bias: bool, name: str | None
) -> tuple[Callable[..., Array], Problem]:
    """The function that computes a problem, and the problem for its last argument."""
    half_on_cpu = dtype == "e" and on.name == "cpu"  # BLAS has no float16
    y = (x[0], weight[0], *window.places("conv2d", x[2:]))
    problem = Problem(operation, x, weight, y, window, groups, "f" if half_on_cpu else dtype, on, bias)
    if 0 in x + weight + y:
        return _ZEROS[operation], problem
    ways = fitting(problem) if name else [cheapest(problem)]
    found = next((way for way in ways if name in (None, way.name)), None)
    if found is None:
        fit = ", ".join(way.name for way in ways)
        raise ValueError(f"way: {name} does not compute this convolution, {fit} do: {problem}")
    compute: Callable[..., Array] = getattr(found, operation)
    if found.gpu:
        compute = _on_contiguous(compute)
    return through_float32(compute) if half_on_cpu else compute, problem


def forget() -> None:
    """Choose again: for tests that change what there is to choose from."""
    _choose.cache_clear()


def _on_contiguous(compute: Callable[..., Array]) -> Callable[..., Array]:
    """A function of arrays and a problem, whose kernels take contiguous arrays."""

    @wraps(compute)
    def computing(*arguments: Any) -> Array:
        *arrays, problem = arguments
        whole = array_module(arrays[0]).ascontiguousarray
        return compute(*(None if array is None else whole(array) for array in arrays), problem)

    return computing


def _zeros(like: Array, shape: Sequence[int], bias: Array | None = None) -> Array:
    """Sums of no products, where an array has no elements: 0, and the bias."""
    zeros: Array = with_bias(array_module(like).zeros(shape, like.dtype), bias)
    return zeros


_ZEROS: dict[str, Callable[..., Array]] = dict(
    zip(
        OPERATIONS,
        (
            lambda x, weight, bias, problem: _zeros(x, problem.y, bias),
            lambda g, weight, bias, problem: _zeros(g, problem.x, bias),
            lambda x, g, problem: _zeros(x, problem.weight),
        ),
    )
)
