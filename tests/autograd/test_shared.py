"""Work that several vjps share: done once, released, and each thread's own."""

import threading
import weakref

import numpy as np
import pytest

import microtensor as mt
from microtensor.autograd.shared import SharedByVjps


class Value:
    """What a weak reference can point to."""


def test_one_computation_for_all_vjps():
    calls = []

    @mt.op
    def product(x, y):
        shared = SharedByVjps(lambda g: calls.append(g.item()) or g.item() * x.item() * y.item())
        return x.array * y.array, (
            lambda g: g.constant(shared(g) / x.array),
            lambda g: g.constant(shared(g) / y.array),
        )

    x, y = (mt.Tensor(np.array([v]), requires_grad=True) for v in (2.0, 5.0))
    z = product(x, y)
    z.backward(retain_graph=True)
    assert calls == [1.0]
    assert (x.grad.item(), y.grad.item()) == (5.0, 2.0)
    z.backward(mt.Tensor(np.array([3.0])))
    assert calls == [1.0, 3.0]
    assert (x.grad.item(), y.grad.item()) == (20.0, 8.0)


def test_what_another_way_has_computed_is_kept():
    shared = SharedByVjps(lambda g: pytest.fail("it is known"))
    g = mt.ones(2)
    assert shared.keep(g, 7) == 7
    assert shared(g) == 7


def test_the_gradient_is_not_kept_alive_and_its_value_goes_with_the_vjps():
    shared = SharedByVjps(lambda g: Value())
    g = mt.ones(2)
    gradient, value = weakref.ref(g), weakref.ref(shared(g))
    del g
    assert gradient() is None
    assert value() is not None
    del shared
    assert value() is None


def test_the_next_gradient_releases_the_value_and_so_does_forget():
    shared = SharedByVjps(lambda g: Value())
    g, h = mt.ones(2), mt.ones(2)
    first = weakref.ref(shared(g))
    second = weakref.ref(shared(h))
    assert first() is None
    shared.forget()
    assert second() is None


def test_each_thread_gets_the_value_of_its_own_gradient():
    shared = SharedByVjps(lambda g: id(g))
    wrong = []

    def work():
        for _ in range(2000):
            g = mt.ones(1)
            if shared(g) != id(g) or shared(g) != id(g):
                wrong.append(g)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_input_that_only_the_shared_work_needs_is_checked():
    @mt.op
    def product(x, y):
        shared = SharedByVjps(lambda g: g.array * y.array)
        return x.array * y.array, (lambda g: g.constant(shared(g)), None)

    x, y = (mt.Tensor(np.array([v]), requires_grad=True) for v in (2.0, 5.0))
    z = product(x, y)
    y.array = y.array + 1
    with pytest.raises(RuntimeError, match="gradient of product needs was assigned to"):
        z.backward()
