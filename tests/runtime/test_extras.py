"""What is said of installing is true from a checkout, from a wheel, and with no index that has microtensor."""

import re
import shlex
from pathlib import Path

import pytest

from microtensor.runtime.extras import EXTRAS, install_hint

ROOT = Path(__file__).parents[2]
TEXTS = (".py", ".md", ".toml", ".sh", ".cu", ".cuh")
PLACES = ("microtensor", "nn", "models", "tests", "benchmarks", "examples", "docs", "tools", "README.md", "pyproject.toml")


def extras():
    """Those of pyproject.toml, without conditions and what is of microtensor itself."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    return {
        name: tuple(package.partition(";")[0].strip() for package in packages if not package.startswith("microtensor["))
        for name, packages in listed.items()
    }


def test_the_extras_are_those_of_the_package():
    listed = extras()
    assert listed.pop("dev")
    assert listed == EXTRAS


def test_a_hint_installs_what_the_extra_does():
    packaging = pytest.importorskip("packaging.requirements")
    for name, packages in EXTRAS.items():
        pip, install, *named = shlex.split(install_hint(name))  # as a shell reads it
        assert (pip, install, tuple(named)) == ("pip", "install", packages)
        for package in named:
            requirement = packaging.Requirement(package)
            assert shlex.split(install_hint(requirement.name + "[ctk]" * bool(requirement.extras)))[2:] == [package]


def files():
    for place in PLACES:
        path = ROOT / place
        yield from [path] if path.is_file() else (file for file in path.rglob("*") if file.suffix in TEXTS and file.is_file())


@pytest.mark.parametrize("untrue", [r"microtensor\\?\[(?!\d)", r"pip install (--upgrade |-U |\"|')*microtensor\b"])
def test_nobody_is_told_to_install_microtensor_from_an_index(untrue):
    """It is on none. `pip install ".[plot]"` works from a checkout; the packages by name work everywhere."""
    own = re.compile(r'"microtensor\[(plot,train,data,safetensors|test)\]"')  # pyproject: one extra stands on another
    found = []
    for file in files():
        if file == Path(__file__):
            continue
        text = file.read_text(encoding="utf-8")
        text = own.sub("", text) if file.name == "pyproject.toml" else text
        found += [f"{file.relative_to(ROOT)}: {text[m.start() : m.start() + 60]!r}" for m in re.finditer(untrue, text)]
    assert not found, "\n".join(found)


def test_extras_named_in_docs_are_there():
    named = {
        name
        for file in files()
        for group in re.findall(r'pip install (?:-e |--quiet |--editable )*"\.\[([\w,]+)\]"', file.read_text(encoding="utf-8"))
        for name in group.split(",")
    }
    assert named >= {"plot", "cuda12", "test"}
    assert named <= {*EXTRAS, "dev"}
