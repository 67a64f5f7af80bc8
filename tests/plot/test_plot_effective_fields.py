"""Gridding and effective fields: the figures against the data that they show."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from figures import assert_apart, draw
from matplotlib.patches import Ellipse, Rectangle

from microtensor import plot
from microtensor.nn import AvgPool2d, Conv1d, Conv2d, Sequential, effective_receptive_field, seen_pixels


def stack(*dilations):
    return Sequential(*[Conv2d(1, 1, 3, dilation=d) for d in dilations])


def crosses(axes):
    return {(x, y) for line in axes.lines if line.get_marker() == "x" for x, y in zip(line.get_xdata(), line.get_ydata())}


def test_gridding_side_by_side():
    models = {"dilation 2-2-2": stack(2, 2, 2), "1-2-4 ($)": stack(1, 2, 4)}
    figure = draw(plot.gridding(models, (1, 15, 15)))
    left, right, bar = figure.axes
    assert left.get_title() == "dilation 2-2-2\ndepends on 49 of 13×13 pixels"
    assert right.get_title() == "1-2-4 (\\$)\ndepends on 225 of 15×15 pixels"
    for axes, model, (low, high) in ((left, models["dilation 2-2-2"], (1, 14)), (right, models["1-2-4 ($)"], (0, 15))):
        ways = seen_pixels(model, (1, 15, 15)).numpy()[low:high, low:high]
        (image,) = axes.images
        np.testing.assert_allclose(image.get_array(), ways / ways.max())
        assert image.get_extent() == [low, high, high, low]
        assert crosses(axes) == {(x + low + 0.5, y + low + 0.5) for y, x in np.argwhere(ways == 0)}
    assert len(crosses(left)) == 169 - 49
    assert not crosses(right)
    assert [label.get_text() for label in bar.get_xticklabels()] == ["×  none", "most"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("column (pixels)", "row (pixels)")
    assert_apart([left.title, right.title, bar.xaxis.label, *bar.get_xticklabels()], figure)


def test_one_network_and_a_unit_at_the_border():
    figure = plot.gridding(Sequential(Conv2d(1, 1, 3, padding=1)), (1, 4, 6), unit=(0, 5))
    axes = figure.axes[0]
    assert axes.get_title() == "depends on 4 of 2×2 pixels"
    assert axes.images[0].get_extent() == [4, 6, 2, 0]


def test_effective_fields_side_by_side():
    net = Sequential(Conv2d(1, 2, 3, padding=1), Conv2d(2, 2, 3), AvgPool2d(2))
    found = {"small": effective_receptive_field(net, (1, 12, 10), "0"), "large": effective_receptive_field(net, (1, 12, 10))}
    figure = draw(plot.effective_field(found, k=1.5))
    *panels, bar = figure.axes
    for axes, (name, field) in zip(panels, found.items()):
        heat = field.map.numpy()
        np.testing.assert_allclose(axes.images[0].get_array(), heat / heat.max())
        assert axes.images[0].get_extent() == [0, 10, 12, 0]
        (top, bottom), (left, right) = field.box
        dashed = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_linestyle() == "--"]
        assert [(*p.get_xy(), p.get_width(), p.get_height()) for p in dashed] == [(left, top, right - left, bottom - top)]
        (ellipse,) = (p for p in axes.patches if isinstance(p, Ellipse))
        assert ellipse.get_center() == pytest.approx(field.center[::-1])
        assert (ellipse.width, ellipse.height) == pytest.approx((3 * field.sigma[1], 3 * field.sigma[0]))
        title = axes.get_title().split("\n")
        assert title[:2] == [name, f"receptive field {field.field.size[0]}"]
        assert title[2] == (
            f"1.5 σ = {1.5 * field.sigma[0]:.1f}×{1.5 * field.sigma[1]:.1f} pixels: {field.share(1.5):.0%} of |gradient|"
        )
    assert "ellipse: 1.5 σ" in bar.get_xlabel()
    assert_apart([*(axes.title for axes in panels), bar.xaxis.label, *bar.get_xticklabels()], figure)


def test_padding_is_shown_as_far_as_it_matters():
    found = effective_receptive_field(Sequential(Conv2d(1, 1, 41, padding=20)), (1, 20, 20), unit=(0, 0), samples=1)
    figure = draw(plot.effective_field(found))
    axes = figure.axes[0]
    assert axes.get_xlim() == pytest.approx((-6.2, 21.2))  # at most 0.3 · 20 outside, plus a margin; the field ends at 21
    assert axes.get_title().split("\n")[0] == "Sequential"


SEQUENCE = Sequential(Conv1d(1, 1, 3))


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (plot.gridding, ([stack(1)], (1, 5, 5)), TypeError, "gridding: expected a Module, or a dict of them by name, got list"),
        (plot.gridding, ({"a": 1}, (1, 5, 5)), TypeError, "gridding: expected a Module"),
        (plot.gridding, ({}, (1, 5, 5)), ValueError, "1 to 6 of them, got 0"),
        (plot.gridding, (SEQUENCE, (1, 5)), ValueError, r"gridding: input_shape must be \(C, H, W\), got \(1, 5\)"),
        (plot.gridding, (stack(1), (1, 5, 5), (9, 9)), ValueError, r"has units up to \(2, 2\), got \(9, 9\)"),
        (plot.effective_field, (stack(1),), TypeError, "expected a result of nn.effective_receptive_field, .* got Sequential"),
        (plot.effective_field, ({},), ValueError, "1 to 6 of them, got 0"),
        (
            plot.effective_field,
            (effective_receptive_field(SEQUENCE, (1, 5), samples=1),),
            ValueError,
            r"must be of an image \(H, W\), got \(5,\)",
        ),
        (
            plot.effective_field,
            (effective_receptive_field(stack(1), (1, 5, 5), samples=1), -1),
            ValueError,
            "k must be 0 or more",
        ),
    ],
)
def test_wrong_input_is_refused_in_words(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)
