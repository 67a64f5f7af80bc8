"""Local response normalisation: against its definition, errors. Gradients and PyTorch's values: test_operations.py."""

import numpy as np
import pytest

from microtensor import Tensor, nn


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 20])
def test_it_is_its_definition(size):
    x = np.random.default_rng(0).standard_normal((2, 6, 3, 3))
    expected = np.empty_like(x)
    for c in range(6):
        low = c - size // 2
        near = x[:, max(0, low) : low + size]
        expected[:, c] = x[:, c] / (2.0 + 0.5 * (near**2).sum(1) / size) ** 0.75
    np.testing.assert_allclose(nn.local_response_norm(Tensor(x), size, 0.5, 0.75, 2.0).numpy(), expected, rtol=1e-12)


def test_the_layer_is_pytorchs():
    torch = pytest.importorskip("torch")
    for settings in ({"size": 5}, {"size": 4, "alpha": 0.1, "beta": 0.5, "k": 2.0}):
        ours, theirs = nn.LocalResponseNorm(**settings), torch.nn.LocalResponseNorm(**settings)
        assert repr(ours) == repr(theirs)
        x = np.random.default_rng(0).standard_normal((2, 7, 3, 4)).astype(np.float32) * 10
        np.testing.assert_allclose(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), rtol=1e-5)


def test_squares_of_float16_do_not_overflow():
    x = Tensor(np.full((1, 3), 1000.0, np.float16))
    y = nn.local_response_norm(x, 3, alpha=1.0, beta=0.5)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy()[0, 1], 1.0, rtol=1e-2)


X = Tensor(np.ones((2, 4)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.local_response_norm(X, 0), ValueError, "local_response_norm: size must be at least 1, got 0"),
        (
            lambda: nn.local_response_norm(X[0], 2),
            ValueError,
            r"local_response_norm: x must have axes \(N, C, …\), got shape \(4,\)",
        ),
        (lambda: nn.local_response_norm(X.to("int64"), 2), TypeError, "floating-point dtype, got x int64"),
        (lambda: nn.LocalResponseNorm(2.5), TypeError, "LocalResponseNorm: size must be an integer, got 2.5"),
        (lambda: nn.LocalResponseNorm(2, alpha="1"), TypeError, "LocalResponseNorm: alpha must be a number, got '1'"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
