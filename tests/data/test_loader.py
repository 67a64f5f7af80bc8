"""`DataLoader`: batches, their order, workers, resuming; and what is refused."""

import json

import numpy as np
import pytest
from data_files import Noise
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor.data import DataLoader, Dataset, TensorDataset, mnist_sample, to_input
from microtensor.data.transforms import ToFloat


def batches(loader):
    return [x.tolist() for (x,) in loader]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 40), size=st.integers(1, 45), shuffle=st.booleans(), drop_last=st.booleans(), seed=st.integers(0, 99))
def test_a_pass_sees_every_sample_once(n, size, shuffle, drop_last, seed):
    loader = DataLoader(TensorDataset(np.arange(n)), size, shuffle, mt.Generator(seed), drop_last)
    for _ in range(2):
        found = batches(loader)
        assert len(found) == len(loader) == (n // size if drop_last else -(-n // size))
        assert all(len(batch) == size for batch in (found if drop_last else found[:-1]))
        flat = [i for batch in found for i in batch]
        assert len(set(flat)) == len(flat) == (n // size * size if drop_last else n)
        assert set(flat) <= set(range(n))
        if not shuffle:
            assert flat == sorted(flat)


def test_rows_of_a_shuffled_batch_stay_together():
    numbers = np.arange(100)
    for x, y in DataLoader(TensorDataset(numbers[:, None] * 2.0, numbers), 7, shuffle=True):
        np.testing.assert_array_equal(x.numpy()[:, 0], 2 * y.numpy())


def test_the_same_seed_gives_the_same_batches():
    numbers = TensorDataset(np.arange(50))
    one = DataLoader(numbers, 8, shuffle=True, generator=mt.Generator(3))
    two = DataLoader(numbers, 8, shuffle=True, generator=mt.Generator(3))
    first, second = batches(one), batches(one)
    assert first != second
    assert [first, second] == [batches(two), batches(two)]
    assert first != batches(DataLoader(numbers, 8, shuffle=True, generator=mt.Generator(4)))
    mt.manual_seed(3)
    assert batches(DataLoader(numbers, 8, shuffle=True)) == first


def test_the_order_is_drawn_when_a_pass_begins():
    loader = DataLoader(TensorDataset(np.arange(50)), 8, shuffle=True, generator=mt.Generator(3))
    first, second = iter(loader), iter(loader)
    later = batches(second)
    assert batches(first) == batches(DataLoader(loader.dataset, 8, shuffle=True, generator=mt.Generator(3)))
    assert later != batches(DataLoader(loader.dataset, 8, shuffle=True, generator=mt.Generator(3)))


def test_without_shuffle_nothing_is_drawn():
    mt.manual_seed(5)
    batches(DataLoader(TensorDataset(np.arange(50)), 8))
    np.testing.assert_array_equal(mt.random.default.permutation(9), mt.Generator(5).permutation(9))


def test_a_batch_of_mnist_is_what_a_network_eats():
    sample = mnist_sample(train=False)
    loader = DataLoader(sample, batch_size=64)
    assert len(loader) == 16
    x, y = next(iter(loader))
    assert isinstance(x, mt.Tensor)
    assert isinstance(y, mt.Tensor)
    assert (x.shape, x.dtype) == ((64, 1, 28, 28), np.float32)
    assert (y.shape, y.dtype) == ((64,), np.int64)
    np.testing.assert_array_equal(x.numpy(), to_input(sample.images[:64]))
    assert y.tolist() == sample.labels[:64].tolist()
    assert not x.requires_grad


def test_shuffled_batches_of_arrays_and_of_tensors_are_the_same():
    sample = mnist_sample(train=False)
    one = DataLoader(sample, 100, shuffle=True, generator=mt.Generator(1))
    two = DataLoader(TensorDataset(*sample.tensors()), 100, shuffle=True, generator=mt.Generator(1))
    for (x, y), (x2, y2) in zip(one, two):
        np.testing.assert_array_equal(x.numpy(), x2.numpy())
        np.testing.assert_array_equal(y.numpy(), y2.numpy())


def test_it_shows_its_data_and_its_settings():
    assert repr(DataLoader(TensorDataset(np.arange(1000)), 64)) == "DataLoader(TensorDataset(1,000 samples), batch_size=64)"
    loader = DataLoader([(1, 2)], 4, shuffle=True, num_workers=2, transform=ToFloat())
    settings = "batch_size=4, shuffle=True, num_workers=2, transform=ToFloat()"
    assert repr(loader) == f"DataLoader(list of 1 samples, {settings})"


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_is_a_copy(shuffle):
    numbers = np.arange(10.0)
    for (x,) in DataLoader(TensorDataset(numbers), 5, shuffle=shuffle):
        x[:] = -1.0
    assert numbers.tolist() == list(range(10))


GOOD = TensorDataset(np.arange(4))


class Endless:
    def __getitem__(self, index):
        return (index,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": (np.zeros(2), np.zeros(2))}, TypeError, r"dataset: .* got tuple; .*TensorDataset\(inputs, labels\)"),
        ({"dataset": np.zeros(3)}, TypeError, "dataset: .* got ndarray"),
        ({"dataset": mt.Tensor([1.0])}, TypeError, "dataset: .* got Tensor"),
        ({"dataset": 3}, TypeError, "dataset: .* got int"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size: expected an integer, got float"),
        ({"batch_size": True}, TypeError, "batch_size: .* got bool"),
        ({"num_workers": -1}, ValueError, "num_workers: expected at least 0, got -1"),
        ({"num_workers": 1.0}, TypeError, "num_workers: expected an integer, got float"),
        ({"prefetch_factor": 0}, ValueError, "prefetch_factor: expected at least 1, got 0"),
        ({"dataset": iter(range(3))}, TypeError, "dataset: .* got range_iterator; make one of arrays"),
        ({"dataset": Endless()}, TypeError, "dataset: .* got Endless; it needs __len__ too, the number of its samples"),
        ({"transform": 3}, TypeError, "transform: expected a transform, a function or None, got int"),
        ({"transform": ToFloat}, TypeError, r"transform: .* got the class ToFloat; create one: ToFloat\(\.\.\.\)"),
        ({"transform": [ToFloat()]}, TypeError, r"transform: .* got list; make one of them: Compose\("),
        ({"shuffle": 1}, TypeError, "shuffle: expected True or False, got int"),
        ({"drop_last": None}, TypeError, "drop_last: expected True or False, got NoneType"),
        ({"generator": 3}, TypeError, "generator: expected a microtensor.Generator or None, got int"),
        ({"generator": np.random.default_rng()}, TypeError, "generator: .* got Generator"),
    ],
)
def test_data_loader_refuses_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"^DataLoader: {message}"):
        DataLoader(**{"dataset": GOOD, **arguments})


class Odd(Dataset):
    """A data set that answers an array of indices with whatever it was told to."""

    def __init__(self, answer):
        self.answer = answer

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise NotImplementedError

    def batch(self, indices):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (np.zeros(2), TypeError, "expected a tuple of arrays from Odd, got ndarray"),
        (([1, 2], [3, 4]), TypeError, "a tuple of arrays"),
        ((np.zeros((2, 3)), np.zeros(1)), ValueError, r"for 2 indices, expected as many samples from Odd, got \(1,\)"),
        ((np.zeros((2, 3)), np.array(1)), ValueError, r"got \(\)"),
    ],
)
def test_data_loader_refuses_bad_batches(answer, error, message):
    with pytest.raises(error, match=f"^DataLoader: .*{message}"):
        next(iter(DataLoader(Odd(answer), 2)))


def test_data_loader_refuses_bad_transforms():
    for transform, message in (
        (lambda x: x[:1], r"for 2 indices, expected as many samples from the transform, got \(1,\)"),
        (lambda x: 3, "expected a tuple of arrays from the transform, got tuple"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^DataLoader: .*{message}"):
            next(iter(DataLoader(GOOD, 2, transform=transform)))


def test_length_and_batches_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    for n in (0, 1, 7, 8, 9, 16):
        for drop_last in (False, True):
            ours = DataLoader(TensorDataset(np.arange(n)), 8, drop_last=drop_last)
            theirs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(n)), 8, drop_last=drop_last)
            assert len(ours) == len(theirs)
            assert batches(ours) == [x.tolist() for (x,) in theirs]


# Transforms


def test_each_batch_and_pass_has_noise_of_its_own():
    loader = DataLoader(TensorDataset(np.zeros(40)), 10, generator=mt.Generator(1), transform=Noise())
    batches = [x.numpy().tobytes() for _ in range(2) for (x,) in loader]
    assert len(set(batches)) == 8


def test_a_transform_leaves_the_order_as_it_is():
    numbers = TensorDataset(np.arange(20.0), np.arange(20))
    one = DataLoader(numbers, 5, shuffle=True, generator=mt.Generator(1))
    two = DataLoader(numbers, 5, shuffle=True, generator=mt.Generator(1), transform=Noise())
    assert [y.tolist() for _, y in one] == [y.tolist() for _, y in two]


def test_a_function_transforms_the_first_array():
    loader = DataLoader(TensorDataset(np.arange(4.0), np.arange(4)), 2, transform=lambda x: -x)
    assert [(x.tolist(), y.tolist()) for x, y in loader] == [([0, -1], [0, 1]), ([-2, -3], [2, 3])]


# Resuming


def run(loader, passes):
    return [[(x.numpy().tobytes(), y.tolist()) for x, y in loader] for _ in range(passes)]


@pytest.mark.parametrize("shared", [False, True])
@settings(max_examples=30)
@given(
    shuffle=st.booleans(),
    transform=st.sampled_from([None, Noise()]),
    drop_last=st.booleans(),
    workers=st.integers(0, 2),
    stop=st.integers(0, 5),
    passes=st.integers(0, 1),
    seed=st.integers(0, 9),
)
def test_a_pass_stopped_anywhere_goes_on(shared, shuffle, transform, drop_last, workers, stop, passes, seed):
    dataset = TensorDataset(np.arange(17, dtype=np.float32), np.arange(17))
    mt.manual_seed(seed)

    def loader(seed, workers):
        generator = None if shared else mt.Generator(seed)
        return DataLoader(dataset, 4, shuffle, generator, drop_last, num_workers=workers, transform=transform)

    first = loader(seed, workers)
    run(first, passes)
    iterator, stop = iter(first), min(stop, len(first))
    for _ in range(stop):
        next(iterator)
        mt.rand(3)  # others draw from the default generator too
    state = json.loads(json.dumps(first.state_dict()))
    assert first.position == stop
    default = mt.random.default.get_state()
    expected = [(x.numpy().tobytes(), y.tolist()) for x, y in iterator], *run(first, 2)

    mt.manual_seed(99)
    second = loader(77, 2 - workers)
    second.load_state_dict(state)
    assert mt.random.default.get_state() == mt.Generator(99).get_state()  # left as it was
    mt.random.default.set_state(default)
    assert second.position == stop
    assert json.loads(json.dumps(second.state_dict())) == state
    assert run(second, 3) == [*expected]


def test_a_state_in_the_body_of_a_loop():
    numbers = TensorDataset(np.arange(20))
    loader = DataLoader(numbers, 2, shuffle=True, generator=mt.Generator(5), num_workers=2)
    expected, states = [], []
    for (x,) in loader:
        expected.append(x.tolist())
        states.append(loader.state_dict())
    assert [state["pass"]["batches"] for state in states] == list(range(1, 11))
    for i, state in enumerate(states):
        again = DataLoader(numbers, 2, shuffle=True, generator=mt.Generator())
        again.load_state_dict(state)
        assert batches(again) == expected[i + 1 :]


def test_after_a_loop_the_next_pass_begins_afresh():
    numbers = TensorDataset(np.arange(20))
    loader = DataLoader(numbers, 2, shuffle=True, generator=mt.Generator(5))
    fresh = loader.state_dict()
    assert fresh["pass"] is None
    first = batches(loader)
    state = loader.state_dict()
    assert state["pass"] is None
    assert loader.position == 0
    second = batches(loader)
    again = DataLoader(numbers, 2, shuffle=True, generator=mt.Generator())
    again.load_state_dict(fresh)
    assert [batches(again), batches(again)] == [first, second]
    again.load_state_dict(state)
    assert batches(again) == second
    again = DataLoader(numbers, 5, shuffle=True, generator=mt.Generator())  # between passes the batch size may change
    again.load_state_dict(state)
    assert np.concatenate(batches(again)).tolist() == np.concatenate(second).tolist()


def test_a_new_iterator_begins_a_new_pass():
    loader = DataLoader(TensorDataset(np.arange(20)), 2, shuffle=True, generator=mt.Generator(5))
    other = DataLoader(loader.dataset, 2, shuffle=True, generator=mt.Generator(5))
    next(iter(loader))
    assert loader.position == 1  # where the pass was left
    batches(other)
    assert batches(loader) == batches(other)


STATE = DataLoader(GOOD, 2, shuffle=True, generator=mt.Generator(0)).state_dict()
GENERATOR = mt.Generator(0).get_state()
UNDER_WAY = {**STATE, "pass": {"batches": 1, "generator": GENERATOR}}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (3, TypeError, r"expected the dict that state_dict\(\) gave, got int"),
        ({}, ValueError, "expected the keys pass, generator, samples, batch_size, shuffle, drop_last, got none"),
        ({**STATE, "more": 1}, ValueError, "got pass, .*, more"),
        (
            {**STATE, "generator": None},
            ValueError,
            "a loader with no generator of its own to draw from, but here is a generator",
        ),
        ({**STATE, "generator": {"state": 1}}, ValueError, "this is not a state"),
        ({**UNDER_WAY, "samples": 5}, ValueError, "a loader with samples 5, but here it is 4"),
        ({**UNDER_WAY, "batch_size": 3}, ValueError, "a loader with batch_size 3, but here it is 2"),
        ({**UNDER_WAY, "drop_last": True}, ValueError, "a loader with drop_last True, but here it is False"),
        ({**UNDER_WAY, "pass": 1}, ValueError, "no position of a pass, but 1"),
        ({**STATE, "pass": {"batches": 1, "generator": None}}, ValueError, "only one has a transform"),
        (
            {**STATE, "pass": {"batches": 3, "generator": GENERATOR}},
            ValueError,
            "expected from 0 to 2 batches handed out, got 3",
        ),
        ({**STATE, "pass": {"batches": "1", "generator": GENERATOR}}, ValueError, "got '1'"),
        ({**STATE, "pass": {"batches": 1, "generator": {}}}, ValueError, "this is not a state"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(state, error, message):
    loader = DataLoader(GOOD, 2, shuffle=True, generator=mt.Generator(0))
    with pytest.raises(error, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == STATE


# Generators for the batches


def test_streams_of_a_seed_are_different():
    draws = {mt.Generator(seed).normal(0, 1, (4,)).tobytes() for seed in (5, (5,), (5, 0), (5, 1), (6, 0), (5, 0, 0))}
    assert len(draws) >= 5
    assert mt.Generator((5, 0)).get_state() != mt.Generator(5).get_state()
    assert mt.Generator((5, 1)).get_state() == mt.Generator().manual_seed((5, 1)).get_state()


@pytest.mark.parametrize(
    ("seed", "error"), [((), ValueError), ((1, -1), ValueError), ((1, 0.5), TypeError), ((True,), TypeError)]
)
def test_wrong_seeds_of_streams_are_refused(seed, error):
    with pytest.raises(error, match="seed: expected"):
        mt.Generator(seed)


def test_numbers_of_the_beta_distribution():
    numbers = mt.Generator(0).beta(2.0, 6.0, (20_000,))
    assert numbers.dtype == np.float32
    np.testing.assert_allclose([numbers.mean(), numbers.var()], [2 / 8, 2 * 6 / (8**2 * 9)], rtol=0.05)


def test_a_class_is_no_data_set():
    with pytest.raises(
        TypeError, match=r"dataset: expected a data set, got the class TensorDataset; create one: TensorDataset\(\.\.\.\)"
    ):
        DataLoader(TensorDataset, 2)
