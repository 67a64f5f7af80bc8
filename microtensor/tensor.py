"""`Tensor`: an array with arithmetic that remembers. Each method calls an operation, which says more about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import DTypeLike

from .autograd import backward as gradient
from .autograd.arguments import comparable, shown
from .autograd.autocast import widened
from .autograd.graph import Node
from .convert import as_array
from .inplace import InPlace
from .ops import (
    activations,
    diagonals,
    elementwise,
    error_function,
    extremes,
    functions,
    gathering,
    indexing,
    join,
    logic,
    order,
    padding,
    product,
    reduce,
    repeating,
    scan,
    shape,
    smooth_activations,
)
from .ops import softmax as softmax_family
from .ops.ufuncs import Ufuncs
from .runtime.device import placed


class Tensor(InPlace):
    """An n-dimensional array that can be differentiated.

    Args:
        data: numbers, nested lists of them, an array, or a tensor, whose graph is left behind. An array and a tensor keep their
            dtype and share their memory. Python numbers become float32, whole ones too (`microtensor.tensor`, which is
            PyTorch's, makes them int64, and copies); Python bools stay bools.
        dtype: convert to this dtype.
        device: "cpu", "cuda" or "cuda:N". If None: a tensor and an array on a GPU stay where they are, all else goes to the
            default device, "cpu" unless `set_default_device` says otherwise.
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
    __array_ufunc__ = Ufuncs()

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

    # Arithmetic

    __add__ = __radd__ = add = elementwise.add
    __sub__ = sub = subtract = elementwise.subtract
    __mul__ = __rmul__ = mul = multiply = elementwise.multiply
    __truediv__ = div = divide = elementwise.divide
    __floordiv__ = floor_divide = elementwise.floor_divide
    __mod__ = remainder = elementwise.remainder
    __pow__ = pow = elementwise.pow
    __matmul__ = matmul = product.matmul
    mm = product.mm
    bmm = product.bmm
    mv = product.mv
    dot = product.dot
    outer = product.outer
    __neg__ = neg = elementwise.neg
    __abs__ = abs = elementwise.abs
    __hash__ = object.__hash__

    def __pos__(self) -> Tensor:
        return self

    def __rsub__(self, other: Any) -> Tensor:
        return elementwise.subtract(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return elementwise.divide(other, widened(self))  # as a reciprocal

    def __rfloordiv__(self, other: Any) -> Tensor:
        return elementwise.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return elementwise.remainder(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return elementwise.pow(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return product.matmul(other, self)

    # Functions of each element

    sign = elementwise.sign
    square = functions.square
    sqrt = functions.sqrt
    rsqrt = functions.rsqrt
    reciprocal = functions.reciprocal
    exp = functions.exp
    exp2 = functions.exp2
    expm1 = functions.expm1
    log = functions.log
    log2 = functions.log2
    log10 = functions.log10
    log1p = functions.log1p
    sin = functions.sin
    cos = functions.cos
    tan = functions.tan
    asin = arcsin = functions.asin
    acos = arccos = functions.acos
    atan = arctan = functions.atan
    atan2 = arctan2 = functions.atan2
    sinh = functions.sinh
    cosh = functions.cosh
    tanh = functions.tanh
    asinh = arcsinh = functions.asinh
    acosh = arccosh = functions.acosh
    atanh = arctanh = functions.atanh
    erf = error_function.erf
    erfc = error_function.erfc
    floor = functions.floor
    ceil = functions.ceil
    trunc = functions.trunc
    round = functions.round
    frac = functions.frac
    sigmoid = smooth_activations.sigmoid
    relu = activations.relu
    prelu = activations.prelu

    # Choices

    maximum = elementwise.maximum
    minimum = elementwise.minimum
    clamp = clip = elementwise.clamp
    lerp = elementwise.lerp
    clone = elementwise.clone

    def where(self, condition: Any, other: Any) -> Tensor:
        """x.where(condition, y): x where `condition` holds, y elsewhere. See `microtensor.where`."""
        return elementwise.where(condition, self, other)

    # What is true or false

    eq = logic.eq
    ne = logic.ne
    __lt__ = lt = logic.lt
    __le__ = le = logic.le
    __gt__ = gt = logic.gt
    __ge__ = ge = logic.ge
    __and__ = __rand__ = bitwise_and = logic.bitwise_and
    __or__ = __ror__ = bitwise_or = logic.bitwise_or
    __xor__ = __rxor__ = bitwise_xor = logic.bitwise_xor
    __invert__ = bitwise_not = logic.bitwise_not
    __lshift__ = bitwise_left_shift = logic.bitwise_left_shift
    __rshift__ = bitwise_right_shift = logic.bitwise_right_shift
    logical_and = logic.logical_and
    logical_or = logic.logical_or
    logical_xor = logic.logical_xor
    logical_not = logic.logical_not
    isclose = logic.isclose
    allclose = logic.allclose
    equal = logic.equal
    isnan = logic.isnan
    isinf = logic.isinf
    isfinite = logic.isfinite

    def __eq__(self, other: Any) -> Any:
        """Element by element; what holds no numbers, such as None or an object(), is not equal as a whole: False."""
        return logic.eq(self, other) if comparable(other) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return logic.ne(self, other) if comparable(other) else NotImplemented

    def __rlshift__(self, other: Any) -> Tensor:
        return logic.bitwise_left_shift(other, self)

    def __rrshift__(self, other: Any) -> Tensor:
        return logic.bitwise_right_shift(other, self)

    # Fewer numbers of many

    sum = reduce.sum
    mean = reduce.mean
    prod = reduce.prod
    var = reduce.var
    std = reduce.std
    norm = extremes.norm
    max = extremes.max
    min = extremes.min
    amax = extremes.amax
    amin = extremes.amin
    aminmax = extremes.aminmax
    argmax = extremes.argmax
    argmin = extremes.argmin
    any = reduce.any
    all = reduce.all
    count_nonzero = reduce.count_nonzero
    logsumexp = reduce.logsumexp
    softmax = softmax_family.softmax
    log_softmax = softmax_family.log_softmax

    # Along an axis, and in order

    cumsum = scan.cumsum
    cumprod = scan.cumprod
    cummax = scan.cummax
    cummin = scan.cummin
    sort = order.sort
    argsort = order.argsort
    topk = order.topk
    kthvalue = order.kthvalue
    median = order.median
    unique = order.unique

    # Another shape

    def reshape(self, *lengths: Any) -> Tensor:
        """`x.reshape(2, -1)` or `x.reshape((2, -1))`: see `microtensor.reshape`."""
        return shape.reshape(self, shape=_sequence(lengths))

    def view(self, *lengths: Any) -> Tensor:
        """`reshape`, with the promise that nothing is copied: an error where the memory does not allow it."""
        return shape.view(self, _sequence(lengths))

    def broadcast_to(self, *lengths: Any) -> Tensor:
        """`x.broadcast_to(2, 3)` or `x.broadcast_to((2, 3))`: see `microtensor.broadcast_to`."""
        return repeating.broadcast_to(self, shape=_sequence(lengths))

    def expand(self, *lengths: Any) -> Tensor:
        """`broadcast_to`, in which −1 keeps the length that an axis has: `x.expand(-1, 3)`."""
        return repeating.expand(self, _sequence(lengths))

    def permute(self, *dims: Any) -> Tensor:
        """`x.permute(1, 0)` or `x.permute((1, 0))`: see `microtensor.permute`."""
        return shape.permute(self, dims=_sequence(dims))

    def flip(self, *dims: Any) -> Tensor:
        """`x.flip(0, 1)` or `x.flip((0, 1))`: see `microtensor.flip`."""
        if not dims:
            raise TypeError("flip: dims is missing: x.flip(0) turns the first axis around, x.flip(0, 1) the first two")
        return shape.flip(self, dims=_sequence(dims))

    def repeat(self, *repeats: Any) -> Tensor:
        """Copies side by side, so many along each axis: `x.repeat(2, 1)`. NumPy's `repeat` is `repeat_interleave`."""
        return repeating.repeat(self, _sequence(repeats))

    def tile(self, *dims: Any) -> Tensor:
        """`repeat`, for the last axes only if there are fewer numbers than axes: see `microtensor.tile`."""
        if not dims:
            raise TypeError("tile: dims is missing: x.tile(2) repeats the last axis, x.tile(2, 1) the last but one")
        return repeating.tile(self, _sequence(dims))

    transpose = swapaxes = shape.transpose
    flatten = shape.flatten
    unflatten = shape.unflatten
    squeeze = shape.squeeze
    unsqueeze = shape.unsqueeze
    movedim = moveaxis = shape.movedim
    roll = shape.roll
    rot90 = shape.rot90
    repeat_interleave = repeating.repeat_interleave
    unfold = repeating.unfold
    pad = padding.pad
    split = join.split
    chunk = join.chunk
    unbind = join.unbind
    tril = diagonals.tril
    triu = diagonals.triu
    diag = diagonals.diag
    diagonal = diagonals.diagonal

    @property
    def T(self) -> Tensor:
        """All axes in reverse order."""
        return shape.permute(self, dims=tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return shape.transpose(self, -2, -1)

    # Elements

    __setitem__ = indexing.setitem

    def __getitem__(self, index: Any) -> Tensor:
        return indexing.getitem(self, index=index)

    take = indexing.take
    nonzero = indexing.nonzero
    masked_select = indexing.masked_select
    masked_fill = indexing.masked_fill
    gather = gathering.gather
    scatter = gathering.scatter
    scatter_add = gathering.scatter_add
    take_along_dim = gathering.take_along_dim
    index_select = gathering.index_select
    index_add = gathering.index_add

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len: a tensor without axes has no length, and nothing to iterate over; .item() is its number")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # Differentiation

    backward = gradient.backward
    register_hook = gradient.register_hook
    register_post_accumulate_grad_hook = gradient.register_post_accumulate_grad_hook
    retain_grad = gradient.retain_grad

    def detach(self) -> Tensor:
        """The same numbers, in the same memory, without the graph."""
        alone = Tensor.wrap(self._data)
        alone.assigned = self.assigned
        return alone

    @property
    def data(self) -> Tensor:
        """As `detach()`: the same numbers, in the same memory, without the graph. `array` is the array itself.

        What is written into it is noticed as a write to this tensor. Assigning a tensor or an array replaces the memory.
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


def _sequence(args: tuple[Any, ...]) -> Any:
    """f(2, 3) and f((2, 3)) mean the same."""
    return args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
