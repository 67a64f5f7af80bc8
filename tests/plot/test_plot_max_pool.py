"""The figures of max pooling: every value and its position."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from figures import assert_apart, draw
from lecture_pooling import GRADIENT, IMAGE, LECTURE

from microtensor import plot
from microtensor.nn import trace_max_pool


def panels(figure):
    """The values in the cells of each pair of axes with its title, in drawing order: [(title, values), …]."""
    found = []
    for axes in figure.axes:
        (left, right), (bottom, top) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
        cells = np.full((int(top - bottom), int(right - left)), np.nan)
        for text in axes.texts:
            x, y = text.get_position()
            if text.get_text() != "·":
                cells[int(y - bottom), int(x - left)] = float(text.get_text().replace("−", "-"))
        found.append((axes.get_title(loc="left"), cells))
    return found


def frames(axes):
    """(left, top, width, height) of each rectangle, outlined ones, then filled ones."""
    boxes = [(*patch.get_xy(), patch.get_width(), patch.get_height(), patch.get_fill()) for patch in axes.patches]
    return [box[:4] for box in boxes if not box[4]], [box[:4] for box in boxes if box[4]]


def test_the_lectures_example_window_by_window():
    figure = draw(plot.max_pooling(IMAGE, 3, 1, gradient=GRADIENT))
    found = panels(figure)
    assert len(found) == 2 * 11
    forward, (image, result), backward, (arriving, total) = found[:9], found[9:11], found[11:20], found[20:]
    expected = np.zeros((5, 5))
    for place, g in LECTURE.items():
        expected[place] = g
    assert [title for title, _ in (image, result, arriving, total)] == [
        "image",
        "result",
        "gradient of the result",
        "gradient of the image",
    ]
    np.testing.assert_array_equal(image[1], IMAGE)
    np.testing.assert_array_equal(result[1], [[9, 8, 8], [9, 6, 6], [7, 7, 7]])
    np.testing.assert_array_equal(arriving[1], GRADIENT)
    np.testing.assert_array_equal(total[1], expected)
    assert [title for title, _ in forward] == [f"maximum: {n}" for n in (9, 8, 8, 9, 6, 6, 7, 7, 7)]
    trace = trace_max_pool(IMAGE, 3, 1, gradient=GRADIENT)
    for step, (title, cells) in enumerate(backward):
        assert title == trace.sum(step)
        np.testing.assert_array_equal(cells, trace.until(step + 1))
    np.testing.assert_array_equal(backward[-1][1], expected)
    for step, (i, j) in enumerate(trace.steps):
        for axes in (figure.axes[step], figure.axes[11 + step]):
            outlined, filled = frames(axes)
            row, column = trace.winners[i][j]
            assert outlined == [(j, i, 3, 3)]
            assert filled == [(column, row, 1, 1)]
    assert_apart([*figure.texts, *(axes.title for axes in figure.axes), *(axes._left_title for axes in figure.axes)], figure)
    corners = np.array([axes.get_position().get_points()[0] for axes in figure.axes[:9]]).reshape(3, 3, 2)
    assert (np.diff(corners[..., 0], axis=1) > 0).all()  # each is at the position of its result
    assert (np.diff(corners[..., 1], axis=0) < 0).all()


def test_padding_is_shown_as_dots_and_windows_hang_over():
    figure = draw(plot.max_pooling([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 2, 2, 1))
    axes = figure.axes[0]
    assert axes.get_xlim() == (-1, 4)
    assert axes.get_ylim() == (4, -1)
    assert frames(axes) == ([(-1, -1, 2, 2)], [(0, 0, 1, 1)])
    assert sum(text.get_text() == "·" for text in axes.texts) == 25 - 9
    assert "padding, which is never the maximum" in figure.texts[-1].get_text()


def test_frames_fill_the_result_then_the_gradient():
    frames_ = list(plot.max_pooling_frames(IMAGE, 3, 1, gradient=GRADIENT))
    assert len(frames_) == 19
    trace = trace_max_pool(IMAGE, 3, 1, gradient=GRADIENT)
    for step, figure in enumerate(frames_):
        image, result, below, arriving = panels(figure)
        np.testing.assert_array_equal(image[1], IMAGE)
        np.testing.assert_array_equal(arriving[1], GRADIENT)
        known = np.arange(9).reshape(3, 3) <= step
        np.testing.assert_array_equal(result[1], np.where(known, trace.result, np.nan))
        np.testing.assert_array_equal(below[1], trace.until(max(0, min(9, step - 8))))
        if step in (0, 16):
            draw(figure)
            assert_apart([*figure.texts, *(axes._left_title for axes in figure.axes)], figure)
        assert figure.get_size_inches().tolist() == frames_[0].get_size_inches().tolist()
    assert frames_[2].texts[0].get_text() == "forward, window (0, 2): the maximum is 8, at (0, 2)"
    assert frames_[11].texts[0].get_text() == "backward, window (0, 2): 3 + 1 = 4 at (0, 2)"
    outlined, _ = frames(frames_[11].axes[3])
    assert outlined == [(2, 0, 1, 1)]


def test_numbers_are_readable():
    figure = draw(plot.max_pooling(np.arange(-8, 8).reshape(4, 4) / 7, 2))
    sizes = [text.get_fontsize() for axes in figure.axes for text in axes.texts]
    assert min(sizes) >= 6
    for axes in figure.axes:
        width = axes.get_window_extent().width / abs(np.diff(axes.get_xlim())[0])
        assert all(text.get_window_extent().width < width for text in axes.texts)


@pytest.mark.parametrize(
    ("image", "kernel", "message"),
    [
        (np.ones((28, 28)), 2, "for a figure; take a smaller image, or draw an animation: max_pooling_frames"),
        (np.full((5, 6), -1.234e-5), 2, "digits do not fit a cell: round the values"),
    ],
)
def test_what_could_not_be_read_is_refused(image, kernel, message):
    with pytest.raises(ValueError, match=message):
        plot.max_pooling(image, kernel)


def test_frames_refuse_at_once():
    with pytest.raises(ValueError, match="for a figure"):
        plot.max_pooling_frames(np.ones((40, 40)), 2)
    with pytest.raises(TypeError, match="image must be numbers"):
        plot.max_pooling_frames("image", 2)
