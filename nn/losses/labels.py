"""Targets that are class indices: checked, and turned into the shares of the classes that the formulas need."""

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
    """A target as a tensor or an array: Python integers as int64, other Python numbers as float32."""
    if isinstance(target, Node):
        return target
    array = as_array(name, target, whole=np.int64)
    return array if array.size or is_array(target) else array.astype(np.int64)  # NumPy makes floats of an empty list


class Labels:
    """Class indices as target distributions: the share `own` for the class of the label, and `others` for every class.

    Examples are (N, P): N of P positions each, such as the pixels of an image. The dense shares of all classes, (N, C, P), are
    computed by `written_out` only.
    """

    shape: tuple[int, int, int]
    """(N, C, P)."""
    given: Array
    """(N, P): the labels, int64, on the device where they were given."""
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
        """Check the labels against `scores` (N, C, …), and move them to its device.

        Args:
            name, what: the function, and what it calls its scores, for errors.
            weight: (C,), or None for 1 each.
            classes: C, if not that of the scores.
            by_kernel: labels on a GPU are checked by a kernel, whose caller calls `check_worst`.

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
        """Which examples count, their classes, and, unless all are known to be in range, which are not: (N, P) each.

        Computed where the labels were given: on the CPU an error is raised at once.
        """
        if self._seen is not None:
            return self._seen
        kept = self.given != self.ignore
        labels = array_module(self.given).where(kept, self.given, 0)
        outside = check_range(labels, 0, self.shape[1], self._message, ValueError)
        self._seen = kept, labels if outside is None else array_module(labels).where(outside, 0, labels), outside
        return self._seen

    def check_worst(self, worst: Array) -> None:
        """Check labels on a GPU by the worst of them, which a kernel has found: -1 if any is negative, else the largest."""
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
        """(N, P): the weight of each example, that of its class; 0 if it is ignored, nan if there is no such class."""
        (kept, labels), outside = self._beside, self._look()[2]
        weight = kept.astype(self._dtype)
        if self.class_weight is not None:
            weight *= self.class_weight[labels]
        return weight if outside is None else array_module(weight).where(outside, math.nan, weight)

    @cached_property
    def places(self) -> Array:
        """(N, P): the index of the labelled class in the flattened (N, C, P)."""
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
        """(N, P): the sum of an example's shares over all classes."""
        return self.own if self.others is None else self.own + self.kept * self.others.sum()

    def count(self) -> tuple[Array, Array]:
        """The divisor of the mean, which is the sum of the weights, and what is added to the quotient.

        Where the weights sum to 0 there is no mean: the sum is divided by ∞, and nan added. So the mean is nan and the gradient
        0, even where the losses are not 0, as with label smoothing or weights of both signs.
        """
        xp, weights = array_module(self.weight), total(self.weight, (0, 1), False)
        nothing = weights == 0
        divisor, addend = xp.where(nothing, math.inf, weights), xp.where(nothing, math.nan, xp.zeros_like(weights))
        return divisor.astype(self.weight.dtype), addend.astype(self.weight.dtype)

    def dot(self, z: Array) -> Array:
        """Σ shares · z over the classes: (N, C, P) → (N, P); 0 for an ignored example, of which z may be infinite."""
        xp = array_module(z)
        products = self.own * xp.where(self.kept, z.reshape(-1)[self.places], 0)
        return products if self.others is None else products + xp.where(self.kept, self.others @ z, 0)

    def subtract_from(self, z: Array, scale: Array) -> None:
        """z −= shares · scale: z (N, C, P), scale (N, P) or one number. Writes to z."""
        if self.others is not None:
            z -= self.others[:, None] * (self.kept * scale)[:, None]
        z.reshape(-1)[self.places] -= self.own * scale

    def written_out(self) -> Array:
        """The shares of all classes: (N, C, P)."""
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
