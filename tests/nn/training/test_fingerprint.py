"""Fingerprints of settings: equal for the same program on another device and at another time, with counters in its functions."""

import enum
import functools
import time

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset
from microtensor.nn.training.fingerprint import fingerprint

POINTS = np.random.default_rng(0).standard_normal((24, 4)).astype(np.float32)
LABELS = (POINTS.sum(1) > 0).astype(np.int64)
CALLS = 0


def go(folder, loss=nn.cross_entropy, data=None, model=None, epochs=1, schedule=None):
    """A program that is started again: what is not given is created again."""
    mt.manual_seed(0)
    model = nn.Linear(4, 2) if model is None else model
    data = DataLoader(TensorDataset(POINTS, LABELS), 8, shuffle=True) if data is None else data
    optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = schedule(optimizer) if schedule else None
    settings = {"schedule": schedule, "schedule_per": "step"} if schedule else {}
    return nn.fit(
        model, data, loss, optimizer, epochs=epochs, checkpoint=nn.Checkpoint(folder, every=1), progress=False, **settings
    )


def counting_globally(scores, labels):
    global CALLS
    CALLS += 1
    return nn.cross_entropy(scores, labels)


def counting_nonlocally():
    calls = 0

    def loss(scores, labels):
        nonlocal calls
        calls += 1
        return nn.cross_entropy(scores, labels)

    return loss


def remembering():
    seen = []

    def loss(scores, labels):
        value = nn.cross_entropy(scores, labels)
        seen.append(value.item())
        return value

    return loss


class Summing:
    def __init__(self):
        self.total = 0.0

    def __call__(self, scores, labels):
        value = nn.cross_entropy(scores, labels)
        self.total += value.item()
        return value


class Ageing(nn.Module):
    def __init__(self):
        super().__init__()
        self.sharpness = 1.0

    def forward(self, scores, labels):
        self.sharpness *= 0.9
        return nn.cross_entropy(scores, labels)


@pytest.mark.parametrize(
    "loss", [lambda: counting_globally, counting_nonlocally, remembering, Summing, Ageing, lambda: functools.partial(Summing())]
)
def test_a_loss_that_counts_its_calls_goes_on_in_the_same_program(tmp_path, loss):
    loss = loss()
    go(tmp_path, loss)
    assert len(go(tmp_path, loss, epochs=2)) == 2


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return images


@pytest.mark.parametrize("again", [False, True], ids=["the loader", "the transform"])
def test_a_transform_that_counts_its_calls_goes_on_in_the_same_program(tmp_path, again):
    transform = Counted()
    loader = DataLoader(TensorDataset(POINTS, LABELS), 8, transform=transform)
    go(tmp_path, data=loader)
    loader = DataLoader(TensorDataset(POINTS, LABELS), 8, transform=transform) if again else loader
    assert len(go(tmp_path, data=loader, epochs=2)) == 2
    transform.calls = 99
    with pytest.raises(ValueError, match="transform, calls: 0 in the checkpoint, 99 here"):
        go(tmp_path, data=loader, epochs=3)


def test_another_number_in_a_loss_is_still_another_setting(tmp_path):
    def of(smoothing):
        return lambda scores, labels: nn.cross_entropy(scores, labels, label_smoothing=smoothing)

    go(tmp_path, of(0.1))
    with pytest.raises(ValueError, match=r"loss, smoothing: 0\.1 in the checkpoint, 0\.2 here"):
        go(tmp_path, of(0.2), epochs=2)


def test_the_time_at_which_a_program_began_is_no_setting(tmp_path):
    def of(began):
        return lambda scores, labels: nn.cross_entropy(scores, labels) if time.time() >= began else None

    go(tmp_path, of(time.time() - 3600))
    assert len(go(tmp_path, of(time.time()), epochs=2)) == 2


def test_the_device_is_no_setting(tmp_path):
    class Net(nn.Module):
        def __init__(self, device):
            super().__init__()
            self.device, self.last = device, nn.Linear(4, 2)

        def forward(self, x):
            return self.last(x)

    def of(device):
        return lambda scores, labels: nn.cross_entropy(scores, labels) if device else None

    go(tmp_path, of("cpu"), model=Net("cpu"))
    assert len(go(tmp_path, of("cuda:0"), model=Net("cuda:0"), epochs=2)) == 2


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Word(str, enum.Enum):
    MEAN = "mean"


class Number(enum.IntEnum):
    TWO = 2


def test_enumerations_are_told_apart_and_come_back(tmp_path):
    def of(colour):
        def loss(scores, labels, colour=colour, word=Word.MEAN, number=Number.TWO):
            return nn.cross_entropy(scores, labels, reduction=word.value)

        return loss

    go(tmp_path, of(Colour.RED))
    go(tmp_path, of(Colour.RED), epochs=2)
    with pytest.raises(ValueError, match=r"colour: 'Colour\.RED' in the checkpoint, 'Colour\.BLUE' here"):
        go(tmp_path, of(Colour.BLUE), epochs=3)


def test_long_lists_in_functions_are_noted_in_brief():
    def of(numbers):
        return lambda: numbers

    many = [np.full(50, i) for i in range(5000)]
    noted = fingerprint(of(many))
    assert len(repr(noted)) < 200
    assert noted == fingerprint(of([*many])) != fingerprint(of(many[:-1]))
    many[0] = many[1]
    assert noted != fingerprint(of(many))
    assert len(repr(fingerprint(of(dict(enumerate(many)))))) < 200


class Stream:
    """A data set without a length, whose loader raises for its length, as PyTorch's does."""

    dataset = iter(())

    def __len__(self):
        raise TypeError("object of type 'Stream' has no len()")

    def __iter__(self):
        for i in range(0, 24, 8):
            yield mt.Tensor(POINTS[i : i + 8]), mt.tensor(LABELS[i : i + 8])


def test_data_without_a_length_can_be_trained_on_and_resumed(tmp_path):
    go(tmp_path, data=Stream())
    assert len(go(tmp_path, data=Stream(), epochs=2)) == 2


def test_a_short_cycle_is_made_longer_though_it_begins_with_another_momentum(tmp_path):
    go(tmp_path, schedule=lambda optimizer: nn.OneCycleLR(optimizer, max_lr=0.1, total_steps=3))
    with pytest.warns(UserWarning, match="continues for more epochs with another schedule"):
        history = go(tmp_path, epochs=2, schedule=lambda optimizer: nn.OneCycleLR(optimizer, max_lr=0.1, total_steps=6))
    assert len(history) == 2


def test_numpys_integers_are_integers(tmp_path):
    def run(two):
        mt.manual_seed(0)
        model = nn.Linear(4, 2)
        checkpoint = nn.Checkpoint(tmp_path, every=two, keep=two)
        data, optimizer = DataLoader(TensorDataset(POINTS, LABELS), 8), nn.SGD(model.parameters(), lr=0.1)
        stopping = nn.EarlyStopping(patience=two)
        return nn.fit(
            model, data, nn.cross_entropy, optimizer, epochs=2 * two - 2, accumulate=two, callbacks=[stopping],
            checkpoint=checkpoint, progress=False,
        )  # fmt: skip

    assert len(run(np.int64(2))) == 2
    with pytest.warns(UserWarning, match="nothing to do"):
        assert len(run(2)) == 2
    with pytest.raises(ValueError, match="keep must be an integer of 1 or more, got None"):
        nn.Checkpoint(tmp_path, keep=None)
