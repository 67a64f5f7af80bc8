"""The figure of a tensor's graph, and the layout of its boxes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor import nn

pytest.importorskip("matplotlib")

from figures import draw
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from microtensor import plot
from microtensor.plot.graph_layout import Layout, layers


@st.composite
def graphs(draw_from):
    count = draw_from(st.integers(2, 14))
    pairs = list(itertools.combinations(range(count), 2))
    edges = draw_from(st.lists(st.sampled_from(pairs), unique=True, max_size=24))
    return count, sorted(set(edges) | {(i, count - 1) for i in range(count - 1) if not any(a == i for a, _ in edges)})


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_arrows_go_down_and_nothing_overlaps(graph):
    count, edges = graph
    depth = layers(count, edges)
    assert all(depth[a] < depth[b] for a, b in edges)
    assert min(depth) >= 0
    layout = Layout([1.0 + i % 3 for i in range(count)], edges, gap=0.5, width=80.0, bend=0.2)
    assert layout.depth[:count] == depth
    for (a, b), route in zip(edges, layout.routes):
        assert (route[0], route[-1]) == (a, b)
        assert [layout.depth[node] for node in route] == list(range(depth[a], depth[b] + 1))
    for row in range(max(depth) + 1):
        nodes = sorted((n for n, d in enumerate(layout.depth) if d == row), key=layout.x.__getitem__)
        for left, right in itertools.pairwise(nodes):
            assert layout.x[right] - layout.x[left] >= (layout.widths[left] + layout.widths[right]) / 2 + 0.5 - 1e-6
        assert layout.x[nodes[0]] - layout.widths[nodes[0]] / 2 >= -1e-6
        assert layout.x[nodes[-1]] + layout.widths[nodes[-1]] / 2 <= 80 + 1e-6


def test_a_chain_stands_straight_and_crossings_are_undone():
    chain = Layout([1, 2, 3, 1], [(0, 1), (1, 2), (2, 3)], 0.1, 10, 0.1)
    assert chain.x == pytest.approx([5, 5, 5, 5])
    crossed = Layout([1] * 5, [(0, 3), (1, 2), (2, 4), (3, 4)], 0.1, 10, 0.1)
    assert crossed.crossings() == 0
    assert (crossed.x[0] < crossed.x[1]) == (crossed.x[3] < crossed.x[2])


def test_what_comes_from_nothing_stands_by_its_user_and_leaves_the_others_straight():
    assert layers(5, [(0, 1), (1, 3), (2, 3), (3, 4)]) == [0, 1, 1, 2, 3]
    edges = [(0, 1), (1, 4), (2, 4), (3, 4), (4, 7), (5, 7), (6, 7)]
    layout = Layout([1, 1, 4, 4, 1, 4, 4, 1], edges, gap=0.1, width=20, bend=0.1)
    assert [layout.x[node] for node in (1, 4, 7)] == pytest.approx([layout.x[0]] * 3, abs=1e-3)


def test_an_order_without_crossings_is_found():
    edges = [(0, 1), (0, 4), (1, 4), (2, 3), (2, 4), (2, 6), (3, 5), (4, 6), (5, 6)]
    assert Layout([1] * 7, edges, gap=0.1, width=20, bend=0.1).crossings() == 0  # 4 crossings in the order of visiting


def test_without_room_nothing_is_placed():
    layout = Layout([3, 3, 1], [(0, 2), (1, 2)], gap=0.5, width=6.4, bend=0.1)
    assert layout.needed == 6.5
    assert layout.x == [0, 0, 0]


def test_crossings_are_counted():
    layout = Layout([1] * 5, [(0, 2), (0, 3), (1, 2), (1, 3), (2, 4), (3, 4)], 0.1, 10, 0.1)
    assert layout.crossings() == 1  # K₂₂ cannot be drawn in two layers without one


def boxes(figure):
    """The text in each box, and the box."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    texts = [text for text in figure.axes[0].texts if text.get_zorder() == 3 and text.get_fontsize() < 9.5]
    texts = [text for text in texts if text.get_text()[0] != "×"]
    return dict(zip([text.get_text() for text in texts], patches, strict=True))


def arrows(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


def small():
    x, y = mt.Tensor([1.0, 2.0], requires_grad=True), mt.Tensor([[3.0], [1.0]], requires_grad=True)
    return x, y, ((x * x).exp() + x * y).sum()


def test_each_operation_and_leaf_is_a_box_and_each_use_an_arrow():
    x, y, t = small()
    figure = draw(plot.graph(t, {"x": x, "an y": y}))
    found = boxes(figure)
    dot = mt.draw_graph(t)
    assert len(figure.axes[0].patches) - len(arrows(figure)) == dot.count("label=")
    assert len(arrows(figure)) + 1 == dot.count("->")  # x · x takes one twice: one arrow
    assert [text.get_text() for text in figure.axes[0].texts].count("×2") == 1
    for name in ("x\n2", "an y\n2×1", "exp\n2", "sum\nscalar", "add\n2×2"):
        assert name in found
    assert type(found["x\n2"].get_boxstyle()).__name__ == "Square"
    assert type(found["exp\n2"].get_boxstyle()).__name__ == "Round"


def test_arrows_end_at_boxes_and_point_down():
    _, _, t = small()
    figure = draw(plot.graph(t))
    places = [patch.get_bbox() for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    for arrow in arrows(figure):
        vertices = arrow._path_original.vertices
        (x0, y0), (x1, y1) = vertices[0], vertices[-1]
        assert y0 < y1  # y grows downwards
        assert any(abs((box.x0 + box.x1) / 2 - x0) < 1e-6 and abs(max(box.y0, box.y1) - y0) < 1e-6 for box in places)
        assert any(abs((box.x0 + box.x1) / 2 - x1) < 1e-6 and 0 < min(box.y0, box.y1) - y1 < 0.05 for box in places)
        assert (np.diff(vertices[:, 1]) >= -1e-9).all()  # never up
    extents = [(box.x0, box.x1, min(box.y0, box.y1), max(box.y0, box.y1)) for box in places]
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(extents, 2):
        assert b <= e or f <= a or d <= g or h <= c


def test_text_fits_its_box_and_the_figure():
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    t = nn.cross_entropy(net(mt.zeros(2, 1, 6, 6)), mt.Tensor(np.array([0, 1])))
    figure = draw(plot.graph(t, net))
    width, height = figure.get_size_inches() * figure.dpi
    found = boxes(figure)
    assert "0.weight\n3×1×3×3" in found
    texts = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    for name, box in found.items():
        outer, inner = box.get_window_extent(), texts[name]
        assert outer.x0 >= 0
        assert outer.x1 <= width
        assert outer.y0 >= 0
        assert outer.y1 <= height
        assert outer.x0 <= inner.x0
        assert inner.x1 <= outer.x1
        assert outer.y0 <= inner.y0
        assert inner.y1 <= outer.y1


def test_large_graphs_lose_their_leaves_then_their_chains_become_boxes_then_they_are_refused():
    x = mt.Tensor([1.0], requires_grad=True)
    t = x
    for _ in range(10):
        t = (t * x).tanh()
    assert len([p for p in plot.graph(t, max_nodes=21).axes[0].patches if isinstance(p, FancyBboxPatch)]) == 21
    figure = draw(plot.graph(t, max_nodes=20))
    assert len([p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]) == 20
    assert any(text.get_text() == "1 leaf is not drawn" for text in figure.axes[0].texts)
    figure = draw(plot.graph(t, max_nodes=19))  # without x, nothing branches
    assert len([p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]) == 1
    assert not arrows(figure)
    (text,) = [text.get_text() for text in figure.axes[0].texts if "…" in text.get_text()]
    assert text == "multiply\ntanh\nmultiply\n… 15 more …\nmultiply\ntanh\n1"
    for _ in range(6):
        t = t.sigmoid() + t.tanh()
    with pytest.raises(ValueError, match=r"39 nodes, or 19 boxes with chains of operations joined, are more than max_nodes=5"):
        plot.graph(t, max_nodes=5)


def test_a_branch_is_no_chain():
    x = mt.Tensor([1.0], requires_grad=True)
    y = x.exp()
    t = (y.tanh().exp() + y).exp()
    figure = draw(plot.graph(t, max_nodes=3))
    assert sorted(boxes(figure)) == ["add\nexp\n1", "exp\n1", "tanh\nexp\n1"]
    assert len(arrows(figure)) == 3


def released():
    x = mt.Tensor([1.0], requires_grad=True)
    y = x.exp()
    y.backward()
    return y


def wide():
    leaves = [mt.Tensor(np.zeros((11, 11, 11, 11)), requires_grad=True) for _ in range(40)]
    return mt.cat(leaves)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: plot.graph(np.ones(2)), TypeError, "plot.graph: expected a Tensor, got ndarray"),
        (lambda: plot.graph(mt.Tensor([1.0])), ValueError, "the tensor has no graph"),
        (lambda: plot.graph(released()), RuntimeError, "released"),
        (lambda: plot.graph(small()[2], names=["x"]), TypeError, r"names must be a Module or a dict .* got \['x'\]"),
        (lambda: plot.graph(small()[2], names={"x": 3}), TypeError, "names must be a Module or a dict"),
        (lambda: plot.graph(small()[2], max_nodes=0), ValueError, "max_nodes must be at least 1"),
        (lambda: plot.graph(small()[2], max_nodes=1000), ValueError, "max_nodes must be at most 150, got 1000"),
        (lambda: plot.graph(wide()), ValueError, "inches of boxes stand beside each other, the figure has 8"),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
