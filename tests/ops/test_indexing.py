"""Indexing and assignment against NumPy; masks; what stays a view; errors."""

import numpy as np
import pytest
from cases.indexing import indices, written
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from microtensor import Tensor
from microtensor.ops import indexing
from microtensor.testing import shapes


@settings(max_examples=200)
@given(st.data(), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
def test_an_index_picks_what_numpy_picks(data, shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    index = data.draw(indices(shape))
    expected, y = x[index], Tensor(x)[written(data.draw, index, Tensor)]
    np.testing.assert_array_equal(y.numpy(), expected, strict=True)
    if not any(isinstance(i, np.ndarray) for i in index):
        assert not y.array.size or y.device != "cpu" or np.shares_memory(y.numpy(), x)


@settings(max_examples=100)
@given(st.data(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
def test_assignment_writes_what_numpy_writes(data, shape):
    expected = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x = Tensor(expected.copy())
    index = data.draw(indices(shape))
    size = expected[index].shape
    value = data.draw(
        st.sampled_from([7, -0.5, True, np.float64(3), -np.arange(np.prod(size), dtype=np.int64).reshape(size)])
        | st.just(-1.5 * np.ones(size[1:]))
    )
    places = np.arange(expected.size).reshape(shape)[index]
    if x.device != "cpu":  # which of several numbers stays at one place is not said
        assume(np.unique(value).size < 2 or np.unique(places).size == places.size)
    expected[index] = value
    form = (
        data.draw(st.sampled_from([lambda v: v, Tensor, np.ndarray.tolist]))
        if isinstance(value, np.ndarray) and value.size
        else lambda v: v
    )
    x[written(data.draw, index, Tensor)] = form(value)
    np.testing.assert_array_equal(x.numpy(), expected, strict=True)


@given(st.data(), shapes(min_dims=1), st.sampled_from([1, 5, indexing.SCATTER_ELEMENTS]))
def test_the_adjoint_adds_where_the_index_picked(data, shape, places):
    index = data.draw(indices(shape))
    g = np.random.default_rng(0).standard_normal(np.zeros(shape)[index].shape)
    expected = np.zeros(shape)
    np.add.at(expected, index, g)
    x = Tensor(np.zeros(shape), requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:  # the parts in which rows are added make no difference
        patch.setattr(indexing, "SCATTER_ELEMENTS", places)
        (ours,) = mt.grad(x[index], x, Tensor(g))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12, atol=1e-12, strict=True)


@pytest.mark.parametrize("places", [1, 3, indexing.SCATTER_ELEMENTS])
@pytest.mark.parametrize(
    "index",
    [
        np.array([1, 1, -1, 0]),
        np.array([[1, -2], [1, 0]], np.int8),
        (np.array([1, 1, -1]), np.array([-1, 2, 2])),
        (np.array([[0], [-2]]), np.array([1, 1])),
        (slice(None), np.array([0, 0, -3])),
        (Ellipsis, np.array([3, -1, 3])),
        (None, np.array([1, -1]), slice(None, None, -2)),
        (1, np.array([0, 0])),
    ],
)
def test_an_element_picked_twice_gets_both_gradients(index, places, monkeypatch):
    monkeypatch.setattr(indexing, "SCATTER_ELEMENTS", places)
    x = Tensor(np.zeros((2, 3, 4)), requires_grad=True)
    g = np.random.default_rng(0).standard_normal(x.numpy()[index].shape)
    expected = np.zeros(x.shape)
    np.add.at(expected, index, g)
    (ours,) = mt.grad(x[index], x, Tensor(g))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.int8, np.bool_])
def test_numbers_added_in_their_own_dtype(dtype):
    data = np.zeros((2, 2), dtype)
    indexing.add_at(data, (np.array([1, 1, -1]),), np.ones((3, 2), dtype))
    assert data.dtype == dtype
    np.testing.assert_array_equal(data, np.array([[0, 0], [3, 3]]).astype(dtype))


def test_what_an_index_may_be_made_of():
    x = Tensor(np.arange(12.0).reshape(3, 4))
    n = x.numpy()
    for index, same in [
        (np.int64(1), 1),
        (Tensor(np.array(1)), 1),
        (Tensor(np.array([0, 2], np.uint8)), [0, 2]),
        ([], []),
        ([[]], [[]]),
        ((), ()),
        (True, True),
        (np.bool_(False), False),
        ([True, False, True], [True, False, True]),
        (((0, 1), (2, 3)), ([0, 1], [2, 3])),
        ((Ellipsis, -1), (Ellipsis, -1)),
        ((slice(None), [1, 0], None), (slice(None), [1, 0], None)),
        (slice(np.int64(0), None, -2), slice(0, None, -2)),
    ]:
        np.testing.assert_array_equal(x[index].numpy(), n[same], strict=True)


def test_a_view_shares_its_memory_and_its_assignments():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    x[:, ::-1][0, 0] = 9.0
    assert x[0, 2].item() == 9.0
    copied = x[[0, 1]]
    copied[0, 0] = -1.0
    assert x[0, 0].item() == 0.0


def test_rows_shift_within_one_memory():
    x = Tensor(np.arange(5.0))
    x[1:] = x[:-1]
    np.testing.assert_array_equal(x.numpy(), [0, 0, 1, 2, 3])


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x[1:], lambda x: x.T, lambda x: x.detach()])
def test_backward_sees_an_assignment_to_what_it_needs(view):
    w, x = Tensor([1.0, 2.0], requires_grad=True), Tensor([[3.0, 4.0], [5.0, 6.0]])
    y = (w * x).sum()
    view(x)[0] = 7.0
    with pytest.raises(RuntimeError, match="was assigned to after the operation ran"):
        y.backward()


@pytest.mark.parametrize(
    "pick",
    [
        lambda x, i: x[i],
        lambda x, i: x[:, i],
        lambda x, i: x.index_select(1, i),
        lambda x, i: x.take(i),
        lambda x, i: x.gather(1, i[None]),
        lambda x, i: x.scatter(1, i[None], Tensor([[1.0, 1.0]], requires_grad=True)),
        lambda x, i: x.scatter_add(1, i[None], Tensor([[1.0, 1.0]], requires_grad=True)),
    ],
)
def test_backward_sees_an_assignment_to_the_index(pick):
    x, i = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True), Tensor([0, 1], dtype="int64")
    y = pick(x, i).sum()
    i[0] = 1
    with pytest.raises(RuntimeError, match="was assigned to after the operation ran"):
        y.backward()


def test_a_mask_assigned_to_afterwards_is_seen_too():
    x = Tensor([1.0, 2.0], requires_grad=True)
    mask = Tensor(np.array([True, False]))
    y = x[mask].sum()
    mask[1] = True
    with pytest.raises(RuntimeError, match="was assigned to after the operation ran"):
        y.backward()


def test_assignment_inside_no_grad_to_a_leaf():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with mt.no_grad():
        x[0] = Tensor([5.0], requires_grad=True)
    assert x.requires_grad
    np.testing.assert_array_equal(x.numpy(), [5.0, 2.0])


def test_augmented_assignment():
    x = Tensor([1.0, 2.0, 3.0])
    x[1:] += 1
    x[x > 3] *= 2
    np.testing.assert_array_equal(x.numpy(), [1, 3, 8])


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, min_side=0),
        elements=st.just(0) | st.just(1),
    )
)
def test_nonzero_is_pytorchs(x):
    torch = pytest.importorskip("torch")
    rows = mt.nonzero(Tensor(x))
    np.testing.assert_array_equal(rows.numpy(), torch.nonzero(torch.tensor(x)).numpy(), strict=True)
    np.testing.assert_array_equal(x[tuple(i.numpy() for i in mt.nonzero(Tensor(x), as_tuple=True))], x[x != 0])


def test_masks_keep_the_dtype():
    x = Tensor(np.array([1, 2, 3], np.int32))
    assert x.masked_fill(x > 1, 0).dtype == np.int32
    assert x.masked_fill(x > 1, True).dtype == np.int32
    assert x.masked_fill(x > 1, np.int64(0)).dtype == np.int32
    half = x.to(np.float16).masked_fill(x > 1, Tensor(np.array(0.5)))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half.numpy(), np.array([1, 0.5, 0.5], np.float16))
    np.testing.assert_array_equal(x.masked_select(np.array([True, False, True])).numpy(), [1, 3])


def test_no_gradient_flows_from_what_is_masked():
    x = Tensor([0.0, 1.0], requires_grad=True)
    (x - 1).masked_fill(x == 0, 0.0).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0.0, 1.0])


X, WHOLE, GRADED = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(3)), Tensor([1.0], requires_grad=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: X[2], IndexError, r"x\[index\]: index 2 is out of bounds for axis 0 with size 2; x has shape \(2, 3\)"),
        (lambda: X[:, [0, 5]], IndexError, r"index 5 is out of bounds for axis 1 with size 3; x has shape \(2, 3\)"),
        (lambda: X[0, 0, 0], IndexError, "too many indices for array: array is 2-dimensional, but 3 were indexed"),
        (
            lambda: X[Tensor(np.array([True, False, True]))],
            IndexError,
            "size of axis is 2 but size of corresponding boolean axis is 3",
        ),
        (lambda: X[[0, 1], [0, 1, 2]], IndexError, r"could not be broadcast together with shapes \(2,\) \(3,\); x has"),
        (lambda: X[::0], ValueError, r"x\[index\]: slice step cannot be zero"),
        (lambda: X[1.0], IndexError, r"x\[index\]: only integers, slices"),
        (lambda: X[X], TypeError, r"x\[index\]: expected integers or bools, got float64; use .to\('int64'\)"),
        (lambda: X[[0.5]], TypeError, "expected integers or bools, got float64"),
        (lambda: X[[[0], [0, 1]]], TypeError, r"expected nested lists of integers, all of one length, got \[\[0\], \[0, 1\]\]"),
        (lambda: X.__setitem__(2, 1.0), IndexError, r"x\[index\] = value: index 2 is out of bounds for axis 0 with size 2"),
        (
            lambda: X.__setitem__(0, [1.0, 2.0]),
            ValueError,
            r"from shape \(2,\) into shape \(3,\); x is float64 of shape \(2, 3\)",
        ),
        (
            lambda: X.__setitem__(X > 2, Tensor([1.0, 2.0])),
            ValueError,
            r"shape \(2,\) could not be broadcast to indexing result of shape \(3,\)",
        ),
        (
            lambda: WHOLE.__setitem__(0, 0.5),
            TypeError,
            "float does not fit a tensor of int64: convert the value, or the tensor",
        ),
        (lambda: WHOLE.__setitem__(0, X[0, 0]), TypeError, "float64 does not fit a tensor of int64"),
        (lambda: (WHOLE > 1).__setitem__(0, 1), TypeError, "int does not fit a tensor of bool"),
        (lambda: X.__setitem__(0, "a"), TypeError, "str does not fit a tensor of float64"),
        (lambda: X.__setitem__(0, None), TypeError, "NoneType does not fit"),
        (lambda: Tensor(np.zeros(1, np.uint8)).__setitem__(0, 300), OverflowError, "300 out of bounds for uint8; x is uint8"),
        (
            lambda: GRADED.__setitem__(0, 1.0),
            RuntimeError,
            r"part of a graph.*inside no_grad\(\), or build a new tensor, with where",
        ),
        (lambda: X.__setitem__(0, GRADED), RuntimeError, r"an assignment would lose it; assign value.detach\(\)"),
        (
            lambda: X.broadcast_to(2, 2, 3).__setitem__(0, 1.0),
            ValueError,
            r"a view that cannot be assigned to.*clone\(\) it first",
        ),
        (lambda: X.diagonal().__setitem__(0, 1.0), ValueError, r"as of broadcast_to\(\) or diagonal\(\)"),
        (lambda: X.take([6]), IndexError, r"index 6 is out of bounds for axis 0 with size 6"),
        (
            lambda: X.masked_fill(X, 0.0),
            TypeError,
            "masked_fill: mask must be a Tensor of bools, as a comparison gives, got float64",
        ),
        (
            lambda: X.masked_fill(X > 0, X),
            ValueError,
            r"must be a number or a tensor without axes, got shape \(2, 3\); use where",
        ),
        (lambda: X.masked_fill(X > 0, "a"), TypeError, "must be a number or a tensor without axes, got str"),
        (lambda: WHOLE.masked_fill(WHOLE > 0, 0.5), TypeError, r"value 0.5 does not fit int64; use .to\('float32'\) first"),
        (
            lambda: X.masked_fill(WHOLE[:2] > 0, 0.0),
            ValueError,
            r"x \(2, 3\) and mask \(2,\) do not broadcast: counted from the right",
        ),
        (
            lambda: X.masked_select([True]),
            TypeError,
            "masked_select: mask must be a Tensor of bools, as a comparison gives, got list",
        ),
        (lambda: mt.nonzero([1.0]), TypeError, "nonzero: expected a Tensor, got list"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert X.numpy().sum() == 15
