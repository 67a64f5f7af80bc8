"""Copies, grids and windows: views, adjoints, odd shapes and dtypes, errors in words."""

import numpy as np
import pytest
from cases.repeating import slid
from hypothesis import given
from oracle import alike

import microtensor as mt
from microtensor import Tensor

ARRAYS = [
    np.arange(6, dtype=np.float16).reshape(2, 3),
    np.arange(6, dtype=np.int64).reshape(3, 2).T,
    np.array([[True, False, True]]),
    np.zeros((0, 3), np.float32),
    np.zeros((2, 0)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.broadcast_to((2, *x.shape)),
        lambda x: x.unsqueeze(0).expand(4, -1, -1),
        lambda x: x.expand(*x.shape),
        lambda x: x.repeat(2, 3),
        lambda x: x.repeat((2, 1, 0)),
        lambda x: x.tile(2),
        lambda x: x.tile((2, 1, 3)),
        lambda x: x.repeat_interleave(2),
        lambda x: x.repeat_interleave(0, 1),
        lambda x: x.repeat_interleave(2, dim=-1),
    ],
)
def test_any_dtype_and_layout(call, array):
    alike(call, array)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.broadcast_to(2, 3),
        lambda x: x.expand(3),
        lambda x: x.expand(()),
        lambda x: x.repeat(2),
        lambda x: x.repeat(()),
        lambda x: x.tile(()),
        lambda x: x.tile((2, 2)),
        lambda x: x.repeat_interleave(3),
    ],
)
def test_a_tensor_without_axes(call):
    alike(call, np.float32(5))


def test_repeat_counts_as_tensor_array_and_list():
    x = Tensor(np.arange(3.0))
    for counts in ([2, 0, 1], np.array([2, 0, 1]), Tensor(np.array([2, 0, 1]))):
        np.testing.assert_array_equal(x.repeat_interleave(counts).numpy(), [0, 0, 2])
    np.testing.assert_array_equal(x.repeat_interleave([2]).numpy(), [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(mt.repeat_interleave(x[None], 2, axis=0).numpy(), np.repeat(x.numpy()[None], 2, axis=0))


@given(slid())
def test_windows_and_their_adjoint(case):
    """⟨unfold(x), v⟩ = ⟨x, the windows of v added back⟩."""
    (x,) = case.inputs
    x.requires_grad = True
    y = case.ours(x)
    v = np.random.default_rng(1).standard_normal(y.shape)
    (back,) = mt.grad(y, x, Tensor(v))
    np.testing.assert_allclose((y.numpy() * v).sum(), (x.numpy() * back.numpy()).sum(), rtol=1e-10, atol=1e-10)


def test_windows_are_a_view():
    x = Tensor(np.arange(5.0))
    windows = x.unfold(0, 3, 1)
    assert np.shares_memory(windows.numpy(), x.numpy())
    windows[0, 2] = 9.0
    assert x[2].item() == 9.0
    w = Tensor(np.ones(3), requires_grad=True)
    y = (windows * w).sum()
    x[0] = -1.0
    with pytest.raises(RuntimeError, match="was assigned to after the operation ran"):
        y.backward()


def test_windows_of_any_dtype_and_of_views():
    torch = pytest.importorskip("torch")
    for array in (np.arange(10, dtype=np.int64), np.arange(10, dtype=np.float16), np.arange(10) % 3 == 0):
        alike(lambda x: x.unfold(0, 3, 2), array)
    x = np.arange(24.0).reshape(4, 6)
    y = Tensor(x).T.flip(0).unfold(0, 2, 3)
    np.testing.assert_array_equal(y.numpy(), torch.tensor(x).T.flip(0).unfold(0, 2, 3).numpy())


def test_gradients_of_windows_do_not_share_memory_with_what_they_are_added_to():
    """In second derivatives a gradient is itself a view of windows; another gradient must not be added to it in place."""
    g = Tensor(np.ones((4, 2)), requires_grad=True)
    x = Tensor(np.arange(5.0), requires_grad=True)
    (dx,) = mt.grad(x.unfold(0, 2, 1), x, g, create_graph=True)
    h = Tensor(np.arange(5.0))
    (dg,) = mt.grad([dx, g * 2], g, [h, Tensor(np.ones((4, 2)))])
    np.testing.assert_array_equal(dg.numpy(), [[2, 3], [3, 4], [4, 5], [5, 6]])
    np.testing.assert_array_equal(h.numpy(), np.arange(5.0))


X, V = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(3.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: X.broadcast_to(2, 2),
            ValueError,
            r"broadcast_to: shape \(2, 3\) does not broadcast to \(2, 2\): counted from",
        ),
        (lambda: X.broadcast_to(-1, 3), ValueError, r"the numbers of shape must be at least 0, got \(-1, 3\)"),
        (lambda: X.broadcast_to(2.0, 3), TypeError, "broadcast_to: shape must be integers"),
        (lambda: X.expand(3), ValueError, r"shape \(3,\) needs a length, or -1, for each of the 2 axes of shape \(2, 3\)"),
        (lambda: X.expand(-1, 2, 3), ValueError, "and on the left of them a length for each new axis"),
        (lambda: X.expand(4, 3), ValueError, r"shape \(2, 3\) does not broadcast to \(4, 3\)"),
        (
            lambda: X.repeat(2),
            ValueError,
            r"must say how often for each of the 2 axes.*tile\(\) takes fewer, repeat_interleave",
        ),
        (lambda: X.repeat(-1, 2), ValueError, r"the numbers of repeats must be at least 0, got \(-1, 2\)"),
        (lambda: X.tile(0.5), TypeError, "tile: dims must be integers"),
        (lambda: X.repeat_interleave([1, 2, 3], 0), ValueError, r"3 repeats for the 2 slices of shape \(2, 3\) along dim 0"),
        (lambda: X.repeat_interleave(V), TypeError, "repeat_interleave: repeats must be integers"),
        (lambda: X.repeat_interleave(-1), ValueError, "must be at least 0, got -1"),
        (lambda: mt.meshgrid(X, V), ValueError, r"meshgrid: expected vectors, got shape \(2, 3\)"),
        (lambda: mt.meshgrid(), ValueError, "meshgrid: expected at least one vector"),
        (lambda: mt.meshgrid(V, 3), TypeError, "meshgrid: expected Tensors, got int"),
        (lambda: mt.meshgrid(V, V, indexing="yx"), ValueError, r'must be "ij" \(matrices\) or "xy" \(pictures\), got \'yx\''),
        (lambda: V.unfold(0, 5, 1), ValueError, r"windows of 5 are longer than dim 0 of shape \(3,\); pad\(\) makes it longer"),
        (lambda: V.unfold(0, 2, 0), ValueError, "unfold: step must be at least 1, got 0"),
        (lambda: V.unfold(0, 0.5, 1), TypeError, "unfold: size must be an integer, got 0.5"),
        (lambda: V.unfold(1, 2, 1), ValueError, "unfold: dim 1 is out of range"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
