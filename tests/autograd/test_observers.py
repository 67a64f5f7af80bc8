"""Observers: what they are told, by which thread, and that they end with their block."""

import threading

import numpy as np
import pytest

import microtensor as mt
from microtensor.autograd.graph import mode
from microtensor.autograd.observers import Observer, observing, of_all_threads


class Log(Observer):
    """Notes all that it is told."""

    def __init__(self):
        self.seen = []

    def begin(self, what, inputs):
        self.seen.append(("begin", getattr(what, "__name__", "pass"), len(inputs)))

    def operation(self, operation, inputs, settings, result):
        self.seen.append(("operation", operation.__name__, [getattr(x, "shape", x) for x in inputs], settings, result.shape))

    def step(self, run, origin):
        self.seen.append(("step", origin.name, run.gradients[origin].shape))

    def derivative(self, origin, g, gradient):
        self.seen.append(("derivative", origin.name, g.shape, gradient.shape))

    def end(self, what):
        self.seen.append(("end", getattr(what, "__name__", "pass")))


def leaf(*values):
    return mt.Tensor(np.array(values), requires_grad=True)


def test_operations_with_inputs_as_their_rule_gets_them():
    log = Log()
    with observing(log):
        leaf(1.0, 2.0).sum(axis=0, keepdims=True)
        mt.ones(2, 1) * mt.ones(3)
    assert log.seen[:3] == [
        ("begin", "sum", 1),
        ("operation", "sum", [(2,)], {"dim": 0, "keepdim": True}, (1,)),
        ("end", "sum"),
    ]
    assert ("operation", "multiply", [(2, 3), (2, 3)], {}, (2, 3)) in log.seen
    assert log.seen[-1] == ("end", "multiply")


def test_a_backward_pass_step_by_step():
    x, log = leaf(1.0, 2.0), Log()
    y = (-x).sum()
    with observing(log):
        y.backward()
    assert [entry for entry in log.seen if entry[1] in ("pass", "sum", "neg", "a leaf") and entry[0] != "operation"] == [
        ("begin", "pass", 1),
        ("step", "sum", ()),
        ("derivative", "sum", (), (2,)),
        ("step", "neg", (2,)),
        ("begin", "neg", 1),
        ("end", "neg"),
        ("derivative", "neg", (2,), (2,)),
        ("step", "a leaf", (2,)),
        ("end", "pass"),
    ]


def test_what_raises_has_ended_too():
    log = Log()

    @mt.op
    def broken(x):
        raise ZeroDivisionError

    with observing(log):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                broken(mt.ones(1))
    assert log.seen == [("begin", "broken", 1), ("end", "broken")] * 2


def test_an_observer_whose_begin_raises_stops_the_operation_and_the_others_end():
    class Refusing(Observer):
        def begin(self, what, inputs):
            raise KeyError("not now")

    log = Log()
    with observing(log), observing(Refusing()), pytest.raises(KeyError, match="not now"):
        mt.ones(1).exp()
    assert log.seen == [("begin", "exp", 1), ("end", "exp")]


def test_it_decorates_nests_and_ends_with_its_block():
    outer, inner = Log(), Log()

    @observing(inner)
    def compute():
        return mt.ones(1).exp()

    with observing(outer):
        compute()
        mt.ones(1).sin()
    mt.ones(1).cos()
    assert [entry[1] for entry in outer.seen if entry[0] == "end"] == ["exp", "sin"]
    assert [entry[1] for entry in inner.seen if entry[0] == "end"] == ["exp"]
    assert mode.observers == ()


def test_one_thread_or_all():
    here, everywhere = Log(), Log()
    of_all_threads.append(everywhere)
    try:
        with observing(here):
            thread = threading.Thread(target=lambda: mt.ones(1).exp())
            thread.start()
            thread.join()
            mt.ones(1).sin()
    finally:
        of_all_threads.remove(everywhere)
    assert [entry[1] for entry in here.seen if entry[0] == "end"] == ["sin"]
    assert [entry[1] for entry in everywhere.seen if entry[0] == "end"] == ["exp", "sin"]


def test_the_methods_of_the_base_class_do_nothing():
    x = leaf(2.0)
    with observing(Observer()):
        (x * x).backward()
    assert x.grad.item() == 4.0


def test_an_observer_that_is_none_is_refused():
    with pytest.raises(TypeError, match="observing: expected an Observer, an object of a subclass of it, got <class"):
        observing(Log)
