"""Convolution on a GPU by NVIDIA's cuDNN, where `nvidia-cudnn-frontend` is installed. No other file imports it.

cuDNN is given a graph of one operation. It names engines that compute it, the one that it holds for the quickest first; the
first that we allow becomes a plan, which is kept for the next call of the same shape. (NVIDIA, "cuDNN frontend developer
guide", section Graph API.)

No result of cuDNN's is used before it has passed a trial on this GPU, for this dtype: the three convolutions of some small
shapes, compared with our own kernels. Where it fails, or breaks, it is off for the whole process, and a warning says why.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from microtensor.runtime.arrays import Array, array_module, follow
from microtensor.runtime.cuda.settings import get_allow_cudnn, get_allow_tf32, get_convolution_workspace

from ...windows import Pair, Window
from . import implicit_gemm
from .im2col import with_bias

MOST_PLANS = 1024
"""Of each thread: the one that was not used for longest makes room for the next."""

ALIGNMENT = 16
"""Bytes: engines read as many at a time, and arrays begin at multiples of it. A part of another array may not."""

OPERATIONS = {
    "forward": ("conv_fprop", {"image": "x", "weight": "weight"}, "y"),
    "to_input": ("conv_dgrad", {"loss": "y", "filter": "weight"}, "x"),
    "to_weight": ("conv_wgrad", {"image": "x", "loss": "y"}, "weight"),
}
"""What cuDNN calls each of the three, and their tensors, after what they are in the forward convolution; and the result."""

NAMES = {"x": 1, "weight": 2, "y": 3}
"""The numbers by which a plan knows its tensors."""

TRIAL = (
    (2, 8, (9, 10), 16, Window((3, 3), padding=((1, 1), (1, 1))), 1),
    (3, 3, (11, 8), 5, Window((3, 2), stride=(2, 1), padding=((0, 1), (2, 1)), dilation=(1, 2)), 1),
    (2, 4, (7, 7), 6, Window((3, 3), stride=(2, 2), padding=((1, 1), (1, 1))), 2),
)
"""Images, channels, size, kernels, window, groups. Of the first, cuDNN must have a plan for all three."""

ROUNDING = {"e": 1e-2, "f": 1e-4}
"""How far a result may be from ours, of the largest number: what is wrong is off by all of it. Winograd's way takes 1e-5."""

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


class Plan(NamedTuple):
    """A graph that has been made ready, and the bytes of memory that it wants beside its tensors."""

    graph: Any
    workspace: int


class Local(threading.local):
    """What each thread has: a handle for each GPU, through which cuDNN serves one thread at a time, and plans."""

    def __init__(self) -> None:
        self.handles: dict[int, Any] = {}
        self.plans = lru_cache(MOST_PLANS)(_build)


class Verdict:
    """What this process knows of cuDNN."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.passed: dict[tuple[int, str, bool], bool] = {}
        """By GPU, letter of the dtype, and whether TF32 was allowed: whether it passed the trial."""
        self.off = False


verdict = Verdict()


# The three convolutions


def forward(x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """(N, C, H, W), (O, C/G, kh, kw), (O,) → (N, O, H', W')."""
    shape = len(x), len(weight), *window.places("conv2d", x.shape[2:])
    return with_bias(_run("forward", {"x": x, "weight": weight}, "y", shape, window), bias)


def to_input(g: Array, weight: Array, bias: Array | None, window: Window, groups: int, size: Pair) -> Array:
    """The adjoint of `forward` in x: (N, O, H', W'), (O, C/G, kh, kw), (C,) → (N, C, *size)."""
    shape = len(g), groups * weight.shape[1], *size
    return with_bias(_run("to_input", {"y": g, "weight": weight}, "x", shape, window), bias)


def to_weight(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The adjoint of `forward` in the weight: (N, C, H, W), (N, O, H', W') → (O, C/G, kh, kw)."""
    return _run("to_weight", {"x": x, "y": g}, "weight", (g.shape[1], x.shape[1] // groups, *window.kernel), window)


def offers(array: Array, operation: str, shapes: Sequence[tuple[int, ...]], window: Window) -> bool:
    """Whether cuDNN may be used for this array's dtype, on its GPU, and has a plan. The shapes are those of x, weight, y."""
    letter = array.dtype.char
    if verdict.off or letter not in ROUNDING or not get_allow_cudnn():
        return False
    tf32 = letter == "f" and get_allow_tf32()
    key = array.device.id, letter, tf32
    if key not in verdict.passed:
        with verdict.lock:
            if key not in verdict.passed:
                verdict.passed[key] = _passes(array, letter, tf32)
    if not verdict.passed[key]:
        return False
    follow(array)
    x, weight, y = shapes
    return _plan(Call(key[0], operation, letter, x, weight, y, window)) is not None


def _run(operation: str, given: dict[str, Array], name: str, shape: tuple[int, ...], window: Window) -> Array:
    like = next(iter(given.values()))
    follow(like)
    xp = array_module(like)
    result = xp.empty(shape, like.dtype)
    arrays = {key: array if array.data.ptr % ALIGNMENT == 0 else array.copy() for key, array in given.items()} | {name: result}
    gpu, letter = like.device.id, like.dtype.char
    call = Call(gpu, operation, letter, arrays["x"].shape, arrays["weight"].shape, arrays["y"].shape, window)
    plan = _plan(call)
    if plan is None:
        raise RuntimeError(f"cuDNN has no plan for this convolution: {call}")
    workspace = xp.empty(plan.workspace, "uint8") if plan.workspace else None
    handle = _local.handles[gpu]
    _library().set_stream(handle=handle, stream=xp.cuda.get_current_stream().ptr)
    pointers = {NAMES[key]: array.data.ptr for key, array in arrays.items()}
    plan.graph.execute(pointers, 0 if workspace is None else workspace.data.ptr, handle=handle)
    return result


# Plans


def _plan(call: Call) -> Plan | None:
    return _local.plans(call, call.letter == "f" and get_allow_tf32(), get_convolution_workspace())


def _build(call: Call, tf32: bool, workspace: int) -> Plan | None:
    """The plan for a call on the current GPU, with so much memory at most; None if cuDNN has none."""
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
    """cuDNN's graph of a call. `where` is the handle to a GPU, or, for a GPU that is elsewhere, `device_property`."""
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
    # Its shape does not follow where windows leave pixels over, and its layout would be cuDNN's favourite, not ours.
    result.set_output(True).set_dim([*shapes[name]]).set_stride(_strides(shapes[name])).set_data_type(io)
    result.set_uid(NAMES[name])
    return graph


def refused(cudnn: Any, letter: str, tf32: bool) -> list[Any]:
    """What an engine must not do: round more than we would, or differently from run to run."""
    note = cudnn.numerical_note
    notes = [note.DOWN_CONVERT_INPUTS, note.REDUCED_PRECISION_REDUCTION, note.NONDETERMINISTIC]
    return notes if tf32 or letter == "e" else [*notes, note.TENSOR_CORE]


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Of a contiguous array, in numbers."""
    strides = [1]
    for length in shape[:0:-1]:
        strides.insert(0, strides[0] * length)
    return strides


# Trust


def _passes(like: Array, letter: str, tf32: bool) -> bool:
    """Whether cuDNN is there, and computes what our kernels do."""
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
    follow(like)
    try:
        for number, shape in enumerate(TRIAL):
            for operation, planned, off in _errors(array_module(like), letter, *shape):
                if not planned and number == 0:
                    _turn_off(f"it has no plan for the convolution `{operation}` of {shape}")
                elif not off <= (TF32_ROUNDING if tf32 else ROUNDING[letter]):
                    _turn_off(
                        f"`{operation}` of {shape} is not what our kernels compute: off by {off:.1e} of the largest number"
                    )
                if verdict.off:
                    return False
    except Exception as error:
        _turn_off(f"its trial failed ({type(error).__name__}: {error})")
    return not verdict.off


def _errors(
    xp: Any, letter: str, images: int, channels: int, size: Pair, kernels: int, window: Window, groups: int
) -> Iterator[tuple[str, bool, float]]:
    """For each of the three: whether there is a plan, and by how much its result differs from ours, of the largest number."""
    rng, places = np.random.default_rng(0), window.places("conv2d", size)
    shapes = (images, channels, *size), (kernels, channels // groups, *window.kernel), (images, kernels, *places)
    x, weight, g = (xp.asarray(rng.standard_normal(shape).astype(letter)) for shape in shapes)
    arguments = {
        "forward": (x, weight, None, window, groups),
        "to_input": (g, weight, None, window, groups, size),
        "to_weight": (x, g, window, groups),
    }
    # Ours are kept until the end: the memory of cuDNN's results is then none that holds the right numbers already.
    ours = {operation: getattr(implicit_gemm, operation)(*given) for operation, given in arguments.items()}
    for operation, given in arguments.items():
        if _plan(Call(x.device.id, operation, letter, *shapes, window)) is None:
            yield operation, False, 0.0
            continue
        theirs = globals()[operation](*given)
        difference = xp.abs(theirs.astype("float32") - ours[operation].astype("float32")).max()
        yield operation, True, float(difference / xp.abs(ours[operation].astype("float32")).max())


def _turn_off(why: str) -> None:
    """For the whole process, and say so once."""
    if not verdict.off:
        verdict.off = True
        warnings.warn(f"cuDNN is not used, convolutions take our own kernels: {why}", RuntimeWarning, stacklevel=2)


def _library() -> Any:
    return importlib.import_module("cudnn")


_local = Local()
