"""Initial weights: variance, seeds, and that they are written in place."""

import math

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor
from microtensor.nn import init
from microtensor.nn.layers.linear import Linear
from microtensor.nn.module import Parameter

SHAPES = [(300, 200), (64, 16, 5, 5)]


def weight(shape, dtype=np.float32):
    return Parameter(np.full(shape, np.nan, dtype))


@pytest.mark.parametrize("shape", [(7, 3), (8, 4, 3, 5), (2, 6, 3)])
def test_fans_are_pytorchs(shape):
    torch = pytest.importorskip("torch")
    assert init.fans(weight(shape)) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


def test_gains_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in [*init.GAINS, "leaky_relu"]:
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))
    with pytest.raises(ValueError, match="expected one of linear"):
        init.calculate_gain("step")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "settings", [{}, {"mode": "fan_out", "nonlinearity": "relu"}, {"a": math.sqrt(5)}, {"nonlinearity": "tanh"}]
)
def test_kaiming_has_the_variance_of_the_paper(shape, settings):
    fan = init.fans(weight(shape))[settings.get("mode") == "fan_out"]
    std = init.calculate_gain(settings.get("nonlinearity", "leaky_relu"), settings.get("a", 0.0)) / math.sqrt(fan)
    normal = init.kaiming_normal_(weight(shape), **settings).numpy()
    assert normal.std() == pytest.approx(std, rel=0.03)
    assert abs(normal.mean()) < std / 50
    uniform = init.kaiming_uniform_(weight(shape), **settings).numpy()
    assert uniform.std() == pytest.approx(std, rel=0.03)
    assert np.abs(uniform).max() == pytest.approx(std * math.sqrt(3), rel=0.01)
    with pytest.raises(ValueError, match="fan_in"):
        init.kaiming_normal_(weight(shape), mode="fan")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gain", [1.0, 5 / 3])
def test_xavier_has_the_variance_of_the_paper(shape, gain):
    std = gain * math.sqrt(2 / sum(init.fans(weight(shape))))
    assert init.xavier_normal_(weight(shape), gain).numpy().std() == pytest.approx(std, rel=0.03)
    uniform = init.xavier_uniform_(weight(shape), gain).numpy()
    assert uniform.std() == pytest.approx(std, rel=0.03)
    assert np.abs(uniform).max() == pytest.approx(std * math.sqrt(3), rel=0.01)


def test_a_signal_keeps_its_variance_through_thirty_layers():
    x = Tensor(np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32))
    with mt.no_grad():
        for _ in range(30):
            x = (x @ init.kaiming_normal_(weight((256, 256))).T).relu()
    assert 0.2 < np.sqrt((x.numpy() ** 2).mean()) < 5


def test_uniform_normal_and_constants():
    u = init.uniform_(weight((1000,)), -2.0, 6.0).numpy()
    assert -2 <= u.min() < -1.9 < 5.9 < u.max() < 6
    n = init.normal_(weight((10_000,)), 3.0, 0.5).numpy()
    assert n.mean() == pytest.approx(3, abs=0.05)
    assert n.std() == pytest.approx(0.5, rel=0.05)
    assert init.constant_(weight((2,)), 0.3).tolist() == pytest.approx([0.3, 0.3])
    assert init.zeros_(weight((2, 1))).tolist() == [[0], [0]]
    assert init.ones_(weight(())).tolist() == 1
    with pytest.raises(ValueError, match="uniform_"):
        init.uniform_(weight((2,)), 1.0, 0.0)
    with pytest.raises(ValueError, match="normal_"):
        init.normal_(weight((2,)), 0.0, -1.0)


FILLS = [init.uniform_, init.normal_, init.kaiming_uniform_, init.kaiming_normal_, init.xavier_uniform_, init.xavier_normal_]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_seeds_dtypes_and_memory(fill, dtype):
    p = weight((4, 3), dtype)
    kept = p.array
    assert fill(p, generator=mt.Generator(1)) is p
    assert p.array is kept
    assert p.dtype == dtype
    assert p.requires_grad
    assert p.is_leaf
    first = p.numpy().copy()
    mt.manual_seed(1)
    np.testing.assert_array_equal(fill(p).numpy(), first)
    assert (fill(p).numpy() != first).all()


@pytest.mark.parametrize("fill", FILLS[2:])
def test_a_bias_has_no_fans(fill):
    with pytest.raises(ValueError, match=r"two axes or more, got shape \(3,\)"):
        fill(weight((3,)))


def test_a_backward_pass_refuses_weights_that_were_filled_since():
    layer = Linear(2, 2)
    y = layer(Tensor([[1.0, 2.0]], requires_grad=True)).sum()
    init.zeros_(layer.weight)
    with pytest.raises(RuntimeError, match="assigned to"):
        y.backward()


def test_skipped_draws_and_writes_nothing():
    state, weight = mt.random.default.get_state(), mt.Tensor([[3.0, 4.0]])
    with init.skipped():
        assert init.kaiming_normal_(weight) is weight
        init.uniform_(weight)
        init.zeros_(weight)
        Linear(3, 2)
    assert weight.tolist() == [[3.0, 4.0]]
    assert mt.random.default.get_state() == state
    assert init.zeros_(weight).tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="must not be negative"), init.skipped():
        init.normal_(weight, std=-1)
