"""Averaged weights: PyTorch's numbers, exchanged and brought back, saved and loaded."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.nn.module import Module, Parameter
from microtensor.nn.optim import optimizer as shared
from microtensor.runtime.arrays import to_device


class Net(Module):
    def __init__(self, seed=0):
        self.conv = nn.Conv2d(1, 2, 3, generator=mt.Generator(seed))
        self.norm = nn.BatchNorm2d(2)
        self.again = self.conv  # shared


def moved(model, rng):
    """Other weights and statistics, written in place."""
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.array += mt.Tensor(rng.integers(1, 4, tensor.shape), dtype=tensor.dtype).array
        tensor.touch()


def values(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


@given(
    st.sampled_from([0.0, 0.5, 0.999]),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([16, 1 << 17]),
)
def test_it_is_pytorchs(decay, warmup, dtype, block):
    torch = pytest.importorskip("torch")
    swa = pytest.importorskip("torch.optim.swa_utils")
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(dtype) for shape in ((2, 3), (), (0,), (9, 4))]
    ours, theirs = [Parameter(a.copy()) for a in start], torch.nn.ParameterList([torch.tensor(a) for a in start])
    average = nn.ExponentialMovingAverage(ours, decay=decay, warmup=warmup)
    expected = swa.AveragedModel(theirs, multi_avg_fn=swa.get_ema_multi_avg_fn(decay))
    expected.update_parameters(theirs)  # the first one copies
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "BLOCK_BYTES", block)
        for n in range(1, 8):
            for p, q in zip(ours, theirs):
                g = np.asarray(rng.standard_normal(p.shape), dtype)
                p.array[...] += mt.Tensor(g).array
                q.data += torch.tensor(g)
            average.update()
            expected.multi_avg_fn = swa.get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)) if warmup else decay)
            expected.update_parameters(theirs)
    for name, q in zip(average.average, expected.module):
        p = average.average[name]
        assert p.dtype == dtype
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)


def test_weights_are_averaged_and_buffers_copied():
    model = Net()
    average = nn.ExponentialMovingAverage(model, decay=0.5)
    assert set(average.average) == set(values(model)) - {"again.weight", "again.bias"}
    arrays = {name: tensor.array for name, tensor in average.average.items()}
    before = values(model)
    moved(model, np.random.default_rng(0))
    average.update()
    after = values(model)
    for name, tensor in average.average.items():
        wanted = after[name] if "running" in name or "num_batches" in name else (before[name] + after[name]) / 2
        np.testing.assert_allclose(tensor.numpy(), wanted, rtol=1e-6)
        assert tensor.array is arrays[name]
        assert tensor.dtype == after[name].dtype


def test_applied_the_model_has_the_average_and_then_its_own_again():
    model = Net()
    average = nn.ExponentialMovingAverage(model, decay=0.5)
    moved(model, np.random.default_rng(0))
    average.update()
    own, averaged = values(model), {name: tensor.numpy().copy() for name, tensor in average.average.items()}
    arrays = [tensor.array for tensor in model.parameters()]
    with average.applied():
        inside = values(model)
        assert_equal({name: inside[name] for name in averaged}, averaged)
        np.testing.assert_array_equal(inside["again.weight"], averaged["conv.weight"])
    assert_equal(values(model), own)
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert_equal(values(model), own)
    assert all(tensor.array is array for tensor, array in zip(model.parameters(), arrays))
    assert_equal({name: tensor.numpy() for name, tensor in average.average.items()}, averaged)
    moved(model, np.random.default_rng(1))
    average.update()  # both go on
    assert not np.array_equal(average.average["conv.weight"].numpy(), averaged["conv.weight"])


def test_training_goes_on_the_same_whether_the_average_was_applied_or_not():
    results = []
    for look in (False, True):
        model = nn.Linear(3, 1, generator=mt.Generator(0))
        optimizer, average = nn.Adam(model.parameters(), lr=0.1), nn.ExponentialMovingAverage(model)
        for _ in range(4):
            optimizer.zero_grad()
            (model(Tensor(np.ones((2, 3), np.float32))) ** 2).sum().backward()
            optimizer.step()
            average.update()
            if look:
                with average.applied():
                    model(Tensor(np.ones((2, 3), np.float32)))
        results.append(values(model))
    assert_equal(*results)


def test_a_backward_pass_across_the_exchange_is_refused():
    model = nn.Linear(2, 1)
    average = nn.ExponentialMovingAverage(model)
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    y = model(x).sum()
    with average.applied(), pytest.raises(RuntimeError, match="assigned to"):
        y.backward()


def test_inside_applied_the_average_is_not_touched():
    model = nn.Linear(2, 1)
    average = nn.ExponentialMovingAverage(model)
    state = average.state_dict()
    with average.applied():
        for call in (
            average.update,
            average.copy_to,
            average.state_dict,
            lambda: average.load_state_dict(state),
            lambda: average.applied().__enter__(),
        ):
            with pytest.raises(
                RuntimeError, match=r"ExponentialMovingAverage: \w+\(\) inside `with applied\(\):`; leave it first"
            ):
                call()


def test_copies_are_for_good_and_for_other_models():
    model, other = Net(), Net(seed=1)
    average = nn.ExponentialMovingAverage(model, decay=0.5)
    moved(model, np.random.default_rng(0))
    average.update()
    average.copy_to(other)
    arrays = [tensor.array for tensor in model.parameters()]
    assert not np.array_equal(model.conv.weight.numpy(), other.conv.weight.numpy())
    average.copy_to()
    assert_equal(values(model), values(other))
    assert all(tensor.array is array for tensor, array in zip(model.parameters(), arrays))
    assert not np.shares_memory(model.conv.weight.array, average.average["conv.weight"].array)
    wrong = nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(
        ValueError, match="copy_to: the model does not fit: missing: conv.weight, .*; unexpected: 0.weight, 0.bias"
    ):
        average.copy_to(wrong)


def test_it_goes_on_from_a_state_as_if_it_had_never_stopped():
    results = []
    for stop in (False, True):
        model, rng = Net(), np.random.default_rng(0)
        average = nn.ExponentialMovingAverage(model, decay=0.9, warmup=True)
        for n in range(6):
            if stop and n == 3:
                state = {**average.state_dict(), "average": {k: v.numpy().copy() for k, v in average.average.items()}}
                average = nn.ExponentialMovingAverage(model, decay=0.1)
                average.load_state_dict(state)
            moved(model, rng)
            average.update()
        results.append({name: tensor.numpy() for name, tensor in average.average.items()})
    assert_equal(*results)
    assert (average.decay, average.warmup, average.updates) == (0.9, True, 6)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    average, other = nn.ExponentialMovingAverage(nn.Linear(2, 1)), nn.ExponentialMovingAverage(nn.Linear(3, 1), decay=0.5)
    before = {name: tensor.numpy().copy() for name, tensor in average.average.items()}
    with pytest.raises(
        ValueError, match=r"load_state_dict: the state does not fit: of another shape: weight \(1, 3\) for \(1, 2\)"
    ):
        average.load_state_dict(other.state_dict())
    for wrong in (None, {}, {"decay": 0.5}, {**other.state_dict(), "average": None}):
        with pytest.raises(TypeError, match="expected a dict with decay, warmup, updates, average, as state_dict"):
            average.load_state_dict(wrong)
    with pytest.raises(TypeError, match="ExponentialMovingAverage: weight must be a Tensor or an array, got str"):
        average.load_state_dict({**other.state_dict(), "average": {"weight": "1"}})
    with pytest.raises(ValueError, match="decay must be at least 0 and less than 1, got 2"):
        average.load_state_dict({**average.state_dict(), "decay": 2})
    assert average.decay == 0.999
    assert_equal({name: tensor.numpy() for name, tensor in average.average.items()}, before)


def test_it_follows_the_model_to_a_device_and_a_dtype(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    results = []
    for targets in ([], ["cuda", "float64", "cpu"]):
        model, rng = Net(), np.random.default_rng(0)
        average = nn.ExponentialMovingAverage(model, decay=0.5)
        for n in range(4):
            for tensor in [*model.parameters(), *model.buffers()]:
                more = np.asarray(rng.integers(1, 4, tensor.shape), tensor.dtype)
                tensor.array += to_device(more, tensor.device)
            if n < len(targets):
                model.to(targets[n])
            average.update()
            with average.applied():
                assert model.conv.weight.device == ("cuda:0" if targets and n < 2 else "cpu")
        results.append({name: tensor.numpy() for name, tensor in average.average.items()})
    for name in results[0]:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-5)


P = Parameter([1.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.ExponentialMovingAverage(P), TypeError, "expected a Module or a sequence of Tensors, got Parameter"),
        (lambda: nn.ExponentialMovingAverage(1), TypeError, "expected a Module or a sequence of Tensors, got int"),
        (lambda: nn.ExponentialMovingAverage([P, 1]), TypeError, "parameter 1 must be a Tensor, got int"),
        (lambda: nn.ExponentialMovingAverage([]), ValueError, "there are no parameters to average"),
        (lambda: nn.ExponentialMovingAverage(nn.Flatten()), ValueError, "there are no parameters to average"),
        (lambda: nn.ExponentialMovingAverage([P], decay=1.0), ValueError, "decay must be at least 0 and less than 1, got 1.0"),
        (lambda: nn.ExponentialMovingAverage([P], decay="0.9"), TypeError, "decay must be a number, got '0.9'"),
        (lambda: nn.ExponentialMovingAverage([P], warmup=100), TypeError, "warmup must be True or False, got 100"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=f"ExponentialMovingAverage: {message}"):
        call()


def test_a_weight_of_another_shape_is_refused():
    p = Parameter([1.0])
    average = nn.ExponentialMovingAverage([p])
    p.array = np.ones(2, np.float32)
    with pytest.raises(ValueError, match=r"0 is \(2,\) now, and was \(1,\); begin another average"):
        average.update()


def test_it_shows_its_settings_and_knows_its_model():
    model = nn.Linear(2, 1)
    average = nn.ExponentialMovingAverage(model, 0.5, warmup=True)
    assert repr(average) == "ExponentialMovingAverage(2 tensors, decay=0.5, warmup=True, updates=0)"
    assert average.follows(model)
    assert not average.follows(nn.Linear(2, 1))
