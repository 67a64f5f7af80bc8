"""Targets that are class numbers: checked, and as what they are in the formulas, a share of each class for each example."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from microtensor.autograd.graph import Node
from microtensor.convert import as_array
from microtensor.ops.reduce import total
from microtensor.runtime.arrays import Array, array_module, is_array, to_device
from microtensor.runtime.deferred_checks import check_offset, check_range
from microtensor.runtime.forking import cached_property


def class_axis(name: str, what: str, scores: Node) -> int:
    """The axis of the classes: 1 of (N, C, …), 0 of (C,), a single example.

    Raises:
        ValueError: there are no classes.
    """
    axis = 1 if scores.ndim > 1 else 0
    if not scores.ndim or not scores.shape[axis]:
        raise ValueError(f"{name}: expected {what} (N, C, …) of one class or more, got shape {scores.shape}")
    return axis


def as_target(name: str, target: Any) -> Any:
    """A target as a tensor or an array: Python's integers as int64, its other numbers as float32."""
    if isinstance(target, Node):
        return target
    array = as_array(name, target, whole=np.int64)
    return array if array.size or is_array(target) else array.astype(np.int64)  # of an empty list NumPy makes floats


class Labels:
    """Class numbers as shares: the target of an example has `own` of the class of its label, and `others` of every class.

    Examples are laid out as (N, P): P positions, the pixels of an image for instance, of each of N. The shares of all classes,
    (N, C, P), are written out only where a gradient is to be differentiated.
    """

    shape: tuple[int, int, int]
    """(N, C, P)."""
    given: Array
    """(N, P): the labels, int64, where they were given."""
    class_weight: Array | None
    """(C,)."""

    def __init__(
        self,
        name: str,
        target: Any,
        what: str,
        scores: Node,
        weight: Array | None,
        ignore: int,
        smoothing: float = 0.0,
        classes: int | None = None,
        by_kernel: bool = False,
    ) -> None:
        """Check the labels against `scores` (N, C, …), and move them beside it.

        Args:
            name, what: of the function that asks, and what it calls its scores, for errors.
            weight: (C,), or None for 1 each.
            classes: C, if it is not the scores' own.
            by_kernel: a kernel looks at the labels that are on a GPU, and whoever launches it calls `check_worst`.

        Raises:
            TypeError: labels that are no integers.
            ValueError: labels of another shape than (N, …), or out of range; see `cross_entropy`.
        """
        axis = class_axis(name, what, scores)
        _check_shape(name, target, what, scores, axis)
        classes = scores.shape[axis] if classes is None else classes
        self.shape = n, _, positions = math.prod(scores.shape[:axis]), classes, math.prod(scores.shape[axis + 1 :])
        given = target.array if isinstance(target, Node) else target
        self.given = given.astype(np.int64, copy=False).reshape(n, positions)
        self.class_weight, self.ignore, self.smoothing = weight, ignore, smoothing
        self._seen: tuple[Array, Array, Array | None] | None = None
        self._device, self._dtype = scores.device, np.result_type(scores.dtype, np.float32)
        self._message = (
            f"{name}: labels must be 0 to {classes - 1} for {classes} classes, got {{}}; "
            f"an example that is to be left out has the label ignore_index={ignore}"
        )
        if not by_kernel or array_module(self.given) is np:
            self._look()

    def _look(self) -> tuple[Array, Array, Array | None]:
        """Which examples count, the class of each, and, if not all are known to be in range, which are not: (N, P) each.

        Before they are moved beside the scores: on the CPU an error comes at once.
        """
        if self._seen is not None:
            return self._seen
        kept = self.given != self.ignore
        labels = array_module(self.given).where(kept, self.given, 0)
        outside = check_range(labels, 0, self.shape[1], self._message, ValueError)
        self._seen = kept, labels if outside is None else array_module(labels).where(outside, 0, labels), outside
        return self._seen

    def check_worst(self, worst: Array) -> None:
        """Check the range of labels on a GPU of which a kernel has found the worst: -1 before all others, then the largest."""
        check_offset(worst.view(np.uint64), 0, self.shape[1], self._message, ValueError)

    @cached_property
    def _beside(self) -> tuple[Array, Array]:
        kept, labels, _ = self._look()
        return to_device(kept, self._device), to_device(labels, self._device)

    @property
    def kept(self) -> Array:
        """(N, P), bools: which examples count."""
        return self._beside[0]

    @cached_property
    def weight(self) -> Array:
        """(N, P): what each counts in the mean: the weight of its class; 0 if it is ignored, nan if there is no such class."""
        (kept, labels), outside = self._beside, self._look()[2]
        weight = kept.astype(self._dtype)
        if self.class_weight is not None:
            weight *= self.class_weight[labels]
        return weight if outside is None else array_module(weight).where(outside, math.nan, weight)

    @cached_property
    def places(self) -> Array:
        """(N, P): where in (N, C, P), laid flat, the number of the labelled class is."""
        labels, (n, classes, positions) = self._beside[1], self.shape
        xp = array_module(labels)
        return ((xp.arange(n) * classes)[:, None] + labels) * positions + xp.arange(positions)

    @cached_property
    def own(self) -> Array:
        """(N, P): the share of the label's class."""
        return self.weight * (1 - self.smoothing) if self.smoothing else self.weight

    @cached_property
    def others(self) -> Array | None:
        """(C,): the share of every class; None without label smoothing."""
        if not self.smoothing:
            return None
        classes = self.shape[1]
        weight = self.class_weight
        ones = array_module(self.weight).ones(classes, self._dtype) if weight is None else weight
        return ones * (self.smoothing / classes)

    @cached_property
    def sum(self) -> Array:
        """(N, P): of an example's shares over all classes."""
        return self.own if self.others is None else self.own + self.kept * self.others.sum()

    def count(self) -> tuple[Array, Array]:
        """What a sum of losses is divided by for their mean, the sum of the weights, and what is added to it.

        Where the weights sum to 0 there is no mean: the sum is divided by ∞, and nan added. So the mean is nan and the gradient
        0, whatever the losses are: with label smoothing, or weights of both signs, they need not be 0.
        """
        xp, weights = array_module(self.weight), total(self.weight, (0, 1), False)
        nothing = weights == 0
        divisor, addend = xp.where(nothing, math.inf, weights), xp.where(nothing, math.nan, xp.zeros_like(weights))
        return divisor.astype(self.weight.dtype), addend.astype(self.weight.dtype)

    def dot(self, z: Array) -> Array:
        """Σ shares · z over the classes: (N, C, P) → (N, P); 0 for an ignored example, whose z may be infinite."""
        xp = array_module(z)
        products = self.own * xp.where(self.kept, z.reshape(-1)[self.places], 0)
        return products if self.others is None else products + xp.where(self.kept, self.others @ z, 0)

    def subtract_from(self, z: Array, scale: Array) -> None:
        """z −= shares · scale: z (N, C, P), scale (N, P) or one number. Writes to z."""
        if self.others is not None:
            z -= self.others[:, None] * (self.kept * scale)[:, None]
        z.reshape(-1)[self.places] -= self.own * scale

    def written_out(self) -> Array:
        """The shares: (N, C, P)."""
        z = array_module(self.own).zeros(self.shape, self.own.dtype)
        self.subtract_from(z, -array_module(self.own).ones_like(self.own))
        return z


def _check_shape(name: str, target: Any, what: str, scores: Node, axis: int) -> None:
    expected = scores.shape[:axis] + scores.shape[axis + 1 :]
    given = f"{target.dtype} of shape {target.shape}"
    if target.shape == scores.shape and target.shape != expected and target.dtype.kind in "iub":
        raise TypeError(
            f"{name}: a target of the shape of the {what} {scores.shape} must be probabilities, got {target.dtype}; of rows "
            f"with a single 1 take .argmax({axis}) for class numbers, or .to('float32') for probabilities"
        )
    if target.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers of shape {expected}, got {given}; use .to('int64')")
    if target.shape != expected:
        fits = math.prod(target.shape) == math.prod(expected)
        hint = f"; use .reshape({', '.join(map(str, expected))})" if fits and expected else ""
        raise ValueError(f"{name}: {what} {scores.shape} need labels of shape {expected}, got {target.shape}{hint}")
