"""Resumable training: a run that is killed and started again ends with the same weights."""

import os
import subprocess
import sys
import time
from pathlib import Path

import killed
import numpy as np
import pytest
import strict
from training import assert_same_values

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset

STEPS_PER_EPOCH = 10  # 19 batches, two a step


def result(model, optimizer, history):
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "history": rows}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return result(*killed.train(tmp_path_factory.mktemp("whole"), epochs=3))


@pytest.mark.parametrize("step", [1, 3, 5, 10, 11, 14, 20, 29, 30])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_crashed_goes_on_as_if_it_had_not(tmp_path, uninterrupted, step, workers):
    with pytest.raises(RuntimeError, match="crash"):
        killed.train(tmp_path, epochs=3, crash_at=step, workers=workers)
    mt.manual_seed(99)  # what the program drew before must not matter
    assert_same_values(result(*killed.train(tmp_path, epochs=3, workers=workers)), uninterrupted)


def test_more_epochs_go_on_from_a_run_that_ended(tmp_path, uninterrupted):
    killed.train(tmp_path, epochs=1)
    assert_same_values(result(*killed.train(tmp_path, epochs=3)), uninterrupted)


def test_a_run_that_has_ended_is_not_run_again(tmp_path, uninterrupted):
    killed.train(tmp_path, epochs=3)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with pytest.warns(UserWarning, match="fit: nothing to do: 3 of 3 epochs are done; ask for more, or start again in another"):
        again = killed.train(tmp_path, epochs=3)
    assert_same_values(result(*again), uninterrupted)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps


def test_it_says_where_it_goes_on_and_that_nothing_is_left(tmp_path, capsys):
    model = nn.Linear(2, 2)
    points = TensorDataset(np.eye(2, dtype="float32"), np.array([0, 1]))

    def train(epochs):
        optimizer = nn.SGD(model.parameters(), lr=0.1)
        checkpoint = nn.Checkpoint(tmp_path / "run", keep=1)
        nn.fit(model, DataLoader(points, 1), nn.cross_entropy, optimizer, epochs=epochs, checkpoint=checkpoint)
        return capsys.readouterr().out.splitlines()

    train(1)
    with pytest.warns(
        UserWarning, match="nothing to do: 1 of 1 epochs are done; ask for more, or start again in another folder"
    ):
        (there,) = train(1)
    assert there.endswith("step-00000002.npz: after epoch 1, 2 steps done")
    assert [line.partition(":")[0] for line in train(2)] == [there.partition(":")[0], "epoch 2/2"]


def test_the_last_few_are_kept_and_the_best_weights(tmp_path):
    model, _, history = killed.train(tmp_path, epochs=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.npz", "step-00000018.npz", "step-00000020.npz"]
    model.load_state_dict(mt.load(tmp_path / "best.npz"))
    assert history.best("val_loss")["epoch"] in (1, 2)


def test_a_damaged_file_is_passed_over(tmp_path, uninterrupted):
    with pytest.raises(RuntimeError, match="crash"):
        killed.train(tmp_path, epochs=3, crash_at=19)
    newest = tmp_path / "step-00000018.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"step-00000018.npz .* trying the checkpoint before it"):
        resumed = killed.train(tmp_path, epochs=3)
    assert_same_values(result(*resumed), uninterrupted)


def test_a_damaged_file_does_not_push_out_newer_ones(tmp_path):
    small(tmp_path, every=1, keep=1)
    damaged = tmp_path / "step-00000099.npz"
    damaged.write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="step-00000099.npz"):
        small(tmp_path, epochs=2, every=1, keep=1)
    assert [path.name for path in nn.Checkpoint(tmp_path).files()] == ["step-00000008.npz"]


def test_the_best_weights_are_not_those_of_an_epoch_that_measured_nan(tmp_path):
    values = iter([float("nan"), 2.0, 1.0, float("nan")])

    class Scripted(nn.Callback):
        def on_epoch(self, run):
            run.history[-1]["val_loss"] = next(values)
            kept.append([p.numpy().copy() for p in run.model.parameters()])

    kept = []
    small(tmp_path, epochs=4, callbacks=[Scripted()], monitor="val_loss")
    for wanted, found in zip(kept[2], mt.load(tmp_path / "best.npz").values()):
        np.testing.assert_array_equal(found.numpy(), wanted)


def small(folder, width=2, epochs=1, callbacks=(), **settings):
    model = nn.Linear(2, width, generator=mt.Generator(0))
    data = [(mt.Tensor(np.eye(2, dtype="float32")), mt.tensor([0, 1]))] * 4
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    checkpoint = nn.Checkpoint(folder, **settings)
    run = {"epochs": epochs, "checkpoint": checkpoint, "callbacks": callbacks, "progress": False}
    return nn.fit(model, data, nn.cross_entropy, optimizer, **run)


def test_a_folder_of_another_run_is_refused_in_words(tmp_path):
    small(tmp_path)
    with pytest.raises(
        ValueError, match=r"is of another run, and does not fit this one: load_state_dict: .*\n[^$]*weight is \(3, 2\)"
    ):
        small(tmp_path, width=3)
    with pytest.raises(ValueError, match="its callbacks are Checkpoint, this run's EarlyStopping, Checkpoint"):
        small(tmp_path, callbacks=[nn.EarlyStopping()])
    with pytest.raises(FileExistsError, match="has checkpoints of another run, such as step-00000004.npz; give another folder"):
        small(tmp_path, resume=False)


def test_data_without_a_state_is_skipped_to_the_place(tmp_path):
    small(tmp_path, every=1, keep=9)
    (tmp_path / "step-00000004.npz").unlink()
    assert small(tmp_path)[0]["loss"] == small(tmp_path / "fresh")[0]["loss"]
    assert len(nn.Checkpoint(tmp_path).files()) == 3


class Weighed(nn.Module):
    """A loss with a parameter, which draws random numbers."""

    def __init__(self):
        self.scale, self.generator = nn.Parameter([1.0]), mt.Generator(3)

    def forward(self, scores, labels):
        noise = mt.Tensor(self.generator.uniform(0.5, 1.5, ()))
        return (nn.cross_entropy(scores, labels) * self.scale.exp() * noise - self.scale).sum()


class StopAt(nn.Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise RuntimeError("crash")


def weighed(folder, crash_at=None):
    """The loss has a parameter, and the validation is shuffled: the learning rate depends on its order."""
    mt.manual_seed(0)
    points = np.random.default_rng(0).standard_normal((24, 2)).astype(np.float32)
    points = TensorDataset(points, (points[:, 0] > 0).astype(np.int64))
    model, loss = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)), Weighed()
    optimizer = nn.Adam([*model.parameters(), *loss.parameters()], lr=0.1)
    history = nn.fit(
        model,
        DataLoader(points, 8, shuffle=True),
        loss,
        optimizer,
        epochs=4,
        validation=DataLoader(points, 5, shuffle=True, drop_last=True, generator=mt.Generator(4)),
        callbacks=[StopAt(crash_at)],
        checkpoint=nn.Checkpoint(folder, every=1),
        progress=False,
    )
    return result(model, optimizer, history) | {"loss": loss.state_dict()}


@pytest.mark.parametrize("step", [2, 7, 10])
def test_a_loss_that_learns_and_a_shuffled_validation_go_on_too(tmp_path, step):
    with pytest.raises(RuntimeError, match="crash"):
        weighed(tmp_path / "killed", crash_at=step)
    assert_same_values(weighed(tmp_path / "killed"), weighed(tmp_path / "whole"))


def test_on_a_device_no_checkpoint_is_of_nan(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    inputs = mt.Tensor(np.eye(2, dtype="float32"))
    data = [(inputs * (np.nan if i == 5 else 1.0), mt.tensor([0, 1])) for i in range(19)]
    for checkpoint in (nn.Checkpoint(tmp_path, every=2, keep=1), None):
        model = nn.Linear(2, 2).to("cuda")
        optimizer = nn.SGD(model.parameters(), lr=0.1)
        with pytest.raises(FloatingPointError, match=r"a loss was nan in epoch 1, by step (6|19)\. The learning rate is 0\.1"):
            nn.fit(model, data, nn.cross_entropy, optimizer, checkpoint=checkpoint, progress=False)
    assert [path.name for path in nn.Checkpoint(tmp_path).files()] == ["step-00000004.npz"]


@pytest.mark.parametrize("name", ["every", "keep"])
def test_wrong_settings_are_refused_in_words(name):
    with pytest.raises(ValueError, match=f"Checkpoint: {name} must be an integer of 1 or more, got 0"):
        nn.Checkpoint("folder", **{name: 0})


def test_killed_at_twenty_random_moments_it_ends_with_the_same_numbers(tmp_path):
    """SIGKILL: no handler runs. At no moment is there a file that cannot be read."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    script, epochs = str(Path(killed.__file__)), "100"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script, str(whole), epochs], check=True, env=environment, timeout=300)
    rng, kills = np.random.default_rng(0), 0
    while not (folder / "final.npz").exists():
        with subprocess.Popen([sys.executable, script, str(folder), epochs], env=environment) as process:
            before = newest(folder)
            while kills % 2 == 0 and process.poll() is None and newest(folder) == before:
                time.sleep(0.002)  # every second process gets enough time for a step
            if kills < 20:
                time.sleep(rng.uniform(0, 0.15 if kills % 2 == 0 else 0.6))
                process.kill()
                kills += process.wait() == -9
            assert process.wait(timeout=300) in (0, -9)
        for file in folder.glob("step-*.npz"):
            mt.load(file)
    assert kills == 20
    assert_same_values(mt.load(folder / "final.npz"), mt.load(whole / "final.npz"))


def newest(folder):
    """The step of the newest file, from its name: the file may be deleted at any moment."""
    return max((path.name for path in folder.glob("step-*.npz")), default="")
