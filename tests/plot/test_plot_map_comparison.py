"""Maps of the same images by several methods, side by side."""

import numpy as np
import pytest

import microtensor as mt

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg

from microtensor import nn, plot


def draw(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def numbers(seed, *shape):
    return np.random.default_rng(seed).random(shape)


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def test_each_image_is_followed_by_its_maps():
    images, maps = numbers(0, 2, 3, 6, 8), {"gradient": numbers(1, 2, 6, 8), "RISE": numbers(2, 2, 6, 8)}
    figure = draw(plot.saliency_methods(images, maps, ["cat", "cup of $1"], quantile=1))
    *panels, bar = figure.axes
    assert [axes.get_title() for axes in panels] == ["cat", "gradient", "RISE", r"cup of \$1", "gradient", "RISE"]
    for i in range(2):
        image = images[i].transpose(1, 2, 0)
        np.testing.assert_allclose(shown(panels[3 * i]), (image - image.min()) / np.ptp(image))
        for j, map in enumerate(maps.values(), 1):
            np.testing.assert_allclose(shown(panels[3 * i + j]), (map[i] - map[i].min()) / np.ptp(map[i]))
    assert [label.get_text() for label in bar.get_xticklabels()] == ["minimum", "maximum"]
    assert figure.get_size_inches()[0] == 8


def test_signed_maps_have_zero_in_the_middle_and_a_bar_of_their_own():
    map = np.array([[[-2.0, 0.0], [1.0, 2.0]]])
    figure = draw(plot.saliency_methods(numbers(0, 1, 1, 2, 2), {"occlusion": map, "gradient": np.abs(map)}, quantile=1))
    np.testing.assert_allclose(shown(figure.axes[1]), [[0, 0.5], [0.75, 1]])
    assert [len(axes.get_xticklabels()) for axes in figure.axes[3:]] == [2, 3]


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_constant_maps_and_images_are_drawn_without_a_division_by_zero(value):
    figure = draw(plot.saliency_methods(np.full((1, 1, 4, 4), value), {"gradient": np.full((1, 4, 4), value)}))
    assert np.isfinite(shown(figure.axes[0])).all()
    np.testing.assert_array_equal(shown(figure.axes[1]), np.zeros((4, 4)))
    assert [text.get_text() for text in figure.axes[1].texts] == [f"{value:g} everywhere".replace("-", "−")]


def test_a_few_pixels_far_above_all_others_do_not_darken_the_rest():
    map = numbers(1, 1, 20, 20)
    map[0, 0, 0] = 1e6
    (axes,) = draw(plot.saliency_methods(numbers(0, 1, 20, 20), {"gradient": map[0]})).axes[1:2]
    assert np.median(shown(axes)) > 0.3
    assert shown(axes).max() == 1
    lonely = np.zeros((20, 20))
    lonely[3, 4] = 7.0  # the quantile is 0
    (axes,) = draw(plot.saliency_methods(numbers(0, 1, 20, 20), {"gradient": lonely})).axes[1:2]
    assert shown(axes)[3, 4] == 1


def test_boxes_are_drawn_around_the_pixels():
    figure = draw(
        plot.saliency_methods(numbers(0, 1, 6, 8), {"a": numbers(1, 6, 8), "b": numbers(2, 6, 8)}, boxes={"b": [2, 1, 5, 4]})
    )
    assert not figure.axes[1].patches
    for patch in figure.axes[2].patches:
        assert (*patch.get_xy(), patch.get_width(), patch.get_height()) == (1.5, 0.5, 3, 3)


def test_long_titles_do_not_overlap():
    titles = ["American Staffordshire terrier 99%", "cup"]
    figure = draw(plot.saliency_methods(numbers(0, 2, 3, 9, 9), {f"method {i}": numbers(i, 2, 9, 9) for i in range(5)}, titles))
    boxes = [axes.title.get_window_extent() for axes in figure.axes[:-1]]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert box.x0 >= 0


def test_a_softmax_and_its_logits_side_by_side():
    mt.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
    model[1].weight.array[...] = model[1].weight.array * 100
    x = mt.Tensor(numbers(0, 1, 4, 4).astype(np.float32))
    figure = draw(plot.softmax_comparison(model, x))
    titles = [axes.get_title() for axes in figure.axes[:3]]
    weight = model[1].weight.numpy()[int(model(x.unsqueeze(0)).argmax(dim=1).item())]
    assert titles[0] == "image"
    assert titles[1].startswith("gradient of the probability\nup to ")
    assert titles[2] == f"gradient of the logit\nup to {np.abs(weight).max():.2g}"
    several = draw(plot.softmax_comparison(model, mt.stack([x, x], dim=0), [0, 1]))
    assert [axes.get_title() for axes in several.axes[1:3]] == ["gradient of the probability", "gradient of the logit"]
    with pytest.raises(ValueError, match="the model does not end in softmax"):
        plot.softmax_comparison(model[:2], x)


IMAGES, MAPS = numbers(0, 2, 3, 4, 4), {"gradient": numbers(1, 2, 4, 4)}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((IMAGES, numbers(1, 2, 4, 4)), TypeError, "maps must be a mapping from names to maps, got ndarray"),
        ((IMAGES, {}), ValueError, "there are no maps to draw"),
        ((IMAGES[:, :2], MAPS), ValueError, r"images must be \(N, C, H, W\) or \(C, H, W\) with C 1 or 3"),
        ((IMAGES, {"a": numbers(1, 2, 4, 5)}), ValueError, r"maps\['a'\] must be \(2, 4, 4\), got \(2, 4, 5\)"),
        ((IMAGES, {"a": numbers(1, 2, 4, 4) * np.nan}), ValueError, r"maps\['a'\] has values that are infinite or nan"),
        ((np.full((2, 3, 4, 4), "a"), MAPS), TypeError, "images must be numbers"),
        ((IMAGES, MAPS, ["one"]), ValueError, "1 titles for 2 images"),
        ((IMAGES, MAPS, None, {"b": [[0, 0, 1, 1]] * 2}), ValueError, "boxes of 'b' .* fit no map: gradient"),
        ((IMAGES, MAPS, None, {"gradient": [0, 0, 1]}), ValueError, r"boxes of 'gradient' \(3,\) fit no map"),
        ((IMAGES, MAPS, None, [[0, 0, 1, 1]] * 2), TypeError, "boxes must be a mapping .* got list"),
        ((IMAGES, MAPS, None, None, 4, "all"), ValueError, "quantile must be a number above 0 and at most 1, got 'all'"),
        ((IMAGES, MAPS, None, None, 0), ValueError, "columns must be at least 1"),
        ((IMAGES, MAPS, None, None, 4, 0), ValueError, "quantile must be a number above 0 and at most 1, got 0"),
    ],
)
def test_wrong_input_is_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        plot.saliency_methods(*arguments)
