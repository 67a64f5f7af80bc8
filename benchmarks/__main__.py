"""`python -m benchmarks [NAME …]`: run benchmarks and print how our time compares with each peer's."""

from __future__ import annotations

import argparse

from benchmarks.harness import measure

BENCHMARKS = {
    "chain": "1,000 additions and multiplications of 16 numbers, forward and backward",
    "lenet_step": "LeNet-5: 10 training steps at batch 64 (forward, loss, backward, Adam)",
    "mnist_epoch": "LeNet-5: an epoch of MNIST at batch 64 (needs the data: MICROTENSOR_DATA)",
    "fashion_epoch": "two convolutions: an epoch of Fashion-MNIST at batch 128 (needs the data: MICROTENSOR_DATA)",
    "import_time": "import, in a fresh interpreter",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=15, help="measured rounds of each peer (default 15)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer (default 2)")
    options = parser.parse_args()
    for unknown in set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {unknown!r}; there are {', '.join(BENCHMARKS)}")
    for name in options.names or BENCHMARKS:
        print(f"\n{BENCHMARKS[name]}\n")
        print("| peer | ms per round | ours / peer | middle half |\n|---|---|---|---|")
        for row in measure(name, options.rounds, options.threads):
            print(f"| {row.peer} | {row.seconds * 1e3:.2f} | {row.ratio:.2f} | {row.low:.2f}–{row.high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
