"""Receptive fields of whole models: published numbers, and comparison with gradients."""

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor.models.lenet import lenet5
from microtensor.nn.containers import Concat, Residual, Sequential
from microtensor.nn.inspect.receptive_field import receptive_field
from microtensor.nn.layers.activation import ReLU
from microtensor.nn.layers.batch_norm import BatchNorm2d
from microtensor.nn.layers.conv import Conv1d, Conv2d
from microtensor.nn.layers.linear import Flatten, Identity, Linear
from microtensor.nn.layers.pool import AvgPool2d, MaxPool2d


def sizes(model, shape):
    return [row.size for row in receptive_field(model, shape) if row.type.startswith(("Conv", "Max"))]


def test_lenet():
    assert sizes(lenet5(), (1, 28, 28)) == [(5, 5), (6, 6), (14, 14), (16, 16)]


def test_alexnet_convolutions():
    """11, 51, 99, 131, 163; pool5 195: Krizhevsky et al. 2012, figure 2."""
    layers = [Conv2d(3, 4, 11, 4, 2), MaxPool2d(3, 2), Conv2d(4, 4, 5, padding=2), MaxPool2d(3, 2)]
    layers += [Conv2d(4, 4, 3, padding=1), Conv2d(4, 4, 3, padding=1), Conv2d(4, 4, 3, padding=1), MaxPool2d(3, 2)]
    assert [size for size, _ in sizes(Sequential(*layers), (3, 224, 224))] == [11, 19, 51, 67, 99, 131, 163, 195]


def test_vgg16():
    layers, channels = [], 3
    for count in (2, 2, 3, 3, 3):
        layers += [Conv2d(channels if i == 0 else 2, 2, 3, padding=1) for i in range(count)] + [MaxPool2d(2, 2)]
        channels = 2
    found = receptive_field(Sequential(*layers), (3, 224, 224))
    assert [found[name].size[0] for name in ("16", "17")] == [196, 212]
    assert found["17"].jump == (32, 32)
    assert found["17"].output_shape == (2, 7, 7)


def test_residual_network():
    """ResNet-18: 435 at the last block. He et al. 2015, table 1."""

    def block(c, d, stride):
        around = Sequential(Conv2d(c, d, 1, stride), BatchNorm2d(d)) if stride > 1 else Identity()
        body = Sequential(Conv2d(c, d, 3, stride, 1), BatchNorm2d(d), ReLU(), Conv2d(d, d, 3, 1, 1), BatchNorm2d(d))
        return Residual(body, around)

    net = Sequential(Conv2d(3, 2, 7, 2, 3), MaxPool2d(3, 2, 1), *[block(2, 2, 2 if i in (2, 4, 6) else 1) for i in range(8)])
    found = receptive_field(net, (3, 224, 224))
    assert found["9"].size == (435, 435)
    assert found["9"].jump == (32, 32)


def test_sequences_and_dilation():
    plain = Sequential(*[Conv1d(1, 1, 3) for _ in range(4)])
    dilated = Sequential(*[Conv1d(1, 1, 3, dilation=d) for d in (1, 2, 4, 8)])
    assert sizes(plain, (1, 64)) == [(3,), (5,), (7,), (9,)]
    assert sizes(dilated, (1, 64)) == [(3,), (7,), (15,), (31,)]


def test_branches_see_the_largest():
    net = Sequential(Concat(Conv2d(1, 1, 1), Conv2d(1, 1, 3, padding=1), Conv2d(1, 1, (1, 7), padding=(0, 3))))
    row = receptive_field(net, (1, 9, 9))["0"]
    assert (row.size, row.jump, row.center) == ((3, 7), (1, 1), (0.5, 0.5))


def test_what_a_unit_sees():
    net = Sequential(Conv2d(1, 1, 3, 2, 1), Conv2d(1, 1, 3, 2, 1), Flatten(), Linear(4, 2))
    found = receptive_field(net, (1, 5, 5))
    assert (found["0"].size, found["0"].jump, found["0"].center) == ((3, 3), (2, 2), (0.5, 0.5))
    assert (found["1"].size, found["1"].jump, found["1"].center) == ((7, 7), (4, 4), (0.5, 0.5))
    assert found["0"].of(0, 2) == [(-1, 2), (3, 6)]
    assert found["3"].of(0, 0) == [(-3, 8), (-3, 8)]
    assert found[0].name == ""
    assert len(found) == 5
    with pytest.raises(ValueError, match=r"receptive_field: 0 has 2 axes of the input, got unit \(1,\)"):
        found["0"].of(1)
    with pytest.raises(KeyError, match="receptive_field: no module 'conv' among 0, 1, 2, 3"):
        found["conv"]


def test_without_an_image_nothing_is_seen_in_part():
    row = receptive_field(Linear(3, 2), (3,))[0]
    assert row.size == row.jump == row.center == ()
    assert "Linear" in repr(receptive_field(Linear(3, 2), (3,)))


# The proof: a unit's field is where its gradient is


def positive(layer, draw):
    """Positive weights, so that paths do not cancel."""
    for p in layer.parameters():
        numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).uniform(0.5, 1, p.shape)
        p.array[...] = mt.Tensor(numbers).array if p.ndim > 1 else 0
    return layer


@st.composite
def convolutions(draw, channels, size=None, keep=False):
    """A convolution; with `keep`, one whose result is as large as its input."""
    k = draw(st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3])) if keep else st.tuples(*[st.integers(1, 4)] * 2))
    d = draw(st.integers(1, 2))
    reach = [d * (n - 1) + 1 for n in k]
    padding = [n // 2 for n in reach] if keep else [draw(st.integers(0, n // 2)) for n in reach]
    stride = 1 if keep else draw(st.sampled_from([1, 1, 2, 3]))
    groups = draw(st.sampled_from([1, channels]))
    return positive(Conv2d(channels, channels, k, stride, tuple(padding), d, groups), draw)


@st.composite
def steps(draw):
    """A layer, or branches of layers, from 2 channels to 2."""
    kind = draw(st.sampled_from(["conv", "conv", "max", "mean", "residual", "concat", "rectified"]))
    if kind == "conv":
        return draw(convolutions(2))
    if kind in ("max", "mean"):
        k = draw(st.integers(1, 3))
        return (MaxPool2d if kind == "max" else AvgPool2d)(k, draw(st.integers(1, 3)), draw(st.integers(0, k // 2)))
    if kind == "residual":
        return Residual(draw(convolutions(2, keep=True)), draw(st.one_of(st.none(), convolutions(2, keep=True))))
    if kind == "concat":
        branches = draw(st.lists(convolutions(2, keep=True), min_size=2, max_size=3))
        joined = Concat(Identity(), *branches, MaxPool2d(3, 1, 1))
        return Sequential(joined, positive(Conv2d(2 * (len(branches) + 2), 2, 1), draw))
    return Sequential(draw(convolutions(2)), BatchNorm2d(2), ReLU())


def region(model, shape, unit):
    """The pixels at which d unit / d pixel is not 0, (H, W).

    Each is looked at in an image of its own, bright at this pixel and dark elsewhere: a maximum of numbers of which some depend
    on the pixel is then one of these, and hands its gradient on to it.
    """
    channels, height, width = shape
    pixels = np.arange(height * width)
    images = np.zeros((len(pixels), channels, height * width), np.float32)
    images[pixels, :, pixels] = 1
    x = mt.Tensor(images.reshape(-1, *shape), requires_grad=True)
    with model.evaluating():
        (g,) = mt.grad(model(x)[:, :, unit[0], unit[1]].sum(), x)
    own = g.numpy().reshape(images.shape)[pixels, :, pixels]
    return (own != 0).any(1).reshape(height, width)


def bounds(seen):
    """(first, last + 1) along each axis."""
    return [(int(at.min()), int(at.max()) + 1) for at in np.nonzero(seen)]


@settings(max_examples=60)
@given(st.lists(steps(), min_size=1, max_size=4), st.data())
def test_the_gradient_of_a_unit_is_not_zero_in_its_field_and_nowhere_else(layers, data):
    """Its bounds are the field's wherever no layer's padding is in it, and nothing outside of the field is ever seen. Without
    dilation, where windows leave no gaps, every single pixel of the field is seen, at the image's border too."""
    model = Sequential(*layers)
    large = receptive_field(model, (2, 400, 400))
    size, jump = large[0].size, large[0].jump
    sides = [int(s) + 2 * data.draw(st.integers(0, 2)) * int(j) for s, j in zip(size, jump)]
    assume(max(sides) <= 30)
    try:
        fields = receptive_field(model, (2, *sides))
    except ValueError:  # a window does not fit
        assume(False)
    field = fields[0]
    assert (field.size, field.output_shape[0]) == (size, 2)
    places = field.output_shape[1:]
    random = tuple(data.draw(st.integers(0, n - 1)) for n in places)
    for unit in {tuple(n // 2 for n in places), random}:
        seen = region(model, (2, *sides), unit)
        box = field.of(*unit)
        inside = [(int(max(0, low)), int(min(n, high))) for (low, high), n in zip(box, sides)]
        for (low, high), (first, last) in zip(inside, bounds(seen) if seen.any() else inside):
            assert low <= first <= last <= high
        event("in the padding" if not padded_nowhere(fields, box, sides) else "inside")
        if padded_nowhere(fields, box, sides):
            assert bounds(seen) == box
        if all(gapless(module) for module in model.modules()) and covering(fields, sides):
            rows, columns = (slice(*span) for span in inside)
            assert seen[rows, columns].all()
            event("every pixel")


def padded_nowhere(fields, box, sides):
    """Whether the unit sees no padding: neither of the image nor of any layer's input, whose units −1 and n are padding."""
    for axis, ((low, high), n) in enumerate(zip(box, sides)):
        if low < 0 or high > n:
            return False
        for row in fields:
            before, after = [0, 0], [0, 0]
            before[axis], after[axis] = -1, row.output_shape[1 + axis]
            if low <= row.of(*before)[axis][0] or high >= row.of(*after)[axis][1]:
                return False
    return True


def gapless(module):
    """Whether its windows leave nothing out: no dilation, no stride longer than the kernel; and whether they are boxes."""
    if isinstance(module, (Residual, Concat)):
        return False  # the union of two boxes is none
    if not isinstance(module, (Conv2d, MaxPool2d, AvgPool2d)):
        return True
    kernel, stride, dilation = (getattr(module, name, 1) for name in ("kernel_size", "stride", "dilation"))
    kernel, stride, dilation = ((n, n) if isinstance(n, int) else n for n in (kernel, stride, dilation))
    return max(dilation) == 1 and all(s <= k for s, k in zip(stride, kernel))


def covering(fields, sides):
    """Whether the units of every layer together see the whole image: no rest on the right, as a floor leaves it."""
    ends = [row.of(*(n - 1 for n in row.output_shape[1:])) for row in fields]
    return all(high >= n for row in ends for (_, high), n in zip(row, sides))


def test_the_proof_fails_for_a_wrong_field():
    """A field that is one pixel too large, too small or shifted is detected."""
    model = Sequential(Conv2d(2, 2, 3, padding=1), MaxPool2d(2), Conv2d(2, 2, 3))
    for p in model.parameters():
        p.array[...] = 0.5 if p.ndim > 1 else 0
    row = receptive_field(model, (2, 20, 20))[0]
    seen = bounds(region(model, (2, 20, 20), (3, 3)))
    assert seen == row.of(3, 3)
    for wrong in (row._replace(size=(7, 8)), row._replace(center=(3.5, 4)), row._replace(jump=(2, 1))):
        assert seen != wrong.of(3, 3)


def test_a_single_place_stays_one():
    """A 1-D convolution adds an axis of length 1 and removes it."""
    row = receptive_field(Sequential(Conv1d(1, 2, 3), Conv1d(2, 2, 3)), (1, 5))[0]
    assert (row.output_shape, row.size, row.jump, row.center) == ((2, 1), (5,), (1,), (2.5,))
    row = receptive_field(Sequential(Conv2d(1, 2, 3), Flatten()), (1, 3, 3))[0]
    assert (row.output_shape, row.size, row.jump) == ((2,), (3, 3), (None, None))


# An operation of the user's own


def layer(operation, **settings):
    """A module that applies an operation."""

    class Applied(mt.nn.Module):
        def forward(self, x):
            return operation(x, **settings)

    return Applied()


def rule_called(name):
    def rule(x, *, window=3, dim=None, keepdim=False, pairs=None, dims=None, down=None, across=None, index=None):
        return x.array * 0.5, (lambda g: g * 0.5,)

    rule.__name__ = name
    return rule


NAMES = ["half", "mean", "sum", "_conv2d", "_to_input", "_unfold", "_fold", "_pad", "_cat", "permute", "reshape", "getitem"]
NAMES += ["_resample", "_gather_argmax", "_linear", "_matmul", "_embedding", "broadcast_to", "softmax", "relu", "_max_pool2d"]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_operation_looks_at_does_not_depend_on_what_it_is_called(name):
    before = Conv2d(1, 1, 3, padding=1)
    silent = Sequential(before, layer(mt.op(rule_called(name))), Conv2d(1, 1, 3))
    found = receptive_field(silent, (1, 9, 9))
    assert [found[i].size for i in ("0", "1", "2", "")] == [(3, 3), None, None, None]
    assert found["2"].unknown == found["1"].unknown == name.lstrip("_")
    assert "unknown" in repr(found)
    assert f"`{name.lstrip('_')}` does not declare its receptive field" in repr(found)
    with pytest.raises(ValueError, match=r"unknown.*receptive_field=\.\.\."):
        found["1"].of(0, 0)
    rows = {row.name: row for row in mt.nn.summary(silent, (1, 9, 9)).rows}
    assert (rows["1"].receptive_field, rows["1"].jump, rows["1"].sees_all) == (None, None, False)
    assert rows["1"].multiply_adds == 0
    assert rows["1"].activation_bytes == 9 * 9 * 4  # it does depend on the input
    assert "does not declare its receptive field" in repr(mt.nn.summary(silent, (1, 9, 9)))

    elementwise = Sequential(before, layer(mt.op(elementwise=True)(rule_called(name))), Conv2d(1, 1, 3))
    found = receptive_field(elementwise, (1, 9, 9))
    assert [(row.size, row.jump, row.unknown) for row in found] == [
        ((5, 5), (1, 1), ""), ((3, 3), (1, 1), ""), ((3, 3), (1, 1), ""), ((5, 5), (1, 1), ""),
    ]  # fmt: skip


@pytest.mark.parametrize("window", [3, (3, 5), None, "wide"])
def test_a_setting_called_window_means_nothing(window):
    model = Sequential(Conv2d(1, 1, 3), layer(mt.op(rule_called("smooth")), window=window))
    assert receptive_field(model, (1, 9, 9))["1"].unknown == "smooth"
    assert mt.nn.summary(model, (1, 9, 9)).rows[-1].unknown == "smooth"


def test_an_operation_says_by_which_window_it_looks():
    """A user's own operation, compared with the layer of the library that computes the same."""

    @mt.op(receptive_field=lambda window: (window, 2, window // 2))
    def smooth(x, *, window=3):
        with mt.no_grad():
            y = mt.nn.avg_pool2d(mt.Tensor(x.array), window, 2, window // 2)
        return y.array, (None,)

    def fields(second):
        model = Sequential(Conv2d(1, 1, 3, stride=2), second, Conv2d(1, 1, 3))
        return [(row.size, row.jump, row.center) for row in receptive_field(model, (1, 33, 33))]

    assert fields(layer(smooth, window=5)) == fields(AvgPool2d(5, 2, 2))
    assert fields(layer(smooth)) == fields(AvgPool2d(3, 2, 1))


def test_a_window_may_differ_from_axis_to_axis():
    @mt.op(receptive_field=lambda: ((3, 1), (2, 1), (1, 0)))
    def rows(x):
        return x.array[:, :, ::2], (None,)

    expected = receptive_field(Sequential(MaxPool2d((3, 1), (2, 1), (1, 0))), (1, 9, 9))[0]
    found = receptive_field(Sequential(layer(rows)), (1, 9, 9))[0]
    assert (found.size, found.jump, found.center) == (expected.size, expected.jump, expected.center)


@pytest.mark.parametrize("said", [3, (3, 1), (0, 1, 0), (3, 0, 1), None])
def test_what_says_no_window_is_refused_in_words(said):
    @mt.op(receptive_field=lambda: said)
    def smooth(x):
        return x.array, (None,)

    with pytest.raises(ValueError, match="smooth: its receptive_field"):
        receptive_field(Sequential(layer(smooth)), (1, 9, 9))


def test_a_window_whose_result_is_no_image_is_refused_in_words():
    @mt.op(receptive_field=lambda: (3, 1, 0))
    def smooth(x):
        return x.array.sum(3), (None,)

    with pytest.raises(ValueError, match="smooth: receptive_field is for windows"):
        receptive_field(Sequential(layer(smooth)), (1, 9, 9))


def test_what_op_is_to_know_must_be_a_function():
    with pytest.raises(TypeError, match="op: receptive_field must be a function or None, got 3"):
        mt.op(receptive_field=3)
    with pytest.raises(TypeError, match="op: multiply_adds must be a function or None, got 9"):
        mt.op(multiply_adds=9)
