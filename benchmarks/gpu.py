"""`python -m benchmarks.gpu [--out FILE]`: what this library does on the GPU of this machine, as one Markdown report.

It checks every kernel against the CPU; trains LeNet-5 and ResNet-20 to a stated accuracy, in float32 and in mixed precision;
times their steps beside PyTorch's, if that is installed with CUDA; and times each way of convolution on each shape that occurs
in the benchmarks' networks, to tell whether the quickest is the one that is taken. Some ten minutes on a data centre's GPU.

Times are the GPU's own, by CUDA events: the median of several rounds, after a warm-up, with the middle half of them. The report
is written whole or not at all; the command ends with 1 where something in it failed.
"""

from __future__ import annotations

import argparse
import platform
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import microtensor as mt
from benchmarks import gpu_checks, gpu_speed, gpu_training
from benchmarks.gpu_speed import Effort, Rates
from microtensor.io.files import whole_file
from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.gpu import cudnn
from microtensor.nn.layers.convolution.problem import Problem
from microtensor.runtime.arrays import index_of, library, parse_gpu


class Size(NamedTuple):
    """How much is done."""

    effort: Effort
    steps_effort: Effort
    side: int
    """Of the matrices whose product is timed."""
    copied: int
    """Bytes."""
    images: int
    shapes: int | None
    """This many of the convolutions; None: all."""
    dtypes: tuple[str, ...]
    training: int | None
    """Steps, of two digits; None: as the recipes say."""
    batches: dict[str, tuple[int, ...]]
    counted: tuple[str, ...] = tuple(gpu_training.COUNTED)
    """Whose kernels are counted."""
    deep: tuple[str, ...] = gpu_training.PRECISIONS
    """In which ResNet-20 is trained and timed."""

    def precisions(self, name: str) -> tuple[str, ...]:
        """In which a network is."""
        return gpu_training.PRECISIONS if name.lower().startswith("lenet") else self.deep

    @property
    def quick(self) -> bool:
        return self.training is not None


WHOLE = Size(
    Effort(7, 10.0),
    Effort(11, 200.0, 10),
    8192,
    1 << 30,
    64,
    None,
    gpu_checks.DTYPES,
    None,
    {"lenet5": (128, 1024), "resnet20": (128, 512)},
)
ONCE = Effort(1, 0.0, 0)
QUICK = Size(ONCE, ONCE, 64, 1 << 12, 1, 1, ("float32",), 1, {"lenet5": (2,), "resnet20": (2,)}, ("LeNet-5",), ("float16",))
"""Everything once, small: to see that it runs. No accuracy is asked for."""


class Failed(Exception):
    """Something is not as it must be: what the report is to say of it."""


class Report:
    """What was found: lines of Markdown, printed as they come, and what failed."""

    def __init__(self, size: Size, xp: Any, device: str) -> None:
        self.size, self.xp, self.device = size, xp, device
        self.lines: list[str] = []
        self.failures: list[str] = []
        self.rates: Rates | None = None

    def say(self, *lines: str) -> None:
        for line in lines:
            print(line, flush=True)
        self.lines += lines

    def table(self, head: str, rows: Iterator[str]) -> None:
        """Rows as they come: cells between " | "."""
        self.say(*[""] * bool(self.lines and self.lines[-1]), f"| {head} |", "|" + "---|" * (head.count(" | ") + 1))
        for row in rows:
            self.say(f"| {row} |")
        self.say("")

    def part(self, title: str, work: Callable[[Report], None]) -> None:
        """A section; where it raises, it says so, and the next one begins."""
        self.say("", f"## {title}", "")
        try:
            work(self)
        except Failed as failure:
            self.failures.append(f"{title}: {failure}")
            self.say(f"**Failed: {failure}**")
        except Exception as error:
            self.failures.append(f"{title}: {type(error).__name__}: {error}")
            self.say("**Failed:**", "", *("    " + line for line in traceback.format_exc().splitlines()[-12:]))

    def text(self) -> str:
        """The whole, with what failed on top."""
        verdict = [f"**{len(self.failures)} parts failed:**", "", *(f"- {f}" for f in self.failures)]
        head = ["# microtensor on a GPU", "", *(verdict if self.failures else ["Nothing failed."])]
        return "\n".join(head + self.lines).rstrip() + "\n"


def machine(report: Report) -> None:
    xp, runtime = report.xp, report.xp.cuda.runtime
    name, properties = mt.cuda.get_device_name(report.device), runtime.getDeviceProperties(index_of(report.device))
    if "stand-in" in name:
        report.say(
            "This is no GPU but the tests' stand-in for one: that it runs is all that this says; times mean nothing.", ""
        )
    torch = gpu_training.pytorch()
    rows = {
        "GPU": f"{name}, {properties['totalGlobalMem'] / 2**30:.0f} GiB, {properties['multiProcessorCount']} multiprocessors",
        "CUDA": f"driver for {version(runtime.driverGetVersion())}, CuPy {xp.__version__} built for "
        f"{version(runtime.runtimeGetVersion())}",
        "cuDNN": cudnns(report),
        "PyTorch": "not installed, or without a GPU" if torch is None else f"{torch.__version__}, CUDA {torch.version.cuda}",
        "host": f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}",
    }
    report.table("what | found", (f"{what} | {found}" for what, found in rows.items()))


def version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def cudnns(report: Report) -> str:
    """Whether it is used here."""
    like = report.xp.zeros(1, "float32")
    shapes = (1, 8, 8, 8), (8, 8, 3, 3), (1, 8, 6, 6)
    used = not cudnn.why_not(Problem("forward", *shapes, gpu_speed.Window((3, 3)), device=dispatch.device(like)))
    return "used: it computes what our kernels do" if used else "not used: not installed, or it has failed its trial"


def checks(report: Report) -> None:
    """Every kernel beside the CPU."""
    results, missing = gpu_checks.every(report.device, report.size.dtypes)
    report.say("The largest difference between GPU and CPU, of the largest value of each result; gradients included.")
    report.table(
        "operations | dtype | our kernels | difference | allowed",
        (
            f"{r.name} | {r.dtype} | {r.kernels} | {'' if r.passed else '**WRONG** '}{r.error:.1e} | "
            f"{gpu_checks.TOLERANCE[r.dtype]:.0e}"
            for r in results
        ),
    )
    wrong = [f"{r.name} in {r.dtype}" for r in results if not r.passed]
    if wrong or missing:
        raise Failed("; ".join([*(f"{name} is wrong" for name in wrong), *(f"{name} was not run" for name in missing)]))
    report.say(f"All {len(gpu_checks.existing())} kernels ran.")


def card(report: Report) -> None:
    """What it does at best."""
    report.rates = gpu_speed.rates(report.xp, report.size.effort, report.size.side, report.size.copied)
    rates = report.rates
    report.table(
        "measured | rate",
        iter(
            [
                f"product of two matrices of {report.size.side}², float32 | {rates.float32 / 1e12:.1f} TFLOP/s",
                f"the same, TF32 | {rates.tf32 / 1e12:.1f} TFLOP/s",
                f"the same, float16 | {rates.float16 / 1e12:.1f} TFLOP/s",
                f"copy of {report.size.copied / 2**20:.0f} MiB, read and written | {rates.copy / 1e9:.0f} GB/s",
            ]
        ),
    )


def training(report: Report) -> None:
    """They learn."""
    failures = []

    def rows() -> Iterator[str]:
        for name, recipe in gpu_training.RECIPES.items():
            for precision in report.size.precisions(name):
                asked = not report.size.quick
                found = gpu_training.learn(report.xp, recipe, precision, report.device, report.size.training)
                passed = found.accuracy >= recipe.accuracy or not asked
                if not passed:
                    failures.append(f"{name} in {precision} reaches {found.accuracy:.1%}, not {recipe.accuracy:.0%}")
                yield (
                    f"{name} | {precision} | {found.batch} | {found.steps} | {found.milliseconds:.2f} | "
                    f"{'' if passed else '**'}{found.accuracy:.1%}{'' if passed else '**'} | "
                    f"{f'{recipe.accuracy:.0%}' if asked else '–'}"
                )

    report.say("On the 6,000 digits of the package, loaded and uploaded batch by batch; accuracy on the other 1,000.")
    report.table("network | precision | batch | steps | ms per step, with loading | accuracy | asked for", rows())
    if failures:
        raise Failed("; ".join(failures))


def steps(report: Report) -> None:
    """Their steps, beside PyTorch's."""

    def rows() -> Iterator[str]:
        for name, batches in report.size.batches.items():
            for batch in batches:
                for precision in report.size.precisions(name):
                    yield from of(name, batch, precision)

    def of(name: str, batch: int, precision: str) -> Iterator[str]:
        size = report.size
        found = gpu_training.steps(report.xp, name, batch, precision, report.device, size.steps_effort, size.quick)
        dtype, _, tf32 = precision.partition(", ")
        for peer, time in found.times.items():
            rate = found.flops / time.median * 1e3
            share = "–" if report.rates is None else f"{rate / report.rates.of(dtype, bool(tf32)):.1%}"
            yield (
                f"{name}, {batch} | {precision} | {peer} | {time} | {found.images / time.median * 1e3:,.0f} | "
                f"{found.times['microtensor'].median / time.median:.2f} | {rate / 1e12:.2f} | {share} | "
                f"{found.memory[peer] / 2**20:.0f}"
            )

    report.say(
        "Forward, cross-entropy, backward and SGD on a batch that is on the GPU already; the libraries in turn, a round each. "
        "FLOP/s are two for each multiply-add of convolutions and linear layers, three times over. Memory is what was taken "
        "from the GPU, cached blocks included."
    )
    head = "network, batch | precision | library | ms (middle half) | images/s | ours / its | TFLOP/s | of the card's | MiB"
    report.table(head, rows())
    counted = gpu_training.kernels_per_step(*report.size.counted)
    if counted is None:
        report.say("Kernels per step are counted on the tests' stand-in, which needs the checkout and g++: not here.")
        return
    report.say("Kernels per step, counted on the tests' stand-in, at a batch of 2 or 4:")
    report.table(
        "network | forward and loss | backward | SGD | in all",
        (f"{name} | {' | '.join(map(str, found))} | {sum(found)}" for name, found in counted.items()),
    )


def convolutions(report: Report) -> None:
    """Each way, on each shape."""
    found: list[gpu_speed.Ways] = []

    def rows() -> Iterator[str]:
        for number, shape in enumerate(gpu_speed.occurring()):
            if report.size.shapes is not None and number >= report.size.shapes:
                return
            if report.size.shapes is not None:
                shape = shape._replace(x=(1, *shape.x[1:]))
            for dtype in ("float32", "float16"):
                three = gpu_speed.ways(report.xp, shape, dtype, report.size.effort)
                found.extend(three)
                yield f"{shape.text.removeprefix('conv ')} | {dtype} | " + " | ".join(ways.cell() for ways in three)

    report.say("ms of each way that computes it. Bold: what is taken where cuDNN is not. See nn/layers/convolution/gpu.")
    report.table("images, kernels | dtype | forward | grad_input | grad_weight", rows())
    ratios = [w.times[w.chosen].median / w.times[w.quickest()].median for w in found]
    near = sum(ratio <= 1.1 for ratio in ratios)
    report.say(
        f"Of {len(found)}, the way that is taken is within 10 % of the quickest of ours {near} times; its time is "
        f"{gpu_speed.mean(ratios):.2f} times the quickest's, in geometric mean, {max(ratios):.2f} times at worst."
    )
    library_ratios = [w.times["cudnn"].median / w.times[w.quickest()].median for w in found if "cudnn" in w.times]
    if library_ratios:
        report.say(
            f"cuDNN takes {gpu_speed.mean(library_ratios):.2f} times the time of the quickest of ours, in geometric mean."
        )
    worst = sorted(zip(ratios, found), key=lambda pair: -pair[0])[:10]
    report.say("", "Where the choice costs most:")
    report.table(
        "images, kernels | dtype | operation | taken | quickest | ratio",
        (
            f"{w.shape.text.removeprefix('conv ')} | {w.dtype} | {w.operation} | {w.chosen} | {w.quickest()} | {ratio:.2f}"
            for ratio, w in worst
        ),
    )


def bandwidth(report: Report) -> None:
    """What only moves elements."""

    def rows() -> Iterator[str]:
        for found in gpu_speed.moving(report.xp, report.device, report.size.effort, report.size.images):
            rate = found.bytes / found.time.median * 1e3
            share = "–" if report.rates is None else f"{rate / report.rates.copy:.0%}"
            yield f"{found.name} | {found.time} | {rate / 1e9:.0f} | {share}"

    report.say(
        f"Forward and backward over ({report.size.images}, 64, 56, 56) in float32, and an optimiser's step over as many "
        "numbers. Bytes are those that must be read and written at least."
    )
    report.table("what | ms (middle half) | GB/s | of the card's copy", rows())


PARTS = {
    "The machine": machine,
    "Every kernel, beside the CPU": checks,
    "What the card does": card,
    "Learning": training,
    "Training steps": steps,
    "What only moves elements": bandwidth,
    "Ways of convolution": convolutions,
}


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 1 where something failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the report to this file too")
    parser.add_argument("--device", default="cuda", help='"cuda", or "cuda:1" …')
    parser.add_argument("--quick", action="store_true", help="everything once, small: only to see that it runs")
    options = parser.parse_args(arguments)
    try:
        device = parse_gpu("benchmarks.gpu", options.device)
        xp = library(device)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    report = Report(QUICK if options.quick else WHOLE, xp, device)
    with mt.cuda.device(device):
        for title, work in PARTS.items():
            report.part(title, work)
    if options.out:
        with whole_file(options.out) as file:
            file.write(report.text().encode())
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
