"""Dropout: expected values, masks, generators, layers, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.gradcheck import check_gradients
from microtensor.nn.layers.dropout import Dropout, dropout
from microtensor.testing import tensors

probabilities = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


@given(tensors(), probabilities, st.integers(0, 99))
def test_gradients_to_second_order(x, p, seed):
    check_gradients(lambda x: dropout(x * x, p, generator=mt.Generator(seed)), x, order=2)


@given(tensors(away_from=[0.0]), probabilities, st.integers(0, 99), st.sampled_from([np.float32, np.float64]))
def test_each_element_is_dropped_or_scaled(x, p, seed, dtype):
    x = x.to(dtype).requires_grad_()
    y = dropout(x, p, generator=mt.Generator(seed))
    assert y.dtype == dtype
    kept = y.numpy() != 0
    np.testing.assert_allclose(y.numpy()[kept], (x.numpy() / (1 - p if p < 1 else 1))[kept], rtol=1e-6)
    y.backward(Tensor(np.ones(y.shape, dtype)))
    np.testing.assert_allclose(x.grad.numpy(), np.where(kept, 1 / (1 - p) if p < 1 else 0, 0), rtol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_fraction_of_dropped_elements_and_the_mean(p):
    y = dropout(Tensor(np.ones(100_000)), p, generator=mt.Generator(0)).numpy()
    assert (y == 0).mean() == pytest.approx(p, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.02)


def test_p_of_0_and_1_and_eval_mode():
    x = Tensor([1.0, 2.0])
    assert dropout(x, 0.0) is x
    assert dropout(x, 0.7, training=False) is x
    assert dropout(x, 1.0).tolist() == [0.0, 0.0]
    layer = Dropout(1.0)
    assert layer(x).tolist() == [0.0, 0.0]
    assert layer.eval()(x) is x
    assert repr(layer) == "Dropout(p=1.0)"


def test_the_same_seed_drops_the_same():
    x = Tensor(np.ones(1000))
    mt.manual_seed(3)
    first = Dropout(0.5)(x).tolist()
    second = Dropout(0.5)(x).tolist()
    mt.manual_seed(3)
    assert dropout(x, 0.5).tolist() == first != second
    assert Dropout(0.5, generator=mt.Generator(3))(x).tolist() == first
    before = mt.random.default._numpy.bit_generator.state
    dropout(x, 0.5, generator=mt.Generator(5))
    assert mt.random.default._numpy.bit_generator.state == before  # an explicit generator leaves the default one alone


CHANNELS = [
    ("dropout1d", (64, 50, 3)),
    ("dropout2d", (64, 50, 2, 2)),
    ("feature_alpha_dropout", (64, 50, 2, 2)),
    ("feature_alpha_dropout", (64, 50)),
]


@pytest.mark.parametrize(("name", "shape"), CHANNELS)
def test_whole_channels_are_dropped(name, shape):
    y = getattr(nn, name)(Tensor(np.ones(shape)), 0.3, True, generator=mt.Generator(0)).numpy().reshape(*shape[:2], -1)
    np.testing.assert_array_equal(y, np.broadcast_to(y[..., :1], y.shape))
    low = y.min()
    assert (y[..., 0] == low).mean() == pytest.approx(0.3, abs=0.02)
    assert {round(v, 6) for v in np.unique(y)} == {round(low, 6), round(y.max(), 6)}


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(name, p):
    x = np.random.default_rng(0).standard_normal((2000, 100))
    y = getattr(nn, name)(Tensor(x), p, True, generator=mt.Generator(0)).numpy()
    assert y.mean() == pytest.approx(0, abs=0.02)
    assert y.var() == pytest.approx(1, abs=0.03)


def test_alpha_dropout_of_a_constant_is_pytorchs():
    """PyTorch draws other random numbers, but each number has two possible results."""
    torch = pytest.importorskip("torch")
    for value in (1.0, -3.0):
        ours = nn.alpha_dropout(Tensor(np.full(1000, value)), 0.4, True).numpy()
        theirs = torch.nn.functional.alpha_dropout(torch.full((1000,), value, dtype=torch.float64), 0.4, True).numpy()
        np.testing.assert_allclose(np.unique(ours.round(9)), np.unique(theirs.round(9)), rtol=1e-6)


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"])
def test_the_layers(name):
    layer, x = getattr(nn, name)(0.5, inplace=True), Tensor(np.ones((8, 16, 3, 3)[: 3 if name == "Dropout1d" else 4]))
    assert layer.eval()(x) is x
    y = layer.train()(x).numpy()
    assert np.unique(y).size == 2
    assert x.numpy().min() == 1.0
    torch = pytest.importorskip("torch")
    assert repr(layer) == f"{name}(p=0.5)"
    assert list(layer.state_dict()) == list(getattr(torch.nn, name)().state_dict())
    zeros = getattr(nn, name)(1.0)(x).numpy()
    np.testing.assert_array_equal(zeros, 0)


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"])
def test_wrong_settings_are_refused_in_words(name):
    layer = getattr(nn, name)
    for error, message, call in (
        (TypeError, f"{name}: p is the probability to drop an element, between 0 and 1, got 'a'", lambda: layer("a")),
        (TypeError, f"{name}: p is .* got True", lambda: layer(True)),
        (TypeError, f"{name}: inplace must be True or False, got int", lambda: layer(0.5, 1)),
        (ValueError, f"{name}: p is .* got 1.5", lambda: layer(1.5)),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: nn.dropout(x, "a"), TypeError, "dropout: p is the probability to drop an element, .* got 'a'"),
        (lambda x: nn.dropout("a"), TypeError, "dropout: expected a Tensor"),
        (lambda x: nn.dropout(x, 0.5, 1), TypeError, "dropout: training must be True or False, got int"),
        (lambda x: nn.dropout1d(x), ValueError, r"dropout1d: expected x \(N, C, L\), got shape \(2, 3\); a single sample"),
        (lambda x: nn.dropout2d(x), ValueError, r"dropout2d: expected x \(N, C, H, W\), got shape \(2, 3\)$"),
        (lambda x: nn.feature_alpha_dropout(x[0]), ValueError, r"expected x \(N, C, …\), got shape \(3,\)"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_must_be_a_probability(p):
    for make in (lambda: Dropout(p), lambda: dropout(Tensor([1.0]), p, training=False)):
        with pytest.raises(ValueError, match="[dD]ropout: p is the probability"):
            make()


def test_integers_are_refused():
    with pytest.raises(TypeError, match="int64"):
        dropout(Tensor(np.arange(3)))
