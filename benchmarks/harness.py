"""Peers doing the same work in turn, each in a process of its own with the same number of threads.

A benchmark is a module with a function for each peer, named after its package: it sets up, and returns the work as a function
without arguments. Machines are noisy, so what counts is the ratio of two peers that ran right after each other: the median of
these, with the middle half of them.
"""

from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

PEERS = ("microtensor", "numpy", "torch", "autograd", "tinygrad")
PAUSE = 0.3
"""Seconds between rounds: the idle threads of a peer's BLAS go on spinning for a while, on the cores of the next."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Peer:
    """A process that does one peer's part of a benchmark, a round at a time."""

    def __init__(self, benchmark: str, peer: str, threads: int) -> None:
        environment = os.environ | dict.fromkeys(THREADS, str(threads)) | {"PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "benchmarks.harness", benchmark, peer, str(threads)]
        self.name = peer
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer = self._read()

    @property
    def installed(self) -> bool:
        return self.answer.startswith("ready")

    def round(self) -> float:
        """Seconds of one round."""
        time.sleep(PAUSE)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._read())

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.name} ended with status {self.process.wait()}")
        return line.strip()


class Result(NamedTuple):
    peer: str
    seconds: float
    ratio: float
    """Our time over the peer's: the median over the rounds. Below 1 we are faster."""
    low: float
    high: float


def measure(benchmark: str, rounds: int, threads: int) -> list[Result]:
    """Run all peers that are installed in turn: ours first, then a row for each."""
    module = importlib.import_module(f"benchmarks.{benchmark}")
    peers = [Peer(benchmark, name, threads) for name in PEERS if hasattr(module, name)]
    try:
        for peer in peers:
            if not peer.installed:
                print(f"{benchmark}: {peer.name} {peer.answer}", file=sys.stderr)
        running = [peer for peer in peers if peer.installed]
        for peer in running:  # warm up
            peer.round()
        times = [[peer.round() for peer in running] for _ in range(rounds)]
    finally:
        for peer in peers:
            peer.stop()
    results = []
    for peer, column in zip(running, zip(*times)):
        ratios = sorted(ours / theirs for (ours, *_), theirs in zip(times, column))
        quarter = len(ratios) // 4
        results.append(
            Result(peer.name, statistics.median(column), statistics.median(ratios), ratios[quarter], ratios[-1 - quarter])
        )
    return results


def _work(benchmark: str, peer: str, threads: int) -> None:
    """What the process of a peer does: set up, then a timed round for every line that it reads."""
    try:
        if peer == "torch":
            importlib.import_module("torch").set_num_threads(threads)
        work = getattr(importlib.import_module(f"benchmarks.{benchmark}"), peer)()
    except (ImportError, RuntimeError) as error:  # not installed, or without the compiler that it needs
        print(f"cannot run here ({error})", flush=True)
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], int(sys.argv[3]))
