"""Padding layers are PyTorch's; errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.testing import tensors

KINDS = ["ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"]


@given(st.data(), st.sampled_from(KINDS), st.integers(1, 2))
def test_layers_are_pytorchs(data, kind, axes):
    torch = pytest.importorskip("torch")
    x = data.draw(tensors((2, 2, 4, 3)[: axes + 2]))
    room = st.integers(-1, 2)
    padding = data.draw(st.one_of(st.integers(0, 2), st.tuples(*[room] * 2 * axes)))
    value = (data.draw(st.sampled_from([0.0, -1.5, 2])),) if kind == "ConstantPad" else ()
    ours, theirs = (getattr(library, f"{kind}{axes}d")(padding, *value) for library in (nn, torch.nn))
    assert ours.padding == theirs.padding
    assert not ours.state_dict()
    leaf, theirs_leaf = x.clone().detach().requires_grad_(), torch.tensor(x.numpy(), requires_grad=True)
    y, expected = ours(leaf), theirs(theirs_leaf)
    np.testing.assert_array_equal(y.numpy(), expected.detach().numpy(), strict=True)
    g = np.random.default_rng(0).standard_normal(y.shape)
    (dx,) = mt.grad(y, leaf, Tensor(g))
    np.testing.assert_allclose(dx.numpy(), torch.autograd.grad(expected, theirs_leaf, torch.tensor(g))[0].numpy())


def test_a_single_image_needs_no_batch():
    assert nn.ReflectionPad2d(1)(Tensor(np.ones((3, 4, 5)))).shape == (3, 6, 7)


def test_layers_print_their_settings():
    assert repr(nn.ZeroPad2d(1)) == "ZeroPad2d(padding=(1, 1, 1, 1))"
    assert repr(nn.ConstantPad1d((1, 2), 3.5)) == "ConstantPad1d(padding=(1, 2), value=3.5)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.ZeroPad2d((1, 1)),
            ValueError,
            r"ZeroPad2d: padding must be one integer for all sides, or \(left, right, top, bottom\), got \(1, 1\)",
        ),
        (
            lambda: nn.CircularPad1d((1, 1, 1)),
            ValueError,
            r"CircularPad1d: padding must be .* \(left, right\), got \(1, 1, 1\)",
        ),
        (lambda: nn.ReflectionPad2d(0.5), TypeError, "ReflectionPad2d: padding must be integers, got 0.5"),
        (lambda: nn.ConstantPad2d(1, "0"), TypeError, "ConstantPad2d: value must be a number, got str"),
        (lambda: nn.ZeroPad2d(1)([[1.0]]), TypeError, "pad: expected a Tensor, got list"),
        (lambda: nn.ZeroPad2d(1)(Tensor([1.0])), ValueError, r"at most 1 pairs for shape \(1,\)"),
        (lambda: nn.ReflectionPad1d(3)(Tensor([[1.0, 2.0]])), ValueError, "to reflect 3 elements needs an axis of at least 4"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
