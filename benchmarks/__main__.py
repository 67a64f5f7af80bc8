"""`python -m benchmarks [NAME …]`: run benchmarks, and print our time relative to that of other libraries (peers)."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from pathlib import Path

from benchmarks.harness import measure

BENCHMARKS = {
    "steps": "training steps and forward passes of whole networks, at the batch size given (a round is several steps)",
    "layers": "the layers of these networks: forward and backward",
    "chain": "1,000 additions and multiplications of 16 elements, forward and backward: the overhead per operation",
    "optimizers": "an optimiser's step on the parameters of LeNet-5, ResNet-20 and VGG-11",
    "mnist_epoch": "LeNet-5: an epoch of MNIST at batch 64 (needs the data: MICROTENSOR_DATA)",
    "fashion_epoch": "two convolutions: an epoch of Fashion-MNIST at batch 128 (needs the data: MICROTENSOR_DATA)",
    "import_time": "import in a new interpreter",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=15, help="measured rounds of each peer (default 15)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer (default 2)")
    parser.add_argument("--case", action="append", help="run only cases that contain this text (steps, layers, optimizers)")
    parser.add_argument("--peer", action="append", help="only this peer; may be given several times")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    options = parser.parse_args()
    for unknown in set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {unknown!r}; there are {', '.join(BENCHMARKS)}")
    written = []

    def say(line: str) -> None:
        print(line, flush=True)
        written.append(line)

    for name in options.names or BENCHMARKS:
        say(f"\n{BENCHMARKS[name]}; {options.threads} threads, {options.rounds} rounds\n")
        say("| work | peer | ms per round | ours / peer | middle half | MB | ours / peer |\n|---|---|---|---|---|---|---|")
        ratios: dict[str, list[float]] = {}
        for case in getattr(importlib.import_module(f"benchmarks.{name}"), "CASES", [""]):
            if options.case and not any(text in case for text in options.case):
                continue
            try:
                rows = measure(name, options.rounds, options.threads, case, tuple(options.peer or ()))
            except (RuntimeError, ValueError) as error:
                print(f"{name} {case}: {error}", file=sys.stderr)
                continue
            for row in rows:
                memory = f"{rows[0].memory / row.memory:.2f}" if row.memory > 1 else "–"
                times = f"{row.seconds * 1e3:.2f} | {row.ratio:.2f} | {row.low:.2f}–{row.high:.2f}"
                say(f"| {case or name} | {row.peer} | {times} | {row.memory:.0f} | {memory} |")
                if not case.startswith("infer"):
                    ratios.setdefault(row.peer, []).append(row.ratio)
        for peer, found in ratios.items():
            if peer != "microtensor" and len(found) > 1:
                say(f"| geometric mean | {peer} | | {math.prod(found) ** (1 / len(found)):.2f} | | | |")
    if options.out:
        options.out.write_text("\n".join(written).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
