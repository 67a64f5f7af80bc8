"""The lecture's pages: each runs, shows its numbers, and writes figures that have something on them."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

LECTURE = Path(__file__).parents[2] / "examples" / "lecture"
PAGES = sorted(path for path in LECTURE.glob("*.py") if path.name != "page.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all pages: LeNet is trained once."""
    return tmp_path_factory.mktemp("lecture")


@pytest.fixture
def run(monkeypatch, folder):
    """Run a page as `python examples/lecture/PAGE --quick --out FOLDER` does, but in this process."""
    pytest.importorskip("matplotlib")

    def run(path):
        monkeypatch.syspath_prepend(str(LECTURE))
        monkeypatch.setattr(sys, "argv", [str(path), "--quick", "--out", str(folder)])
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        before = set(sys.modules)
        try:
            return runpy.run_path(str(path), run_name="__main__")
        finally:
            for name in {"page", "02_training"} - before:
                sys.modules.pop(name, None)

    return run


def figures_of(page):
    """What the index says that a page writes."""
    (line,) = [line for line in (LECTURE / "README.md").read_text(encoding="utf-8").splitlines() if f"]({page.name})" in line]
    return re.findall(r"`([a-z0-9_]+\.png)`", line.rpartition("|")[0].rpartition("|")[2])


def ink(path):
    """The width of a picture, and the shares of its rows and columns that are not of one colour."""
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.int16)
    differs = (abs(pixels - pixels[0, 0]) > 40).any(2)
    return pixels.shape[1], differs.any(1).mean(), differs.any(0).mean()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_it_shows_its_numbers_and_writes_its_figures(page, run, folder, capsys):
    run(page)
    printed = capsys.readouterr().out
    assert re.findall(r"→ .*[/\\](\S+\.png)", printed) == figures_of(page)
    for name in figures_of(page):
        width, rows, columns = ink(folder / name)
        assert width == 1600, name
        assert rows > 0.5, name
        assert columns > 0.5, name


def test_the_index_has_all_pages_and_no_others():
    text = (LECTURE / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\S+\.py)\)", text) == [page.name for page in PAGES]
    assert [page.name[:2] for page in PAGES] == [f"{i:02}" for i in range(1, len(PAGES) + 1)]
    assert all(figures_of(page) for page in PAGES)


def test_a_wrong_number_fails(run, folder, tmp_path):
    wrong = tmp_path / "wrong.py"
    text = (LECTURE / "01_parameters.py").read_text(encoding="utf-8")
    wrong.write_text(text.replace("one.total_parameters, 28", "one.total_parameters, 27"), encoding="utf-8")
    with pytest.raises(AssertionError, match="one 3×3 kernel on RGB: found 28, expected 27"):
        run(wrong)
    wrong.write_text("from page import Page\nPage('x').check_least('accuracy', float('nan'), 0.5)\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="accuracy: found nan, expected at least 0.5"):
        run(wrong)


def test_a_blank_figure_would_be_seen(tmp_path):
    style = pytest.importorskip("microtensor.plot.style")
    pytest.importorskip("matplotlib")
    style.save(style.new_figure(height=2), tmp_path / "blank.png")
    assert ink(tmp_path / "blank.png") == (1600, 0, 0)
