"""Receptive fields that are followed through operations, compared with gradients: the pixels that a unit depends on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.autograd.observers import Observer, observing
from microtensor.nn.inspect.receptive_field_tracker import AxisField, FieldTracker
from microtensor.nn.layers.adaptive import adaptive_avg_pool2d, adaptive_max_pool2d
from microtensor.nn.layers.conv import conv2d
from microtensor.nn.layers.conv_transpose import conv_transpose2d
from microtensor.nn.layers.pool import avg_pool2d, max_pool2d
from microtensor.nn.layers.resize import interpolate
from microtensor.nn.layers.windows import unfold


def follow(function, *shapes):
    """The receptive fields of the result of `function`, for inputs of these shapes."""
    tracker, inputs = FieldTracker(), [Tensor(np.ones(shape)) for shape in shapes]
    for x in inputs:
        tracker.start(x)

    class Follow(Observer):
        def operation(self, *call):
            tracker.observe(*call)

    with observing(Follow()):
        y = function(*inputs)
    return y, tracker.of(y)


def depends_on(function, shape, unit):
    """The first and last pixel, along each axis, that a unit of the result depends on: where its gradient is not 0."""
    x = Tensor(np.random.default_rng(0).uniform(1, 2, shape), requires_grad=True)
    y = function(x)
    (g,) = mt.grad(y[(0, slice(None), *unit)].sum(), x, allow_unused=True)
    pixels = np.nonzero(np.abs(g.numpy()).sum((0, 1)))
    return [(int(along.min(initial=99)), int(along.max(initial=-1)) + 1) for along in pixels]


def kernel(*shape):
    return Tensor(np.random.default_rng(1).uniform(0.5, 1, shape))  # no cancelling


def convolution(k, s, p, d):
    return lambda x: conv2d(x, kernel(2, x.shape[1], *k), stride=s, padding=p, dilation=d)


def transposed(k, s, p):
    return lambda x: conv_transpose2d(x, kernel(x.shape[1], 2, *k), stride=s, padding=p)


def residual(x):
    return x + conv2d(x, kernel(x.shape[1], x.shape[1], 3, 3), padding=1)


def inception(x):
    small = conv2d(x, kernel(2, x.shape[1], 1, 1))
    large = conv2d(conv2d(x, kernel(2, x.shape[1], 3, 3), padding=1), kernel(2, 2, 5, 5), padding=2)
    return mt.cat([small, large, avg_pool2d(x, 3, 1, 1)], 1)


def shuffle_pixels(x):
    n, c, h, w = x.shape
    y = conv2d(x, kernel(4, c, 1, 1)).reshape(n, 1, 2, 2, h, w)
    return y.permute(0, 1, 4, 2, 5, 3).reshape(n, 1, 2 * h, 2 * w)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
steps = st.one_of(
    st.builds(convolution, pairs, st.integers(1, 2), st.integers(0, 2), st.integers(1, 2)),
    st.just(lambda x: max_pool2d(x, 1)),
    st.builds(lambda k: lambda x: avg_pool2d(x, k, 2, k // 2), st.integers(2, 3)),
    st.just(residual),
    st.just(inception),
    st.just(lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1]).mT.reshape(x.shape).relu()),
    st.just(lambda x: x.pad((1, 1, 2, 0))[:, :, 1:, :-1]),
    st.just(lambda x: x[:, :, 1::2].flip(1)),
    st.just(lambda x: (x - x.mean(1, keepdim=True) * 0.5).squeeze().reshape(x.shape)),
)


@settings(max_examples=60)
@given(st.lists(steps, min_size=1, max_size=3), st.data())
def test_what_a_unit_sees_is_where_its_gradient_is(chain, data):
    """Equal in the middle; at the border, where fields include padding, never larger."""

    def function(x):
        for step in chain:
            x = step(x)
        return x

    shape = (1, 2, 65, 59)
    y, reach = follow(function, shape)
    unit = tuple(data.draw(st.sampled_from([0, n // 2, n - 1])) for n in y.shape[2:])
    for (low, high), r, i, n in zip(depends_on(function, shape, unit), reach, unit, shape[2:]):
        first = r.center + i * r.jump - r.size / 2
        if low > high:  # its field is padding only
            continue
        assert first <= low
        assert high <= first + r.size
        if first >= 12 and first + r.size <= n - 12:
            assert (low, high) == (first, first + r.size)


@pytest.mark.parametrize(
    "function",
    [
        transposed((2, 2), 2, 0),
        transposed((4, 4), 2, 1),
        transposed((3, 3), 2, 1),
        transposed((5, 3), 1, 1),
        shuffle_pixels,
        lambda x: conv2d(shuffle_pixels(x), kernel(1, 1, 3, 3)),
        lambda x: conv2d(interpolate(x, scale_factor=2), kernel(1, 2, 3, 3)),
        lambda x: conv2d(interpolate(x, scale_factor=3), kernel(1, 2, 2, 2), stride=2),
        lambda x: interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: adaptive_avg_pool2d(x, (4, 5)),
        lambda x: adaptive_avg_pool2d(x, (5, 3)),
        lambda x: x.reshape(1, 2, 10, 2, 9, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 8, 10, 9) * 1,
        lambda x: conv2d(x.pad((1, 1, 1, 1), mode="reflect"), kernel(1, 2, 3, 3)),
    ],
)
def test_uneven_fields_are_covered(function):
    """If the fields of a layer have different sizes, the largest is reported, and no unit depends on more."""
    shape = (1, 2, 20, 18)
    y, reach = follow(function, shape)
    largest = [0, 0]
    border = 3 if min(y.shape[2:]) > 8 else 0
    for i in range(border, min(y.shape[2:]) - border):
        for axis, (low, high) in enumerate(depends_on(function, shape, (i, i))):
            largest[axis] = max(largest[axis], high - low)
            middle = reach[axis].center + i * reach[axis].jump
            assert abs((low + high) / 2 - middle) <= reach[axis].size / 2
    assert [r.size for r in reach] == largest


GLOBAL = [AxisField(9, None, 4.5), AxisField(7, None, 3.5)]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mean((2, 3)),
        lambda x: adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: adaptive_max_pool2d(x, 1).squeeze(3).squeeze(2),
        lambda x: x.amax(dim=(-1, -2), keepdim=True),
        lambda x: x.flatten(1) @ mt.ones(126, 5, dtype="float64"),
        lambda x: mt.ones(5, 126, dtype="float64") @ x.reshape(126, 1),
        lambda x: mt.einsum("nchw,chwk->nk", x, mt.ones(2, 9, 7, 3, dtype="float64")),
        lambda x: x.flatten(2).mT @ x.flatten(2) * 1,  # every position with every other
        lambda x: x[:, :, [3, 1]][..., [0]].sum((2, 3)),
    ],
)
def test_what_sees_everything(function):
    assert list(follow(function, (1, 2, 9, 7))[1]) == GLOBAL


def test_units_that_all_see_everything_have_no_distance():
    """A squeeze-and-excitation gate depends on all of the image, and so does its product with a feature map."""
    _, reach = follow(lambda x: residual(x * x.mean((2, 3), keepdim=True).sigmoid()), (1, 2, 9, 7))
    assert reach == (AxisField(9, 0, 4.5), AxisField(7, 0, 3.5))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x[:, :, 2::3, 1], (AxisField(1, 3, 2.5), AxisField(1, None, 1.5))),
        (lambda x: x[0, ..., 3, None, 1:], (AxisField(1, None, 3.5), AxisField(1, 1, 1.5))),
        (lambda x: x.flatten(1), (AxisField(1, None, 0.5), AxisField(1, None, 0.5))),
        (lambda x: x.flatten(2).mT.flip(2).mT.reshape(1, 1, 2, 9, 7), (AxisField(1, 1, 0.5), AxisField(1, 1, 0.5))),
        (lambda x: x.flatten(2).mT @ mt.ones(2, 4, dtype="float64"), (AxisField(1, None, 0.5), AxisField(1, None, 0.5))),
        (lambda x: unfold(x, 3), (AxisField(3, None, 1.5), AxisField(3, None, 1.5))),
        (lambda x: unfold(x, 3, padding=1, stride=2).reshape(1, 18, 5, 4), (AxisField(3, 2, 0.5), AxisField(3, 2, 0.5))),
        (lambda x: x.expand(3, 2, 9, 7), (AxisField(1, 1, 0.5), AxisField(1, 1, 0.5))),
        (lambda x: x.transpose(2, 3), (AxisField(1, 1, 0.5), AxisField(1, 1, 0.5))),
        (lambda x: x.sum(3), (AxisField(1, 1, 0.5), AxisField(7, None, 3.5))),
        (lambda x: interpolate(x, scale_factor=2), (AxisField(1, 0.5, 0.5), AxisField(1, 0.5, 0.5))),
        (lambda x: x.pad((1, 0, 2, 3)), (AxisField(1, 1, -1.5), AxisField(1, 1, -0.5))),
        (lambda x: x.pad((1, 0, 2, 3), mode="reflect"), (AxisField(1, 1, -1.5), AxisField(1, 1, -0.5))),
        (lambda x: max_pool2d(x, (2, 3), 2, (1, 0)), (AxisField(2, 2, 0), AxisField(3, 2, 1.5))),
        (lambda x: max_pool2d(x, 2, ceil_mode=True), (AxisField(2, 2, 1), AxisField(2, 2, 1))),
        (lambda x: adaptive_max_pool2d(x, (3, 4)), (AxisField(3, 3, 1.5), AxisField(3, 1.75, 1))),
        (
            lambda x: mt.permute(interpolate(x, scale_factor=2).reshape(1, 2, 9, 2, 14), (0, 1, 3, 2, 4)).reshape(1, 4, 9, 14),
            (AxisField(1, 1, 0.5), AxisField(1, 0.5, 0.5)),
        ),
        (lambda x: (x[:, :, ::2] * 1)[:, :, :4].reshape(1, 2, 2, 2, 7), (AxisField(3, 4, 1.5), AxisField(1, 1, 0.5))),
        (lambda x: x.detach(), None),
        (lambda x: mt.ones(3) * 2, None),
    ],
)
def test_where_the_places_are(function, expected):
    assert follow(function, (1, 2, 9, 7))[1] == expected


def test_two_inputs_are_seen_together():
    _, reach = follow(lambda a, b: conv2d(a, kernel(2, 2, 3, 3), padding=1) + b, (1, 2, 9, 7), (1, 2, 9, 7))
    assert reach == (AxisField(3, 1, 0.5), AxisField(3, 1, 0.5))
    _, reach = follow(lambda a, b: a + b[:, :, None, None], (1, 2, 9, 7), (1, 2))  # b has no axes of an image
    assert reach == (AxisField(1, 1, 0.5), AxisField(1, 1, 0.5))


def test_sequences_have_one_axis():
    _, reach = follow(lambda x: conv2d(x.unsqueeze(2), kernel(1, 2, 1, 3), dilation=(1, 2)).squeeze(2), (1, 2, 9))
    assert reach == (AxisField(5, 1, 2.5),)


def test_nothing_is_kept_alive():
    tracker, x = FieldTracker(), Tensor(np.ones((1, 1, 2, 2)))
    tracker.start(x)
    assert tracker.of(x) is not None
    del x
    assert not tracker._known


def field_of(reach, i):
    """The field of unit i along one axis."""
    if reach.span is None:
        middle = reach.center + i * (reach.jump or 0)
        return middle - reach.size / 2, middle + reach.size / 2
    return tuple(reach.span[:, i])


def resized(**how):
    return lambda x: interpolate(x, **how)


SINGLE = {
    "conv": convolution((3, 2), 2, 1, 2),
    "conv, no padding": convolution((3, 3), 1, 0, 1),
    "transposed": transposed((3, 3), 2, 1),
    "transposed, wide": transposed((5, 4), 2, 1),
    "transposed, gaps": transposed((2, 2), 2, 0),
    "avg pool": lambda x: avg_pool2d(x, 3, 2, 1),
    "avg pool, ceil": lambda x: avg_pool2d(x, 3, 2, ceil_mode=True),
    "adaptive": lambda x: adaptive_avg_pool2d(x, (5, 3)),
    "adaptive, larger": lambda x: adaptive_avg_pool2d(x, (20, 23)),
    "nearest": resized(scale_factor=2),
    "nearest, uneven": resized(size=(19, 9)),
    "bilinear": resized(scale_factor=2, mode="bilinear"),
    "bilinear, 16 times": resized(scale_factor=16, mode="bilinear"),
    "bilinear, corners": resized(size=(33, 27), mode="bilinear", align_corners=True),
    "bilinear, smaller": resized(size=(7, 5), mode="bilinear"),
    "bilinear, uneven": resized(size=(17, 31), mode="bilinear"),
    "flip": lambda x: x.flip(2) * 1,
    "flip both": lambda x: x.flip((2, 3)) * 1,
    "roll": lambda x: x.roll(3, 2) * 1,
    "roll two": lambda x: x.roll((-2, 5), (2, 3)) * 1,
    "slice": lambda x: x[:, :, 3:12:2, 1:] * 1,
    "backwards": lambda x: x[:, :, ::-1, 9:2:-3] * 1,
    "cut and joined": lambda x: mt.cat([x[:, :, 9:], x[:, :, :9]], 2),
    "twice": lambda x: mt.cat([x, x], 3),
    "pad": lambda x: x.pad((2, 1, 0, 3)),
    "reflected": lambda x: x.pad((2, 1, 3, 3), mode="reflect"),
    "replicated": lambda x: x.pad((2, 1, 3, 3), mode="replicate"),
    "around": lambda x: x.pad((2, 1, 3, 3), mode="circular"),
    "cropped": lambda x: x.pad((-2, 1, -3, -1)),
    "pixel shuffle": shuffle_pixels,
    "pixel unshuffle": lambda x: x.reshape(1, 2, 8, 2, 7, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 8, 8, 7) * 1,
    "branches apart": lambda x: x[:, :, 2:, :] + x[:, :, :-2, :],
    "and its mirror image": lambda x: x + x.flip(3),
    "gate of a part": lambda x: x[:, :, :, 4:] * x[:, :, :, :4].mean((2, 3), keepdim=True),
    "repeated": lambda x: x.repeat_interleave(3, dim=2),
    "tiled": lambda x: x.repeat(1, 1, 2, 3),
    "cumsum": lambda x: x.cumsum(2),
    "windows": lambda x: x.unfold(2, 3, 2).sum(-1),
    "channels by number": lambda x: x[:, [1, 0], 2:] * 1,
    "matrix product": lambda x: (x @ Tensor(np.random.default_rng(2).uniform(1, 2, (14, 5))))[:, :, :, :1] * 1,
    "summed over rows": lambda x: x.sum(2, keepdim=True) * 1,
}


@pytest.mark.parametrize("name", SINGLE)
def test_every_unit_of_every_operation(name):
    check_every_unit(SINGLE[name], (1, 2, 16, 14))


def test_places_are_those_of_the_map():
    """Where a layer exchanges the axes, a unit's row is that of its result; where channels come last, maps have no places."""

    class Turned(nn.Module):
        def forward(self, x):
            return x[:, :, ::2].mT

    field = nn.receptive_field(Turned(), (1, 12, 8))[0]
    assert (field.jump, field.axes) == ((2, 1), (3, 2))
    assert field.of(5, 1) == [(2, 3), (5, 6)]

    class Last(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    with pytest.raises(ValueError, match="have no places in the image"):
        nn.effective_receptive_field(nn.Sequential(Last()), (2, 12, 8), "0")


THEN = ["conv, no padding", "transposed, gaps", "bilinear", "bilinear, smaller", "nearest", "flip", "slice", "adaptive"]
THEN += ["avg pool, ceil", "roll", "pad"]


@pytest.mark.parametrize("first", THEN)
@pytest.mark.parametrize("second", THEN)
def test_every_unit_of_two_operations(first, second):
    check_every_unit(lambda x: SINGLE[second](SINGLE[first](x)), (1, 2, 16, 14))


def check_every_unit(function, shape):
    """What a unit sees is where its gradient is not 0: exactly, and where it begins or ends in padding, up to a gap there."""
    y, reach = follow(function, shape)
    x = Tensor(np.random.default_rng(0).uniform(1, 2, shape), requires_grad=True)
    y = function(x).sum(1)  # (1, H', W')
    for axis in (0, 1):
        others = y.sum(2 - axis)[0]  # along this axis alone
        for i in range(0, y.shape[1 + axis], max(1, y.shape[1 + axis] // 40)):
            (g,) = mt.grad(others[i], x, retain_graph=True, allow_unused=True)
            seen = np.nonzero(np.abs(g.numpy()).sum((0, 1, 3 - axis)))[0]
            low, high = field_of(reach[axis], i)
            if not seen.size:  # a unit of the padding
                continue
            n = shape[2 + axis]
            first, last = (seen[0] if low < 0 else low), (seen[-1] + 1 if high > n else high)  # dilation leaves gaps
            assert (first, last) == (seen[0], seen[-1] + 1), f"unit {i} along axis {axis}"
            assert high - low <= reach[axis].size
