"""The graph behind a tensor as text: DOT for Graphviz, or Mermaid for a Markdown page."""

from __future__ import annotations

from ..autograd.backward import topological
from ..autograd.graph import Node, Origin


def draw_graph(t: Node, format: str = "dot") -> str:
    """The graph that `t` was computed by: a box for each leaf, a rounded one for each operation; arrows along the data flow.

    Args:
        t: a tensor that requires a gradient, whose graph no backward pass has released.
        format: "dot" (`dot -Tsvg`) or "mermaid".

    Raises:
        TypeError: `t` is no tensor.
        ValueError: it has no graph, or the format is unknown.
        RuntimeError: the graph was released.

    >>> import microtensor as mt
    >>> x = mt.Tensor([1.0, 2.0], requires_grad=True)
    >>> print(draw_graph((x * x).sum(), "mermaid"))
    flowchart TB
        n0["leaf (2,)"]
        n1(["multiply (2,)"])
        n2(["sum ()"])
        n0 --> n1
        n0 --> n1
        n1 --> n2
    """
    if format not in ("dot", "mermaid"):
        raise ValueError(f'draw_graph: format must be "dot" or "mermaid", got {format!r}')
    if not isinstance(t, Node):
        raise TypeError(f"draw_graph: expected a Tensor, got {type(t).__name__}")
    if t.origin is None:
        raise ValueError("draw_graph: the tensor has no graph: no input of its computation requires a gradient")
    order = topological([t.origin])
    number = {origin: f"n{i}" for i, origin in enumerate(order)}
    arrows = [(number[parent], number[origin]) for origin in order for parent, _ in origin.sources or ()]
    if format == "mermaid":
        lines = [f'    {number[o]}["{_label(o)}"]' if o.op is None else f'    {number[o]}(["{_label(o)}"])' for o in order]
        return "\n".join(["flowchart TB", *lines, *(f"    {a} --> {b}" for a, b in arrows)])
    lines = [f'    {number[o]} [label="{_label(o)}", shape=box{"" if o.op is None else ", style=rounded"}];' for o in order]
    return "\n".join(["digraph {", *lines, *(f"    {a} -> {b};" for a, b in arrows), "}"])


def _label(origin: Origin) -> str:
    return f"{'leaf' if origin.op is None else origin.op.__name__.lstrip('_')} {origin.shape}"
