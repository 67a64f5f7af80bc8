"""`convolution_ways`: how a convolution of some shape can be computed, what each way is estimated to take, what is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import DTypeLike

from microtensor.convert import as_dtype
from microtensor.runtime.arrays import is_available, library, parse_device
from microtensor.runtime.cuda import kernels
from microtensor.runtime.integers import as_integers
from microtensor.runtime.text import table

from ..conv import check_geometry
from . import dispatch
from .problem import OPERATIONS, Device, Problem


class ConvolutionWay(NamedTuple):
    """One way for one of the three convolutions."""

    operation: str
    """ "forward", "grad_input" or "grad_weight"."""
    name: str
    fits: bool
    why_not: str
    """Why it does not compute this convolution, in words; "" if it does."""
    nanoseconds: float
    """The estimate, on one core or on a GPU; inf if it does not fit."""
    chosen: bool


class ConvolutionWays:
    """What `convolution_ways` found: `print` it for the table, or take the `rows`."""

    def __init__(self, title: str, rows: Sequence[ConvolutionWay]) -> None:
        self.title, self.rows = title, tuple(rows)

    def chosen(self, operation: str) -> str:
        """The name of the way that is taken for "forward", "grad_input" or "grad_weight".

        Raises:
            ValueError: it is none of these.
        """
        if operation not in OPERATIONS:
            raise ValueError(f"chosen: expected one of {', '.join(OPERATIONS)}, got {operation!r}")
        return next(row.name for row in self.rows if row.operation == operation and row.chosen)

    def __repr__(self) -> str:
        names = dict.fromkeys(row.name for row in self.rows)
        lines, notes = [], []
        for name in names:
            rows = [row for row in self.rows if row.name == name]
            lines.append([name, *map(_cell, rows)])
            reasons: dict[str, list[str]] = {}
            for row in rows:
                reasons.setdefault(row.why_not, []).append(row.operation)
            for reason, operations in reasons.items():
                where = "" if len(operations) == len(OPERATIONS) else f" ({', '.join(operations)})"
                notes += [f"{name}{where}: {reason}"] if reason else []
        body = table(["way", *OPERATIONS], lines)
        return "\n".join([self.title, "", body, "", "estimated; * is taken; - does not fit:", *notes])


def _cell(row: ConvolutionWay) -> str:
    if not row.fits:
        return "- "
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if row.nanoseconds >= size:
            return f"{row.nanoseconds / size:.3g} {unit}" + ("*" if row.chosen else " ")
    return f"{row.nanoseconds:.0f} ns" + ("*" if row.chosen else " ")


def convolution_ways(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike = "float32",
    device: str = "cpu",
) -> ConvolutionWays:
    """How a convolution of this shape can be computed, and how `conv2d` and its two gradients do it.

    Which of these is quickest depends on the shape:

    - **im2col** copies every window into a column of a matrix, and multiplies it by the kernels in one matrix product (GEMM,
      general matrix multiplication). Its adjoint, col2im, adds columns back to pixels. It computes any convolution.
    - **im2col_rows** copies along the rows of the kernel only, kw times, and adds up kh products instead: for few kernels.
    - **pointwise** is for 1×1 kernels: an image is its own matrix of columns, and nothing is copied.
    - **depthwise** is for one kernel a channel, whose GEMM would have a single row: copies and additions of whole rows.
    - **toeplitz** is for the same on small images: convolution is linear, so it is a product with a matrix, whose diagonals are
      constant and most of whose elements are 0.
    - **onednn** is Intel's library, which compiles a convolution for the CPU and the shape (an optional extra).
    - On a GPU: **implicit_gemm**, a kernel that reads the windows while it multiplies, so that the matrix of columns is never
      written; **cudnn**, NVIDIA's library; **im2col**, **pointwise** and **depthwise** as above.

    The way with the lowest estimate (costs.py) is taken. docs/speed.md says what each gains in a training step.

    Args:
        x_shape: (N, C, H, W).
        weight_shape: (O, C/groups, kh, kw).
        stride, padding, dilation, groups: as for `conv2d`.
        dtype: float16, float32 or float64.
        device: "cpu" or "cuda". Without a GPU the estimates for one are shown, but cuDNN cannot be asked.

    Returns:
        A `ConvolutionWays`: prints as a table; `rows` are the data, `chosen(operation)` is a name.

    Raises:
        TypeError: a setting is no integer, or `dtype` is not floating-point.
        ValueError: the shapes do not fit each other, or there is nothing to compute.

    >>> ways = convolution_ways((32, 16, 28, 28), (32, 16, 3, 3), padding=1)
    >>> [row.why_not for row in ways.rows if row.name == "pointwise" and row.operation == "forward"]
    ['the kernel is not 1×1 with stride 1 and no padding']
    >>> convolution_ways((32, 64, 6, 6), (64, 1, 3, 3), padding=1, groups=64, dtype="float64").chosen("forward")
    'toeplitz'
    """
    name, kind = "convolution_ways", as_dtype("convolution_ways", dtype)
    if kind.char not in "efd":
        raise TypeError(f"{name}: dtype must be float16, float32 or float64, got {kind}")
    x, weight = as_integers(name, "x_shape", x_shape, least=0), as_integers(name, "weight_shape", weight_shape, least=0)
    window, groups = check_geometry(name, 2, x, weight, None, stride, padding, dilation, groups)
    y = (x[0], weight[0], *window.places(name, x[2:]))
    if 0 in x + weight + y:
        raise ValueError(f"{name}: there is nothing to compute for x {x} and weight {weight}")
    where = _device(device)
    rows = [row for name in OPERATIONS for row in _rows(Problem(name, x, weight, y, window, groups, kind.char, where))]
    settings = f"stride {window.stride}, padding {window.padding}, dilation {window.dilation}, groups {groups}"
    return ConvolutionWays(f"x {x}, weight {weight} → {y}; {settings}; {kind} on {where.name}", rows)


def _rows(problem: Problem) -> list[ConvolutionWay]:
    """Every way of the device."""
    if problem.dtype == "e" and problem.device.name == "cpu":  # it computes float16 in float32
        problem = problem._replace(dtype="f")
    taken, rows = dispatch.cheapest(problem), []
    for way in dispatch.WAYS:
        if way.gpu == problem.device.has_gpu_ways:
            why = way.why_not(problem)
            cost = float("inf") if why else way.cost(problem)
            rows.append(ConvolutionWay(problem.operation, way.name, not why, why, cost, way is taken))
    return rows


def _device(name: str) -> Device:
    name = parse_device(name)
    if name == "cpu" or is_available():
        return dispatch.device(library(name).empty(0, "float32"))
    return Device(name, kernels.chosen.kernels)
