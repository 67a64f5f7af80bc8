"""What a graph is: arrays, and where they came from. Nothing here differentiates or computes.

Two small classes, because they live differently long. A `Node` is an array that a user holds. Its `Origin` is its place in
the graph, without the numbers: results point to the origins of what they were computed from, so an intermediate array
dies with its last user, unless some derivative closes over it. (Chainer split Variable and VariableNode for the same
reason.) Nothing points forward: a graph lives exactly as long as its results do.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..runtime.arrays import Array, array_module, device_of, is_array
from ..runtime.forking import in_child

T = TypeVar("T", bound="Node")


class Mode(threading.local):
    """Each thread's own switches."""

    recording = True
    """Whether operations remember their inputs."""
    anomaly = False
    """Whether every derivative is searched for the first nan or infinity."""
    sketching = False
    """Whether only shapes are asked for: convolutions and linear layers then give zeros, and save themselves the work."""
    rectifier: Callable[[Any, Any], Any] | None = None
    """What a ReLU gives backward instead of its gradient, made of the gradient that arrives and of where the unit was on: see
    saliency/rectifiers.py."""
    autocast: Any = None
    """What mixed precision operations compute in, a `Casting`: see autocast.py. None: each in the dtypes that arrive."""
    observers: tuple[Callable[..., None], ...] = ()
    """Told of every operation that runs: `observer(operation, inputs, settings, result)`."""
    watchers: tuple[Callable[..., None], ...] = ()
    """Told of every step of a backward pass: `watcher(origin, g, gradients, found, order, needed)`. See
    backward_trace.py."""


mode = Mode()

lock = threading.Lock()


@in_child
def _renew_lock() -> None:
    global lock
    lock = threading.Lock()


clock = [0]
"""How many assignments to tensors there have been: a tensor that changed after an operation saw it has the later time."""


class Origin:
    """Where an array came from: the place of a node in the graph.

    A leaf has no sources, and knows the node that its gradient is for. A result has one pair (origin of the parent, vjp) in
    `sources` for each input that needs a gradient; once a backward pass has released it, its sources are None.
    """

    __slots__ = ("sources", "shape", "dtype", "op", "time", "__dict__", "__weakref__")

    sources: tuple[tuple[Origin, Callable[..., Any]], ...] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    op: Callable[..., Any] | None
    """The operation that computed the node; None for a leaf."""
    time: int
    """What the clock said when the operation ran."""

    # What few origins have: in the class until it is set, for an origin is made by every operation.
    device: str = "cpu"
    output: tuple[Array, list[int]] | None = None
    """The result and when it was assigned to, for the operations whose derivative is written in terms of it (exp)."""
    meaning: Any = None
    """The `Meaning` of this call, for operations that have one: its derivatives come from that while a pass is recorded."""
    leaf: weakref.ref[Node] | None = None
    retained: bool = False
    """Whether a hook leaves the gradient of this result in `.grad`."""
    place: str = "an unknown place"
    """Where the user called the operation: known to `detect_anomaly` alone."""
    layer: Any = None
    """The module that called the operation: known to `profile(model)` alone."""
    hooks: tuple[Callable[[Any], Any], ...] = ()
    """Called with the gradient once it is complete; what one returns, if not None, takes its place."""
    after: tuple[Callable[[Any], Any], ...] = ()
    """Of a leaf: called with the node once `backward()` has added its gradient to `grad`."""
    heir: Origin | None = None
    """Of a leaf that stopped requiring a gradient and began again: where its hooks are now."""

    @classmethod
    def of_leaf(cls, node: Node) -> Origin:
        """The start of a graph: `node` was computed from nothing and wants a gradient."""
        origin = cls()
        origin.sources = ()
        origin.shape, origin.dtype, origin.device = node.shape, node.dtype, node.device
        origin.op, origin.time = None, clock[0]
        origin.leaf = weakref.ref(node)
        return origin


class Node:
    """An array, and where it came from: `origin` is None where no gradient is wanted.

    `Tensor` adds arithmetic. Operations know this class alone, and return the `kind` of what they were given.
    """

    __slots__ = ("_data", "origin", "_grad", "assigned", "__weakref__")

    kind: ClassVar[type[Any]]
    """The class that an operation returns when it is given this one: Tensor for a Tensor and for a Parameter."""

    _data: Array
    origin: Origin | None
    _grad: Any
    assigned: list[int]
    """When the data was last assigned to, by the clock: one list, shared by all nodes that are views of the same memory."""

    @classmethod
    def wrap(cls: type[T], data: Array, origin: Origin | None = None) -> T:
        """A node on `data` as it is, without the checks and conversions of the constructor."""
        node = cls.__new__(cls)
        node._data = data
        node.origin = origin
        node._grad = None
        node.assigned = [0]
        return node

    def constant(self, data: Array) -> Any:
        """A node of this one's kind on `data`, through which no gradient flows."""
        return self.kind.wrap(np.asarray(data) if isinstance(data, np.generic) else data)

    def assign(self, data: Array) -> None:
        """Replace the array and say so, so that a backward pass that needs the old numbers can refuse."""
        if isinstance(data, np.generic):
            data = np.asarray(data)
        if not is_array(data):
            raise TypeError(f"data: expected an array, got {type(data).__name__}; to write numbers into it: x[...] = numbers")
        if data.dtype.kind not in "biuf" or data.dtype.itemsize > 8:
            raise TypeError(f"data: expected numbers of 64 bits at most, got an array of {data.dtype}")
        if isinstance(data, np.ndarray):
            data = np.asarray(data)  # of no subclass, such as a memory map
        if data is self._data:
            self.touch()
        else:  # views of the old memory are as they were
            self._data, self.assigned = data, [0]
            self.touch()
        origin = self.origin
        if origin is not None and origin.leaf is not None:  # the next gradient is for the new numbers
            origin.shape, origin.dtype, origin.device = self.shape, self.dtype, self.device

    def touch(self) -> None:
        """Note that the numbers changed. Whoever writes into the array itself calls this."""
        with lock:
            clock[0] += 1
            self.assigned[0] = clock[0]

    array = property(
        attrgetter("_data"), assign, doc="The array of NumPy or CuPy. Assigning to it is not recorded in any graph."
    )

    def _set_grad(self, gradient: Any) -> None:
        if gradient is not None:
            _check_gradient(self, gradient)
        self._grad = gradient

    def _forget_grad(self) -> None:
        self._grad = None

    grad: Any = property(
        attrgetter("_grad"),
        _set_grad,
        _forget_grad,
        doc="The gradient that `backward()` added up here; None before. Assign None, or a tensor of the same shape, dtype and "
        "device, which stays the one that it is, and to which `backward()` then adds.",
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        shape: tuple[int, ...] = self._data.shape
        return shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the numbers."""
        dtype: np.dtype[Any] = self._data.dtype
        return dtype

    @property
    def device(self) -> str:
        """Where the numbers live: "cpu", "cuda:0", "cuda:1" …"""
        return device_of(self._data)

    @property
    def xp(self) -> Any:
        """The library of the array: numpy or cupy."""
        return array_module(self._data)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation computed this: `backward()` accumulates gradients in leaves only."""
        return self.origin is None or self.origin.leaf is not None

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this are recorded, so that a gradient can flow back to it.

        Raises:
            TypeError: set on numbers that are not floating point: they have no gradient.
            RuntimeError: cleared on a result; `detach()` gives its numbers without the graph.
        """
        return self.origin is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value == (self.origin is not None):
            return
        if not self.is_leaf:
            raise RuntimeError("requires_grad: only a leaf can stop requiring a gradient; use detach() on a result")
        if value and not is_floating(self.dtype):
            raise TypeError(f"requires_grad: only floating-point numbers have gradients, not {self.dtype}; use .to('float32')")
        key, before = id(self), self.origin
        if before is not None:
            before.leaf, self.origin = None, None  # graphs of before leave no gradient here any more
            if before.hooks or before.after:
                resting[key] = before, weakref.ref(self, lambda _: resting.pop(key, None))
            return
        self.origin = origin = Origin.of_leaf(self)
        if key in resting:
            before, _ = resting.pop(key)
            origin.hooks, origin.after, before.heir = before.hooks, before.after, origin


Node.kind = Node

resting: dict[int, tuple[Origin, Any]] = {}
"""By the id of a leaf that requires no gradient for now: where its hooks are, for the time when it does again."""


def _check_gradient(node: Node, gradient: Any) -> None:
    """Check what is assigned to the `grad` of a node.

    Raises:
        TypeError: it is no tensor.
        ValueError: it is the node itself, or of another shape or dtype, or on another device.
    """
    if not isinstance(gradient, Node):
        given = f"{gradient!r} ({type(gradient).__name__})"
        raise TypeError(f"grad: expected a Tensor of shape {node.shape} and dtype {node.dtype}, or None, got {given}")
    if gradient is node:
        raise ValueError("grad: a tensor cannot be its own gradient: assign a copy, x.detach().clone()")
    if gradient.shape != node.shape:
        raise ValueError(f"grad: expected the shape of the tensor, {node.shape}, got {gradient.shape}")
    if gradient.dtype != node.dtype:
        raise ValueError(f"grad: expected the dtype of the tensor, {node.dtype}, got {gradient.dtype}; use .to('{node.dtype}')")
    if gradient.device != node.device:
        raise ValueError(f"grad: expected it on {node.device}, as its tensor, got {gradient.device}; use .to({node.device!r})")


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of `dtype` can have a gradient: float16, float32 and float64 can.

    >>> is_floating(np.dtype("float32")), is_floating(np.dtype("int64"))
    (True, False)
    """
    return dtype.kind == "f"
