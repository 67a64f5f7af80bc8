"""The operations as methods of a tensor: `x + y`, `x.exp()`, `x[0]`. Each calls an operation, which says more about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from ..autograd.arguments import comparable
from ..autograd.autocast import widened
from ..autograd.graph import Node
from . import (
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
from . import softmax as softmax_family
from .ufuncs import Ufuncs

M = TypeVar("M", bound="Methods")


class Methods(Node):
    """A Node with the operations as operators and methods. `Tensor` is one."""

    __slots__ = ()
    __array_ufunc__ = Ufuncs()

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

    def __pos__(self: M) -> M:
        return self

    def __rsub__(self: M, other: Any) -> M:
        return elementwise.subtract(other, self)

    def __rtruediv__(self: M, other: Any) -> M:
        return elementwise.divide(other, widened(self))  # as a reciprocal

    def __rfloordiv__(self: M, other: Any) -> M:
        return elementwise.floor_divide(other, self)

    def __rmod__(self: M, other: Any) -> M:
        return elementwise.remainder(other, self)

    def __rpow__(self: M, other: Any) -> M:
        return elementwise.pow(other, self)

    def __rmatmul__(self: M, other: Any) -> M:
        return product.matmul(other, self)

    # Elementwise functions

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

    # Selection

    maximum = elementwise.maximum
    minimum = elementwise.minimum
    clamp = clip = elementwise.clamp
    lerp = elementwise.lerp
    clone = elementwise.clone

    def where(self: M, condition: Any, other: Any) -> M:
        """x.where(condition, y): x where `condition` holds, y elsewhere. See `microtensor.where`."""
        return elementwise.where(condition, self, other)

    # Comparison and logic

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
        """Element by element. For an object that is not comparable, such as None, one False."""
        return logic.eq(self, other) if comparable(other) else NotImplemented

    def __ne__(self, other: Any) -> Any:
        return logic.ne(self, other) if comparable(other) else NotImplemented

    def __rlshift__(self: M, other: Any) -> M:
        return logic.bitwise_left_shift(other, self)

    def __rrshift__(self: M, other: Any) -> M:
        return logic.bitwise_right_shift(other, self)

    # Reductions

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

    # Cumulative sums, sorting

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

    # Shape

    def reshape(self: M, *lengths: Any) -> M:
        """`x.reshape(2, -1)` or `x.reshape((2, -1))`: see `microtensor.reshape`."""
        return shape.reshape(self, shape=_sequence(lengths))

    def view(self: M, *lengths: Any) -> M:
        """`reshape` that never copies: an error where the strides do not allow a view."""
        return shape.view(self, _sequence(lengths))

    def broadcast_to(self: M, *lengths: Any) -> M:
        """`x.broadcast_to(2, 3)` or `x.broadcast_to((2, 3))`: see `microtensor.broadcast_to`."""
        return repeating.broadcast_to(self, shape=_sequence(lengths))

    def expand(self: M, *lengths: Any) -> M:
        """`broadcast_to`, in which −1 keeps the length that an axis has: `x.expand(-1, 3)`."""
        return repeating.expand(self, _sequence(lengths))

    def permute(self: M, *dims: Any) -> M:
        """`x.permute(1, 0)` or `x.permute((1, 0))`: see `microtensor.permute`."""
        return shape.permute(self, dims=_sequence(dims))

    def flip(self: M, *dims: Any) -> M:
        """`x.flip(0, 1)` or `x.flip((0, 1))`: see `microtensor.flip`."""
        if not dims:
            raise TypeError("flip: dims is missing: x.flip(0) turns the first axis around, x.flip(0, 1) the first two")
        return shape.flip(self, dims=_sequence(dims))

    def repeat(self: M, *repeats: Any) -> M:
        """Copies side by side, this many along each axis: `x.repeat(2, 1)`. NumPy's `repeat` is `repeat_interleave`."""
        return repeating.repeat(self, _sequence(repeats))

    def tile(self: M, *dims: Any) -> M:
        """`repeat`, for the last axes only if `dims` has fewer entries than there are axes: see `microtensor.tile`."""
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
    def T(self: M) -> M:
        """All axes in reverse order."""
        return shape.permute(self, dims=tuple(range(self.ndim))[::-1])

    @property
    def mT(self: M) -> M:
        """The last two axes exchanged."""
        return shape.transpose(self, -2, -1)

    # Elements

    __setitem__ = indexing.setitem

    def __getitem__(self: M, index: Any) -> M:
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

    def __iter__(self: M) -> Iterator[M]:
        return (self[i] for i in range(len(self)))


def _sequence(args: tuple[Any, ...]) -> Any:
    """The arguments of f(2, 3) or of f((2, 3))."""
    return args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
