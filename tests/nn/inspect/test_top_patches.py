"""The image patches with the highest activations of a unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset


def images(n, channels=1, height=9, width=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, channels, height, width)).astype(np.float32)


def brute_force(maps, unit, k):
    """(value, image, place) of the k images with the largest maxima of a unit, the first of equals."""
    rows = []
    for image in range(len(maps)):
        plane = maps[image, unit]
        place = max(np.ndindex(plane.shape), key=lambda at: plane[at])  # max takes the first of equals
        rows.append((float(plane[place]), image, place))
    return sorted(rows, key=lambda row: -row[0])[:k]  # sorted keeps the order of equals


def convolution(channels, outputs):
    return st.builds(
        lambda kernel, stride, padding, dilation: nn.Conv2d(channels, outputs, kernel, stride, padding, dilation),
        st.sampled_from([1, 2, 3, (2, 3)]),
        st.sampled_from([1, 2, (1, 2)]),
        st.integers(0, 2),
        st.integers(1, 2),
    )


@given(convolution(2, 2), convolution(2, 3), st.booleans(), st.integers(1, 7), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_against_brute_force_whatever_the_batches(first, second, pooled, k, batch_size, seed):
    net = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2, 1) if pooled else nn.Identity(), second)
    data = images(5, 2, 18, 17, seed)
    maps = net(mt.Tensor(data)).detach().numpy()
    found = nn.top_patches(net, data, "3", [2, 0], k, batch_size)
    assert list(found) == [2, 0]
    for unit, patches in found.items():
        expected = brute_force(maps, unit, k)
        np.testing.assert_allclose([patch.value for patch in patches], [row[0] for row in expected], rtol=1e-4, atol=1e-6)
        assert [(patch.image, patch.place) for patch in patches] == [row[1:] for row in expected]
        for patch in patches:
            (top, bottom), (left, right) = patch.inside
            np.testing.assert_array_equal(patch.pixels, data[patch.image, :, top:bottom, left:right])
            # The unit depends on all of the box and nothing else: the rest of the image may be anything.
            other = images(1, 2, 18, 17, seed + 1000)
            other[0, :, top:bottom, left:right] = patch.pixels
            assert net(mt.Tensor(other)).detach().numpy()[0, unit][patch.place] == pytest.approx(
                patch.value, rel=1e-4, abs=1e-5
            )


def test_without_padding_a_patch_alone_gives_the_same_number():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 2))
    for unit, patches in nn.top_patches(net, images(6), "3", k=3).items():
        for patch in patches:
            assert patch.pixels.shape == (1, 6, 6)  # 3, then 4 with the pooling, then 2 more
            alone = net(mt.Tensor(patch.pixels[None])).detach().numpy()
            assert alone.shape == (1, 2, 1, 1)
            assert alone[0, unit, 0, 0] == pytest.approx(patch.value, rel=1e-5)


def test_a_box_may_reach_beyond_the_image():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    net[0].weight.array[...] = 0
    net[0].weight.array[0, 0, 1, 1] = 1  # the pixel itself
    data = np.zeros((1, 1, 4, 5), np.float32)
    data[0, 0, 3, 0] = 2
    (patch,) = nn.top_patches(net, data, "0")[0]
    assert (patch.place, patch.box, patch.inside) == ((3, 0), ((2, 5), (-1, 2)), ((2, 4), (0, 2)))
    assert patch.pixels.tolist() == [[[0, 0], [2, 0]]]


def test_a_linear_layer_sees_the_whole_image():
    net = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    data = images(4)
    (patch, *_) = nn.top_patches(net, data, "1", 2)[2]
    scores = net(mt.Tensor(data)).detach().numpy()[:, 2]
    assert (patch.image, patch.place, patch.box) == (int(scores.argmax()), (), ((0, 9), (0, 8)))
    np.testing.assert_array_equal(patch.pixels, data[scores.argmax()])


def test_units_may_be_a_range_or_what_argsort_gives():
    net, data = nn.Sequential(nn.Identity()), np.random.default_rng(0).standard_normal((2, 4, 3, 3)).astype(np.float32)
    order = np.argsort(-data.max((0, 2, 3)))[:2]
    assert list(nn.top_patches(net, data, "0", range(1, 3))) == [1, 2]
    assert list(nn.top_patches(net, data, "0", order)) == order.tolist()


def test_equal_ones_come_in_the_order_of_the_images_also_over_batches():
    data = np.ones((7, 1, 3, 3), np.float32)
    data[5] = 2
    for batch_size in (1, 2, 3, 7):
        patches = nn.top_patches(nn.Sequential(nn.Identity()), data, "0", k=4, batch_size=batch_size)[0]
        assert [patch.image for patch in patches] == [5, 0, 1, 2]
        assert all(patch.place == (0, 0) for patch in patches)


def test_batches_with_labels_are_streamed_and_what_comes_after_the_layer_is_not_computed():
    head = nn.Identity()
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.9), head)
    data = images(10)
    expected = nn.top_patches(net, data, "0", k=2)
    loader = DataLoader(TensorDataset(data, np.arange(10)), batch_size=3)
    seen = []

    def batches():
        for batch in loader:
            seen.append(len(batch[0]))
            yield batch

    before = head.forward
    try:
        calls = []
        head.forward = lambda x: calls.append(0) or before(x)
        found = nn.top_patches(net, batches(), "0", k=2)
    finally:
        del head.forward
    assert len(calls) == 1  # the receptive field is found by one pass of its own, on zeros
    assert seen == [3, 3, 3, 1]
    assert net.training
    assert not any(module._hooks for module in net.modules())
    for unit in (0, 1):
        assert [patch[:4] for patch in found[unit]] == [patch[:4] for patch in expected[unit]]


def test_what_is_kept_is_the_patches_alone():
    patches = nn.top_patches(nn.Sequential(nn.Conv2d(1, 1, 3)), images(5), "0", k=2)[0]
    assert all(patch.pixels.base is None for patch in patches)  # no view that keeps a batch alive


class Twice(nn.Module):
    def __init__(self):
        self.relu, self.idle = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(x) - 1)


def nan():
    data = images(3)
    data[2, 0, 1, 1] = np.nan
    return data


NET = nn.Sequential(nn.Conv2d(1, 2, 3))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.top_patches(None, images(1), "0"), TypeError, "top_patches: expected a Module, got NoneType"),
        (lambda: nn.top_patches(NET, images(1), 0), TypeError, 'by its dotted name, such as "features.0", got 0'),
        (lambda: nn.top_patches(NET, images(1), "1"), ValueError, "Sequential has no layer '1'; there is 0"),
        (lambda: nn.top_patches(NET, images(1), "0", 2), ValueError, "layer '0' has the units 0 to 1, got 2"),
        (lambda: nn.top_patches(NET, images(1), "0", "a"), TypeError, "units must be integers, got 'a'"),
        (lambda: nn.top_patches(NET, images(1), "0", k=0), ValueError, "k must be at least 1, got 0"),
        (lambda: nn.top_patches(NET, images(1), "0", batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda: nn.top_patches(NET, images(1)[0], "0"), ValueError, r"a batch must be images \(n, C, H, W\), got shape"),
        (lambda: nn.top_patches(NET, images(0), "0"), ValueError, "there are no images"),
        (lambda: nn.top_patches(NET, [], "0"), ValueError, "there are no images"),
        (lambda: nn.top_patches(NET, 3, "0"), TypeError, "or batches of them, got int"),
        (
            lambda: nn.top_patches(NET, [3], "0"),
            TypeError,
            "it gave int; a data set of single samples becomes batches in a Data",
        ),
        (lambda: nn.top_patches(NET, np.zeros((1, 1, 4, 4), int), "0"), TypeError, "floating-point images .* it gave int64"),
        (
            lambda: nn.top_patches(NET, TensorDataset(images(2), np.arange(2)), "0"),
            ValueError,
            r"got shape \(1, 9, 8\); a data set of single samples becomes batches in a DataLoader",
        ),
        (
            lambda: nn.top_patches(NET, [mt.Tensor(images(1)), mt.Tensor(images(1, height=10))], "0"),
            ValueError,
            r"one size: the first are \(1, 9, 8\), then came \(1, 10, 8\)",
        ),
        (lambda: nn.top_patches(Twice(), images(1), "relu"), ValueError, "Twice calls its layer 'relu' 2 times"),
        (lambda: nn.top_patches(Twice(), images(1), "idle"), ValueError, "Twice does not call its layer 'idle'"),
        (lambda: nn.top_patches(NET, nan(), "0"), ValueError, "unit 0 is nan for image 2; did the training diverge?"),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
