"""`python -m benchmarks.limits`: how close convolution is to the limits of the machine, and how time and memory grow.

First, time and memory of a training step for increasing batch, width, depth and image size, with the exponent of the power law
that fits; ours and, if installed, PyTorch's.

Then the memory bandwidth (copying 256 MiB, bytes read plus written), and for each convolution of the networks: the FLOP rate of
matrix products on this machine (sgemm of 1,024³, before and after), and the share of it that the convolution reaches, forward
and backward (which has twice the FLOPs, or the same without the input's gradient). A share of 1 would mean that nothing but the
matrix product takes time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import THREADS, TUNING


def seconds(work: Callable[[], object], rounds: int = 7, least: float = 0.1) -> float:
    """Median time of one call, over rounds that last at least `least` seconds."""
    work()
    start = time.perf_counter()
    work()
    count = max(1, int(least / (time.perf_counter() - start + 1e-9)))
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(count):
            work()
        found.append((time.perf_counter() - start) / count)
    return statistics.median(found)


def product_rate() -> float:
    """FLOP/s of a matrix product with our threads."""
    from microtensor.ops.product import product

    a = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    return 2 * 1024**3 / seconds(lambda: product(a, a), 5)


def copy_rate() -> float:
    """Bytes/s of a copy with our threads, read plus written."""
    from microtensor.runtime import threads

    source = np.zeros(1 << 26, np.float32)
    target = np.empty_like(source)
    copied = seconds(lambda: threads.share(lambda s: np.copyto(target[s], source[s]), threads.slices(len(source), 1 << 22)))
    return 2 * source.nbytes / copied


def convolutions() -> None:
    from benchmarks.layers import LAYERS
    from microtensor.nn.layers.convolution import dispatch
    from microtensor.nn.layers.windows import Window

    bandwidth = copy_rate()
    print(f"\ncopy {bandwidth / 1e9:.1f} GB/s (read and written)\n")
    print("| convolution | product, GFLOP/s | forward, ms | share | backward, ms | share | copy bound, ms |")
    print("|---" * 7 + "|")
    special = {"conv 64×64×32×32 64, 3×3": (("conv", 64, 64, 3, 1, 1, 1, False), (64, 64, 32, 32), True)}
    for text, (layer, shape, wanted) in (special | LAYERS).items():
        if layer[0] != "conv":
            continue
        _, i, o, k, stride, p, groups, _ = layer
        rng, window = np.random.default_rng(0), Window((k, k), (stride, stride), ((p, p), (p, p)))
        x, w = (rng.standard_normal(s).astype(np.float32) for s in (shape, (o, i // groups, k, k)))
        y = dispatch.forward(x, w, None, window, groups)
        size = (shape[2], shape[3])

        def backward(x=x, w=w, y=y, window=window, groups=groups, wanted=wanted, size=size) -> None:
            dispatch.grad_weight(x, y, window, groups)
            if wanted:
                dispatch.grad_input(y, w, None, window, groups, size)

        work = 2 * y.size * (i // groups) * k * k
        before = product_rate()
        ahead = seconds(lambda x=x, w=w, window=window, groups=groups: dispatch.forward(x, w, None, window, groups), 5)
        back = seconds(backward, 5)
        flops = (before + product_rate()) / 2  # current rate: other processes may take part of the machine
        bound = (x.nbytes + y.nbytes) / bandwidth
        shares = work / ahead / flops, (1 + wanted) * work / back / flops
        print(
            f"| {text} | {flops / 1e9:.0f} | {ahead * 1e3:.2f} | {shares[0]:.0%} "
            f"| {back * 1e3:.2f} | {shares[1]:.0%} | {bound * 1e3:.2f} |",
            flush=True,
        )


GROWTH = {
    "batch": (8, 16, 32, 64, 128),
    "width": (16, 32, 64, 128),
    "depth": (4, 8, 16, 32),
    "pixels": (16, 32, 64, 128),
}
"""The quantities that are increased; the others stay at batch 16, 16 channels, 4 convolutions, images of 32×32."""

PEERS = ("microtensor", "torch")


def grown(peer: str, what: str, value: int) -> tuple[float, float]:
    """Seconds and MB of a training step of a network of 3×3 convolutions with batch norm and ReLU."""
    from benchmarks import modules, nets

    sizes = {"batch": 16, "width": 16, "depth": 4, "pixels": 32} | {what: value}
    width, pixels = sizes["width"], sizes["pixels"]
    layers = [nets.conv(width, width, 3), ("bn", width), ("relu",)] * sizes["depth"]
    layers += [("mean",), ("flatten",), ("linear", width, 10)]
    images = np.random.default_rng(0).standard_normal((sizes["batch"], width, pixels, pixels)).astype(np.float32)
    labels: Any = np.arange(sizes["batch"]) % 10
    if peer == "torch":
        import torch

        model, x, labels = modules.pytorchs(layers), torch.tensor(images), torch.tensor(labels)
        cross_entropy = torch.nn.functional.cross_entropy
    else:
        import microtensor as mt

        model, x, cross_entropy = modules.ours(layers), mt.Tensor(images), mt.nn.cross_entropy

    def step() -> None:
        model.zero_grad()
        cross_entropy(model(x), labels).backward()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return seconds(step, 5), memory


def growth(threads: int) -> None:
    peers = PEERS if importlib.util.find_spec("torch") else PEERS[:1]
    print("\n| what grows | of | ms | exponent | MB | exponent |\n|---|---|---|---|---|---|")
    for what, values in GROWTH.items():
        found: dict[str, list[list[float]]] = {peer: [] for peer in peers}
        for value in values:  # each in its own process: peak memory never decreases
            for peer in peers:
                options = ["--threads", str(threads), "--grown", peer, what, str(value)]
                command = [sys.executable, "-m", "benchmarks.limits", *options]
                printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found[peer].append([float(v) for v in printed.split()])
        power = 2 if what in ("pixels", "width") else 1  # pixels in the image; multiply-adds per pixel
        amounts = np.array(values, float) ** power
        name = {"pixels": "pixels (side²)", "width": "width²"}.get(what, what)
        for peer in peers:
            cells = []
            for i, scale in ((0, 1e3), (1, 1)):
                numbers = np.array(found[peer])[:, i] * scale
                exponent = np.polyfit(np.log(amounts), np.log(np.maximum(numbers, 1e-3)), 1)[0]
                cells += [" ".join(f"{n:.1f}" for n in numbers), f"{exponent:.2f}"]
            print(f"| {name}: {' '.join(f'{a:.0f}' for a in amounts)} | {peer} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grown", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = dict.fromkeys(THREADS, str(options.threads))
    if any(os.environ.get(key) != value for key, value in wanted.items()) or any(name in os.environ for name in TUNING):
        # BLAS reads these variables when NumPy is imported, so restart the process with the right ones.
        environment = {key: value for key, value in os.environ.items() if key not in TUNING} | wanted
        sys.exit(subprocess.run([sys.executable, "-m", "benchmarks.limits", *sys.argv[1:]], env=environment).returncode)
    if options.grown:
        peer, what, value = options.grown
        print(*grown(peer, what, int(value)))
        return
    growth(options.threads)  # first: a process inherits the peak memory of its parent
    convolutions()


if __name__ == "__main__":
    main()
