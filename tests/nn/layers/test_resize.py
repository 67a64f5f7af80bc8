"""Interpolation: PyTorch's coordinates, properties of the modes, dtypes, layers, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, nn


def ramp(*size):
    return np.arange(np.prod(size), dtype=np.float32).reshape(1, 1, *size)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_the_nearest_pixel_is_pytorchs_for_every_size(mode):
    """In float32: at a whole coordinate the rounding decides, and PyTorch rounds float64 differently."""
    torch = pytest.importorskip("torch")
    for before in range(1, 34):
        x = ramp(before)
        for after in range(1, 68):
            expected = torch.nn.functional.interpolate(torch.tensor(x), after, mode=mode)
            np.testing.assert_array_equal(nn.interpolate(Tensor(x), after, mode=mode).numpy(), expected.numpy())


@given(st.data(), st.floats(0.2, 4.0), st.integers(1, 40))
def test_a_scale_factor_gives_pytorchs_coordinates(data, factor, n):
    torch = pytest.importorskip("torch")
    mode = data.draw(st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]))
    if n * factor < 1 or (mode == "nearest" and int(n * factor) == n):
        return
    x = ramp(n, 3)
    settings = {"scale_factor": (factor, 1), "mode": mode}
    settings["recompute_scale_factor"] = data.draw(st.sampled_from([None, False, True]))
    ours = nn.interpolate(Tensor(x), **settings).numpy()
    theirs = torch.nn.functional.interpolate(torch.tensor(x), **settings).numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-3)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_the_same_size_is_the_same_image(mode):
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 5)))
    y = nn.interpolate(x, (4, 5), mode=mode)
    np.testing.assert_allclose(y.numpy(), x.numpy())
    y[...] = 0.0
    assert x.numpy().any()


@given(st.sampled_from(["bilinear", "bicubic"]), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_weights_sum_to_1(mode, before, after, align_corners, antialias):
    x = Tensor(np.full((1, 1, before, before), 3.0))
    settings = {"align_corners": align_corners} if not antialias else {"antialias": True}
    np.testing.assert_allclose(nn.interpolate(x, after, mode=mode, **settings).numpy(), 3.0)


def test_a_linear_ramp_stays_linear():
    """Away from the borders, where the outermost pixel goes on."""
    x = Tensor(np.broadcast_to(np.arange(8.0), (1, 1, 2, 8)))
    aligned = nn.interpolate(x, (2, 22), mode="bilinear", align_corners=True).numpy()[0, 0, 0]
    np.testing.assert_allclose(aligned, np.linspace(0, 7, 22))
    y = nn.interpolate(x, (2, 24), mode="bilinear").numpy()[0, 0, 0]
    np.testing.assert_allclose(y, np.clip((np.arange(24) + 0.5) / 3 - 0.5, 0, 7))


def test_antialias_prevents_aliasing():
    stripes = Tensor(np.tile([0.0, 0.0, 0.0, 1.0], 16).reshape(1, 1, 1, 64).repeat(8, 2))
    for mode in ("bilinear", "bicubic"):
        plain, smooth = (nn.interpolate(stripes, (8, 15), mode=mode, antialias=flag).numpy() for flag in (False, True))
        assert plain.std() > 0.25
        assert smooth.std() < 0.1
        assert abs(smooth.mean() - 0.25) < 0.01


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nan_or_an_infinity_does_not_spread(value):
    x = np.zeros((1, 1, 6, 6))
    x[0, 0, 2, 2] = value
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        y = nn.interpolate(Tensor(x), 12, mode=mode).numpy()[0, 0]
        assert not np.isfinite(y[4:6, 4:6]).any()
        assert np.isfinite(y[[0, 10, 11]]).all()
        assert np.isfinite(y[:, [0, 10, 11]]).all()


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16])
def test_the_nearest_pixel_keeps_its_dtype(dtype):
    x = Tensor(np.array([[[0, 1, 1]]], dtype))
    y = nn.interpolate(x, scale_factor=2)
    assert y.dtype == dtype
    assert y.tolist() == [[[0, 0, 1, 1, 1, 1]]]


def test_dtypes_of_the_smooth_modes():
    assert nn.interpolate(Tensor(np.arange(4).reshape(1, 1, 4)), 8, mode="linear").dtype == np.float32
    y = nn.interpolate(Tensor(np.full((1, 1, 40, 40), 60000, np.float16)), 3, mode="bilinear", antialias=True)
    assert y.dtype == np.float16
    assert (y.numpy() == 60000).all()  # no sum was too large


def test_an_empty_batch():
    assert nn.interpolate(Tensor(np.zeros((0, 2, 4, 4))), 8, mode="bilinear").shape == (0, 2, 8, 8)


LAYERS = [
    ("Upsample", {"scale_factor": 2}),
    ("Upsample", {"size": (5, 9), "mode": "bilinear"}),
    ("Upsample", {"scale_factor": (1.5, 2.5), "mode": "bicubic", "align_corners": True}),
    ("Upsample", {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True}),
    ("UpsamplingNearest2d", {"size": 7}),
    ("UpsamplingBilinear2d", {"scale_factor": 2}),
]


@pytest.mark.parametrize(("name", "settings"), LAYERS)
def test_layers_are_pytorchs(name, settings):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(**settings), getattr(torch.nn, name)(**settings)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), atol=1e-12)
    assert not ours.state_dict()
    for key in ("size", "mode", "align_corners", "recompute_scale_factor"):
        assert getattr(ours, key) == getattr(theirs, key)


def test_layers_print_their_settings():
    assert repr(nn.Upsample((4, 4), mode="nearest-exact")) == "Upsample(size=(4, 4), mode='nearest-exact')"
    assert repr(nn.UpsamplingBilinear2d(scale_factor=2)) == (
        "UpsamplingBilinear2d(scale_factor=2, mode='bilinear', align_corners=True)"
    )


X = Tensor(np.ones((1, 2, 5, 5)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.interpolate(X), ValueError, "give either size or scale_factor, got size=None and scale_factor=None"),
        (lambda: nn.interpolate(X, 3, 2.0), ValueError, "give either size or scale_factor, got size=3 and scale_factor=2.0"),
        (lambda: nn.interpolate(X, 3.0), TypeError, "interpolate: size must be an integer, got 3.0"),
        (lambda: nn.interpolate(X, (3, 0)), ValueError, "size must be at least 1, got 0"),
        (lambda: nn.interpolate(X, (3, 3, 3)), ValueError, r"size must be one number, or 2 of them, got \(3, 3, 3\)"),
        (lambda: nn.interpolate(X, scale_factor="2"), TypeError, "scale_factor must be a number, got '2'"),
        (lambda: nn.interpolate(X, scale_factor=-1), ValueError, "scale_factor must be above 0, and finite, got -1"),
        (lambda: nn.interpolate(X, scale_factor=0.1), ValueError, r"scale_factor 0.1 leaves nothing of \(5, 5\)"),
        (
            lambda: nn.interpolate(X, 3, mode="linear"),
            ValueError,
            r"mode for images \(N, C, H, W\) must be one of nearest, near",
        ),
        (
            lambda: nn.interpolate(X[0], 3, mode="bilinear"),
            ValueError,
            r"mode for sequences \(N, C, L\) must be one of nearest",
        ),
        (lambda: nn.interpolate(X, 3, align_corners=False), ValueError, "align_corners is for the modes linear, bilinear, bic"),
        (
            lambda: nn.interpolate(X, 3, antialias=True),
            ValueError,
            "antialias is for the modes bilinear and bicubic, not 'near",
        ),
        (lambda: nn.interpolate(X, 3, recompute_scale_factor=True), ValueError, "is for a scale_factor, but size=3 is given"),
        (
            lambda: nn.interpolate(X[0, 0], 3),
            ValueError,
            r"interpolate: expected x of 4 axes \(N, C, H, W\), got shape \(5, 5\)",
        ),
        (lambda: nn.interpolate(X[:, :, :0], 3), ValueError, "has no pixels to interpolate"),
        (lambda: nn.interpolate([[1.0]], 3), TypeError, "interpolate: expected x as a Tensor, got list"),
        (lambda: nn.Upsample(mode="bilinear"), ValueError, "Upsample: give either size or scale_factor"),
        (lambda: nn.Upsample(2, mode="cubic"), ValueError, "Upsample: mode must be one of nearest, .*bicubic, got 'cubic'"),
        (lambda: nn.Upsample(2.5), TypeError, "Upsample: size must be an integer, got 2.5"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
