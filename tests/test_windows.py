"""The geometry of windows: sizes, adjoints, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor
from microtensor.nn.windows import Window, fold, pair, unfold
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
    with pytest.raises(TypeError, match=r"conv2d: stride must be a whole number or two of them \(height, width\), got 1.5"):
        pair("conv2d", "stride", 1.5, 1)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        pair("conv2d", "stride", 0, 1)
    with pytest.raises(TypeError, match=r"\(1, 2, 3\)"):
        pair("conv2d", "stride", (1, 2, 3), 1)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"unfold: expected x of 4 axes.*x.unsqueeze\(0\)"):
        unfold(Tensor(np.ones((1, 3, 3))), 2)
    with pytest.raises(ValueError, match=r"unfold: kernel \(4, 4\).*covers \(4, 4\) pixels, more than the image \(3, 3\)"):
        unfold(Tensor(np.ones((1, 1, 3, 3))), 4)
    with pytest.raises(ValueError, match=r"fold: expected x \(N, C · 4, 4\)"):
        fold(Tensor(np.ones((1, 4, 5))), 3, 2)
