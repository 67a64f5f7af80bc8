"""Derivatives of functions, against PyTorch's; and the checkpoint, against what it replaces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor.functional import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from microtensor.gradcheck import check_gradients
from microtensor.testing import tensors

A = np.random.default_rng(0).standard_normal((3, 3))
vectors = tensors((3,))


def ours(x, y):
    return ((mt.Tensor(A) @ x).tanh() * y).exp()


def theirs(torch):
    return lambda x, y: ((torch.tensor(A) @ x).tanh() * y).exp()


def agree(found, expected):
    if isinstance(found, tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            agree(a, b)
    else:
        np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-12, strict=True)


@given(st.tuples(vectors, vectors), st.tuples(vectors, vectors), vectors)
def test_all_agree_with_pytorch(inputs, v, u):
    torch = pytest.importorskip("torch")
    functional, f = torch.autograd.functional, theirs(torch)
    x, w, t = (tuple(torch.tensor(a.numpy()) for a in group) for group in (inputs, v, (u,)))
    agree(jacobian(ours, inputs), functional.jacobian(f, x))
    agree(vjp(ours, inputs, u), functional.vjp(f, x, t[0]))
    agree(jvp(ours, inputs, v), functional.jvp(f, x, w))
    agree(hessian(lambda *a: ours(*a).sum(), inputs), functional.hessian(lambda *a: f(*a).sum(), x))
    agree(hvp(lambda *a: ours(*a).sum(), inputs, v), functional.hvp(lambda *a: f(*a).sum(), x, w))


@given(vectors)
def test_a_jacobian_can_be_differentiated(x):
    check_gradients(lambda x: jacobian(lambda z: (z * z * x).sum() + z[0] * z[1], x, create_graph=True), x)


def test_value_and_grad():
    value, (gx, gy) = value_and_grad(lambda x, y, scale: (x * y).sum() * scale, argnums=(0, 1))(
        mt.Tensor([2.0]), mt.Tensor([3.0]), scale=2
    )
    assert (value.item(), gx.item(), gy.item()) == (12.0, 6.0, 4.0)
    assert not value.requires_grad
    assert value_and_grad(lambda x: x.sum() * 0 + 1)(mt.Tensor([2.0]))[1].item() == 0.0


def test_functions_that_do_not_depend_on_their_input():
    x, one = mt.Tensor([1.0, 2.0]), mt.Tensor([1.0])
    assert jacobian(lambda x: one, x).tolist() == [[0.0, 0.0]]
    assert jvp(lambda x: one, x, x)[1].tolist() == [0.0]
    assert vjp(lambda x: one, x, one)[1].tolist() == [0.0, 0.0]
    assert hvp(lambda x: x.sum(), x, x)[1].tolist() == [0.0, 0.0]
    assert hessian(lambda x: x.sum(), x).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert jacobian(lambda x: x[:0], x).shape == (0, 2)


def test_the_inputs_own_graphs_are_left_alone():
    x = mt.Tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    jacobian(lambda z: z * z, y)
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_wrong_input_is_refused_in_words():
    x = mt.Tensor([1.0, 2.0])
    with pytest.raises(TypeError, match="jacobian: expected floating-point Tensors as inputs, got int64"):
        jacobian(lambda x: x, mt.Tensor(np.arange(2)))
    with pytest.raises(TypeError, match="hessian|jacobian|must return one Tensor, it returned tuple"):
        jacobian(lambda x: (x, x), x)
    with pytest.raises(ValueError, match=r"jvp: v must be a Tensor for each input, of its shape \(\(2,\)\)"):
        jvp(lambda x: x, x, mt.Tensor([1.0]))
    with pytest.raises(ValueError, match="jvp: a direction v is only implied"):
        jvp(lambda x: x, x)
    with pytest.raises(ValueError, match=r"output has shape \(2,\)"):
        value_and_grad(lambda x: x)(x)
