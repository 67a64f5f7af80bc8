"""Floors and rooms: an import points down to a lower floor, or stays on its floor, and no rooms import each other in a circle.

    runtime → autograd → ops → Tensor and the files beside it → io, profiler, data → nn → models → roof: plot, saliency, commands

Every import counts: absolute and relative ones, those inside a function, and those under `if TYPE_CHECKING`. Only
microtensor/__init__.py, the table of contents, imports from all floors.
"""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = [
    ["runtime"],
    ["autograd"],
    ["ops"],
    [""],  # the files of microtensor/ itself: tensor.py, creation.py …
    ["io", "profiler", "data"],
    ["nn"],
    ["models"],
    ["plot", "saliency", "commands"],
]
FLOOR_OF = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}

BY_NAME = {("microtensor.nn.training.history", "microtensor.plot")}
"""Attributes of the package that are on a higher floor, and who uses them: `History.plot()` draws with `microtensor.plot`."""


@cache
def modules():
    """The path of each module of the package, by its name; without the table of contents and the command."""
    found = {}
    for folder, package in [("microtensor", "microtensor"), ("nn", "microtensor.nn"), ("models", "microtensor.models")]:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            if package != "microtensor" or inside[0] not in ("nn", "models"):  # links to the folders beside
                found[".".join([package, *inside]).removesuffix(".__init__")] = path
    return {name: path for name, path in found.items() if name not in ("microtensor", "microtensor.__main__")}


def folder(module):
    """`runtime`, `nn` …; "" for a file of microtensor/ itself."""
    first = module.split(".")[1:2]
    return first[0] if first and first[0] in FLOOR_OF else ""


def room(module):
    """A folder of microtensor/, nn/ or models/, such as "runtime" or "nn.layers", with all that is inside it."""
    inside = module.split(".")[1:]
    return ".".join(inside[:2]) if inside[:1] == ["nn"] and len(inside) > 2 else folder(module)


def imported(module, source=None):
    """For each import in a module, anywhere in it: the line, and the module that it names."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source or path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "microtensor")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                outer = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*outer, *([base] if base else [])])
            if base.split(".")[0] == "microtensor":
                for alias in node.names:  # `from . import tensor` names a module, `from .tensor import Tensor` a class in one
                    name = f"{base}.{alias.name}"
                    yield node.lineno, name if name in modules() else base


def by_name(module):
    """What a module uses as an attribute of the package: `microtensor.plot` after `import microtensor`."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "microtensor"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            yield f"microtensor.{node.attr}"


def points_up(module, target):
    return FLOOR_OF[folder(target)] > FLOOR_OF[folder(module)]


@pytest.mark.parametrize("module", modules())
def test_no_import_points_up(module):
    assert [f"line {line}: {target}" for line, target in imported(module) if points_up(module, target)] == []


def test_what_is_used_by_name_is_listed():
    found = {(module, target) for module in modules() for target in by_name(module) if points_up(module, target)}
    assert found == BY_NAME


def test_no_rooms_import_each_other_in_a_circle():
    below = {}
    for module, path in modules().items():
        if path.name != "__init__.py":  # a table of contents, which names its rooms
            below.setdefault(room(module), set()).update(room(target) for _, target in imported(module))
    graph = {name: targets - {name} for name, targets in below.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these rooms import each other: {' → '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("microtensor.runtime.cuda.philox", "from ...random import default", "microtensor.random"),
        ("microtensor.runtime.cuda.philox", "from ... import random", "microtensor.random"),
        ("microtensor.runtime.text", "def f():\n    from ..autograd import graph", "microtensor.autograd.graph"),
        ("microtensor.ops.product", "if TYPE_CHECKING:\n    import microtensor.nn.module", "microtensor.nn.module"),
        ("microtensor.nn.training.history", "from microtensor.plot import style", "microtensor.plot.style"),
        ("microtensor.nn.training.history", "from ... import plot", "microtensor.plot"),
        ("microtensor.data.loader", "from ..nn import Module", "microtensor.nn"),
        ("microtensor.saliency", "from .. import commands", "microtensor.commands"),
    ],
)
def test_imports_are_resolved(module, source, target):
    assert [name for _, name in imported(module, source)] == [target]
    assert points_up(module, target) == (module != "microtensor.saliency")
