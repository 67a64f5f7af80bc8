"""A tensor among others: NumPy, PyTorch, pickle, copies, and the terminal."""

import copy
import operator
import pickle
import sys

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import Tensor, nn

LEAF = Tensor([1.0, 2.0], requires_grad=True)
RESULT = LEAF * 2
X = Tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.fixture
def on_gpu(monkeypatch):
    """A tensor on a device "cuda" that is none."""
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    return X.to("cuda")


# NumPy


def test_numpy_reads_the_same_memory():
    for array in (np.asarray(X), np.asarray(X.detach()), X.numpy(), np.from_dlpack(X), np.array(X, copy=False)):
        assert np.shares_memory(array, X.array)
    assert not np.shares_memory(np.array(X), X.array)
    assert np.asarray(X, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        np.asarray(X, dtype=np.float64, copy=False)
    np.testing.assert_array_equal(np.concatenate([X, X]), [[1, 2], [3, 4]] * 2)
    np.testing.assert_array_equal(np.arange(9)[mt.tensor([2, 5])], [2, 5])


@pytest.mark.parametrize("x", [LEAF, RESULT])
def test_numpy_is_refused_where_a_gradient_would_be_lost(x):
    for take in (np.asarray, np.linalg.norm, lambda x: np.concatenate([x, x]), lambda x: Tensor([1.0, x[0]])):
        with pytest.raises(
            TypeError, match=r"outside its graph, and lose the gradient: use an operation of microtensor, or \.detach\(\)"
        ):
            take(x)
    np.testing.assert_array_equal(np.asarray(x.detach()), x.numpy())


def test_numpy_is_refused_on_a_gpu(on_gpu):
    with pytest.raises(TypeError, match=r"NumPy cannot read a tensor on cuda:0: copy it with \.cpu\(\) or \.numpy\(\) first"):
        np.asarray(on_gpu)
    assert on_gpu.numpy().tolist() == X.tolist()


def test_arrays_and_numbers_of_numpy_stand_on_either_side():
    assert isinstance(np.ones(2, np.float32) * LEAF, Tensor)
    assert (np.float32(2) * LEAF).requires_grad
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.exp(LEAF)


# DLPack


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
def test_pytorch_shares_memory_both_ways(dtype):
    torch = pytest.importorskip("torch")
    x = mt.zeros(2, 3, dtype=dtype)
    theirs = torch.from_dlpack(x)
    theirs[0, 1] = 1
    assert x.tolist() == theirs.tolist() == [[0, 1, 0], [0, 0, 0]]
    ours = mt.from_dlpack(theirs.T)
    ours[2, 1] = True
    assert ours.dtype == dtype
    assert x.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_dlpack_of_views_numbers_and_nothing():
    torch = pytest.importorskip("torch")
    for x in (X.T, X[:, 1:], X[::2, ::1], Tensor(3.0), mt.zeros(0, 3)):
        assert torch.from_dlpack(x).tolist() == mt.from_dlpack(x).tolist() == x.tolist()


def test_dlpack_is_refused_in_words():
    torch = pytest.importorskip("torch")
    for x in (LEAF, RESULT):
        with pytest.raises(BufferError, match=r"compute outside this tensor's graph; share \.detach\(\) instead"):
            torch.from_dlpack(x)
        with pytest.raises(BufferError, match="outside this tensor's graph"):
            mt.from_dlpack(x)
        assert torch.from_dlpack(x.detach()).tolist() == x.tolist()
    with pytest.raises(BufferError, match="require gradient"):
        mt.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="from_dlpack: Tensor of torch.bfloat16"):
        mt.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match="expected numbers .* got an array of complex64"):
        mt.from_dlpack(torch.ones(2, dtype=torch.complex64))


def test_dlpack_of_another_device_is_refused():
    class Strange:
        def __dlpack__(self):
            raise AssertionError

        def __dlpack_device__(self):
            return (7, 0)

    with pytest.raises(ValueError, match=r"DLPack's device \(7, 0\) is neither the CPU nor a GPU of CUDA; move the data first"):
        mt.from_dlpack(Strange())


def test_dlpack_of_a_gpu_goes_through_the_library_of_the_gpu(on_gpu, monkeypatch):
    class Theirs:
        def __dlpack__(self):
            raise AssertionError

        def __dlpack_device__(self):
            return (2, 0)

    monkeypatch.setattr(strict.cupy, "from_dlpack", lambda source: on_gpu.array, raising=False)
    assert mt.from_dlpack(Theirs()).device == "cuda:0"


# Copies


def pickled(x):
    return pickle.loads(pickle.dumps(x))


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
@pytest.mark.parametrize(
    "x",
    [
        Tensor([1.0, 2.0], requires_grad=True),
        Tensor(np.ones((2, 0, 3))),
        mt.tensor(3),
        X.T,
        X.broadcast_to(3, 2, 2),
        nn.Parameter([1.0]),
        nn.Parameter([1.0], requires_grad=False),
        nn.Buffer([True]),
    ],
    ids=repr,
)
def test_a_leaf_survives(again, x):
    twin = again(x)
    np.testing.assert_array_equal(twin.numpy(), x.numpy(), strict=True)
    assert type(twin) is type(x)
    assert twin.requires_grad == x.requires_grad
    assert twin.is_leaf
    assert not np.shares_memory(twin.numpy(), x.numpy())
    if x.requires_grad:
        (twin * twin).sum().backward()
        assert twin.grad is not None
        assert x.grad is None


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
def test_writing_to_a_copy_disturbs_no_graph_of_the_original(again):
    x = Tensor([1.0, 2.0])
    w = Tensor([3.0, 4.0], requires_grad=True)
    y = (w * x).sum()
    again(x)[0] = 9.0
    y.backward()
    assert w.grad.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
def test_one_tensor_in_two_places_stays_one(again):
    x, y = again([LEAF, LEAF])
    assert x is y
    x, y = again([X, X.detach()])
    assert not np.shares_memory(x.numpy(), y.numpy())


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
def test_a_result_is_refused(again):
    with pytest.raises(
        RuntimeError, match=r"shape \(2,\) was computed by multiply, and its graph cannot be copied; .*\.detach\(\)"
    ):
        again(RESULT)
    assert again(RESULT.detach()).tolist() == [2.0, 4.0]


def test_a_deep_copy_keeps_the_gradient_and_a_pickle_does_not():
    x = Tensor([3.0], requires_grad=True)
    (x * x).backward()
    assert copy.deepcopy(x).grad.tolist() == [6.0]
    assert copy.deepcopy(x).grad is not x.grad
    assert pickled(x).grad is None


def test_a_model_survives():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU()) if hasattr(nn, "BatchNorm1d") else nn.Linear(3, 2)
    for twin in (pickled(model), copy.deepcopy(model)):
        assert {k: v.tolist() for k, v in twin.state_dict().items()} == {k: v.tolist() for k, v in model.state_dict().items()}
        assert all(p.requires_grad for p in twin.parameters())
        optimizer = nn.SGD(twin.parameters(), lr=0.1)
        twin(mt.ones(2, 3)).sum().backward()
        optimizer.step()
        assert all(p.grad is None for p in model.parameters())


class Named(nn.Parameter):
    """A user's own class, with an attribute."""

    def __init__(self, data, name):
        super().__init__(data)
        self.name = name


@pytest.mark.parametrize("again", [pickled, copy.deepcopy, copy.copy])
def test_a_class_of_ones_own_keeps_its_attributes(again):
    twin = again(Named([1.0], ["w"]))
    assert (type(twin), twin.name, twin.requires_grad, twin.tolist()) == (Named, ["w"], True, [1.0])


def test_a_shallow_copy_shares_memory_and_its_changes():
    x = Tensor([1.0, 2.0])
    w = Tensor([3.0, 4.0], requires_grad=True)
    twin = copy.copy(x)
    assert np.shares_memory(twin.numpy(), x.numpy())
    y = (w * x).sum()
    twin[0] = 9.0
    with pytest.raises(RuntimeError, match="was assigned to"):
        y.backward()
    assert copy.copy(LEAF).requires_grad
    assert copy.copy(LEAF).is_leaf
    z = copy.copy(w * 2)
    assert mt.grad(z.sum(), w)[0].tolist() == [2.0, 2.0]


# As text


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (Tensor(3.0), "Tensor(3.)"),
        (Tensor([1.0, -2.5]), "Tensor([ 1. , -2.5])"),
        (mt.tensor([[1, 2], [3, 4]]), "Tensor([[1, 2],\n        [3, 4]], dtype=int64)"),
        (Tensor([True, False]), "Tensor([ True, False])"),
        (Tensor(np.zeros(2)), "Tensor([0., 0.], dtype=float64)"),
        (Tensor([]), "Tensor([])"),
        (mt.zeros(0, 3), "Tensor([], shape=(0, 3))"),
        (mt.zeros(2, 0, dtype="int64"), "Tensor([], shape=(2, 0), dtype=int64)"),
        (LEAF, "Tensor([1., 2.], requires_grad=True)"),
        (RESULT, "Tensor([2., 4.], op=multiply)"),
        (LEAF @ LEAF.detach()[:, None], "Tensor([5.], op=squeeze)"),
        (LEAF[None] @ X, "Tensor([[ 7., 10.]], op=matmul)"),
        (mt.arange(2000), "Tensor([   0,    1,    2, ..., 1997, 1998, 1999], shape=(2000,), dtype=int64)"),
        (nn.Parameter([1.0]), "Parameter([1.], requires_grad=True)"),
        (Tensor([float("nan"), float("inf")]), "Tensor([nan, inf])"),
    ],
)
def test_a_tensor_shows_itself(x, text):
    assert repr(x).replace("op=reshape", "op=squeeze") == text


def test_a_huge_tensor_is_summed_up(on_gpu):
    text = repr(mt.zeros(10_000, 1).broadcast_to(10_000, 10_000))
    assert text.endswith("shape=(10000, 10000))")
    assert len(text) < 1000
    assert repr(on_gpu).endswith("device='cuda:0')")


@pytest.mark.parametrize(
    ("x", "spec", "text"),
    [
        (Tensor(0.3), "", "0.3"),
        (Tensor(0.3), ".3f", "0.300"),
        (Tensor([[0.25]]), "8.2f", "    0.25"),
        (RESULT.sum(), ".1e", "6.0e+00"),
        (mt.tensor(7), "03d", "007"),
        (mt.tensor(True), "", "True"),
        (Tensor([1.0, 2.0]), "", "Tensor([1., 2.])"),
    ],
)
def test_formats(x, spec, text):
    assert format(x, spec) == text


def test_a_format_for_numbers_is_refused_for_many():
    with pytest.raises(ValueError, match=r"format: '.2f' is a format for one number, and the tensor has shape \(2, 2\)"):
        f"{X:.2f}"


# As Python sees it


def test_as_a_number():
    assert (float(Tensor(2.5)), int(Tensor([[2.5]])), bool(Tensor(0.0)), operator.index(mt.tensor([3]))) == (2.5, 2, False, 3)
    assert [5, 6, 7][mt.tensor(1)] == 6
    assert list(range(mt.tensor(2))) == [0, 1]
    assert mt.zeros(mt.tensor(2), 3).shape == (2, 3)
    for x in (Tensor(1.0), mt.tensor([1, 2]), mt.tensor(True)):
        with pytest.raises(TypeError, match="index: expected one integer, the tensor is"):
            operator.index(x)
    with pytest.raises(ValueError, match="item: expected one element"):
        float(X)
    with pytest.raises(
        ValueError, match=r"bool: a tensor of shape \(2, 2\) is neither true nor false; use \.any\(\) or \.all\(\)"
    ):
        bool(X)


def test_as_a_sequence():
    assert len(X) == 2
    assert [row.tolist() for row in X] == X.tolist()
    assert [x.requires_grad for x in LEAF] == [True, True]
    assert 3.0 in X
    assert X[0, 0] in X
    assert 5 not in X
    assert np.ones((1, 1)) in X
    assert np.float32(4) in X
    for absent in (X, "a", None):
        with pytest.raises(TypeError, match="in: a tensor holds numbers; expected one to look for"):
            absent in X  # noqa: B015
    for sequence in (len, list, iter):
        with pytest.raises(
            TypeError, match=r"len: a tensor without axes has no length, and nothing to iterate over; \.item\(\)"
        ):
            sequence(Tensor(1.0))
