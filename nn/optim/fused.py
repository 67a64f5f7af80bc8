"""What the optimisers of this library are: a rule in array calls, and the same rule as a kernel for all parameters at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from microtensor.runtime.arrays import Array, array_module, follow
from microtensor.runtime.cuda.kernels import Kernels, usable
from microtensor.runtime.cuda.multi_tensor import ArrayRow, fit, launch

from .optimizer import Optimizer

kernels = Kernels(__file__, "optimizers.cu")


class Rule(Optimizer):
    """An optimiser whose `update` is in two parts: `prepared`, what a step takes, and `plain`, what it does with it.

    On a GPU the second part is done by a kernel, in one launch for up to 72 parameters. Parameters that are not contiguous
    there, or whose gradient has another dtype, take the plain way.
    """

    kernel: ClassVar[str]
    """The kernel in optimizers.cu that does for many parameters what `plain` does for one."""

    def prepared(
        self, p: Array, state: dict[str, Any], group: dict[str, Any]
    ) -> tuple[tuple[Array | None, ...], tuple[Any, ...]]:
        """Count the step, and make room for what is to be remembered.

        Returns:
            the arrays remembered of `p`, None where one is not needed; and the numbers of this step, which `plain` and the
            kernel take: floats, and ints for integers and flags.
        """
        raise NotImplementedError(f"{self._name}: define prepared(self, p, state, group)")

    def plain(self, arrays: tuple[Any, ...], *numbers: Any) -> None:
        """One step of one parameter: p, g and what is remembered, changed in place; g stays as it is."""
        raise NotImplementedError(f"{self._name}: define plain(self, arrays, ...)")

    def update(self, p: Array, g: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of one parameter."""
        memory, numbers = self.prepared(p, state, group)
        self.plain((p, g, *memory), *numbers)

    def update_all(self, steps: Sequence[tuple[Array, Array, dict[str, Any]]], group: dict[str, Any]) -> None:
        """One step of all parameters of a group: those on a GPU together, as far as they take the same numbers."""
        if type(self).update is not Rule.update:  # of a class that has a rule of its own
            return super().update_all(steps, group)
        together: dict[tuple[Any, ...], list[ArrayRow]] = {}
        for p, g, state in steps:
            follow(p)
            memory, numbers = self.prepared(p, state, group)
            row = (p, array_module(g).ascontiguousarray(g) if usable(g) else g, *memory)
            if fit(row):
                together.setdefault(numbers, []).append(row)
            else:
                self.plain((p, g, *memory), *numbers)
        for numbers, rows in together.items():
            launch(kernels, self.kernel, rows, *numbers)
