"""The figure of learning rates."""

import numpy as np
import pytest

from microtensor import nn

pytest.importorskip("matplotlib")

from figures import assert_apart, draw

from microtensor import plot


def schedule():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    groups = [{"params": net[0].parameters(), "lr": 0.01}, {"params": net[1].parameters(), "lr": 0.1}]
    return nn.CosineAnnealingLR(nn.SGD(groups), T_max=50)


def test_a_line_for_each_group_over_steps():
    rates = nn.preview_lr(schedule(), 51)
    figure = draw(plot.learning_rates(rates, ["base", "head $"]))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "learning rate")
    for i, line in enumerate(axes.lines):
        np.testing.assert_array_equal(line.get_xdata(), range(51))
        np.testing.assert_array_equal(line.get_ydata(), np.array(rates)[:, i])
    first, second = axes.lines
    assert first.get_color() != second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["base", r"head \$"]
    assert_apart([axes.xaxis.label, axes.yaxis.label, *figure.legends[0].get_texts()], figure)


def test_twelve_groups_are_told_apart_without_colour():
    axes = plot.learning_rates(np.ones((60, 12))).axes[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 12
    for one, other in zip(axes.lines, axes.lines[1:]):
        assert one.get_linestyle() != other.get_linestyle()


def test_a_history_is_drawn_over_epochs():
    history = nn.History([{"epoch": 3, "loss": 1.0, "lr": 0.1}, {"epoch": 4, "loss": 0.5, "lr": 0.05}])
    figure = draw(plot.learning_rates(history))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "epoch"
    assert axes.lines[0].get_xdata().tolist() == [3, 4]
    assert axes.lines[0].get_ydata().tolist() == [0.1, 0.05]
    assert not figure.legends
    several = plot.learning_rates([{"lr": [0.1, 0.2]}, {"lr": [0.3, 0.4]}]).axes[0]
    assert [line.get_ydata().tolist() for line in several.lines] == [[0.1, 0.3], [0.2, 0.4]]
    assert several.lines[0].get_xdata().tolist() == [1, 2]


def test_a_logarithmic_axis_leaves_zeros_out():
    axes = draw(plot.learning_rates([0.0, 0.1, 1.0, 0.0], log=True)).axes[0]
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [np.nan, 0.1, 1.0, np.nan])
    assert draw(plot.learning_rates([0.0, 0.1])).axes[0].get_ylim()[0] == 0


def test_one_step_is_a_visible_point():
    (line,) = plot.learning_rates([0.1]).axes[0].lines
    assert line.get_marker() == "o"
    assert line.get_markersize() > 3


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: plot.learning_rates("fast"), TypeError, r"expected numbers, \(steps,\) or \(steps, groups\), got 'fast'"),
        (lambda: plot.learning_rates([]), ValueError, r"not empty, got shape \(0,\)"),
        (lambda: plot.learning_rates(np.ones((3, 13))), ValueError, r"groups ≤ 12\), not empty, got shape \(3, 13\)"),
        (lambda: plot.learning_rates([[0.1], [0.1, 0.2]]), ValueError, "each step must have the same number of rates"),
        (lambda: plot.learning_rates([-0.1]), ValueError, "negative, infinite or nan"),
        (lambda: plot.learning_rates([np.nan]), ValueError, "negative, infinite or nan"),
        (lambda: plot.learning_rates([0.1], ["a", "b"]), ValueError, "1 groups need as many names, got 2"),
        (lambda: plot.learning_rates([{"loss": 1.0}]), ValueError, 'each epoch of the history must have an "lr"'),
        (lambda: plot.learning_rates([0.0], log=True), ValueError, "always 0 has no place on a logarithmic axis"),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
