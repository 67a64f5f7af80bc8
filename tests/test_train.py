"""The training loop: what it measures, prints and repeats."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset
from microtensor.nn.training.train import evaluate, fit

POINTS = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
LABELS = (POINTS[:, 0] > POINTS[:, 1]).astype(np.int64)


def setting(batch_size=8, lr=0.3):
    mt.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))
    data = DataLoader(TensorDataset(POINTS, LABELS), batch_size, shuffle=True, generator=mt.Generator(1))
    return model, data, nn.SGD(model.parameters(), lr=lr, momentum=0.9)


def train(epochs=3, **settings):
    model, data, optimizer = setting()
    settings = {"progress": False} | settings
    return model, fit(model, data, nn.cross_entropy, optimizer, epochs=epochs, **settings)


def weights(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


def test_it_learns_and_keeps_a_history():
    _, history = train(40)
    assert [row["epoch"] for row in history] == list(range(1, 41))
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["accuracy"] > 0.9
    assert all(row["seconds"] > 0 for row in history)
    assert history[-1]["lr"] == 0.3


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    first, second = (weights(train()[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_validation_measures_in_eval_mode_and_restores_training():
    loader = DataLoader(TensorDataset(POINTS, LABELS), batch_size=16)
    model, history = train(2, validation=loader)
    assert history[-1]["val_loss"] == pytest.approx(evaluate(model, loader)["loss"])
    assert model.training
    scores = model.eval()(mt.Tensor(POINTS))
    assert evaluate(model, loader)["accuracy"] == pytest.approx((scores.numpy().argmax(1) == LABELS).mean())
    assert evaluate(model, loader)["loss"] == pytest.approx(nn.cross_entropy(scores, LABELS).item(), rel=1e-5)


def test_a_line_per_epoch_where_no_terminal_is(capsys):
    loader = DataLoader(TensorDataset(POINTS, LABELS), batch_size=16)
    train(2, validation=loader, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2: loss ")
    assert "; validation loss" in lines[0]


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("microtensor.nn.training.train.SHOW_EVERY", 2)
    train(1, progress=True)
    error = capsys.readouterr().err
    assert "epoch 1/1" in error
    assert "32/40" in error  # images
    assert "loss" in error
    assert "accuracy" in error
    assert "images/s" in error


@pytest.mark.parametrize("size", [8, 7])  # 7: the last batch and the last group are smaller
def test_accumulated_batches_are_one_large_one(size):
    small, large = (
        nn.Sequential(nn.Linear(2, 8, generator=mt.Generator(0)), nn.Tanh(), nn.Linear(8, 2, generator=mt.Generator(1)))
        for _ in range(2)
    )
    for model, batch, accumulate in ((small, size, 3), (large, 3 * size, 1)):
        data = DataLoader(TensorDataset(POINTS, LABELS), batch)
        optimizer = nn.SGD(model.parameters(), lr=0.3, momentum=0.9)
        fit(model, data, nn.cross_entropy, optimizer, epochs=3, accumulate=accumulate, progress=False)
    np.testing.assert_allclose(weights(small), weights(large), rtol=1e-5, atol=1e-6)


def test_metrics_of_ones_own_and_a_regression():
    targets = mt.Tensor(POINTS.sum(1, keepdims=True))
    model = nn.Linear(2, 1)
    data = DataLoader(TensorDataset(POINTS, targets), batch_size=8)
    metrics = {"largest": lambda scores, labels: (scores - labels).abs().max()}
    settings = {"epochs": 50, "progress": False}
    history = fit(model, data, nn.mse_loss, nn.SGD(model.parameters(), lr=0.1), metrics=metrics, validation=data, **settings)
    assert history.names() == ["epoch", "loss", "largest", "lr", "seconds", "val_loss", "val_largest"]
    assert history[-1]["val_largest"] < 0.01
    history = fit(model, data, nn.mse_loss, nn.SGD(model.parameters(), lr=0.1), progress=False)
    assert history.names() == ["epoch", "loss", "lr", "seconds"]


def test_schedules_step_when_they_are_told():
    for per, count in (("step", 10), ("epoch", 2)):
        model, data, optimizer = setting()
        schedule = nn.ExponentialLR(optimizer, gamma=0.5)
        history = fit(model, data, nn.cross_entropy, optimizer, epochs=2, schedule=schedule, schedule_per=per, progress=False)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3 * 0.5**count)
        assert history[0]["lr"] == pytest.approx(0.3 * (0.5**5 if per == "step" else 1))


def test_a_plateau_lowers_the_learning_rate():
    model, data, optimizer = setting(lr=0.0)
    schedule = nn.ReduceLROnPlateau(optimizer, patience=1)
    optimizer.param_groups[0]["lr"] = 1e-12
    schedule.eps = 0
    fit(model, data, nn.cross_entropy, optimizer, epochs=8, schedule=schedule, validation=data, progress=False)
    assert optimizer.param_groups[0]["lr"] < 1e-12


def test_gradients_are_clipped():
    before = None
    for clip in (1e-3, None):
        model, data, optimizer = setting(batch_size=40, lr=1.0)
        start = weights(model)
        fit(model, data, nn.cross_entropy, optimizer, clip_norm=clip, progress=False)
        moved = np.linalg.norm(weights(model) - start)
        assert (moved == pytest.approx(1e-3, rel=1e-3)) == (clip is not None)
        before = moved if before is None else before


def test_averaged_weights_are_what_is_validated():
    model, data, optimizer = setting()
    average = nn.ExponentialMovingAverage(model, decay=0.9)
    loader = DataLoader(TensorDataset(POINTS, LABELS), batch_size=40)
    history = fit(model, data, nn.cross_entropy, optimizer, average=average, validation=loader, epochs=2, progress=False)
    own = evaluate(model, loader)["loss"]
    with average.applied():
        averaged = evaluate(model, loader)["loss"]
    assert history[-1]["val_loss"] == averaged != own


def test_a_loss_that_is_nan_stops_before_the_weights_are_spoiled():
    model, data, optimizer = setting()
    calls = []

    def loss(scores, labels):
        calls.append(1)
        return nn.cross_entropy(scores, labels) * (float("nan") if len(calls) == 8 else 1.0)

    message = r"the loss is nan in epoch 2, at step 8; its mean in this epoch was 0\.\d+. The learning rate is 0.3: try a tenth"
    with pytest.raises(FloatingPointError, match=message):
        fit(model, data, loss, optimizer, epochs=3, progress=False)
    assert np.isfinite(weights(model)).all()


def test_no_data_is_refused():
    empty = DataLoader(TensorDataset(POINTS[:3], LABELS[:3]), batch_size=8, drop_last=True)
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="the data has no batch"):
        fit(model, empty, nn.cross_entropy, nn.SGD(model.parameters(), lr=0.1), progress=False)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": None}, TypeError, r"model must be of class Module, got NoneType; fit\(model, data, loss, optimizer\)"),
        ({"optimizer": nn.cross_entropy}, TypeError, "optimizer must be of class Optimizer, got function"),
        ({"epochs": -1}, ValueError, "epochs must be a whole number of 0 or more, got -1"),
        ({"accumulate": 0}, ValueError, "accumulate must be a whole number of 1 or more, got 0"),
        ({"schedule_per": "batch"}, ValueError, 'schedule_per must be "step" or "epoch", got \'batch\''),
        ({"clip_norm": 0}, ValueError, "clip_norm must be a number above 0, got 0"),
        ({"callbacks": [print]}, TypeError, "callbacks must be a list of Callback objects"),
        ({"checkpoint": "folder"}, TypeError, r'checkpoint must be a Checkpoint, got str; write Checkpoint\("folder"\)'),
        ({"loss": lambda scores, labels: scores}, TypeError, r"the loss must be one number, as a Tensor, got shape \(8, 2\)"),
        ({"loss": lambda scores, labels: 1.0}, TypeError, "the loss must be one number, as a Tensor, got float"),
        ({"data": [POINTS]}, TypeError, r"a batch must be a pair of tensors \(inputs, labels\), got ndarray; use a DataLoader"),
        ({"data": [(mt.Tensor(POINTS),)]}, TypeError, r"a batch must be a pair of tensors \(inputs, labels\), got 1 things"),
    ],
)
def test_wrong_input_is_refused_in_words(changes, error, message):
    model, data, optimizer = setting()
    arguments = {"model": model, "data": data, "loss": nn.cross_entropy, "optimizer": optimizer, "progress": False}
    with pytest.raises(error, match=message):
        fit(**(arguments | changes))
