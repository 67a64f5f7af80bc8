"""Embedding against PyTorch, its settings, initial values, errors at once and on a device. Gradients: also test_operations.py."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.testing import shapes, tensors

ROWS = 5


@given(
    hnp.arrays(np.int64, shapes(max_dims=2), elements=st.integers(0, ROWS - 1)),
    tensors((ROWS, 3)),
    st.none() | st.integers(-ROWS, ROWS - 1),
    st.booleans(),
    st.none() | st.floats(0.1, 3.0),
    st.sampled_from([1.0, 2.0, 3.0]),
    st.integers(0, 99),
)
def test_values_gradients_and_max_norm_are_pytorchs(index, table, padding_idx, by_frequency, max_norm, p, seed):
    torch = pytest.importorskip("torch")
    theirs = torch.tensor(table.numpy().copy(), requires_grad=True)
    weight = table.requires_grad_()
    settings = (padding_idx, max_norm, p, by_frequency)
    y, expected = (
        nn.embedding(Tensor(index), weight, *settings),
        torch.nn.functional.embedding(torch.tensor(index), theirs, *settings),
    )
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12, strict=True)
    np.testing.assert_allclose(weight.numpy(), theirs.detach().numpy(), rtol=1e-12)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(weight.grad.numpy(), theirs.grad.numpy(), rtol=1e-12, atol=1e-14, strict=True)


def test_the_gradient_by_frequency_can_be_differentiated():
    weight, index = Tensor(np.ones((3, 2)), requires_grad=True), [0, 0, 2]
    y = nn.embedding(index, weight, padding_idx=2, scale_grad_by_freq=True)
    (g,) = mt.grad((y**3).sum(), weight, create_graph=True)
    assert g.tolist() == [[3.0, 3.0], [0.0, 0.0], [0.0, 0.0]]  # twice a half of 3 · 1²
    (h,) = mt.grad(g.sum(), weight)
    assert h.tolist() == [[3.0, 3.0], [0.0, 0.0], [0.0, 0.0]]  # and the way back through the table halves again


def test_the_layer_and_its_initial_values_are_pytorchs():
    torch = pytest.importorskip("torch")
    for settings in ({}, {"padding_idx": -1}, {"max_norm": 1.0, "norm_type": 1.0, "scale_grad_by_freq": True}):
        ours, theirs = nn.Embedding(4, 3, **settings), torch.nn.Embedding(4, 3, **settings)
        assert repr(ours) == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert ours.padding_idx == theirs.padding_idx
    weight = nn.Embedding(1000, 50, padding_idx=3, generator=mt.Generator(0)).weight.numpy()
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight[3], 0)
    assert abs(weight.mean()) < 0.02
    assert weight.std() == pytest.approx(1, abs=0.02)


def test_from_pretrained_shares_memory_and_can_be_frozen():
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    layer = nn.Embedding.from_pretrained(table, padding_idx=0)
    assert layer.weight.numpy() is table or np.shares_memory(layer.weight.numpy(), table)
    assert not layer.weight.requires_grad
    assert layer([2]).tolist() == [[4.0, 5.0]]
    assert nn.Embedding.from_pretrained(Tensor(table), freeze=False).weight.requires_grad
    assert layer.weight.numpy()[0].tolist() == [0.0, 1.0]  # as it was given


def test_a_table_scaled_to_max_norm_before_backward_is_refused():
    layer = nn.Embedding(3, 2, max_norm=0.5)
    square = (layer.weight * layer.weight).sum()
    layer([0, 1, 2])
    with pytest.raises(RuntimeError, match="was assigned to"):
        square.backward()


def test_indices_may_be_a_tensor_an_array_or_a_list():
    weight = Tensor(np.arange(6.0).reshape(3, 2))
    for x in (2, [2, 0], np.array([[1], [2]], np.uint8), Tensor(np.array([], np.int64)), []):
        index = np.asarray(x.numpy() if isinstance(x, Tensor) else x, None if np.size(x) else np.int64)
        np.testing.assert_array_equal(nn.embedding(x, weight).numpy(), weight.numpy()[index], strict=True)


def test_on_a_device_a_row_out_of_range_is_nan_and_an_error_at_the_next_copy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    layer = nn.Embedding(3, 2, max_norm=1.0).to("cuda")
    y = layer(Tensor(np.array([0, 7]), device="cuda"))
    y.sum().backward()
    assert layer.weight.grad.device == "cuda:0"
    with pytest.raises(IndexError, match=r"embedding: row 7 is out of range: weight has 3 rows.*in an earlier step"):
        y.numpy()
    assert np.isnan(y.numpy()).tolist() == [[False, False], [True, True]]
    with pytest.raises(IndexError, match="row -1"):  # numbers of the CPU are checked there
        layer([-1])


W = Tensor(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.embedding([3], W), IndexError, "embedding: row 3 is out of range: weight has 3 rows, counted from 0 to 2"),
        (lambda: nn.embedding([0, -1], W), IndexError, "embedding: row -1 is out of range"),
        (lambda: nn.embedding([0.5], W), TypeError, r"embedding: x must be of integers, got float64; use .to\('int64'\)"),
        (lambda: nn.embedding(np.array([True]), W), TypeError, "integers, got bool"),
        (lambda: nn.embedding([0], W[0]), ValueError, r"weight must have two axes, \(rows, columns\), got shape \(2,\)"),
        (lambda: nn.embedding([0], W.to("int64")), TypeError, "embedding: needs one floating-point dtype, got weight int64"),
        (lambda: nn.embedding([0], 1.0), TypeError, "embedding: "),
        (lambda: nn.embedding([0], W, 3), ValueError, "padding_idx=3 is none of the 3 rows: it must be from -3 to 2"),
        (lambda: nn.embedding([0], W, max_norm=-1.0), ValueError, "embedding: max_norm must be positive, got -1.0"),
        (lambda: nn.embedding([0], W, sparse=True), ValueError, "gradients are dense"),
        (lambda: nn.Embedding(0, 2), ValueError, "Embedding: num_embeddings must be at least 1, got 0"),
        (lambda: nn.Embedding(3, 2.0), TypeError, "Embedding: embedding_dim must be an integer, got 2.0"),
        (lambda: nn.Embedding(3, 2, padding_idx=-4), ValueError, "Embedding: padding_idx=-4 is none of the 3 rows"),
        (lambda: nn.Embedding(3, 2, padding_idx=1.0), TypeError, "padding_idx must be an integer"),
        (lambda: nn.Embedding(3, 2, max_norm="1"), TypeError, "Embedding: max_norm must be a number, got '1'"),
        (lambda: nn.Embedding.from_pretrained(W[0]), ValueError, "Embedding: a table must have two axes"),
        (lambda: nn.Embedding.from_pretrained(W.to("int64")), TypeError, "Embedding: needs one floating-point dtype"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
