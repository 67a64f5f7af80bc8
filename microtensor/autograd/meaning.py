"""What an operation means: the plain composition of operations from which its derivatives can be taken.

A rule whose forward and backward are written out on arrays for speed gives gradients that are plain arrays: a backward pass
that is recorded (`create_graph=True`) could not differentiate them again. `@op(meaning=function)` names the composition that
the rule stands for. While recording, backward.py computes that in place of the rule's vjps, once for all inputs, and walks its
graph; so derivatives of every order follow from the operations that it is composed of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from .arguments import kind_of
from .graph import Node, Origin


class Meaning:
    """What one call of an operation needs to be computed again by its composition.

    It holds the inputs as long as the graph is kept, as vjps do that close over them. It does not hold the result.
    """

    __slots__ = ("function", "inputs", "settings", "vjps", "alone")

    def __init__(
        self, function: Callable[..., Any], inputs: Sequence[Any], settings: Mapping[str, Any], vjps: Sequence[Any], alone: bool
    ) -> None:
        self.function, self.inputs, self.settings, self.vjps = function, inputs, settings, vjps
        self.alone = alone
        """Whether the rule has no vjps of its own: then the derivatives are always the meaning's."""

    def compute(self, origin: Origin, *inputs: Any) -> Any:
        """The operation's result, composed.

        Raises:
            TypeError: the function returned no tensor.
            ValueError: it returned a tensor unlike the rule's result, or one that depends on no input.
        """
        name = getattr(origin.op, "__name__", "an operation")
        y = self.function(*inputs, **self.settings)
        if not isinstance(y, Node):
            raise TypeError(f"{name}: its meaning must return a Tensor, as the operation does, it returned {kind_of(y)}")
        if y.shape != origin.shape or y.dtype != origin.dtype:
            raise ValueError(
                f"{name}: its meaning returned {y.dtype} {y.shape}, but its rule {origin.dtype} {origin.shape}: "
                "both must compute the same"
            )
        if y.origin is None:
            raise ValueError(
                f"{name}: its meaning returned what depends on none of its inputs: compose it of operations on them"
            )
        return y

    def sources(
        self, origin: Origin, gradients: Sequence[Any], needed: Set[Origin] | None
    ) -> tuple[tuple[Origin, Callable[..., Any]], ...]:
        """Those of `origin.sources` that are needed (all if None), with vjps that hand over these gradients, one per input.

        Raises:
            ValueError: there is none for an input for which the rule has a vjp.
        """
        sources = []
        for i, (x, vjp, g) in enumerate(zip(self.inputs, self.vjps, gradients)):
            if vjp is None or not isinstance(x, Node) or x.origin is None or (needed is not None and x.origin not in needed):
                continue
            if g is None:
                name = getattr(origin.op, "__name__", "an operation")
                raise ValueError(f"{name}: its meaning does not depend on input {i}, for which its rule has a vjp")
            sources.append((x.origin, functools.partial(_handed_over, [g])))
        return tuple(sources)


def _handed_over(held: list[Any], *_: Any) -> Any:
    """A gradient, which nobody else holds from then on: the engine may add to it in place."""
    return held.pop()


def without_vjps(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """In place of the vjps of a rule that has none but a meaning: they are never called, and let the engine see the inputs."""
    return (functools.partial(_not_called, inputs),) * len(inputs)


def _not_called(inputs: Sequence[Any], *_: Any) -> Any:
    raise RuntimeError("the derivatives of this operation are those of its meaning")
