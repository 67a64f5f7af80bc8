"""Triangles and grids of receptive fields: the position of every unit and every line."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from figures import assert_apart, draw
from matplotlib.patches import FancyArrowPatch, Rectangle

from microtensor import plot
from microtensor.models import build, lenet5
from microtensor.nn import Concat, Conv1d, Conv2d, Flatten, Identity, Linear, MaxPool1d, Module, ReLU, Sequential

PLAIN = Sequential(*[Conv1d(1, 1, 3) for _ in range(4)])
DILATED = Sequential(*[Conv1d(1, 1, 3, dilation=d) for d in (1, 2, 4, 8)])


def units(axes, filled):
    """The positions of filled or empty dots, by level: {level: [x, …]}."""
    found = {}
    for line in axes.lines:
        if line.get_marker() == "o" and (line.get_markerfacecolor() != "white") is filled:
            for x, y in zip(line.get_xdata(), line.get_ydata()):
                found.setdefault(int(y), []).append(float(x))
    return found


def edges(axes):
    """((x, y), (x, y)) of each line from a unit to one below."""
    return {tuple(zip(line.get_xdata(), line.get_ydata())) for line in axes.lines if line.get_marker() == "None"}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_a_triangle_of_plain_convolutions():
    """3, 5, 7, 9."""
    figure = draw(plot.receptive_field_triangles(PLAIN, (1, 13)))
    (axes,) = figure.axes
    assert texts(axes) == ["9 inputs", "field 3", "field 5", "field 7", "field 9"]
    full = units(axes, True)
    assert full == {level: [x + 0.5 for x in range(2 + level, 11 - level)] for level in range(5)}
    assert {level: len(full[level]) + len(xs) for level, xs in units(axes, False).items()} == {0: 13, 1: 11, 2: 9, 3: 7, 4: 5}
    expected = {((x, level), (x + step, level - 1)) for level in range(1, 5) for x in full[level] for step in (-1.0, 0.0, 1.0)}
    assert edges(axes) == expected
    assert [label.get_text() for label in axes.get_yticklabels()] == ["input", *(f"{i} Conv1d" for i in range(4))]
    assert "position in the sequence" in axes.get_xlabel()
    assert_apart([*axes.texts, *axes.get_yticklabels(), axes.xaxis.label], figure)


def test_a_triangle_of_dilated_convolutions():
    """3, 7, 15, 31, with exactly one path from every input."""
    figure = draw(plot.receptive_field_triangles(DILATED, (1, 31)))
    (axes,) = figure.axes
    assert texts(axes) == ["31 inputs", "field 3", "field 7", "field 15", "field 31"]
    full = units(axes, True)
    assert [len(full[level]) for level in range(5)] == [31, 15, 7, 3, 1]
    assert {b[0] - a[0] for a, b in edges(axes) if a[1] == 4} == {-8, 0, 8}
    assert {b[0] - a[0] for a, b in edges(axes) if a[1] == 2} == {-2, 0, 2}
    assert_apart([*axes.texts, *axes.get_yticklabels(), axes.xaxis.label], figure)


def test_holes_strides_and_units_at_the_border():
    gaps = plot.receptive_field_triangles(Sequential(Conv1d(1, 1, 3, dilation=2), ReLU(), Conv1d(1, 1, 3, dilation=2)), (1, 9))
    (axes,) = gaps.axes
    assert texts(axes) == ["5 inputs", "field 5", "field 9"]
    assert units(axes, True)[0] == [0.5, 2.5, 4.5, 6.5, 8.5]
    strided = plot.receptive_field_triangles(Sequential(Conv1d(1, 2, 3, 2, 1), MaxPool1d(2)), (1, 8), unit=0)
    (axes,) = strided.axes
    assert texts(axes) == ["4 inputs", "field 3", "field 5"]  # one of the five is padding
    assert units(axes, True) == {2: [1.5], 1: [0.5, 2.5], 0: [0.5, 1.5, 2.5, 3.5]}


def test_a_network_whose_modules_have_names():
    (axes,) = plot.receptive_field_triangles(build("tdnn"), (16, 15)).axes
    assert texts(axes) == ["7 inputs", "field 3", "field 7"]


def test_the_grids_of_the_lectures_example():
    """5×5 → 3×3 → 2×2: fields 3 and 7, jumps 2 and 4, the first centre at 0.5."""
    figure = draw(plot.receptive_field_grids(Sequential(Conv2d(1, 1, 3, 2, 1), ReLU(), Conv2d(1, 1, 3, 2, 1)), (1, 5, 5)))
    image, first, second = figure.axes
    assert image.get_title().strip() == "input: 5×5 pixels"
    assert first.get_title() == "0 Conv2d: 3×3 units\nfield 3, jump 2\nfirst centre 0.5"
    assert second.get_title() == "2 Conv2d: 2×2 units\nfield 7, jump 4\nfirst centre 0.5"
    for axes, places, size, jump in ((first, [0.5, 2.5, 4.5], 3, 2), (second, [0.5, 4.5], 7, 4)):
        dots = next(line for line in axes.lines if line.get_marker() == "o")
        assert set(zip(dots.get_xdata(), dots.get_ydata())) == {(x, y) for x in places for y in places}
        _, one, other = (patch for patch in axes.patches if isinstance(patch, Rectangle))
        assert (*one.get_xy(), one.get_width(), one.get_height()) == (0.5 - size / 2, 0.5 - size / 2, size, size)
        assert (*other.get_xy(), other.get_width(), other.get_height()) == (0.5 + jump - size / 2, 0.5 - size / 2, size, size)
        assert one.get_linestyle() != other.get_linestyle()  # not by colour alone
        assert any(isinstance(patch, FancyArrowPatch) for patch in axes.patches)
        assert axes.yaxis_inverted()
    assert image.get_xlim() == first.get_xlim() == second.get_xlim()
    assert_apart([*(axes.title for axes in figure.axes), *figure.texts], figure)


def test_grids_of_a_longer_network():
    figure = draw(plot.receptive_field_grids(lenet5().features, (1, 28, 28)))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes if axes.get_title()] == [
        "input: 28×28 pixels",
        "0 Conv2d: 28×28 units",
        "2 MaxPool2d: 14×14 units",
        "3 Conv2d: 10×10 units",
        "5 MaxPool2d: 5×5 units",
    ]
    assert_apart([axes.title for axes in figure.axes], figure)
    single = draw(plot.receptive_field_grids(Sequential(Conv2d(1, 1, 5)), (1, 5, 5)))  # no neighbour to draw
    assert "field 5" in single.axes[1].get_title()


class Twice(Module):
    """Computes on x again, past its first layer."""

    def __init__(self):
        self.a, self.b = Conv1d(1, 1, 3, padding=1), Conv1d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.a(x) + self.b(x)


@pytest.mark.parametrize(
    ("model", "shape", "unit", "error", "message"),
    [
        (PLAIN, (1, 101), None, ValueError, "a sequence of 101 is too long to be drawn"),
        (PLAIN, (1, 13), 5, ValueError, "the last layer has the units 0 to 4, got 5"),
        (PLAIN, (1, 13), 0.5, TypeError, "unit must be an integer, got 0.5"),
        (PLAIN, (1, 7), None, ValueError, "cannot compute for input_shape"),
        (Conv1d, (1, 7), None, TypeError, "receptive_field_triangles: expected a Module"),
        (Conv2d(1, 1, 3), (1, 7, 7), None, ValueError, r"input_shape must be \(C, L\)"),
        (Sequential(Flatten(), Linear(7, 2)), (1, 7), None, ValueError, "has no modules with windows over a sequence 1×7"),
        (Twice(), (1, 7), None, ValueError, "Twice does not compute its modules one after the other: see 'b'"),
    ],
)
def test_wrong_triangles(model, shape, unit, error, message):
    with pytest.raises(error, match=message):
        plot.receptive_field_triangles(model, shape, unit)


def test_wrong_grids():
    with pytest.raises(ValueError, match="13 layers are too many for a figure"):
        plot.receptive_field_grids(Sequential(*[Conv2d(1, 1, 2) for _ in range(13)]), (1, 20, 20))
    with pytest.raises(ValueError, match=r"input_shape must be \(C, H, W\)"):
        plot.receptive_field_grids(PLAIN, (1, 13))


def test_branches_are_one_layer():
    net = Sequential(Concat(Identity(), Conv1d(1, 1, 5, padding=2)), Conv1d(2, 1, 3))
    (axes,) = plot.receptive_field_triangles(net, (1, 9)).axes
    assert texts(axes) == ["7 inputs", "field 5", "field 7"]
    assert np.allclose(units(axes, True)[1], [3.5, 4.5, 5.5])
