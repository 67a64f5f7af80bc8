"""The effective receptive field compared with formulas and gradients; paths from pixels, counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor
from microtensor.models import lenet5
from microtensor.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    effective_receptive_field,
    seen_pixels,
)
from microtensor.nn.inspect.effective_field import EffectiveField
from microtensor.nn.inspect.receptive_field import receptive_field


def even(*layers):
    """Convolutions of weight 1."""
    for layer in layers:
        for p in layer.parameters():
            p.array[...] = 1 if p.ndim > 1 else 0
    return Sequential(*layers)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 2)), min_size=1, max_size=5))
def test_its_spread_is_that_of_the_sum_of_uniform_steps(kernels):
    """Each layer adds (k² − 1) / 12 · d² to the variance: Luo et al. 2016, section 2.2."""
    net = even(*[Conv2d(1, 1, k, dilation=d) for k, d in kernels])
    side = sum((k - 1) * d for k, d in kernels) + 1
    found = effective_receptive_field(net, (1, side, side), samples=2)
    variance = sum((k * k - 1) / 12 * d * d for k, d in kernels)
    assert found.sigma == pytest.approx((math.sqrt(variance),) * 2, abs=1e-5)
    assert found.center == pytest.approx((side / 2, side / 2))
    assert found.box == [(0, side), (0, side)]


def test_the_share_of_the_field_shrinks_with_depth():
    """σ / size falls as 1 / √layers: Luo et al. 2016, section 2."""
    ratio = {}
    for n in (4, 16):
        found = effective_receptive_field(even(*[Conv2d(1, 1, 3) for _ in range(n)]), (1, 2 * n + 1, 2 * n + 1), samples=1)
        ratio[n] = found.sigma[0] / found.field.size[0]
    assert ratio[4] / ratio[16] == pytest.approx(2 * 33 / 36, rel=1e-4)  # √(2n/3) / (2n + 1)


def test_a_bell_curve_holds_what_a_bell_curve_holds():
    found = effective_receptive_field(even(*[Conv2d(1, 1, 5) for _ in range(12)]), (1, 49, 49), samples=1)
    for k in (0.5, 1, 2, 3):
        assert found.share(k) == pytest.approx(1 - math.exp(-k * k / 2), abs=0.035)  # pixels are in it or not
    assert found.share(0) == pytest.approx(float(found.map.numpy().max() / found.map.numpy().sum()))
    assert found.share(100) == pytest.approx(1)


def test_the_share_in_an_ellipse_is_counted():
    field = receptive_field(Conv2d(1, 1, 1), (1, 3, 5))[0]
    heat = np.zeros((3, 5))
    heat[1] = [1, 2, 4, 2, 1]
    found = EffectiveField(Tensor(heat), field, (1, 2), 1)
    assert found.center == pytest.approx((1.5, 2.5))
    assert found.sigma == pytest.approx((0, math.sqrt(1.2)))
    assert [found.share(k) for k in (0, 1 / math.sqrt(1.21), 1, 1.9, 2)] == pytest.approx([0.4, 0.4, 0.8, 1.0, 1.0])
    assert found.share(1.8) == pytest.approx(0.8)  # two pixels further are 1.826 σ away


def test_it_is_the_mean_of_the_gradients():
    net = Sequential(Conv2d(3, 4, 3), ReLU(), MaxPool2d(2), Conv2d(4, 2, 3))
    images = mt.randn(3, 3, 16, 14, generator=mt.Generator(1))
    found = effective_receptive_field(net, (3, 16, 14), unit=(1, 3), channel=1, images=images)
    assert found.samples == 3
    total = np.zeros((16, 14))
    for image in images.numpy():
        x = Tensor(image[None], requires_grad=True)
        (g,) = mt.grad(net(x)[0, 1, 1, 3], x)
        total += np.abs(g.numpy()[0]).sum(0) / 3
    np.testing.assert_allclose(found.map.numpy(), total, rtol=1e-5)
    (top, bottom), (left, right) = found.box
    outside = found.map.numpy().copy()
    outside[int(top) : int(bottom), int(left) : int(right)] = 0
    assert not outside.any()
    assert not found.map.requires_grad


def test_all_channels_and_given_arrays():
    net = Sequential(Conv2d(1, 2, 3))
    images = np.ones((2, 1, 5, 5), np.float64)
    found = effective_receptive_field(net, (1, 5, 5), images=images)
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = np.abs(net[0].weight.numpy().sum(0)[0])
    np.testing.assert_allclose(found.map.numpy(), expected, rtol=1e-6)


def test_layers_and_units_by_default():
    model = lenet5()
    assert effective_receptive_field(model, (1, 28, 28), samples=1).field.name == "features"
    found = effective_receptive_field(model, (1, 28, 28), "features.3", samples=1)
    assert (found.field.name, found.unit, found.field.size) == ("features.3", (5, 5), (14, 14))
    net = Sequential(Conv2d(1, 1, 3), Flatten(), Linear(9, 2))
    assert effective_receptive_field(net, (1, 5, 5), samples=1).field.name == "0"
    assert effective_receptive_field(Conv2d(1, 1, 3), (1, 5, 5), samples=1).field.name == ""
    found = effective_receptive_field(Conv1d(2, 1, 3), (2, 9), samples=1)
    assert (found.map.shape, found.unit) == ((9,), (3,))


def test_the_same_seed_gives_the_same_map_and_the_model_is_as_before():
    model = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2), ReLU())
    before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    first, again, other = (
        effective_receptive_field(model, (1, 9, 9), samples=4, generator=mt.Generator(seed)).map.numpy() for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), before[name])


def test_what_comes_after_the_layer_is_not_computed():
    class Explodes(mt.nn.Module):
        off = True

        def forward(self, x):
            if not self.off:
                raise AssertionError("computed")
            return x

    net = Sequential(Conv2d(1, 1, 3), Explodes())
    fields = receptive_field(net, (1, 5, 5))
    assert len(fields) == 3
    found = effective_receptive_field(net, (1, 5, 5), "0", samples=1)
    assert found.map.shape == (5, 5)


NET = Sequential(Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(18, 2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": Conv2d}, TypeError, "effective_receptive_field: expected a Module, got the class Conv2d; create one"),
        ({"layer": "7"}, ValueError, "effective_receptive_field: Sequential has no layer '7'; there is 0, 1, 2, 3"),
        ({"layer": 0}, TypeError, "asked for by its dotted name"),
        ({"layer": "3"}, ValueError, r"the units of layer '3', of output \(2,\), have no places in the image"),
        ({"unit": (3, 0)}, ValueError, r"layer '1' has units up to \(2, 2\), got \(3, 0\)"),
        ({"unit": (1,)}, ValueError, r"layer '1' has units up to \(2, 2\), got \(1,\)"),
        ({"unit": (0.5, 1)}, TypeError, "unit must be integers"),
        ({"channel": 2}, ValueError, "layer '1' has the channels 0 to 1, got 2"),
        ({"channel": True}, TypeError, "channel must be an integer, got True"),
        ({"samples": 0}, ValueError, "samples must be at least 1, got 0"),
        ({"images": [[1.0]]}, TypeError, "images must be a Tensor or an array, got list"),
        ({"images": np.ones((1, 1, 5, 5), int)}, TypeError, "images must be floating point, got int64"),
        ({"images": np.ones((1, 1, 6, 5))}, ValueError, r"images must be \(N, 1, 5, 5\) .* got \(1, 1, 6, 5\)"),
        ({"images": np.ones((0, 1, 5, 5))}, ValueError, r"got \(0, 1, 5, 5\)"),
        ({"input_shape": [(1, 5, 5), (2,)]}, ValueError, "expected the shape of one image"),
        ({"input_shape": (1, 2, 2)}, ValueError, "cannot compute for input_shape"),
    ],
)
def test_wrong_input_is_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        effective_receptive_field(**({"model": NET, "input_shape": (1, 5, 5)} | arguments))


def test_layers_that_cannot_be_asked():
    with pytest.raises(ValueError, match="Linear calls no layer whose units have places in the image"):
        effective_receptive_field(Linear(3, 2), (3,))
    relu = ReLU()
    twice = Sequential(Conv2d(1, 1, 3), relu, Conv2d(1, 1, 3), relu)
    with pytest.raises(ValueError, match="Sequential calls its layer '1' 2 times"):
        effective_receptive_field(twice, (1, 9, 9), "1")
    dead = even(Conv2d(1, 1, 3))
    dead[0].weight.array[...] = 0
    with pytest.raises(ValueError, match=r"no gradient of unit \(1, 1\) of layer '' reaches any of the images: it is dead"):
        effective_receptive_field(dead, (1, 5, 5))
    dead[0].weight.array[...] = np.nan
    with pytest.raises(ValueError, match="is not finite; did the training diverge"):
        effective_receptive_field(dead, (1, 5, 5))
    for k, error in ((-1, ValueError), (float("nan"), ValueError), ("2", TypeError)):
        with pytest.raises(error, match="share: k must be"):
            effective_receptive_field(Conv2d(1, 1, 3), (1, 5, 5), samples=1).share(k)


# Which pixels are seen


@pytest.mark.parametrize(
    ("dilations", "seen", "side"), [((2, 2, 2), 7**2, 13), ((1, 2, 4), 15**2, 15), ((1, 2, 3), 13**2, 13), ((1, 1, 1), 7**2, 7)]
)
def test_gridding(dilations, seen, side):
    """Dilations with a common factor leave out every other pixel: Wang et al. 2017, figure 2, arxiv.org/abs/1702.08502."""
    net = Sequential(*[Conv2d(1, 1, 3, dilation=d) for d in dilations])
    ways = seen_pixels(net, (1, side, side)).numpy()
    assert np.count_nonzero(ways) == seen
    assert ways.sum() == pytest.approx(1)


def test_ways_are_counted():
    """Two kernels of 3: 1, 2, 3, 2, 1 of 9 paths along each axis."""
    ways = seen_pixels(Sequential(Conv2d(2, 3, 3), Conv2d(3, 1, 3)), (2, 5, 5)).numpy()
    line = np.array([1, 2, 3, 2, 1]) / 9
    np.testing.assert_allclose(ways, np.outer(line, line), rtol=1e-5)


def test_weights_do_not_matter_and_stay():
    net = Sequential(Conv2d(1, 4, 3), BatchNorm2d(4), ReLU(), MaxPool2d(2), Conv2d(4, 1, 2), AvgPool2d(2))
    net[0].weight.array[...] = 0
    net[1].running_mean.array[...] = 1e6
    ways = seen_pixels(net, (1, 12, 12), unit=(0, 1)).numpy()
    (top, bottom), (left, right) = receptive_field(net, (1, 12, 12))[0].of(0, 1)
    expected = np.zeros((12, 12), bool)
    expected[int(top) : int(bottom), int(left) : int(right)] = True
    np.testing.assert_array_equal(ways > 0, expected)
    assert not net[0].weight.numpy().any()
    assert (net[1].running_mean.numpy() == 1e6).all()


def test_padding_and_long_strides():
    ways = seen_pixels(Sequential(Conv1d(1, 1, 3, padding=2, dilation=2)), (1, 6), unit=(0,)).numpy()
    np.testing.assert_allclose(ways, [1 / 3, 0, 1 / 3, 0, 0, 0], rtol=1e-6)
    ways = seen_pixels(Sequential(Conv1d(1, 1, 1, stride=2), Conv1d(1, 1, 2)), (1, 6), unit=(1,)).numpy()
    np.testing.assert_allclose(ways, [0, 0, 0.5, 0, 0.5, 0])


def test_many_pixels_go_in_several_passes():
    net = Sequential(Conv2d(1, 1, 20))
    ways = seen_pixels(net, (1, 30, 30), unit=(3, 4)).numpy()  # 400 images of 900 pixels, more than go at once
    assert np.count_nonzero(ways) == 20 * 20
    assert ways[3:23, 4:24].all()
