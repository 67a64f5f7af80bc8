"""Dropout: what it keeps, what it expects, where its random numbers come from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor
from microtensor.gradcheck import check_gradients
from microtensor.nn.dropout import Dropout, dropout
from microtensor.testing import tensors

probabilities = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


@given(tensors(), probabilities, st.integers(0, 99))
def test_gradients_to_second_order(x, p, seed):
    check_gradients(lambda x: dropout(x * x, p, generator=mt.Generator(seed)), x, order=2)


@given(tensors(away_from=[0.0]), probabilities, st.integers(0, 99), st.sampled_from([np.float32, np.float64]))
def test_each_number_is_left_out_or_divided(x, p, seed, dtype):
    x = x.to(dtype).requires_grad_()
    y = dropout(x, p, generator=mt.Generator(seed))
    assert y.dtype == dtype
    kept = y.numpy() != 0
    np.testing.assert_allclose(y.numpy()[kept], (x.numpy() / (1 - p if p < 1 else 1))[kept], rtol=1e-6)
    y.backward(Tensor(np.ones(y.shape, dtype)))
    np.testing.assert_allclose(x.grad.numpy(), np.where(kept, 1 / (1 - p) if p < 1 else 0, 0), rtol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_so_many_are_left_out_and_the_mean_stays(p):
    y = dropout(Tensor(np.ones(100_000)), p, generator=mt.Generator(0)).numpy()
    assert (y == 0).mean() == pytest.approx(p, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.02)


def test_the_ends_and_not_training():
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


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_must_be_a_probability(p):
    for make in (lambda: Dropout(p), lambda: dropout(Tensor([1.0]), p, training=False)):
        with pytest.raises(ValueError, match="[dD]ropout: p is the probability"):
            make()


def test_integers_are_refused():
    with pytest.raises(TypeError, match="int64"):
        dropout(Tensor(np.arange(3)))
