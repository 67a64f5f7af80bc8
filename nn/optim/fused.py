"""Fused optimizers: a step in array calls, and as a CUDA kernel that updates many parameters in one launch (multi-tensor)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from microtensor.runtime.arrays import Array, array_module, follow
from microtensor.runtime.cuda.kernels import Kernels, usable
from microtensor.runtime.cuda.multi_tensor import ArrayRow, fit, launch

from .optimizer import Optimizer

kernels = Kernels(__file__, "fused.cu")


class FusedOptimizer(Optimizer):
    """An optimizer whose `update` has two parts: `prepare` gets the state and the settings of a step, `apply` computes it.

    On a GPU a kernel in fused.cu takes the place of `apply`, in one launch for up to 72 parameters. Parameters that are not
    contiguous there, or whose gradient has another dtype, are updated by `apply`, one by one.
    """

    kernel: ClassVar[str]
    """The name of the kernel in fused.cu that does for many parameters what `apply` does for one."""

    def prepare(
        self, p: Array, state: dict[str, Any], group: dict[str, Any]
    ) -> tuple[tuple[Array | None, ...], tuple[Any, ...]]:
        """Count the step, and create the arrays of the state at the first one.

        Returns:
            the arrays of the state, None for one that these settings do not need; and the scalars of this step, arguments of
            `apply` and of the kernel: floats, and ints for integers and flags.
        """
        raise NotImplementedError(f"{self._name}: define prepare(self, p, state, group)")

    def apply(self, arrays: tuple[Any, ...], *scalars: Any) -> None:
        """One step of one parameter. `arrays` are p, g and those of the state: all but g are changed in place."""
        raise NotImplementedError(f"{self._name}: define apply(self, arrays, ...)")

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of one parameter."""
        state_arrays, scalars = self.prepare(p, state, group)
        self.apply((p, g, *state_arrays), *scalars)

    def update_all(self, steps: Sequence[tuple[Array, Array, dict[str, Any]]], group: dict[str, Any]) -> None:
        """One step of all parameters of a group. On a GPU those with the same scalars are updated together."""
        if type(self).update is not FusedOptimizer.update:  # a subclass with an update of its own
            return super().update_all(steps, group)
        together: dict[tuple[Any, ...], list[ArrayRow]] = {}
        for p, g, state in steps:
            follow(p)
            state_arrays, scalars = self.prepare(p, state, group)
            row = (p, array_module(g).ascontiguousarray(g) if usable(g) else g, *state_arrays)
            if fit(row):
                together.setdefault(scalars, []).append(row)
            else:
                self.apply((p, g, *state_arrays), *scalars)
        for scalars, rows in together.items():
            launch(kernels, self.kernel, rows, *scalars)


# Shared by the optimizers


def state_array(state: dict[str, Any], p: Array, name: str, start: float = 0.0) -> Array:
    """An array of the state, with the shape and dtype of `p`, filled with `start` at the first step."""
    if name not in state:
        state[name] = array_module(p).full_like(p, start)
    return state[name]


def gradient_with_decay(p: Array, g: Array, weight_decay: float, maximize: bool) -> Array:
    """The gradient to descend along: negated to maximise, plus weight_decay · p, the gradient of the L2 penalty."""
    if not weight_decay:
        return -g if maximize else g
    xp = array_module(p)
    combined = xp.multiply(p, weight_decay, out=xp.empty_like(p))
    return (xp.subtract if maximize else xp.add)(combined, g, out=combined)


def update_mean(mean: Array, values: Array, beta: float, rest: float, work: Array) -> None:
    """mean ← beta · mean + rest · values, in place, with `work` as a buffer; rest is 1 − beta.

    (mean + rest · (values − mean) would lose small values that follow large ones if beta is small.)
    """
    mean *= beta
    mean += array_module(mean).multiply(values, rest, out=work)
