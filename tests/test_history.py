"""The history of a run: its best epoch, its table, its picture."""

import pytest

from microtensor.nn.training.history import History, higher_is_better

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
