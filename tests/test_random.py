"""Random numbers: the same seed gives the same ones; their distributions; generators in a checkpoint; and what is refused."""

import json
import pickle

import numpy as np
import pytest

import microtensor as mt
from microtensor import Generator, Tensor

DRAWS = [
    lambda g: mt.rand(3, 2, generator=g),
    lambda g: mt.randn(3, 2, generator=g),
    lambda g: mt.normal(1.0, 2.0, (3, 2), generator=g),
    lambda g: mt.randint(100, (3, 2), generator=g),
    lambda g: mt.randperm(50, generator=g),
    lambda g: mt.bernoulli(mt.full((50,), 0.5), generator=g),
    lambda g: mt.rand_like(mt.ones(3, 2), generator=g),
    lambda g: mt.randn_like(mt.ones(3, 2), generator=g),
    lambda g: mt.randint_like(mt.ones(3, 2), 100, generator=g),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_the_same_seed_draws_the_same(draw):
    assert draw(Generator(5)).tolist() == draw(Generator(5)).tolist() != draw(Generator(6)).tolist()
    generator = Generator(5)
    assert draw(generator).tolist() != draw(generator).tolist()
    mt.manual_seed(5)
    assert draw(None).tolist() == draw(Generator(5)).tolist()


@pytest.mark.parametrize("draw", DRAWS)
def test_a_state_goes_on_where_it_was_taken(draw):
    generator = Generator(3)
    draw(generator)
    state = generator.get_state()
    expected = draw(generator).tolist()
    for kept in (state, pickle.loads(pickle.dumps(state)), json.loads(json.dumps(state))):
        assert draw(Generator().set_state(kept)).tolist() == expected
    assert draw(generator.set_state(state)).tolist() == expected
    assert draw(pickle.loads(pickle.dumps(Generator(3).set_state(state)))).tolist() == expected


def test_a_state_is_a_copy():
    generator = Generator(0)
    state = generator.get_state()
    generator.permutation(9)
    assert state == Generator(0).get_state() != generator.get_state()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers_never_reach_the_end(dtype):
    class One:
        def random(self, size, dtype):
            return np.full(size, 1 - 2**-53)

    generator = Generator(0)
    generator._numpy = One()
    for low, high in ((0, 1), (1, 2), (-3, -1), (0.1, 0.3)):
        numbers = generator.uniform(low, high, (2,), dtype)
        assert numbers.dtype == dtype
        assert (numbers < np.dtype(dtype).type(high)).all()


def test_distributions():
    g, n = Generator(0), 100_000
    uniform = mt.rand(n, generator=g).numpy()
    assert uniform.min() >= 0
    np.testing.assert_allclose(np.histogram(uniform, 10, (0, 1))[0], n / 10, rtol=0.05)
    for x, mean, std in ((mt.randn(n, generator=g), 0, 1), (mt.normal(3.0, 0.5, n, generator=g), 3, 0.5)):
        np.testing.assert_allclose([x.numpy().mean(), x.numpy().std()], [mean, std], atol=0.02)
    whole = mt.randint(-2, 3, (n,), generator=g)
    np.testing.assert_allclose(np.unique(whole.numpy(), return_counts=True)[1], n / 5, rtol=0.05)
    p = mt.tensor([0.0, 0.3, 1.0]).broadcast_to(n, 3)
    np.testing.assert_allclose(mt.bernoulli(p, generator=g).numpy().mean(0), [0, 0.3, 1], atol=0.01)
    assert sorted(mt.randperm(n, generator=g).tolist()) == list(range(n))


def test_bounds_and_shapes_of_integers():
    for x in (mt.randint(3, (2, 4)), mt.randint(0, 3, (2, 4)), mt.randint(high=3, size=(2, 4)), mt.randint(3, size=[2, 4])):
        assert x.shape == (2, 4)
        assert x.dtype == np.int64
        assert set(x.flatten().tolist()) <= {0, 1, 2}
    assert mt.randint(5, 6, ()).item() == 5
    assert mt.randint(256, (3,), dtype="uint8").dtype == np.uint8
    assert mt.randint(2, (3,), dtype="bool").dtype == np.bool_


def test_dtypes():
    assert mt.rand(2).dtype == mt.randn(2).dtype == mt.normal(0, 1, 2).dtype == np.float32
    assert mt.randperm(2).dtype == np.int64
    assert mt.rand_like(mt.ones(2, dtype="float64")).dtype == np.float64
    assert mt.bernoulli(mt.full((2,), 0.5, dtype="float64")).dtype == np.float64
    assert mt.randn(2, dtype="float64").numpy()[0] != mt.randn(2).numpy()[0]


def test_no_gradient_flows_through_a_draw():
    p = Tensor([0.5], requires_grad=True)
    assert not mt.bernoulli(p).requires_grad
    assert mt.rand(2, requires_grad=True).is_leaf


HALF = mt.full((2,), 0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Generator(-1), ValueError, "seed: expected an integer of 0 or more, got -1"),
        (lambda: Generator(1.5), TypeError, r"seed: expected an integer or None, got 1\.5 \(float\)"),
        (lambda: mt.manual_seed("7"), TypeError, r"seed: expected an integer or None, got '7' \(str\)"),
        (lambda: mt.manual_seed(True), TypeError, r"got True \(bool\)"),
        (lambda: Generator(0).set_state(3), TypeError, r"set_state: expected the dict that get_state\(\) gave, got int"),
        (lambda: Generator(0).set_state({"state": 1}), ValueError, r"set_state: this is not a state that get_state\(\) gave"),
        (lambda: mt.rand(2, generator=3), TypeError, "rand: generator: expected a microtensor.Generator or None, got int"),
        (lambda: mt.rand(2, dtype="int64"), TypeError, r"rand: .* int64 cannot hold them; randint\(\) draws integers"),
        (lambda: mt.randn(-2), ValueError, "randn: expected lengths of 0 or more, got -2"),
        (lambda: mt.rand_like([1.0]), TypeError, "rand_like: expected a Tensor to take the shape of, got list"),
        (lambda: mt.normal(0.0, -1.0, (2,)), ValueError, "normal: the standard deviation must not be negative, got -1.0"),
        (lambda: mt.normal(HALF, 1.0, (2,)), TypeError, "normal: expected a number, got Tensor"),
        (lambda: mt.randint(3), TypeError, r"randint: the shape is missing: randint\(10, \(2, 3\)\)"),
        (lambda: mt.randint(5, 5, (2,)), ValueError, "randint: there is no integer from 5 up to, not including, 5"),
        (lambda: mt.randint(1.5, (2,)), TypeError, "randint: the bounds are integers, got 0 and 1.5"),
        (
            lambda: mt.randint(257, (2,), dtype="uint8"),
            ValueError,
            "randint: uint8 cannot hold all integers from 0 to 256",
        ),
        (lambda: mt.randperm(-1), ValueError, "randperm: expected lengths of 0 or more, got -1"),
        (lambda: mt.bernoulli(HALF * 3), ValueError, r"bernoulli: a probability is between 0 and 1; sigmoid\(\) makes one"),
        (lambda: mt.bernoulli(mt.full((2,), float("nan"))), ValueError, "bernoulli: a probability is between 0 and 1"),
        (lambda: mt.bernoulli(mt.tensor([1])), TypeError, "bernoulli: probabilities are floating-point numbers, got int64"),
        (lambda: mt.bernoulli(0.5), TypeError, "bernoulli: expected a Tensor to take the shape of, got float"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
