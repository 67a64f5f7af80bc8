"""Checkpoints, against what they replace."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.checkpoint import checkpoint
from microtensor.gradcheck import check_gradients

A = np.random.default_rng(0).standard_normal((3, 3))


def test_a_checkpoint_is_transparent_to_any_order_and_for_what_it_captures():
    def body(a, b):
        return lambda x: (b @ x).tanh() * x * b[0]

    x, b = mt.Tensor(np.array([0.1, 0.2, 0.3])), mt.Tensor(A)
    check_gradients(lambda a, b: checkpoint(body(a, b), a * b[1]) * a, x, b, order=2)


def test_a_checkpoint_of_a_module_gives_its_parameters_gradients():
    mt.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2))
    x = mt.Tensor(np.ones((5, 3), np.float32))
    mt.manual_seed(1)
    (model(x) ** 2).sum().backward()
    expected = [p.grad.numpy() for p in model.parameters()]
    after = mt.random.default.permutation(5)
    model.zero_grad()
    mt.manual_seed(1)
    (checkpoint(model, x) ** 2).sum().backward()
    for p, g in zip(model.parameters(), expected):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-6)
    np.testing.assert_array_equal(mt.random.default.permutation(5), after)


def test_a_checkpoint_does_not_release_the_graph_of_what_it_captures():
    x = mt.Tensor([2.0], requires_grad=True)
    h = x * x
    (checkpoint(lambda z: z * h, x) + h).backward()
    assert x.grad.item() == 3 * 4 + 4


def test_a_checkpoint_keeps_less():
    x = mt.Tensor(np.ones(100_000), requires_grad=True)

    def body(x):
        for _ in range(10):
            x = x.tanh()
        return x

    def kept(f):
        gc.collect()
        tracemalloc.start()
        y = f(x)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        y.sum().backward()
        return size

    assert kept(body) > 10 * 800_000
    assert kept(lambda x: checkpoint(body, x)) < 2 * 800_000


def test_a_checkpoint_without_recording_or_need():
    x = mt.Tensor([1.0])
    assert not checkpoint(lambda x: x * 2, x).requires_grad
    with mt.no_grad():
        assert not checkpoint(lambda x: x * 2, mt.Tensor([1.0], requires_grad=True)).requires_grad
    with pytest.raises(TypeError, match="checkpoint: the function must return one Tensor, it returned tuple"):
        checkpoint(lambda x: (x, x), x)


def test_gradients_of_two_inputs_are_not_shared():
    a, b = (mt.Tensor(np.array(v), requires_grad=True) for v in ([1.0, 2.0], [3.0, 4.0]))
    y = checkpoint(lambda a, b: (a + b) * 2, a, b)
    (y + a * 5).backward(mt.Tensor(np.ones(2)))
    assert b.grad.tolist() == [2.0, 2.0]
    assert a.grad.tolist() == [7.0, 7.0]


def test_parameters_that_changed_since_are_refused():
    layer = nn.Linear(2, 2)
    y = checkpoint(layer, mt.Tensor([[1.0, 2.0]], requires_grad=True)).sum()
    layer.weight.array *= 0
    with pytest.raises(RuntimeError, match="a tensor that the gradient of checkpoint needs was assigned to"):
        y.backward()


def test_a_function_that_differs_the_second_time_is_refused():
    x, other, runs = mt.Tensor([1.0], requires_grad=True), mt.Tensor([1.0]), []

    def fickle(x):
        runs.append(1)
        return (x if len(runs) == 1 else other) * 2

    y = checkpoint(fickle, x)
    with pytest.raises(RuntimeError, match="the function must be deterministic"):
        y.backward()


def test_no_circle_is_left_behind():
    gc.disable()
    try:
        w = mt.Tensor(np.ones(3), requires_grad=True)
        x = mt.Tensor(np.ones(3), requires_grad=True)
        y = checkpoint(lambda x: x * w * x, x)
        (g,) = mt.grad((y * y).sum(), x, create_graph=True)
        watched = weakref.ref(y.origin)
        del y, g
        assert watched() is None
    finally:
        gc.enable()
