"""Tensor: what it says about itself, its dtypes and devices, and how it leaves a graph."""

import sys

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import Tensor

X = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_what_it_is():
    assert (X.shape, X.size(), X.size(0), X.size(-1)) == ((2, 3), (2, 3), 2, 3)
    assert (X.ndim, X.dim(), X.numel(), X.element_size(), X.nbytes) == (2, 2, 6, 4, 24)
    assert (Tensor(1.0).dim(), Tensor(1.0).numel(), mt.zeros(0, 3).numel(), mt.zeros(0, 3).nbytes) == (0, 1, 0, 0)
    assert X.is_floating_point()
    assert not mt.tensor([1]).is_floating_point()
    with pytest.raises(ValueError, match="size: dim 2 is out of range for shape"):
        X.size(2)


def test_contiguous_copies_only_where_it_must():
    assert X.is_contiguous()
    assert X.contiguous() is X
    x = X.detach().requires_grad_()
    y = x.T.contiguous()
    assert not x.T.is_contiguous()
    assert y.is_contiguous()
    assert y.tolist() == X.T.tolist()
    assert mt.grad(y, x, Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))[0].tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("half", "float16"), ("float", "float32"), ("double", "float64"), ("int", "int32"), ("long", "int64"), ("bool", "bool")],
)
def test_dtypes_by_pytorchs_names(name, dtype):
    torch = pytest.importorskip("torch")
    x = Tensor([-1.5, 0.0, 2.7], dtype="float64" if name != "double" else "float32")
    y = getattr(x, name)()
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), getattr(torch.tensor(x.numpy()), name)().numpy(), strict=True)
    assert getattr(y, name)() is y


def test_to_another_dtype_device_or_tensor(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = X.detach().requires_grad_()
    for y in (x.to("float64", "cuda"), x.to("cuda", np.float64), x.to(dtype="float64", device="cuda:0"), x.double().cuda()):
        assert (y.dtype, y.device) == (np.float64, "cuda:0")
        assert (x.to(y).dtype, x.to(y).device) == (x.type_as(y).dtype, x.type_as(y).device) == (np.float64, "cuda:0")
        y.sum().backward()
        assert y.cpu().device == "cpu"
        assert y.cuda(0) is y
    assert x.grad.tolist() == [[4.0] * 3] * 2
    assert x.to("cpu") is x.to(np.float32) is x.to("float32", "cpu") is x.cpu() is x.type_as(X) is x.to(device=None) is x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: X.to("gpu"), TypeError, r'to: expected a dtype or a device \("cpu", "cuda", "cuda:N"\), got \'gpu\''),
        (lambda: X.to(None), TypeError, "to: expected a dtype or a device .* got None"),
        (lambda: X.to(3), TypeError, "to: expected a dtype or a device .* got 3"),
        (lambda: X.to("cuda:x"), ValueError, 'device: expected "cpu", "cuda" or "cuda:N", got \'cuda:x\''),
        (lambda: X.to(device="gpu"), ValueError, "device: expected .* got 'gpu'"),
        (lambda: X.to(dtype="f33"), TypeError, "to: 'f33' is no dtype"),
        (lambda: X.to(complex), TypeError, "to: a tensor holds floating-point numbers, integers or bools, not complex128"),
    ],
)
def test_an_unknown_target_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_detached_in_place_it_requires_no_gradient():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    assert y.detach_() is y
    assert y.is_leaf
    assert not y.requires_grad
    assert not (y * 3).requires_grad


def test_transposes():
    x = mt.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(x.T.numpy(), x.numpy().T)
    np.testing.assert_array_equal(x.mT.numpy(), x.numpy().swapaxes(-1, -2))
    assert Tensor(1.0).T.shape == ()


# In place


def test_in_place_arithmetic_outside_graphs_writes_into_the_memory():
    array = np.array([1.0, 2.0])
    x = mt.Tensor(array)
    same, view = x, x[:1]
    x += 1
    x *= 2
    x -= 0.5
    x /= 0.5
    assert x is same
    assert array.tolist() == [7.0, 11.0]
    assert view.tolist() == [7.0]


def test_a_step_by_hand():
    p = mt.Tensor([1.0], requires_grad=True)
    (p * p).backward()
    with mt.no_grad():
        p -= 0.1 * p.grad
    assert p.tolist() == pytest.approx([0.8])
    assert p.requires_grad


def test_in_place_arithmetic_while_recording():
    x = mt.Tensor([1.0], requires_grad=True)
    total = mt.Tensor([0.0])
    zero = total
    for _ in range(3):
        total += x * x
    total.backward()
    assert x.grad.tolist() == [6.0]
    assert zero.tolist() == [0.0]
    with pytest.raises(
        RuntimeError,
        match=r"a leaf that requires a gradient cannot be changed in place while recording: use no_grad\(\)",
    ):
        x += 1


def test_in_place_arithmetic_is_seen_by_a_pending_backward():
    x, w = mt.Tensor([1.0]), mt.Tensor([2.0], requires_grad=True)
    y = x * w
    x += 1
    with pytest.raises(RuntimeError, match="was assigned to"):
        y.backward()


@pytest.mark.parametrize(("x", "y"), [(np.arange(3), 0.5), (np.ones(1), mt.Tensor(np.ones(2)))])
def test_in_place_arithmetic_keeps_shape_and_dtype(x, y):
    tensor = mt.Tensor(x)
    with pytest.raises((TypeError, ValueError), match=r"x\[index\] = value"):
        tensor += y


@pytest.mark.parametrize("name", ["flip", "tile"])
def test_axes_that_are_forgotten_are_no_axes_at_all(name):
    """They left the tensor as it was, in silence; no axes that are meant so do, as in PyTorch."""
    x = mt.Tensor([[1.0, 2.0]])
    with pytest.raises(TypeError, match=f"{name}: dims is missing"):
        getattr(x, name)()
    assert getattr(x, name)(()).tolist() == x.tolist()
