"""`Cudnn`: a stand-in for the package `cudnn` (nvidia-cudnn-frontend), as far as the three convolutions need it.

    monkeypatch.setitem(sys.modules, "cudnn", Cudnn())

It has the names and parameters of the real one, see cudnn_names.json, which tools/cudnn_names.py wrote; a graph's steps must come
in the real order, and a tensor's memory is known by its address alone. It computes in float64, reads and writes memory that
begins at multiples of 16 bytes, spoils its workspace, and refuses a stream or a GPU that is not the current one.

`faults` says what is to go wrong: an operation that computes something else, one that has no plan, one that raises.
"""

import ctypes
import json
import types
from pathlib import Path

import numpy as np

from .array import current
from .counts import count
from .names import Parameters
from .streams import get_current_stream

FACTS = json.loads((Path(__file__).parent / "cudnn_names.json").read_text(encoding="utf-8"))
DTYPES = {"HALF": np.float16, "FLOAT": np.float32}
STEPS = ["validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans"]
WORKSPACE = 1000
"""Bytes that every plan wants."""


class cudnnGraphNotSupportedError(RuntimeError):
    """The real one's name."""


def known(kind):
    """A method that takes what the real one takes, and no more."""

    def decorate(method):
        text = FACTS[kind][method.__name__]
        parameters = Parameters.of(", ".join(part for part in text.split(", ") if not part.startswith("**")))

        def call(self, *args, **settings):
            parameters.check(f"cudnn.{kind}.{method.__name__}", args, settings)
            return method(self, *args, **settings)

        return call

    return decorate


class Enumeration:
    def __init__(self, name):
        for member in FACTS["enumerations"][name]:
            setattr(self, member, f"{name}.{member}")


class Tensor:
    def __init__(self, dim=None, stride=None, data_type=None, uid=None):
        self.dim, self.stride, self.data_type, self.uid, self.output = dim, stride, data_type, uid, False

    @known("tensor")
    def set_output(self, value):
        self.output = value
        return self

    @known("tensor")
    def set_dim(self, dim):
        self.dim = list(dim)
        return self

    @known("tensor")
    def set_stride(self, stride):
        self.stride = list(stride)
        return self

    @known("tensor")
    def set_data_type(self, dtype):
        self.data_type = dtype
        return self

    @known("tensor")
    def set_uid(self, uid):
        self.uid = uid
        return self

    def at(self, address):
        """The array that lies at an address of the device's memory."""
        if type(address) is not int or not address or address % 16:
            raise RuntimeError(f"CUDNN_STATUS_BAD_PARAM: no memory that engines could read: {address!r}")
        dtype = np.dtype(DTYPES[self.data_type.partition(".")[2]])
        extent = 1 + sum((n - 1) * stride for n, stride in zip(self.dim, self.stride))
        numbers = np.frombuffer((ctypes.c_char * (extent * dtype.itemsize)).from_address(address), dtype)
        return np.ndarray(self.dim, dtype, numbers, 0, [dtype.itemsize * stride for stride in self.stride])


class Graph:
    """cudnn.pygraph"""

    def __init__(self, cudnn, io_data_type, intermediate_data_type, compute_data_type, handle):
        if intermediate_data_type != "data_type.FLOAT" or compute_data_type != "data_type.FLOAT":
            raise RuntimeError("the stand-in computes in float32 alone")
        self.cudnn, self.handle, self.io = cudnn, handle, io_data_type
        self.done, self.notes, self.operation = [], [], None

    def step(self, name):
        if name != STEPS[len(self.done)]:
            raise RuntimeError(f"cudnn.pygraph.{name}: the next step is {STEPS[len(self.done)]}")
        self.done.append(name)

    @known("pygraph")
    def tensor(self, dim, stride=None, data_type=None, name="", uid=None):
        return Tensor(list(dim), list(stride), data_type, uid)

    def convolve(self, name, first, second, settings):
        self.operation = name, first, second, settings
        self.result = Tensor()
        return self.result

    @known("pygraph")
    def conv_fprop(self, image, weight, **settings):
        return self.convolve("conv_fprop", image, weight, settings)

    @known("pygraph")
    def conv_dgrad(self, loss, filter, **settings):
        return self.convolve("conv_dgrad", loss, filter, settings)

    @known("pygraph")
    def conv_wgrad(self, image, loss, **settings):
        return self.convolve("conv_wgrad", image, loss, settings)

    @known("pygraph")
    def validate(self):
        self.step("validate")
        name, first, second, settings = self.operation
        x, w, y = {
            "conv_fprop": (first, second, self.result),
            "conv_dgrad": (self.result, second, first),
            "conv_wgrad": (first, self.result, second),
        }[name]
        if not self.result.output or any(t.data_type != self.io or None in (t.dim, t.stride, t.uid) for t in (x, w, y)):
            raise RuntimeError("CUDNN_STATUS_BAD_PARAM: a tensor is not described, or the result is no output")
        for i in (0, 1):
            span = settings["dilation"][i] * (w.dim[2 + i] - 1) + 1
            length = x.dim[2 + i] + settings["pre_padding"][i] + settings["post_padding"][i]
            if y.dim[2 + i] != (length - span) // settings["stride"][i] + 1:
                raise RuntimeError("CUDNN_STATUS_BAD_PARAM: is_valid_spatial_dim")
        if x.dim[0] != y.dim[0] or w.dim[0] != y.dim[1] or x.dim[1] % w.dim[1]:
            raise RuntimeError("CUDNN_STATUS_BAD_PARAM: numbers of images or channels")
        self.tensors = x, w, y

    @known("pygraph")
    def build_operation_graph(self):
        self.step("build_operation_graph")

    @known("pygraph")
    def create_execution_plans(self, heuristics=None):
        self.step("create_execution_plans")
        if not set(heuristics) <= {"heur_mode.A", "heur_mode.B", "heur_mode.FALLBACK"}:
            raise TypeError(f"cudnn.pygraph.create_execution_plans: {heuristics}")

    @known("pygraph")
    def deselect_numeric_notes(self, notes):
        if "create_execution_plans" not in self.done:
            raise RuntimeError("before there are plans, a filter marks nothing")
        self.notes += notes

    @known("pygraph")
    def deselect_workspace_greater_than(self, workspace_limit):
        self.limit = workspace_limit

    @known("pygraph")
    def check_support(self):
        self.step("check_support")
        if self.operation[0] in self.cudnn.faults.get("no plan", ()) or self.limit < WORKSPACE:
            raise cudnnGraphNotSupportedError("no valid engine configs")
        if self.operation[0] in self.cudnn.faults.get("fails to plan", ()):
            raise RuntimeError("CUDNN_STATUS_INTERNAL_ERROR")

    @known("pygraph")
    def build_plans(self):
        self.step("build_plans")
        self.cudnn.plans.append(self)

    @known("pygraph")
    def get_workspace_size(self):
        return WORKSPACE

    @known("pygraph")
    def execute(self, tensor_dict, workspace=None, handle=None):
        if self.done != STEPS:
            raise RuntimeError("cudnn.pygraph.execute: the graph has no plan")
        if handle is not self.handle or handle.gpu != current.gpu or handle.stream != get_current_stream().ptr:
            raise RuntimeError("cudnn.pygraph.execute: another GPU or stream than the current one")
        name, _, _, settings = self.operation
        faults = self.cudnn.faults
        if name in faults.get("raises", ()):
            raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")
        ctypes.memset(workspace, 0xFF, WORKSPACE)
        count(name, kernels=1)
        if name not in faults.get("writes nothing", ()):
            self.compute(name, [tensor.at(tensor_dict[tensor.uid]) for tensor in self.tensors], settings)
        if name in faults.get("is wrong", ()):
            self.result.at(tensor_dict[self.result.uid])[..., 0, 0] *= 2

    def compute(self, name, arrays, settings):
        """The three by their definition, an element of the kernel at a time."""
        x, w, y = (a.astype(float) for a in arrays)
        groups = x.shape[1] // w.shape[1]
        (top, left), (bottom, right) = settings["pre_padding"], settings["post_padding"]
        padded = np.pad(x, [(0, 0), (0, 0), (top, bottom), (left, right)])
        images = padded.reshape(len(x), groups, -1, *padded.shape[2:])
        weight, result = w.reshape(groups, -1, *w.shape[1:]), y.reshape(len(y), groups, -1, *y.shape[2:])
        made = {"conv_fprop": result, "conv_dgrad": images, "conv_wgrad": weight}[name]
        made[...] = 0
        for i in range(w.shape[2]):
            for j in range(w.shape[3]):
                starts = (step * k for step, k in zip(settings["dilation"], (i, j)))
                rows, columns = (
                    slice(start, start + step * (n - 1) + 1, step)
                    for start, step, n in zip(starts, settings["stride"], y.shape[2:])
                )
                seen, tap = images[..., rows, columns], weight[..., i, j]
                if name == "conv_fprop":
                    result += np.einsum("gok,ngkhw->ngohw", tap, seen, optimize=True)
                elif name == "conv_dgrad":
                    seen += np.einsum("gok,ngohw->ngkhw", tap, result, optimize=True)
                else:
                    tap[...] = np.einsum("ngohw,ngkhw->gok", result, seen, optimize=True)
        if name == "conv_dgrad":
            made = images.reshape(padded.shape)[..., top : top + x.shape[2], left : left + x.shape[3]]
        of = ("conv_dgrad", "conv_wgrad", "conv_fprop").index(name)
        with np.errstate(over="ignore"):
            arrays[of][...] = made.reshape(arrays[of].shape)


class Handle:
    def __init__(self):
        self.gpu, self.stream = current.gpu, 0


class Cudnn(types.ModuleType):
    """The module. `plans` are those that were built, `faults` what is to go wrong: {"is wrong": {"conv_wgrad"}}."""

    __version__ = FACTS["version"]
    cudnnGraphNotSupportedError = cudnnGraphNotSupportedError

    def __init__(self, **faults):
        super().__init__("cudnn")
        self.plans, self.handles, self.faults = [], [], {key.replace("_", " "): value for key, value in faults.items()}
        for name in FACTS["enumerations"]:
            setattr(self, name, Enumeration(name))

    @known("functions")
    def backend_version(self):
        if "no library" in self.faults:
            raise RuntimeError("Unable to find symbol cudnnGetVersion")
        return 92800

    @known("functions")
    def create_handle(self):
        self.handles.append(Handle())
        return self.handles[-1]

    @known("functions")
    def set_stream(self, handle, stream):
        handle.stream = stream

    @known("functions")
    def pygraph(self, io_data_type=None, intermediate_data_type=None, compute_data_type=None, handle=None):
        return Graph(self, io_data_type, intermediate_data_type, compute_data_type, handle)
