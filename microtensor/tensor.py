"""`Tensor`: what users hold. An array, its place in the graph, and the operations as methods.

Most methods are in the classes that it inherits from: `x + y` and `x.exp()` in ops/tensor_methods.py, `x += y` in inplace.py,
`numpy()` in interop.py, `to()` in convert.py. Here is what makes it differentiable.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike

from .autograd import backward as gradient
from .autograd import hooks
from .autograd.arguments import shown
from .autograd.graph import Node
from .convert import as_array, placed
from .inplace import InPlace
from .ops.tensor_methods import Methods


class Tensor(Methods, InPlace):
    """An n-dimensional array that can be differentiated.

    Args:
        data: numbers, nested lists of them, an array, or a tensor, without its graph. An array and a tensor keep their dtype
            and share their memory. Python numbers become float32, integers too (`microtensor.tensor`, which is PyTorch's,
            makes them int64, and copies); Python bools stay bools.
        dtype: convert to this dtype.
        device: "cpu", "cuda" or "cuda:N". If None: a tensor and an array on a GPU stay where they are, anything else goes to
            the default device, "cpu" unless `set_default_device` says otherwise.
        requires_grad: record what is computed from this tensor, so that `backward()` leaves a gradient in `.grad`.

    Raises:
        TypeError: `data` is not numeric, or a list of tensors, or requires_grad and not floating point; the dtype is unknown.
        ValueError: nested lists of unequal length, or no such device.
        RuntimeError: a GPU is asked for that cannot be used; the message says what was found, and what to install.

    >>> x = Tensor([[1.0, -2.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([[ 2., -4.]])
    """

    __slots__ = ()

    def __init__(
        self, data: Any, *, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
    ) -> None:
        array = as_array("Tensor", data, dtype)
        self._data = placed(array, device, data)
        self.origin = None
        self._grad = None
        self.assigned = data.assigned if isinstance(data, Node) and self._data is data._data else [0]
        if requires_grad:
            self.requires_grad = True

    backward = gradient.backward
    register_hook = hooks.register_hook
    register_post_accumulate_grad_hook = hooks.register_post_accumulate_grad_hook
    retain_grad = hooks.retain_grad

    def detach(self) -> Tensor:
        """The same values, in the same memory, without the graph."""
        alone = Tensor.wrap(self._data)
        alone.assigned = self.assigned
        return alone

    @property
    def data(self) -> Tensor:
        """As `detach()`: the same values, in the same memory, without the graph. `array` is the array itself.

        A write into it is a new version of this tensor. Assigning a tensor or an array replaces the memory.
        """
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        self.assign(value._data if isinstance(value, Node) else value)

    def detach_(self) -> Tensor:
        """Leave the graph, and return the tensor itself: it requires no gradient any more."""
        self.origin = None
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor itself."""
        self.requires_grad = requires_grad
        return self


Tensor.kind = Tensor
shown.define(Tensor)
