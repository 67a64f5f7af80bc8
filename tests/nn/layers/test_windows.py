"""The geometry of windows: sizes, adjoints, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, nn
from microtensor.nn.layers.windows import Window, fold, pair, per_axis, unfold
from microtensor.testing import geometries


@given(geometries())
def test_output_size_counts_the_places(g):
    window = Window.of("", g.kernel, g.stride, g.padding, g.dilation)
    for n, k, s, p, d, places in zip(g.size, g.kernel, g.stride, g.padding, g.dilation, window.places("", g.size)):
        starts = range(-p, n + p, s)
        assert places == sum(start + d * (k - 1) < n + p for start in starts)


def test_the_lectures_sizes():
    window = Window.of("", 3, 2, 1)
    assert window.places("", (5, 5)) == (3, 3)
    assert window.places("", (3, 3)) == (2, 2)
    assert window.places("", (6, 6)) == (3, 3)  # a floor: the slide's ceiling would give 4


@given(geometries())
def test_the_smallest_image_with_so_many_places(g):
    window = Window.of("", g.kernel, g.stride, g.padding, g.dilation)
    places = window.places("", g.size)
    height, width = window.covered(places)
    assert all(least <= n < least + s for least, n, s in zip((height, width), g.size, g.stride))
    if height + 2 * g.padding[0] > 0 < width + 2 * g.padding[1]:
        assert window.places("", (height, width)) == places


@given(geometries())
def test_a_window_that_keeps_the_size(g):
    window = Window.of("", g.kernel, g.stride, 0, g.dilation).keeping(g.size)
    assert window.places("", g.size) == tuple(-(-n // s) for n, s in zip(g.size, g.stride))
    assert all(after - before in (0, 1) for before, after in window.padding)


def test_a_window_along_a_sequence_has_height_1():
    window = Window.of("conv1d", 3, 2, 1, (4,), axes=1)
    assert window == Window((1, 3), (1, 2), ((0, 0), (1, 1)), (1, 4))
    with pytest.raises(ValueError, match=r"conv1d: kernel \(3,\) .* covers \(9,\) elements, more than the sequence \(6,\)"):
        window.check("conv1d", (6,))


@given(geometries(), st.integers(0, 999))
def test_layers_of_unfold_and_fold_are_pytorchs(g, seed):
    torch = pytest.importorskip("torch")
    settings = {"kernel_size": g.kernel, "dilation": g.dilation, "padding": g.padding, "stride": g.stride}
    x = np.random.default_rng(seed).standard_normal((g.images, g.channels, *g.size))
    ours, theirs = (library.Unfold(**settings) for library in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    columns = ours(Tensor(x))
    np.testing.assert_array_equal(columns.numpy(), theirs(torch.tensor(x)).numpy())
    ours, theirs = (library.Fold(g.size, **settings) for library in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    np.testing.assert_allclose(ours(columns).numpy(), theirs(torch.tensor(columns.numpy())).numpy(), rtol=1e-12)


@given(geometries(), st.integers(0, 999))
def test_fold_is_the_adjoint_of_unfold(g, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((g.images, g.channels, *g.size))
    settings = {"kernel_size": g.kernel, "dilation": g.dilation, "padding": g.padding, "stride": g.stride}
    columns = unfold(Tensor(x), **settings).numpy()
    v = rng.standard_normal(columns.shape)
    back = fold(Tensor(v), g.size, **settings).numpy()
    np.testing.assert_allclose((columns * v).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)


def test_wrong_settings_are_refused():
    with pytest.raises(TypeError, match=r"conv2d: stride must be an integer or two of them \(height, width\), got 1.5"):
        pair("conv2d", "stride", 1.5, 1)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        pair("conv2d", "stride", 0, 1)
    with pytest.raises(TypeError, match=r"\(1, 2, 3\)"):
        pair("conv2d", "stride", (1, 2, 3), 1)
    with pytest.raises(TypeError, match="stride must be .*, got True"):
        pair("conv2d", "stride", True, 1)
    with pytest.raises(TypeError, match=r"conv1d: stride must be an integer, got \(1, 2\)"):
        per_axis("conv1d", "stride", (1, 2), 1, 1)
    with pytest.raises(TypeError, match="Unfold: kernel_size must be an integer or two"):
        nn.Unfold("3")
    with pytest.raises(ValueError, match="Unfold: dilation must be at least 1, got 0"):
        nn.Unfold(3, dilation=0)
    with pytest.raises(ValueError, match=r"Fold: kernel \(3, 3\).* more than the image \(2, 5\)"):
        nn.Fold((2, 5), 3)
    with pytest.raises(ValueError, match="Fold: output_size must be at least 1"):
        nn.Fold(0, 3)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"unfold: expected x of 4 axes.*x.unsqueeze\(0\)"):
        unfold(Tensor(np.ones((1, 3, 3))), 2)
    with pytest.raises(ValueError, match=r"unfold: kernel \(4, 4\).*covers \(4, 4\) pixels, more than the image \(3, 3\)"):
        unfold(Tensor(np.ones((1, 1, 3, 3))), 4)
    with pytest.raises(ValueError, match=r"fold: expected x \(N, C · 4, 4\)"):
        fold(Tensor(np.ones((1, 4, 5))), 3, 2)
    with pytest.raises(TypeError, match="fold: expected x as a Tensor, got ndarray; wrap it"):
        fold(np.ones((1, 4, 4)), 3, 2)
