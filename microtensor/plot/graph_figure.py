"""The graph of a tensor as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..autograd.backward import topological
from ..autograd.graph import Node, Origin
from ..runtime.integers import as_integer
from ..runtime.text import kind_of
from .graph_layout import Layout
from .style import BLUE, FAINT, INK, VERMILION, WIDTH, escaped, require, text_width_inches
from .tiles import MARGIN, Sheet, Tile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT_SIZES = (9.0, 8.0, 7.0, 6.5)
"""Font sizes of the boxes in points; the largest that fits is used."""

MAX_BOXES = 150
"""More boxes cannot be read in a figure."""

MAX_LINES = 6
"""Names of operations in a box; more are abbreviated."""

BOX_HEIGHT, ROW_HEIGHT = 0.4, 0.72
"""Inches: of a box with two lines, and from one row to the next."""


class Box:
    """A box of the figure: a leaf, an operation, or a chain of operations, each the only source and only user of the next."""

    def __init__(self, origin: Origin, name: str | None) -> None:
        self.leaf = origin.op is None
        self.lines = [name or "leaf"] if origin.op is None else [origin.op.__name__.lstrip("_")]
        self.shape = origin.shape

    @property
    def text(self) -> str:
        """The names of its operations, and the shape of the result."""
        shape = "×".join(map(str, self.shape)) or "scalar"
        return escaped("\n".join((*self.lines, shape)))


def graph(t: Any, names: Any = None, max_nodes: int = 60) -> Figure:
    """The graph that computed a tensor: a box per leaf, a rounded box per operation; arrows point in the direction of data.

    Only operations with a gradient are in it. Each box has its name and the shape of its result. A graph with more than
    `max_nodes` boxes is drawn without leaves; if that is not enough, each chain of operations becomes one box; a note in the
    figure says so.

    Args:
        t: a tensor that requires a gradient, whose graph has not been released by a backward pass.
        names: of leaves: a module, for its parameters, or a dict {name: tensor}.
        max_nodes: the largest number of boxes.

    Raises:
        TypeError: `t` is not a tensor, or `names` is something else.
        ValueError: `t` has no graph; or it has too many operations, or too many side by side, for a readable figure:
            `draw_graph` returns it as text for Graphviz, without limits.
        RuntimeError: the graph was released.
    """
    if as_integer("plot.graph", "max_nodes", max_nodes, least=1) > MAX_BOXES:
        raise ValueError(f"plot.graph: max_nodes must be at most {MAX_BOXES}, got {max_nodes}: a figure has no room for more")
    if not isinstance(t, Node):
        raise TypeError(f"plot.graph: expected a Tensor, got {kind_of(t)}")
    if t.origin is None:
        raise ValueError("plot.graph: the tensor has no graph: no input of its computation requires a gradient")
    known = _names(names)
    order = topological([t.origin])
    number = {origin: i for i, origin in enumerate(order)}
    boxes = [Box(origin, known.get(id(origin.leaf()) if origin.leaf is not None else 0)) for origin in order]
    edges = [(number[parent], i) for i, origin in enumerate(order) for parent, _ in origin.sources or ()]
    note = ""
    if len(boxes) > max_nodes:
        leaves = sum(box.leaf for box in boxes)
        boxes, edges = _without_leaves(boxes, edges)
        note = "1 leaf is not drawn" if leaves == 1 else f"{leaves} leaves are not drawn"
    if len(boxes) > max_nodes:
        boxes, edges = _chains(boxes, edges)
        note += "; each chain of operations is one box"
    if len(boxes) > max_nodes:
        raise ValueError(
            f"plot.graph: {len(order)} nodes, or {len(boxes)} boxes with chains of operations joined, are more than "
            f"max_nodes={max_nodes}; draw a part of the model, or pass draw_graph(t) to Graphviz"
        )
    return _draw(boxes, edges, note)


def _names(names: Any) -> dict[int, str]:
    """The name of each named tensor, by its id."""
    if names is None:
        return {}
    if hasattr(names, "named_parameters"):
        return {id(parameter): name for name, parameter in names.named_parameters()}
    if not isinstance(names, Mapping) or not all(isinstance(x, Node) for x in names.values()):
        raise TypeError(f"plot.graph: names must be a Module or a dict {{name: tensor}}, got {names!r:.80}")
    return {id(x): str(name) for name, x in names.items()}


def _without_leaves(boxes: list[Box], edges: list[tuple[int, int]]) -> tuple[list[Box], list[tuple[int, int]]]:
    """Boxes and edges without the leaves."""
    kept = [i for i, box in enumerate(boxes) if not box.leaf]
    place = {i: at for at, i in enumerate(kept)}
    return [boxes[i] for i in kept], [(place[a], place[b]) for a, b in edges if a in place]


def _chains(boxes: list[Box], edges: list[tuple[int, int]]) -> tuple[list[Box], list[tuple[int, int]]]:
    """Join an operation to the one before it, where that is its only source and has no other user."""
    users: list[set[int]] = [set() for _ in boxes]
    sources: list[set[int]] = [set() for _ in boxes]
    for a, b in edges:
        users[a].add(b)
        sources[b].add(a)
    head = list(range(len(boxes)))
    for i, box in enumerate(boxes):
        before = next(iter(sources[i]), i)
        if len(sources[i]) == 1 and len(users[before]) == 1:
            head[i] = head[before]
            first = boxes[head[i]]
            first.lines, first.shape = first.lines + box.lines, box.shape
    kept = sorted(set(head))
    place = {i: at for at, i in enumerate(kept)}
    return [boxes[i] for i in kept], [(place[head[a]], place[head[b]]) for a, b in edges if head[a] != head[b]]


def _draw(boxes: list[Box], edges: list[tuple[int, int]], note: str) -> Figure:
    """The figure of boxes and edges, with a note at the bottom."""
    require()
    for box in boxes:
        if len(box.lines) > MAX_LINES:
            box.lines = [*box.lines[:3], f"… {len(box.lines) - 5} more …", *box.lines[-2:]]
    unique = list(dict.fromkeys(edges))
    layout, fontsize = _fitted_layout(boxes, unique)
    tall = [BOX_HEIGHT + (len(box.lines) - 1) * fontsize * 1.25 / 72 for box in boxes]
    rows = max(layout.depth) + 1
    row_height = [max((tall[i] for i in row if i < len(boxes)), default=BOX_HEIGHT) for row in layout.rows]
    gap = ROW_HEIGHT - BOX_HEIGHT
    middle = [MARGIN + sum(row_height[:r]) + r * gap + row_height[r] / 2 for r in range(rows)]
    sheet = Sheet(middle[-1] + row_height[-1] / 2 + (0.62 if note else 0.42))

    for edge, route in zip(unique, layout.routes):
        stops = []  # (x, y where the arrow enters the row, y where it leaves it)
        for node in route:
            y, half = middle[layout.depth[node]], row_height[layout.depth[node]] / 2
            stops.append((MARGIN + layout.x[node], y - half, y + half))
        ends = middle[layout.depth[route[0]]] + tall[route[0]] / 2, middle[layout.depth[route[-1]]] - tall[route[-1]] / 2
        _arrow(sheet, stops, *ends, edges.count(edge))
    for i, box in enumerate(boxes):
        at = Tile(MARGIN + layout.x[i] - layout.widths[i] / 2, middle[layout.depth[i]] - tall[i] / 2, layout.widths[i], tall[i])
        _draw_box(sheet, box, at, fontsize, is_result=i == len(boxes) - 1)
    legend = "square: leaf; rounded: operation with the shape of its result; arrows: direction of data"
    for i, line in enumerate(([note] if note else []) + [legend]):
        sheet.write(WIDTH / 2, sheet.height - 0.14 - 0.2 * i, line, 10, color=FAINT)
    return sheet.figure


def _fitted_layout(boxes: list[Box], edges: list[tuple[int, int]]) -> tuple[Layout, float]:
    """The layout with the largest font at which all rows fit the figure's width, and that font size."""
    for fontsize in FONT_SIZES:
        widths = [text_width_inches([box.text], fontsize) + 0.16 for box in boxes]
        layout = Layout(widths, edges, gap=0.12, width=WIDTH - 2 * MARGIN, bend=0.1)
        if layout.needed <= layout.width:
            return layout, fontsize
    raise ValueError(
        f"plot.graph: {layout.needed:.0f} inches of boxes stand beside each other, the figure has {WIDTH:.0f}; draw a part "
        "of the model, or pass draw_graph(t) to Graphviz"
    )


def _draw_box(sheet: Sheet, box: Box, at: Tile, fontsize: float, is_result: bool) -> None:
    """A box with its text: blue and square for a leaf, vermilion for the result."""
    from matplotlib.patches import FancyBboxPatch

    shape = "square,pad=0" if box.leaf else "round,pad=0,rounding_size=0.1"
    edge = BLUE if box.leaf else VERMILION if is_result else INK
    colors: dict[str, Any] = {"edgecolor": edge, "facecolor": "white"}
    patch = FancyBboxPatch((at.left, at.top), at.width, at.height, boxstyle=shape, linewidth=1.2, zorder=2, **colors)
    sheet.axes.add_patch(patch)
    x, y = at.left + at.width / 2, at.top + at.height / 2
    sheet.write(x, y, box.text, fontsize, va="center", linespacing=1.25, zorder=3)


def _arrow(sheet: Sheet, stops: list[tuple[float, float, float]], start: float, end: float, times: int) -> None:
    """An arrow from the bottom of a box, straight through the rows that it passes, to the top of another; ×2 for two edges."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    stops = [*stops[:-1], (stops[-1][0], stops[-1][1] - 0.1, end - 0.02)]  # the head points down
    vertices, codes = [(stops[0][0], start), (stops[0][0], stops[0][2])], [Path.MOVETO, Path.LINETO]
    for (ax, _, ay), (bx, by, bottom) in pairwise(stops):
        middle = (ay + by) / 2
        vertices += [(ax, middle), (bx, middle), (bx, by), (bx, bottom)]
        codes += [Path.CURVE4] * 3 + [Path.LINETO]
    line: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 9,
        "linewidth": 0.9,
        "color": FAINT,
        "zorder": 1,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    sheet.axes.add_patch(FancyArrowPatch(path=Path(vertices, codes), **line))
    if times > 1:
        (ax, _, ay), (bx, by, _) = stops[:2]
        plate = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        sheet.write((ax + bx) / 2, (ay + by) / 2, f"×{times}", 8, va="center", bbox=plate)
