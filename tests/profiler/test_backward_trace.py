"""`trace_backward`: every step, with the norm that the gradient has and the memory that there is."""

import csv
import math
from math import prod

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn, trace_backward
from microtensor.autograd.graph import mode
from microtensor.models import lenet5


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


def test_the_chain_rule_step_by_step():
    """d/dx of Σ sin(x²): cos(x²) at the sine, 2x cos(x²) at the leaf."""
    x = leaf(0.5, 1.5, -2.0)
    y = x.square()
    with trace_backward({"x": x}) as trace:
        y.sin().sum().backward()
    known = x.numpy()
    at_square = np.cos(known**2)
    assert [(s.operation, s.name, s.shape, s.onward) for s in trace] == [
        ("sum", "", (), ((3,),)),
        ("sin", "", (3,), ((3,),)),
        ("square", "", (3,), ((3,),)),
        ("leaf", "x", (3,), ()),
    ]
    norms = [1, math.sqrt(3), np.linalg.norm(at_square), np.linalg.norm(2 * known * at_square)]
    np.testing.assert_allclose([s.norm for s in trace], norms, rtol=1e-12)
    assert trace[-1].norm == pytest.approx(np.linalg.norm(x.grad.numpy()), rel=1e-12)
    assert [s.number for s in trace] == [1] * 4


def test_memory_is_that_of_the_arrays():
    """A chain of 1000 float64: 8 kB each. sin needs its input, exp its result; a sum's gradient is one number, seen as many."""
    x = Tensor(np.linspace(0, 1, 1000), requires_grad=True)
    with trace_backward() as trace:
        x.sin().exp().sin().sum().backward()
    assert [s.operation for s in trace] == ["sum", "sin", "exp", "sin", "leaf"]
    # exp's result is the outer sine's input: one array, needed by two; the inner sine's input is a leaf
    assert [s.kept_bytes for s in trace] == [8000, 8000, 8000, 0, 0]
    assert [s.gradient_bytes for s in trace] == [8, 8, 8000, 8000, 8000]
    assert trace.peak_bytes == 16000


def test_gradients_that_wait_and_those_that_stay_are_counted():
    a, b = Tensor(np.ones(100), requires_grad=True), Tensor(np.full(100, 2.0), requires_grad=True)
    with trace_backward({"a": a, "b": b}) as trace:
        (a * b * 3.0).sum().backward()
    steps = {s.name or s.operation: s for s in trace}
    assert steps["a"].gradient_bytes == steps["b"].gradient_bytes == 1600
    assert (steps["a"].norm, steps["b"].norm) == (60, 30)  # 3b is 6 for each of a hundred, 3a is 3
    assert all(s.kept_bytes == 0 for s in trace)  # a and b are leaves


def test_a_graph_that_is_retained_keeps_its_memory():
    x = Tensor(np.linspace(0, 1, 1000), requires_grad=True)
    y = x.exp().sin().sum()
    with trace_backward() as trace:
        y.backward(retain_graph=True)
        y.backward()
    first, second = ([s for s in trace if s.number == n] for n in (1, 2))
    assert [s.kept_bytes for s in first] == [8000] * 4
    assert [s.kept_bytes for s in second] == [8000, 8000, 8000, 0]
    assert [s.norm for s in first] == [s.norm for s in second]
    assert "pass" in repr(trace)


def test_what_is_not_asked_for_is_not_passed():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with trace_backward({"x": x, "w": w}) as trace:
        mt.grad((x.sin() * w.cos()).sum(), w)
    assert [s.name or s.operation for s in trace] == ["sum", "multiply", "cos", "w"]
    assert [len(s.onward) for s in trace] == [1, 1, 1, 0]
    assert trace[0].kept_bytes == 16  # sin(x) for w; cos(w) is not needed, and w itself is a leaf


def test_a_network():
    """Every parameter once, with the norm of its `.grad`; activations go, gradients stay."""
    model, images = lenet5(), mt.randn(4, 1, 28, 28, generator=mt.Generator(0))
    with trace_backward(model) as trace:
        nn.cross_entropy(model(images), [0, 1, 2, 3]).backward()
    leaves = {s.name: s for s in trace if s.operation == "leaf"}
    assert leaves.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert leaves[name].shape == parameter.shape
        assert leaves[name].norm == pytest.approx(np.linalg.norm(parameter.grad.numpy()), rel=1e-6)
        assert leaves[name].gradient_bytes >= parameter.nbytes
    assert trace[0].norm == 1
    assert trace[-1].kept_bytes == 0
    kept = [s.kept_bytes for s in trace]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] >= images.nbytes + 4 * 4 * 6 * 28 * 28  # the first convolution's input, and the tanh's result
    assert trace[-1].gradient_bytes >= sum(p.nbytes for p in model.parameters()) - 8
    operations = [s.operation for s in trace]
    assert operations.count("conv2d") == sum(isinstance(m, nn.Conv2d) for m in model.modules())
    text = repr(trace)
    assert "operation" in text
    assert "leaf" in text
    assert "at most" in text


def test_many_small_numbers_and_huge_ones():
    for scale in (1e-200, 1.0, 1e200):
        x = leaf(3.0, 4.0)
        with trace_backward() as trace:
            (x * scale).sum().backward()
        assert trace[-1].norm == pytest.approx(math.sqrt(2) * scale, rel=1e-12)
    x = Tensor(np.ones(300, np.float16), requires_grad=True)
    with trace_backward() as trace:
        (x * 30000.0).backward(mt.ones_like(x))
    assert trace[-1].norm == pytest.approx(30000 * math.sqrt(300), rel=1e-3)  # more than float16 holds
    x = leaf(0.0, 1.0)
    with np.errstate(all="ignore"), trace_backward() as trace:
        x.sqrt().sum().backward()
    assert trace[-1].norm == math.inf
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    with trace_backward() as trace:
        x.sum().backward()
    assert (trace[-1].shape, trace[-1].norm) == ((0, 3), 0)


def test_a_pass_inside_a_step_is_part_of_it():
    x = leaf(1.0, 2.0)
    with trace_backward() as trace:
        mt.checkpoint(lambda x: x.sin().exp(), x).sum().backward()
    assert [s.operation for s in trace] == ["sum", "checkpoint", "leaf"]
    assert trace[-1].norm == pytest.approx(np.linalg.norm(np.cos([1, 2]) * np.exp(np.sin([1, 2]))))


def test_it_ends_with_its_block_and_changes_nothing():
    x, again = leaf(1.0, -2.0, 3.0), leaf(1.0, -2.0, 3.0)
    y = (x.exp() * x).sum()
    with trace_backward() as trace:
        y.backward()
        with pytest.raises(RuntimeError, match="released"):
            y.backward()
    assert mode.observers == ()
    (again.exp() * again).sum().backward()
    assert len(trace) == 4
    np.testing.assert_array_equal(x.grad.numpy(), again.grad.numpy())


def test_blocks_inside_each_other_both_see():
    x = leaf(1.0)
    with trace_backward() as outer:
        with trace_backward() as inner:
            x.sin().backward()
        x.cos().backward()
    assert (len(inner), len(outer)) == (2, 4)


def test_gradients_of_gradients():
    x = leaf(2.0)
    with trace_backward({"x": x}) as trace:
        (g,) = mt.grad(x**3, x, create_graph=True)
        g.backward()
    assert [s.norm for s in trace if s.name == "x"] == pytest.approx([12, 12])  # 3x², then 6x
    assert {s.number for s in trace} == {1, 2}


def test_csv(tmp_path):
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    with trace_backward({"x": x}) as trace:
        x.sin().sum().backward()
    trace.to_csv(tmp_path / "steps.csv")
    with open(tmp_path / "steps.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["operation"] for row in rows] == ["sum", "sin", "leaf"]
    assert [row["shape"] for row in rows] == ["", "2×3", "2×3"]
    assert [row["onward"] for row in rows] == ["2×3", "2×3", ""]
    assert [float(row["norm"]) for row in rows] == [s.norm for s in trace]
    assert int(rows[1]["kept_bytes"]) == 0  # the sine's input is a leaf
    assert prod(trace[-1].shape) * 8 == int(rows[2]["gradient_bytes"])


@pytest.mark.parametrize("model", [3, [leaf(1.0)], {"x": 1.0}])
def test_what_has_no_names_is_refused(model):
    with pytest.raises(TypeError, match="trace_backward: expected a Module, or a dict of tensors by name, got"):
        trace_backward(model).__enter__()


def test_nothing_was_passed():
    with trace_backward() as trace:
        pass
    assert len(trace) == trace.peak_bytes == 0
    assert "0 steps" in repr(trace)
