"""The figure of the patches that activate units, with their reconstructions."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn, saliency

pytest.importorskip("matplotlib")

from figures import assert_square_pixels, assert_tiles_apart, draw, texts, tiles

from microtensor import plot


def found(channels=1, units=(0, 1), k=4, padding=0):
    mt.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(channels, 3, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2))
    net[0].bias.array[...] = 1  # so that no unit is dead
    data = np.random.default_rng(0).random((6, channels, 10, 12)).astype(np.float32)
    patches = nn.top_patches(net, data, "2", list(units), k)
    return net, data, patches


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_of_patches_for_each_unit_on_one_scale(channels):
    _, _, patches = found(channels)
    figure = draw(plot.patches(patches))
    pixels = [patch.pixels for row in patches.values() for patch in row]
    low, high = min(p.min() for p in pixels), max(p.max() for p in pixels)
    assert len(tiles(figure)) == 8
    for image, p in zip(tiles(figure), pixels):
        expected = np.broadcast_to(((p - low) / (high - low)).transpose(1, 2, 0), (*p.shape[1:], 3))
        np.testing.assert_allclose(image.get_array(), expected, rtol=1e-5, atol=1e-6)
    tops = [image.get_extent()[3] for image in tiles(figure)]
    assert len(set(tops[:4])) == len(set(tops[4:])) == 1
    assert tops[0] < tops[4]  # y grows downwards
    written = texts(figure)
    assert "unit 0" in written
    assert "unit 1" in written
    assert sum(text == f"{patches[0][0].value:#.3g}" for text in written) >= 1
    assert_tiles_apart(figure)
    assert_square_pixels(figure)


def test_below_each_patch_its_reconstruction_grey_at_zero():
    net, data, patches = found()
    below = saliency.reconstruct_patches(net, data, "2", patches)
    figure = draw(plot.patches(patches, below))
    assert len(tiles(figure)) == 16
    for n, row in enumerate(below.values()):
        for i, pixels in enumerate(row):
            patch, shown = tiles(figure)[8 * n + 2 * i : 8 * n + 2 * i + 2]
            expected = 0.5 + pixels[0] / (2 * np.abs(pixels).max())
            np.testing.assert_allclose(shown.get_array()[..., 0], expected, rtol=1e-5, atol=1e-6)
            assert shown.get_extent()[:2] == patch.get_extent()[:2]
            assert shown.get_extent()[3] > patch.get_extent()[2]
    assert_tiles_apart(figure)


def test_a_patch_at_the_border_stands_where_it_lies_in_the_field_and_the_rest_is_hatched():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    net[0].weight.array[...] = 0
    net[0].weight.array[0, 0, 1, 1] = 1
    data = np.zeros((2, 1, 5, 5), np.float32)
    data[0, 0, 2, 2], data[1, 0, 0, 4] = 3, 2  # in the middle; in the upper right corner
    figure = draw(plot.patches(nn.top_patches(net, data, "0")))
    middle, corner = tiles(figure)
    (left, right, bottom, top), (l2, r2, b2, t2) = middle.get_extent(), corner.get_extent()
    assert r2 - l2 == pytest.approx((right - left) * 2 / 3)
    assert b2 - t2 == pytest.approx((bottom - top) * 2 / 3)
    assert b2 == pytest.approx(bottom)  # the lower left of the field is in the image
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == 1
    assert l2 == pytest.approx(hatched[0].get_x())
    assert hatched[0].get_zorder() < corner.get_zorder()


def test_fields_larger_than_the_image_fill_their_cells():
    net = nn.Sequential(nn.Conv2d(1, 1, 31, padding=15))
    data = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    figure = draw(plot.patches(nn.top_patches(net, data, "0")))
    cells = [patch.get_width() for patch in figure.axes[0].patches]
    for image, cell in zip(tiles(figure), cells):
        left, right, _, _ = image.get_extent()
        assert right - left == pytest.approx(cell)


def test_units_of_several_layers_have_names_and_dead_ones_a_mark():
    _, _, patches = found()
    dead = [patch._replace(value=0.0) for patch in patches[1]]
    figure = draw(plot.patches({"layer 1, $a": patches[0], "layer 5": dead}))
    assert r"layer 1, \$a" in texts(figure)
    assert "layer 5\n✗ never active" in texts(figure)
    assert_tiles_apart(figure)


def test_many_units_and_many_patches_can_be_read():
    _, _, patches = found(units=(0,), k=6)
    row = (patches[0] * 4)[:24]
    figure = draw(plot.patches(dict.fromkeys(range(6), row)))
    assert_tiles_apart(figure)
    assert min(text.get_fontsize() for text in figure.axes[0].texts) >= 6
    assert f"{row[0].value:#.3g}" not in texts(figure)  # no room for the activations


PATCHES = found()[2]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: plot.patches([1]), TypeError, "expected a dict of units and their patches"),
        (
            lambda: plot.patches({0: [1]}),
            TypeError,
            r"unit 0 must have a list of patches from nn.top_patches, got \[1\]",
        ),
        (lambda: plot.patches({0: []}), TypeError, "unit 0 must have a list of patches"),
        (lambda: plot.patches({}), ValueError, "1 to 64 units of at most 24 patches can be drawn, got 0 of 0"),
        (lambda: plot.patches({0: PATCHES[0] * 7}), ValueError, "got 1 of 28"),
        (lambda: plot.patches(PATCHES, {0: []}), ValueError, "a dict with the same units"),
        (lambda: plot.patches(PATCHES, {0: [], 1: []}), ValueError, "must have the shapes of its patches"),
        (
            lambda: plot.patches({0: [PATCHES[0][0]._replace(pixels=np.ones((2, 3, 3)))]}),
            ValueError,
            r"must be \(1, h, w\) or \(3, h, w\), got \(2, 3, 3\)",
        ),
        (
            lambda: plot.patches({0: [PATCHES[0][0]._replace(pixels=np.full((1, 3, 3), np.nan))]}),
            ValueError,
            "unit 0: patch 0 has values that are infinite or nan",
        ),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
