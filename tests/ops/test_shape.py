"""Rearranging: what stays a view, odd shapes and dtypes, errors in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import alike

import microtensor as mt
from microtensor import Tensor
from microtensor.ops import shape
from microtensor.testing import shapes, tensors

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=np.float16).reshape(2, 3).T,
    np.arange(12, dtype=np.int64).reshape(2, 6)[:, ::2],
    np.array([[True, False], [True, True]]),
    np.broadcast_to(np.arange(3.0), (2, 3)),
    np.zeros((0, 3), np.float32),
    np.zeros((2, 0)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(x.shape[1], x.shape[0]),
        lambda x: x.reshape(-1, 1, *x.shape[1:]) if 0 not in x.shape else x.reshape(0, 1),
        lambda x: x.flatten(),
        lambda x: x.flatten(-1),
        lambda x: x.unflatten(0, (1, x.shape[0])),
        lambda x: x.squeeze(0),
        lambda x: x.unsqueeze(-1),
        lambda x: x.permute(-1, 0),
        lambda x: x.transpose(0, -1),
        lambda x: x.swapaxes(0, 1),
        lambda x: x.movedim(0, 1),
        lambda x: x.moveaxis((0, 1), (1, 0)),
        lambda x: x.flip(0, 1),
        lambda x: x.flip((-1,)),
        lambda x: x.roll(1),
        lambda x: x.roll((4, -1), (0, 1)),
        lambda x: x.rot90(),
        lambda x: x.rot90(3, (1, 0)),
    ],
)
def test_any_dtype_and_layout(call, array):
    alike(call, array)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(()),
        lambda x: x.reshape(-1),
        lambda x: x.view(1, 1),
        lambda x: x.flatten(),
        lambda x: x.squeeze(),
        lambda x: x.squeeze(0),
        lambda x: x.unsqueeze(0),
        lambda x: x.permute(()),
        lambda x: x.flip(()),
        lambda x: x.flip(-1),
        lambda x: x.roll(2),
    ],
)
def test_a_tensor_without_axes(call):
    alike(call, np.float32(5))


@given(tensors(shapes(min_dims=2, max_dims=2)))
def test_rearranging_copies_nothing(x):
    for view in [
        x.reshape(-1),
        x.view(-1, 1),
        x.T.unsqueeze(1),
        x.T.permute(1, 0),
        x.movedim(0, 1),
        x.flip(0, 1),
        x.rot90(),
        x.squeeze(),
        x.flatten(),
    ]:
        assert np.shares_memory(view.numpy(), x.numpy())
        assert view.assigned is x.assigned


def test_view_refuses_to_copy_and_reshape_does():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(x.T.reshape(6).numpy(), [0, 3, 1, 4, 2, 5])
    assert not np.shares_memory(x.T.reshape(6).numpy(), x.numpy())
    assert np.shares_memory(x[:, :2].view(2, 1, 2).numpy(), x.numpy())
    assert x[:0].view(0, 7).shape == (0, 7)
    x.view(6)[4] = -1.0
    assert x[1, 1].item() == -1.0


@given(tensors(), st.integers(-7, 7))
def test_a_roll_is_undone(x, shift):
    np.testing.assert_array_equal(x.roll(shift).roll(-shift).numpy(), x.numpy())


def test_numpys_names():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(mt.flip(x, axis=1).numpy(), np.flip(x.numpy(), axis=1))
    np.testing.assert_array_equal(mt.roll(x, shift=1, axis=0).numpy(), np.roll(x.numpy(), shift=1, axis=0))
    np.testing.assert_array_equal(mt.rot90(x, k=1, axes=(1, 0)).numpy(), np.rot90(x.numpy(), k=1, axes=(1, 0)))
    np.testing.assert_array_equal(mt.permute(x, axes=(1, 0)).numpy(), x.numpy().T)
    assert mt.squeeze(x[None], axis=0).shape == (2, 3)
    assert mt.unsqueeze(x, axis=2).shape == (2, 3, 1)


def test_axes_as_they_may_be_written():
    assert shape.normalize_dims("f", [0, -1], (2, 3, 4)) == (0, 2)
    assert shape.normalize_dims("f", np.int64(-1), (2, 3)) == (1,)
    assert shape.normalize_dims("f", -1, ()) == ()
    assert shape.normalize_dim("f", np.int32(1), (2, 3)) == 1


X, NUMBER = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.array(1.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: X.reshape(4, 2), ValueError, r"reshape: 6 elements of shape \(2, 3\) do not fill shape \(4, 2\)"),
        (lambda: X.reshape(-1, 4), ValueError, r"6 elements of shape \(2, 3\) do not fill shape \(-1, 4\)"),
        (lambda: X.reshape(-1, -1), ValueError, r"shape \(-1, -1\) leaves several lengths open, and only one follows"),
        (lambda: X.reshape(2, -3), ValueError, r"the numbers of shape must be at least -1, got \(2, -3\)"),
        (lambda: X.reshape(2.0, 3), TypeError, r"reshape: shape must be integers, got \(2.0, 3\)"),
        (lambda: X[:0].reshape(-1, 0), ValueError, r"the -1 in shape \(-1, 0\) could be any length: write it out"),
        (lambda: X.T.view(6), ValueError, r"view: .* are not in memory in the order of shape \(6,\).*reshape\(\) copies"),
        (lambda: X.view(np.float32), TypeError, "view: shape must be integers"),
        (lambda: X.flatten(1, 0), ValueError, r"start_dim 1 comes after end_dim 0 in shape \(2, 3\)"),
        (lambda: X.unflatten(1, (2, 2)), ValueError, r"unflatten: 3 elements of shape \(3,\) do not fill shape \(2, 2\)"),
        (lambda: X.squeeze(2), ValueError, r"squeeze: dim 2 is out of range for shape \(2, 3\): it has 2 axes, -2 to 1"),
        (lambda: X.squeeze("a"), TypeError, "squeeze: dim must be an integer or a sequence of integers, got 'a'"),
        (lambda: X.unsqueeze(4), ValueError, r"dim 4 is out of range: with the new axis, shape \(2, 3\) has 3 axes, -3 to 2"),
        (lambda: X.unsqueeze(1.0), TypeError, "unsqueeze: dim must be an integer, got 1.0"),
        (lambda: X.permute(0), ValueError, r"permute: dims \(0,\) must name each of the 2 axes of shape \(2, 3\) once"),
        (lambda: X.permute(1, -1), ValueError, r"dim \(1, -1\) names an axis of shape \(2, 3\) twice"),
        (lambda: X.transpose(0, True), TypeError, "transpose: dim must be an integer, got True"),
        (lambda: NUMBER.transpose(0, 0), ValueError, r"a tensor without axes has no dim 0; unsqueeze\(0\) gives it one"),
        (lambda: X.movedim((0, 1), 0), ValueError, r"source \(0, 1\) and destination 0 must name as many axes"),
        (lambda: X.movedim(None, 0), TypeError, "movedim: source must be integers, got None"),
        (lambda: X.flip(2), ValueError, "flip: dim 2 is out of range"),
        (lambda: X.roll((1, 2), 0), ValueError, r"roll: shifts \(1, 2\) and dims 0 must be as many"),
        (lambda: X.roll((1, 2)), ValueError, "without dims, one shift rolls all as one axis"),
        (lambda: X.roll(0.5), TypeError, "roll: shifts must be integers, got 0.5"),
        (lambda: X.rot90(1, (0,)), ValueError, r"rot90: dims must name two axes, the plane to turn, got \(0,\)"),
        (lambda: X.rot90(0.5), TypeError, "rot90: k must be an integer, got 0.5"),
        (lambda: mt.squeeze([1.0]), TypeError, "squeeze: expected a Tensor, got list"),
        (lambda: mt.flip(1.0, 0), TypeError, "flip: expected a Tensor, got float"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
