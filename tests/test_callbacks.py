"""Callbacks: when they are called; stopping early."""

import numpy as np
import pytest
from test_train import LABELS, POINTS, setting, weights

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
    """Writes losses of its own into the history, and notes the weights."""

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
        ({"patience": 0}, "patience must be a whole number of epochs, 1 or more, got 0"),
        ({"min_delta": -1}, "min_delta must be a number of 0 or more, got -1"),
        ({"mode": "up"}, 'mode must be "min", "max" or None, got \'up\''),
    ],
)
def test_wrong_settings_are_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=message):
        nn.EarlyStopping(**settings)
