"""Gradients of weights by other threads: the same numbers, whatever else is asked of the pass, and nothing is left behind."""

import gc
import threading
import weakref

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.autograd import parallel
from microtensor.autograd.op import op
from microtensor.runtime import threads


@pytest.fixture
def count(monkeypatch):
    """Sets the number of threads, for vjps that are all long enough; afterwards it is as before."""
    monkeypatch.setattr(parallel, "PARALLEL_MACS", 0)
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)


@op
def scaled(x, weight, *, seen):
    """x · weight, whose derivative in the weight notes the thread that computes it."""

    def to_weight(g):
        seen.append(threading.current_thread())
        return (g * x).sum(0)

    return x.array * weight.array, (lambda g: g * weight, parallel.may_run_in_parallel(to_weight))


@op
def slow(x, *, gate):
    """x, whose derivative waits for the gate."""

    def vjp(g):
        assert gate.wait(20)
        return g * 1

    return x.array.copy(), (vjp,)


def weights(*shapes):
    return [mt.Tensor(np.random.default_rng(i).standard_normal(shape), requires_grad=True) for i, shape in enumerate(shapes)]


def test_another_thread_computes_it_while_the_pass_goes_on(count):
    count(2)
    gate, seen = threading.Event(), []

    @op
    def opened(x, weight):
        def to_weight(g):
            seen.append(threading.current_thread())
            gate.set()
            return (g * x).sum(0)

        return x.array * weight.array, (lambda g: g * weight, parallel.may_run_in_parallel(to_weight))

    x, weight = weights((4, 3), (3,))
    opened(slow(x, gate=gate), weight).sum().backward()  # the pass waits at the gate, so another thread has opened it
    assert seen != [threading.current_thread()]
    np.testing.assert_allclose(weight.grad.numpy(), x.numpy().sum(0))
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(weight.numpy(), (4, 3)))


def network():
    mt.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, groups=8),
        nn.ConvTranspose2d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9 * 9, 32), nn.ReLU(), nn.Linear(32, 5),
    )  # fmt: skip


def test_the_numbers_are_the_same_whatever_the_number_of_threads(count):
    x = mt.Tensor(np.random.default_rng(0).standard_normal((6, 2, 16, 16)).astype(np.float32), requires_grad=True)
    found = []
    for many in (1, 2, 5):
        count(many)
        model = network()
        for _ in range(3):  # the second adds to the first
            nn.cross_entropy(model(x), np.arange(6) % 5).backward()
        found.append([x.grad.numpy().copy(), *(p.grad.numpy().copy() for p in model.parameters())])
        x.grad = None
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def test_a_weight_that_is_used_twice(count):
    count(2)
    seen, (x, weight) = [], weights((4, 3), (3,))
    y = scaled(scaled(x, weight, seen=seen), weight, seen=seen)
    y.sum().backward()
    assert len(seen) == 2
    np.testing.assert_allclose(weight.grad.numpy(), 2 * weight.numpy() * x.numpy().sum(0))


def test_grad_of_some_inputs_alone(count):
    count(2)
    seen, (x, first, second) = [], weights((4, 3), (3,), (3,))
    y = scaled(scaled(x, first, seen=seen), second, seen=seen).sum()
    (found,) = mt.grad(y, [second], retain_graph=True)
    np.testing.assert_allclose(found.numpy(), x.numpy().sum(0) * first.numpy())
    assert seen == [threading.current_thread()]  # the pass has nothing else to do
    one, other = mt.grad(y, [first, second])
    np.testing.assert_allclose(one.numpy(), x.numpy().sum(0) * second.numpy())
    np.testing.assert_array_equal(other.numpy(), found.numpy())


def test_who_looks_on_sees_one_after_the_other(count):
    count(2)

    def run(prepare=lambda weight: None, **settings):
        seen, (x, weight) = [], weights((4, 3), (3,))
        y = scaled(x * 2, weight, seen=seen).sum()
        prepare(weight)
        y.backward(**settings)
        return seen == [threading.current_thread()]

    hooked = []
    assert run(create_graph=True)
    assert run(lambda weight: weight.register_hook(hooked.append))
    assert len(hooked) == 1
    with mt.profile():
        assert run()
    with mt.detect_anomaly():
        assert run()


def test_an_error_comes_out_of_backward_and_the_next_pass_is_as_ever(count):
    count(2)

    @op
    def wrong(x, weight, *, back):
        return x.array * weight.array, (lambda g: g * weight, parallel.may_run_in_parallel(lambda g: back(g)))

    def fails(_):
        raise ZeroDivisionError("in the vjp")

    for back, error, words in (
        (fails, ZeroDivisionError, "in the vjp"),
        (lambda g: g, ValueError, r"wrong: a vjp returned a gradient of float64 \(4, 3\)"),
        (lambda g: 1.0, TypeError, "wrong: a vjp returned float"),
    ):
        x, weight = weights((4, 3), (3,))
        with pytest.raises(error, match=words):
            wrong(x * 2, weight, back=back).sum().backward()
        assert weight.grad is None
        seen: list = []
        scaled(x * 2, weight, seen=seen).sum().backward()
        assert len(seen) == 1
    assert mt.is_grad_enabled()


def test_what_the_pass_made_is_gone_without_the_collector(count):
    count(2)
    seen, (x, weight) = [], weights((4, 3), (3,))
    scaled(x * 2, weight, seen=seen).sum().backward()
    gradient = weakref.ref(weight.grad.array)
    gc.collect()
    gc.disable()
    try:
        weight.grad = None
        assert gradient() is None
    finally:
        gc.enable()


def test_no_more_than_some_wait(count):
    """What waits keeps its arrays alive: where no thread begins with it, the pass computes itself."""
    threads.settings.forget()  # or threads of a test before would be free
    count(2)
    gate = threading.Event()
    threads.Later(gate.wait, 20)  # the only other thread is busy
    seen, (x, *many) = [], weights((4, 3), *[(3,)] * 9)
    y = x * 2
    for weight in many:
        y = scaled(y, weight, seen=seen)
    y.sum().backward()
    gate.set()
    assert seen == [threading.current_thread()] * 9
    expected = x.numpy().sum(0) * 2 * np.prod([w.numpy() for w in many], 0)
    for weight in many:
        np.testing.assert_allclose(weight.grad.numpy() * weight.numpy(), expected)


def test_short_ones_are_not_worth_it():
    def vjp(g):
        return g

    elements = parallel.PARALLEL_MACS // parallel.MACS_PER_ELEMENT
    marked = parallel.may_run_in_parallel(vjp, multiply_adds=parallel.PARALLEL_MACS - 1, elements=elements - 1)
    assert not hasattr(marked, "in_parallel")
    assert hasattr(parallel.may_run_in_parallel(vjp, elements=elements), "in_parallel")
