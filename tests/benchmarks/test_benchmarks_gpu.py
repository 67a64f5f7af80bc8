"""The report on a GPU runs from end to end, on the stand-in; what is wrong is found, and said."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import strict
from strict.cudnn import Cudnn

from microtensor.nn.layers.convolution.gpu import cudnn as own

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")


@pytest.fixture
def gpu(monkeypatch):
    """benchmarks/gpu.py, on a machine with the stand-ins for CuPy and cuDNN, and without PyTorch."""
    monkeypatch.syspath_prepend(str(ROOT))
    for name, module in (("cupy", strict.cupy), ("cudnn", Cudnn()), ("torch", None)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(own, "verdict", own.Verdict())
    monkeypatch.setattr(own, "_local", own.Local())
    return importlib.import_module("benchmarks.gpu")


def test_it_runs_from_end_to_end(gpu, tmp_path, capsys):
    assert gpu.main(["--quick", "--out", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# microtensor on a GPU\n\nNothing failed.\n")
    assert "the tests' stand-in for one" in text
    assert "| cuDNN | used:" in text
    for part in (
        *gpu.PARTS,
        f"All {len(gpu.gpu_checks.existing())} kernels ran.",
        "| LeNet-5 | 19 |",
        "lenet5, 2 |",
    ):
        assert part in text
    assert re.search(r", cudnn \d+\.\d", text)  # how long its way took
    assert "not installed, or without a GPU" in text
    tables = [block.split("\n") for block in text.strip().split("\n\n") if block.startswith("|")]
    assert len(tables) >= 8
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1
    assert not capsys.readouterr().err


def only(gpu, monkeypatch, **parts):
    monkeypatch.setattr(gpu, "PARTS", parts)


def test_a_wrong_kernel_and_one_that_is_not_run_are_found(gpu, monkeypatch, tmp_path):
    checks = gpu.gpu_checks

    def twice(make):
        return [make(5) * (1 if make.device == "cpu" else 2)]

    monkeypatch.setattr(checks, "CHECKS", {"twice": checks.Check(twice), "rectifiers": checks.CHECKS["rectifiers"]})
    only(gpu, monkeypatch, kernels=gpu.checks)
    assert gpu.main(["--quick", "--out", str(tmp_path / "report.md")]) == 1
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| twice | float32 | 0 | **WRONG** 1.0e+00 | 1e-04 |" in text
    assert "- kernels: twice in float32 is wrong; " in text
    assert "moving_average.cu: copy was not run" in text
    assert "activations.cu: between was not run" not in text


def test_a_result_of_nan_is_wrong(gpu, monkeypatch):
    checks = gpu.gpu_checks
    monkeypatch.setattr(
        checks, "CHECKS", {"nan": checks.Check(lambda make: [make(5) * float("nan" if make.device != "cpu" else 1)])}
    )
    assert not checks.checked("nan", "float32", "cuda")[0].passed


def test_a_part_that_raises_leaves_the_others(gpu, monkeypatch, tmp_path, capsys):
    def breaks(report):
        raise RuntimeError("out of memory")

    only(gpu, monkeypatch, first=breaks, second=lambda report: report.say("here"))
    assert gpu.main(["--quick", "--out", str(tmp_path / "report.md")]) == 1
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**1 parts failed:**\n\n- first: RuntimeError: out of memory" in text
    assert "here" in text
    assert capsys.readouterr().err == "failed: first: RuntimeError: out of memory\n"


def test_an_accuracy_that_is_not_reached_fails(gpu, monkeypatch):
    monkeypatch.setattr(gpu.gpu_training, "learn", lambda *args: gpu.gpu_training.Learned(128, 400, 0.5, 1.0))
    only(gpu, monkeypatch, learning=gpu.training)
    report = gpu.Report(gpu.WHOLE, strict.cupy, "cuda:0")
    report.part("learning", gpu.training)
    assert report.failures[0].startswith("learning: LeNet-5 in float32 reaches 50.0%, not 97%")


def test_without_a_gpu_one_error_and_no_file(gpu, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path / "report.md")])
    assert 'error: device "cuda:0" needs CuPy, which' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_middle_half(gpu):
    speed = gpu.gpu_speed
    assert speed.middle([5.0, 1.0, 2.0, 4.0, 3.0, 9.0, 0.5]) == speed.Timing(3.0, 1.0, 5.0)
    assert speed.mean([2.0, 8.0]) == pytest.approx(4.0)


def test_works_take_turns(gpu):
    seen = []
    works = {name: lambda name=name: seen.append(name) for name in "ab"}
    gpu.gpu_speed.timed(strict.cupy, works, gpu.gpu_speed.Effort(3, 0.0, 1))
    assert "".join(seen) == "aabb" + "ab" * 3
