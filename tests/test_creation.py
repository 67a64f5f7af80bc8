"""New tensors: PyTorch's dtypes and values, who shares memory with whom, and what is refused."""

import pickle
import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor

DATA = [
    3,
    -1.5,
    True,
    [1, 2],
    [1, 2.5],
    [True, False],
    [[1, 2], [3, 4]],
    (1, (2,)[0]),
    [],
    [[], []],
    range(3),
    np.float64(2.0),
    np.arange(3),
]


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_tensor_has_pytorchs_dtype_and_numbers(data):
    torch = pytest.importorskip("torch")
    expected = torch.tensor(data).numpy()
    np.testing.assert_array_equal(mt.tensor(data).numpy(), expected, strict=True)
    np.testing.assert_array_equal(mt.as_tensor(data).numpy(), expected, strict=True)


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_the_constructor_makes_float32_of_pythons_numbers(data):
    dtype = mt.tensor(data).dtype
    if dtype == np.int64 and not isinstance(data, np.ndarray):
        dtype = np.float32
    assert Tensor(data).dtype == dtype


def test_a_given_dtype_is_reached_without_a_detour():
    assert Tensor([0.1], dtype="float64").item() == 0.1
    assert mt.tensor([2**60 + 1], dtype="int64").item() == 2**60 + 1
    assert Tensor([2**60 + 1], dtype=np.int64).item() == 2**60 + 1
    assert mt.tensor([2**63], dtype="uint64").item() == 2**63
    assert mt.tensor([0, 2], dtype=bool).tolist() == [False, True]


def test_what_has_a_dtype_keeps_it_in_a_list_too():
    assert Tensor([np.zeros(2), np.ones(2)]).dtype == np.float64
    assert Tensor([[np.int8(1)]]).dtype == np.int8


@pytest.mark.parametrize("protocol", ["__array__", "__array_interface__"])
def test_what_numpy_can_read_keeps_its_dtype(protocol):
    numbers = np.arange(3, dtype=np.uint8)

    class Readable:  # as PyTorch's tensors, data frames and images are
        if protocol == "__array__":

            def __array__(self, dtype=None, copy=None):
                return numbers
        else:
            __array_interface__ = numbers.__array_interface__

    for x in (Tensor(Readable()), mt.tensor(Readable()), mt.as_tensor(Readable())):
        assert (x.dtype, x.tolist()) == (np.uint8, [0, 1, 2])


def test_dtypes_are_made_the_machines_own():
    for array in (np.ones(2, ">f4"), np.ones(2, "<f4"), pickle.loads(pickle.dumps(np.ones(2, np.float32)))):
        x = Tensor(array, requires_grad=True)
        assert x.dtype is np.dtype(np.float32)
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0, 2.0]
    assert mt.tensor([1], dtype=">i8").dtype.isnative


def test_who_shares_memory():
    array = np.zeros(2)
    for shared in (Tensor(array), mt.as_tensor(array), mt.from_numpy(array), mt.from_dlpack(array)):
        assert np.shares_memory(shared.numpy(), array)
    assert not np.shares_memory(mt.tensor(array).numpy(), array)
    assert not np.shares_memory(mt.as_tensor(array, "float32").numpy(), array)
    x = Tensor([1.0], requires_grad=True)
    assert mt.as_tensor(x) is x
    assert mt.as_tensor(x, "float64").requires_grad
    for copy in (mt.tensor(x), Tensor(x)):
        assert copy.is_leaf
        assert not copy.requires_grad


def test_a_tensor_on_another_ones_memory_is_noticed_when_it_is_written_to():
    x = Tensor([1.0, 2.0])
    w = Tensor([3.0, 4.0], requires_grad=True)
    y = (w * x).sum()
    Tensor(x)[0] = 5.0
    with pytest.raises(RuntimeError, match="was assigned to"):
        y.backward()


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
@pytest.mark.parametrize(
    ("size", "shape"), [((2, 3), (2, 3)), (((2, 3),), (2, 3)), (([2],), (2,)), ((), ()), (((),), ()), ((0, 2), (0, 2))]
)
def test_shapes_are_written_in_either_way(name, size, shape):
    x = getattr(mt, name)(*size)
    assert x.shape == shape
    assert x.dtype == np.float32
    assert not x.requires_grad


@pytest.mark.parametrize(
    "make",
    [
        lambda **settings: mt.tensor([1.0, 2.0], **settings),
        lambda **settings: mt.zeros(2, **settings),
        lambda **settings: mt.ones(2, **settings),
        lambda **settings: mt.empty(2, **settings),
        lambda **settings: mt.full((2,), 3, **settings),
        lambda **settings: mt.arange(2, **settings),
        lambda **settings: mt.linspace(0, 1, 2, **settings),
        lambda **settings: mt.eye(2, **settings),
        lambda **settings: mt.zeros_like(mt.ones(2), **settings),
        lambda **settings: mt.ones_like(mt.ones(2), **settings),
        lambda **settings: mt.empty_like(mt.ones(2), **settings),
        lambda **settings: mt.full_like(mt.ones(2), 0.5, **settings),
        lambda **settings: mt.rand(2, **settings),
        lambda **settings: mt.randn(2, **settings),
        lambda **settings: mt.normal(1.0, 2.0, (2,), **settings),
        lambda **settings: mt.randint(5, (2,), **settings),
        lambda **settings: mt.randperm(2, **settings),
        lambda **settings: mt.rand_like(mt.ones(2), **settings),
        lambda **settings: mt.randn_like(mt.ones(2), **settings),
        lambda **settings: mt.randint_like(mt.ones(2), 5, **settings),
    ],
)
def test_all_take_a_dtype_a_device_and_requires_grad(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = make(dtype="float64", device="cuda", requires_grad=True)
    assert (x.dtype, x.device, x.requires_grad, x.is_leaf) == (np.float64, "cuda:0", True, True)
    with pytest.raises(ValueError, match='device: expected "cpu", "cuda" or "cuda:N", got \'gpu\''):
        make(device="gpu")
    with pytest.raises(TypeError, match="'float33' is no dtype; 'float32', 'float64', 'int64' and 'bool' are some"):
        make(dtype="float33")


def test_like_another_in_shape_dtype_and_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = mt.tensor([[1, 2]], device="cuda")
    for y in (mt.zeros_like(x), mt.ones_like(x), mt.empty_like(x), mt.full_like(x, 7), mt.randint_like(x, 3)):
        assert (y.shape, y.dtype, y.device) == ((1, 2), np.int64, "cuda:0")
    assert mt.full_like(x, 7).tolist() == [[7, 7]]
    assert mt.zeros_like(np.ones(2, np.float16)).dtype == np.float16
    assert mt.full_like(x, 0.5, dtype="float32").tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("value", [7, 0.5, True, np.float64(2.0), np.int8(3)])
def test_full_takes_the_dtype_of_its_number(value):
    torch = pytest.importorskip("torch")
    x = mt.full((2,), value)
    assert x.tolist() == [value, value]
    expected = value.dtype if isinstance(value, np.generic) else torch.full((2,), value).numpy().dtype
    assert x.dtype == expected


NUMBER = st.one_of(st.integers(-20, 20), st.floats(-20, 20, width=32))


@given(NUMBER, NUMBER, st.one_of(st.integers(1, 5), st.floats(0.125, 3.0, width=32)), st.booleans())
def test_arange_is_pytorchs(start, end, step, down):
    torch = pytest.importorskip("torch")
    start, end, step = (max(start, end), min(start, end), -step) if down else (min(start, end), max(start, end), step)
    expected = torch.arange(start, end, step).numpy()
    np.testing.assert_allclose(mt.arange(start, end, step).numpy(), expected, rtol=1e-6, atol=1e-6, strict=True)
    expected = torch.arange(start, end, step, dtype=torch.float64).numpy()
    np.testing.assert_array_equal(mt.arange(start, end, step, dtype="float64").numpy(), expected, strict=True)


def test_arange_of_one_or_two_numbers():
    assert mt.arange(3).tolist() == [0, 1, 2]
    assert mt.arange(1, 3).tolist() == [1, 2]
    assert mt.arange(0).shape == (0,)
    assert mt.arange(mt.tensor(3)).dtype == np.int64
    assert mt.arange(np.float32(2)).dtype == np.float32


@given(NUMBER, NUMBER, st.integers(0, 9))
def test_linspace_is_pytorchs_and_meets_its_ends(start, end, steps):
    torch = pytest.importorskip("torch")
    x = mt.linspace(start, end, steps)
    np.testing.assert_allclose(x.numpy(), torch.linspace(start, end, steps).numpy(), rtol=1e-5, atol=1e-5, strict=True)
    if steps > 1:
        assert (x[0].item(), x[-1].item()) == (start, end)


@pytest.mark.parametrize("size", [(3,), (2, 3), (3, 2), (0,), (2, 0)])
def test_eye_is_numpys(size):
    np.testing.assert_array_equal(mt.eye(*size).numpy(), np.eye(*size, dtype=np.float32), strict=True)


X, INTEGERS = Tensor([1.0, 2.0]), mt.tensor([1, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Tensor("a"), TypeError, "Tensor: expected numbers of 64 bits at most, or nested lists of them, got 'a'"),
        (lambda: mt.tensor(None), TypeError, "tensor: expected numbers .* got None"),
        (lambda: mt.tensor(1j), TypeError, "tensor: expected numbers .* got 1j"),
        (lambda: mt.tensor([2**70]), TypeError, "tensor: expected numbers of 64 bits at most"),
        (lambda: mt.tensor([2**63]), ValueError, "tensor: 9223372036854775808 does not fit into int64; give a dtype"),
        (lambda: Tensor(np.array(["a"])), TypeError, "Tensor: expected numbers .* got an array of <U1"),
        (
            lambda: Tensor([[1], [2, 3]]),
            ValueError,
            "Tensor: the nested lists are of unequal length; every row needs as many numbers",
        ),
        (
            lambda: Tensor([X, X]),
            TypeError,
            r"Tensor: this is a list of tensors; cat\(\) joins them along an axis, stack\(\) along",
        ),
        (lambda: mt.tensor([[X]]), TypeError, "tensor: this is a list of tensors"),
        (
            lambda: Tensor([1.0, X[0].requires_grad_()]),
            TypeError,
            r"outside its graph, and lose the gradient: .*\.detach\(\) first",
        ),
        (lambda: Tensor([1], dtype="float33"), TypeError, "Tensor: 'float33' is no dtype"),
        (
            lambda: Tensor([1], dtype=complex),
            TypeError,
            "a tensor holds floating-point numbers, integers or bools, not complex128",
        ),
        (
            lambda: mt.tensor([1, 2], requires_grad=True),
            TypeError,
            r"only floating-point tensors have gradients, not int64; use \.to",
        ),
        (
            lambda: mt.from_numpy([1.0]),
            TypeError,
            r"from_numpy: expected a numpy.ndarray, got list; tensor\(\) takes anything else",
        ),
        (lambda: mt.from_dlpack([1.0]), TypeError, "from_dlpack: list has no method __dlpack__"),
        (lambda: mt.zeros(2, -1), ValueError, "zeros: expected lengths of 0 or more, got 2, -1"),
        (lambda: mt.zeros(2.0), TypeError, "zeros: expected lengths, integers, got 2.0"),
        (lambda: mt.ones("ab"), TypeError, "ones: expected lengths, integers, got 'ab'"),
        (lambda: mt.full((2,), [1, 2]), TypeError, r"full: expected one number to fill with, got numbers of shape \(2,\)"),
        (lambda: mt.full((2,), "a"), TypeError, "full: expected numbers"),
        (lambda: mt.arange(5, 0), ValueError, "arange: steps of 1 do not lead from 5 to 0"),
        (lambda: mt.arange(0, 5, 0), ValueError, "arange: steps of 0 do not lead from 0 to 5"),
        (lambda: mt.arange(float("inf")), ValueError, "arange: steps of 1 do not lead from 0 to inf"),
        (lambda: mt.arange("a"), TypeError, "arange: expected a number, got 'a'"),
        (lambda: mt.linspace(0, 1, 2.5), TypeError, "linspace: expected lengths, integers, got 2.5"),
        (lambda: mt.linspace(0, X, 2), TypeError, "linspace: expected a number, got Tensor"),
        (lambda: mt.eye(-1), ValueError, "eye: expected lengths of 0 or more"),
        (lambda: mt.zeros_like([1]), TypeError, "zeros_like: expected a Tensor to take the shape of, got list"),
        (
            lambda: mt.full_like(INTEGERS, 0.5),
            TypeError,
            "full_like: int64, the dtype of the tensor, cannot hold 0.5; give another",
        ),
        (lambda: mt.full_like(X, "a"), TypeError, "full_like: expected a number, got 'a'"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
