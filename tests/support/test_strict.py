"""The stand-in for CuPy: it refuses what CuPy refuses, knows CuPy's names, and counts; and a step of training waits for nothing."""

import importlib
import importlib.util
import json
import operator
import sys
from pathlib import Path

import numpy as np
import pytest
import strict
from strict import Refused, cupy
from strict.names import FACTS, SPACES, Parameters

import microtensor as mt
from microtensor import models, nn
from microtensor.autograd.op import op

HERE = Path(__file__).parent
X = cupy.asarray(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32))
INDEX = cupy.asarray(np.array([0, 2, 0]))
MASK = cupy.asarray(np.array([[True, False, True], [False, False, True]]))


def host(array):
    return array.get()


# Faults that are planted


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        # nothing converts by itself
        (lambda: np.asarray(X), Refused, "Implicit conversion to a NumPy array is not allowed"),
        (lambda: np.exp(X), Refused, r"numpy.exp of \(ndarray\): a function or a number of NumPy among device arrays"),
        (lambda: np.concatenate([X, X]), Refused, "numpy.concatenate of a device array: ask for the array's own library"),
        (lambda: X * np.ones(3, np.float32), Refused, "cupy.multiply: expected a cupy.ndarray or a Python number, got a numpy"),
        (lambda: np.ones(3, np.float32) * X, Refused, "numpy.multiply of"),
        (lambda: X * np.float32(2), Refused, "cupy.multiply: .* got a NumPy scalar"),
        (lambda: np.float32(2) * X, Refused, "numpy.multiply of"),
        (lambda: X + [1, 2, 3], Refused, "cupy.add: .* got a builtins.list"),
        (lambda: X + type("Int", (int,), {})(1), Refused, r"cupy.add: .* got a \S*test_strict\.Int"),
        (lambda: cupy.sum([1, 2]), Refused, "cupy.sum: expected a cupy.ndarray, got list"),
        (lambda: cupy.where(MASK, X, np.float32(0)), Refused, "cupy.where: .* got a NumPy scalar"),
        (lambda: cupy.full_like(X, np.float32(0)), Refused, "cupy.full_like: .* got a NumPy scalar"),
        (lambda: X.__setitem__(..., np.zeros(3)), Refused, "cupy.setitem: .* got a numpy.ndarray"),
        (lambda: X.fill(np.float32(0)), Refused, "cupy.fill: .* got a NumPy scalar"),
        (lambda: operator.index(X[0, 0]), TypeError, "cannot be interpreted as an integer"),
        (lambda: range(X.sum()), TypeError, "cannot be interpreted as an integer"),
        # names and parameters
        (lambda: cupy.block, AttributeError, "cupy.block: CuPy 14.* has no such name"),
        (lambda: cupy.errstate, AttributeError, "cupy.errstate: CuPy"),
        (lambda: cupy.nditer, AttributeError, "cupy.nditer: CuPy"),
        (lambda: cupy.insert, AttributeError, "cupy.insert: CuPy"),
        (lambda: cupy.linalg.svdvals, AttributeError, "cupy.linalg.svdvals: CuPy"),
        (lambda: X.itemset, AttributeError, "cupy.ndarray.itemset: CuPy has no such name"),
        (lambda: X.flags.writeable, AttributeError, "writeable"),
        (lambda: cupy.exp(X, where=MASK), TypeError, "CuPy's ufuncs take out, dtype and casting alone, got where"),
        (lambda: X.sum(initial=1), TypeError, "cupy.ndarray.sum: CuPy 14.* takes no initial="),
        (lambda: cupy.sum(X, where=MASK), TypeError, "cupy.sum: CuPy .* takes no where="),
        (lambda: X.max(0, None, True, 0), TypeError, "cupy.ndarray.max: CuPy .* takes 3 arguments by position, got 4"),
        (lambda: X.astype(int, casting="safe"), TypeError, "astype: CuPy takes no casting"),
        (lambda: cupy.maximum.reduce(X), NotImplementedError, "cupy.maximum.reduce: CuPy has it for add and multiply alone"),
        (lambda: cupy.maximum.accumulate(X), NotImplementedError, "for add and multiply alone"),
        (lambda: cupy.multiply.at(X, INDEX, 2), NotImplementedError, "cupy.multiply.at: CuPy 14.* does not have it"),
        (lambda: cupy.add.at(INDEX, INDEX, 1), TypeError, "cupy.add.at: CuPy has it for 'iILQefd', not for int64"),
        (lambda: X & 1, TypeError, "cupy.bitwise_and: CuPy 14.* has no loop for float32"),
        (lambda: cupy.lib.stride_tricks.as_strided(X, (2,), (4,), writeable=False), TypeError, "writeable"),
        (lambda: cupy.random.default_rng(0).normal(), AttributeError, "cupy.random.Generator.normal: CuPy"),
        (lambda: cupy.random.default_rng(0).permutation(3), AttributeError, "Generator.permutation: CuPy"),
        (lambda: cupy.random.default_rng(0).shuffle, AttributeError, "Generator.shuffle: CuPy"),
        (lambda: cupy.random.default_rng(0).choice, AttributeError, "Generator.choice: CuPy"),
        (lambda: cupy.asarray(np.array(["a"])), ValueError, "Unsupported dtype"),
        (lambda: cupy.asarray(np.array([None])), ValueError, "Unsupported dtype"),
        # where CuPy goes on with whatever comes out
        (lambda: X[cupy.asarray(np.array([2]))], IndexError, "out of bounds"),
        (lambda: cupy.take_along_axis(X, INDEX[None] + 1, 1), IndexError, "out of bounds"),
        (lambda: X.__setitem__((0, INDEX), X[1]), Refused, "the index names an element twice, and CuPy does not say which"),
        (lambda: X.__setitem__((0, slice(1, 3)), X[0, :2]), Refused, "the value overlaps what it is assigned to"),
    ],
)
def test_it_refuses(call, error, message):
    before = host(X)
    with pytest.raises(error, match=message):
        call()
    np.testing.assert_array_equal(host(X), before)


def test_faults_in_an_operation_are_found(monkeypatch):
    """What a rule may do on NumPy, and not on a GPU: one fault each, and why it is refused."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    x = mt.Tensor([[1.0, -2.0], [3.0, 4.0]], device="cuda")
    faults = {
        "Implicit conversion to a NumPy array is not allowed": lambda data, xp: np.asarray(data) * 2,
        "cupy.multiply: .* got a NumPy scalar": lambda data, xp: data * np.float32(2),
        "cupy.add: .* got a numpy.ndarray": lambda data, xp: data + np.ones(2, np.float32),
        "ufuncs take out, dtype and casting alone, got where": lambda data, xp: xp.log(data, where=data > 0),
        "takes no initial=": lambda data, xp: data.max(axis=1, initial=0.0),
        "cupy.block: CuPy .* has no such name": lambda data, xp: xp.block([[data, data]]),
        "list indices must be integers": lambda data, xp: [data, data][data.max()],
    }

    @op
    def faulty(x, *, rule):
        return rule(x.array, x.xp), (lambda g: g,)

    assert faulty(x, rule=lambda data, xp: data * 2).tolist() == [[2.0, -4.0], [6.0, 8.0]]
    for why, rule in faults.items():
        with pytest.raises((TypeError, AttributeError), match=why):
            faulty(x, rule=rule)


def test_a_host_read_in_a_step_is_counted(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy)

    class Reads(nn.Module):
        def forward(self, x):
            return x if x.array.max() > 0 else -x

    for model, reads in ((nn.Linear(4, 2), 0), (nn.Sequential(nn.Linear(4, 2), Reads()), 1)):
        *_, counts = steps(model, (3, 4), lambda p: nn.SGD(p, lr=0.1), classes=2)
        assert (counts.waits, counts.copies) == (reads, reads)


# What it does


def test_results_are_arrays_and_reading_them_is_counted():
    with strict.counting() as counts:
        total = X.sum()
        assert {type(y) for y in (total, X[0, 0], X.argmax())} == {strict.ndarray}
        assert type(cupy.allclose(X, X)) is strict.ndarray
    assert (counts.waits, counts.copies, counts.kernels) == (0, 0, 4)
    for read in (float, int, bool, repr, str, lambda x: x.item(), lambda x: x.tolist(), lambda x: x.get(), cupy.asnumpy):
        with strict.counting() as counts:
            read(total)
        assert (counts.waits, counts.copies) == (1, 1)
    for wait in (lambda: X[MASK], lambda: cupy.argwhere(X), lambda: cupy.where(MASK), lambda: cupy.unique(X), X.nonzero):
        with strict.counting() as counts:
            wait()
        assert (counts.waits, counts.copies) == (1, 0)
    for upload in (lambda: cupy.asarray(np.ones(2)), lambda: cupy.array([1.0]), lambda: X[:, [0, 1]], lambda: X[np.array([0])]):
        with strict.counting() as counts:
            upload()
        assert (counts.waits, counts.copies) == (0, 1)


def test_kernels_are_counted_and_views_are_none():
    for call, kernels in (
        (lambda: X * 2 + X, 2),
        (lambda: X @ X.T, 1),
        (lambda: X.sum(0).max(), 2),
        (lambda: (X.T, X[0], X[:, ::2], X.reshape(3, 2), X[None], X.ravel(), X.astype(np.float32, copy=False)), 0),
        (lambda: X.T.reshape(-1), 1),
        (lambda: X.astype(np.float64), 1),
        (lambda: X[:, INDEX], 1),
        (lambda: cupy.concatenate([X, X, X]), 3),
        (lambda: cupy.where(MASK, X, 0), 1),
    ):
        with strict.counting() as counts:
            call()
        assert counts.kernels == kernels
    with strict.counting() as outer:
        with strict.counting() as inner:
            X + X
        X + X
    assert (inner.kernels, outer.kernels, outer.names["add"]) == (1, 2, 2)
    assert "2 kernels, 0 copies between host and device, 0 waits" in str(outer)


def test_views_know_their_base_as_cupys_do():
    view = X.T[1:]
    assert X.base is None
    assert view.base is X
    assert cupy.asarray(X) is X
    assert (X * 1).base is None
    y = cupy.asarray(np.zeros((2, 3)))
    y.T[0] += 5
    np.testing.assert_array_equal(host(y), [[5, 0, 0], [5, 0, 0]])


def test_fresh_memory_holds_poison():
    for fresh in (cupy.empty((2, 3)), cupy.empty_like(X), cupy.ndarray((4,), np.float16)):
        assert np.isnan(host(fresh)).all()
    assert (host(cupy.empty(3, np.int32)) == 2**31 - 1).all()
    assert (host(cupy.empty(3, np.uint8)) == 255).all()


def test_the_same_number_twice_in_one_place_is_no_race():
    y = cupy.asarray(np.zeros(3))
    y[INDEX] = cupy.asarray(np.array([1.0, 2.0, 1.0]))
    y[INDEX] = 7
    np.testing.assert_array_equal(host(y), [7, 0, 7])
    cupy.maximum.at(y, INDEX, cupy.asarray(np.array([9.0, 1.0, 8.0])))
    np.testing.assert_array_equal(host(y), [9, 0, 7])


def test_a_ufunc_computes_in_cupys_dtypes():
    small = cupy.asarray(np.array([1, 2], np.int8))
    assert [y.dtype for y in (cupy.exp(small), small + 1, small / 2, X + 1, X[0, :2] + small, small > 0)] == [
        np.float16,
        np.int8,
        np.float64,
        np.float32,
        np.float32,
        np.bool_,
    ]


def test_an_array_belongs_to_a_gpu():
    with cupy.cuda.Device(1):
        there = cupy.asarray(np.ones(3))
        assert (there.device.id, (there + 1).device.id) == (1, 1)
    assert there[1:].device.id == 1
    with pytest.raises(ValueError, match="the array is on GPU 1, and the current one is 0"):
        there + 1
    assert cupy.asarray(there).device.id == 0


# CuPy itself


def test_the_names_are_those_of_the_cupy_that_is_installed():
    """Real CuPy imports without a GPU. It is not what `import cupy` finds here where the tests run on the stand-in."""
    if "cupy" in sys.modules or importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed, or stood in for")
    spec = importlib.util.spec_from_file_location("cupy_names", HERE.parents[1] / "tools" / "cupy_names.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    try:
        installed = tool.installed()
    except ImportError as error:
        pytest.skip(f"CuPy without CUDA's libraries, of which it loads cuBLAS: {error}")
    if installed["version"] != FACTS["version"]:
        pytest.skip(f"the file is of CuPy {FACTS['version']}, and {installed['version']} is installed")
    assert json.loads(tool.written(installed)) == FACTS


def test_the_stand_in_has_no_name_of_its_own():
    assert {name for name in vars(cupy) if not name.startswith("_")} <= set(SPACES[""])
    assert {name for name in vars(strict.Cupy) if not name.startswith("_")} - {"space"} <= set(SPACES[""])
    known = FACTS["classes"]["ndarray"]
    own = {name for name in vars(strict.ndarray) if not name.startswith("_")} - {"gpu"}
    assert own <= set(known)


@pytest.mark.parametrize(
    ("text", "most", "names"),
    [
        ("a, axis=, out=", 3, {"a", "axis", "out"}),
        ("a, *, out=", 1, {"a", "out"}),
        ("*shape, order=", float("inf"), {"order"}),
        ("x, **settings", 1, None),
        ("", 0, set()),
    ],
)
def test_parameters_are_read(text, most, names):
    assert Parameters.of(text) == (most, names if names is None else frozenset(names))


# A step of training


def steps(model, shape, optimizer_of, classes=10):
    """The third step's counts: of forward and loss, backward, the optimiser, and all together."""
    model = model.to("cuda")
    optimizer = optimizer_of(model.parameters())
    rng = np.random.default_rng(0)
    x = mt.Tensor(rng.standard_normal(shape).astype(np.float32), device="cuda")
    labels = mt.tensor(rng.integers(0, classes, shape[0]), device="cuda")
    for _ in range(3):
        with strict.counting() as whole:
            optimizer.zero_grad()
            with strict.counting() as forward:
                loss = nn.cross_entropy(model(x), labels)
            with strict.counting() as backward:
                loss.backward()
            with strict.counting() as update:
                optimizer.step()
    assert np.isfinite(loss.item())
    return forward, backward, update, whole


STEPS = {
    "LeNet-5": (models.lenet5, (4, 1, 28, 28), 45),
    "ResNet-20 for CIFAR": (models.cifar_resnet20, (2, 3, 32, 32), 295),
    "DenseNet-BC-40 for CIFAR": (lambda: models.cifar_densenet(40, 12), (2, 3, 32, 32), 631),
}
"""Model → how to make it, the shape of a batch, and so many kernels at most in a step. It may become fewer: lower it then."""


def sgd(parameters):
    return nn.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_training_waits_for_nothing_and_copies_nothing(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    make, shape, most = STEPS[name]
    forward, backward, update, whole = steps(make(), shape, sgd)
    with capsys.disabled():
        print(
            f"\n{name:>25}, batch of {shape[0]}: {whole.kernels:5} kernels a step (forward and loss {forward.kernels}, backward {backward.kernels}, "
            f"SGD {update.kernels}); at most {most}"
        )
    assert (whole.waits, whole.copies) == (0, 0), whole.names
    assert strict.COMPILER is None or whole.kernels <= most, whole.names.most_common(12)


def test_the_other_optimisers_wait_for_nothing_either(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for optimizer in (nn.Adam, nn.AdamW, nn.RMSprop, nn.Adagrad):
        *_, update, whole = steps(nn.Linear(4, 3), (5, 4), optimizer, classes=3)
        assert (whole.waits, whole.copies) == (0, 0)
        assert update.kernels <= 2 * 17, optimizer.__name__
