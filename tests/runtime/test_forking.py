"""A child of fork, whatever the other threads of its parent were at: it computes, with all threads, and waits for nobody."""

import os
import subprocess
import sys
import threading

import pytest

from microtensor.runtime.blas import blas
from microtensor.runtime.forking import cached_property

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

PREPARE = """
import os, signal, sys, threading, time, warnings
import numpy as np
import microtensor as mt
from microtensor import nn, random
from microtensor.autograd import graph
from microtensor.runtime import deferred_checks, threads
from microtensor.runtime.blas import single_threaded_blas
warnings.simplefilter("ignore")  # Python 3.12 warns of a fork in a process that has threads, which is what is tested
mt.set_num_threads(2)
blas = threads.blas()

def in_child(work, seconds=20):
    child = os.fork()
    if not child:
        signal.alarm(seconds)
        try:
            work()
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]

def compute():
    x = mt.randn(2, 3, 8, 8, requires_grad=True)
    nn.cross_entropy(nn.conv2d(x, mt.randn(4, 3, 3, 3)).flatten(1)[:, :3], [0, 1], label_smoothing=0.1).backward()
    nn.interpolate(x, scale_factor=2)
    assert (mt.ones(300, 300) @ mt.ones(300, 300)).sum().item() == 300**3
    x.grad.touch()

def meanwhile(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(0.2)
"""


def run(script, timeout=120):
    out = subprocess.run([sys.executable, "-c", PREPARE + script], capture_output=True, text=True, timeout=timeout)
    assert out.returncode == 0, out.stdout + out.stderr


@pytest.mark.parametrize(
    "lock",
    ["graph.lock", "deferred_checks.lock", "random.default._numpy.bit_generator.lock", "threads.settings.lock"]
    + (["blas.lock"] if blas() else []),
)
def test_locks_that_another_thread_holds(lock):
    run(f"""
random.default.normal(0, 1, (2,))
held = {lock}
def hold():
    with held: time.sleep(3)
meanwhile(hold)
assert in_child(compute, 2) == 0
""")


@pytest.mark.skipif(blas() is None, reason="NumPy's BLAS is none that can be told how many threads to use")
def test_blas_has_its_threads_though_another_was_inside():
    run("""
before = blas.get()
def inside():
    with single_threaded_blas(): time.sleep(3)
meanwhile(inside)
assert blas.get() == 1 and blas.inside == 1
def look():
    assert (blas.get(), blas.inside) == (before, 0)
    with blas: assert blas.get() == 1
    assert blas.get() == before
assert in_child(look) == 0
def fork_inside():
    with blas: assert in_child(lambda: blas.get() == 1 or sys.exit(1)) == 0
fork_inside()
""")


def test_children_of_a_process_that_trains_in_other_threads():
    run("""
def train():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 300), nn.Linear(300, 3))
    while True:
        nn.cross_entropy(model(mt.randn(16, 3, 8, 8)), [i % 3 for i in range(16)], label_smoothing=0.1).backward()
before = blas.get() if blas else 0
for _ in range(2): meanwhile(train)
def look():
    assert not blas or blas.get() == before
    compute()
for _ in range(12):
    assert in_child(look) == 0
os._exit(0)
""")


def test_generators_go_on_from_where_they_stood():
    run("""
mt.manual_seed(3)
mt.randn(5)
other = mt.Generator(4)
other.permutation(4)
expected = [*mt.Generator(0).set_state(random.default.get_state()).normal(0, 1, (3,))]
later = [*mt.Generator(0).set_state(other.get_state()).permutation(9)]
def look():
    assert [*random.default.normal(0, 1, (3,))] == expected
    assert [*other.permutation(9)] == later
assert in_child(look) == 0
assert [*random.default.normal(0, 1, (3,))] == expected
""")


def test_a_pass_whose_other_threads_are_gone_says_so():
    run("""
begun = threading.Event()
def slow():
    begun.set()
    time.sleep(2)
later = threads.Later(slow)
begun.wait(10)
def ask():
    try:
        later.result()
    except RuntimeError as error:
        assert "the process was forked in the middle" in str(error)
    else:
        raise AssertionError
    later.cancel()
    compute()
assert in_child(ask, 5) == 0
later.result()
""")


def test_a_loader_goes_on_in_the_child_without_its_threads():
    run("""
from microtensor.data.prefetch import in_order
def work(n):
    time.sleep(0.01)
    return n * n
items = in_order(work, range(20), workers=2, ahead=4)
assert [next(items), next(items)] == [0, 1]
def rest():
    assert list(items) == [n * n for n in range(2, 20)]
assert in_child(rest) == 0
assert list(items) == [n * n for n in range(2, 20)]
""")


def test_a_property_is_computed_once_and_without_a_lock():
    class Slow:
        @cached_property
        def value(self):
            computed.append(self)
            if len(computed) == 1:  # another object's, meanwhile, in another thread
                thread = threading.Thread(target=lambda: Slow().value)
                thread.start()
                thread.join(5)
                assert not thread.is_alive()
            return len(computed)

    computed = []
    slow = Slow()
    assert slow.value == slow.value == 2
    assert isinstance(Slow.value, cached_property)
