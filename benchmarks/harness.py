"""Run the same work in several libraries (peers), each in its own process with the same number of threads.

A benchmark is a module with one function per peer, named after the library: it sets up, and returns the work as a function
without arguments. If the module has CASES, the function gets one of them. Because machines are noisy, peers alternate, and the
result is the ratio of times that were measured right after each other: the median over all rounds, and the middle half.
"""

from __future__ import annotations

import importlib
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

PEERS = ("microtensor", "numpy", "torch", "jax", "tinygrad", "autograd")
PAUSE_SECONDS = 0.3
"""Between rounds: idle BLAS threads of one peer keep spinning for a while, and would slow down the next peer."""
THREADS = ("MICROTENSOR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_DEBUG_CPU_TYPE", "MKL_CBWR")
"""Environment variables that change the kernels a BLAS selects. They are unset, so that peers run as installed."""


class Peer:
    """A process that runs the benchmark of one peer, one round at a time."""

    def __init__(self, benchmark: str, case: str, peer: str, threads: int) -> None:
        environment = os.environ | dict.fromkeys(THREADS, str(threads)) | {"PYTHONHASHSEED": "0"}
        if threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        for name in TUNING:
            environment.pop(name, None)
        command = [sys.executable, "-m", "benchmarks.harness", benchmark, case, peer, str(threads)]
        self.name = peer
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer = self._read()

    @property
    def ready(self) -> bool:
        return self.answer == "ready"

    def round(self) -> tuple[float, float]:
        """Seconds of one round, and peak memory so far in MB, minus that before the first round."""
        time.sleep(PAUSE_SECONDS)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, memory = map(float, self._read().split())
        return seconds, memory

    def warms_up(self) -> bool:
        """Run two warm-up rounds (some libraries compile in the second), and return whether they succeed."""
        try:
            return bool(self.round() and self.round())
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return False

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
    """Our time divided by the peer's, median over the rounds. Below 1, we are faster."""
    low: float
    high: float
    memory: float
    """Peak memory of the work in MB, minus that after the set-up."""


def measure(benchmark: str, rounds: int, threads: int, case: str = "", only: tuple[str, ...] = ()) -> list[Result]:
    """Run all available peers, or those named, in turn. One result per peer, ours first."""
    module = importlib.import_module(f"benchmarks.{benchmark}")
    names = [name for name in PEERS if hasattr(module, name) and (not only or name in ("microtensor", *only))]
    peers = [Peer(benchmark, case, name, threads) for name in names]
    try:
        for peer in peers:
            if not peer.ready:
                print(f"{benchmark} {case}: {peer.name} {peer.answer}", file=sys.stderr)
        running = [peer for peer in peers if peer.ready and peer.warms_up()]
        times = [[peer.round() for peer in running] for _ in range(rounds)]
    finally:
        for peer in peers:
            peer.stop()
    results = []
    for peer, column in zip(running, zip(*times)):
        ratios = sorted(ours[0] / theirs[0] for (ours, *_), theirs in zip(times, column))
        quarter = len(ratios) // 4
        middle = statistics.median(seconds for seconds, _ in column)
        results.append(
            Result(peer.name, middle, statistics.median(ratios), ratios[quarter], ratios[-1 - quarter], column[-1][1])
        )
    return results


def _peak() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _work(benchmark: str, case: str, peer: str, threads: int) -> None:
    """The main function of a peer's process: set up, then time one round for every line read from stdin."""
    try:
        if peer == "torch":
            importlib.import_module("torch").set_num_threads(threads)
        function = getattr(importlib.import_module(f"benchmarks.{benchmark}"), peer)
        work = function(case) if case else function()
    except (ImportError, RuntimeError) as error:  # not installed, or its compiler is missing
        print(f"cannot run this ({error})".replace("\n", " "), flush=True)
        return
    print("ready", flush=True)
    before = _peak()
    for _ in sys.stdin:
        start = time.perf_counter()
        try:
            work()
        except Exception as error:
            print(f"{peer}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            raise
        print(time.perf_counter() - start, _peak() - before, flush=True)


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
