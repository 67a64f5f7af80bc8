"""Figures as a GIF."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from microtensor import plot
from microtensor.plot.style import new_figure


def frames(count, height=2.0):
    for i in range(count):
        figure = new_figure(height, arranged=False)
        figure.set_facecolor((i / 4, 0, 0))
        yield figure


def test_every_frame_is_there_in_order_and_for_its_time(tmp_path):
    path = tmp_path / "film.gif"
    plot.save_animation(frames(4), path, fps=4, hold=3)
    with Image.open(path) as film:
        assert film.size == (800, 200)
        assert film.n_frames == 4
        assert film.info["loop"] == 0  # repeats forever
        for i, duration in enumerate([250, 250, 250, 3000]):
            film.seek(i)
            assert film.info["duration"] == duration
            pixel = np.asarray(film.convert("RGB"))[50, 50]
            assert abs(int(pixel[0]) - 255 * i / 4) <= 2
    assert [file.name for file in tmp_path.iterdir()] == ["film.gif"]


def test_one_frame_and_frames_of_a_function(tmp_path):
    plot.save_animation(list(frames(1)), tmp_path / "still.gif")
    with Image.open(tmp_path / "still.gif") as film:
        assert getattr(film, "n_frames", 1) == 1
    weights = [np.random.default_rng(seed).random((2, 1, 3, 3)) for seed in range(3)]
    plot.save_animation(plot.filter_frames(weights), str(tmp_path / "filters.GIF"))
    with Image.open(tmp_path / "filters.GIF") as film:
        assert film.n_frames == 3
        assert film.size[0] == 800


def test_nothing_is_left_where_a_frame_fails(tmp_path):
    def broken():
        yield from frames(2)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        plot.save_animation(broken(), tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda p: plot.save_animation(frames(2), p / "a.png"),
            ValueError,
            "must end in .gif; a single figure is written by plot",
        ),
        (lambda p: plot.save_animation([], p / "a.gif"), ValueError, "there is no figure to write"),
        (lambda p: plot.save_animation([1], p / "a.gif"), TypeError, "frame 0 must be a matplotlib Figure, got int"),
        (
            lambda p: plot.save_animation(next(frames(1)), p / "a.gif"),
            TypeError,
            "expected several figures, got matplotlib.Figure",
        ),
        (lambda p: plot.save_animation(frames(2), p / "a.gif", fps=0), ValueError, "fps must be above 0 and at most 50, got 0"),
        (lambda p: plot.save_animation(frames(2), p / "a.gif", fps="2"), TypeError, "fps must be a number, got '2'"),
        (
            lambda p: plot.save_animation(frames(2), p / "a.gif", hold=-1),
            ValueError,
            "hold must be from 0 to 600 seconds, got -1",
        ),
        (lambda p: plot.save_animation(frames(2), p / "no" / "a.gif"), FileNotFoundError, "does not exist"),
        (
            lambda p: plot.save_animation([*frames(1), *frames(1, 3.0)], p / "a.gif"),
            ValueError,
            "frame 1 has 800×300 pixels, those before 800×200",
        ),
    ],
)
def test_wrong_input_is_refused_in_words(tmp_path, call, kind, message):
    with pytest.raises(kind, match=message):
        call(tmp_path)
