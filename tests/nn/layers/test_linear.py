"""Fully connected layers against PyTorch and numerical gradients, their errors; Flatten, Unflatten and Identity."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor
from microtensor.gradcheck import check_gradients
from microtensor.nn.layers.linear import Bilinear, Flatten, Identity, Linear, Unflatten, linear
from microtensor.testing import shapes, tensors


@st.composite
def inputs(draw):
    """x (…, in) with none to two leading axes, a weight, a bias or none."""
    lead, count, out = draw(shapes(max_dims=2)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    bias = [draw(tensors((out,)))] if draw(st.booleans()) else []
    return [draw(tensors((*lead, count))), draw(tensors((out, count))), *bias]


@given(inputs())
def test_gradients_to_second_order(arguments):
    check_gradients(linear, *arguments, order=2)


@given(inputs(), st.integers(0, 99))
def test_values_and_gradients_are_pytorchs(arguments, seed):
    torch = pytest.importorskip("torch")
    ours = [x.requires_grad_() for x in arguments]
    theirs = [torch.tensor(x.detach().numpy(), requires_grad=True) for x in arguments]
    y, expected = linear(*ours), torch.nn.functional.linear(*theirs)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12, strict=True)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-12, strict=True)


def test_an_array_is_a_constant_and_an_empty_batch_is_fine():
    layer = Linear(3, 2)
    assert layer(np.ones((4, 3), np.float32)).shape == (4, 2)
    y = layer(Tensor(np.zeros((0, 3), np.float32)))
    assert y.shape == (0, 2)
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), 0)


def test_initial_values():
    layer = Linear(400, 500)
    for p in layer.parameters():
        assert p.dtype == np.float32
        assert np.abs(p.numpy()).max() <= 1 / math.sqrt(400)
        assert p.numpy().std() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.1)
    again = [Linear(3, 2, generator=mt.Generator(7)).weight.tolist() for _ in range(2)]
    assert again[0] == again[1] != Linear(3, 2, generator=mt.Generator(8)).weight.tolist()


def test_without_bias():
    layer = Linear(3, 2, bias=False)
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    assert layer(Tensor([[1.0, 2.0, 3.0]])).shape == (1, 2)


def test_a_wrong_number_of_features_is_named():
    with pytest.raises(ValueError, match=r"takes 84 numbers .* but x \(64, 120\) has 120$"):
        Linear(84, 10)(Tensor(np.zeros((64, 120), np.float32)))
    with pytest.raises(ValueError, match=r"takes 400 .* x \(2, 16, 5, 5\) has 5; flatten it first"):
        Linear(400, 10)(Tensor(np.zeros((2, 16, 5, 5), np.float32)))
    with pytest.raises(ValueError, match="no axis"):
        Linear(1, 1)(Tensor(1.0))


def test_what_does_not_fit_is_refused():
    x, w = Tensor(np.zeros((2, 3))), Tensor(np.zeros((4, 3)))
    for error, arguments in (
        (ValueError, (x, Tensor(np.zeros(3)))),
        (ValueError, (x, w, Tensor(np.zeros(3)))),
        (ValueError, (x, w, Tensor(np.zeros((1, 4))))),
        (TypeError, (x, w, 1.0)),
        (TypeError, (x, 2)),
        (TypeError, (x, None)),
        (TypeError, (None, w)),
        (TypeError, ([[1.0, 2.0, 3.0]], w)),
        (TypeError, (x.to("float32"), w)),
        (TypeError, (x.to("int64"), w.to("int64"))),
    ):
        with pytest.raises(error, match="linear: "):
            linear(*arguments)


@pytest.mark.parametrize("counts", [(0, 1), (1, 0), (-3, 2), (2.0, 3), ("3", 2)])
def test_a_number_of_features_must_be_a_integer(counts):
    with pytest.raises(ValueError, match="features must be an integer"):
        Linear(*counts)


@given(tensors(shapes(min_dims=1, max_dims=4)), st.data())
def test_flatten_is_pytorchs(x, data):
    torch = pytest.importorskip("torch")
    start = data.draw(st.integers(0, x.ndim - 1))
    end = data.draw(st.integers(start, x.ndim - 1))
    for a, b in ((start, end), (start - x.ndim, end - x.ndim)):
        expected = torch.nn.Flatten(a, b)(torch.tensor(x.numpy())).numpy()
        np.testing.assert_array_equal(Flatten(a, b)(x).numpy(), expected, strict=True)
    check_gradients(Flatten(start, end), x, order=2)


def test_flatten_keeps_the_batch_and_identity_all():
    x = Tensor(np.zeros((2, 3, 4, 5)))
    assert Flatten()(x).shape == (2, 60)
    assert Identity()(x) is x
    assert Identity(54, unused=True)(x) is x


@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_is_pytorchs(bias):
    torch = pytest.importorskip("torch")
    ours, theirs = Bilinear(3, 4, 5, bias), torch.nn.Bilinear(3, 4, 5, bias)
    assert repr(ours) == repr(theirs)
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert p.shape == q.shape
        q.data = torch.tensor(p.numpy().copy())
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((2, 6, n)).astype(np.float32) for n in (3, 4)]
    leaves, there = [Tensor(x, requires_grad=True) for x in inputs], [torch.tensor(x, requires_grad=True) for x in inputs]
    y, expected = ours(*leaves), theirs(*there)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6, strict=True)
    g = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    for a, b in zip([*leaves, *ours.parameters()], [*there, *theirs.parameters()]):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-5, strict=True)


def test_bilinear_starts_as_pytorchs_and_refuses_what_does_not_fit():
    layer = Bilinear(400, 3, 20, generator=mt.Generator(0))
    for p in layer.parameters():
        assert np.abs(p.numpy()).max() <= 1 / math.sqrt(400)
    assert layer.weight.numpy().std() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.05)
    for counts in ((0, 1, 1), (1, 2.0, 1), (1, 1, True)):
        with pytest.raises(ValueError, match="Bilinear: .*features must be an integer of 1 or more"):
            Bilinear(*counts)
    with pytest.raises(ValueError, match=r"bilinear: weight \(1, 2, 3\) takes x1 \(…, 2\) and x2 \(…, 3\)"):
        Bilinear(2, 3, 1)(Tensor([[1.0, 2.0]]), Tensor([[1.0]]))


def test_unflatten_undoes_flatten():
    torch = pytest.importorskip("torch")
    x = Tensor(np.arange(24.0).reshape(2, 12))
    for dim, sizes in ((1, (3, 4)), (-1, (2, -1, 3)), (0, [2, 1])):
        layer, theirs = Unflatten(dim, sizes), torch.nn.Unflatten(dim, tuple(sizes))
        np.testing.assert_array_equal(
            layer(x).numpy(), torch.tensor(x.numpy()).unflatten(dim, tuple(sizes)).numpy(), strict=True
        )
        assert repr(layer) == repr(theirs)
    assert Flatten()(Unflatten(1, (3, 4))(x)).tolist() == x.tolist()
    check_gradients(Unflatten(1, (3, 4)), x, order=2)
    with pytest.raises(TypeError, match="Unflatten: dim must be an integer, got '1'"):
        Unflatten("1", (2, 2))
    with pytest.raises(TypeError, match="Unflatten: unflattened_size must be integers, got 2.5"):
        Unflatten(1, 2.5)
    with pytest.raises(ValueError, match="unflatten"):
        Unflatten(1, (5, 5))(x)
