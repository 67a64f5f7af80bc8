"""`microtensor receptive-field` and `microtensor trace`: output, files, errors."""

import pytest

from microtensor import models
from microtensor.commands import cli
from microtensor.io import state

pytest.importorskip("matplotlib")
from PIL import Image


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_the_table_of_a_network(capsys):
    assert run("receptive-field", "lenet5") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("LeNet5 for 1×28×28")
    assert "│ └ 5 MaxPool2d          16×5×5       16     4             6" in printed
    assert run("receptive-field", "resnet18", "--input", "3x96×96") == 0
    assert "for 3×96×96" in capsys.readouterr().out


def test_one_layer(capsys):
    assert run("receptive-field", "alexnet", "--layer", "features.10") == 0
    printed = capsys.readouterr().out
    assert "features.10 (Conv2d) for 3×224×224: 256×13×13" in printed
    assert "field 163, jump 16, first centre 15.5 pixels" in printed
    assert "unit (6, 6): pixels 30 to 193 × 30 to 193" in printed


def test_the_picture_of_a_layer(tmp_path, capsys):
    picture = tmp_path / "field.png"
    arguments = ("receptive-field", "lenet5", "--layer", "features.3", "--samples", 2, "--out", picture)
    assert run(*arguments) == 0
    with Image.open(picture) as image:
        assert image.width == 1600
    printed = capsys.readouterr().out
    assert f"wrote {picture}" in printed
    line = next(line for line in printed.splitlines() if "standard deviation" in line)
    assert run(*arguments) == 0
    assert line in capsys.readouterr().out  # the same seed gives the same result
    assert run(*arguments, "--seed", 1) == 0
    assert line not in capsys.readouterr().out


def test_trained_weights_are_used(tmp_path, capsys):
    def line(*more):
        assert run("receptive-field", "lenet5", "--samples", 2, "--out", tmp_path / "f.svg", *more) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if "standard deviation" in line)

    model = models.lenet5()
    for p in model.parameters():
        p.array[...] = 0.01
    state.save(tmp_path / "even.npz", model.state_dict())
    assert line("--weights", tmp_path / "even.npz") != line()


def test_a_folder_that_is_missing_is_said_before_the_work(tmp_path, capsys):
    for arguments in (("receptive-field", "lenet5"), ("trace", "maxpool")):
        for name in ("out.png", *(["out.gif"] if arguments[0] == "trace" else [])):
            assert run(*arguments, "--out", tmp_path / "nowhere" / name) == 1
            printed = capsys.readouterr()
            assert printed.out == ""
            assert f"the folder {tmp_path / 'nowhere'} does not exist; make it first" in printed.err


def test_a_network_over_sequences(tmp_path):
    assert run("receptive-field", "tdnn", "--out", tmp_path / "tdnn.png") == 0
    with Image.open(tmp_path / "tdnn.png") as image:
        assert image.width == 1600


def test_the_trace_of_a_pool(tmp_path, capsys):
    assert run("trace", "maxpool", "--out", tmp_path / "pool.gif") == 0
    printed = capsys.readouterr().out
    assert "(2, 1)        7  (4, 1)         2   6 + 2 = 8" in printed
    with Image.open(tmp_path / "pool.gif") as animation:
        assert (animation.n_frames, animation.width) == (19, 800)  # 9 windows forward, 9 backward, and the whole
    assert run("trace", "maxpool", "--kernel", 2, "--stride", 2, "--image", "1 2; 3, 4", "--out", tmp_path / "pool.svg") == 0
    assert "(0, 0)        4  (1, 1)         1   0 + 1 = 1" in capsys.readouterr().out
    assert (tmp_path / "pool.svg").read_bytes().startswith(b"<?xml")
    assert run("trace", "maxpool", "--kernel", 5, "--gradient", "-2.5") == 0
    assert "0 − 2.5 = −2.5" in capsys.readouterr().out


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_table_and_with_one_that_can(tmp_path, capsys):
    large = "; ".join(" ".join(["1"] * 40) for _ in range(40))
    cases = [(["--kernel", "1"], True), (["--image", "1e300 2; 3 4", "--kernel", "2"], True), (["--image", large], False)]
    for arguments, works in cases:
        assert run("trace", "maxpool", *arguments, "--out", tmp_path / "pool.png") == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"microtensor: trace: {tmp_path / 'pool.png'} cannot be drawn: max_pooling: ")
        assert (f"with --out {tmp_path / 'pool.gif'}" in printed.err) == works
        assert (run("trace", "maxpool", *arguments, "--out", tmp_path / "pool.gif") == 0) == works
        assert capsys.readouterr().err.startswith("" if works else "microtensor: trace: ")
    assert [path.name for path in tmp_path.iterdir()] == ["pool.gif"]


def test_a_folder_that_may_not_be_written_is_said_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for arguments in (("receptive-field", "lenet5"), ("trace", "maxpool"), ("trace", "maxpool", "--kernel", "1")):
        assert run(*arguments, "--out", tmp_path / "x.png") == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert f"{tmp_path / 'x.png'}: the folder {tmp_path} may not be written to" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["receptive-field", "lenet6"], "models: there is no 'lenet6'; did you mean lenet5"),
        (["receptive-field", "lenet5", "--layer", "features.9"], "LeNet5 has no layer 'features.9'"),
        (["receptive-field", "lenet5", "--layer", "classifier.1"], "have no places in the image"),
        (["receptive-field", "lenet5", "--input", "3x28x28"], "cannot compute for input_shape"),
        (["receptive-field", "lenet5", "--out", "field.jpg"], "has the suffix '.jpg'"),
        (["trace", "maxpool", "--kernel", "9"], "more than the image"),
        (["trace", "maxpool", "--image", "1 2; 3"], "the rows of image must be of one length"),
        (["trace", "maxpool", "--gradient", "1"], "gradient must be of the shape of the result"),
        (["trace", "maxpool", "--out", "pool.jpg"], "has the suffix '.jpg'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(arguments, message, capsys):
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("microtensor: ")
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "conv"], "invalid choice: 'conv'"),
        (["trace", "maxpool", "--image", "1 x"], "expected rows of numbers with ; between them, such as '1 2; 3 4', got '1 x'"),
        (
            ["receptive-field", "lenet5", "--input", "3xa"],
            "expected lengths with an x between them, such as 3x224x224, got '3xa'",
        ),
        (["receptive-field"], "required: NAME"),
        (["receptive-field", "lenet5", "--samples", "0"], "argument --samples: must be at least 1, got 0"),
        (["receptive-field", "lenet5", "--seed", "-1"], "argument --seed: must be at least 0, got -1"),
        (["receptive-field", "lenet5", "--input", "1x0x28"], "expected lengths of 1 or more"),
        (["summary", "lenet5", "--input", f"{10**20}x1x1"], "elements, got"),
        (["summary", "lenet5", "--depth=-1"], "argument --depth: must be at least 0, got -1"),
        (["predict", "a.png", "--weights", "w", "--top", "0"], "argument --top: must be at least 1, got 0"),
        (["saliency", "a.png", "--weights", "w", "--seed", "-1"], "argument --seed: must be at least 0, got -1"),
        (["trace", "maxpool", "--kernel", "0"], "argument --kernel: must be at least 1, got 0"),
        (["trace", "maxpool", "--padding", "two"], "argument --padding: expected an integer, got 'two'"),
        (["demo", "--lr", "fast"], "argument --lr: expected a number, got 'fast'"),
        (["demo", "--epochs", "x"], "argument --epochs: expected an integer, got 'x'"),
    ],
)
def test_wrong_flags_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        run(*arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err
