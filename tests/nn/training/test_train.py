"""The training loop: what it measures, prints and repeats."""

import sys
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import strict
from training import LABELS, POINTS, setting, weights
from waiting import no_waiting

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset
from microtensor.nn.training.train import evaluate, fit


def train(epochs=3, **settings):
    model, data, optimizer = setting()
    settings = {"progress": False} | settings
    return model, fit(model, data, nn.cross_entropy, optimizer, epochs=epochs, **settings)


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


def test_validation_measures_in_eval_mode_and_the_model_is_left_so():
    loader = DataLoader(TensorDataset(POINTS, LABELS), batch_size=16)
    model, history = train(2, validation=loader)
    assert history[-1]["val_loss"] == pytest.approx(evaluate(model, loader)["loss"])
    assert not any(module.training for module in model.modules())
    scores = model(mt.Tensor(POINTS))
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
    monkeypatch.setattr("microtensor.nn.training.progress.SHOW_EVERY_STEPS", 2)
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
    for clip in (1e-3, None):
        model, data, optimizer = setting(batch_size=40, lr=1.0)
        start = weights(model)
        fit(model, data, nn.cross_entropy, optimizer, clip_norm=clip, progress=False)
        moved = np.linalg.norm(weights(model) - start)
        assert (moved == pytest.approx(1e-3, rel=1e-3)) == (clip is not None)


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
        ({"epochs": -1}, ValueError, "epochs must be an integer of 0 or more, got -1"),
        ({"accumulate": 0}, ValueError, "accumulate must be an integer of 1 or more, got 0"),
        ({"schedule_per": "batch"}, ValueError, 'schedule_per must be "step" or "epoch", got \'batch\''),
        ({"clip_norm": 0}, ValueError, "clip_norm must be a number above 0, got 0"),
        ({"callbacks": [print]}, TypeError, "callbacks must be a list of Callback objects"),
        ({"checkpoint": "folder"}, TypeError, r'checkpoint must be a Checkpoint, got str; write Checkpoint\("folder"\)'),
        ({"loss": lambda scores, labels: scores}, TypeError, r"the loss must be one number, as a Tensor, got shape \(8, 2\)"),
        ({"loss": lambda scores, labels: 1.0}, TypeError, "the loss must be one number, as a Tensor, got float"),
        (
            {"data": [POINTS]},
            TypeError,
            r"a batch must be a pair of tensors \(inputs, labels\), or several inputs and labels, got ndarray; use a DataLoader",
        ),
        (
            {"data": [(mt.Tensor(POINTS),)]},
            TypeError,
            r"a batch must be a pair of tensors \(inputs, labels\), or several inputs and labels, got 1 things",
        ),
    ],
)
def test_wrong_input_is_refused_in_words(changes, error, message):
    model, data, optimizer = setting()
    arguments = {"model": model, "data": data, "loss": nn.cross_entropy, "optimizer": optimizer, "progress": False}
    with pytest.raises(error, match=message):
        fit(**(arguments | changes))


def other():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


SGD = nn.SGD(other().parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": TensorDataset(POINTS, LABELS)}, TypeError, "fit: TensorDataset gives single samples, and batches are needed"),
        ({"validation": TensorDataset(POINTS, LABELS)}, TypeError, r"batches are needed: DataLoader\(dataset, batch_size=64\)"),
        (
            {"data": [(mt.Tensor(POINTS[0]), mt.tensor(1))]},
            ValueError,
            r"inputs and labels \(2,\) and \(\) have no axis of samples",
        ),
        (
            {"data": [(POINTS, LABELS)]},
            TypeError,
            r"got 2 things \(ndarray, ndarray\); use a DataLoader: of arrays, DataLoader",
        ),
        ({"data": iter([]), "epochs": 2}, TypeError, "list_iterator can be iterated over once, and 2 epochs need it 2 times"),
        ({"loss": nn.CrossEntropyLoss}, TypeError, r"got the class CrossEntropyLoss; create one: CrossEntropyLoss\(\.\.\.\)"),
        ({"loss": "mse"}, TypeError, r"loss must be a function of scores and labels, got str; give nn.cross_entropy"),
        ({"loss": lambda x, y: nn.cross_entropy(x.detach(), y)}, ValueError, r"the loss has no graph, .* by .detach\(\)"),
        ({"optimizer": nn.SGD}, TypeError, r"must be of class Optimizer, got the class SGD; create one: SGD\(\.\.\.\)"),
        (
            {"optimizer": SGD},
            ValueError,
            "the optimizer updates parameters that are not the model's, but not 0.weight, 0.bias, 3.w",
        ),
        (
            {"optimizer": nn.SGD(other().freeze().parameters())},
            ValueError,
            "nothing can be learned: all that the optimizer holds",
        ),
        ({"schedule": 0.1}, TypeError, "schedule must be of class LRScheduler, got float"),
        ({"schedule": nn.StepLR}, TypeError, r"LRScheduler, got the class StepLR; create one: StepLR\(\.\.\.\)"),
        (
            {"schedule": nn.StepLR(SGD, 2), "schedule_per": "step"},
            ValueError,
            "the schedule is of another optimizer, and would change nothing here",
        ),
        ({"average": 0.99}, TypeError, "average must be of class ExponentialMovingAverage, got float"),
        ({"average": nn.ExponentialMovingAverage(other())}, ValueError, "the average is of another model"),
        (
            {"metrics": nn.accuracy},
            TypeError,
            'metrics must be a dict of functions of scores and labels, such as {"accuracy": nn',
        ),
        (
            {"metrics": {"loss": nn.accuracy}},
            ValueError,
            "a metric cannot be named 'loss': that column of the history is taken",
        ),
        ({"metrics": {"mae": lambda x, y: "low"}}, TypeError, "a metric must be one number, .* but 'mae' is str"),
        ({"metrics": {"mae": lambda x, y: x}}, TypeError, r"a metric must be one number, .* but 'mae' is shape \(8, 2\)"),
        ({"callbacks": [nn.EarlyStopping]}, TypeError, r"callbacks must be .* create one: EarlyStopping\(\.\.\.\)"),
    ],
)
def test_what_would_train_nothing_is_refused_in_words(changes, error, message):
    test_wrong_input_is_refused_in_words(changes, error, message)


def test_a_layer_replaced_after_the_optimizer_was_made_is_noticed():
    model, data, optimizer = setting()
    model[3] = nn.Linear(8, 2)
    with pytest.raises(ValueError, match=r"but not 3.weight, 3.bias: it was created for another model, or before a layer was"):
        fit(model, data, nn.cross_entropy, optimizer, progress=False)
    model[0].freeze()
    fit(model, data, nn.cross_entropy, nn.SGD(model[3].parameters(), lr=0.1), progress=False)  # a part of the model is no fault
    scale = nn.Parameter([1.0])  # nor is a parameter of the loss
    fit(model, data, lambda x, y: nn.cross_entropy(x * scale, y), nn.SGD([*model.parameters(), scale], lr=0.1), progress=False)


def test_a_plateau_of_something_that_is_to_be_large_is_refused():
    model, data, optimizer = setting()
    schedule = nn.ReduceLROnPlateau(optimizer, mode="max")
    with pytest.raises(ValueError, match='ReduceLROnPlateau is given the loss, which is to become small: mode="min"'):
        fit(model, data, nn.cross_entropy, optimizer, schedule=schedule, progress=False)


def test_evaluate_says_its_own_name():
    with pytest.raises(TypeError, match="evaluate: TensorDataset gives single samples"):
        evaluate(nn.Linear(2, 2), TensorDataset(POINTS, LABELS))
    with pytest.raises(TypeError, match="evaluate: a batch must be a pair of tensors"):
        evaluate(nn.Linear(2, 2), (POINTS, LABELS))


def test_small_and_large_losses_are_printed_with_their_digits(capsys):
    for factor in (1e-5, 1e9):
        model, data, optimizer = setting(lr=0.0)
        fit(model, data, lambda x, y, factor=factor: nn.cross_entropy(x, y) * factor, optimizer)
    small, large = capsys.readouterr().out.splitlines()
    assert "e-06, accuracy" in small
    assert "e+08, accuracy" in large


def test_accuracies_are_fractions_to_the_last_digit():
    model, data, optimizer = setting()
    row = fit(model, data, nn.cross_entropy, optimizer, progress=False)[-1]
    assert row["accuracy"] * 40 == pytest.approx(round(row["accuracy"] * 40), abs=1e-12)


def test_on_a_device_nothing_but_the_first_look_at_the_loss_waits(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    mt.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
        nn.Conv2d(8, 8, 3, stride=2, padding="same", groups=8), nn.GELU(), nn.InstanceNorm2d(8, track_running_stats=True),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveMaxPool2d(3), nn.GroupNorm(2, 8), nn.LocalResponseNorm(3),
        nn.AdaptiveAvgPool2d(2), nn.Dropout2d(0.1), nn.Flatten(), nn.LayerNorm(32), nn.RReLU(), nn.Linear(32, 10),
    ).to("cuda")  # fmt: skip
    images = np.random.default_rng(0).standard_normal((4, 1, 12, 12)).astype(np.float32)
    data = [(mt.Tensor(images), mt.tensor([1, 2, 3, 4]))] * 3
    optimizer, entered = nn.Adam(model.parameters(), amsgrad=True), ExitStack()

    class NoWaiting(nn.Callback):
        def on_step(self, run):
            if run.step == 1:
                entered.enter_context(no_waiting())
            if run.step == 2:
                entered.close()

    settings = {"average": nn.ExponentialMovingAverage(model), "clip_norm": 1.0, "callbacks": [NoWaiting()]}
    before = [p.to("cpu").numpy() for p in model.parameters()]
    with entered:
        history = fit(model, data, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer, progress=False, **settings)
    assert np.isfinite(history[0]["loss"])
    assert all((p.to("cpu").numpy() != q).any() for p, q in zip(model.parameters(), before) if q.ndim > 1)


def test_a_cycle_that_is_too_short_is_refused_before_the_first_step():
    for settings, needed in (({}, 15), ({"accumulate": 2}, 9), ({"schedule_per": "epoch"}, 3)):
        settings = {"schedule_per": "step"} | settings
        model, data, optimizer = setting()
        before = weights(model)
        schedule = nn.OneCycleLR(optimizer, 0.3, total_steps=needed - 1)
        with pytest.raises(ValueError, match=f"takes {needed} steps, .* complete after {needed - 1}; .* total_steps={needed}"):
            fit(model, data, nn.cross_entropy, optimizer, epochs=3, schedule=schedule, progress=False, **settings)
        np.testing.assert_array_equal(weights(model), before)
        schedule = nn.OneCycleLR(optimizer, 0.3, total_steps=needed)
        fit(model, data, nn.cross_entropy, optimizer, epochs=3, schedule=schedule, progress=False, **settings)


def test_the_line_of_an_epoch_shows_a_rate_that_changes(capsys):
    model, data, optimizer = setting()
    fit(model, data, nn.cross_entropy, optimizer, schedule=nn.ExponentialLR(optimizer, gamma=0.1), schedule_per="step")
    fit(model, data, nn.cross_entropy, optimizer)
    changing, constant = capsys.readouterr().out.splitlines()
    assert "; lr 3e-06; " in changing
    assert "lr" not in constant


def test_a_schedule_must_say_what_it_counts():
    model, data, optimizer = setting()
    schedule = nn.StepLR(optimizer, step_size=30)
    with pytest.raises(ValueError, match='fit: does StepLR count steps of the optimizer, or epochs.* schedule_per="epoch"'):
        fit(model, data, nn.cross_entropy, optimizer, schedule=schedule, progress=False)


class Both(nn.Module):
    """A network of two inputs."""

    def __init__(self):
        self.first, self.second = nn.Linear(1, 2), nn.Linear(1, 2)

    def forward(self, x, y):
        return self.first(x) + self.second(y)


def test_a_model_may_have_several_inputs():
    model = Both()
    data = DataLoader(TensorDataset(POINTS[:, :1], POINTS[:, 1:], LABELS), batch_size=10)
    history = fit(model, data, nn.cross_entropy, nn.SGD(model.parameters(), lr=1.0), epochs=20, validation=data, progress=False)
    assert history[-1]["val_accuracy"] > 0.9


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loss_of_each_step_can_be_seen(accumulate):
    class Log(nn.Callback):
        def __init__(self):
            self.losses = []

        def on_step(self, run):
            self.losses.append(run.last_loss.item())

    model, data, optimizer = setting(lr=0.0)
    log = Log()
    history = fit(model.eval(), data, nn.cross_entropy, optimizer, accumulate=accumulate, callbacks=[log], progress=False)
    assert len(log.losses) == -(-5 // accumulate)
    assert min(log.losses) <= history[0]["loss"] <= max(log.losses)


class Raise(nn.Callback):
    def __init__(self, error):
        self.error = error

    def on_step(self, run):
        assert all(module.training for module in run.model.modules())
        raise self.error


def test_however_it_ends_the_model_is_ready_to_predict(tmp_path):
    def modes(model):
        return {module.training for module in model.modules()}

    for epochs, settings in (
        (0, {}),
        (2, {}),
        (9, {"callbacks": [nn.EarlyStopping(1, min_delta=100.0)]}),
        (1, {"callbacks": [Raise(KeyboardInterrupt())]}),
        (1, {"callbacks": [Raise(ValueError())]}),
        (2, {"checkpoint": nn.Checkpoint(tmp_path)}),
    ):
        model, data, optimizer = setting()
        with suppress(KeyboardInterrupt, ValueError):
            fit(model, data, nn.cross_entropy, optimizer, epochs=epochs, progress=False, **settings)
        assert modes(model) == {False}
    model, data, optimizer = setting()
    assert modes(model.train()) == {True}
    with pytest.warns(UserWarning, match="nothing to do") as told:
        fit(model, data, nn.cross_entropy, optimizer, epochs=2, progress=False, checkpoint=nn.Checkpoint(tmp_path))
    assert modes(model) == {False}
    assert told[0].filename == __file__  # the line that called fit
    model, data, optimizer = setting()
    with pytest.raises(ValueError, match="other settings"):  # what is refused before it begins changes no mode either
        fit(model, data, nn.mse_loss, optimizer, progress=False, checkpoint=nn.Checkpoint(tmp_path))
    assert modes(model) == {True}


class Forgetful(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        self.layer(x)


def test_a_forgotten_return_is_told():
    model, (_, data, _) = Forgetful(), setting()
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        TypeError, match=r"fit: forward of Forgetful gave None, and scores are needed; is its `return` missing\?"
    ):
        fit(model, data, nn.cross_entropy, optimizer, progress=False)
    with pytest.raises(TypeError, match="evaluate: forward of Forgetful gave None"):
        evaluate(model, data)
    model, data, optimizer = setting()
    with pytest.raises(
        TypeError, match=r"the loss must be one number, as a Tensor, got NoneType; is the function's `return` miss"
    ):
        fit(model, data, lambda scores, labels: None, optimizer, progress=False)


def test_a_library_that_is_missing_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match="safetensors"):
        nn.Checkpoint(tmp_path, monitor="loss", weights="best.safetensors")
    monkeypatch.undo()
    pytest.importorskip("safetensors")
    train(1, checkpoint=nn.Checkpoint(tmp_path, monitor="loss", weights="best.safetensors"))
    assert mt.load(tmp_path / "best.safetensors").keys() == setting()[0].state_dict().keys()
    for wrong in ("best.pth", "a/best.npz", "step-1.npz", None):
        with pytest.raises(ValueError, match="weights"):
            nn.Checkpoint(tmp_path, weights=wrong)
