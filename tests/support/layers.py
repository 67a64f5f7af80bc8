"""A layer against PyTorch's of the same name."""

import numpy as np
import pytest

from microtensor import Tensor, nn


def check_layer(name, given, arguments, shape, call=()):
    """The same keys, numbers and gradients as PyTorch's layer with the same weights."""
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*given, **arguments).to("float64"), getattr(torch.nn, name)(*given, **arguments).double()
    state = ours.state_dict()
    assert [(key, value.shape) for key, value in state.items()] == [(k, tuple(v.shape)) for k, v in theirs.state_dict().items()]
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in state.items()})
    data = np.random.default_rng(0).standard_normal(shape)
    x, y = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    result, expected = ours(x, *call), theirs(y, *call)
    np.testing.assert_allclose(result.numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12, strict=True)
    g = np.random.default_rng(1).standard_normal(result.shape)
    result.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    pairs = [(x, y), *zip(ours.parameters(), theirs.parameters())]
    for mine, other in pairs:
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-9, atol=1e-11)
