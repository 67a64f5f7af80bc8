"""Runs that survive: what is killed and started again ends as if nothing had happened."""

import os
import subprocess
import sys
import time
from pathlib import Path

import killed
import numpy as np
import pytest

import microtensor as mt
from microtensor import nn

STEPS_PER_EPOCH = 10  # 19 batches, two a step


def leaves(tree, place=""):
    """(path, value) of everything in a tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else None
    if pairs is None:
        yield place, tree
    else:
        for key, value in pairs:
            yield from leaves(value, f"{place}/{key}")


def assert_same(tree, expected):
    found, wanted = dict(leaves(tree)), dict(leaves(expected))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, mt.Tensor):
            np.testing.assert_array_equal(found[name].numpy(), value.numpy(), strict=True, err_msg=name)
        else:
            assert found[name] == value, name


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
    assert_same(result(*killed.train(tmp_path, epochs=3, workers=workers)), uninterrupted)


def test_more_epochs_go_on_from_a_run_that_ended(tmp_path, uninterrupted):
    killed.train(tmp_path, epochs=1)
    assert_same(result(*killed.train(tmp_path, epochs=3)), uninterrupted)


def test_a_run_that_has_ended_is_not_run_again(tmp_path, uninterrupted):
    killed.train(tmp_path, epochs=3)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert_same(result(*killed.train(tmp_path, epochs=3)), uninterrupted)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps


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
    assert_same(result(*resumed), uninterrupted)


def small(folder, width=2, callbacks=(), **settings):
    model = nn.Linear(2, width)
    data = [(mt.Tensor(np.eye(2, dtype="float32")), mt.tensor([0, 1]))] * 4
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    checkpoint = nn.Checkpoint(folder, **settings)
    return nn.fit(model, data, nn.cross_entropy, optimizer, checkpoint=checkpoint, callbacks=callbacks, progress=False)


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
    assert small(tmp_path)[0]["loss"] == pytest.approx(small(tmp_path / "fresh")[0]["loss"], rel=1)
    assert len(nn.Checkpoint(tmp_path).files()) == 3


@pytest.mark.parametrize("name", ["every", "keep"])
def test_wrong_settings_are_refused_in_words(name):
    with pytest.raises(ValueError, match=f"Checkpoint: {name} must be a whole number of 1 or more, got 0"):
        nn.Checkpoint("folder", **{name: 0})


def test_killed_at_twenty_random_moments_it_ends_with_the_same_numbers(tmp_path):
    """SIGKILL: no handler, no cleaning up. No moment leaves a file that cannot be read."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    script, epochs = str(Path(killed.__file__)), "100"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script, str(whole), epochs], check=True, env=environment, timeout=300)
    rng, kills = np.random.default_rng(0), 0
    while not (folder / "final.npz").exists():
        process = subprocess.Popen([sys.executable, script, str(folder), epochs], env=environment)
        before = newest(folder)
        while kills % 2 == 0 and process.poll() is None and newest(folder) == before:
            time.sleep(0.002)  # every other life must get somewhere
        if kills < 20:
            time.sleep(rng.uniform(0, 0.15 if kills % 2 == 0 else 0.6))
            process.kill()
            kills += process.wait() == -9
        assert process.wait(timeout=300) in (0, -9)
        for file in folder.glob("step-*.npz"):
            mt.load(file)
    assert kills == 20
    assert_same(mt.load(folder / "final.npz"), mt.load(whole / "final.npz"))


def newest(folder):
    return max((path.stat().st_mtime_ns for path in folder.glob("step-*.npz")), default=0)
