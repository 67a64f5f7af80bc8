"""What is on a figure, and whether it is legible: nothing over anything else, nothing beyond the edge."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg


def draw(figure):
    """Lay the figure out and draw it, as saving does; warnings are errors."""
    FigureCanvasAgg(figure).draw()
    assert figure.get_figwidth() == 8
    return figure


def boxes(artists):
    return [artist.get_window_extent() for artist in artists if artist.get_text() and artist.get_visible()]


def assert_apart(artists, figure):
    """No text over another, none beyond the edge of the figure."""
    found = boxes(artists)
    assert found
    width, height = figure.get_size_inches() * figure.dpi
    for i, box in enumerate(found):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert not any(box.overlaps(other) for other in found[i + 1 :])


def tiles(figure):
    """The pictures that are shown, in their order."""
    return [image for image in figure.axes[0].images if image.get_visible()]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def assert_tiles_apart(figure):
    """No picture over another, no text over another text or a picture, all within the figure."""
    images = [image.get_window_extent() for image in figure.axes[0].images]
    boxes = images + [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    boxes += [axes.get_tightbbox() for axes in figure.axes[1:]]
    width, height = figure.get_size_inches() * figure.dpi
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        for other in boxes[max(i + 1, len(images)) if i >= len(images) else i + 1 :]:
            assert not (box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1)


def assert_square_pixels(figure):
    for image in figure.axes[0].images:
        left, right, bottom, top = image.get_extent()
        rows, columns = image.get_array().shape[:2]
        assert (right - left) / columns == pytest.approx((bottom - top) / rows)
