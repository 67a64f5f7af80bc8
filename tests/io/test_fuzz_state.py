import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = 3000
"""Damaged files of each format."""

ROOM = 2**29
"""Bytes of address space that a process may take beyond what it has when it starts to load."""

LIMITED = """
import resource, runpy, sys
import microtensor.io.state  # what the process needs anyway
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv.pop(1)),) * 2)
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("kind", ["npz", "tree", "safetensors", "pth", "legacy", "views", "legacy views"])
def test_damaged_files_are_refused_or_harmless(kind, tmp_path):
    """Each ends in a tree of tensors or in ValueError or OSError, soon, in bounded memory, and runs nothing: see fuzz_state.py.
    Where it is known what is right, tensors that are not are an error.
    """
    if kind == "safetensors":
        pytest.importorskip("safetensors")
    script = Path(__file__).parents[1].joinpath("support", "fuzz_state.py")
    limited = ["-c", LIMITED, str(ROOM)] if sys.platform == "linux" else []
    command = [sys.executable, "-W", "error", *limited, str(script), kind, "0", str(FILES), str(tmp_path)]
    paths = os.pathsep.join([str(script.parent), *sys.path])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout)
    assert found["loaded"] + found["refused"] >= FILES
    assert found["loaded"] > FILES // 100  # some damage does no harm
    assert len(found["messages"]) > (6 if "views" in kind else 15)  # the damage is of many kinds
