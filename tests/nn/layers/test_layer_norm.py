"""Layer and RMS normalisation, and normalize: the layers against PyTorch, hard numbers, errors. Gradients: test_operations.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.testing import shapes, tensors


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("LayerNorm", {}),
        ("LayerNorm", {"eps": 0.1}),
        ("LayerNorm", {"bias": False}),
        ("LayerNorm", {"elementwise_affine": False}),
        ("RMSNorm", {}),
        ("RMSNorm", {"eps": 0.1}),
        ("RMSNorm", {"elementwise_affine": False}),
    ],
)
@pytest.mark.parametrize("lengths", [6, (6,), [4, 6]])
def test_the_layer_is_pytorchs(name, settings, lengths):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(lengths, **settings), getattr(torch.nn, name)(lengths, **settings)
    assert repr(ours) == repr(theirs)
    assert {k: v.tolist() for k, v in ours.state_dict().items()} == {k: v.tolist() for k, v in theirs.state_dict().items()}
    rng = np.random.default_rng(0)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        p.array = Tensor(rng.standard_normal(p.shape).astype(np.float32)).array
        q.data = torch.tensor(p.numpy().copy())
    x = rng.standard_normal((3, 4, 6)).astype(np.float32) * 3 + 1
    g = rng.standard_normal(x.shape).astype(np.float32)
    leaf, there = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours(leaf), theirs(there)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ours.eval()(leaf).numpy(), y.numpy())
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    for a, b in zip([leaf, *ours.parameters()], [there, *theirs.parameters()]):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-5, strict=True)


@given(tensors(shapes(min_dims=2)), st.integers(0, 99))
def test_the_fast_gradient_is_the_recorded_one(x, seed):
    rng = np.random.default_rng(seed)
    leaves = [x.requires_grad_(), *(Tensor(rng.standard_normal(x.shape[-1:]), requires_grad=True) for _ in range(2))]
    y = nn.layer_norm(leaves[0], x.shape[-1:], *leaves[1:], eps=0.1)
    g = Tensor(rng.standard_normal(y.shape))
    fast, recorded = mt.grad(y, leaves, g, retain_graph=True), mt.grad(y, leaves, g, create_graph=True)
    for a, b in zip(fast, recorded):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9, strict=True)


@pytest.mark.parametrize("wanted", [[0], [1], [2], [0, 1], [0, 2], [1, 2]])
def test_each_gradient_alone_and_again_for_another_cotangent(wanted):
    rng = np.random.default_rng(0)
    full = [Tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 3, 5), (5,), (5,))]
    some = [t if i in wanted else t.detach() for i, t in enumerate(full)]
    part = nn.layer_norm(some[0], 5, *some[1:])
    for _ in range(2):
        g = Tensor(rng.standard_normal(part.shape))
        expected = mt.grad(nn.layer_norm(full[0], 5, *full[1:]), full, g)
        for i, found in zip(wanted, mt.grad(part, [some[i] for i in wanted], g, retain_graph=True)):
            np.testing.assert_allclose(found.numpy(), expected[i].numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("value", [1.1, -1e4, 12345.678])
@pytest.mark.parametrize("width", [2, 7, 192, 1000])
def test_a_sample_that_does_not_vary_becomes_the_bias(value, width):
    x = Tensor(np.full((5, width), value, np.float32))
    np.testing.assert_array_equal(nn.layer_norm(x, width).numpy(), 0)
    np.testing.assert_array_equal(nn.layer_norm(x, width, bias=Tensor(np.full(width, 3.0, np.float32))).numpy(), 3)


def test_far_from_0_and_in_float16():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((8, 500)) + 1000).astype(np.float32)
    y = nn.layer_norm(Tensor(x), 500).numpy()
    exact = (x - x.mean(1, keepdims=True, dtype=np.float64)) / np.sqrt(x.var(1, keepdims=True, dtype=np.float64) + 1e-5)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)
    half = (rng.standard_normal((8, 500)) * 50 + 300).astype(np.float16)  # squares beyond what float16 holds
    for name in ("LayerNorm", "RMSNorm"):
        layer, leaf = getattr(nn, name)(500).to("float16"), Tensor(half, requires_grad=True)
        y = layer(leaf)
        assert y.dtype == np.float16
        np.testing.assert_allclose(
            y.numpy(), getattr(nn, name)(500)(Tensor(half.astype(np.float32))).numpy(), rtol=4e-3, atol=2e-3
        )
        y.backward(Tensor(rng.standard_normal(y.shape).astype(np.float16)))
        assert leaf.grad.dtype == np.float16
        assert np.isfinite(leaf.grad.numpy()).all()


def test_an_empty_batch():
    for layer in (nn.LayerNorm(3), nn.RMSNorm(3)):
        y = layer(Tensor(np.zeros((0, 3), np.float32), requires_grad=True))
        assert y.shape == (0, 3)
        y.sum().backward()
        np.testing.assert_array_equal(layer.weight.grad.numpy(), 0)


def test_normalize_of_zeros():
    x = Tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    y = nn.normalize(x)
    assert y.numpy() == pytest.approx(np.array([[0, 0], [0.6, 0.8]]))


X = Tensor(np.ones((2, 3, 4)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.layer_norm(X, 3),
            ValueError,
            r"layer_norm: the last axes of x \(2, 3, 4\) must be normalized_shape \(3,\)",
        ),
        (lambda: nn.layer_norm(X, (1, 2, 3, 4)), ValueError, "the last axes of x"),
        (lambda: nn.layer_norm(X, ()), ValueError, r"normalized_shape must name one axis or more, .* got \(\)"),
        (lambda: nn.layer_norm(X, 4.0), TypeError, "normalized_shape must be integers, got 4.0"),
        (
            lambda: nn.layer_norm(X, 4, X),
            ValueError,
            r"layer_norm: weight must have normalized_shape \(4,\), got shape \(2, 3, 4\)",
        ),
        (lambda: nn.layer_norm(X, 4, None, Tensor(np.ones(3))), ValueError, "bias must have normalized_shape"),
        (
            lambda: nn.layer_norm(X, 4, Tensor([1.0] * 4)),
            TypeError,
            "layer_norm: needs one floating-point dtype, got x float64, weight",
        ),
        (lambda: nn.layer_norm([1.0], 1), TypeError, "layer_norm: expected a Tensor"),
        (lambda: nn.rms_norm(X, 3), ValueError, "rms_norm: the last axes of x"),
        (lambda: nn.LayerNorm(0), ValueError, "LayerNorm: the numbers of normalized_shape must be at least 1, got 0"),
        (lambda: nn.LayerNorm("4"), TypeError, "LayerNorm: normalized_shape must be integers, got '4'"),
        (lambda: nn.LayerNorm(4, eps="a"), TypeError, "LayerNorm: eps must be a number, got 'a'"),
        (lambda: nn.RMSNorm(4, eps=-1.0), ValueError, "RMSNorm: eps must be 0 or more, got -1.0"),
        (lambda: nn.LayerNorm(3)(X.to("float32")), ValueError, "the last axes of x"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
