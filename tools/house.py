"""Measure the structure of a checkout, or compare several: `python -m tools.house ROOT [ROOT …]` prints a Markdown table.

Counted in the source text: lines, functions, files, folders and imports (those inside functions too). Counted at run time, for
an addition, a convolution and a training batch: which functions of the package are called, and in how many files. Each
checkout runs in a process of its own, with one thread and NumPy's convolutions.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = {"microtensor": "microtensor", "nn": "microtensor.nn", "models": "microtensor.models"}
"""Folder → the package that it is imported as."""

STUDENT_PATH = (("graph.py",), ("op.py",), ("backward.py", "gradient.py"), ("tensor.py",))
"""What a student reads to know what `loss.backward()` does; of each, the names that it has had."""

LONGEST_FUNCTION, LONGEST_FILE = 60, 400
"""Lines that a function and a file should not exceed."""

FLOORS = (
    "runtime checkout names extras blocks table console threads forking memory sizes device kernels lines rows"
    " philox cuda_settings backend deferred",
    "autograd gradient leaves aside op arguments overwritten graph recording nested precision",
    "ops ufuncs",
    "",  # all other modules at the top of microtensor/: Tensor and what is computed with it
    "data io profiler watching formats state files",
    "nn",
    "models",
    "saliency plot commands cli",
)
"""The folders and modules of `microtensor` on each floor, lowest first; under the names of before issue 16 too."""

TOP_LEVEL_FLOOR = FLOORS.index("")

PROBE = """
import json, sys
import numpy as np
import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset

root = sys.argv[1]
assert mt.__file__.startswith(root), mt.__file__
found = {}

def start(name):
    record = found.setdefault(name, {"files": set(), "calls": 0, "moves": 0})
    def profile(frame, event, argument):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(root) and (code.co_name[0] != "<" or code.co_name == "<lambda>"):
            record["calls"] += 1
            caller = frame.f_back
            record["moves"] += caller is None or caller.f_code.co_filename != code.co_filename
            record["files"].add(code.co_filename)
    sys.setprofile(profile)

a, b = (mt.Tensor(np.ones(16, np.float32), requires_grad=True) for _ in range(2))
conv = nn.Conv2d(16, 16, kernel_size=3, padding=1)
x = mt.Tensor(np.ones((8, 16, 32, 32), np.float32), requires_grad=True)
g = mt.Tensor(np.ones((8, 16, 32, 32), np.float32))
for _ in range(2):  # the second time, when everything is imported and cached
    start("a + b"); a + b; sys.setprofile(None)
    start("Conv2d forward"); y = conv(x); sys.setprofile(None)
    start("Conv2d backward"); y.backward(g); sys.setprofile(None)
    first, found = found, {}

class Bell(nn.Module):
    # The first layer: from its call in one batch to its call in the next is one batch.
    batch = 0
    def forward(self, x):
        sys.setprofile(None)
        Bell.batch += 1
        if Bell.batch == 3:
            start("a batch of fit")
        return x

model = nn.Sequential(Bell(), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
data = TensorDataset(np.ones((32, 1, 8, 8), np.float32), np.arange(32) % 2)
optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9)
nn.fit(model, DataLoader(data, 4), nn.CrossEntropyLoss(), optimizer, epochs=1, progress=False)
print(json.dumps({name: f"{len(r['files'])}, {r['calls']}, {r['moves']}" for name, r in (first | found).items()}))
"""


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the library."""
    for folder, package in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            inside = path.relative_to(root / folder).with_suffix("").parts
            if folder == "microtensor" and inside[0] in ("nn", "models"):  # a symbolic link to the folder beside it
                continue
            yield ".".join((package, *(part for part in inside if part != "__init__"))), path


def imports(name: str, path: Path, known: set[str]) -> Iterator[tuple[str, bool]]:
    """Each module of the library that a module imports, and whether it does so inside a function."""

    def visit(node: ast.AST, lazily: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazily) for alias in child.names if alias.name in known)
            elif isinstance(child, ast.ImportFrom):
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                start = package[: len(package) - child.level + 1] if child.level else []
                source = ".".join((*start, *(child.module or "").split("."))).strip(".")
                for alias in child.names:
                    target = f"{source}.{alias.name}" if f"{source}.{alias.name}" in known else source
                    if target in known:
                        yield target, lazily
            yield from visit(child, lazily or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def floor(module: str) -> int:
    """The floor of a module by the part of `microtensor` that it is in."""
    part = (module.split(".") + [""])[1]
    return next((i for i, parts in enumerate(FLOORS) if part in parts.split()), TOP_LEVEL_FLOOR)


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """Length and name of every function in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, node.name


def lines(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def ten_longest(found: list[tuple[int, str]], limit: int) -> str:
    """How many are over the limit, and the longest ten of these."""
    over = sorted((pair for pair in found if pair[0] > limit), reverse=True)
    return f"{len(over)}" + (": " if over else "") + ", ".join(f"{name} {length}" for length, name in over[:10])


def from_source(root: Path) -> dict[str, str]:
    """What the source text says."""
    files = dict(modules(root))
    names = {path: str(path.relative_to(root)) for path in files.values()}
    read = [path for spellings in STUDENT_PATH for path in _first(root, spellings)]
    arrows, upward = set(), set()
    for name, path in files.items():
        for target, lazily in imports(name, path, set(files)):
            if path.parent != files[target].parent:
                arrows.add((path.parent, files[target].parent))
            facade = name in ("microtensor", "microtensor.__main__")  # the public names, of whatever floor
            if floor(target) > floor(name) and not facade:
                upward.add((name, target, lazily))
    lengths = [(length, f"{names[path]}:{name}") for path in files.values() for length, name in functions(path)]
    mutual = sum((target, source) in arrows for source, target in arrows) // 2
    read_each = ", ".join(f"{path.name} {lines(path)}" for path in read)
    return {
        "lines to read for `loss.backward()`": f"{sum(map(lines, read))}: {read_each}",
        f"functions over {LONGEST_FUNCTION} lines": ten_longest(lengths, LONGEST_FUNCTION),
        f"files over {LONGEST_FILE} lines": ten_longest([(lines(p), names[p]) for p in files.values()], LONGEST_FILE),
        "folders with Python files": f"{len({path.parent for path in files.values()})}",
        "imports between folders, and pairs that import each other": f"{len(arrows)}, {mutual}",
        "modules that import from a higher floor, and lazily": f"{len(upward)}, {sum(lazy for *_, lazy in upward)}",
        "Python files at the top of microtensor/": f"{len([*(root / 'microtensor').glob('*.py')])}",
    }


def _first(root: Path, spellings: tuple[str, ...]) -> list[Path]:
    places = [root / "microtensor" / folder / name for name in spellings for folder in ("autograd", "")]
    return [path for path in places if path.is_file()][:1]


def from_running(root: Path) -> dict[str, str]:
    """What running it says."""
    environment = os.environ | {"PYTHONPATH": str(root), "MICROTENSOR_NUM_THREADS": "1", "MICROTENSOR_ONEDNN": "0"}
    command = [sys.executable, "-c", PROBE, str(root)]
    result = subprocess.run(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return {f"{name}: files, calls, calls into another file": counts for name, counts in json.loads(result.stdout).items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="+", type=Path, metavar="ROOT", help="the folder of a checkout")
    roots = [root.resolve() for root in parser.parse_args().roots]
    columns = [from_source(root) | from_running(root) for root in roots]
    print(f"| | {' | '.join(root.name for root in roots)} |\n|{'---|' * (len(roots) + 1)}")
    for row in columns[0]:
        print(f"| {row} | {' | '.join(column[row] for column in columns)} |")


if __name__ == "__main__":
    main()
