"""The example on degradation: its data, that it runs and goes on, and its picture."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn


@pytest.fixture(scope="module")
def degradation():
    pytest.importorskip("matplotlib")
    path = Path(__file__).parents[2] / "examples" / "degradation.py"
    spec = importlib.util.spec_from_file_location("degradation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_draws_the_picture_and_goes_on_where_it_was(degradation, tmp_path, capsys):
    small = ["--depths", "8", "14", "--images", "32", "--test-images", "20", "--batch-size", "16", "--epochs", "2"]
    degradation.main([*small, "--out", str(tmp_path)])
    assert "plain-14: training error" in capsys.readouterr().out
    assert (tmp_path / "degradation.png").read_bytes().startswith(b"\x89PNG")
    history = nn.History.from_csv(tmp_path / "residual-8.csv")
    assert [row["epoch"] for row in history] == [1, 2]
    with pytest.warns(UserWarning, match="fit: nothing to do: 2 of 2 epochs are done"):
        degradation.main([*small, "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("resuming from") == 4
    assert nn.History.from_csv(tmp_path / "residual-8.csv") == history


def test_the_picture_says_everything_in_words_and_lines_too(degradation):
    rows = nn.History([{"epoch": epoch, "accuracy": 0.1 * epoch, "val_accuracy": 0.2 * epoch} for epoch in (1, 2, 3)])
    figure = degradation.picture({(kind, depth): rows for kind in degradation.KINDS for depth in (20, 56)})
    left, right = figure.axes
    assert (left.get_xlabel(), left.get_ylabel(), right.get_xlabel()) == ("epoch", "error (%)", "epoch")
    for axes in figure.axes:
        looks = {
            line.get_label(): (line.get_linestyle(), line.get_marker(), line.get_markerfacecolor()) for line in axes.get_lines()
        }
        assert list(looks) == ["20 layers, test", "20 layers, training", "56 layers, test", "56 layers, training"]
        assert len(set(looks.values())) == 4
        np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [80, 60, 40])


def test_the_example_gives_the_same_digits_to_test_with_and_new_ones_to_learn(degradation):
    (data, test), (_, again) = (degradation.loaders(batch_size=8, images=16, test_images=10, seed=0) for _ in range(2))
    np.testing.assert_array_equal(next(iter(test))[0].numpy(), next(iter(again))[0].numpy())
    first, second = (np.concatenate([x.numpy() for x, _ in data]) for _ in range(2))
    assert first.shape == second.shape == (16, 3, 32, 32)
    assert abs(first - second).max() > 0.1
    assert first.dtype == np.float32
    assert -2 <= first.min() < -1
    assert 1 < first.max() <= 2


def test_ink_is_brighter_than_paper_by_half_the_range(degradation):
    grey = np.zeros((5, 1, 4, 4), np.uint8)
    grey[:, :, :2] = 255
    coloured = degradation.Coloured()(grey, generator=mt.Generator(0))
    np.testing.assert_allclose(coloured[:, :, 0] - coloured[:, :, 3], 2, rtol=1e-5)
