"""Resuming with other settings: differences are reported, `resume` decides; a checkpoint that is refused changes nothing."""

import math
import re
import warnings
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from training import assert_same_values

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, Subset, TensorDataset
from microtensor.data.transforms import RandomHorizontalFlip

POINTS = np.random.default_rng(0).standard_normal((24, 4)).astype(np.float32)
LABELS = (POINTS.sum(1) > 0).astype(np.int64)
STEPS = 3  # per epoch


class Stop(Exception):
    pass


class StopAt(nn.Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise Stop

    on_epoch = on_step


class Watch(nn.Callback):
    """The learning rate after each step, with that at the start; the run, and its weights at the start."""

    def __init__(self):
        self.rates, self.run = [], None

    def on_start(self, run):
        self.run, self.start = run, weights(run.model)
        self.rates.append(run.optimizer.param_groups[0]["lr"])

    def on_step(self, run):
        self.rates.append(run.optimizer.param_groups[0]["lr"])


def go(folder, *, epochs=2, lr=0.1, stop_at=None, seed=0, resume=True, every=1, **changes):
    """A small run; `changes` are functions that make another part: optimizer(model), schedule(optimizer), …"""
    mt.manual_seed(seed)
    model = changes.get("model", lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))()
    optimizer = changes.get("optimizer", lambda model: nn.SGD(model.parameters(), lr=lr, momentum=0.9))(model)
    schedule = changes["schedule"](optimizer) if "schedule" in changes else None
    watch = Watch()
    settings = {
        "schedule": schedule,
        "schedule_per": changes.get("per", "step") if schedule is not None else None,
        "average": changes["average"](model) if "average" in changes else None,
        "validation": changes["validation"]() if "validation" in changes else None,
        "callbacks": [watch, StopAt(stop_at), *changes.get("callbacks", list)()],
        "checkpoint": nn.Checkpoint(folder, every=every, resume=resume, **changes.get("checkpoint", {})),
    }
    settings |= {name: changes[name] for name in ("clip_norm", "accumulate", "precision", "metrics") if name in changes}
    data = changes.get("data", lambda: DataLoader(TensorDataset(POINTS, LABELS), 8, shuffle=True))()
    outcome = {"model": model, "optimizer": optimizer, "schedule": schedule, "watch": watch}
    try:
        history = nn.fit(
            model, data, changes.get("loss", nn.cross_entropy), optimizer, epochs=epochs, progress=False, **settings
        )
    except Stop:
        history = None
    return outcome | {"history": history}


def weights(model):
    return {name: x.numpy().copy() for name, x in model.state_dict().items()}


CHANGES = {
    "lr": ({"lr": 1e-9}, "optimizer, lr: 0.1 in the checkpoint, 1e-09 here"),
    "kind": ({"optimizer": lambda m: nn.Adam(m.parameters(), lr=0.1)}, "optimizer, kind: 'SGD' in the checkpoint, 'Adam' here"),
    "momentum": (
        {"optimizer": lambda m: nn.SGD(m.parameters(), lr=0.1, momentum=0.5)},
        "optimizer, momentum: 0.9 in the checkpoint, 0.5 here",
    ),
    "weight decay": (
        {"optimizer": lambda m: nn.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)},
        "optimizer, weight_decay: 0.0 in the checkpoint, 0.1 here",
    ),
    "a schedule": (
        {"schedule": lambda o: nn.StepLR(o, 2)},
        r"schedule: none in the checkpoint, StepLR\(counts='step', .* here",
    ),
    "batch size": (
        {"data": lambda: DataLoader(TensorDataset(POINTS, LABELS), 6, shuffle=True)},
        "data, batch_size: 8 in the checkpoint, 6 here",
    ),
    "shuffle": ({"data": lambda: DataLoader(TensorDataset(POINTS, LABELS), 8)}, "data, shuffle: True in the checkpoint, False"),
    "length": (
        {"data": lambda: DataLoader(TensorDataset(POINTS[:16], LABELS[:16]), 8, shuffle=True)},
        "data, samples: 24 in the checkpoint, 16 here",
    ),
    "numbers": (
        {"data": lambda: DataLoader(TensorDataset(-POINTS, LABELS), 8, shuffle=True)},
        "data, content: 'checksum ........' in the checkpoint, 'checksum ........' here",
    ),
    "loss": ({"loss": nn.CrossEntropyLoss()}, "loss: 'cross_entropy' in the checkpoint, .* here"),
    "lambda": ({"loss": lambda x, y: nn.cross_entropy(x, y)}, "loss: 'cross_entropy' in the checkpoint, .*lambda.* here"),
    "partial": (
        {"loss": partial(nn.cross_entropy, label_smoothing=0.1)},
        "loss: 'cross_entropy' in the checkpoint, cross_entropy\\(label_smoothing=0.1\\) here",
    ),
    "clip_norm": ({"clip_norm": 1.0}, "fit, clip_norm: none in the checkpoint, 1.0 here"),
    "accumulate": ({"accumulate": 2}, "fit, accumulate: 1 in the checkpoint, 2 here"),
    "seed": ({"seed": 1}, "seeds, default: 0 in the checkpoint, 1 here"),
    "precision": ({"precision": "16-mixed"}, "precision, kind: 'full' in the checkpoint, 'mixed' here"),
    "average": ({"average": nn.ExponentialMovingAverage}, "average: none in the checkpoint, .* here"),
    "layers of one shape": (
        {"model": lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))},
        r"model, 1: 'ReLU\(\)' in the checkpoint, 'Tanh\(\)' here",
    ),
    "frozen": (
        {"model": lambda: nn.Sequential(nn.Linear(4, 8).freeze(), nn.ReLU(), nn.Linear(8, 2))},
        r"frozen: \[\] in the checkpoint, \['0.weight', '0.bias'\] here",
    ),
    "validation": (
        {"validation": lambda: DataLoader(TensorDataset(POINTS, LABELS), 8)},
        r"validation: none in the checkpoint, DataLoader\(samples=24, .* here",
    ),
    "monitor": ({"checkpoint": {"monitor": "loss"}}, "callbacks, Checkpoint, monitor: none in the checkpoint, 'loss' here"),
}


@pytest.mark.parametrize("stop_at", [None, 2])
@pytest.mark.parametrize("name", CHANGES)
def test_another_setting_is_told_with_both_values_and_nothing_is_touched(tmp_path, name, stop_at):
    changes, message = CHANGES[name]
    go(tmp_path, stop_at=stop_at)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    expected = rf"(?s)is of a run with other settings:.*{message}.*Checkpoint\(.*, resume=\"given\"\)"
    with pytest.raises(ValueError, match=expected) as told:
        go(tmp_path, epochs=3, **changes)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert len(str(told.value)) < 1500


def test_what_is_refused_leaves_all_as_it_was(tmp_path):
    def parts(kind):
        mt.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1, generator=mt.Generator(2)), nn.Linear(8, 2))
        optimizer = kind(model.parameters(), lr=0.1)
        schedule = nn.CosineAnnealingLR(optimizer, T_max=6)
        average = nn.ExponentialMovingAverage(model)
        data = DataLoader(TensorDataset(POINTS, LABELS), 8, shuffle=True, generator=mt.Generator(5))
        stopping, checkpoint = nn.EarlyStopping(3), nn.Checkpoint(tmp_path, every=1)
        settings = {
            "schedule": schedule,
            "schedule_per": "step",
            "average": average,
            "checkpoint": checkpoint,
            "progress": False,
        }
        return model, data, optimizer, settings | {"callbacks": [stopping, StopAt(4)]}

    def states(model, data, optimizer, settings):
        own = [
            settings["schedule"],
            settings["average"],
            *settings["callbacks"],
            settings["checkpoint"],
            model,
            data,
            optimizer,
        ]
        random = [mt.random.default.get_state(), data.generator.get_state(), model[2].generator.get_state()]
        return [part.state_dict() for part in own], random, model.training

    def train(model, data, optimizer, settings):
        nn.fit(model, data, nn.cross_entropy, optimizer, epochs=2, **settings)

    with pytest.raises(Stop):
        train(*parts(nn.Adam))
    for broken in (
        lambda: parts(nn.RMSprop),  # refused because its settings differ
        lambda: (*parts(nn.Adam)[:3], parts(nn.Adam)[3] | {"callbacks": [nn.EarlyStopping(3), StopAt(4), Refusing()]}),
    ):
        model, data, optimizer, settings = broken()
        if optimizer is not settings["schedule"].optimizer:
            settings |= {"schedule": nn.CosineAnnealingLR(optimizer, T_max=6), "average": nn.ExponentialMovingAverage(model)}
        before = [x.clone() for x in model.state_dict().values()]
        state = states(model, data, optimizer, settings)
        with pytest.raises(ValueError, match="Checkpoint: "):
            train(model, data, optimizer, settings)
        assert_same_values(list(states(model, data, optimizer, settings)), list(state))
        for x, y in zip(model.state_dict().values(), before):
            np.testing.assert_array_equal(x.numpy(), y.numpy())


class Refusing(nn.Callback):
    """The part that is loaded last raises."""

    def load_state_dict(self, state):
        raise KeyError("mine")


def test_a_callback_that_refuses_at_the_start_takes_all_back(tmp_path):
    go(tmp_path, stop_at=2)

    class No(Watch):
        def on_start(self, run):
            seen.append(weights(run.model))
            raise RuntimeError("not today")

    seen = []
    No.__name__ = "Watch"
    mt.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer, before = nn.SGD(model.parameters(), lr=0.1, momentum=0.9), weights(model)
    data = DataLoader(TensorDataset(POINTS, LABELS), 8, shuffle=True)
    with pytest.raises(RuntimeError, match="not today"):
        nn.fit(
            model, data, nn.cross_entropy, optimizer, epochs=2, callbacks=[No(), StopAt(None)],
            checkpoint=nn.Checkpoint(tmp_path, every=1), progress=False,
        )  # fmt: skip
    assert any((seen[0][name] != before[name]).any() for name in before)  # the checkpoint had been loaded
    for name, x in weights(model).items():
        np.testing.assert_array_equal(x, before[name])
    assert not optimizer.state


@pytest.mark.parametrize("stop_at", [2, 3, 4])
def test_given_goes_on_with_what_is_given(tmp_path, stop_at):
    go(tmp_path, stop_at=stop_at)
    resumed = go(tmp_path, lr=0.01, resume="given")
    assert set(resumed["watch"].rates) == {0.01}
    assert len(resumed["history"]) == 2
    again = go(tmp_path, epochs=3, lr=0.01)  # the checkpoint has the new settings now
    assert set(again["watch"].rates) == {0.01}
    with pytest.raises(ValueError, match="lr: 0.01 in the checkpoint, 0.1 here"):
        go(tmp_path, epochs=3)


def test_saved_goes_on_with_what_was_saved(tmp_path):
    whole = go(tmp_path / "whole", clip_norm=1.0, epochs=3)
    go(tmp_path / "killed", clip_norm=1.0, stop_at=4)
    resumed = go(tmp_path / "killed", lr=1e-9, seed=7, clip_norm=9.0, epochs=3, resume="saved")
    for name, x in weights(whole["model"]).items():
        np.testing.assert_array_equal(weights(resumed["model"])[name], x)
    assert set(resumed["watch"].rates) == {0.1}
    cannot = r'settings that resume="saved" cannot put back:\n  data, batch_size: 8 in the checkpoint, 6'
    with pytest.raises(ValueError, match=cannot):
        go(tmp_path / "killed", lr=1e-9, epochs=4, resume="saved", data=CHANGES["batch size"][0]["data"])


def test_restart_begins_anew_and_keeps_the_old_until_there_is_a_new_one(tmp_path):
    go(tmp_path)
    old = {path.name for path in tmp_path.iterdir()}
    go(tmp_path, lr=0.01, resume="restart", stop_at=1, every=None)
    assert {path.name for path in tmp_path.iterdir()} == old
    fresh = go(tmp_path, lr=0.01, resume="restart")
    assert len(fresh["watch"].rates) == 1 + 6
    assert go(tmp_path, lr=0.01, epochs=3)["history"][-1]["epoch"] == 3


def test_an_epoch_under_way_begins_again_with_other_batches(tmp_path):
    go(tmp_path, stop_at=5)
    with pytest.warns(UserWarning, match="the epoch that was interrupted starts again, because its batches are others now"):
        resumed = go(tmp_path, resume="given", data=CHANGES["batch size"][0]["data"])
    assert len(resumed["watch"].rates) == 1 + 4  # of 6 samples each
    assert [row["epoch"] for row in resumed["history"]] == [1, 2]


def test_a_rate_that_a_callback_changed_is_no_other_setting(tmp_path):
    class Halve(nn.Callback):
        def on_epoch(self, run):
            run.optimizer.param_groups[0]["lr"] /= 2

    for schedule in ({}, {"schedule": lambda o: nn.StepLR(o, 100), "per": "epoch"}):
        folder = tmp_path / str(len(schedule))
        whole = go(folder / "whole", epochs=4, callbacks=lambda: [Halve()], **schedule)
        go(folder / "killed", epochs=4, callbacks=lambda: [Halve()], stop_at=7, **schedule)
        resumed = go(folder / "killed", epochs=4, callbacks=lambda: [Halve()], **schedule)
        assert resumed["watch"].rates[1:] == whole["watch"].rates[1 - len(resumed["watch"].rates) :]


SCHEDULES = {
    "cycle": lambda steps: lambda o: nn.OneCycleLR(o, 0.1, total_steps=steps),
    "cosine": lambda steps: lambda o: nn.CosineAnnealingLR(o, T_max=steps),
    "restarts": lambda steps: lambda o: nn.CosineAnnealingWarmRestarts(o, T_0=steps),
    "polynomial": lambda steps: lambda o: nn.PolynomialLR(o, total_iters=steps),
    "lambda": lambda steps: lambda o: nn.LambdaLR(o, lambda step: max(0.0, 1 - step / steps)),
    "milestones": lambda steps: lambda o: nn.MultiStepLR(o, [steps // 2, steps]),
    "sequence": lambda steps: (
        lambda o: nn.SequentialLR(o, [nn.LinearLR(o, total_iters=2), nn.CosineAnnealingLR(o, T_max=steps - 2)], milestones=[2])
    ),
    "sequence of a cycle": lambda steps: (
        lambda o: nn.SequentialLR(
            o, [nn.LinearLR(o, total_iters=2), nn.OneCycleLR(o, 0.1, total_steps=steps - 2)], milestones=[2]
        )
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("ended", [True, False])
def test_a_longer_schedule_and_more_epochs(tmp_path, name, ended):
    """A complete run is extended, with a warning; an interrupted one is refused. The rates are those of the longer schedule."""
    of = SCHEDULES[name]
    go(tmp_path, schedule=of(6), stop_at=None if ended else 4)
    if ended:
        with pytest.warns(
            UserWarning, match="the run had ended, and continues for more epochs with another schedule: schedule"
        ):
            longer = go(tmp_path, epochs=4, schedule=of(12))
    else:
        with pytest.raises(ValueError, match=r"other settings:\n  schedule"):
            go(tmp_path, epochs=4, schedule=of(12))
        longer = go(tmp_path, epochs=4, schedule=of(12), resume="given")
    whole = go(tmp_path / "whole", epochs=4, schedule=of(12))
    count = len(longer["watch"].rates)
    assert count == 1 + (6 if ended else 9)
    np.testing.assert_allclose(longer["watch"].rates, whole["watch"].rates[-count:], rtol=1e-12)
    again = go(tmp_path, epochs=5, schedule=SCHEDULES["cosine"](12), resume="given")  # of another class: starts afresh
    if name != "cosine":
        assert again["watch"].rates[0] == 0.1


def test_the_hint_of_a_cycle_that_is_over_can_be_followed(tmp_path):
    go(tmp_path, schedule=SCHEDULES["cycle"](6))
    over = "takes 6 steps, and the cycle of OneCycleLR is complete after 0; make it with total_steps=12, and the checkpoint resumes with it"
    with pytest.raises(ValueError, match=over) as e:
        go(tmp_path, epochs=4, schedule=SCHEDULES["cycle"](6))
    steps = int(re.search(r"total_steps=(\d+)", str(e.value))[1])
    with pytest.warns(UserWarning, match="total_steps: 6 in the checkpoint, 12 here"):
        longer = go(tmp_path, epochs=4, schedule=SCHEDULES["cycle"](steps))
    assert [row["epoch"] for row in longer["history"]] == [1, 2, 3, 4]
    killed = tmp_path / "killed"
    go(killed, schedule=SCHEDULES["cycle"](6), stop_at=4)
    with pytest.raises(ValueError, match=r'make it with total_steps=12, and Checkpoint\(…, resume="given"\)'):
        go(killed, epochs=4, schedule=SCHEDULES["cycle"](6))
    assert len(go(killed, epochs=4, schedule=SCHEDULES["cycle"](12), resume="given")["history"]) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda o: nn.StepLR(o, 2), lambda o: nn.StepLR(o, 3)),
        (lambda o: nn.StepLR(o, 2, gamma=0.5), lambda o: nn.StepLR(o, 2, gamma=0.1)),
        (lambda o: nn.LambdaLR(o, lambda step: 0.9**step), lambda o: nn.LambdaLR(o, lambda step: 0.8**step)),
        (lambda o: nn.ReduceLROnPlateau(o, patience=1), lambda o: nn.ReduceLROnPlateau(o, patience=2)),
    ],
)
def test_settings_of_schedules_are_compared(tmp_path, one, other):
    go(tmp_path, schedule=one, per="epoch", stop_at=4)
    with pytest.raises(ValueError, match=r"other settings:\n  schedule, "):
        go(tmp_path, schedule=other, per="epoch")
    assert len(go(tmp_path, schedule=other, per="epoch", resume="given")["history"]) == 2
    go(tmp_path / "b", schedule=one, per="step", stop_at=4)
    if not one(nn.SGD([nn.Parameter([1.0])], lr=1.0)).needs_metric:
        with pytest.raises(ValueError, match="schedule, counts: 'step' in the checkpoint, 'epoch' here"):
            go(tmp_path / "b", schedule=one, per="epoch")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1), lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.2)),
        (lambda x, y, s=0.1: nn.cross_entropy(x, y) * s, lambda x, y, s=0.2: nn.cross_entropy(x, y) * s),
        (partial(nn.cross_entropy, label_smoothing=0.1), partial(nn.cross_entropy, label_smoothing=0.2)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.2)),
        (nn.CrossEntropyLoss(weight=[1.0, 2.0]), nn.CrossEntropyLoss(weight=[1.0, 5.0])),
    ],
)
def test_settings_of_losses_are_compared(tmp_path, one, other):
    go(tmp_path, loss=one, stop_at=4)
    with pytest.raises(ValueError, match=r"other settings:\n  loss"):
        go(tmp_path, loss=other)
    assert len(go(tmp_path, loss=other, resume="given")["history"]) == 2
    if isinstance(other, nn.CrossEntropyLoss) and other.weight is not None:
        assert other.weight.tolist() == [1.0, 5.0]


def test_parts_and_transforms_of_data_are_compared(tmp_path):
    images = np.random.default_rng(0).standard_normal((24, 1, 2, 2)).astype(np.float32)

    on_host = TensorDataset(mt.Tensor(images, device="cpu"), mt.Tensor(LABELS, device="cpu"))

    def flipped(p):
        return {
            "data": lambda: DataLoader(on_host, 8, shuffle=True, transform=RandomHorizontalFlip(p)),
            "model": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2)),
        }

    def fold(rows):
        return {"data": lambda: DataLoader(Subset(TensorDataset(POINTS, LABELS), rows), 4, shuffle=True)}

    for one, other, message in (
        (flipped(0.5), flipped(0.1), "data, transform, .*: 0.5 in the checkpoint, 0.1 here"),
        (fold(range(12)), fold(range(12, 24)), "data, content: "),
    ):
        folder = tmp_path / message[6:10].strip()
        go(folder, **one)
        with pytest.raises(ValueError, match=message):
            go(folder, epochs=3, **other)


def test_each_group_of_an_optimizer_is_compared(tmp_path):
    def of(rates):
        def optimizer(model):
            return nn.SGD([{"params": model[i].parameters(), "lr": lr} for i, lr in zip((0, 2), rates)])

        return {"optimizer": optimizer}

    go(tmp_path, stop_at=2, **of((0.1, 0.2)))
    with pytest.raises(ValueError, match=r"other settings:\n  optimizer, group 1, lr: 0.2 in the checkpoint, 0.3 here\n"):
        go(tmp_path, **of((0.1, 0.3)))
    groups = go(tmp_path, resume="given", **of((0.1, 0.3)))["optimizer"].param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.3]


@pytest.mark.parametrize("resume", [True, "saved", "given"])
def test_a_file_of_before_settings_were_written_down(tmp_path, resume):
    go(tmp_path, stop_at=4, schedule=SCHEDULES["cosine"](6))
    for path in tmp_path.glob("step-*"):
        state = mt.load(path)
        del state["given"]
        del state["parts"]["means"]["counts"]
        mt.save(path, state)
    if resume == "given":
        resumed = go(tmp_path, lr=0.2, schedule=SCHEDULES["cosine"](6), resume=resume)
        assert resumed["watch"].rates[-1] == pytest.approx(0.0)
        assert resumed["watch"].rates[0] == pytest.approx(0.2 * (1 + math.cos(math.pi * 3 / 6)) / 2)
    else:
        with pytest.warns(UserWarning, match="this file was written before settings were saved"):
            resumed = go(tmp_path, lr=0.2, schedule=SCHEDULES["cosine"](6), resume=resume)
        whole = go(tmp_path / "whole", schedule=SCHEDULES["cosine"](6))
        assert_rows(resumed["history"], whole["history"])


def assert_rows(found, expected):
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in found] == [
        {k: v for k, v in row.items() if k != "seconds"} for row in expected
    ]


def test_a_stopped_run_goes_on_with_more_patience(tmp_path):
    flat = {"lr": 0.0, "epochs": 9}
    first = go(tmp_path, callbacks=lambda: [nn.EarlyStopping(2, "loss", min_delta=10.0)], **flat)
    assert len(first["history"]) == 3
    with pytest.warns(UserWarning, match="nothing to do: the run was stopped"):
        go(tmp_path, callbacks=lambda: [nn.EarlyStopping(2, "loss", min_delta=10.0)], **flat)
    with pytest.raises(ValueError, match="callbacks, EarlyStopping, patience: 2 in the checkpoint, 4 here"):
        go(tmp_path, callbacks=lambda: [nn.EarlyStopping(4, "loss", min_delta=10.0)], **flat)
    longer = go(tmp_path, callbacks=lambda: [nn.EarlyStopping(4, "loss", min_delta=10.0)], resume="given", **flat)
    assert len(longer["history"]) == 5


def test_other_parts_begin_where_they_are_given_anew(tmp_path):
    go(tmp_path, stop_at=4)
    resumed = go(tmp_path, resume="given", average=partial(nn.ExponentialMovingAverage, decay=0.999999), epochs=2, stop_at=5)
    average = resumed["watch"].run.average
    for mean, start in zip(average.average.values(), resumed["watch"].start.values()):
        np.testing.assert_allclose(mean.numpy(), start, rtol=1e-3, atol=1e-6)  # it started at the weights of the checkpoint
    go(tmp_path / "b", stop_at=4)
    other = go(tmp_path / "b", resume="given", optimizer=lambda m: nn.Adam(m.parameters(), lr=0.02))
    assert set(other["watch"].rates) == {0.02}


def test_a_metric_that_is_new_in_the_middle_of_an_epoch_is_the_mean_of_what_it_saw(tmp_path):
    go(tmp_path, stop_at=2, every=1)
    seen = []

    def one(scores, labels):
        seen.append(1)
        return 1.0

    resumed = go(tmp_path, metrics={"one": one, "accuracy": nn.accuracy})
    assert len(seen) in (4, 5)
    assert resumed["history"][0]["one"] == 1.0


SPOILED = [None, "text", math.nan, -1, 10**30, 0.5, [], {}, True]


@pytest.mark.parametrize("schedule", ["cycle", "sequence", "lambda"])
def test_a_file_edited_by_hand_is_refused_in_words_and_nothing_is_touched(tmp_path, schedule):
    """Some values of the checkpoint, each replaced by each kind of invalid value, or deleted."""
    go(tmp_path, stop_at=4, schedule=SCHEDULES[schedule](6))
    *older, path = sorted(tmp_path.glob("step-*"))
    for file in older:
        file.unlink()
    whole = path.read_bytes()
    count = len(list(places(mt.load(path))))
    drawn = np.random.default_rng(0).permutation([(i, j) for i in range(count) for j in range(len(SPOILED) + 1)])
    refused, others = 0, []
    for i, j in drawn[:60]:
        path.write_bytes(whole)
        edited = _listed(mt.load(path))
        place, name = list(places(edited))[i]
        if j == len(SPOILED):
            del place[name]
        else:
            place[name] = SPOILED[j]
        mt.save(path, edited)
        mt.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        before = weights(model)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                go(tmp_path, schedule=SCHEDULES[schedule](6), stop_at=4, every=None, model=lambda model=model: model)
        except FloatingPointError:  # a learning rate of 10³⁰ is valid
            pass
        except Exception as error:
            refused += 1
            same = all((x == before[key]).all() for key, x in weights(model).items())
            if not (isinstance(error, ValueError) and str(error).startswith("Checkpoint: ") and same):
                others.append((i, j, error))
    assert refused > 20
    assert others == []


def places(tree):
    """(dict or list, key) of every value in nested dicts and lists."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, (list, tuple)) else ():
        yield tree, key
        yield from places(tree[key])


def _listed(tree):
    """A copy with lists for tuples, which can be edited."""
    if isinstance(tree, dict):
        return {key: _listed(value) for key, value in tree.items()}
    return [_listed(value) for value in tree] if isinstance(tree, (list, tuple)) else tree


def test_the_same_objects_may_go_on_in_one_program(tmp_path):
    """As when a cell of a notebook is run again, with more epochs, or after Ctrl-C."""
    for schedule_of in (SCHEDULES["cosine"](20), lambda o: nn.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=9.0)):
        rates = []
        for ends in ([(6, None)], [(2, None), (4, None), (5, 14), (6, None)]):
            mt.manual_seed(0)
            model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            optimizer = nn.SGD(model.parameters(), lr=0.1)
            schedule, folder = schedule_of(optimizer), tmp_path / f"{len(ends)} {len(list(tmp_path.iterdir()))}"
            data, gradually = DataLoader(TensorDataset(POINTS, LABELS), 8, shuffle=True), nn.transfer.UnfreezeGradually(3, 2)
            for epochs, stop_at in ends:
                stop = StopAt(stop_at)
                with suppress(Stop):
                    history = nn.fit(
                        model, data, nn.cross_entropy, optimizer, epochs=epochs, schedule=schedule, schedule_per="epoch",
                        callbacks=[gradually, stop], checkpoint=nn.Checkpoint(folder, every=1), progress=False,
                    )  # fmt: skip
            rates.append([row["lr"] for row in history])
        assert rates[0] == rates[1]
