"""Figures of filters and of feature maps."""

import os
import subprocess
import sys

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn

pytest.importorskip("matplotlib")

from figures import assert_square_pixels, assert_tiles_apart, draw, texts, tiles

from microtensor import plot


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# Filters


@pytest.mark.parametrize("count", [1, 6, 64])
def test_grey_filters_share_one_signed_range(count):
    weight = weights(count, 1, 5, 3)
    figure = draw(plot.filters(mt.Tensor(weight)))
    assert len(tiles(figure)) == count
    for image, kernel in zip(tiles(figure), weight):
        np.testing.assert_allclose(image.get_array(), kernel[0] / np.abs(weight).max())
        assert image.get_clim() == (-1, 1)
        assert image.get_cmap().name == "RdBu_r"
    assert texts(figure) == [str(i) for i in range(count)]
    largest = f"{np.abs(weight).max():.3g}"
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == [f"−{largest}", "0", largest]
    assert figure.axes[1].get_title() == "weight"
    assert_tiles_apart(figure)
    assert_square_pixels(figure)


def test_colour_filters_are_grey_at_zero():
    weight = weights(8, 3, 7, 7)
    weight[0] = 0
    figure = draw(plot.filters(weight))
    assert len(tiles(figure)) == 8
    for image, kernel in zip(tiles(figure), weight):
        np.testing.assert_allclose(image.get_array(), 0.5 + kernel.transpose(1, 2, 0) / (2 * np.abs(weight).max()))
    assert (tiles(figure)[0].get_array() == 0.5).all()
    assert texts(figure)[-1] == f"mid-grey: weight 0; range of each colour: ±{np.abs(weight).max():.3g}"
    assert_tiles_apart(figure)


def test_each_filter_may_have_its_own_scale_also_one_of_zeros():
    weight = weights(3, 1, 3, 3) * np.array([1, 100, 0])[:, None, None, None]
    figure = draw(plot.filters(weight, scale="each"))
    assert [np.abs(image.get_array()).max() for image in tiles(figure)] == [1, 1, 0]
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["−largest", "0", "largest"]
    draw(plot.filters(np.zeros((2, 3, 3, 3))))


def test_other_filters_are_a_table_of_kernels_and_channels():
    layer = nn.Conv2d(6, 16, 5)
    figure = draw(plot.filters(layer))
    weight = layer.weight.detach().numpy()
    assert len(tiles(figure)) == 96
    for n, image in enumerate(tiles(figure)):
        channel, kernel = divmod(n, 16)
        np.testing.assert_allclose(image.get_array(), weight[kernel, channel] / np.abs(weight).max(), rtol=1e-6)
        left, _, _, top = image.get_extent()
        assert left == pytest.approx(tiles(figure)[kernel].get_extent()[0])
        assert top == pytest.approx(tiles(figure)[16 * channel].get_extent()[3])
    assert texts(figure).count("0") == 2  # a number above each column and beside each row
    assert "columns: kernels; rows: their input channels" in texts(figure)
    assert_tiles_apart(figure)


def test_columns_and_title():
    figure = draw(plot.filters(weights(6, 1, 5, 5), columns=2, title="after $1"))
    lefts = {round(image.get_extent()[0], 6) for image in tiles(figure)}
    assert len(lefts) == 2
    assert texts(figure)[-1] == r"after \$1"
    assert_tiles_apart(figure)


def test_frames_share_one_scale():
    kept = [weights(4, 1, 3, 3, seed=seed) * (seed + 1) for seed in range(3)]
    largest = max(np.abs(weight).max() for weight in kept)
    figures = list(plot.filter_frames([mt.Tensor(weight) for weight in kept], titles=["a", "b", "c"]))
    assert [texts(figure)[-1] for figure in figures] == ["a", "b", "c"]
    for figure, weight in zip(figures, kept):
        for image, kernel in zip(tiles(figure), weight):
            np.testing.assert_allclose(image.get_array(), kernel[0] / largest)
    assert len({figure.get_figheight() for figure in figures}) == 1


# Feature maps


def test_maps_beside_the_image_dead_ones_marked():
    maps, image = np.abs(weights(5, 6, 8)), weights(3, 12, 16)
    maps[2] = 0
    figure = draw(plot.feature_maps(mt.Tensor(maps[None]), image))
    first, *rest = tiles(figure)
    np.testing.assert_allclose(first.get_array(), ((image - image.min()) / (image.max() - image.min())).transpose(1, 2, 0))
    alive = [0, 1, 3, 4]
    assert len(rest) == 4
    for shown, i in zip(rest, alive):
        np.testing.assert_allclose(shown.get_array(), maps[i] / maps.max())
        assert shown.get_clim() == (0, 1)
    assert texts(figure) == ["image", "0", "1", "2 ✗", "3", "4"]
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == 1
    assert figure.axes[1].get_title() == "activation; hatched, ✗: 0 everywhere (1 of 5)"
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["0", f"{maps.max():.3g}"]
    assert_tiles_apart(figure)
    assert_square_pixels(figure)


def test_signed_maps_are_white_at_zero():
    maps = weights(3, 4, 4)
    figure = draw(plot.feature_maps(maps))
    assert all(image.get_clim() == (-1, 1) and image.get_cmap().name == "RdBu_r" for image in tiles(figure))
    assert len(figure.axes[1].get_xticklabels()) == 3


def test_each_map_may_have_its_own_scale():
    maps = np.abs(weights(3, 4, 4)) * np.array([1, 10, 100])[:, None, None]
    figure = draw(plot.feature_maps(maps, scale="each", first=32))
    assert all(image.get_array().max() == 1 for image in tiles(figure))
    assert texts(figure) == ["32", "33", "34"]


@pytest.mark.parametrize(("count", "side"), [(1, 1), (16, 10), (400, 3)])
def test_any_number_of_maps_can_be_read(count, side):
    figure = draw(plot.feature_maps(np.ones((count, side, side)), np.ones((1, 2 * side, side))))
    assert_tiles_apart(figure)
    assert all(text.get_fontsize() >= 7 for text in figure.axes[0].texts)


def test_maps_of_a_network():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    x = mt.Tensor(weights(1, 1, 8, 8).astype(np.float32))
    maps = nn.activations(net, x, "1")["1"]
    figure = draw(plot.feature_maps(maps, x))
    shown = [image.get_array() for image in tiles(figure)[1:]]
    np.testing.assert_allclose(shown, maps.numpy()[0] / maps.numpy().max(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: plot.filters("abc"), TypeError, "filters: weight must be numbers, got <U3"),
        (
            lambda: plot.filters(weights(3, 3)),
            ValueError,
            r"weight must be \(K, C, h, w\), as a Conv2d has it, got shape \(3, 3\)",
        ),
        (lambda: plot.filters(np.full((1, 1, 2, 2), np.nan)), ValueError, "infinite or nan; did the training diverge"),
        (lambda: plot.filters(np.zeros((0, 1, 2, 2))), ValueError, "weight has no numbers"),
        (lambda: plot.filters(np.zeros((100, 80, 1, 1))), ValueError, r"100 kernels of 80 channels .*weight\[:48, :64\]"),
        (lambda: plot.filters(weights(1, 1, 2, 2), columns=0), ValueError, "columns must be at least 1"),
        (lambda: plot.filters(weights(1, 1, 2, 2), scale="own"), ValueError, 'scale must be "joint" or "each", got \'own\''),
        (lambda: plot.filters(weights(1, 1, 2, 2), limit=0), ValueError, "limit must be above 0 and finite"),
        (lambda: plot.filters(weights(1, 1, 2, 2), scale="each", limit=1.0), ValueError, 'with scale "joint", got 1.0 with'),
        (lambda: plot.filters(weights(1, 1, 2, 2), limit="1"), TypeError, "limit must be a number, got '1'"),
        (lambda: plot.filter_frames([]), TypeError, "filter_frames: weights must be a list of weights"),
        (lambda: plot.filter_frames([weights(1, 1, 2, 2)], ["a", "b"]), ValueError, "1 weights need as many titles, got 2"),
        (lambda: plot.feature_maps(weights(2, 3, 4, 4)), ValueError, r"of one image, \(C, H, W\) or \(1, C, H, W\), got shape"),
        (
            lambda: plot.feature_maps([np.ones((1, 2, 2)), np.ones((1, 3, 3))]),
            ValueError,
            "got a list of arrays of different shapes",
        ),
        (
            lambda: plot.feature_maps(weights(2, 4, 4), weights(2, 4, 4)),
            ValueError,
            r"image must be \(1, H, W\) or \(3, H, W\)",
        ),
        (lambda: plot.feature_maps(np.ones((401, 1, 1))), ValueError, r"401 maps are too many .*maps\[:400\], first=0"),
        (lambda: plot.feature_maps(weights(2, 4, 4), first=-1), ValueError, "first must be at least 0"),
        (lambda: plot.feature_maps(np.full((1, 2, 2), np.inf)), ValueError, "maps has values that are infinite or nan"),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# All figures of this kind

PROGRAM = """
import sys
import numpy as np
import microtensor as mt
from microtensor import nn, plot
assert 'matplotlib' not in sys.modules
net, data = nn.Sequential(nn.Conv2d(1, 2, 3)), np.ones((2, 1, 5, 5), np.float32)
plot.save(plot.filters(net[0]), 'a.png')
plot.save(plot.feature_maps(nn.activations(net, data[:1], '0')['0']), 'b.png')
plot.save(plot.patches(nn.top_patches(net, data, '0')), 'c.svg')
plot.save(plot.graph(net(mt.Tensor(data)), net), 'd.png')
plot.save(plot.learning_rates([0.1, 0.2]), 'e.png')
plot.save_animation(plot.filter_frames([net[0]]), 'f.gif')
assert 'matplotlib.pyplot' not in sys.modules
"""


def test_neither_pyplot_nor_an_import_of_matplotlib_before_it_is_used(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.abspath(mt.__file__)))
    environment = {**os.environ, "PYTHONPATH": root, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], check=True, cwd=tmp_path, env=environment)
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "c.svg", "d.png", "e.png", "f.gif"]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    x = mt.Tensor([1.0], requires_grad=True)
    found = nn.top_patches(nn.Sequential(nn.Identity()), np.ones((1, 1, 2, 2), np.float32), "0")
    for module in ("figure", "textpath", "patches", "ticker"):
        monkeypatch.setitem(sys.modules, f"matplotlib.{module}", None)
    for make in (
        lambda: plot.filters(weights(1, 1, 2, 2)),
        lambda: plot.feature_maps(weights(1, 2, 2)),
        lambda: plot.patches(found),
        lambda: plot.graph(x.exp()),
        lambda: plot.learning_rates([0.1]),
    ):
        with pytest.raises(ImportError, match=r'pip install "matplotlib>=3.8" "Pillow>=10"$'):
            make()
