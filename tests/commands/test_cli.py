"""The command: what the demo writes, its flags, its errors, Ctrl-C."""

import os
import time

import numpy as np
import pytest
from programs import interrupted, started

from microtensor import data, models
from microtensor.commands import cli
from microtensor.io import state


@pytest.fixture
def few_digits(tmp_path):
    """A folder of IDX files with few digits: the demo takes a second."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for part, train, count in (("train", True, 300), ("t10k", False, 100)):
        sample = data.mnist_sample(train=train)
        data.write_idx(folder / f"{part}-images-idx3-ubyte", sample.images[:count])
        data.write_idx(folder / f"{part}-labels-idx1-ubyte", sample.labels[:count].astype(np.uint8))
    return folder


def demo(*arguments):
    return cli.main(["demo", *map(str, arguments)])


def test_the_demo_writes_pictures_and_weights(few_digits, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    assert demo("--data", few_digits, "--out", out, "--epochs", 2, "--batch-size", 32, "--lr", 0.003) == 0
    assert sorted(p.name for p in out.iterdir()) == ["confusion.png", "lenet5.npz", "saliency.png", "training.png"]
    for picture in out.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "LeNet-5, 61,706 parameters, on cpu: 300 training digits, 100 test digits" in printed
    assert "epoch 2/2" in printed
    model = models.lenet5()
    model.load_state_dict(state.load(out / "lenet5.npz"))


def test_the_same_seed_gives_the_same_weights(few_digits, tmp_path):
    def weights(name, seed):
        demo("--data", few_digits, "--out", tmp_path / name, "--epochs", 1, "--seed", seed, "--device", "cpu")
        return state.load(tmp_path / name / "lenet5.npz")

    first, second, other = weights("a", 3), weights("b", 3), weights("c", 4)
    for name, value in first.items():
        np.testing.assert_array_equal(value.numpy(), second[name].numpy())
    assert any((value.numpy() != other[name].numpy()).any() for name, value in first.items())


def test_errors_are_one_line_in_words(tmp_path, capsys):
    assert demo("--data", tmp_path, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("microtensor: MNIST: looked for train-images")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments", [["--epochs", "0"], ["--lr", "-1"], ["--lr", "nan"], ["--seed", "x"], ["--device", "tpu"]]
)
def test_wrong_flags_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        demo(*arguments)
    assert exit.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_leaves_the_last_finished_epochs_weights(few_digits, tmp_path):
    out = tmp_path / "out"
    arguments = "-u", "-m", "microtensor", "demo", "--data", few_digits, "--out", out, "--epochs", "100000"
    deadline = time.monotonic() + 100
    with started(*arguments) as process:
        for line in process.stdout:
            if line.startswith("epoch 2/") or time.monotonic() > deadline:
                break
        error = interrupted(process)
    assert process.returncode == 130
    assert "stopped; the weights of epoch" in error
    assert "Traceback" not in error
    assert [p.name for p in out.iterdir()] == ["lenet5.npz"]
    models.lenet5().load_state_dict(state.load(out / "lenet5.npz"))


def test_a_file_that_is_not_there_is_named_without_the_number_of_the_error(tmp_path, capsys):
    path = tmp_path / "none.npz"
    assert cli.main(["predict", "cat.png", "--weights", str(path)]) == 1
    assert capsys.readouterr().err == f"microtensor: {path}: No such file or directory\n"
