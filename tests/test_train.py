"""The training loop: what it measures, prints and repeats."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset
from microtensor.nn.train import evaluate, fit

POINTS = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
LABELS = (POINTS[:, 0] > POINTS[:, 1]).astype(np.int64)


def train(epochs=3, **settings):
    mt.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))
    data = DataLoader(TensorDataset(POINTS, LABELS), batch_size=8, shuffle=True, generator=mt.Generator(1))
    optimizer = nn.SGD(model.parameters(), lr=0.3, momentum=0.9)
    return model, fit(model, data, nn.cross_entropy, optimizer, epochs=epochs, **settings)


def weights(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


def test_it_learns_and_keeps_a_history():
    _, history = train(40, progress=False)
    assert [row["epoch"] for row in history] == list(range(1, 41))
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["accuracy"] > 0.9
    assert all(row["seconds"] > 0 for row in history)


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    first, second = (weights(train(progress=False)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_validation_measures_in_eval_mode_and_restores_training():
    loader = DataLoader(TensorDataset(POINTS, LABELS), batch_size=16)
    model, history = train(2, validation=loader, progress=False)
    assert history[-1]["val_loss"] == pytest.approx(evaluate(model, loader)["loss"])
    assert model.training
    scores = model.eval()(mt.Tensor(POINTS))
    assert evaluate(model, loader)["accuracy"] == (scores.numpy().argmax(1) == LABELS).mean()
    assert evaluate(model, loader)["loss"] == pytest.approx(nn.cross_entropy(scores, LABELS).item(), rel=1e-5)


def test_a_line_per_epoch_where_no_terminal_is(capsys):
    loader = DataLoader(TensorDataset(POINTS, LABELS), batch_size=16)
    train(2, validation=loader)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2: loss ")
    assert "validation loss" in lines[0]


def test_on_epoch_is_called_with_each_row():
    rows = []
    _, history = train(2, on_epoch=rows.append, progress=False)
    assert rows == history


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("microtensor.nn.train.SHOW_EVERY", 2)
    train(1)
    error = capsys.readouterr().err
    assert "epoch 1/1" in error
    assert "loss" in error


def test_no_data_is_refused():
    empty = DataLoader(TensorDataset(POINTS[:3], LABELS[:3]), batch_size=8, drop_last=True)
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="the data has no batch"):
        fit(model, empty, nn.cross_entropy, nn.SGD(model.parameters(), lr=0.1), progress=False)
