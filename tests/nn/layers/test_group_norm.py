"""Group and instance normalisation: the layers against PyTorch, what they have in common, errors. Gradients: test_operations.py."""

import sys

import numpy as np
import pytest
import strict

from microtensor import Tensor, nn


def filled(ours, theirs, torch, seed=0):
    """Both with the same random parameters."""
    rng = np.random.default_rng(seed)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        p.array = Tensor(rng.standard_normal(p.shape).astype(np.float32)).array
        q.data = torch.tensor(p.numpy().copy())
    return ours, theirs


@pytest.mark.parametrize("settings", [{}, {"eps": 0.1}, {"affine": False}, {"bias": False}])
@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 5), (2, 6, 3, 4)])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_is_pytorchs(groups, shape, settings):
    torch = pytest.importorskip("torch")
    if shape == (2, groups):
        shape = (2, 6, 1, 2)  # one value per group is refused, by PyTorch for a batch of one alone
    ours, theirs = nn.GroupNorm(groups, 6, **settings), torch.nn.GroupNorm(groups, 6, **settings)
    assert repr(ours) == repr(theirs)
    assert {k: v.tolist() for k, v in ours.state_dict().items()} == {k: v.tolist() for k, v in theirs.state_dict().items()}
    filled(ours, theirs, torch)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    g = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    leaf, there = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours(leaf), theirs(there)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    for a, b in zip([leaf, *ours.parameters()], [there, *theirs.parameters()]):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=2e-4, strict=True)


SETTINGS = [{}, {"affine": True}, {"track_running_stats": True}, {"affine": True, "track_running_stats": True, "momentum": 0.3}]


@pytest.mark.parametrize("settings", [*SETTINGS, {"affine": True, "bias": False}])
@pytest.mark.parametrize(("name", "shape"), [("InstanceNorm1d", (4, 3, 5)), ("InstanceNorm2d", (4, 3, 5, 6))])
def test_instance_norm_is_pytorchs_through_training_and_evaluation(name, shape, settings):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(3, **settings), getattr(torch.nn, name)(3, **settings)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    filled(ours, theirs, torch)
    rng = np.random.default_rng(1)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        x = rng.standard_normal(shape).astype(np.float32) * 3 + 1
        np.testing.assert_allclose(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5, atol=1e-6, strict=True)


def test_running_statistics_on_a_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = Tensor(np.random.default_rng(0).standard_normal((3, 2, 4, 5)).astype(np.float32))
    host, device = (nn.InstanceNorm2d(2, track_running_stats=True, momentum=0.3).to(where) for where in ("cpu", "cuda"))
    expected, found = host(x.to("cpu")), device(x.to("cuda"))
    for here, there in zip([expected, *host.buffers()], [found, *device.buffers()]):
        assert there.device == "cuda:0"
        np.testing.assert_allclose(there.to("cpu").numpy(), here.numpy(), rtol=1e-5)


def test_frozen_it_keeps_its_statistics_and_uses_them():
    x = Tensor(np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32) + 5)
    layer = nn.InstanceNorm2d(2, track_running_stats=True)
    layer(x)
    before, expected = layer.running_mean.numpy().copy(), layer.eval()(x).numpy()
    np.testing.assert_array_equal(layer.train().freeze()(x).numpy(), expected)
    np.testing.assert_array_equal(layer.running_mean.numpy(), before)


def test_one_group_and_as_many_groups_as_channels():
    x = Tensor(np.random.default_rng(0).standard_normal((3, 4, 5, 5)))
    np.testing.assert_allclose(nn.group_norm(x, 1).numpy(), nn.layer_norm(x, (4, 5, 5)).numpy(), atol=1e-12)
    np.testing.assert_allclose(nn.group_norm(x, 4).numpy(), nn.instance_norm(x).numpy(), atol=1e-12)


@pytest.mark.parametrize("value", [1.1, -1e4])
def test_a_group_that_does_not_vary_becomes_the_bias(value):
    x = Tensor(np.full((2, 4, 7, 7), value, np.float32))
    bias = Tensor(np.array([0, 1, 2, 3], np.float32))
    expected = np.broadcast_to(bias.numpy().reshape(4, 1, 1), x.shape)
    np.testing.assert_array_equal(nn.group_norm(x, 2, bias=bias).numpy(), expected)
    np.testing.assert_array_equal(nn.instance_norm(x, bias=bias).numpy(), expected)


def test_empty_batches():
    for layer in (nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)):
        y = layer(Tensor(np.zeros((0, 4, 3, 3), np.float32), requires_grad=True))
        assert y.shape == (0, 4, 3, 3)
        y.sum().backward()
        np.testing.assert_array_equal(layer.weight.grad.numpy(), 0)
    assert nn.group_norm(Tensor(np.zeros((2, 4, 0))), 2).shape == (2, 4, 0)


X, C = Tensor(np.ones((2, 4, 3, 3))), Tensor(np.ones(4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.group_norm(X, 3), ValueError, r"group_norm: num_groups=3 must divide the 4 channels of x \(2, 4, 3, 3\)"),
        (lambda: nn.group_norm(X, 0), ValueError, "num_groups must be at least 1, got 0"),
        (lambda: nn.group_norm(X, 2.0), TypeError, "num_groups must be an integer, got 2.0"),
        (
            lambda: nn.group_norm(X, 2, C[:2]),
            ValueError,
            r"group_norm: x \(2, 4, 3, 3\) has 4 channels, but weight has shape \(2,\)",
        ),
        (lambda: nn.group_norm(C, 2), ValueError, r"group_norm: x must have axes \(N, C, …\), got shape \(4,\)"),
        (lambda: nn.group_norm(X.to("int64"), 2), TypeError, "floating-point dtype, got x int64"),
        (lambda: nn.GroupNorm(3, 4), ValueError, "GroupNorm: num_groups=3 must divide num_channels=4"),
        (lambda: nn.GroupNorm(2, 4, eps=-0.1), ValueError, "GroupNorm: eps must be 0 or more"),
        (lambda: nn.GroupNorm(2, 6)(X), ValueError, r"GroupNorm: expected \(N, 6, …\), got shape \(2, 4, 3, 3\)"),
        (
            lambda: nn.group_norm(X[:, :, 0, 0], 4),
            ValueError,
            r"group_norm: x \(2, 4\) in 4 groups has one value per group of a sam",
        ),
        (
            lambda: nn.GroupNorm(4, 4)(X[:1, :, :1, :1].float()),
            ValueError,
            "one value per group of a sample, and a variance needs",
        ),
        (lambda: nn.instance_norm(X[:, :, :1, :1]), ValueError, "instance_norm: .* has one value per channel of a sample"),
        (lambda: nn.instance_norm(X, use_input_stats=False), ValueError, "without running statistics"),
        (lambda: nn.instance_norm(X, C[:2], C), ValueError, "4 channels, but running_mean has shape"),
        (
            lambda: nn.InstanceNorm2d(4)(X[0]),
            ValueError,
            r"InstanceNorm2d: expected images \(N, 4, H, W\), got .*; a single sample: x\[None\]",
        ),
        (lambda: nn.InstanceNorm1d(4)(X), ValueError, r"InstanceNorm1d: expected \(N, 4, L\), got shape \(2, 4, 3, 3\)"),
        (lambda: nn.InstanceNorm2d(4, momentum=None), TypeError, "InstanceNorm2d: momentum must be a number, got None"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
