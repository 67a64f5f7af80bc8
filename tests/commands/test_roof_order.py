"""Inside the roof imports point one way: commands → plot → saliency."""

import ast
from pathlib import Path

import microtensor

ROOT = Path(microtensor.__file__).parent


def imported(room):
    """The rooms of microtensor that a room imports, also inside functions."""
    found = set()
    for file in (ROOT / room).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def test_saliency_imports_neither_figures_nor_commands_and_figures_no_commands():
    assert not imported("saliency") & {"plot", "commands"}
    assert "commands" not in imported("plot")
    assert {"saliency", "plot"} <= imported("commands")
