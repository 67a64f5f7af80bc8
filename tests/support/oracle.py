"""PyTorch as an oracle: the same call in both libraries."""

import numpy as np
import pytest

import microtensor as mt


def agree(name, array, *args, part=None, gradient=True, rtol=1e-9, atol=1e-12, **settings):
    """Check that the function `name` of a tensor gives the same numbers, dtype and gradient in both. Returns our result.

    Args:
        part: of a function that gives several tensors, the one of this name.
        gradient: compare the gradients too, for a random cotangent.
    """
    torch = pytest.importorskip("torch")
    array = np.asarray(array)
    gradient = gradient and array.dtype.kind == "f"
    x, theirs = mt.Tensor(array, requires_grad=gradient), torch.tensor(array, requires_grad=gradient)
    y, expected = (getattr(library, name)(t, *args, **settings) for library, t in ((mt, x), (torch, theirs)))
    if part is not None:
        y, expected = getattr(y, part), getattr(expected, part)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=rtol, atol=atol, strict=True)
    if expected.requires_grad:
        g = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
        (dx,) = mt.grad(y, x, mt.Tensor(g))
        (wanted,) = torch.autograd.grad(expected, theirs, torch.tensor(g))
        np.testing.assert_allclose(dx.numpy(), wanted.detach().numpy(), rtol=rtol, atol=atol, strict=True)
    return y


def operand(array):
    """A NumPy array, to stand beside a tensor. Beside one on a device it is refused, for it would be copied there: a tensor, then."""
    x = mt.Tensor(array)
    return array if x.device == "cpu" else x


def alike(call, array):
    """Check that `call` gives the same shape, dtype and numbers for a tensor of either library: one tensor, or several."""
    torch = pytest.importorskip("torch")
    results, expected = call(mt.Tensor(array)), call(torch.tensor(array))
    single = isinstance(results, mt.Tensor)
    assert single or len(results) == len(expected)
    for y, wanted in zip([results] if single else results, [expected] if single else expected):
        np.testing.assert_array_equal(y.numpy(), wanted.numpy(), strict=True)
