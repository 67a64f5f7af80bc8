"""Settings that hold in a block or a decorated function: inside, and nowhere else, whatever interrupts."""

import asyncio
import contextlib
import functools
import inspect
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import microtensor as mt
from microtensor.autograd.anomaly import Anomalies
from microtensor.autograd.graph import mode
from microtensor.nn.sketching import sketching
from microtensor.runtime.cuda import kernels
from microtensor.runtime.scoped import Block, Setting


def autocast_is_on():
    return mt.is_autocast_enabled()


def anomalies_are_searched():
    return any(isinstance(observer, Anomalies) for observer in mode.observers)


def recording_is_off():
    return not mt.is_grad_enabled()


def kernels_are_off():
    return not kernels.chosen.kernels


@pytest.fixture(
    params=[
        (mt.no_grad, recording_is_off),
        (mt.autocast, autocast_is_on),
        (mt.detect_anomaly, anomalies_are_searched),
        (kernels.plain, kernels_are_off),
    ],
    ids=lambda pair: pair[0].__name__,
)
def switch(request, monkeypatch):
    """A block, and whether it holds now."""
    monkeypatch.setattr(kernels.Chosen, "kernels", True)
    return request.param


# Generators


def test_a_generator_runs_inside_and_its_user_does_not(switch):
    block, holds = switch

    @block()
    def numbers():
        got = yield holds()
        while got is not None:
            got = yield (got, holds())
        return "end"

    generator = numbers()
    assert next(generator)
    assert not holds()
    assert generator.send(1) == (1, True)
    assert not holds()
    with pytest.raises(StopIteration, match="end"):
        generator.send(None)
    assert not holds()
    assert inspect.isgeneratorfunction(numbers)
    assert numbers.__name__ == "numbers"


def test_what_is_thrown_into_a_generator_reaches_it_inside(switch):
    block, holds = switch
    seen = []

    @block()
    def numbers():
        try:
            yield 1
        except KeyError as error:
            seen.append((error, holds()))
            try:
                yield 2
            finally:
                seen.append(holds())

    generator = numbers()
    next(generator)
    error = KeyError("thrown")
    assert generator.throw(error) == 2
    assert seen == [(error, True)]
    generator.close()
    assert seen[1] is True
    assert not holds()
    with pytest.raises(StopIteration):
        next(generator)


def test_an_error_comes_out_of_a_generator_and_the_setting_is_as_before(switch):
    block, holds = switch

    @block()
    def broken():
        yield 1
        raise ZeroDivisionError

    generator = broken()
    next(generator)
    with pytest.raises(ZeroDivisionError):
        next(generator)
    assert not holds()


def test_a_generator_finds_what_it_had_set_itself():
    @mt.no_grad()
    def numbers():
        with mt.enable_grad():
            yield mt.is_grad_enabled()
            yield mt.is_grad_enabled()
        yield mt.is_grad_enabled()

    found = []
    for value in numbers():
        found.append(value)
        assert mt.is_grad_enabled()
    assert found == [True, True, False]


def test_its_user_has_settings_of_its_own_between():
    @mt.enable_grad()
    def numbers():
        yield mt.is_grad_enabled()
        yield mt.is_grad_enabled()

    with mt.no_grad():
        generator = numbers()
        assert next(generator)
        assert not mt.is_grad_enabled()
    assert next(generator)
    assert mt.is_grad_enabled()


def test_a_generator_as_pytorch_has_it():
    torch = pytest.importorskip("torch")

    def body(library):
        seen = []

        @library.no_grad()
        def f(start):
            try:
                sent = yield (start, library.is_grad_enabled())
                sent = yield (sent, library.is_grad_enabled())
            except ValueError:
                seen.append(library.is_grad_enabled())
                yield "caught"
            finally:
                seen.append(library.is_grad_enabled())
            return 7

        g = f(1)
        seen += [next(g), library.is_grad_enabled(), g.send(5), library.is_grad_enabled(), g.throw(ValueError)]
        seen += [library.is_grad_enabled(), list(g), list(f(2))]
        return seen

    assert body(mt) == body(torch)


def test_behind_another_decorator_and_stacked_it_is_seen_still():
    def logged(function):
        @functools.wraps(function)
        def inner(*args):
            return function(*args)

        return inner

    @mt.no_grad()
    @logged
    def hidden():
        yield mt.is_grad_enabled()

    @mt.no_grad()
    @mt.autocast()
    def stacked():
        yield mt.is_grad_enabled(), mt.is_autocast_enabled()

    @mt.no_grad()
    @contextlib.contextmanager
    def block():
        yield mt.is_grad_enabled()

    assert list(hidden()) == [False]
    assert list(stacked()) == [(False, True)]
    with block() as value:
        assert value


def test_methods_partials_and_without_parentheses():
    class Model:
        @mt.no_grad()
        def scores(self, x):
            yield x, mt.is_grad_enabled()

        @staticmethod
        @mt.no_grad
        def static():
            yield mt.is_grad_enabled()

        @mt.no_grad()
        def __call__(self):
            return mt.is_grad_enabled()

    assert list(Model().scores(3)) == [(3, False)]
    assert list(Model.static()) == [False]
    assert not Model()()
    assert not mt.no_grad()(Model())()
    assert list(mt.no_grad()(functools.partial(Model.scores, None, 1))()) == [(1, False)]


# Coroutines


def test_a_coroutine_runs_inside_and_others_meanwhile_do_not(switch):
    block, holds = switch
    seen = []

    @block()
    async def inside():
        for _ in range(3):
            seen.append(("inside", holds()))
            await asyncio.sleep(0)
        return holds()

    async def outside():
        for _ in range(3):
            seen.append(("outside", holds()))
            await asyncio.sleep(0)

    async def both():
        return await asyncio.gather(inside(), outside())

    assert asyncio.run(both())[0] is True
    assert seen.count(("inside", True)) == seen.count(("outside", False)) == 3
    assert inspect.iscoroutinefunction(inside)


def test_a_coroutine_that_is_cancelled_ends_inside(switch):
    block, holds = switch
    seen = []

    @block()
    async def waits():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(holds())
            raise

    async def cancel():
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        assert not holds()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not holds()

    asyncio.run(cancel())
    assert seen == [True]


def test_an_asynchronous_generator(switch):
    block, holds = switch
    ended = []

    @block()
    async def numbers():
        try:
            sent = yield holds()
            await asyncio.sleep(0)
            try:
                yield sent, holds()
            except KeyError:
                yield "caught", holds()
        finally:
            await asyncio.sleep(0)
            ended.append(holds())

    async def use():
        found = [item async for item in numbers()]
        assert found == [True, (None, True)]
        items = numbers()
        assert await anext(items)
        assert not holds()
        assert await items.asend(4) == (4, True)
        assert await items.athrow(KeyError()) == ("caught", True)
        assert not holds()
        await items.aclose()
        assert not holds()

    asyncio.run(use())
    assert ended == [True, True]


# What is refused


@pytest.mark.parametrize(
    ("decorate", "message"),
    [
        (lambda: mt.no_grad()(type("Model", (), {})), "no_grad: it decorates functions; of the class Model it may mean"),
        (lambda: mt.no_grad(type("Model", (), {})), "of the class Model it may mean"),
        (lambda: mt.autocast()(int), "autocast: it decorates functions; of the class int"),
        (lambda: mt.detect_anomaly()(3), "detect_anomaly: it decorates a function, got int"),
        (
            lambda: mt.no_grad()(classmethod(print)),
            "no_grad: it decorates a function, got classmethod; write @classmethod above",
        ),
    ],
)
def test_what_cannot_be_decorated_is_refused(decorate, message):
    with pytest.raises(TypeError, match=message):
        decorate()


# Entered in other ways


def test_one_block_inside_itself_and_in_several_threads(switch):
    block, holds = switch
    one = block()
    barrier, seen = threading.Barrier(2), []

    def work():
        for _ in range(50):
            with one:
                with one:
                    barrier.wait(10)
                    seen.append(holds())
                seen.append(holds())
            seen.append(not holds())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 300
    assert all(seen)
    assert not holds()


def test_by_hand_and_through_a_stack(switch):
    block, holds = switch
    one = block()
    one.__enter__()
    assert holds()
    one.__exit__(None, None, None)
    assert not holds()
    leave = one.__exit__
    one.__enter__()
    assert holds()
    leave(None, None, None)
    assert not holds()
    with contextlib.ExitStack() as stack:
        stack.enter_context(one)
        stack.enter_context(one)
        assert holds()
    assert not holds()


def test_it_leaves_nothing_behind_for_the_garbage_collector(switch):
    import gc
    import weakref

    block, _ = switch
    one = block()
    gone = weakref.ref(one)
    gc.disable()
    try:
        with one:
            pass
        del one
        assert gone() is None
    finally:
        gc.enable()


def test_a_block_that_cannot_be_entered_changes_nothing():
    class Broken(Block):
        def now(self):
            return mode.recording

        def set(self, value):
            mode.recording = value

        def wanted(self, before):
            raise ValueError("not now")

    for enter in (lambda: Broken().__enter__(), lambda: Broken()(print)()):
        with pytest.raises(ValueError, match="not now"):
            enter()
        assert mt.is_grad_enabled()


def modes():
    return mode.recording, mode.autocast, mode.observers, sketching.on, kernels.chosen.kernels


def test_an_interrupted_exit_puts_back_all_the_same(monkeypatch):
    """As when Ctrl-C comes before the first line of `__exit__`, and someone keeps the traceback."""
    from microtensor.runtime import scoped

    def interrupted(entry, *error):
        raise KeyboardInterrupt

    monkeypatch.setattr(scoped, "_leave", interrupted)
    kept = []
    for block in (mt.no_grad(), mt.autocast(), mt.detect_anomaly(), kernels.plain(), Setting(sketching, on=True)):
        before = modes()
        try:
            with block:
                pass
        except KeyboardInterrupt as error:
            kept.append(error)
        assert modes() == before
    assert len(kept) == 5


def test_an_interrupt_leaves_no_module_in_the_mode_of_a_block(monkeypatch):
    """Wherever it comes while modes are set: at each assignment of `training`, on the way in and out."""
    from microtensor import nn
    from microtensor.saliency.eval_mode import eval_mode

    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    count, at = [0], [0]
    assign = nn.Module.__setattr__

    def interrupted(module, name, value):
        assign(module, name, value)
        count[0] += 1
        if count[0] == at[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(nn.Module, "__setattr__", interrupted)
    for block in (model.evaluating, lambda: eval_mode(model)):
        for at[0] in range(1, 11):  # 5 modules, twice each
            count[0] = 0
            with pytest.raises(KeyboardInterrupt), block():
                assert not any(module.training for module in model.modules())
            assert all(module.training for module in model.modules()), at


SIGNALS = """
import collections, os, random, signal, sys, threading, time
import microtensor as mt
from microtensor.autograd import graph
from microtensor.runtime import threads
signal.signal(signal.SIGINT, signal.default_int_handler)
mt.set_num_threads(2)
blas = threads.blas()
before = blas.get() if blas else 0

def no_grad():
    with mt.no_grad(): pass
def autocast():
    with mt.autocast(): pass
def anomaly():
    with mt.detect_anomaly(): pass
def traced():
    with mt.trace_backward(): pass
def single():
    with threads.single_threaded_blas(): pass
w = mt.ones(2, requires_grad=True)
def backward():
    (w * 2).sum().backward()

bad = collections.Counter()
for work in (no_grad, autocast, anomaly, traced, single, backward):
    for _ in range(30):
        wait = random.uniform(0, 0.003)
        thread = threading.Thread(target=lambda: (time.sleep(wait), os.kill(os.getpid(), signal.SIGINT)), daemon=True)
        try:
            thread.start()
            while True: work()
        except KeyboardInterrupt as error:
            kept = error  # as a notebook keeps the last one
        thread.join()
        mode = graph.mode
        bad[work.__name__] += not mt.is_grad_enabled() or mt.is_autocast_enabled() or mode.observers != ()
        bad[work.__name__] += graph.lock.locked()
        if blas: bad[work.__name__] += blas.inside != 0 or blas.get() != before or blas.lock.locked()
print(sum(bad.values()), dict(bad))
"""


@pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="there is no SIGINT that reaches Python here as it does on POSIX"
)
def test_ctrl_c_at_any_moment_leaves_everything_as_it_was():
    out = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, text=True, timeout=120, check=True)
    assert out.stdout.startswith("0 "), out.stdout


def test_autocast_in_a_generator_casts_a_weight_once():
    weight, made = mt.ones(3, 3, requires_grad=True), []

    @mt.autocast()
    def products():
        for _ in range(2):
            yield mt.ones(2, 3) @ weight

    for y in products():
        assert y.dtype == np.float16
        made.append(y.origin.sources[-1][0])
    assert made[0] is made[1]
