"""Layout of a directed graph in layers, with all arrows pointing down.

Sugiyama, Tagawa and Toda 1981, "Methods for visual understanding of hierarchical system structures": each node is one layer
below the lowest of its sources; the order within a layer follows the mean position of the neighbours (barycentre); then x
positions are chosen as close to that mean as the neighbours in the layer allow. Nodes without sources get a small weight, so
that the main path of the computation runs straight down.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

Edge: TypeAlias = tuple[int, int]

SWEEPS = 12
"""Iterations that improve orders and positions, downwards and upwards in turn."""

SOURCE_WEIGHT = 1e-6
"""The weight of a node without sources in the mean position of its neighbours; other nodes have 1."""


def layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """The layer of each node, 0 at the top. Nodes are sorted: each comes after its sources.

    A node without sources is one layer above its first user.
    """
    depth = [0] * count
    for above, below in sorted(edges, key=lambda edge: edge[1]):
        depth[below] = max(depth[below], depth[above] + 1)
    for node in range(count):
        needed = [depth[below] for above, below in edges if above == node]
        if needed and not any(below == node for _, below in edges):
            depth[node] = min(needed) - 1
    return depth


class Layout:
    """Order and position of nodes, and of the bends of long edges, in layers.

    Args:
        widths: of the nodes, in any unit.
        edges: (from, to), each once; `to` is the larger number.
        gap: between two neighbours.
        width: of the whole.
        bend: the width of an edge where it passes a layer.

    Attributes:
        depth: the layer of each node.
        x: the centre of each node, and of the bends after them, from 0 to `width`.
        routes: for each edge its nodes and bends.
        needed: the width of the widest layer. If it is above `width`, nothing is positioned.
    """

    def __init__(self, widths: Sequence[float], edges: Sequence[Edge], gap: float, width: float, bend: float) -> None:
        count = len(widths)
        self.depth = layers(count, edges)
        self.widths, self.gap, self.width = list(widths), gap, width
        self.routes: list[list[int]] = []
        for above, below in edges:
            bends = range(len(self.depth), len(self.depth) + self.depth[below] - self.depth[above] - 1)
            self.depth += range(self.depth[above] + 1, self.depth[below])
            self.widths += [bend] * len(bends)
            self.routes.append([above, *bends, below])
        self.above: list[list[int]] = [[] for _ in self.depth]
        self.below: list[list[int]] = [[] for _ in self.depth]
        for route in self.routes:
            for a, b in pairwise(route):
                self.above[b].append(a)
                self.below[a].append(b)
        self.rows: list[list[int]] = [[] for _ in range(max(self.depth) + 1)]
        for node in self._visited():
            self.rows[self.depth[node]].append(node)
        self.needed = max(sum(self.widths[n] for n in row) + gap * (len(row) - 1) for row in self.rows)
        self.x = [0.0] * len(self.depth)
        if self.needed <= width:
            self._order()
            self._place()

    def _visited(self) -> list[int]:
        """All nodes in depth-first order from the nodes without users upwards, the first source of each before its second."""
        order: dict[int, None] = {}
        stack = [node for node, users in enumerate(self.below) if not users]
        while stack:
            node = stack.pop()
            if node not in order:
                order[node] = None
                stack += reversed(self.above[node])
        return list(order)

    def _order(self) -> None:
        """Order each layer by the mean position of its neighbours, keeping the order with the fewest crossings."""
        best, fewest = [list(row) for row in self.rows], self.crossings()
        for sweep in range(SWEEPS):
            rows, neighbours = (self.rows, self.above) if sweep % 2 == 0 else (self.rows[::-1], self.below)
            at = {node: i for row in self.rows for i, node in enumerate(row)}
            for row in rows:
                middle = {n: sum(at[m] for m in neighbours[n]) / len(neighbours[n]) if neighbours[n] else at[n] for n in row}
                row.sort(key=middle.__getitem__)
                at |= {node: i for i, node in enumerate(row)}
            crossings = self.crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def crossings(self) -> int:
        """The number of pairs of edges that cross."""
        at = {node: i for row in self.rows for i, node in enumerate(row)}
        total = 0
        for row in self.rows:
            ends = [[at[b] for b in self.below[node]] for node in row]
            total += sum(a > b for i, left in enumerate(ends) for right in ends[i + 1 :] for a in left for b in right)
        return total

    def _place(self) -> None:
        """Move each node as close to the mean of its neighbours as its layer allows; then centre the whole."""
        weight = [1.0 if above else SOURCE_WEIGHT for above in self.above]
        for row in self.rows:
            self._spread(row, [self.width / 2] * len(row), weight)
        for sweep in range(4 * SWEEPS):
            for row in self.rows if sweep % 2 == 0 else self.rows[::-1]:
                wanted = []
                for node in row:
                    near = self.above[node] + self.below[node]
                    share = sum(weight[m] for m in near)
                    wanted.append(sum(weight[m] * self.x[m] for m in near) / share if near else self.x[node])
                self._spread(row, wanted, weight)
        left = min(x - w / 2 for x, w in zip(self.x, self.widths))
        right = max(x + w / 2 for x, w in zip(self.x, self.widths))
        self.x = [x + (self.width - left - right) / 2 for x in self.x]

    def _spread(self, row: Sequence[int], wanted: Sequence[float], weight: Sequence[float]) -> None:
        """Positions in this order, a gap apart, that minimise the weighted sum of squared distances from those `wanted`.

        After subtracting the widths to the left of each node, positions must not decrease: where they would, neighbours are
        pooled and share their mean (isotonic regression by pooling adjacent violators).
        """
        offsets, right = [], 0.0
        for node in row:
            offsets.append(right + self.widths[node] / 2)
            right += self.widths[node] + self.gap
        room = max(0.0, self.width - (right - self.gap))
        blocks: list[tuple[float, float, int]] = []  # (mean, weight, count)
        for node, want, offset in zip(row, wanted, offsets):
            mean, total, number = want - offset, weight[node], 1
            while blocks and blocks[-1][0] > mean:
                before, heavy, many = blocks.pop()
                mean = (before * heavy + mean * total) / (heavy + total)
                total, number = heavy + total, many + number
            blocks.append((mean, total, number))
        starts = [mean for mean, _, number in blocks for _ in range(number)]
        for node, start, offset in zip(row, starts, offsets):
            self.x[node] = min(max(start, 0.0), room) + offset
