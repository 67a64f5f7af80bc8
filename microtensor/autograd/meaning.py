"""What an operation means: the plain composition of operations from which its derivatives can be taken.

A rule whose forward and backward are written out on arrays for speed gives gradients that are plain arrays: a backward pass
that is recorded (`create_graph=True`) could not differentiate them again. `@op(meaning=function)` names the composition that
the rule stands for. While recording, backward.py computes that in place of the rule's vjps, once for all inputs, and walks its
graph; so derivatives of every order follow from the operations that it is composed of.

    >>> import microtensor as mt
    >>> @mt.op(meaning=lambda x: x * x * x)
    ... def cube(x):
    ...     return x.array**3, (lambda g: x.constant(3 * g.array * x.array**2),)
    >>> x = mt.Tensor([2.0], requires_grad=True)
    >>> (dx,) = mt.grad(cube(x), x, create_graph=True)
    >>> dx.detach(), mt.grad(dx, x)[0]
    (Tensor([12.]), Tensor([12.]))

With a meaning, `None` in place of all vjps says that derivatives are always the meaning's. The graph holds the inputs, as if a
vjp closed over them. Tensors among the settings count as constants.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from ..runtime.text import kind_of
from .graph import Node, Origin, T, mode
from .validation import origin_of
from .versions import check_unchanged


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
        y = self.function(*inputs, **self.settings)
        if not isinstance(y, Node):
            raise TypeError(f"{origin.name}: its meaning must return a Tensor, as the operation does, it returned {kind_of(y)}")
        if y.shape != origin.shape or y.dtype != origin.dtype:
            raise ValueError(
                f"{origin.name}: its meaning returned {y.dtype} {y.shape}, but its rule {origin.dtype} {origin.shape}: "
                "both must compute the same"
            )
        if y.origin is None:
            raise ValueError(
                f"{origin.name}: its meaning returned what depends on none of its inputs: compose it of operations on them"
            )
        return y

    def sources(
        self, origin: Origin, needed: Container[Origin] | None, g: Any, create: bool
    ) -> list[tuple[Origin, Callable[..., Any]]]:
        """`origin.sources`, those that are `needed`, with vjps that return the derivatives of the composition.

        Raises:
            RuntimeError: an input was overwritten since the operation ran.
            ValueError: the composition does not depend on an input for which the rule has a vjp.
        """
        check_unchanged(origin, self.inputs)
        gradients = partials(functools.partial(self.compute, origin), self.inputs, g, needed, create)
        sources: list[tuple[Origin, Callable[..., Any]]] = []
        for i, (x, vjp, gradient) in enumerate(zip(self.inputs, self.vjps, gradients)):
            if vjp is None or not isinstance(x, Node) or x.origin is None or (needed is not None and x.origin not in needed):
                continue
            if gradient is None:
                raise ValueError(f"{origin.name}: its meaning does not depend on input {i}, for which its rule has a vjp")
            sources.append((x.origin, functools.partial(_handed_over, [gradient])))
        return sources


def partials(
    function: Callable[..., T], inputs: Sequence[Any], g: T, needed: Container[Origin] | None = None, create: bool = True
) -> tuple[Any, ...]:
    """The gradient of `function(*inputs)` for each input, as if the inputs were independent of each other.

    Args:
        needed: the origins of the inputs to differentiate for; None for all that require a gradient.
        create: record it, so that the gradients can be differentiated in turn, for all inputs.
    """
    from .backward import Pass, same  # which imports this file, by way of op.py

    before, mode.recording = mode.recording, True
    try:
        apart = [same(x) if isinstance(x, Node) and x.origin is not None else x for x in inputs]
        places = [x.origin if isinstance(x, Node) else None for x in apart]
        wanted = {p for x, p in zip(inputs, places) if p is not None and (needed is None or x.origin in needed)}
        seed = (origin_of("partials: the result", function(*apart)), g)
        others = [(p, p.sources) for p in places if p is not None and p not in wanted]
        for place, _ in others:
            place.sources = ()  # the pass is to stop there
        found = Pass([seed], wanted, retain=create, create=create, past_wanted=False).run()
        for place, sources in others:
            place.sources = sources
    finally:
        mode.recording = before
    return tuple(None if origin is None else found.get(origin) for origin in places)


def _handed_over(held: list[Any], *_: Any) -> Any:
    """A gradient, to which no other reference is left: the engine may add to it in place."""
    return held.pop()


def without_vjps(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """In place of the vjps of a rule that has none but a meaning: they are never called, and let the engine see the inputs."""
    return (functools.partial(_not_called, inputs),) * len(inputs)


def _not_called(inputs: Sequence[Any], *_: Any) -> Any:
    raise RuntimeError("the derivatives of this operation are those of its meaning")
