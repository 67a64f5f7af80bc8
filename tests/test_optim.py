"""Optimisers: PyTorch's numbers step by step, groups, states, and settings that mean nothing."""

import itertools
import sys

import numpy as np
import pytest
import stand_in

import microtensor as mt
from microtensor import Tensor
from microtensor.nn.linear import Linear
from microtensor.nn.module import Parameter
from microtensor.nn.optim import SGD, Adam, Optimizer

SHAPES = [(3, 4), (5,), ()]

SGDS = [
    {"lr": 0.1, "momentum": momentum, "dampening": dampening, "weight_decay": decay, "nesterov": nesterov, "maximize": maximize}
    for momentum, dampening, decay, nesterov, maximize in itertools.product(
        (0.0, 0.9), (0.0, 0.3), (0.0, 0.05), (False, True), (False, True)
    )
    if not nesterov or (momentum and not dampening)
]
ADAMS = [
    {"lr": lr, "betas": betas, "eps": eps, "weight_decay": decay, "amsgrad": amsgrad, "maximize": maximize}
    for lr, betas, eps, decay, amsgrad, maximize in itertools.product(
        (0.05,), ((0.9, 0.999), (0.5, 0.8)), (1e-8, 1e-2), (0.0, 0.05), (False, True), (False, True)
    )
]
CASES = [(SGD, settings) for settings in [{}, *SGDS]] + [(Adam, settings) for settings in [{}, *ADAMS]]


def show(value):
    return ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value.__name__


def walk(optimizer, parameters, gradients, tensor):
    """Ten steps; the first parameter misses one of them."""
    for i, step in enumerate(gradients):
        for p, g in zip(parameters, step):
            p.grad = tensor(g)
        if i == 4:
            parameters[0].grad = None
        optimizer.step()


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=show)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 2e-5)], ids=["float64", "float32"])
def test_ten_steps_are_pytorchs(kind, settings, dtype, rtol):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = [np.asarray(rng.standard_normal(s), dtype) for s in SHAPES]
    gradients = [[np.asarray(rng.standard_normal(s), dtype) for s in SHAPES] for _ in range(10)]
    ours = [Parameter(a.copy()) for a in start]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    optimizer, reference = kind(ours, **settings), getattr(torch.optim, kind.__name__)(theirs, **settings)
    walk(optimizer, ours, gradients, lambda g: Tensor(g.copy()))
    walk(reference, theirs, gradients, torch.tensor)
    for p, q, first in zip(ours, theirs, start):
        assert p.dtype == dtype
        assert (p.numpy() != first).all()
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=rtol, atol=rtol)
        assert all(v.dtype == dtype for v in optimizer.state[p].values() if isinstance(v, np.ndarray))


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_step_is_in_place_and_leaves_the_gradient(kind):
    p = Parameter(np.ones((2, 3), np.float32))
    optimizer = kind([p], lr=0.1, weight_decay=0.1)
    g = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    for _ in range(3):
        p.grad = Tensor(g.copy())
        kept = p.data
        optimizer.step()
        assert p.data is kept
        np.testing.assert_array_equal(p.grad.numpy(), g)
    assert p.requires_grad
    assert p.is_leaf


def test_a_step_between_forward_and_backward_is_refused():
    layer = Linear(2, 2)
    optimizer = SGD(layer.parameters(), lr=0.1)
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    y, z = layer(x).sum(), layer(x).sum()
    y.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="assigned to"):
        z.backward()


def test_parameters_without_a_gradient_stay():
    used, unused, frozen = Parameter([1.0]), Parameter([1.0]), Parameter([1.0], requires_grad=False)
    optimizer = SGD([used, unused, frozen], lr=0.1, weight_decay=0.5)
    (used * unused.detach() * frozen).sum().backward()
    optimizer.step()
    assert used.item() == pytest.approx(0.85)
    assert unused.item() == frozen.item() == 1.0
    optimizer.zero_grad()
    assert used.grad is None


@pytest.mark.parametrize(("kind", "settings"), [(SGD, {"lr": 0.1, "momentum": 0.5}), (Adam, {"lr": 0.3})])
def test_a_valley_is_descended_and_a_hill_climbed(kind, settings):
    for maximize in (False, True):
        p = Parameter([5.0, -3.0])
        optimizer = kind([p], **settings, maximize=maximize)
        for _ in range(150):
            optimizer.zero_grad()
            loss = ((p - Tensor([1.0, 2.0])) ** 2).sum()
            (-loss if maximize else loss).backward()
            optimizer.step()
        np.testing.assert_allclose(p.numpy(), [1, 2], atol=0.02)


# Groups


def test_groups_have_settings_of_their_own():
    torch = pytest.importorskip("torch")
    ours = [Parameter([1.0]), Parameter([2.0]), Parameter([3.0])]
    theirs = [torch.nn.Parameter(torch.tensor(p.tolist())) for p in ours]

    def make(kind, p):
        optimizer = kind([{"params": p[:1], "lr": 0.5}, {"params": p[1], "momentum": 0.9}], lr=0.1)
        optimizer.add_param_group({"params": [p[2]], "weight_decay": 0.2})
        return optimizer

    optimizer, reference = make(SGD, ours), make(torch.optim.SGD, theirs)
    for _ in range(2):
        for p, q in zip(ours, theirs):
            p.grad, q.grad = Tensor([1.0]), torch.tensor([1.0])
        optimizer.step()
        reference.step()
        optimizer.param_groups[0]["lr"] = reference.param_groups[0]["lr"] = 0.25
    for p, q in zip(ours, theirs):
        assert p.item() == pytest.approx(q.item())


def test_a_learning_rate_from_numpy_does_not_widen_anything():
    p = Parameter([1.0])
    for kind in (SGD, Adam):
        optimizer = kind([p], lr=np.float64(0.1))
        optimizer.param_groups[0]["lr"] = np.float64(0.2)
        p.grad = Tensor([1.0])
        optimizer.step()
        assert p.dtype == np.float32


# Saving and loading


@pytest.mark.parametrize(
    ("kind", "settings"), [(SGD, {"lr": 0.1, "momentum": 0.9}), (SGD, {}), (Adam, {"lr": 0.1, "amsgrad": True})]
)
def test_training_goes_on_from_a_state_as_if_it_had_never_stopped(kind, settings):
    rng = np.random.default_rng(0)
    gradients = [[rng.standard_normal(s).astype(np.float32) for s in SHAPES] for _ in range(10)]
    p = [Parameter(np.ones(s, np.float32)) for s in SHAPES]
    optimizer = kind(p, **settings)
    walk(optimizer, p, gradients[:5], lambda g: Tensor(g.copy()))
    q = [Parameter(t.numpy().copy()) for t in p]
    resumed = kind(q)
    state = optimizer.state_dict()
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for opt, params in ((optimizer, p), (resumed, q)):
        walk(opt, params, gradients[5:], lambda g: Tensor(g.copy()))
    for a, b in zip(p, q):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_state_has_pytorchs_form_and_pytorchs_loads():
    torch = pytest.importorskip("torch")
    ours, theirs = Parameter([1.0, 2.0]), torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer, reference = Adam([ours], lr=0.2), torch.optim.Adam([theirs], lr=0.1)
    for _ in range(2):
        ours.grad, theirs.grad = Tensor([1.0, -2.0]), torch.tensor([1.0, -2.0])
        optimizer.step()
        reference.step()
    ours.data[...] = theirs.detach().numpy()
    state, expected = optimizer.state_dict(), reference.state_dict()
    assert state["state"].keys() == expected["state"].keys()
    assert state["state"][0].keys() == expected["state"][0].keys()
    assert state["param_groups"][0].keys() <= expected["param_groups"][0].keys()
    memory = {key: np.array(value.numpy()) for key, value in expected["state"][0].items()}
    optimizer.load_state_dict({"state": {0: memory}, "param_groups": expected["param_groups"]})
    ours.grad, theirs.grad = Tensor([0.5, 0.5]), torch.tensor([0.5, 0.5])
    optimizer.step()
    reference.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-6)


def test_a_state_numbers_parameters_through_all_groups():
    p = [Parameter([float(i)]) for i in range(3)]
    optimizer = SGD([{"params": p[:2]}, {"params": p[2:], "lr": 0.5}], momentum=0.9)
    p[2].grad = Tensor([1.0])
    optimizer.step()
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2]]
    assert list(state["state"]) == [2]
    assert state["param_groups"][1]["lr"] == 0.5


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    p = [Parameter([1.0]), Parameter([1.0, 2.0])]
    optimizer, other = SGD(p, lr=0.1, momentum=0.9), SGD(p[::-1], lr=0.2, momentum=0.9)
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, this optimiser of \[1\]"):
        SGD(p[:1]).load_state_dict(optimizer.state_dict())
    for t in p:
        t.grad = t.detach().clone()
    other.step()
    with pytest.raises(ValueError, match="momentum_buffer"):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state


# What is refused


def test_what_is_no_sequence_of_parameters_is_refused():
    p, layer = Parameter([1.0]), Linear(2, 2)
    result = p * 2
    for error, message, params in (
        (ValueError, "there are no parameters", []),
        (ValueError, "there are no parameters", iter(())),
        (TypeError, "put it in a list", p),
        (TypeError, r"model\.parameters\(\)", layer),
        (TypeError, "parameter 1 must be a Tensor, got float", [p, 1.0]),
        (TypeError, "got tuple", list(layer.named_parameters())),
        (ValueError, "computed from others", [result]),
        (ValueError, "given twice", [p, p]),
        (ValueError, "given twice", [{"params": [p]}, {"params": [p]}]),
        (ValueError, "unknown setting learning_rate; a group may set lr", [{"params": [p], "learning_rate": 1}]),
        (TypeError, "a group is a dict", [{"params": [p]}, p]),
        (TypeError, "a group is a dict", [{"lr": 1}]),
    ):
        for kind in (SGD, Adam):
            with pytest.raises(error, match=f"{kind.__name__}: .*{message}"):
                kind(params)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SGD, {"lr": -0.1}, "lr must be at least 0, got -0.1"),
        (SGD, {"lr": float("nan")}, "lr must be"),
        (SGD, {"momentum": -1}, "momentum"),
        (SGD, {"weight_decay": -1}, "weight_decay"),
        (SGD, {"nesterov": True}, "nesterov"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
        (Adam, {"lr": -1}, "lr"),
        (Adam, {"eps": -1}, "eps"),
        (Adam, {"weight_decay": -1}, "weight_decay"),
        (Adam, {"betas": (1.0, 0.9)}, r"betas\[0\] must be at least 0 and less than 1, got 1.0"),
        (Adam, {"betas": (0.9, -0.1)}, r"betas\[1\]"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, message):
    p = Parameter([1.0])
    with pytest.raises(ValueError, match=f"{kind.__name__}: {message}"):
        kind([p], **settings)
    with pytest.raises(ValueError, match=message):
        kind([{"params": [p], **settings}])


def test_settings_that_are_no_numbers_are_refused():
    for kind, settings in ((SGD, {"lr": "0.1"}), (SGD, {"momentum": None}), (Adam, {"betas": 0.9}), (Adam, {"eps": [1]})):
        with pytest.raises(TypeError, match=kind.__name__):
            kind([Parameter([1.0])], **settings)


def test_a_gradient_of_another_shape_is_refused():
    p = Parameter([1.0, 2.0])
    p.grad = Tensor([1.0])
    with pytest.raises(ValueError, match=r"parameter \(2,\) has a gradient of another shape, \(1,\)"):
        SGD([p]).step()


# Optimisers of one's own, and other devices


def test_an_optimiser_is_a_short_rule():
    class SignSGD(Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def check(self, group):
            self._number(group, "lr")

        def update(self, p, g, state, group):
            p -= group["lr"] * np.sign(g)

    p = Parameter([1.0, -1.0])
    (p * p).sum().backward()
    SignSGD([p]).step()
    np.testing.assert_allclose(p.numpy(), [0.9, -0.9])
    with pytest.raises(NotImplementedError, match="check"):
        Optimizer([p], {})


@pytest.mark.parametrize(("kind", "settings"), [(SGD, {"momentum": 0.9, "nesterov": True}), (Adam, {"amsgrad": True})])
def test_on_a_device(monkeypatch, kind, settings):
    monkeypatch.setitem(sys.modules, "cupy", stand_in.cupy)
    results = []
    for device in ("cpu", "cuda"):
        mt.manual_seed(0)
        layer = Linear(3, 2).to(device)
        optimizer = kind(layer.parameters(), lr=0.1, weight_decay=0.1, **settings)
        for _ in range(3):
            optimizer.zero_grad()
            (layer(Tensor(np.ones((2, 3), np.float32)).to(device)) ** 2).sum().backward()
            optimizer.step()
        resumed = kind(layer.parameters())
        resumed.load_state_dict(optimizer.state_dict())
        resumed.step()
        results.append(layer.weight.to("cpu").detach().numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_the_state_of_pytorchs_adam_goes_on_as_it_would_there():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Parameter(torch.zeros(3))
    wanted = torch.optim.Adam([theirs], lr=0.1)
    gradients = [np.float32([1, -2, 0.5]) * (i + 1) for i in range(5)]

    def their_step(g):
        theirs.grad = torch.tensor(g)
        wanted.step()

    for g in gradients[:2]:
        their_step(g)
    ours = Parameter(theirs.detach().numpy().copy())
    optimizer = Adam([ours], lr=0.5)
    optimizer.load_state_dict(wanted.state_dict())
    for g in gradients[2:]:
        ours.grad = mt.Tensor(g)
        optimizer.step()
        their_step(g)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-5)


def test_a_state_that_does_not_fit_is_refused():
    p = Parameter([1.0])
    sgd, adam = SGD([p], lr=0.1, momentum=0.9), Adam([p])
    p.grad = mt.Tensor([1.0])
    sgd.step()
    with pytest.raises(
        ValueError, match=r"Adam: the state remembers \['momentum_buffer'\], this optimiser \['exp_avg', 'exp_avg_sq', 'step'\]"
    ):
        adam.load_state_dict(sgd.state_dict())
    with pytest.raises(TypeError, match='expected a dict with "state" and "param_groups"'):
        adam.load_state_dict({})
    wrong = Adam([p]).state_dict()
    wrong["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ValueError, match="lr"):
        adam.load_state_dict(wrong)
