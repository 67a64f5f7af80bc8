"""Losses of classification: the negative log likelihood of the true class.

Scores are (N, C, …), a target is a class index for each of (N, …), or, for cross_entropy, a probability for each of (N, C, …);
a single example comes without N. Losses of regression are in regression.py, those of probabilities in likelihood.py, and the
overlap of areas is in dice.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from microtensor.autograd.autocast import at_least_float32, widened
from microtensor.autograd.broadcasting import result_type
from microtensor.autograd.graph import T, is_floating
from microtensor.autograd.op import Rule, op
from microtensor.ops.reduce import total, wide
from microtensor.ops.softmax import log_softmax
from microtensor.runtime.arrays import Array
from microtensor.runtime.cuda.kernels import usable
from microtensor.runtime.integers import as_integer
from microtensor.tensor import Tensor

from .cross_entropy_kernels import loss_of
from .labels import Labels, as_target, class_axis
from .reduction import (
    Loss,
    buffered,
    check_prediction,
    check_reduction,
    constant,
    number_within,
    reduce,
    refuse_swapped,
    variable,
)


def cross_entropy(
    logits: T,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> T:
    """−log softmax(logits)[target]: logits (N, C, …), target (N, …) → one number, or (N, …) for reduction "none".

    The gradient for the logits is softmax(logits) − onehot(target), over N for "mean". Stable for logits of any size; float16
    is computed in float32. A target of the logits' shape, in floating point, gives probabilities in place of class indices:
    then the loss is −Σ target · log softmax(logits) over the classes, and a tensor gets a gradient too. That they sum to 1 is
    not checked.

    Args:
        target: class indices from 0 to C − 1, or probabilities: a Tensor, an array or a list.
        weight: a factor for the losses of each class. The mean over class indices is then the weighted one,
            Σ weight[target] · loss / Σ weight[target]; over probabilities it is over N · …, as in PyTorch.
        ignore_index: examples with this label have loss 0, and the mean leaves them out. It need not be a class.
        reduction: "mean", "sum" or "none". The mean of nothing (an empty batch, all ignored) is nan, as in PyTorch.
        label_smoothing: ε from 0 to 1: the target becomes (1 − ε) · target + ε / C. Szegedy et al. 2016, "Rethinking the
            Inception architecture for computer vision", section 7, arxiv.org/abs/1512.00567.

    Raises:
        TypeError: labels that are no integers, or logits that are not floating point.
        ValueError: shapes that do not fit, a label out of range, an unknown reduction. On a GPU labels are checked
            asynchronously: one out of range makes its loss nan, and the error is raised at the next copy from the device, as by
            `item()`.

    >>> cross_entropy(Tensor([[0.0, 0.0]]), [1])
    Tensor(0.6931472)
    >>> cross_entropy(Tensor([[0.0, 0.0]]), [[0.5, 0.5]])
    Tensor(0.6931472)
    """
    name = "cross_entropy"
    check_reduction(name, reduction)
    refuse_swapped(name, "logits", logits, target)
    logits = widened(logits)
    check_prediction(name, "logits", logits, target)
    axis = class_axis(name, "logits", logits)
    weights = None if weight is None else _class_weights(name, weight, logits, axis)
    smoothing = number_within(name, "label_smoothing", label_smoothing, 0, 1)
    ignore = as_integer(name, "ignore_index", ignore_index)
    given = as_target(name, target)
    if is_floating(given.dtype) and given.shape == logits.shape:
        if ignore >= 0:
            raise ValueError(
                f"{name}: ignore_index={ignore} is a label, and the target gives probabilities; give 0 of every class"
            )
        probabilities = variable(name, "target", given, logits)
        return _of_probabilities(logits, probabilities, weights, axis, reduction, smoothing)
    labels = Labels(name, given, "logits", logits, weights, ignore, smoothing, by_kernel=usable(logits.array))
    return _cross_entropy(logits, labels=labels, reduction=reduction)


# The formula first, then the fast way: one rule makes half as many passes over the N · C values as the composition, and keeps
# one array of them, not three. On a GPU it is three kernels, and keeps none: see cross_entropy_kernels.py.


def _log_likelihood(logits: Any, *, labels: Labels, reduction: str) -> Any:
    """−Σ t · log softmax(logits) over the classes, where t is 1 for the label and 0 for every other class.

    Bishop 2006, "Pattern recognition and machine learning", equation 4.108. Label smoothing and class weights change t.
    """
    losses = -_pick(log_softmax(wide(logits), dim=1 if logits.ndim > 1 else 0), labels=labels)
    return _reduced(losses, logits, labels, reduction)


@op(meaning=_log_likelihood)
def _cross_entropy(logits: Any, *, labels: Labels, reduction: str) -> Rule[T]:
    data, gradient = (loss_of if usable(logits.array) else _loss_of)(logits, labels, reduction)
    shape = _shape_of_examples(logits) if reduction == "none" else ()
    return data.reshape(shape), (lambda g: logits.constant(gradient(g.array)),)


# The labelled elements are found by their index in the flattened array, never by comparing all classes.
def _loss_of(logits: Any, labels: Labels, reduction: str) -> tuple[Array, Callable[[Array], Array]]:
    """The loss, one number or (N, P), and a function from its gradient to that of the logits."""
    xp = logits.xp
    x = at_least_float32(logits.array).reshape(labels.shape)  # (N, C, P)
    z = xp.empty(labels.shape, x.dtype)
    if z.size:
        xp.subtract(x, x.max(1, keepdims=True), out=z)
    products = labels.dot(z)
    xp.exp(z, out=z)
    sums = z.sum(1)  # (N, P)
    losses = xp.where(labels.kept, labels.sum * xp.log(sums) - products, 0)  # the logits of an ignored example may be nan
    count, addend = labels.count() if reduction == "mean" else (1, 0)

    def gradient(g: Array) -> Array:
        scale = at_least_float32(g)
        scale = scale.reshape(sums.shape) if reduction == "none" else scale / count
        back: Array = xp.empty(logits.shape, z.dtype)
        flat = back.reshape(labels.shape)
        xp.multiply(z, (labels.sum * scale / sums)[:, None], out=flat)
        labels.subtract_from(flat, scale)
        return back.astype(logits.dtype, copy=False)

    data = losses if reduction == "none" else total(losses, (0, 1), False) / count + addend
    return data.astype(logits.dtype, copy=False), gradient


def _of_probabilities(logits: Any, target: Any, weight: Array | None, axis: int, reduction: str, smoothing: float) -> Any:
    """Cross-entropy with a target of the logits' shape."""
    dtype = result_type(logits, target)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / logits.shape[axis]
    if weight is not None:
        target = target * logits.constant(weight.reshape((-1,) + (1,) * (logits.ndim - 1 - axis)))
    both = (v.to(np.result_type(dtype, np.float32)) for v in (logits, target))
    return reduce(_soft_cross_entropy(*both, axis=axis), reduction).to(dtype)


# One rule for the same reasons: the composition takes twice as long.


def _cross_entropy_of_distributions(logits: Any, target: Any, *, axis: int) -> Any:
    """−Σ target · log softmax(logits) over the axis: Goodfellow, Bengio & Courville 2016, equation 3.51."""
    return -(target * log_softmax(logits, dim=axis)).sum(axis)


@op(meaning=_cross_entropy_of_distributions)
def _soft_cross_entropy(logits: Any, target: Any, *, axis: int) -> Rule[T]:
    """With z = logits − max: log Σ e^z · Σ target − Σ target · z."""
    xp = logits.xp
    z = xp.subtract(logits.array, logits.array.max(axis, keepdims=True)) if logits.array.size else logits.array.copy()
    products = (z * target.array).sum(axis)
    xp.exp(z, out=z)
    sums, mass = z.sum(axis, keepdims=True), target.array.sum(axis, keepdims=True)

    def for_logits(g: Any) -> Any:
        """(softmax(logits) · Σ target − target) · g."""
        back = z * (mass / sums)
        back -= target.array
        back *= xp.expand_dims(g.array, axis)
        return logits.constant(back)

    data = (mass * xp.log(sums)).squeeze(axis) - products
    return data, (for_logits, lambda g: -log_softmax(logits, dim=axis) * g.unsqueeze(axis))


def nll_loss(x: T, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> T:
    """−x[target], where x holds log-probabilities: x (N, C, …), target (N, …) → one number, or (N, …) for reduction "none".

    nll_loss(log_softmax(x, 1), target) is cross_entropy(x, target), which is faster and takes less memory. Arguments and errors
    are `cross_entropy`'s.

    >>> nll_loss(Tensor([[-1.0, -2.0], [-3.0, -4.0]]), [1, 0])
    Tensor(2.5)
    """
    name = "nll_loss"
    check_reduction(name, reduction)
    refuse_swapped(name, "x", x, target)
    x = widened(x)
    check_prediction(name, "x", x)
    axis = class_axis(name, "x", x)
    weights = None if weight is None else _class_weights(name, weight, x, axis)
    ignore = as_integer(name, "ignore_index", ignore_index)
    labels = Labels(name, as_target(name, target), "x", x, weights, ignore)
    losses: Any = -_pick(wide(x), labels=labels)
    return _reduced(losses, x, labels, reduction)


def _reduced(losses: Any, scores: Any, labels: Labels, reduction: str) -> Any:
    """The losses (N, P) as `reduction` says, in the dtype of the scores: their mean, their sum, or (N, …)."""
    if reduction == "none":
        return losses.reshape(_shape_of_examples(scores)).to(scores.dtype)
    count, addend = (scores.constant(number) for number in labels.count()) if reduction == "mean" else (1, 0)
    return (losses.sum() / count + addend).to(scores.dtype)


def _shape_of_examples(scores: Any) -> tuple[int, ...]:
    """(N, C, …) → (N, …), (C,) → ()."""
    axis = 1 if scores.ndim > 1 else 0
    return scores.shape[:axis] + scores.shape[axis + 1 :]


@op
def _pick(x: T, *, labels: Labels) -> Rule[T]:
    """The score of each example's labelled class, times its weight: (N, C, …) → (N, P)."""
    shape = x.shape
    return labels.dot(x.array.reshape(labels.shape)), (lambda g: _place(g, labels=labels, shape=shape),)


@op
def _place(x: T, *, labels: Labels, shape: tuple[int, ...]) -> Rule[T]:
    """The adjoint of _pick: (N, P) → (N, C, …), 0 but for the labelled classes."""
    data = x.xp.zeros(shape, x.dtype)
    labels.subtract_from(data.reshape(labels.shape), -x.array)
    return data, (lambda g: _pick(g, labels=labels),)


def _class_weights(name: str, weight: Any, scores: Any, axis: int) -> Array:
    """The weights of the classes (C,), in the dtype of the computation."""
    weights = constant(name, "weight", weight, scores)
    if weights.shape != (scores.shape[axis],):
        raise ValueError(
            f"{name}: weight must have one number for each of {scores.shape[axis]} classes, got shape {weights.shape}"
        )
    return at_least_float32(weights.array)


class CrossEntropyLoss(Loss):
    """`cross_entropy` as a layer: logits (N, C, …), target (N, …) → one number.

    Args:
        weight: a factor per class; kept as a buffer.
        ignore_index, reduction, label_smoothing: as `cross_entropy`.

    Raises:
        TypeError, ValueError: a setting is invalid.

    >>> loss = CrossEntropyLoss(label_smoothing=0.1)
    >>> loss(Tensor([[0.0, 0.0]]), [1])
    Tensor(0.6931472)
    """

    usual: ClassVar[dict[str, Any]] = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction)
        self.weight = buffered("CrossEntropyLoss", "weight", weight)
        self._reserve("weight", buffers=True)
        self.ignore_index = as_integer("CrossEntropyLoss", "ignore_index", ignore_index)
        self.label_smoothing = number_within("CrossEntropyLoss", "label_smoothing", label_smoothing, 0, 1)

    def forward(self, logits: Tensor, target: Any) -> Tensor:
        return cross_entropy(logits, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(Loss):
    """`nll_loss` as a layer: log-probabilities (N, C, …), target (N, …) → one number.

    Args:
        weight: a factor per class; kept as a buffer.
        ignore_index, reduction: as `cross_entropy`.

    >>> NLLLoss(reduction="sum")(Tensor([[-1.0, -2.0], [-3.0, -4.0]]), [1, 0])
    Tensor(5.)
    """

    usual: ClassVar[dict[str, Any]] = {"ignore_index": -100, "reduction": "mean"}

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = buffered("NLLLoss", "weight", weight)
        self._reserve("weight", buffers=True)
        self.ignore_index = as_integer("NLLLoss", "ignore_index", ignore_index)

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return nll_loss(x, target, self.weight, self.ignore_index, self.reduction)
