"""Work shared among threads: all of it is done once, errors come back, nothing locks, and the numbers do not depend on how many."""

import contextvars
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.runtime import threads
from microtensor.runtime.blas import blas


@pytest.fixture
def count():
    """Sets the number of threads; afterwards it is as before."""
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


@pytest.mark.parametrize("many", [1, 2, 5])
def test_each_part_is_done_once(count, many):
    count(many)
    done = np.zeros(1000, int)

    def work(i):
        done[i] += 1

    threads.share(work, range(1000))
    np.testing.assert_array_equal(done, 1)


def test_several_threads_take_part(count):
    count(3)
    here, gate = set(), threading.Barrier(3, timeout=20)

    def work(_):
        here.add(threading.get_ident())
        gate.wait()

    threads.share(work, range(3))
    assert len(here) == 3


def test_an_error_comes_back_and_ends_the_work(count):
    count(2)
    begun = []

    def work(i):
        begun.append(i)
        time.sleep(0.001)
        if i == 3:
            raise ValueError("part 3")

    with pytest.raises(ValueError, match="part 3"):
        threads.share(work, range(1000))
    assert len(begun) < 20
    threads.share(begun.append, range(3))  # and the threads are there again


def test_inside_a_part_there_are_no_threads(count):
    count(2)
    names = []

    def inner(_):
        names.append(threading.get_ident())

    def outer(_):
        me = threading.get_ident()
        threads.share(inner, range(4))
        assert names.count(me) >= 4

    threads.share(outer, range(2))
    assert len(names) == 8


def test_callers_in_several_threads_do_not_lock_each_other(count):
    count(2)
    sums = np.zeros((8, 50))

    def call(k):
        for _ in range(20):
            threads.share(lambda i: sums.__setitem__((k, i), i), range(50))

    callers = [threading.Thread(target=call, args=(k,), daemon=True) for k in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    np.testing.assert_array_equal(sums, np.broadcast_to(np.arange(50), sums.shape))


def test_a_call_for_later_is_made_meanwhile(count):
    count(2)
    gate, name = threading.Event(), []

    def call(a, b):
        name.append(threading.current_thread().name)
        gate.set()
        return a + b

    later = threads.Later(call, 2, 3)
    assert gate.wait(20)
    assert name == ["microtensor"]
    assert not later.waits
    assert later.result() == later.result() == 5


def test_a_call_for_later_is_the_callers_where_no_thread_is_free(count):
    threads.settings.forget()  # or threads of a test before would be free
    for many in (1, 2):
        count(many)
        gate = threading.Event()
        busy = threads.Later(gate.wait, 20) if many == 2 else None
        later = threads.Later(threading.current_thread)
        assert later.waits
        assert later.result() is threading.current_thread()
        gate.set()
        assert busy is None or busy.result()


def test_a_call_for_later_may_fail_or_be_cancelled(count):
    threads.settings.forget()
    count(2)
    with pytest.raises(ZeroDivisionError):
        threads.Later(lambda: 1 / 0).result()
    gate, done = threading.Event(), []
    busy = threads.Later(gate.wait, 20)
    later = threads.Later(done.append, 1)
    later.cancel()
    gate.set()
    assert busy.result()
    assert threads.Later(len, "abc").result() == 3
    assert done == []


def test_a_call_for_later_shares_its_work(count):
    count(3)
    here, gate = set(), threading.Barrier(2, timeout=20)

    def work(_):
        here.add(threading.get_ident())
        gate.wait()

    threads.Later(threads.share, work, range(2)).result()
    assert len(here) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork():
    """The child has none of the parent's threads, and makes its own."""
    script = """
import os, warnings, numpy as np
from microtensor.runtime import threads
from microtensor.runtime.blas import blas
warnings.simplefilter("ignore")  # Python 3.12 warns of a fork in a process that has threads, which is what is tested
threads.set_num_threads(2)
done = np.zeros(9)
threads.share(lambda i: done.__setitem__(i, 1), range(9))
child = os.fork()
done[:] = 0
threads.share(lambda i: done.__setitem__(i, 1), range(9))
assert done.all()
if child:
    assert os.waitpid(child, 0)[1] == 0
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_numpys_errstate_holds_in_every_thread(count):
    count(2)
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(5)
    seen = []

    def work(_):
        seen.append((variable.get(), np.geterr()["divide"]))
        time.sleep(0.01)

    with np.errstate(divide="ignore"):
        threads.share(work, range(6))
    assert seen == [(5, "ignore")] * 6


@pytest.mark.skipif(blas() is None, reason="NumPy's BLAS is none that can be told how many threads to use")
def test_blas_has_one_thread_inside_and_its_own_after(count):
    count(2)
    library = blas()
    before, seen = library.get(), []
    threads.share(lambda _: seen.append(library.get()), range(4))
    assert seen == [1] * 4
    assert library.get() == before
    with pytest.raises(ZeroDivisionError):
        threads.share(lambda i: 1 / i, range(2))
    assert library.get() == before


def test_environment_variables_say_how_many():
    script = "from microtensor.runtime import threads; print(threads.get_num_threads())"
    for variables, expected in (
        ({"MICROTENSOR_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
        ({"MICROTENSOR_NUM_THREADS": "0"}, None),
        ({"MICROTENSOR_NUM_THREADS": "many"}, None),
    ):
        clean = {key: value for key, value in os.environ.items() if key not in threads.VARIABLES}
        out = subprocess.run([sys.executable, "-c", script], env=clean | variables, check=True, capture_output=True, text=True)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        assert int(out.stdout) == (expected or cores)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (0, ValueError, "count must be at least 1, got 0"),
        (1.5, TypeError, "count must be an integer, got 1.5"),
        (True, TypeError, "count must be an integer, got True"),
    ],
)
def test_wrong_numbers_of_threads(wrong, error, message):
    with pytest.raises(error, match=message):
        threads.set_num_threads(wrong)


def step():
    """A training step of a network that has everything that is shared, and enough of it: its gradients."""
    generator = mt.Generator(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 24, 3, padding=1, generator=generator), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 32, 3, padding=1, generator=generator), nn.ReLU(), nn.Conv2d(32, 64, 1, generator=generator)),
        *(nn.Conv2d(64, 64, 3, 2, 1, groups=64, generator=generator), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(64 * 64, 300, generator=generator), nn.ReLU(), nn.Linear(300, 10, generator=generator)),
    )
    images = mt.Tensor(np.random.default_rng(0).standard_normal((96, 3, 32, 32)).astype(np.float32))
    nn.cross_entropy(model(images), [i % 10 for i in range(96)]).backward()
    return [p.grad.numpy() for p in model.parameters()]


def test_the_numbers_do_not_depend_on_the_number_of_threads(count):
    found = []
    for many in (1, 2, 3, 8):
        count(many)
        found.append(step())
    for others in found[1:]:
        for first, other in zip(found[0], others):
            np.testing.assert_array_equal(first, other)
