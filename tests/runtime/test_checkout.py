"""A checkout without symbolic links, as Windows and a zip of the repository have it, imports, runs the demo's network and its tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def without_links(tmp_path_factory):
    """A copy in which each link is a small file that holds where it pointed: what git writes where there are no links."""
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "demo", "*.egg-info")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    for link in [path for path in copy.rglob("*") if path.is_symlink()]:
        target = os.readlink(link)
        link.unlink()
        link.write_text(target, encoding="utf-8")
    assert (copy / "microtensor/nn").is_file()
    return copy


def run(copy, *arguments, cwd=None):
    """`python ARGUMENTS`, with the copy's package first."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd or copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_imports_from_another_folder(without_links, tmp_path):
    code = "import microtensor as mt, microtensor.nn.layers.conv as conv; print(conv.__file__); print(mt.models.lenet5()(mt.ones(1, 1, 28, 28)).shape)"
    file, shape = run(without_links, "-c", code, cwd=tmp_path).splitlines()
    assert Path(file) == without_links / "nn/layers/conv.py"
    assert shape == "(1, 10)"


def test_its_commands_and_tests_run(without_links):
    assert "61,706" in run(without_links, "-m", "microtensor", "summary", "lenet5")
    ended = run(
        without_links,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/nn/layers/test_linear.py",
        "tests/models/test_lenet.py",
    )
    assert " passed" in ended
    assert "failed" not in ended
