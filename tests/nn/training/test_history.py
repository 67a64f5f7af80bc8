"""The history of a run: its best epoch, table, figure and CSV."""

import math

import numpy as np
import pytest

from microtensor.nn.training.history import History, higher_is_better, mode_of

ROWS = [
    {"epoch": 1, "loss": 0.1 + 0.2, "accuracy": 0.5, "val_loss": 1.0},
    {"epoch": 2, "loss": 1e-300, "accuracy": 0.75, "val_loss": float("nan")},
    {"epoch": 3, "loss": 0.5, "accuracy": 0.75},
]


def test_the_best_epoch():
    history = History(ROWS)
    assert history.best("loss")["epoch"] == 2
    assert history.best("accuracy")["epoch"] == 2  # the first of equals
    assert history.best("val_loss")["epoch"] == 1  # a nan is never best
    with pytest.raises(ValueError, match="no epoch has a number 'val_accuracy'; measured: epoch, loss, accuracy, val_loss"):
        history.best("val_accuracy")


def test_accuracies_are_better_when_higher():
    assert [higher_is_better(name) for name in ("loss", "val_accuracy", "top5", "error")] == [False, True, True, False]


def test_csv_and_back_number_for_number(tmp_path):
    path = tmp_path / "history.csv"
    History(ROWS).to_csv(path)
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,loss,accuracy,val_loss"
    assert lines[3] == "3,0.5,0.75,"
    assert repr(History.from_csv(path)) == repr(History(ROWS))  # nan is not equal to itself
    assert isinstance(History.from_csv(path)[0]["epoch"], int)


def test_it_prints_as_a_table():
    assert str(History(ROWS)).splitlines() == [
        "epoch    loss  accuracy  val_loss",
        "─────────────────────────────────",
        "    1     0.3       0.5         1",
        "    2  1e-300      0.75       nan",
        "    3     0.5      0.75",
    ]
    assert str(History()).strip() == ""


def test_a_file_that_is_no_table(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss\n1,much\n")
    with pytest.raises(ValueError, match="is no table of numbers, one line per epoch"):
        History.from_csv(path)


def test_a_failed_write_leaves_the_old_table(tmp_path):
    path = tmp_path / "history.csv"
    History(ROWS).to_csv(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="dict contains fields not in fieldnames"):
        _Broken(ROWS).to_csv(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class _Broken(History):
    def names(self):
        return ["epoch"]


def test_the_picture():
    pytest.importorskip("matplotlib")
    figure = History(ROWS).plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy (%)"]


@pytest.mark.parametrize(
    "name", ["dice", "val_dice", "kappa", "map", "top1_err", "brier_score", "topology_mse", "recall", "lr", "accuracy_loss", ""]
)
def test_a_name_that_does_not_say_which_way_is_better_asks(name):
    history = History([{"epoch": 1, name: 0.5}, {"epoch": 2, name: 0.7}])
    assert mode_of(name) is None
    with pytest.raises(ValueError, match="does not say whether higher or lower is better"):
        higher_is_better(name)
    with pytest.raises(
        ValueError, match=r'does not say whether higher or lower is better; say best\(.*, mode="max"\), or "min"'
    ):
        history.best(name)
    assert history.best(name, mode="max")["epoch"] == 2
    assert history.best(name, "min")["epoch"] == 1
    history.modes = {name: "max"}
    assert history.best(name)["epoch"] == 2
    with pytest.raises(ValueError, match='History.best: mode must be "min", "max" or None, got \'up\''):
        history.best(name, "up")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch,loss\n1," + b"9" * 200_000 + b"\n", "line 2: field larger than field limit"),
        (b"epoch,loss\n1,0.5\n2,\xff\n", "line 3 is not UTF-8: the byte 0xff"),
        ("epoch,loss\n1,2\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"epoch,loss\n1,2,3,4\n", "line 2: expected 2 cells, one for each name, got 4"),
        (b"epoch,loss\n1,0.5\n2\n", "line 3: expected 2 cells, one for each name, got 1"),
        (b"epoch\n" + b"9" * 5000 + b"\n", r"line 2: 'epoch': expected a number that a float holds, got '9{40}… \(5,000 char"),
        (b"epoch,loss\n1,1e999\n", "line 2: 'loss': expected a number that a float holds, got '1e999'"),
        (b"epoch,loss\n1,much\n", "line 2: 'loss': expected a number, got 'much'"),
        (b"epoch,loss\n1,1_000\n", "line 2: 'loss': expected a number, got '1_000'"),
        (b"epoch,loss,loss\n1,1,2\n", "line 1: two columns have the name 'loss'"),
        (b"epoch,loss\n1,\x00\n", "line 2: "),
        (b'epoch,loss\n1,"0.5\n2,0.4\n', "line 3: 'loss': expected a number"),
    ],
)
def test_a_file_that_is_no_table_is_told_with_its_line(tmp_path, content, message):
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s)History: .*history.csv is no table of numbers, one line per epoch: {message}"):
        History.from_csv(path)


def test_odd_names_and_numbers_come_back(tmp_path):
    path = tmp_path / "history.csv"
    row = {
        "epoch": 10**100,
        'a,"b"\nc': -0.0,
        " ": math.inf,
        "é": -math.inf,
        "": math.nan,
        "\ufeff": 5e-324,
        "epoch ": -(10**30),
    }
    History([row, {"epoch": 2}]).to_csv(path)
    assert repr(History.from_csv(path)) == repr(History([row, {"epoch": 2}]))
    History().to_csv(path)
    assert History.from_csv(path) == []
    History([{"epoch": 1, "loss": np.float32(0.1), "count": np.int64(3)}]).to_csv(path)
    assert History.from_csv(path) == [{"epoch": 1, "loss": float(np.float32(0.1)), "count": 3}]
    path.write_bytes(b"\xef\xbb\xbfepoch,loss\r\n1,0.5\r\n\r\n")
    assert History.from_csv(path) == [{"epoch": 1, "loss": 0.5}]


@pytest.mark.parametrize("value", [None, "0.5", True, [1.0]])
def test_what_is_no_number_is_not_written(tmp_path, value):
    with pytest.raises(TypeError, match="History: 'loss' must be a number to be written, got "):
        History([{"epoch": 1, "loss": value}]).to_csv(tmp_path / "history.csv")
    with pytest.raises(TypeError, match="History: a name must be a text, got 1"):
        History([{1: 1.0}]).to_csv(tmp_path / "history.csv")
    with pytest.raises(ValueError, match="History: a name cannot be written in UTF-8"):
        History([{"\ud800": 1.0}]).to_csv(tmp_path / "history.csv")
    assert list(tmp_path.iterdir()) == []
