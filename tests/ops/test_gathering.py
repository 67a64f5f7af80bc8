"""Gather and scatter: their definitions, adjoints, duplicates, dtypes, errors in words."""

import itertools

import numpy as np
import pytest
from cases.gathering import along
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor


@given(along(), st.integers(0, 999))
def test_gather_and_scatter_add_are_their_definitions_and_adjoint(drawn, seed):
    """⟨gather(x), v⟩ = ⟨x, scatter_add(0, v)⟩."""
    shape, dim, index = drawn
    rng = np.random.default_rng(seed)
    x, v = rng.standard_normal(shape), rng.standard_normal(index.shape)
    gathered, added = np.zeros(index.shape), np.zeros(shape)
    for place in itertools.product(*map(range, index.shape)):
        there = list(place)
        there[dim] = index[place]
        gathered[place] = x[tuple(there)]
        added[tuple(there)] += v[place]
    ours = Tensor(x).gather(dim, Tensor(index))
    back = Tensor(np.zeros(shape)).scatter_add(dim, Tensor(index), Tensor(v))
    np.testing.assert_array_equal(ours.numpy(), gathered)
    np.testing.assert_allclose(back.numpy(), added, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose((ours.numpy() * v).sum(), (x * back.numpy()).sum(), rtol=1e-10, atol=1e-10)


@given(along(), st.integers(0, 999))
def test_of_several_numbers_for_one_element_the_last_stays_and_gets_the_gradient(drawn, seed):
    shape, dim, index = drawn
    rng = np.random.default_rng(seed)
    v, u = rng.standard_normal(index.shape), rng.standard_normal(shape)
    expected, owner = np.zeros(shape), {}
    for place in itertools.product(*map(range, index.shape)):
        there = list(place)
        there[dim] = index[place]
        expected[tuple(there)] = v[place]
        owner[tuple(there)] = place
    gradient, kept = np.zeros(index.shape), u.copy()
    for there, place in owner.items():
        gradient[place], kept[there] = u[there], 0
    x, src = Tensor(np.zeros(shape), requires_grad=True), Tensor(v, requires_grad=True)
    y = x.scatter(dim, index, src)
    dx, dsrc = mt.grad(y, [x, src], Tensor(u))
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(Tensor(np.zeros(shape)).scatter(dim, index, Tensor(v)).numpy(), expected)
    np.testing.assert_array_equal(dsrc.numpy(), gradient)
    np.testing.assert_array_equal(dx.numpy(), kept)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.int8])
def test_the_dtype_stays(dtype):
    x, index = Tensor(np.arange(6).reshape(2, 3).astype(dtype)), np.array([[0, 2], [1, 1]], np.uint8)
    ones = Tensor(np.ones((2, 2), dtype))
    for y, expected in [
        (x.gather(1, index), [[0, 2], [4, 4]]),
        (x.scatter(1, index, ones), [[1, 1, 1], [3, 1, 5]]),
        (x.scatter(1, index, 7), [[7, 1, 7], [3, 7, 5]]),
        (x.scatter_add(1, index, ones), [[1, 1, 3], [3, 6, 5]]),
        (x.index_select(0, [1]), [[3, 4, 5]]),
        (x.index_add(0, [1], x[:1], alpha=2), [[0, 1, 2], [3, 6, 9]]),
        (x.take_along_dim(index, 1), [[0, 2], [4, 4]]),
    ]:
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.numpy(), expected)


def test_a_vector_longer_than_small_indices_count():
    x = Tensor(np.arange(1000.0).reshape(2, 500))
    index = np.full((2, 1), 127, np.int8)
    np.testing.assert_array_equal(x.gather(1, index).numpy(), [[127], [627]])
    np.testing.assert_array_equal(x.take_along_dim(-index, 1).numpy(), [[373], [873]])
    np.testing.assert_array_equal(Tensor(x.numpy().T.copy()).gather(0, index.T).numpy(), [[127, 627]])


def test_src_may_be_larger_than_the_index():
    src = Tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
    y = Tensor(np.zeros((2, 3))).scatter_add(1, [[2, 2]], src)
    np.testing.assert_array_equal(y.numpy(), [[0, 0, 3], [0, 0, 0]])
    y.sum().backward()
    np.testing.assert_array_equal(src.grad.numpy(), [[1, 1, 0], [0, 0, 0]])


def test_take_along_dim_undoes_an_argsort():
    x = np.random.default_rng(0).standard_normal((4, 5))
    order = np.argsort(x, 1)
    np.testing.assert_array_equal(mt.take_along_dim(Tensor(x), order, axis=1).numpy(), np.sort(x, 1))


def test_nothing_to_pick():
    x = Tensor(np.zeros((0, 3), np.float32))
    assert x.gather(1, np.zeros((0, 5), np.int64)).shape == (0, 5)
    assert x.scatter_add(0, np.zeros((0, 3), np.int64), x).shape == (0, 3)
    assert x.index_select(1, []).shape == (0, 0)
    assert x.index_select(1, 2).shape == (0, 1)


@given(st.lists(st.integers(0, 4), min_size=1), st.integers(5, 7) | st.just(-1))
def test_one_hot_is_pytorchs(classes, count):
    torch = pytest.importorskip("torch")
    ours = mt.one_hot(Tensor(np.array(classes)), count)
    theirs = torch.nn.functional.one_hot(torch.tensor(classes), count)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), strict=True)


def test_one_hot_of_more_axes_and_of_none():
    assert mt.one_hot(Tensor(np.zeros((2, 3), np.int32)), 4).shape == (2, 3, 4)
    assert mt.one_hot(Tensor(np.array(1)), 2).tolist() == [0, 1]
    assert mt.one_hot(Tensor(np.zeros((0,), np.int64)), 4).shape == (0, 4)


X, V, WHOLE = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(3.0)), Tensor(np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: X.gather(1, [[3]]),
            IndexError,
            r"index 3 is out of range for dim 1 of shape \(2, 3\): it must be from 0 to 2",
        ),
        (lambda: X.gather(1, [[-1]]), IndexError, "gather: index -1 is out of range"),
        (lambda: X.gather(1, [0]), ValueError, r"index \(1,\) must have the axes of x \(2, 3\).*take_along_dim\(\) broadcasts"),
        (lambda: X.gather(0, [[0, 0, 0, 0]]), ValueError, r"index \(1, 4\) must .*none of them longer except dim 0"),
        (lambda: X.gather(1, [[0.5]]), TypeError, r"the index must be of integers, got float64; use .to\('int64'\)"),
        (lambda: X.gather(2, [[0]]), ValueError, "gather: dim 2 is out of range"),
        (lambda: mt.gather([1.0], 0, [0]), TypeError, "gather: expected a Tensor, got list"),
        (lambda: X.scatter(1, [[3]], 1.0), IndexError, "scatter: index 3 is out of range"),
        (
            lambda: X.scatter(1, [[0, 1]], X[:, :1]),
            ValueError,
            r"src \(2, 1\) must have the axes of index \(1, 2\), none of them",
        ),
        (
            lambda: X.scatter(1, [[0]], X.to("float32")),
            TypeError,
            r"src is float32, but x is float64; convert one: .to\('float64'\)",
        ),
        (lambda: X.scatter(1, [[0]], [[1.0]]), TypeError, r"scatter: src must be a Tensor, got list; wrap it: Tensor\(...\)"),
        (lambda: WHOLE.scatter(1, [[0]], 0.5), TypeError, r"src 0.5 does not fit int64; use .to\('float32'\) first"),
        (lambda: X.scatter_add(1, [[0]], 1.0), TypeError, "scatter_add: src must be a Tensor, got float"),
        (lambda: X.take_along_dim([[-4]], 1), IndexError, "index -4 is out of range for dim 1.*from -3 to 2"),
        (
            lambda: X.take_along_dim([0], 1),
            ValueError,
            r"indices \(1,\) must have the axes of x \(2, 3\), and broadcast with it",
        ),
        (lambda: X.index_select(1, [-1]), IndexError, "index_select: index -1 is out of range for dim 1"),
        (
            lambda: X.index_select(1, [[0]]),
            ValueError,
            r"index must be a vector, got shape \(1, 1\); gather\(\) takes an index for",
        ),
        (
            lambda: X.index_add(1, [0], V),
            ValueError,
            r"1 indices along dim 1 of x \(2, 3\) need a source of float64 \(2, 1\), got",
        ),
        (lambda: X.index_add(1, [0], 1.0), TypeError, r"need a source of float64 \(2, 1\), got float"),
        (lambda: mt.one_hot(V), TypeError, r"expected a Tensor of integers, got float64; use .to\('int64'\)"),
        (lambda: mt.one_hot(WHOLE, 3), IndexError, "one_hot: index 5 is out of range for 3 classes: it must be from 0 to 2"),
        (lambda: mt.one_hot(WHOLE[:0]), ValueError, "without a class number there is no largest; give num_classes"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
