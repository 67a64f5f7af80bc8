"""The graph: tensors, and the nodes that remember how they were computed. Nothing here computes or differentiates.

Two small classes, because they live differently long. A `Node` holds an array; users see it as a Tensor. Its `Origin` is its
place in the graph and holds no array: each result points to the origins of its inputs, so an intermediate array is freed with
its last user, unless a derivative needs it. (Chainer split Variable and VariableNode for the same reason.) Nothing points
forward: a graph lives exactly as long as its results do.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..runtime.arrays import Array, array_module, device_of
from ..runtime.forking import in_child
from .assignment import check_gradient, checked_array
from .grad_mode import mode as mode

T = TypeVar("T", bound="Node")


lock = threading.Lock()


@in_child
def _renew_lock() -> None:
    global lock
    lock = threading.Lock()


clock = [0]
"""The version counter: how many writes into tensors there have been. A backward pass compares a tensor's version (`assigned`)
with that of the operation (`Origin.time`): if the tensor is newer, what the derivative needs was overwritten."""


class Origin:
    """Where an array came from: a node of the graph. PyTorch calls it a grad_fn.

    A leaf has no sources, and knows the tensor that its gradient is for. A result has one pair (origin of the input, vjp) in
    `sources` for each input that needs a gradient; a vjp (vector-Jacobian product) takes the gradient of the result to that of
    the input. Once a backward pass has released the origin, its sources are None.
    """

    __slots__ = ("sources", "shape", "dtype", "op", "time", "__dict__", "__weakref__")

    sources: tuple[tuple[Origin, Callable[..., Any]], ...] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    op: Callable[..., Any] | None
    """The operation that computed the result; None for a leaf."""
    time: int
    """The version counter when the operation ran."""

    # Few origins have these. They are class attributes until they are set, because every operation creates an origin.
    device: str = "cpu"
    output: tuple[Array, list[int]] | None = None
    """The result and its version, for operations whose derivative is written in terms of it (exp)."""
    meaning: Any = None
    """The `Meaning` of this call, for operations that have one: where derivatives come from in a recorded pass."""
    leaf: weakref.ref[Node] | None = None
    retained: bool = False
    """Whether `retain_grad` keeps the gradient of this result in `.grad`."""
    place: str = "an unknown place"
    """The line where the user called the operation: only `detect_anomaly` notes it."""
    layer: Any = None
    """The module that called the operation: only `profile(model)` notes it."""
    hooks: tuple[Callable[[Any], Any], ...] = ()
    """Called with the complete gradient; what a hook returns, if not None, replaces it. See hooks.py."""
    after: tuple[Callable[[Any], Any], ...] = ()
    """Of a leaf: called with the tensor once `backward()` has added to its `.grad`."""
    heir: Origin | None = None
    """Of a leaf that stopped requiring a gradient and began again: the origin that its hooks moved to."""

    @classmethod
    def of_leaf(cls, node: Node) -> Origin:
        """The start of a graph: `node` was not computed by an operation, and wants a gradient."""
        origin = cls()
        origin.sources = ()
        origin.shape, origin.dtype, origin.device = node.shape, node.dtype, node.device
        origin.op, origin.time = None, clock[0]
        origin.leaf = weakref.ref(node)
        return origin

    def release(self) -> None:
        """Forget how the result was computed, and free what the vjps refer to."""
        self.sources = None
        if self.output is not None:
            self.output = None
        if self.meaning is not None:
            self.meaning = None

    @property
    def name(self) -> str:
        """What errors call it: the operation's name."""
        return "a leaf" if self.op is None else str(self.op.__name__)


class Node:
    """An array, and where it came from: `origin` is None where no gradient is wanted.

    `Tensor` adds arithmetic. Operations know this class only, and return the `kind` of what they were given.
    """

    __slots__ = ("_data", "origin", "_grad", "assigned", "_paused", "__weakref__")

    kind: ClassVar[type[Any]]
    """The class that an operation returns when it is given this one: Tensor for a Tensor and for a Parameter."""

    _data: Array
    origin: Origin | None
    _grad: Any
    assigned: list[int]
    """The version: the version counter at the last write. One list is shared by all views of the same memory."""
    _paused: Origin
    """Of a leaf that stopped requiring a gradient: where its hooks are until it requires one again."""

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
        """Replace the array, and count a new version, so that a backward pass that needs the old values can refuse."""
        data = checked_array(data)
        if data is not self._data:  # views keep the old memory and its version
            self._data, self.assigned = data, [0]
        self.touch()
        origin = self.origin
        if origin is not None and origin.leaf is not None:  # the next gradient is for the new array
            origin.shape, origin.dtype, origin.device = self.shape, self.dtype, self.device

    def touch(self) -> None:
        """Count a new version. Code that writes into the array directly must call this."""
        with lock:
            clock[0] += 1
            self.assigned[0] = clock[0]

    array = property(
        attrgetter("_data"), assign, doc="The array of NumPy or CuPy. Assigning to it is not recorded in any graph."
    )

    def _set_grad(self, gradient: Any) -> None:
        if gradient is not None:
            check_gradient(Node, self, gradient)
        self._grad = gradient

    def _forget_grad(self) -> None:
        self._grad = None

    grad: Any = property(
        attrgetter("_grad"),
        _set_grad,
        _forget_grad,
        doc="The sum of the gradients from all calls of `backward()`; None before the first. Assign None, or a tensor of the "
        "same shape, dtype and device: it is not copied, and `backward()` adds to it.",
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
        """The NumPy dtype of the elements."""
        dtype: np.dtype[Any] = self._data.dtype
        return dtype

    @property
    def device(self) -> str:
        """Where the array is: "cpu", "cuda:0", "cuda:1" …"""
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
            TypeError: set on a tensor that is not floating point: it has no gradient.
            RuntimeError: cleared on a result; `detach()` gives its values without the graph.
        """
        return self.origin is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        before = self.origin
        if value == (before is not None):
            return
        if not self.is_leaf:
            raise RuntimeError("requires_grad: only a leaf can stop requiring a gradient; use detach() on a result")
        if value and not is_floating(self.dtype):
            raise TypeError(f"requires_grad: only floating-point tensors have gradients, not {self.dtype}; use .to('float32')")
        if before is not None:
            before.leaf, self.origin = None, None  # graphs recorded so far add no gradient here any more
            if before.hooks or before.after:
                self._paused = before
            return
        self.origin = origin = Origin.of_leaf(self)
        if hasattr(self, "_paused"):
            origin.hooks, origin.after, self._paused.heir = self._paused.hooks, self._paused.after, origin
            del self._paused


Node.kind = Node


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether tensors of `dtype` can have a gradient: float16, float32 and float64 can.

    >>> is_floating(np.dtype("float32")), is_floating(np.dtype("int64"))
    (True, False)
    """
    return dtype.kind == "f"
