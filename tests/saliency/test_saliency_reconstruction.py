"""Reconstruction of the pattern that activated a unit: deconvolution with switches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor import nn, saliency


def images(n, channels=1, side=9, seed=0, dtype=np.float64):
    return mt.Tensor(np.random.default_rng(seed).standard_normal((n, channels, side, side)).astype(dtype))


def randomly(net, seed=0):
    rng = np.random.default_rng(seed)
    for parameter in net.parameters():
        parameter.array[...] = mt.Tensor(rng.standard_normal(parameter.shape), dtype=parameter.dtype).array
    return net


@given(st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), st.integers(1, 2), st.sampled_from([1, 2]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_of_a_linear_network_it_is_the_unit_s_filter_times_its_activation(kernel, stride, padding, dilation, groups, seed):
    """Computed without gradients or transposed convolutions, from the responses to single pixels."""
    first = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups)
    net = randomly(nn.Sequential(first, nn.AvgPool2d(2, 1), nn.Conv2d(4, 3, 2)).double(), seed)
    x = images(2, 2, 9, seed)
    found = saliency.reconstruct(net, x, "2", [2, 0]).numpy()
    pixels = np.eye(2 * 81).reshape(-1, 2, 9, 9)
    filters = (net(mt.Tensor(pixels)) - net(mt.Tensor(pixels[:1] * 0))).detach().numpy()  # (pixels, 3, H', W')
    maps = net(x).detach().numpy()
    for i, unit in enumerate([2, 0]):
        row, column = np.unravel_index(maps[i, unit].argmax(), maps.shape[2:])
        expected = maps[i, unit, row, column] * filters[:, unit, row, column].reshape(2, 9, 9)
        np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-9)


def lenet_like():
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1)]
    return randomly(nn.Sequential(*layers).double())


def deconvolved(net, x, unit):
    """The paper's deconvnet, layer by layer: unpool through the switches, rectify, filter with the transposed kernels."""
    convolved = net[1](net[0](x))
    pooled, switches = nn.max_pool2d(convolved, 2, return_indices=True)
    features = net[4](net[3](pooled))
    top, above = nn.max_pool2d(features, 2, 1, return_indices=True)
    place = np.unravel_index(int(top[0, unit].argmax().item()), top.shape[2:])
    row, column = divmod(int(above[0, unit][place].item()), features.shape[3])  # the switch of one pooling window
    g = np.zeros(features.shape)
    g[0, unit, row, column] = top[0, unit][place].item()
    g = nn.conv_transpose2d(mt.Tensor(g).relu(), net[3].weight)
    g = nn.max_unpool2d(g, switches, 2, output_size=convolved.shape[2:])
    return nn.conv_transpose2d(g.relu(), net[0].weight, padding=1).detach()


@pytest.mark.parametrize("unit", range(4))
@pytest.mark.parametrize("seed", range(3))
def test_against_the_paper_s_deconvnet_layer_by_layer(unit, seed):
    net, x = lenet_like(), images(1, side=8, seed=seed)
    found = saliency.reconstruct(net, x, "5", unit)
    expected = deconvolved(net, x, unit)
    assert np.abs(expected.numpy()).max() > 0.1
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)
    assert not found.requires_grad
    with_gradient = mt.Tensor(x.array.copy(), requires_grad=True)
    net(with_gradient)[0, unit].max().backward()
    assert np.abs(found.numpy() - with_gradient.grad.numpy()).max() > 0.1  # it is not the gradient


def test_a_place_may_be_named_and_nothing_beyond_its_field_is_drawn():
    net, x = lenet_like(), images(2, side=8)
    patches = nn.top_patches(net, x, "5", 1, k=2)[1]
    for patch in patches:
        pixels = saliency.reconstruct(net, x[patch.image], "5", 1, patch.place).numpy()
        strongest = saliency.reconstruct(net, x[patch.image], "5", 1).numpy()
        np.testing.assert_array_equal(pixels, strongest)
        (top, bottom), (left, right) = patch.inside
        inside = pixels[:, top:bottom, left:right].copy()
        pixels[:, top:bottom, left:right] = 0
        assert not pixels.any()
        assert inside.any()
    several = saliency.reconstruct(net, x, "5", [0, 1], [(0, 0), (1, 1)]).numpy()
    for i, (unit, place) in enumerate([(0, (0, 0)), (1, (1, 1))]):
        np.testing.assert_allclose(several[i], saliency.reconstruct(net, x[i], "5", unit, place).numpy())
    assert saliency.reconstruct(net, x[0], "5", 1).shape == (1, 8, 8)


def test_a_normalisation_of_responses_is_passed_unchanged():
    plain = randomly(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Identity(), nn.Conv2d(4, 2, 3)).double())
    normed = nn.Sequential(plain[0], plain[1], nn.LocalResponseNorm(3, alpha=0.5, k=2.0), plain[3])
    x = images(1)
    value = nn.activations(normed, x, "3")["3"].numpy()[0, 0, 2, 3]
    other = nn.activations(plain, x, "3")["3"].numpy()[0, 0, 2, 3]
    assert abs(value - other) > 0.01
    found = saliency.reconstruct(normed, x, "3", 0, (2, 3)).numpy() / value
    np.testing.assert_allclose(found, saliency.reconstruct(plain, x, "3", 0, (2, 3)).numpy() / other, rtol=1e-9)


def test_the_model_is_afterwards_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LocalResponseNorm(2), nn.ReLU(), nn.Dropout(0.5))
    x = images(2, dtype=np.float32)
    found = saliency.reconstruct(net, x, "4", 0)
    assert found.dtype == np.float32
    assert net.training
    assert not any(module._hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    y = x.clone().requires_grad_()
    y.relu().sum().backward(mt.Tensor(np.array(-1.0, np.float32)))
    assert y.grad.numpy().min() == -1  # the rule for ReLUs ended with the call


def test_patches_are_reconstructed_and_cut_like_the_patches():
    net, x = lenet_like(), images(5, side=8)
    for layer in ("5", "0"):
        found = nn.top_patches(net, x, layer, [0, 2], k=3)
        cut = saliency.reconstruct_patches(net, x, layer, found)
        labelled = saliency.reconstruct_patches(net, [(x[i], i) for i in range(5)], layer, found)
        for unit, patches in found.items():
            for patch, pixels, same in zip(patches, cut[unit], labelled[unit], strict=True):
                (top, bottom), (left, right) = patch.inside
                whole = saliency.reconstruct(net, x[patch.image], layer, unit, patch.place).numpy()
                np.testing.assert_allclose(pixels, whole[:, top:bottom, left:right])
                np.testing.assert_array_equal(pixels, same)
                assert pixels.shape == patch.pixels.shape


def test_a_patch_is_reconstructed_from_its_own_place():
    net, x = lenet_like(), images(1, side=8)
    (patch,) = nn.top_patches(net, x, "5", 1)[1]
    elsewhere = next(place for place in [(0, 0), (1, 1)] if place != patch.place)
    moved = patch._replace(place=elsewhere, box=((0, 8), (0, 8)), pixels=x.numpy()[0])
    (found,) = saliency.reconstruct_patches(net, x, "5", {1: [moved]})[1]
    np.testing.assert_array_equal(found, saliency.reconstruct(net, x[0], "5", 1, elsewhere).numpy())
    assert np.abs(found - saliency.reconstruct(net, x[0], "5", 1).numpy()).max() > 0.1


def test_a_linear_layer_has_units_without_a_place():
    net = randomly(nn.Sequential(nn.Flatten(), nn.Linear(81, 3)).double())
    x = images(2)
    found = saliency.reconstruct(net, x, "1", 2).numpy()
    scores = net(x).detach().numpy()[:, 2]
    np.testing.assert_allclose(found.reshape(2, 81), scores[:, None] * net[1].weight.numpy()[2], rtol=1e-9)
    patches = nn.top_patches(net, x, "1", 2)
    np.testing.assert_allclose(saliency.reconstruct_patches(net, x, "1", patches)[2][0], found[scores.argmax()])


class Deaf(nn.Module):
    def __init__(self):
        self.layer, self.idle = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.layer(x.detach())


X = np.zeros((2, 1, 9, 9), np.float32)
NET = nn.Sequential(nn.Conv2d(1, 2, 3))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: saliency.reconstruct(lambda x: x, X, "0", 0), TypeError, "reconstruct: expected a Module, got function"),
        (lambda: saliency.reconstruct(NET, [1.0], "0", 0), TypeError, "x must be a Tensor or an array of images"),
        (lambda: saliency.reconstruct(NET, X[0, 0], "0", 0), ValueError, r"got shape \(9, 9\)"),
        (lambda: saliency.reconstruct(NET, X.astype(int), "0", 0), TypeError, "x must be floating point"),
        (lambda: saliency.reconstruct(NET, X, "7", 0), ValueError, "has no layer '7'; there is 0"),
        (lambda: saliency.reconstruct(NET, X, "0", 2), ValueError, "has the units 0 to 1, got 2"),
        (lambda: saliency.reconstruct(NET, X, "0", 0.5), TypeError, "unit must be integers, got 0.5"),
        (lambda: saliency.reconstruct(NET, X, "0", [0, 1, 0]), ValueError, "one for each of 2 images, got 3"),
        (
            lambda: saliency.reconstruct(NET, X, "0", 0, 3),
            TypeError,
            r"place must be \(row, column\), or one for each image, got 3",
        ),
        (lambda: saliency.reconstruct(NET, X, "0", 0, (0, 7)), ValueError, r"maps \(7, 7\), a place does not fit: \(0, 7\)"),
        (lambda: saliency.reconstruct(NET, X, "0", 0, [(0, 0)]), ValueError, "for 2 images"),
        (
            lambda: saliency.reconstruct(Deaf(), X, "layer", 0),
            ValueError,
            "the output of the layer 'layer' does not depend on x",
        ),
        (lambda: saliency.reconstruct(Deaf(), X, "idle", 0), ValueError, "does not call its layer 'idle'"),
        (lambda: saliency.reconstruct_patches(NET, X, "0", []), TypeError, "a dict, got list"),
        (
            lambda: saliency.reconstruct_patches(NET, X, "0", {0: [1]}),
            TypeError,
            r"unit 0 must have a list of patches, got \[1\]",
        ),
        (
            lambda: saliency.reconstruct_patches(NET, X[:1], "0", nn.top_patches(NET, X, "0", 0)),
            ValueError,
            "there is no image 1 in ndarray",
        ),
        (
            lambda: saliency.reconstruct_patches(NET, X + 1, "0", nn.top_patches(NET, X, "0", 0)),
            ValueError,
            "image 0 is not the one that the patch comes from",
        ),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
