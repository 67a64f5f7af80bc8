"""Few-shot curves: positions, no overlaps, errors."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from figures import assert_apart, draw

from microtensor import plot

WAYS = ("from scratch", "frozen", "fine-tuned", "never trained")
SIZES = (30, 100, 1000)


def runs(scale, ways=WAYS, seeds=3):
    source = np.random.default_rng(0)
    return {way: {n: list(scale * source.uniform(0.5, 0.9, seeds)) for n in SIZES} for way in ways}


def data(axes):
    """Name → counts, means, half lengths of the bars."""
    found = {}
    for container in axes.containers:
        line, _, (bars,) = container
        lengths = [np.diff(segment[:, 1])[0] / 2 for segment in bars.get_segments()]
        found[container.get_label()] = line.get_xdata().astype(float), line.get_ydata().astype(float), lengths
    return found


def test_points_are_means_and_bars_standard_deviations():
    accuracies, seconds = runs(1), runs(3)
    figure = draw(plot.few_shot_curve(accuracies, seconds, chance=0.1))
    left, right = figure.axes
    for axes, given, scale in ((left, accuracies, 100), (right, seconds, 1)):
        drawn = data(axes)
        assert [*drawn] == [*WAYS]
        for way, (counts, means, bars) in drawn.items():
            np.testing.assert_allclose(counts, SIZES, rtol=0.13)
            np.testing.assert_allclose(means, [scale * np.mean(given[way][n]) for n in SIZES])
            np.testing.assert_allclose(bars, [scale * np.std(given[way][n], ddof=1) for n in SIZES], rtol=1e-6)
        assert axes.get_xscale() == "log"
        assert [label.get_text() for label in axes.get_xticklabels()] == ["30", "100", "1,000"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("labelled samples", "test accuracy (%)")
    assert (right.get_ylabel(), right.get_yscale()) == ("CPU time of training (s)", "log")
    assert [text.get_text() for text in left.texts] == ["chance"]
    assert left.get_title() == "mean ± standard deviation over seeds"
    texts = [
        left.title,
        *figure.legends[0].get_texts(),
        left.yaxis.label,
        right.yaxis.label,
        left.xaxis.label,
        right.xaxis.label,
    ]
    assert_apart([*texts, *left.get_xticklabels(), *right.get_xticklabels()], figure)


def test_ways_differ_by_more_than_colour_and_do_not_hide_each_other():
    figure = draw(plot.few_shot_curve(runs(1, ways="abcde")))
    (axes,) = figure.axes
    lines = [container[0] for container in axes.containers]
    assert len({(str(line.get_linestyle()), line.get_marker()) for line in lines}) == 5
    assert len({float(line.get_xdata()[0]) for line in lines}) == 5


def test_one_seed_has_no_bar_and_ways_may_lack_sizes():
    figure = draw(plot.few_shot_curve({"a": {10: [0.5]}, "b": {100: [0.6, 0.8], 10: (0.3, 0.3)}}, {"b": {10: [1.0]}}))
    assert plot.few_shot_curve({"a": {10: [0.5]}}).axes[0].get_title() == ""
    drawn = data(figure.axes[0])
    assert drawn["a"][2] == [0]
    np.testing.assert_allclose(drawn["b"][1], [30, 70])
    first, second = (axes.containers[-1][0] for axes in figure.axes)
    assert (first.get_marker(), first.get_color()) == (second.get_marker(), second.get_color())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5],), "accuracies must be a dict of dicts of lists"),
        (({"a": {"10": [0.5]}},), "accuracies must be a dict of dicts of lists"),
        (({"a": {10: 0.5}},), "accuracies must be a dict of dicts of lists"),
        (({},), "needs values for each number of samples"),
        (({"a": {10: []}},), "needs values for each number of samples"),
        (({"a": {0: [0.5]}},), "needs values for each number of samples"),
        (({"a": {10: ["0.5"]}},), "accuracies must be numbers, got '0.5'"),
        (({"a": {10: [50.0]}},), r"accuracies must be fractions from 0 to 1, got 50\.0"),
        (({"a": {10: [float("nan")]}},), "accuracies must be fractions from 0 to 1, got nan"),
        (({"a": {10: [0.5]}}, {"a": {10: [0.0]}}), r"seconds must be seconds above 0, got 0\.0"),
        (({"a": {10: [0.5]}}, {"a": {10: [float("inf")]}}), "seconds must be seconds above 0, got inf"),
        (({"a": {10: [0.5]}}, {"b": {10: [1.0]}}), "seconds has 'b', which accuracies does not have"),
        (({"a": {10: [0.5]}}, None, 10), "chance must be a fraction from 0 to 1, got 10"),
        ((runs(1, ways="abcdef"),), "5 methods can be distinguished, got 6; draw two figures"),
    ],
)
def test_wrong_input_is_refused_in_words(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        plot.few_shot_curve(*arguments)
