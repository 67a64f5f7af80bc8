"""Putting together and taking apart: dtypes, empty parts, views, errors in words."""

import numpy as np
import pytest
from cases.join import alike_but_for
from hypothesis import given
from hypothesis import strategies as st
from oracle import alike

import microtensor as mt
from microtensor import Tensor
from microtensor.testing import shapes

ARRAYS = [
    np.arange(6, dtype=np.float16).reshape(2, 3),
    np.arange(6, dtype=np.int64).reshape(3, 2).T,
    np.array([[True, False, True]]),
    np.zeros((0, 3), np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.split(2),
        lambda x: x.split([1, 0, 2], dim=1),
        lambda x: x.split(5, -1),
        lambda x: x.chunk(2),
        lambda x: x.chunk(4, 1),
        lambda x: x.unbind(),
        lambda x: x.unbind(-1),
    ],
)
def test_the_parts_are_pytorchs(call, array):
    alike(call, array)


@given(st.data(), shapes(min_dims=1))
def test_what_was_joined_falls_apart_again(data, lead):
    dim = data.draw(st.integers(-len(lead), len(lead) - 1))
    parts = data.draw(alike_but_for(lead, dim))
    again = mt.cat(parts, dim).split([x.shape[dim] for x in parts], dim)
    for x, y in zip(parts, again):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_the_parts_are_views():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    for part in (*x.split(2, 1), *x.chunk(2), *x.unbind()):
        assert np.shares_memory(part.numpy(), x.numpy())
        assert part.assigned is x.assigned
    assert not np.shares_memory(mt.cat([x]).numpy(), x.numpy())


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["float32", "int64"], "float32"),
        (["float16", "int64", "bool"], "float16"),
        (["float32", "float64"], "float64"),
        (["int8", "bool"], "int8"),
        (["bool", "bool"], "bool"),
    ],
)
@pytest.mark.parametrize("join", ["cat", "stack", "hstack", "vstack"])
def test_dtypes_meet_as_in_arithmetic(join, dtypes, expected):
    torch = pytest.importorskip("torch")
    y = getattr(mt, join)([Tensor(np.ones(2, d)) for d in dtypes])
    theirs = getattr(torch, join)([torch.ones(2, dtype=getattr(torch, d)) for d in dtypes])
    assert y.dtype == expected
    np.testing.assert_array_equal(y.numpy(), theirs.numpy(), strict=True)


def test_the_gradient_comes_back_in_each_inputs_dtype():
    x, y = Tensor(np.ones(2, np.float32), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    mt.cat([x, y]).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


def test_the_same_tensor_twice():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (mt.stack([x, x, x]) * Tensor([[1.0], [2.0], [4.0]])).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [7.0, 7.0])


def test_numpys_names():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert mt.cat([x, x], axis=1).shape == (2, 6)
    assert mt.stack([x, x], axis=-1).shape == (2, 3, 2)
    assert len(mt.split(x, 1, axis=1)) == 3


X, V, NUMBER = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(3.0)), Tensor(np.array(1.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mt.cat([]), ValueError, "cat: there is nothing to concatenate: expected at least one Tensor"),
        (lambda: mt.cat(X), TypeError, "cat: expected a list or tuple of Tensors, got Tensor"),
        (lambda: mt.cat([X, 3.0]), TypeError, r"but item 1 is float; wrap it: Tensor\(...\)"),
        (lambda: mt.cat([X, V]), ValueError, r"cat: shapes \(2, 3\), \(3,\) must agree in all axes but dim 0"),
        (lambda: mt.cat([X, X.T], 1), ValueError, r"cat: shapes \(2, 3\), \(3, 2\) must agree in all axes but dim 1"),
        (lambda: mt.cat([X, X], 2), ValueError, "cat: dim 2 is out of range"),
        (lambda: mt.cat([NUMBER, NUMBER]), ValueError, r"a tensor without axes has no dim 0; unsqueeze\(0\) gives it one"),
        (
            lambda: mt.stack([X, V]),
            ValueError,
            r"stack: shapes \(2, 3\), \(3,\) differ; cat\(\) joins tensors of different length",
        ),
        (lambda: mt.hstack([]), ValueError, "hstack: there is nothing to concatenate"),
        (lambda: X.split(0), ValueError, "split: split_size must be at least 1, got 0"),
        (lambda: X.split(0.5), TypeError, "split: split_size must be an integer, got 0.5"),
        (lambda: X.split([1, 2]), ValueError, r"sections \(1, 2\) add up to 3, but dim 0 of shape \(2, 3\) has length 2"),
        (lambda: X.split([3, -1]), ValueError, r"the numbers of sections must be at least 0, got \[3, -1\]"),
        (lambda: X.chunk(0), ValueError, "chunk: chunks must be at least 1, got 0"),
        (lambda: NUMBER.unbind(), ValueError, "unbind: a tensor without axes has no dim 0"),
        (lambda: mt.split([1.0], 1), TypeError, "split: expected a Tensor, got list"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
