"""What the README says is so: its commands are there, its example runs; the map of docs/architecture.md has every file."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_exactly_two_commands():
    commands = [line.strip() for line in README.splitlines() if line.startswith("    python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("microtensor demo")
    assert commands[1].endswith("pytest -n auto")


def test_the_examples_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    loss, derivatives = result.stdout.splitlines()
    assert float(loss.split()[1]) < 0.7
    assert derivatives == "[ 0.75 12.  ] [ 3. 12.]"


def test_the_map_has_every_file():
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for file in (file for floor in ("microtensor", "nn", "models") for file in (ROOT / floor).rglob("*.py")):
        assert file.name.startswith("__") or f"`{file.name}`" in architecture, f"{file} is not on the map"
