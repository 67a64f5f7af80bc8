"""Gradient clipping: as in PyTorch, with gradients that are nan or infinite, on other devices."""

import math
import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, nn
from microtensor.nn.module import Parameter
from microtensor.nn.optim import optimizer as shared

SHAPES = [(3, 4), (5,), (), (0, 2), (40, 3, 2)]


def parameters(dtype=np.float32, seed=0, device="cpu"):
    """Parameters with gradients, and one without."""
    rng = np.random.default_rng(seed)
    made = [Parameter(Tensor(np.zeros(shape, dtype)).to(device)) for shape in SHAPES]
    for p in made:
        p.grad = Tensor(np.asarray(rng.standard_normal(p.shape), dtype)).to(device)
    return [*made, Parameter(Tensor(np.zeros(2, dtype)).to(device))]


def torchs(ours):
    torch = pytest.importorskip("torch")
    theirs = [torch.nn.Parameter(torch.tensor(p.detach().numpy())) for p in ours]
    for p, q in zip(ours, theirs):
        q.grad = None if p.grad is None else torch.tensor(p.grad.numpy())
    return theirs


@pytest.mark.parametrize("norm_type", [2.0, 3.0])
def test_of_float16_neither_squares_nor_sums_overflow(norm_type):
    torch = pytest.importorskip("torch")
    gradient = np.full(100_000, 60, np.float16)
    p = Parameter(np.zeros(100_000, np.float16))
    p.grad = Tensor(gradient.copy())
    norm = nn.clip_grad_norm_([p], 1.0, norm_type)
    wanted = torch.tensor(gradient.astype(np.float64)).norm(norm_type).item()
    assert norm.item() == pytest.approx(wanted, rel=1e-5)
    assert p.grad.dtype == np.float16
    np.testing.assert_allclose(p.grad.numpy(), 60 / wanted, rtol=2e-3)


@given(
    st.sampled_from([0.0, 0.5, 5.0, 1e3, 7]),
    st.sampled_from([1.0, 2.0, 2, 3.5, 0.5, math.inf]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([16, 1 << 17]),
    st.integers(0, 99),
)
def test_the_norm_and_what_is_left_are_pytorchs(max_norm, norm_type, dtype, block, seed):
    torch = pytest.importorskip("torch")
    ours = parameters(dtype, seed)
    theirs = torchs(ours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "BLOCK_BYTES", block)
        norm = nn.clip_grad_norm_(iter(ours), max_norm, norm_type)
    has_numbers = [q for q in theirs if q.numel()]  # PyTorch raises for the largest element of an empty gradient
    wanted = torch.nn.utils.clip_grad_norm_(has_numbers, max_norm, norm_type)
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    assert norm.shape == ()
    assert norm.dtype == dtype
    np.testing.assert_allclose(norm.item(), wanted.item(), rtol=rtol)
    for p, q in zip(ours[:-1], theirs):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=2 * rtol)
    assert ours[-1].grad is None


@given(st.sampled_from([0.0, 0.5, 3, math.inf]), st.sampled_from([np.float32, np.float64]), st.integers(0, 99))
def test_clamped_values_are_pytorchs(value, dtype, seed):
    torch = pytest.importorskip("torch")
    ours = parameters(dtype, seed)
    theirs = torchs(ours)
    kept = [p.grad.array for p in ours[:-1]]
    nn.clip_grad_value_(ours, value)
    torch.nn.utils.clip_grad_value_(theirs, value)
    for p, q, array in zip(ours, theirs, kept):
        assert p.grad.array is array
        np.testing.assert_array_equal(array, q.grad.numpy())


def test_one_parameter_and_none():
    p = Parameter([1.0, 1.0])
    assert nn.clip_grad_norm_(p, 1.0).item() == 0.0
    assert nn.clip_grad_norm_([], 1.0).item() == 0.0
    p.grad = Tensor([3.0, 4.0])
    array = p.grad.array
    assert nn.clip_grad_norm_(p, math.inf).item() == 5.0  # only measured
    assert array.tolist() == [3.0, 4.0]
    nn.clip_grad_norm_(p, 2.5)
    assert p.grad.array is array
    np.testing.assert_allclose(array, [1.5, 2.0], rtol=1e-6)
    nn.clip_grad_value_(p, 1.75)
    np.testing.assert_allclose(array, [1.5, 1.75], rtol=1e-6)
    empty = Parameter(np.zeros((0, 3), np.float32))
    empty.grad = empty.detach().clone()
    assert nn.clip_grad_norm_(empty, 1.0).item() == 0.0


def test_gradients_of_two_dtypes():
    p, q = Parameter(np.zeros(1, np.float32)), Parameter(np.zeros(1, np.float64))
    p.grad, q.grad = Tensor(np.array([3.0], np.float32)), Tensor(np.array([4.0]))
    assert nn.clip_grad_norm_([p, q], 1.0).item() == pytest.approx(5.0)
    assert (p.grad.dtype, q.grad.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose([p.grad.item(), q.grad.item()], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize(("bad", "left"), [(math.inf, [0.0, math.nan]), (math.nan, [math.nan, math.nan])])
def test_a_gradient_that_is_not_finite(bad, left):
    p = Parameter([0.0, 0.0])
    for norm_type in (2.0, math.inf):
        p.grad = Tensor([1.0, bad])
        with pytest.raises(ValueError, match=f"clip_grad_norm_: the norm of the gradients is {bad}; look for the first"):
            nn.clip_grad_norm_(p, 1.0, norm_type, error_if_nonfinite=True)
        np.testing.assert_array_equal(p.grad.numpy(), [1.0, bad])
    with np.errstate(invalid="ignore"):
        nn.clip_grad_norm_(p, 1.0)
    np.testing.assert_array_equal(p.grad.numpy(), left)


def test_a_graph_that_needs_the_gradient_sees_the_change():
    p = Parameter([1.0, 2.0])
    (p**3).sum().backward(create_graph=True)
    penalty = (p.grad * p.grad).sum()
    nn.clip_grad_norm_(p, 1.0)
    with pytest.raises(RuntimeError, match="assigned to"):
        penalty.backward()


def test_on_a_device_nothing_is_waited_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    for norm_type in (2.0, 1.0, math.inf):
        host, device = parameters(), parameters(device="cuda")
        expected = nn.clip_grad_norm_(host, 1.0, norm_type)
        with monkeypatch.context() as patch:
            for name in ("get", "item", "__float__", "__bool__"):
                patch.setattr(strict.ndarray, name, None)
            norm = nn.clip_grad_norm_(device, 1.0, norm_type)
            nn.clip_grad_value_(device, 0.5)
        nn.clip_grad_value_(host, 0.5)
        assert norm.device == "cuda:0"
        np.testing.assert_allclose(norm.to("cpu").item(), expected.item(), rtol=1e-6)
        for p, q in zip(host[:-1], device):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.to("cpu").numpy(), rtol=1e-6)


LAYER, P = nn.Linear(1, 1), Parameter([1.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.clip_grad_norm_(LAYER, 1.0),
            TypeError,
            r"parameters must be Tensors, got Linear; pass model\.parameters\(\)",
        ),
        (lambda: nn.clip_grad_norm_(None, 1.0), TypeError, "clip_grad_norm_: parameters must be Tensors, got NoneType"),
        (lambda: nn.clip_grad_norm_([P, 1.0], 1.0), TypeError, "clip_grad_norm_: parameter 1 must be a Tensor, got float"),
        (lambda: nn.clip_grad_norm_(P, "1"), TypeError, "clip_grad_norm_: max_norm must be a number, got '1'"),
        (lambda: nn.clip_grad_norm_(P, -1), ValueError, "clip_grad_norm_: max_norm must be at least 0, got -1"),
        (lambda: nn.clip_grad_norm_(P, math.nan), ValueError, "clip_grad_norm_: max_norm must be at least 0, got nan"),
        (lambda: nn.clip_grad_norm_(P, 1.0, "inf"), TypeError, "clip_grad_norm_: norm_type must be a number, got 'inf'"),
        (lambda: nn.clip_grad_norm_(P, 1.0, 0), ValueError, "clip_grad_norm_: norm_type must be above 0"),
        (lambda: nn.clip_grad_value_(LAYER, 1.0), TypeError, "clip_grad_value_: parameters must be Tensors, got Linear; pass"),
        (lambda: nn.clip_grad_value_(P, None), TypeError, "clip_grad_value_: clip_value must be a number, got None"),
        (lambda: nn.clip_grad_value_(P, -0.5), ValueError, "clip_grad_value_: clip_value must be at least 0, got -0.5"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
