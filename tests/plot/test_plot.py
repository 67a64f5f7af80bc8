import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import microtensor as mt

pytest.importorskip("matplotlib")

import matplotlib.image
from figures import assert_apart, boxes, draw
from matplotlib.patches import Rectangle

from microtensor import plot

FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def history(epochs):
    return [
        {"epoch": e, "loss": 0.3 / e, "accuracy": 1 - 0.1 / e, "val_loss": 0.2 / e, "val_accuracy": 1 - 0.05 / e}
        for e in range(1, epochs + 1)
    ]


# The training curve


@pytest.mark.parametrize("epochs", [1, 2, 10, 100])
def test_training_curve(epochs):
    figure = draw(plot.training_curve(history(epochs)))
    loss, accuracy = figure.axes
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy (%)")
    for axes, key, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        training, validation = axes.lines
        for line, name in ((training, key), (validation, f"val_{key}")):
            np.testing.assert_array_equal(line.get_xdata(), range(1, epochs + 1))
            np.testing.assert_allclose(line.get_ydata(), [scale * row[name] for row in history(epochs)])
        assert training.get_color() != validation.get_color()
        assert training.get_linestyle() != validation.get_linestyle()  # not by colour alone
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert ticks
        assert all(tick.get_loc() == int(tick.get_loc()) for tick in ticks)
        assert_apart([*(tick.label1 for tick in ticks), axes.xaxis.label], figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation"]
    assert_apart([loss.yaxis.label, accuracy.yaxis.label, *figure.legends[0].get_texts()], figure)


def test_one_epoch_is_a_visible_point():
    for axes in plot.training_curve(history(1)).axes:
        assert all(line.get_marker() != "None" and line.get_markersize() > 3 for line in axes.lines)


def test_only_what_was_measured_is_drawn():
    rows = [{"loss": 0.5, "val_loss": None}, {"loss": mt.Tensor(np.array(0.25)), "val_loss": np.float32(0.3)}]
    figure = draw(plot.training_curve(rows))
    (axes,) = figure.axes
    training, validation = axes.lines
    assert training.get_xdata().tolist() == [1, 2]
    assert training.get_ydata().tolist() == [0.5, 0.25]
    assert validation.get_xdata().tolist() == [2]


def test_a_diverged_run_can_be_drawn():
    draw(plot.training_curve([{"loss": 1.0}, {"loss": float("inf")}, {"loss": float("nan")}]))
    draw(plot.training_curve([{"loss": float("nan")}]))


@pytest.mark.parametrize("rows", [[], [{}], [{"epoch": 1}], [{"loss": None}]])
def test_nothing_to_draw(rows):
    with pytest.raises(ValueError, match=r'no "loss", "accuracy", "val_loss" or "val_accuracy"'):
        plot.training_curve(rows)


@pytest.mark.parametrize("rows", [None, {"loss": [1.0]}, [0.5, 0.4]])
def test_no_history(rows):
    with pytest.raises(TypeError, match="a list with a dict per epoch"):
        plot.training_curve(rows)


# The grid of saliency maps


def pairs(figure):
    """The axes with an image and a map each, without the colour bar."""
    return [axes for axes in figure.axes if len(axes.images) == 2]


def digits(n, *shape, seed=0):
    return np.random.default_rng(seed).random((n, *(shape or (28, 28))))


def test_each_image_stands_beside_its_map():
    images, maps = digits(5), digits(5, seed=1) * 7
    figure = draw(plot.saliency_grid(images, maps, columns=3))
    assert len(pairs(figure)) == 5
    for axes, image, map_ in zip(pairs(figure), images, maps):
        left, right = axes.images
        assert left.get_extent()[1] < right.get_extent()[0]
        expected = (image - image.min()) / (image.max() - image.min())
        np.testing.assert_allclose(left.get_array(), np.repeat(expected[..., None], 3, axis=2))
        np.testing.assert_allclose(right.get_array(), map_ / map_.max())
        assert right.get_clim() == (0, 1)
    tops = [round(axes.get_position().y0, 6) for axes in pairs(figure)]
    assert len(set(tops[:3])) == 1
    assert tops[3] == tops[4] < tops[0]


def test_pixels_are_square():
    figure = draw(plot.saliency_grid(digits(2, 20, 30), digits(2, 20, 30)))
    box = pairs(figure)[0].get_window_extent()
    (low, high), (bottom, top) = pairs(figure)[0].get_xlim(), pairs(figure)[0].get_ylim()
    assert box.width / (high - low) == pytest.approx(box.height / (bottom - top))


def test_wrong_predictions_are_marked_by_more_than_colour():
    figure = draw(plot.saliency_grid(digits(3), digits(3), labels=[4, 1, 7], predictions=np.array([9, 1, 1])))
    assert [axes.get_title() for axes in pairs(figure)] == [
        "true 4\npredicted 9  ✗",
        "true 1\npredicted 1",
        "true 7\npredicted 1  ✗",
    ]
    framed = [any(isinstance(patch, Rectangle) for patch in axes.patches) for axes in pairs(figure)]
    assert framed == [True, False, True]


@pytest.mark.parametrize(("labels", "predictions"), [([3, 1], None), (None, [3, 1])])
def test_one_of_the_two_classes(labels, predictions):
    figure = plot.saliency_grid(digits(2), digits(2), labels, predictions)
    assert [axes.get_title() for axes in pairs(figure)] == (["true 3", "true 1"] if labels else ["predicted 3", "predicted 1"])


@pytest.mark.parametrize("columns", [1, 4, 12])
@pytest.mark.parametrize(
    "classes", [list("0123456789"), FASHION, ["$5", "a_b^c", "$\\no$", "{", "\\", "<", "&", "é", "ü", "ß"]]
)
def test_nothing_overlaps(columns, classes):
    predictions = [classes[i % 10] for i in (0, 1, 2, 3, 9, 5, 6, 0, 8, 9, 0, 1)]
    figure = plot.saliency_grid(digits(12), digits(12), [classes[i % 10] for i in range(12)], predictions, columns)
    draw(figure)
    texts = [axes.title for axes in figure.axes] + figure.axes[-1].get_xticklabels()
    assert_apart(texts, figure)
    places = [axes.get_window_extent() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(places) for b in places[i + 1 :])
    assert not any(text.overlaps(place) for text in boxes(texts) for place in places)
    assert figure.get_size_inches()[0] == 8


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-320, 1e300])
def test_constant_maps_and_images(value):
    with np.errstate(all="raise"):
        figure = draw(plot.saliency_grid(np.full((2, 4, 4), value), np.full((2, 4, 4), value)))
    assert all(np.isfinite(image.get_array()).all() for axes in pairs(figure) for image in axes.images)


def test_signed_maps_have_zero_in_the_middle():
    maps = np.array([[[-4.0, 2.0]], [[1.0, 0.5]]])
    figure = draw(plot.saliency_grid(maps, maps))
    first, second = (axes.images[1] for axes in pairs(figure))
    assert first.get_clim() == second.get_clim() == (-1, 1)
    assert first.get_array().tolist() == [[-1.0, 0.5]]
    assert second.get_array().tolist() == [[1.0, 0.5]]
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["−largest", "0", "largest"]


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 1, 8, 8), (3, 3, 8, 8)])
@pytest.mark.parametrize("kind", [np.asarray, mt.Tensor, np.ndarray.tolist])
def test_images_of_every_kind(shape, kind):
    figure = draw(plot.saliency_grid(kind(digits(*shape)), kind(digits(3, 8, 8))))
    assert all(axes.images[0].get_array().shape == (8, 8, 3) for axes in pairs(figure))


@pytest.mark.parametrize("map_shape", [(8, 6), (1, 8, 6), (1, 1, 8, 6)])
@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6), (3, 8, 6), (1, 1, 8, 6), (1, 3, 8, 6)])
def test_one_image_with_one_map(shape, map_shape):
    rng = np.random.default_rng(0)
    image, map_ = rng.random(shape), rng.random(map_shape)
    for labels, predictions in ((4, 9), ([4], [9]), (np.int64(4), mt.Tensor(9, dtype="int64")), ("cat", "dog")):
        figure = draw(plot.saliency_grid(image, map_, labels, predictions))
        axes, _ = figure.axes
        shown, heat = (each.get_array() for each in axes.get_images())
        pixels = np.broadcast_to(image.reshape(-1, 8, 6), (3, 8, 6)).transpose(1, 2, 0)
        np.testing.assert_allclose(shown, (pixels - image.min()) / (image.max() - image.min()))
        np.testing.assert_allclose(heat, map_.reshape(8, 6) / map_.max())
        assert axes.get_title().startswith("true cat" if labels == "cat" else "true 4")


def test_three_grey_images_are_no_colours():
    assert len(draw(plot.saliency_grid(digits(3), digits(3))).axes) == 4
    with pytest.raises(ValueError, match="must agree"):
        plot.saliency_grid(digits(3), digits(2))
    with pytest.raises(ValueError, match=r"labels must be one for each of 2 images, got shape \(\)"):
        plot.saliency_grid(digits(2), digits(2), labels=3)


def test_integer_images():
    figure = plot.saliency_grid(np.array([[[0, 255]]], np.uint8), np.array([[[1, 2]]]))
    assert pairs(figure)[0].images[0].get_array()[0, :, 0].tolist() == [0, 1]


NAN = np.where(np.arange(4).reshape(1, 2, 2) == 3, np.nan, 1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": digits(2)}, ValueError, r"images \(N, H, W\) \(2, 28, 28\) and maps \(3, 28, 28\) must agree"),
        ({"images": digits(3, 2, 28, 28)}, ValueError, r"with C 1 or 3, .* got \(3, 2, 28, 28\)"),
        ({"maps": digits(3, 3, 28, 28)}, ValueError, r"maps must be .* with C 1, .* got \(3, 3, 28, 28\)"),
        ({"images": digits(3)[0]}, ValueError, r"got \(28, 28\)"),
        ({"images": digits(0), "maps": digits(0)}, ValueError, r"none of them 0, got \(0, 28, 28\)"),
        ({"images": np.array([["a"]])}, TypeError, "images must be numbers, got <U1"),
        ({"images": NAN, "maps": np.ones((1, 2, 2))}, ValueError, r"images\[0\] has values that are infinite or nan"),
        ({"images": np.ones((1, 2, 2)), "maps": NAN * np.inf}, ValueError, r"maps\[0\] has values"),
        ({"labels": [1, 2]}, ValueError, r"labels must be one for each of 3 images, got shape \(2,\)"),
        ({"predictions": 1}, ValueError, r"predictions must be one for each of 3 images, got shape \(\)"),
        ({"predictions": mt.Tensor([1, 2, 3])}, TypeError, "predictions must be integers or names, got float32"),
        ({"columns": 0}, ValueError, "columns must be at least 1, got 0"),
        ({"columns": 2.0}, TypeError, "columns must be an integer, got 2.0"),
        ({"columns": True}, TypeError, "columns must be an integer, got True"),
    ],
)
def test_wrong_grids(arguments, error, message):
    with pytest.raises(error, match=message):
        plot.saliency_grid(**({"images": digits(3), "maps": digits(3)} | arguments))


# The confusion matrix


def cells(figure, size):
    """The numbers written in the cells, as a matrix."""
    (axes,) = figure.axes
    written = np.full((size, size), -1)
    for text in axes.texts:
        column, row = text.get_position()
        written[row, column] = int(text.get_text())
    return written


def test_rows_are_true_and_columns_predicted():
    labels, predictions = [0, 0, 0, 2, 2, 1], [0, 1, 1, 2, 0, 1]
    expected = [[1, 2, 0], [0, 1, 0], [1, 0, 1]]
    for figure in (plot.confusion_matrix(labels, predictions), plot.confusion_matrix(expected)):
        draw(figure)
        (axes,) = figure.axes
        np.testing.assert_array_equal(cells(figure, 3), expected)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
        assert axes.get_title() == "3 of 6 correct (50.00%)"
        assert axes.yaxis_inverted()  # row 0 above


@pytest.mark.parametrize("kind", [np.asarray, lambda x: mt.Tensor(np.asarray(x)), list, lambda x: np.asarray(x, np.uint8)])
def test_labels_of_every_kind(kind):
    figure = plot.confusion_matrix(kind([0, 1, 1]), kind([1, 1, 0]))
    np.testing.assert_array_equal(cells(figure, 2), [[0, 1], [1, 1]])


def test_classes_that_do_not_occur():
    figure = draw(plot.confusion_matrix([0, 1], [0, 0], classes=FASHION))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == FASHION
    assert cells(figure, 10).sum() == 2


def test_right_ones_are_blue_and_the_greater_share_is_darker():
    figure = plot.confusion_matrix([[90, 10, 0], [500, 500, 0], [0, 0, 0]])
    image = figure.axes[0].images[0].get_array()
    blueness = image[..., 2] - image[..., 0]
    assert blueness[0, 0] > blueness[1, 1] > 0 > blueness[0, 1] > blueness[1, 0]
    np.testing.assert_array_equal(image[2], 1)  # an empty row is white, without 0/0
    same_shares = plot.confusion_matrix([[900, 100, 0], [5, 5, 0], [0, 0, 0]]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(image, same_shares)


@pytest.mark.parametrize("size", [1, 2, 10, 20, 30, 100])
@pytest.mark.parametrize("most", [9, 99_999])
def test_numbers_fit_their_cells(size, most):
    counts = np.full((size, size), most)
    figure = draw(plot.confusion_matrix(counts))
    (axes,) = figure.axes
    cell = axes.get_window_extent().width / size
    for text, box in zip(axes.texts, boxes(axes.texts)):
        assert text.get_fontsize() >= 7
        assert box.width < cell
        assert box.height < cell
    assert len(axes.texts) in (0, size**2)
    assert axes.texts or size > 10
    assert min(label.get_fontsize() for label in axes.get_xticklabels()) >= 7
    assert_apart([*axes.get_xticklabels(), axes.xaxis.label], figure)
    assert_apart([*axes.get_yticklabels(), axes.yaxis.label, axes.title], figure)


def contrast(a, b):
    """Of two colours: WCAG 2.2, definition of the contrast ratio."""
    from matplotlib.colors import to_rgb

    light = []
    for color in (a, b):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        light.append(float(np.dot(linear, (0.2126, 0.7152, 0.0722))))
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_numbers_can_be_read_on_their_cells():
    for share in range(0, 101, 4):
        figure = plot.confusion_matrix([[share, 100 - share], [100 - share, share]])
        (axes,) = figure.axes
        image = axes.images[0].get_array()
        for text in axes.texts:
            column, row = text.get_position()
            assert contrast(image[row, column, :3], text.get_color()) > 4.5


def test_long_names_do_not_overlap():
    figure = draw(plot.confusion_matrix(np.eye(10, dtype=int), classes=FASHION))
    (axes,) = figure.axes
    assert axes.get_xticklabels()[0].get_rotation() == 45
    assert_apart([*axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label, axes.title], figure)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1, 2, 3]],), ValueError, r"expected counts \(K, K\), or labels and predictions, got shape \(1, 3\)"),
        (([1, 2],), ValueError, r"got shape \(2,\)"),
        (([[]],), ValueError, r"got shape \(1, 0\)"),
        (([], []), ValueError, "0 classes"),
        (([0, 1], [0]), ValueError, r"labels \(2,\) and predictions \(1,\) must have the same length"),
        (([[0]], [[0]]), ValueError, "along one axis"),
        (([[1.0, 0.0], [0.0, 1.0]],), TypeError, "expected integers, got float64"),
        (([0, -1], [0, 0]), ValueError, "expected integers of 0 or more, got -1"),
        (([0, 5], [0, 0], ["a", "b"]), ValueError, "2 names for 6 classes"),
        (([[1]], None, ["a", "b"]), ValueError, "2 names for 1 classes"),
        (([10**9], [0]), ValueError, "1000000001 classes cannot be drawn"),
    ],
)
def test_wrong_matrices(arguments, error, message):
    with pytest.raises(error, match=message):
        plot.confusion_matrix(*arguments)


# Saving


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_save(tmp_path, suffix, magic):
    path = tmp_path / f"curve{suffix}"
    plot.save(plot.training_curve(history(3)), path)
    assert path.read_bytes().startswith(magic)
    assert os.listdir(tmp_path) == [path.name]


def test_a_png_is_1600_pixels_wide(tmp_path):
    path = tmp_path / "curve.png"
    for figure in (plot.training_curve(history(3)), plot.saliency_grid(digits(2), digits(2)), plot.confusion_matrix([[1]])):
        plot.save(figure, path)
        assert matplotlib.image.imread(path).shape[1] == 1600


def test_a_failed_save_leaves_the_old_file(tmp_path):
    class Broken:
        def savefig(self, file, **settings):
            file.write(b"half")
            raise RuntimeError("broken")

    path = tmp_path / "old.png"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="broken"):
        plot.save(Broken(), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old.png"]


def test_wrong_saves(tmp_path):
    figure = plot.confusion_matrix([[1]])
    for name in ("curve", "curve.jpg", "curve.npz"):
        with pytest.raises(ValueError, match=r"has the suffix .*; supported: \.png, \.svg, \.pdf"):
            plot.save(figure, tmp_path / name)
    with pytest.raises(TypeError, match="expected a matplotlib Figure, got PosixPath|WindowsPath"):
        plot.save(tmp_path / "a.png", figure)
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        plot.save(figure, tmp_path / "runs" / "a.png")
    assert not os.listdir(tmp_path)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for make in (plot.require, lambda: plot.confusion_matrix([[1]]), lambda: plot.training_curve(history(1))):
        with pytest.raises(ImportError, match=r'pip install "matplotlib>=3.8" "Pillow>=10"$'):
            make()
    with pytest.raises(ImportError, match=r'pip install "matplotlib>=3.8" "Pillow>=10"$'):
        plot.saliency_grid(digits(1), digits(1))


def test_neither_pyplot_nor_an_import_of_matplotlib_before_it_is_used(tmp_path):
    program = (
        "import sys; from microtensor import plot; assert 'matplotlib' not in sys.modules;"
        "assert not any(name.startswith('microtensor.nn') for name in sys.modules);"
        "plot.save(plot.confusion_matrix([[1]]), 'm.png'); plot.save(plot.training_curve([{'loss': 1.0}]), 'c.png');"
        "plot.save(plot.saliency_grid([[[0, 1]]], [[[0, 1]]]), 's.png'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(mt.__file__)))
    environment = {**os.environ, "PYTHONPATH": root, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=tmp_path, env=environment)
    assert sorted(os.listdir(tmp_path)) == ["c.png", "m.png", "s.png"]


def test_drawing_changes_no_setting(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = dict(matplotlib.rcParams)
        plot.save(plot.saliency_grid(digits(2), digits(2), [1, 2], [1, 3]), tmp_path / "s.svg")
        assert dict(matplotlib.rcParams) == before
