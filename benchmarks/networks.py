"""`python -m benchmarks.networks [NAME …]`: forward and backward of every ImageNet network at batch 8, beside torchvision's.

Each runs in its own process, one after the other: two steps (forward, cross-entropy, backward), of which the second is timed,
or one step if it takes more than five seconds; and the peak memory of the process. Networks that torchvision lacks have no
second column. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

import numpy as np

BATCH = 8


def size_of(name: str) -> int:
    """Pixels per side: 224, except for AlexNet as published, and Inception v3, whose auxiliary head needs 299."""
    return {"alexnet_2012": 227, "inception_v3": 299}.get(name, 224)


def images(name: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((BATCH, 3, size_of(name), size_of(name))).astype(np.float32)


def microtensor(name: str):
    import microtensor as mt
    from microtensor import models, nn

    model, x, labels = models.build(name), mt.Tensor(images(name)), np.arange(BATCH)

    def step():
        model.zero_grad()
        result = model(x)
        nn.cross_entropy(result[0] if isinstance(result, tuple) else result, labels).backward()

    return step


def torch(name: str):
    import torch

    from tools.torchvision_parity import import_torchvision

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = getattr(import_torchvision().models, name)(weights=None)
    x, labels = torch.tensor(images(name)), torch.arange(BATCH)

    def step():
        model.zero_grad()
        result = model(x)
        torch.nn.functional.cross_entropy(result[0] if isinstance(result, tuple) else result, labels).backward()

    return step


def measure(library: str, name: str, threads: int) -> tuple[float, float] | None:
    """Seconds of a step, and peak memory in GB; None if the library does not have the network."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    command = [sys.executable, "-m", "benchmarks.networks", "--child", library, name]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        print(f"{library} {name}: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    seconds, memory = map(float, result.stdout.split())
    return seconds, memory


def child(library: str, name: str) -> None:
    step, seconds = globals()[library](name), 0.0
    while seconds < 5.0:  # the second step, or the first if it takes long
        before, start = seconds, time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        if before:
            break
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)  # KiB → GB, roughly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--threads", type=int, default=2, help="of each library (default 2)")
    parser.add_argument("--child", nargs=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.names[0])
        return
    from microtensor.models.catalogue import cards

    large = [name for name, card in cards().items() if card.input_shape[0] == 3 and 200 < card.input_shape[1] < 400]
    print("| network | s per step | PyTorch | ratio | peak GB | PyTorch | ratio |\n|---|---|---|---|---|---|---|")
    for name in options.names or large:
        ours, theirs = (measure(library, name, options.threads) for library in ("microtensor", "torch"))
        cells = [name]
        for i in range(2):  # time, memory
            own, other = (None if found is None else found[i] for found in (ours, theirs))
            ratio = own / other if own and other else None
            cells += ["–" if number is None else f"{number:.2f}" for number in (own, other, ratio)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
