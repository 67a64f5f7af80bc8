"""The graph behind a tensor, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..autograd.backward import topological
from ..autograd.graph import Node, Origin
from ..runtime.integers import as_integer
from ..runtime.text import kind_of
from .layered import Layout
from .style import BLUE, FAINT, INK, VERMILION, WIDTH, inches, plain, require
from .tiles import MARGIN, Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT, SMALLEST = 9.0, 6.5
"""Points, of what stands in the boxes: as large as there is room."""

MOST = 150
"""Boxes that a figure can hold."""

BOX, ROW = 0.4, 0.72
"""Inches, of a box of two lines and from one row to the next."""


class Box:
    """What is drawn as one: an operation or a leaf; or several operations, each the only source and user of its neighbour."""

    def __init__(self, origin: Origin, name: str | None) -> None:
        self.leaf = origin.op is None
        self.lines = [name or "leaf"] if origin.op is None else [origin.op.__name__.lstrip("_")]
        self.shape = origin.shape

    @property
    def text(self) -> str:
        """Names of what is in it, and the shape of what comes out."""
        shape = "×".join(map(str, self.shape)) or "one number"
        return plain("\n".join((*self.lines, shape)))


def graph(t: Any, names: Any = None, max_nodes: int = 60) -> Figure:
    """The graph that a tensor was computed by: a box for each leaf, a rounded one for each operation; arrows as data flows.

    Only what a gradient flows through is in it. Each box says what it is and the shape of its result. A graph of more than
    `max_nodes` is drawn without its leaves; if that does not do, each chain of operations becomes one box; the figure says so.

    Args:
        t: a tensor that requires a gradient, of a graph that no backward pass has released.
        names: of leaves: a module, for its parameters, or a dict {name: tensor}.
        max_nodes: so many boxes are drawn at most.

    Raises:
        TypeError: `t` is no tensor, `names` are none.
        ValueError: `t` has no graph; it has too many operations, or too many beside each other, to be read as a figure:
            `draw_graph` gives it as text for Graphviz, which has no limits.
        RuntimeError: the graph was released.
    """
    if as_integer("plot.graph", "max_nodes", max_nodes, least=1) > MOST:
        raise ValueError(f"plot.graph: max_nodes must be at most {MOST}, got {max_nodes}: a figure has no room for more")
    if not isinstance(t, Node):
        raise TypeError(f"plot.graph: expected a Tensor, got {kind_of(t)}")
    if t.origin is None:
        raise ValueError("plot.graph: the tensor has no graph: no input of its computation requires a gradient")
    known = _names(names)
    order = topological([t.origin])
    number = {origin: i for i, origin in enumerate(order)}
    boxes = [Box(origin, known.get(id(origin.leaf()) if origin.leaf is not None else 0)) for origin in order]
    edges = [(number[parent], i) for i, origin in enumerate(order) for parent, _ in origin.sources or ()]
    said = ""
    if len(boxes) > max_nodes:
        leaves = sum(box.leaf for box in boxes)
        boxes, edges = _without_leaves(boxes, edges)
        said = "1 leaf is left out" if leaves == 1 else f"{leaves} leaves are left out"
    if len(boxes) > max_nodes:
        boxes, edges = _chains(boxes, edges)
        said += "; operations that follow each other stand in one box"
    if len(boxes) > max_nodes:
        raise ValueError(
            f"plot.graph: {len(order)} nodes, and still {len(boxes)} with chains of operations in one box, are more than "
            f"max_nodes={max_nodes}; draw a part of the model, or give draw_graph(t) to Graphviz"
        )
    return _drawn(boxes, edges, said)


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
    kept = [i for i, box in enumerate(boxes) if not box.leaf]
    place = {i: at for at, i in enumerate(kept)}
    return [boxes[i] for i in kept], [(place[a], place[b]) for a, b in edges if a in place]


def _chains(boxes: list[Box], edges: list[tuple[int, int]]) -> tuple[list[Box], list[tuple[int, int]]]:
    """Operations that have no other source than the one before, which has no other user, go into its box."""
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


def _drawn(boxes: list[Box], edges: list[tuple[int, int]], said: str) -> Figure:
    require()
    for box in boxes:
        if len(box.lines) > 6:
            box.lines = [*box.lines[:3], f"… {len(box.lines) - 5} more …", *box.lines[-2:]]
    once = list(dict.fromkeys(edges))
    for fontsize in (FONT, 8.0, 7.0, SMALLEST):
        widths = [inches([box.text], fontsize) + 0.16 for box in boxes]
        layout = Layout(widths, once, gap=0.12, width=WIDTH - 2 * MARGIN, bend=0.1)
        if layout.needed <= layout.width:
            break
    else:
        raise ValueError(
            f"plot.graph: {layout.needed:.0f} inches of boxes stand beside each other, the figure has {WIDTH:.0f}; draw a part "
            "of the model, or give draw_graph(t) to Graphviz"
        )
    tall = [BOX + (len(box.lines) - 1) * fontsize * 1.25 / 72 for box in boxes]
    rows = max(layout.depth) + 1
    row_height = [max((tall[i] for i in row if i < len(boxes)), default=BOX) for row in layout.rows]
    middle = [MARGIN + sum(row_height[:r]) + r * (ROW - BOX) + row_height[r] / 2 for r in range(rows)]
    foot = 0.62 if said else 0.42
    sheet = Sheet(middle[-1] + row_height[-1] / 2 + foot)
    from matplotlib.patches import FancyBboxPatch

    for edge, route in zip(once, layout.routes):
        stops = []  # (x, y where the arrow enters the row, y where it leaves it)
        for node in route:
            y, half = middle[layout.depth[node]], row_height[layout.depth[node]] / 2
            stops.append((MARGIN + layout.x[node], y - half, y + half))
        ends = middle[layout.depth[route[0]]] + tall[route[0]] / 2, middle[layout.depth[route[-1]]] - tall[route[-1]] / 2
        _arrow(sheet, stops, *ends, edges.count(edge))
    for i, box in enumerate(boxes):
        x, y = MARGIN + layout.x[i], middle[layout.depth[i]]
        style = "square,pad=0" if box.leaf else "round,pad=0,rounding_size=0.1"
        colors: dict[str, Any] = {
            "edgecolor": BLUE if box.leaf else VERMILION if i == len(boxes) - 1 else INK,
            "facecolor": "white",
        }
        corner = (x - widths[i] / 2, y - tall[i] / 2)
        sheet.axes.add_patch(FancyBboxPatch(corner, widths[i], tall[i], boxstyle=style, linewidth=1.2, zorder=2, **colors))
        sheet.write(x, y, box.text, fontsize, va="center", linespacing=1.25, zorder=3)
    what = "square: a leaf; round: an operation, with the shape of its result; arrows as data flows"
    for i, line in enumerate(([said] if said else []) + [what]):
        sheet.write(WIDTH / 2, sheet.height - 0.14 - 0.2 * i, line, 10, color=FAINT)
    return sheet.figure


def _arrow(sheet: Sheet, stops: list[tuple[float, float, float]], start: float, end: float, times: int) -> None:
    """From the foot of a box, straight through the rows that it passes, to the head of another; ×2 where it goes twice."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    stops = [*stops[:-1], (stops[-1][0], stops[-1][1] - 0.1, end - 0.02)]  # so that the head points down
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
