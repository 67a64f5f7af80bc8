"""Threads that prepare batches ahead: the same batches, errors in their turn, and no thread left behind."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from data_files import Noise
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import interrupted, started

import microtensor as mt
from microtensor.data import DataLoader, Dataset, TensorDataset


def batches(loader):
    return [x.tolist() for (x,) in loader]


class Slow(Dataset):
    """Waits before it answers, the first batches longest."""

    def __init__(self, n, seconds=0.002):
        self.n, self.seconds, self.asked = n, seconds, []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        raise NotImplementedError

    def batch(self, indices):
        self.asked.append(int(indices[0]))
        time.sleep(self.seconds * (self.n - int(indices[0])) / self.n)
        return (indices,)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("microtensor-data")]


def no_threads_are_left():
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    return not threads()


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 30),
    size=st.integers(1, 8),
    workers=st.integers(0, 4),
    factor=st.integers(1, 3),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_workers_change_no_bit(n, size, workers, factor, shuffle, drop_last):
    dataset = TensorDataset(np.arange(n, dtype=np.float32), np.arange(n))

    def two_passes(**settings):
        loader = DataLoader(dataset, size, shuffle, mt.Generator(3), drop_last, transform=Noise(), **settings)
        return [(x.numpy().tobytes(), y.tolist()) for _ in range(2) for x, y in loader]

    assert two_passes(num_workers=workers, prefetch_factor=factor) == two_passes()
    assert no_threads_are_left()


def test_batches_come_in_order_whoever_is_first():
    loader = DataLoader(Slow(24), 3, num_workers=4)
    assert batches(loader) == [[i, i + 1, i + 2] for i in range(0, 24, 3)]


def test_workers_work_at_the_same_time():
    barrier = threading.Barrier(3)

    def meet(x):
        barrier.wait(timeout=10)  # breaks unless three batches are in work at once
        return x

    assert len(batches(DataLoader(TensorDataset(np.arange(6)), 1, num_workers=3, transform=meet))) == 6


def test_so_many_batches_are_prepared_ahead():
    dataset = Slow(100, seconds=0)
    loader = iter(DataLoader(dataset, 1, num_workers=2, prefetch_factor=3, device="cpu"))  # to a GPU, one more sets out
    assert dataset.asked == []
    for handed in range(1, 11):
        next(loader)
        deadline = time.monotonic() + 5
        while len(dataset.asked) < handed + 6 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(dataset.asked) == handed + 6
    loader.close()
    assert no_threads_are_left()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_arrives_in_its_turn_with_its_traceback(workers):
    def broken_here(x):
        if x[0] >= 6:
            raise ZeroDivisionError(f"at {x[0]}")
        return x

    loader = DataLoader(TensorDataset(np.arange(10)), 2, num_workers=workers, transform=broken_here)
    iterator = iter(loader)
    assert [next(iterator)[0].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ZeroDivisionError, match="at 6") as caught:
        next(iterator)
    assert "broken_here" in [entry.name for entry in caught.traceback]
    assert loader.position == 3
    del caught
    assert no_threads_are_left()


@pytest.mark.parametrize("leave", ["break", "raise", "interrupt", "drop"])
def test_an_abandoned_iterator_leaves_no_thread(leave):
    loader = DataLoader(Slow(100), 1, num_workers=3, prefetch_factor=30)
    if leave == "drop":
        iterator = iter(loader)
        next(iterator)
        assert threads()
        del iterator
    elif leave == "break":
        for _ in loader:
            assert threads()
            break
    else:
        error = {"raise": ValueError, "interrupt": KeyboardInterrupt}[leave]
        with contextlib.suppress(error):
            for _ in loader:
                assert threads()
                raise error
    assert no_threads_are_left()
    assert len(loader.dataset.asked) < 60  # what was still to be prepared is not
    assert len(batches(loader)) == 100  # and the next pass is a whole one


PROGRAM = """
import sys, time
import numpy as np
from microtensor.data import DataLoader, TensorDataset

def slow(x):
    time.sleep({seconds})
    return x

loader = DataLoader(TensorDataset(np.arange(1000)), 1, num_workers=2, transform=slow)
iterator = iter(loader)
print(next(iterator), flush=True)
{then}
"""


def test_the_interpreter_ends_with_an_iterator_alive():
    program = PROGRAM.format(seconds=0.01, then="held_in_a_cycle = [iterator]; held_in_a_cycle.append(held_in_a_cycle)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_a_program_that_waits_for_a_batch():
    program = PROGRAM.format(seconds=0.5, then="for batch in iterator: pass")
    with started("-c", program) as process:
        process.stdout.readline()
        time.sleep(0.1)
        error = interrupted(process)
    assert process.returncode != 0
    assert error.rstrip().endswith("KeyboardInterrupt")
