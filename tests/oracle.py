"""PyTorch as an oracle: the same call in both libraries."""

import numpy as np
import pytest

import microtensor as mt


def agree(call, array, rtol=1e-9, atol=1e-12, gradient=True):
    """Check that `call(library, tensor)` gives the same numbers, dtype and gradient in both. Returns ours."""
    torch = pytest.importorskip("torch")
    array = np.asarray(array)
    gradient = gradient and array.dtype.kind == "f"
    x = mt.Tensor(array, requires_grad=gradient)
    theirs = torch.tensor(array, requires_grad=gradient)
    y, expected = call(mt, x), call(torch, theirs)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=rtol, atol=atol, strict=True)
    if expected.requires_grad:
        g = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
        (dx,) = mt.grad(y, x, mt.Tensor(g))
        (wanted,) = torch.autograd.grad(expected, theirs, torch.tensor(g))
        np.testing.assert_allclose(dx.numpy(), wanted.numpy(), rtol=rtol, atol=atol, strict=True)
    return y
