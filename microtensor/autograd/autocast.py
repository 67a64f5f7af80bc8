"""Mixed precision: `autocast` lets operations choose between float16, which is fast, and float32, which is safe.

Matrix products and convolutions, which take most of the time, call `narrowed` on their inputs; operations that need the range
or the precision of float32 call `widened`, or are marked `@op(wide=True)`. Outside autocast both functions return what they
were given. All other operations compute in the dtypes of their inputs. (Micikevicius et al. 2018, "Mixed precision training",
section 3, arxiv.org/abs/1710.03740.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..runtime.arrays import Array, device_of, follow, is_array
from ..runtime.scoped import Setting
from ..runtime.text import kind_of
from .graph import Node, Origin, mode

DEVICE_TYPES = ("cpu", "cuda")


class Cast(NamedTuple):
    """A weight cast to the narrow dtype, and what it was cast from: it is valid until that changes."""

    node: Node
    data: Array
    assigned: int
    origin: Origin | None
    recorded: bool
    narrow: Any

    def is_valid(self, node: Node) -> bool:
        """Whether it is still valid: a cast made now would be the same."""
        made = self.narrow.origin
        return (
            self.data is node._data
            and self.assigned == node.assigned[0]
            and self.origin is node.origin
            and self.recorded == mode.recording
            and (made is None or made.sources is not None)  # a backward pass has not released it
        )


class Casting:
    """What a thread computes under: the narrow dtype, the type of device concerned, and a cache of the weights cast so far."""

    def __init__(self, dtype: np.dtype[Any], device_type: str | None, casts: dict[int, Cast] | None) -> None:
        self.dtype, self.device_type, self.casts = dtype, device_type, casts

    def concerns(self, x: Any) -> bool:
        """Whether x is a tensor or an array on a device of this type."""
        if not isinstance(x, Node) and not is_array(x):
            return False
        return self.device_type is None or device_of(x._data if isinstance(x, Node) else x).startswith(self.device_type)

    def narrow(self, x: Any) -> Any:
        """x in the narrow dtype, if it is float32. A leaf that requires a gradient, a weight, is cast once and cached."""
        if not self.concerns(x) or x.dtype != np.float32:
            return x
        if not isinstance(x, Node):
            follow(x)
            return x.astype(self.dtype)
        tensor: Any = x
        if self.casts is None or x.origin is None or x.origin.leaf is None:
            return tensor.to(self.dtype)
        cast = self.casts.get(id(x))
        if cast is None or not cast.is_valid(x):
            made = tensor.to(self.dtype)
            cast = self.casts[id(x)] = Cast(x, x._data, x.assigned[0], x.origin, mode.recording, made)
        return cast.narrow


def narrowed(*inputs: Any) -> tuple[Any, ...]:
    """The inputs of a matrix product: under autocast float32 as float16, unless one is float64."""
    casting: Casting | None = mode.autocast
    if casting is None or any(getattr(x, "dtype", None) == np.float64 for x in inputs):
        return inputs
    return tuple(casting.narrow(x) for x in inputs)


def widened(x: Any) -> Any:
    """An input of an operation that needs the range or the precision of float32: under autocast, float16 as float32."""
    casting: Casting | None = mode.autocast
    if casting is None or not isinstance(x, Node) or x.dtype != np.float16 or not casting.concerns(x):
        return x
    tensor: Any = x
    return tensor.to(np.float32)


def at_least_float32(data: Array) -> Array:
    """float16 as float32, in which sums keep their precision and powers do not overflow."""
    return data.astype(np.float32) if data.dtype == np.float16 else data


class autocast(Setting):
    """Inside, matrix products and convolutions compute in float16, and operations that would lose precision in float32.

    A context manager and a decorator, as `no_grad`, per thread, for the forward pass and the loss; `backward()` computes in the
    dtypes that the forward pass chose, inside or outside. A gradient has the dtype of its tensor: that of a float32 weight is
    float32. Small gradients underflow to 0 in float16 on the way there: see `nn.GradScaler`.

    - In float16: `@`, matmul, mm, bmm, mv, dot, outer, einsum, tensordot, bilinear, linear, convolutions and transposed ones,
      prelu. float32 is cast to it; where one input is float64, none is.
    - In float32: exp, exp2, expm1, log, log2, log10, log1p, pow, reciprocal, 1 / x, rsqrt, tan, asin, acos, sinh, cosh,
      softplus; sum, mean, var, std, prod, norm, logsumexp, softmax, softmin, log_softmax, cumsum, cumprod; layer_norm,
      rms_norm, group_norm, instance_norm, normalize; all losses. float16 is cast to it.
    - In the dtype of their inputs: all others; the widest, if there are several. batch_norm takes float16 beside weights and
      statistics of float32, computes in float32 and gives float16.

    The lists are PyTorch's for CUDA, except for mean and var, in float32 here, and dot, which goes with the other products.
    A weight that is used several times inside one context is cast once, until it changes.

    Args:
        device_type: "cuda" or "cpu": for tensors there only; None: on any device. A dtype may stand in its place.
        dtype: "float16", or None for it. There is no bfloat16 in NumPy 2 or CuPy 14.
        enabled: False switches autocast off, for a part of a block.
        cache_enabled: whether weights are cast once and cached; otherwise they are cast at each use.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: another dtype, or an unknown type of device.

    >>> import microtensor as mt
    >>> x, weight = mt.ones(2, 3), mt.ones(3, 4, requires_grad=True)
    >>> with mt.autocast("float16"):
    ...     y = x @ weight
    ...     z = y.exp()
    >>> y.dtype, z.dtype, mt.grad(z.sum(), weight)[0].dtype
    (dtype('float16'), dtype('float32'), dtype('float32'))
    """

    def __init__(
        self,
        device_type: Any = None,
        dtype: DTypeLike | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if callable(device_type) and not isinstance(device_type, type):
            raise TypeError("autocast: it decorates with parentheses: @autocast() or @autocast(dtype='float16')")
        for name, flag in (("enabled", enabled), ("cache_enabled", cache_enabled)):
            if not isinstance(flag, bool) and not (flag is None and name == "cache_enabled"):
                raise TypeError(f"autocast: {name} must be True or False, got {flag!r} ({kind_of(flag)})")
        if dtype is None and device_type is not None and device_type not in DEVICE_TYPES:
            device_type, dtype = None, device_type
        if device_type is not None and device_type not in DEVICE_TYPES:
            raise ValueError(f'autocast: device_type must be "cuda", "cpu" or None, for both, got {device_type!r}')
        super().__init__(mode, autocast=None)
        self.device_type, self.enabled = device_type, enabled
        self.dtype = narrow_dtype("autocast", dtype)
        self.cache_enabled = cache_enabled is not False

    def wanted(self, before: dict[str, Any]) -> dict[str, Any]:
        """What this thread computes under, inside."""
        return {"autocast": self.casting(before["autocast"]) if self.enabled else None}

    def casting(self, outer: Casting | None) -> Casting:
        """What to compute under, inside a block that computes under `outer`."""
        kept = outer.casts if outer is not None else None  # a block inside another uses the casts that there are
        casts = ({} if kept is None else kept) if self.cache_enabled else None
        return Casting(self.dtype, self.device_type, casts)


def is_autocast_enabled() -> bool:
    """Whether this thread computes under autocast now.

    >>> is_autocast_enabled()
    False
    """
    return mode.autocast is not None


def narrow_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """The dtype for matrix products: float16, also for None.

    Raises:
        TypeError: it is no dtype.
        ValueError: it is another dtype than float16. `name` is the caller's, for the error.

    >>> narrow_dtype("example", "half")
    dtype('float16')
    """
    advice = 'use "float16", with a GradScaler while training'
    if "bfloat16" in (getattr(dtype, "__name__", None) or str(dtype)):
        raise ValueError(f"{name}: neither NumPy 2 nor CuPy 14 has a bfloat16; {advice}")
    try:
        found = np.dtype(np.float16 if dtype is None else dtype)
    except TypeError:
        raise TypeError(f'{name}: dtype must be "float16", got {dtype!r} ({kind_of(dtype)}), which is no dtype') from None
    if found != np.float16:
        raise ValueError(f"{name}: products are computed in float16, or as they are without autocast; got {found}; {advice}")
    return np.dtype(np.float16)


def current() -> Callable[[], Any]:
    """Contexts like the one that this is called in, for later. What runs inside casts its weights again, and keeps no casts.

    So a part of the forward pass can be run twice, and both runs record the same graph: see checkpoint.py.
    """
    casting: Casting | None = mode.autocast

    def again() -> autocast:
        if casting is None:
            return autocast(enabled=False)
        return _WithoutOuterCasts(casting.device_type, casting.dtype)

    return again


class _WithoutOuterCasts(autocast):
    """An autocast that does not use the casts of the block around it."""

    def casting(self, outer: Casting | None) -> Casting:
        return Casting(self.dtype, self.device_type, {})
