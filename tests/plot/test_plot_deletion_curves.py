"""Deletion and insertion curves: values, labels, errors."""

import numpy as np
import pytest

from microtensor import plot
from microtensor.saliency import Curve

pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg

X = np.linspace(0, 1, 5)


def curve(*scores):
    scores = np.array(scores)
    auc = ((scores[..., 1:] + scores[..., :-1]) / 2 / 4).sum(-1)
    return Curve(X, scores, auc)


FALLS, RISES = curve(1.0, 0.4, 0.2, 0.1, 0.0), curve([0.0, 0.5, 0.8, 0.9, 1.0], [0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_panel_for_each_with_the_mean_over_images_and_the_area():
    figure = plot.probability_curves({"costs $1": FALLS, "random": curve(1.0, 0.9, 0.8, 0.4, 0.0)}, {"gradient": RISES})
    FigureCanvasAgg(figure).draw()
    deletion, insertion = figure.axes
    np.testing.assert_allclose(deletion.lines[0].get_xydata().T, [100 * X, [100, 40, 20, 10, 0]])
    np.testing.assert_allclose(insertion.lines[0].get_ydata(), [10, 40, 60, 70, 80])
    assert [text.get_text() for text in deletion.get_legend().get_texts()] == [r"costs \$1: 0.300", "random: 0.650"]
    assert [text.get_text() for text in insertion.get_legend().get_texts()] == ["gradient: 0.538"]
    assert (len(deletion.collections), len(insertion.collections)) == (0, 1)  # a band where there are several images
    assert deletion.get_xlabel() == "pixels deleted (%)"
    assert insertion.get_ylabel() == "probability of the class (%)"
    first, second = deletion.lines
    assert first.get_linestyle() != second.get_linestyle()
    assert len(plot.probability_curves({"a": FALLS}).axes) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([FALLS],), TypeError, "deletion must be a dict {name: result of saliency.deletion}, got list"),
        (({"a": FALLS}, {"a": [1, 2]}), TypeError, "insertion must be a dict {name: result of saliency.insertion}"),
        (({},), ValueError, "1 to 12 curves can be distinguished, got 0 of deletion"),
        (({str(i): FALLS for i in range(13)},), ValueError, "got 13 of deletion"),
        (({"a": Curve(X, np.zeros((0, 5)), np.zeros(0))},), ValueError, r"deletion\['a'\] is of no image"),
    ],
)
def test_wrong_input_is_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        plot.probability_curves(*arguments)
