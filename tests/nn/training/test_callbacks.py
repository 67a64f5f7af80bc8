"""Callbacks: when they are called; stopping early."""

from functools import partial

import numpy as np
import pytest
from training import LABELS, POINTS, setting, weights

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset
from microtensor.nn.training.train import fit


class Log(nn.Callback):
    def __init__(self):
        self.moments = []

    def on_start(self, run):
        self.moments.append(("start", run.epoch, run.step))

    def on_step(self, run):
        self.moments.append(("step", run.epoch, run.step))

    def on_epoch(self, run):
        self.moments.append(("epoch", run.epoch, run.step))

    def on_end(self, run):
        self.moments.append(("end", run.epoch, run.step))


def test_the_four_moments():
    model, data, optimizer = setting(batch_size=20)
    log = Log()
    fit(model, data, nn.cross_entropy, optimizer, epochs=2, callbacks=[log], progress=False)
    epochs = [("step", 0, 1), ("step", 0, 2), ("epoch", 1, 2), ("step", 1, 3), ("step", 1, 4), ("epoch", 2, 4)]
    assert log.moments == [("start", 0, 0), *epochs, ("end", 2, 4)]


class Losses(nn.Callback):
    """Writes given losses into the history, and records the weights."""

    def __init__(self, losses):
        self.losses, self.weights = losses, []

    def on_epoch(self, run):
        run.history[-1]["loss"] = self.losses[run.epoch - 1]
        self.weights.append(weights(run.model))


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "epochs", "best"),
    [
        ([3, 2, 1, 2, 2, 0], 2, 0, 5, 3),
        ([3, 2, 1, 2, 0, 2], 2, 0, 6, 5),
        ([3, 2.95, 2.9, 2.8], 2, 0.15, 3, 1),
        ([float("nan"), 2, 3, 4], 2, 0, 4, 2),
        ([4, 3, 2, 1], 1, 0, 4, 4),
    ],
)
def test_it_stops_and_goes_back_to_the_best_weights(losses, patience, min_delta, epochs, best, capsys):
    model, data, optimizer = setting()
    stopping, noted = nn.EarlyStopping(patience, min_delta=min_delta), Losses(losses)
    history = fit(model, data, nn.cross_entropy, optimizer, epochs=len(losses), callbacks=[noted, stopping])
    assert (len(history), stopping.best_epoch) == (epochs, best)
    np.testing.assert_array_equal(weights(model), noted.weights[best - 1])
    said = f"stopped after epoch {epochs}: loss has not become better than {losses[best - 1]:.4g} since epoch {best}"
    assert (said in capsys.readouterr().out) == (epochs - best >= patience)


def test_it_keeps_the_last_weights_if_it_is_told_to():
    model, data, optimizer = setting()
    noted = Losses([1, 2, 3])
    callbacks = [noted, nn.EarlyStopping(2, restore_best_weights=False)]
    fit(model, data, nn.cross_entropy, optimizer, epochs=3, callbacks=callbacks, progress=False)
    np.testing.assert_array_equal(weights(model), noted.weights[-1])


def test_it_watches_the_validation_and_says_what_is_not_measured():
    model, data, optimizer = setting()
    validation = DataLoader(TensorDataset(POINTS, LABELS), batch_size=40)
    stopping = nn.EarlyStopping()
    history = fit(model, data, nn.cross_entropy, optimizer, callbacks=[stopping], validation=validation, progress=False)
    assert stopping.best == history[0]["val_loss"]
    assert nn.EarlyStopping(monitor="val_recall").mode is None  # fit asks the metric, or the user
    wrong = nn.EarlyStopping(monitor="val_accuracy")
    with pytest.raises(ValueError, match="EarlyStopping: 'val_accuracy' is not measured; there are .*; give fit a validation"):
        fit(model, data, nn.cross_entropy, optimizer, callbacks=[wrong], progress=False)


def test_it_begins_afresh_with_each_run():
    stopping = nn.EarlyStopping(patience=1)
    model, data, optimizer = setting()
    fit(model, data, nn.cross_entropy, optimizer, epochs=3, callbacks=[Losses([1, 1, 1]), stopping], progress=False)
    model, data, optimizer = setting(lr=0.01)  # the second model must not get the weights of the first
    noted = Losses([4, 3, 2])
    history = fit(model, data, nn.cross_entropy, optimizer, epochs=3, callbacks=[noted, stopping], progress=False)
    assert (len(history), stopping.best, stopping.best_epoch) == (3, 2, 3)
    np.testing.assert_array_equal(weights(model), noted.weights[-1])


def test_it_says_what_it_watched(capsys):
    model, data, optimizer = setting(lr=0.0)
    validation = DataLoader(TensorDataset(POINTS, LABELS), batch_size=40)
    stopping = nn.EarlyStopping(patience=1)
    fit(model, data, nn.cross_entropy, optimizer, epochs=3, callbacks=[stopping], validation=validation)
    assert "stopped after epoch 2: val_loss has not become better" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "patience must be an integer of epochs, 1 or more, got 0"),
        ({"min_delta": -1}, "min_delta must be a number of 0 or more, got -1"),
        ({"mode": "up"}, 'mode must be "min", "max" or None, got \'up\''),
    ],
)
def test_wrong_settings_are_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=message):
        nn.EarlyStopping(**settings)


class Rising(nn.Callback):
    """Writes 0.1, 0.2 … as the metric of each epoch."""

    def on_epoch(self, run):
        run.history[-1]["val_dice"] = run.epoch / 10
        self.weights = weights(run.model)


def dice(scores, labels):
    return 0.5


@pytest.mark.parametrize("watch", ["checkpoint", "stopping"])
def test_which_way_is_better_is_said_by_the_user_or_by_the_metric_and_never_guessed(tmp_path, watch):
    """For a metric that rises the last epoch is best: the first would be best if lower were taken for better."""
    up, down = (type("", (), {"higher_is_better": way, "__call__": lambda self, x, y: 0.5})() for way in (True, False))
    for number, (mode, metric, best) in enumerate(
        [
            ("max", dice, 3),
            ("min", dice, 1),
            (None, up, 3),
            (None, down, 1),
            ("min", up, 1),
            (None, partial(nn.accuracy, k=1), 3),
        ]
    ):
        model, data, optimizer = setting()
        folder = tmp_path / str(number)
        checkpoint = nn.Checkpoint(folder, monitor="val_dice", mode=mode) if watch == "checkpoint" else None
        stopping = [nn.EarlyStopping(9, "val_dice", mode=mode)] if watch == "stopping" else []
        noted = Noted()
        history = fit(
            model, data, nn.cross_entropy, optimizer, epochs=3, metrics={"dice": metric}, validation=data,
            callbacks=[Rising(), noted, *stopping], checkpoint=checkpoint, progress=False,
        )  # fmt: skip
        if checkpoint is not None:
            model.load_state_dict(mt.load(folder / "best.npz"))
        np.testing.assert_array_equal(weights(model), noted.weights[best - 1])
        if mode is None:
            assert history.best("val_dice")["epoch"] == best
    model, data, optimizer = setting()
    before = weights(model)
    unsaid = {"checkpoint": nn.Checkpoint(tmp_path / "run", monitor="val_dice")}
    if watch == "stopping":
        unsaid = {"callbacks": [nn.EarlyStopping(monitor="val_dice")]}
    with pytest.raises(ValueError, match="'val_dice' does not say whether higher or lower is better; say .*mode=\"max\""):
        fit(model, data, nn.cross_entropy, optimizer, metrics={"dice": dice}, validation=data, progress=False, **unsaid)
    np.testing.assert_array_equal(weights(model), before)


class Noted(nn.Callback):
    def __init__(self):
        self.weights = []

    def on_epoch(self, run):
        self.weights.append(weights(run.model))


def test_metrics_and_losses_of_the_library_say_which_way_is_better():
    model, data, optimizer = setting()
    metrics = {
        "a": nn.accuracy,
        "b": nn.cross_entropy,
        "c": nn.CrossEntropyLoss(),
        "d": partial(nn.cross_entropy, label_smoothing=0.1),
    }
    history = fit(model, data, nn.cross_entropy, optimizer, metrics=metrics, validation=data, progress=False)
    assert {name: history.modes[name] for name in ("a", "b", "c", "d", "val_a", "val_d", "loss", "val_loss")} == {
        "a": "max", "b": "min", "c": "min", "d": "min", "val_a": "max", "val_d": "min", "loss": "min", "val_loss": "min",
    }  # fmt: skip


def test_the_way_is_chosen_anew_for_each_run():
    stopping = nn.EarlyStopping(9, "score")
    for way, mode in ((True, "max"), (False, "min")):
        model, data, optimizer = setting()
        metric = type("", (), {"higher_is_better": way, "__call__": lambda self, x, y: 0.5})()
        fit(model, data, nn.cross_entropy, optimizer, metrics={"score": metric}, callbacks=[stopping], progress=False)
        assert stopping.mode == mode


@pytest.mark.parametrize("made", [nn.EarlyStopping, partial(nn.Checkpoint, "run")])
def test_a_monitor_or_mode_that_is_none_is_refused(made):
    with pytest.raises(ValueError, match='mode must be "min", "max" or None, got \'maximum\''):
        made(monitor="val_dice", mode="maximum")
    with pytest.raises(TypeError, match='monitor must be a name of the history, such as "val_loss", got function'):
        made(monitor=dice)
