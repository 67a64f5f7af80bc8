"""The chain rule over the graph: `backward`, `grad`, and the pass that both of them run."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

from numpy import ndarray

from ..runtime import threads
from ..runtime.arrays import follow
from .graph import Node, Origin, T, clock, mode
from .hooks import hooked
from .leaves import accumulate, alone, own
from .observers import Observer, current, watched
from .op import Rule, op
from .parallel import Delegated
from .validation import as_nodes, as_seeds, check_vjp, origin_of
from .versions import check_unchanged, holds_no_arrays


def grad(
    outputs: T | Sequence[T],
    inputs: T | Sequence[T],
    grad_outputs: T | Sequence[T | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradient of `outputs` with respect to each of `inputs`: the vector-Jacobian product with `grad_outputs`.

    Args:
        outputs: one tensor or several, whose gradients add up.
        inputs: one tensor or several, leaves or results. Nothing is written to their `.grad`.
        grad_outputs: a tensor of the shape and dtype of each output. None for an output of one element: 1.
        retain_graph: keep the graph for another pass; as `create_graph` if None.
        create_graph: record the pass itself, so that the gradients can be differentiated in turn.
        allow_unused: give None for an input that no output depends on, instead of raising.

    Returns:
        A tuple, one gradient per input, each of its input's shape and dtype, and in memory of its own.

    Raises:
        TypeError: an output, an input or a gradient is no tensor.
        ValueError: a gradient is missing, or is not of its output's shape and dtype; an input is unused.
        RuntimeError: there is no graph, it was released, or a tensor that it needs was overwritten since.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0], requires_grad=True)
    >>> (dx,) = grad((x**3).sum(), x, create_graph=True)
    >>> dx, grad(dx.sum(), x)[0]
    (Tensor([ 3., 12.], op=multiply), Tensor([ 6., 12.]))
    """
    outputs, inputs = as_nodes("outputs", outputs), as_nodes("inputs", inputs)
    seeds = as_seeds("grad", outputs, grad_outputs)
    wanted = [origin_of(f"grad: input {i}", x) for i, x in enumerate(inputs)]
    found = Pass(seeds, set(wanted), create_graph if retain_graph is None else retain_graph, create_graph).run()
    if not allow_unused:
        for i, origin in enumerate(wanted):
            if origin not in found:
                raise ValueError(f"grad: no output depends on input {i} {origin.shape}; allow_unused=True gives None for it")
    del seeds  # a second reference, with which `own` would copy
    last = {origin: i for i, origin in enumerate(wanted)}  # an input that is named twice gets a copy first
    return tuple(
        own([found.pop(origin) if i == last[origin] else found[origin]]) if origin in found else None
        for i, origin in enumerate(wanted)
    )


def backward(
    tensor: T | Sequence[T],
    gradient: T | Sequence[T | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: T | Sequence[T] | None = None,
) -> None:
    """Add the gradient of `tensor` (or of several) to the `.grad` of every leaf that it depends on, or of `inputs` only.

    `gradient` and the errors are those of `grad`. The pass releases the graph on its way, so a second pass raises unless the
    first was told to retain it. (Derivatives that need no arrays, as those of a view, are kept: there is nothing to release,
    and other results of the same view can be differentiated later.)

    A gradient is added as soon as it is complete, those of a network's last layer first. It is in memory of its own: to write
    into one `.grad` changes no other, nor `gradient`. After an error in the pass, in a hook for example, the gradients that
    were complete by then are in place: set `.grad` to None before the next pass.

    >>> import microtensor as mt
    >>> x = mt.Tensor([3.0], requires_grad=True)
    >>> (x * x).backward()
    >>> x.grad
    Tensor([6.])
    """
    outputs = as_nodes("backward", tensor)
    seeds = as_seeds("backward", outputs, gradient)
    given = [] if inputs is None else as_nodes("inputs", inputs)
    nodes = None if inputs is None else {origin_of(f"backward: input {i}", x): x for i, x in enumerate(given)}

    def receive(origin: Origin, held: list[Any]) -> Any:
        node = nodes[origin] if nodes is not None else origin.leaf() if origin.leaf is not None else None
        if node is None or origin.retained:
            return None  # the leaf was freed; or the hook of retain_grad has added the gradient
        accumulate(node, held)
        for hook in origin.after:
            hook(node)
        return node.grad

    retain = create_graph if retain_graph is None else retain_graph
    Pass(seeds, None if nodes is None else set(nodes), retain, create_graph, receive=receive).run()


class Pass:
    """One backward pass: gradients flow from results to what they were computed from, through each origin once.

    `propagate` goes through the origins, each after all that depend on it; `step` is the chain rule at one of them: it calls
    the vjps; `accumulate` adds up the gradients that arrive at one input; `Origin.release` frees what the vjps refer to.

    Args:
        seeds: the origins of results, each with the gradient to start from.
        wanted: the origins whose gradients are asked for; None for every leaf.
        retain: keep the graph; otherwise each origin is released after its step.
        create: record the operations of the vjps.
        past_wanted: propagate past a wanted origin too, to its own inputs. If not, its hooks are left to an outer pass.
        receive: called with each wanted origin and a list that holds its complete gradient. It returns what stays in memory.
    """

    __slots__ = (
        "seeds", "wanted", "retain", "create", "past_wanted", "receive", "order", "needed", "started", "gradients", "found",
        "observers", "delegated", "may_delegate", "hooks_ran",
    )  # fmt: skip

    def __init__(
        self,
        seeds: Sequence[tuple[Origin, Any]],
        wanted: set[Origin] | None,
        retain: bool,
        create: bool,
        past_wanted: bool = True,
        receive: Callable[[Origin, list[Any]], Any] | None = None,
    ) -> None:
        self.seeds, self.wanted, self.retain, self.create = seeds, wanted, retain, create
        self.past_wanted, self.receive = past_wanted, receive
        self.observers: Sequence[Observer] = current()
        self.order: list[Origin] = []
        """The origins still to come, the next one last."""
        self.needed: set[Origin] | None = None
        """The origins through which gradients flow to a wanted one; None: all."""
        self.gradients: dict[Origin, Any] = {}
        """What has arrived so far, by the origin that it is for."""
        self.found: dict[Origin, Any] = {}
        """The gradients of wanted origins; with `receive` only while somebody observes."""
        self.delegated = Delegated()
        """Gradients of leaves that other threads compute: see parallel.py."""
        self.may_delegate = not create and not self.observers and threads.idle()
        self.started, self.hooks_ran = clock[0], False

    def run(self) -> dict[Origin, Any]:
        """Run the pass: the gradient of each wanted origin that was reached; with `receive` nothing."""
        before = mode.recording, mode.autocast
        try:
            mode.recording = self.create
            mode.autocast = None  # the casts are in the graph: each vjp computes in its result's dtype
            if self.observers:
                watched(self.observers, self, [g for _, g in self.seeds], self.propagate)
            else:
                self.propagate()
        finally:
            mode.recording, mode.autocast = before
            self.delegated.cancel()
        return self.found

    def begin(self) -> None:
        """Put the origins in order, refuse what cannot be differentiated, and seed the gradients."""
        order = topological([origin for origin, _ in self.seeds], self.wanted or frozenset(), self.past_wanted)
        if self.wanted is not None:
            self.needed = leading_to(self.wanted, order)
            order = [origin for origin in order if origin in self.needed]
        for origin in order:  # before anything is released
            if origin.sources and origin.time != self.started:
                check_unchanged(origin, [vjp for _, vjp in self.sources(origin)])
        for origin, g in self.seeds:
            if self.needed is None or origin in self.needed:
                self.gradients[origin] = self.gradients[origin] + g if origin in self.gradients else g
        self.order = order
        self.seeds = ()  # a second reference to each gradient

    def sources(self, origin: Origin) -> Sequence[tuple[Origin, Callable[..., Any]]]:
        """The inputs of an operation that a gradient is passed on to, each with its vjp."""
        sources, needed = origin.sources or (), self.needed
        return sources if needed is None else [source for source in sources if source[0] in needed]

    def propagate(self) -> None:
        """Go through the origins: call hooks, hand over the gradients of wanted origins, and pass on all others."""
        self.begin()
        order, gradients, wanted, past_wanted = self.order, self.gradients, self.wanted, self.past_wanted
        waiting, observers = self.delegated.waiting, self.observers
        while order or waiting:
            if not order:
                self.delegated.collect(self)
            origin = order.pop()
            if waiting and origin in waiting:
                self.delegated.due.append(origin)
                continue
            if origin.hooks and (past_wanted or wanted is None or origin not in wanted):
                gradients[origin] = hooked(origin, gradients.pop(origin))
                self.hooks_ran = True
            if observers:
                for observer in observers:
                    observer.step(self, origin)
            sources = origin.sources if wanted is None else self.sources(origin)
            if not sources if wanted is None else origin in wanted:
                ends = not sources or not past_wanted
                self.arrive(origin, ends)
                if ends:
                    continue
            if self.hooks_ran and clock[0] != self.started:
                check_unchanged(origin, [vjp for _, vjp in sources or ()])
            self.step(origin, sources)

    def step(self, origin: Origin, sources: Any) -> None:
        """The chain rule: the gradient of a result, through the vjp for each input, is a part of that input's gradient."""
        gradients, observers, output, meaning = self.gradients, self.observers, None, origin.meaning
        g = gradients.pop(origin)
        if origin.output is not None:
            output = g.kind.wrap(origin.output[0], origin if self.create else None)
            output.assigned = origin.output[1]
        if meaning is not None and (self.create or meaning.alone):
            sources = meaning.sources(origin, self.needed, g, self.create)
        for parent, vjp in sources:
            if self.may_delegate and parent.leaf is not None and self.delegated.start(self, origin, parent, vjp, g):
                continue
            part = vjp(g) if output is None else vjp(g, output)
            data = part._data if isinstance(part, Node) else None
            fits = type(data) is ndarray and data.shape == parent.shape and data.dtype is parent.dtype
            if not fits or parent.device != "cpu":  # most fit, and need no call
                check_vjp(part, origin, parent)
            if observers:
                for observer in observers:
                    observer.derivative(origin, g, part)
            if parent in gradients:
                self.accumulate(parent, part)
            else:
                gradients[parent] = part
        if not self.retain and (output is not None or meaning is not None or not holds_no_arrays(origin.sources or ())):
            origin.release()

    def accumulate(self, parent: Origin, part: Any) -> None:
        """Add to what has arrived for an input that was used several times: in place, where nothing else refers to that."""
        held = [self.gradients.pop(parent)]
        if not self.create and alone(held):
            follow(part._data)
            held[0]._data += part._data
            self.gradients[parent] = held[0]
        else:
            self.gradients[parent] = held[0] + part

    def arrive(self, origin: Origin, ends: bool) -> None:
        """The gradient of a wanted origin is complete: hand it over. If it `ends` here, nothing else needs it."""
        if self.receive is None:
            self.found[origin] = self.gradients.pop(origin) if ends else self.gradients[origin]
            return
        if origin.after:
            self.hooks_ran = True
            self.delegated.collect(self)  # other threads may still read what a hook changes
        kept = self.receive(origin, [self.gradients.pop(origin) if ends else self.gradients[origin]])
        if self.observers and kept is not None:
            self.found[origin] = kept


def topological(roots: Sequence[Origin], wanted: Set[Origin] = frozenset(), past_wanted: bool = True) -> list[Origin]:
    """All origins that `roots` depend on, each after its sources, and leaves as late as possible.

    No recursion: a graph may be 100,000 operations deep.

    Args:
        wanted: origins at which to stop: always if they were released, otherwise unless `past_wanted`.

    Raises:
        RuntimeError: another was released.
    """
    order: list[Origin] = []
    visited: set[Origin] = set()
    stack: list[Any] = list(roots)
    while stack:
        origin = stack.pop()
        if origin is None:  # all sources of the origin below are in order
            order.append(stack.pop())
        elif origin not in visited:
            visited.add(origin)
            if origin.sources is None and origin not in wanted:
                raise RuntimeError(
                    f"backward: the graph behind {origin.name} was released by an earlier pass; "
                    "compute the result again, or give the first pass retain_graph=True"
                )
            stack += (origin, None)
            if past_wanted or origin not in wanted:
                first = len(stack)
                for parent, _ in origin.sources or ():  # a loop takes half the time of a comprehension here
                    if parent not in visited:
                        if parent.sources:
                            stack.append(parent)
                        else:  # below the others: a pass reaches a leaf right after the last origin that depends on it
                            stack.insert(first, parent)
    return order


def leading_to(wanted: set[Origin], order: Sequence[Origin]) -> set[Origin]:
    """The origins through which gradients flow to those that are wanted, these among them."""
    needed: set[Origin] = set()
    for origin in order:
        if origin in wanted or any(parent in needed for parent, _ in origin.sources or ()):
            needed.add(origin)
    return needed


@op(elementwise=True)
def same(x: T) -> Rule[T]:
    """x again, as a node of its own in the graph."""
    return x.array[...], (lambda g: g,)
