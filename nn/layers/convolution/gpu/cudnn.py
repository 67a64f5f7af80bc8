"""Convolution on a GPU by NVIDIA's cuDNN, where `nvidia-cudnn-frontend` is installed. No other file imports it.

cuDNN is given a graph of one operation. It lists engines that compute it, the one that it estimates to be quickest first; the
first that we allow becomes a plan, which is cached for the next call of the same shape. (NVIDIA, "cuDNN frontend developer
guide", section Graph API.)

Before a result of cuDNN is used, it must pass a trial on this GPU, for this dtype: the three convolutions of some small shapes
are compared with our own kernels. If that or anything else fails, it is off for the whole process, and a warning says why.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from microtensor.runtime.arrays import Array, array_module, follow, index_of, on
from microtensor.runtime.cuda.settings import get_allow_cudnn, get_allow_tf32, get_convolution_workspace

from ...windows import Pair, Window
from ..problem import Device, Problem, with_bias
from . import implicit_gemm

MAX_PLANS = 1024
"""Plans that a thread keeps: the least recently used makes room for the next."""

ALIGNMENT_BYTES = 16
"""Engines read as many at a time, and arrays begin at multiples of it. A part of another array may not: it is copied."""

OPERATIONS = {
    "forward": ("conv_fprop", {"image": "x", "weight": "weight"}, "y"),
    "grad_input": ("conv_dgrad", {"loss": "y", "filter": "weight"}, "x"),
    "grad_weight": ("conv_wgrad", {"image": "x", "loss": "y"}, "weight"),
}
"""cuDNN's method for each of the three and its parameters, by what they are in the forward convolution; and the result."""

NAMES = {"x": 1, "weight": 2, "y": 3}
"""The ids of the tensors of a plan."""

TRIAL = (
    (2, 8, (9, 10), 16, Window((3, 3), padding=((1, 1), (1, 1))), 1),
    (3, 3, (11, 8), 5, Window((3, 2), stride=(2, 1), padding=((0, 1), (2, 1)), dilation=(1, 2)), 1),
    (2, 4, (7, 7), 6, Window((3, 3), stride=(2, 2), padding=((1, 1), (1, 1))), 2),
)
"""Images, channels, size, kernels, window, groups. Of the first, cuDNN must have a plan for all three."""

ROUNDING = {"e": 1e-2, "f": 1e-4}
"""How far a result may be from ours, relative to the largest value: a wrong one is off by all of it, Winograd's by 1e-5."""

TF32_ROUNDING = 1e-2


class Call(NamedTuple):
    """One of the three convolutions of one shape, on one GPU: what a plan is for."""

    gpu: int
    operation: str
    letter: str
    x: tuple[int, ...]
    weight: tuple[int, ...]
    y: tuple[int, ...]
    window: Window

    @classmethod
    def of(cls, problem: Problem) -> Call:
        """The call that computes a problem. cuDNN tells groups by the shapes."""
        gpu = index_of(problem.device.name)
        return cls(gpu, problem.operation, problem.dtype, problem.x, problem.weight, problem.y, problem.window)


class Plan(NamedTuple):
    """A built graph, and the bytes of workspace that it needs beside its tensors."""

    graph: Any
    workspace: int


class Local(threading.local):
    """Each thread's own: a handle for each GPU, which cuDNN allows to one thread at a time, and plans."""

    def __init__(self) -> None:
        self.handles: dict[int, Any] = {}
        self.plans = lru_cache(MAX_PLANS)(_build)


class Verdict:
    """What this process knows of cuDNN."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.passed: dict[tuple[str, str, bool], bool] = {}
        """For each GPU, dtype letter and whether TF32 was allowed: whether it passed the trial."""
        self.off = False


verdict = Verdict()


# The three convolutions


def why_not(problem: Problem) -> str:
    """It is for float32 and float16, where it is installed, allowed, has passed its trial on this GPU and has a plan."""
    letter, device = problem.dtype, problem.device
    if letter not in ROUNDING:
        return "it is for float32 and float16"
    if not device.cudnn_thread:
        return "cuDNN is not installed, is turned off, or there is no GPU"
    key = device.name, letter, letter == "f" and device.tf32
    if key not in verdict.passed:
        with verdict.lock:
            if key not in verdict.passed:
                verdict.passed[key] = _passes(*key)
    if not verdict.passed[key]:
        return "cuDNN is not installed, or has failed its trial"
    with on(device.name):
        return "" if _plan(Call.of(problem)) is not None else "cuDNN has no plan for this shape and this workspace"


def forward(x: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    return with_bias(_run({"x": x, "weight": weight}, problem), bias)


def grad_input(g: Array, weight: Array, bias: Array | None, problem: Problem) -> Array:
    """(N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, H, W)."""
    return with_bias(_run({"y": g, "weight": weight}, problem), bias)


def grad_weight(x: Array, g: Array, problem: Problem) -> Array:
    """(N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    return _run({"x": x, "y": g}, problem)


def allowed() -> bool:
    """Whether this thread may use cuDNN, as far as is known."""
    return get_allow_cudnn() and not verdict.off


def _run(given: dict[str, Array], problem: Problem) -> Array:
    like = next(iter(given.values()))
    follow(like)
    xp, call = array_module(like), Call.of(problem)
    plan = _plan(call)
    if plan is None:
        raise RuntimeError(f"cuDNN has no plan for this convolution: {call}")
    result = xp.empty(getattr(call, OPERATIONS[call.operation][2]), like.dtype)
    arrays = {key: array if array.data.ptr % ALIGNMENT_BYTES == 0 else array.copy() for key, array in given.items()}
    workspace = xp.empty(plan.workspace, "uint8") if plan.workspace else None
    handle = _local.handles[call.gpu]
    _library().set_stream(handle=handle, stream=xp.cuda.get_current_stream().ptr)
    pointers = {NAMES[key]: array.data.ptr for key, array in arrays.items()}
    pointers[NAMES[OPERATIONS[call.operation][2]]] = result.data.ptr
    plan.graph.execute(pointers, 0 if workspace is None else workspace.data.ptr, handle=handle)
    return result


# Plans


def _plan(call: Call) -> Plan | None:
    return _local.plans(call, call.letter == "f" and get_allow_tf32(), get_convolution_workspace())


def _build(call: Call, tf32: bool, workspace: int) -> Plan | None:
    """The plan for a call on the current GPU, with this workspace at most; None if cuDNN has none."""
    cudnn = _library()
    try:
        if call.gpu not in _local.handles:
            _local.handles[call.gpu] = cudnn.create_handle()
        graph = described(cudnn, call, handle=_local.handles[call.gpu])
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.deselect_numeric_notes(refused(cudnn, call.letter, tf32))
        graph.deselect_workspace_greater_than(workspace)
        graph.check_support()
        graph.build_plans()
        return Plan(graph, int(graph.get_workspace_size()))
    except cudnn.cudnnGraphNotSupportedError:
        return None
    except Exception as error:
        _turn_off(f"it failed to plan a convolution ({type(error).__name__}: {error})")
        return None


def described(cudnn: Any, call: Call, **where: Any) -> Any:
    """cuDNN's graph of a call. `where` is the handle of a GPU, or `device_property` for a GPU that is not here."""
    io = cudnn.data_type.HALF if call.letter == "e" else cudnn.data_type.FLOAT
    wide = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(io_data_type=io, intermediate_data_type=wide, compute_data_type=wide, **where)
    shapes = {"x": call.x, "weight": call.weight, "y": call.y}
    method, inputs, name = OPERATIONS[call.operation]
    tensors = {
        parameter: graph.tensor(dim=shapes[of], stride=_strides(shapes[of]), data_type=io, name=of, uid=NAMES[of])
        for parameter, of in inputs.items()
    }
    (top, bottom), (left, right) = call.window.padding
    result = getattr(graph, method)(
        **tensors,
        pre_padding=[top, left],
        post_padding=[bottom, right],
        stride=[*call.window.stride],
        dilation=[*call.window.dilation],
        compute_data_type=wide,
    )
    # cuDNN cannot infer the shape where windows leave pixels over, and would choose its own layout.
    result.set_output(True).set_dim([*shapes[name]]).set_stride(_strides(shapes[name])).set_data_type(io)
    result.set_uid(NAMES[name])
    return graph


def refused(cudnn: Any, letter: str, tf32: bool) -> list[Any]:
    """What an engine must not do: round more than our kernels, or differently from run to run."""
    note = cudnn.numerical_note
    notes = [note.DOWN_CONVERT_INPUTS, note.REDUCED_PRECISION_REDUCTION, note.NONDETERMINISTIC]
    return notes if tf32 or letter == "e" else [*notes, note.TENSOR_CORE]


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Of a contiguous array, in elements."""
    strides = [1]
    for length in shape[:0:-1]:
        strides.insert(0, strides[0] * length)
    return strides


# Trust


def _passes(device: str, letter: str, tf32: bool) -> bool:
    """Whether cuDNN is there, and computes what our kernels do on this GPU."""
    try:
        cudnn = _library()
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError) or error.name != "cudnn":
            _turn_off(f"nvidia-cudnn-frontend cannot be imported ({error})")
        verdict.off = True
        return False
    try:
        cudnn.backend_version()
    except Exception as error:
        _turn_off(f"nvidia-cudnn-frontend does not find cuDNN itself ({error}); pip install nvidia-cudnn-cu12, or -cu13")
        return False
    try:
        with on(device) as xp:
            for number, shape in enumerate(TRIAL):
                for operation, planned, off in _errors(xp, device, letter, *shape):
                    if not planned and number == 0:
                        _turn_off(f"it has no plan for the convolution `{operation}` of {shape}")
                    elif planned and not off <= (TF32_ROUNDING if tf32 else ROUNDING[letter]):
                        words = (
                            f"`{operation}` of {shape} is not what our kernels compute: off by {off:.1e} of the largest value"
                        )
                        _turn_off(words)
                    if verdict.off:
                        return False
    except Exception as error:
        _turn_off(f"its trial failed ({type(error).__name__}: {error})")
    return not verdict.off


def _errors(
    xp: Any, device: str, letter: str, images: int, channels: int, size: Pair, kernels: int, window: Window, groups: int
) -> Iterator[tuple[str, bool, float]]:
    """For each of the three: whether there is a plan, and by how much its result differs from ours, of the largest value."""
    rng, places = np.random.default_rng(0), window.places("conv2d", size)
    shapes = (images, channels, *size), (kernels, channels // groups, *window.kernel), (images, kernels, *places)
    x, weight, g = (xp.asarray(rng.standard_normal(shape).astype(letter)) for shape in shapes)
    arguments: dict[str, Any] = {"forward": (x, weight, None), "grad_input": (g, weight, None), "grad_weight": (x, g)}
    problems = {name: Problem(name, *shapes, window, groups, letter, Device(device)) for name in arguments}
    # Ours are kept until the end: the memory of cuDNN's results then never holds the right values already.
    ours = {name: getattr(implicit_gemm, name)(*given, problems[name]) for name, given in arguments.items()}
    for name, given in arguments.items():
        if _plan(Call.of(problems[name])) is None:
            yield name, False, 0.0
            continue
        theirs = globals()[name](*given, problems[name])
        difference = xp.abs(theirs.astype("float32") - ours[name].astype("float32")).max()
        yield name, True, float(difference / xp.abs(ours[name].astype("float32")).max())


def _turn_off(why: str) -> None:
    """For the whole process, with one warning."""
    if not verdict.off:
        verdict.off = True
        warnings.warn(f"cuDNN is not used, convolutions take our own kernels: {why}", RuntimeWarning, stacklevel=2)


def _library() -> Any:
    return importlib.import_module("cudnn")


_local = Local()
