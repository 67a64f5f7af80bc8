"""einsum and its relatives: against NumPy, in which order and on which device they compute, and what they refuse."""

import sys

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import Tensor

RNG = np.random.default_rng(0)


def rand(*shape):
    return Tensor(RNG.standard_normal(shape))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        (" i j , j k -> k i ", [(2, 3), (3, 4)]),
        ("ii", [(3, 3)]),
        ("ii->i", [(3, 3)]),
        ("iji->ji", [(2, 3, 2)]),
        ("iiii->i", [(2, 2, 2, 2)]),
        ("ijij->ij", [(2, 3, 2, 3)]),
        ("ba", [(2, 3)]),
        ("i,j,k->kij", [(2,), (3,), (4,)]),
        ("b...ij,b...jk->b...ik", [(5, 7, 2, 3), (5, 7, 3, 4)]),
        ("...,...->...", [(2, 1), (3,)]),
        ("i...->...i", [(2, 3, 4)]),
        ("nchw,ock->nohwk", [(2, 3, 4, 5), (6, 3, 2)]),
        ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("ij,ij,ij->", [(2, 3)] * 3),
        ("->", [()]),
        (",i,->i", [(), (3,), ()]),
        ("ij,jk->ik", [(2, 0), (0, 4)]),
        ("ii->i", [(0, 0)]),
    ],
)
def test_einsum_is_numpys(equation, shapes):
    arrays = [RNG.standard_normal(s) for s in shapes]
    ours = mt.einsum(equation, *map(Tensor, arrays)).numpy()
    np.testing.assert_allclose(ours, np.einsum(equation, *arrays), rtol=1e-10, atol=1e-12, strict=True)


def test_labels_may_be_lists_of_numbers():
    x, y = rand(2, 3), rand(4, 3, 5)
    for labels in ([0, 1], [2, 1, 3], [3, 0, 2]), ([0, 1], [2, 1, 3]), ([30, 1], [..., 1, 2], [..., 30]), ([..., 1], [2, 1, 0]):
        args = [x, labels[0], y, labels[1], *labels[2:]]
        expected = np.einsum(*(v.numpy() if isinstance(v, Tensor) else v for v in args))
        np.testing.assert_allclose(mt.einsum(*args).numpy(), expected, rtol=1e-12)


def test_operands_may_come_in_a_list_and_arrays_are_constants():
    x, y = rand(2, 3).requires_grad_(), rand(3, 2)
    np.testing.assert_array_equal(mt.einsum("ij,jk", [x, y]).numpy(), mt.einsum("ij,jk", x, y).numpy())
    z = mt.einsum("ij,ji->", x, y.numpy())
    np.testing.assert_allclose(mt.grad(z, x)[0].numpy(), y.numpy().T)


def test_the_pair_that_leaves_least_memory_goes_first(monkeypatch):
    sizes = []
    matmul = Tensor.__matmul__
    monkeypatch.setattr(Tensor, "__matmul__", lambda x, y: sizes.append((z := matmul(x, y)).numel()) or z)
    chain = rand(2, 50), rand(50, 50), rand(50, 50), rand(50, 2)
    mt.einsum("ab,bc,cd,de->ae", *chain)
    assert max(sizes) == 100, "a product of the large matrices among themselves has 2,500 numbers"


def test_on_a_device_that_is_not_numpys(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x, y, w = rand(2, 3), rand(4, 3), rand(5, 3, 3)
    for f in (
        lambda x, y, w: mt.einsum("ij,kj,ojj->iko", x, y, w),
        lambda x, y, w: mt.einsum("ij,oij->o", x[:, ::2], w[:, :2, ::2]),
        lambda x, y, w: mt.tensordot(x, y, ([1], [1])),
        lambda x, y, w: mt.bilinear(x, y[:2], w),
        lambda x, y, w: x @ y.T,
    ):
        there = [v.cuda().requires_grad_() for v in (x, y, w)]
        here = [v.detach().requires_grad_() for v in (x, y, w)]
        z, expected = f(*there), f(*here)
        assert z.device == "cuda:0"
        np.testing.assert_allclose(z.numpy(), expected.numpy(), rtol=1e-12)
        (z * z).sum().backward()
        (expected * expected).sum().backward()
        for a, b in zip(there, here):
            assert (a.grad is None) == (b.grad is None)
            assert a.grad is None or np.allclose(a.grad.numpy(), b.grad.numpy())


def test_dtypes_meet():
    x, y = Tensor(np.ones((2, 3), np.float32)), Tensor(np.ones(3, np.int64))
    assert mt.einsum("ij,j->i", x, y).dtype == np.float32
    assert mt.einsum("ij,j->i", x, y.to("float64")).dtype == np.float64
    assert mt.einsum("j,j->", y, y).dtype == np.int64
    assert mt.einsum("ij->j", x > 0).tolist() == [2, 2, 2]
    assert mt.tensordot(x, y, 1).dtype == np.float32


@pytest.mark.parametrize(
    ("first", "second", "dims"),
    [
        ((2, 3, 4), (3, 4, 5), 2),
        ((2, 3), (4,), 0),
        ((2, 3), (3,), 1),
        ((2, 3, 4), (4, 2, 5), ([0, 2], [1, 0])),
        ((2, 3, 4), (4, 2, 5), ([-1], [0])),
        ((2, 3, 4), (4, 2, 5), (2, 0)),
        ((2, 3), (2, 3), ([0, 1], [0, 1])),
        ((2, 0), (0, 3), 1),
        ((), (), 0),
    ],
)
def test_tensordot_is_numpys(first, second, dims):
    x, y = rand(*first), rand(*second)
    expected = np.tensordot(x.numpy(), y.numpy(), dims)
    np.testing.assert_allclose(mt.tensordot(x, y, dims).numpy(), expected, rtol=1e-12, atol=1e-13, strict=True)
    np.testing.assert_array_equal(mt.tensordot(x, y, axes=dims).numpy(), mt.tensordot(x, y, dims).numpy())


def test_an_empty_batch():
    x, y, w = rand(0, 3), rand(0, 4), rand(5, 3, 4).requires_grad_()
    z = mt.bilinear(x, y, w)
    assert z.shape == (0, 5)
    z.sum().backward()
    assert w.grad.tolist() == np.zeros((5, 3, 4)).tolist()


X, Y = Tensor(np.ones((2, 3))), Tensor(np.ones((3, 4)))
W = Tensor(np.ones((5, 3, 4)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: mt.einsum("ij->i", X, Y),
            ValueError,
            "einsum: 'ij->i' has 1 terms, but there are 2 tensors; each tensor has a term",
        ),
        (lambda: mt.einsum("ij,jk->ik", X), ValueError, "has 2 terms, but there are 1 tensors"),
        (
            lambda: mt.einsum("ij->ik", X),
            ValueError,
            "in 'ij->ik', 'k' is behind the arrow only; it must be an axis of some tensor",
        ),
        (
            lambda: mt.einsum("ij->ii", X),
            ValueError,
            "'i' is behind the arrow twice; each axis of the result has its own letter",
        ),
        (lambda: mt.einsum("ijk->i", X), ValueError, r"'ijk' does not fit a tensor of shape \(2, 3\), which has 2 axes"),
        (lambda: mt.einsum("i->i", X), ValueError, "'i' does not fit a tensor .* or '...' stands for those that have none"),
        (lambda: mt.einsum("...ijk->i", X), ValueError, "'...ijk' does not fit"),
        (
            lambda: mt.einsum("ij,jk->ik", X, X),
            ValueError,
            r"in 'ij,jk->ik', 'j' has length 3 and, in a tensor of shape \(2, 3\), length 2; axes with one label must be of one length",
        ),
        (lambda: mt.einsum("ii->i", X), ValueError, "'i' has length 2 and, in a tensor of shape .*, length 3"),
        (lambda: mt.einsum("ii->i", X[:1]), ValueError, "'i' has length 1 and, in a tensor of shape .*, length 3"),
        (
            lambda: mt.einsum("...,...", X, Y),
            ValueError,
            "an axis under '...' has length 2 and, in a tensor of shape .*, length 3",
        ),
        (lambda: mt.einsum("i1->i", X), ValueError, "'1' in 'i1->i' is no label: an axis is called by a letter, a-z or A-Z"),
        (lambda: mt.einsum("ij=>i", X), ValueError, "'=' in 'ij=>i' is no label"),
        (lambda: mt.einsum("ij->i->j", X), ValueError, "'-' in 'ij->i->j' is no label"),
        (lambda: mt.einsum("..ij", X), ValueError, "'..ij' may have one ellipsis, of three dots"),
        (lambda: mt.einsum("...i...", X), ValueError, "may have one ellipsis"),
        (lambda: mt.einsum("ij"), TypeError, "einsum: there is no tensor for 'ij'"),
        (
            lambda: mt.einsum("ij,->ij", X, 2.0),
            TypeError,
            r"einsum: expected tensors, got the number 2.0; numbers multiply with \*",
        ),
        (lambda: mt.einsum("ij,ij->ij", X > 0, X > 0), TypeError, "einsum: sums of bools are no bools"),
        (lambda: mt.einsum(X, Y), TypeError, "einsum: expected an equation first, such as 'ij,jk->ik', or a list of numbers"),
        (
            lambda: mt.einsum(X, [0, 52]),
            ValueError,
            r"in \[0, 52\], 52 is no label: an axis is called by a number from 0 to 51",
        ),
        (lambda: mt.einsum(X, ["i", "j"]), ValueError, "'i' is no label"),
        (
            lambda: mt.tensordot(X, Y),
            ValueError,
            r"axis 0 of shape \(2, 3\) goes with axis 0 of shape \(3, 4\), but they have 2 and 3",
        ),
        (lambda: mt.tensordot(X, Y, 3), ValueError, r"cannot sum over 3 axes of shapes \(2, 3\) and \(3, 4\)"),
        (lambda: mt.tensordot(X, Y, -1), ValueError, "cannot sum over -1 axes"),
        (lambda: mt.tensordot(X, Y, "ij"), TypeError, "dims must be a number of axes or a pair of lists"),
        (lambda: mt.tensordot(X, Y, ([0, 1], [0])), ValueError, "pairs 2 axes of the first tensor with 1 of the second"),
        (lambda: mt.tensordot(X, Y, ([2], [0])), ValueError, "tensordot: dim 2 is out of range"),
        (lambda: mt.tensordot(X, 2.0), TypeError, "tensordot: expected tensors, got the number 2.0"),
        (
            lambda: mt.bilinear(X, Y, X),
            ValueError,
            r"bilinear: weight must have three axes, \(out, in1, in2\), got shape \(2, 3\)",
        ),
        (
            lambda: mt.bilinear(X, Y, W),
            ValueError,
            r"takes x1 \(…, 3\) and x2 \(…, 4\), alike in the leading axes, got \(2, 3\) and \(3, 4\)",
        ),
        (
            lambda: mt.bilinear(X, Y[:2], W, Tensor([1.0])),
            ValueError,
            r"weight \(5, 3, 4\) gives 5 outputs, but bias has shape \(1,\)",
        ),
        (lambda: mt.bilinear(X, Y[:2], 3), TypeError, "bilinear: expected tensors, got the number 3"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
