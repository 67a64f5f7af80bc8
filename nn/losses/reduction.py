"""What all losses share: reductions, checks of targets and constants, and the base class of their layers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.arguments import BYTES, is_number, why_none
from microtensor.autograd.graph import Node, is_floating
from microtensor.convert import as_array
from microtensor.runtime.arrays import is_array, to_device

from ..module import Buffer, Module

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: Any, allowed: tuple[str, ...] = REDUCTIONS) -> None:
    """Refuse a reduction that is not `allowed`.

    Raises:
        ValueError: with the names of those allowed.

    >>> check_reduction("example", "avg")
    Traceback (most recent call last):
        ...
    ValueError: example: reduction must be "mean", "sum" or "none", got 'avg'
    """
    if not isinstance(reduction, str) or reduction not in allowed:
        *others, last = (f'"{each}"' for each in allowed)
        raise ValueError(f"{name}: reduction must be {', '.join(others)} or {last}, got {reduction!r}")


def reduce(losses: Any, reduction: str) -> Any:
    """A tensor of losses → their mean (nan if there are none), their sum, or all of them."""
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def number_within(name: str, what: str, value: Any, least: float, most: float) -> float:
    """A setting that is a number from `least` to `most`.

    Raises:
        TypeError: it is no number.
        ValueError: it is outside.
    """
    if not is_number(value):
        raise TypeError(f"{name}: {what} must be a number, got {type(value).__name__}")
    if not least <= value <= most:
        limits = f"from {least} to {most}" if np.isfinite(most) else f"{least} or more"
        raise ValueError(f"{name}: {what} must be {limits}, got {value!r}")
    return float(value)


def check_prediction(name: str, what: str, x: Any, target: Any = None) -> None:
    """Refuse a prediction that is not a floating-point tensor.

    Raises:
        TypeError: with what it is.
    """
    if isinstance(x, Node) and is_floating(x.dtype):
        return
    first = f"; the prediction comes first: {name}({what}, target)" if _is_prediction(target) else ""
    if not isinstance(x, Node):
        hint = why_none(x) or f"; wrap it: Tensor(...){first}"
        raise TypeError(f"{name}: expected {what} as a Tensor, got {type(x).__name__}{hint}")
    hint = BYTES if x.dtype == np.uint8 else "use .to('float32')"
    raise TypeError(f"{name}: expected floating-point {what}, got {x.dtype}; {hint}{first}")


def _is_prediction(x: Any) -> bool:
    return isinstance(x, Node) and is_floating(x.dtype)


def refuse_swapped(name: str, what: str, x: Any, target: Any) -> None:
    """Refuse a prediction and a target that were passed in the wrong order, where that can be detected.

    The target is then a floating-point tensor, x requires no gradient, and either x holds integers, and has the shape of class
    indices for the target or another shape than the target; or both have one shape, all of x is 0 or 1, and the target has
    values that are no probabilities. (For x in floating point, which may be correct, the values are checked on a CPU only: on a
    GPU the host would have to wait.)

    Args:
        what: what the function calls its prediction.

    Raises:
        TypeError: they are swapped.
    """
    if not _is_prediction(target) or x is None or isinstance(x, (str, bytes)) or getattr(x, "requires_grad", False):
        return
    try:
        values = x.array if isinstance(x, Node) else as_array(name, x, whole=np.int64)
    except (TypeError, ValueError):  # check_prediction refuses it later
        return
    if values.shape != target.shape:
        fits = target.ndim > 0 and values.shape == (target.shape[:1] + target.shape[2:] if target.ndim > 1 else ())
        swapped = _are_integers(values) and (fits or not _are_integers(target.array))
    else:
        on_cpu = type(values) is type(target.array) is np.ndarray
        check = values.dtype.kind in "iub" or on_cpu and _only_0_and_1(values.flat[:64])
        swapped = check and _no_probabilities(values, target.array)
    if swapped:
        given = f"{what} {_described(x)}, target {_described(target)}"
        raise TypeError(f"{name}: {what} and target are swapped: got {given}; write {name}({what}, target)")


def _are_integers(values: Any) -> bool:
    return values.dtype.kind in "iub" or bool((values == values.round()).all())


def _only_0_and_1(values: Any) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _no_probabilities(x: Any, target: Any) -> bool:
    """Whether all of x is 0 or 1, both occur, and the target has values outside 0 to 1."""
    found = x.size > 1 and x.min() == 0 and x.max() == 1 and _only_0_and_1(x)
    return bool(found and (target.min() < 0 or target.max() > 1))


def _described(x: Any) -> str:
    return f"{x.dtype} of shape {x.shape}" if hasattr(x, "dtype") else f"a {type(x).__name__}"


def paired(name: str, x: Any, target: Any) -> Any:
    """A target of the shape of x, as a floating-point tensor on the device of x.

    A tensor keeps its graph, and its dtype if it is floating point. An array or a list is a constant in the dtype of x.

    Raises:
        TypeError: x is no floating-point tensor, or the target is not numeric.
        ValueError: the shapes differ.
    """
    check_prediction(name, "x", x, target)
    given = variable(name, "target", target, x)
    if given.shape != x.shape:
        fits = given.array.size == x.array.size
        raise ValueError(
            f"{name}: x {x.shape} and target {given.shape} must have the same shape, as each number is compared with one other"
            + (f"; use target.reshape({', '.join(map(str, x.shape))}), or bring x to the target's shape" if fits else "")
        )
    return given


def variable(name: str, what: str, value: Any, like: Node) -> Any:
    """A floating-point tensor unchanged, with its graph and dtype; anything else as by `constant`.

    Raises:
        TypeError: it is not numeric.
        ValueError: a tensor on another device.
    """
    if isinstance(value, Node) and is_floating(value.dtype):
        _check_device(name, what, value, like)
        return value
    return constant(name, what, value, like)


def constant(name: str, what: str, value: Any, like: Node) -> Any:
    """A tensor, an array or nested lists as a constant tensor with the dtype and device of `like`.

    Raises:
        TypeError: they are not numeric.
        ValueError: a tensor that requires a gradient, since it would get none; or one on another device.
    """
    if isinstance(value, Node):
        refuse_gradient(name, what, value)
        _check_device(name, what, value, like)
        tensor: Any = value
        return tensor.to(like.dtype)
    array = as_array(f"{name}: {what}", value)
    return like.constant(to_device(array.astype(like.dtype, copy=is_array(value)), like.device))  # a copy of an array


def _check_device(name: str, what: str, value: Node, like: Node) -> None:
    if value.device != like.device:
        raise ValueError(f"{name}: {what} is on {value.device}, and not on {like.device}; move it: .to({like.device!r})")


def refuse_gradient(name: str, what: str, value: Any) -> None:
    """Refuse a tensor that requires a gradient, where the loss gives it none.

    Raises:
        ValueError: with what to do.
    """
    if isinstance(value, Node) and value.requires_grad:
        raise ValueError(f"{name}: {what} requires a gradient, but is taken as a constant; give {what}.detach()")


class Loss(Module):
    """A loss as a layer: a prediction and its target → one number, or one for each example with `reduction` "none".

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: an unknown reduction.
    """

    reductions: ClassVar[tuple[str, ...]] = REDUCTIONS
    usual: ClassVar[dict[str, Any]] = {"reduction": "mean"}
    """The settings with their defaults, which `repr` leaves out."""

    def __new__(cls, *settings: Any, **named: Any) -> Loss:
        """A loss from its settings; the tensors are given when it is called.

        Raises:
            TypeError: tensors are given here.
        """
        x, target, *_ = (*settings, None, None)
        if isinstance(x, Node) and (isinstance(target, (Node, list)) or is_array(target)):
            raise TypeError(f"{cls.__name__}: make the loss first, then call it: {cls.__name__}()(x, target)")
        return super().__new__(cls)

    def __init__(self, reduction: str = "mean") -> None:
        check_reduction(type(self).__name__, reduction, self.reductions)
        self.reduction = reduction

    def extra_repr(self) -> str:
        given = {name: getattr(self, name) for name in self.usual}
        return ", ".join(f"{name}={value!r}" for name, value in given.items() if value != self.usual[name])


def buffered(name: str, what: str, value: Any) -> Buffer | None:
    """A constant of a loss as a buffer: it moves with the loss, and is in `state_dict()`, as in PyTorch. None stays None.

    Raises:
        TypeError: it is not numeric.
        ValueError: it requires a gradient.
    """
    if value is None:
        return None
    refuse_gradient(name, what, value)
    array = as_array(f"{name}: {what}", value)
    return Buffer(array if is_floating(array.dtype) else array.astype(np.float32))
