"""Optimizers: as in PyTorch step by step, groups, states, and invalid settings."""

import inspect
import math
import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st
from optimizers import KINDS, OPTIONS

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.nn.layers.linear import Linear
from microtensor.nn.module import Parameter
from microtensor.nn.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from microtensor.nn.optim import optimizer as shared
from microtensor.nn.optim.optimizer import Optimizer

SHAPES = [(3, 4), (5,), (), (2, 0), (7, 3, 2)]


def draw(rng, dtype):
    return [np.asarray(rng.standard_normal(s), dtype) for s in SHAPES]


def walk(optimizer, parameters, gradients, tensor):
    """A step for each list of gradients; the first parameter has none at one step, the last at all."""
    for i, step in enumerate(gradients):
        for p, g in zip(parameters[:-1], step):
            p.grad = tensor(g)
        if i == 4:
            parameters[0].grad = None
        optimizer.step()


def assert_close(ours, theirs, dtype):
    """In float32, to 10⁻⁶ of the largest element."""
    wanted = [q.detach().numpy() for q in theirs]
    largest = max(np.abs(q).max(initial=0) for q in wanted)
    for p, q in zip(ours, wanted):
        assert p.dtype == dtype
        np.testing.assert_allclose(p.numpy(), q, rtol=0, atol=largest * (1e-6 if dtype == np.float32 else 1e-13))


def follow_pytorch(kind, settings, dtype, seed=0, block_bytes=1 << 17):
    """Ten steps compared with PyTorch's, then ten of a new optimizer that loads PyTorch's state."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    start, gradients = draw(rng, dtype), [draw(rng, dtype) for _ in range(20)]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    reference = getattr(torch.optim, kind.__name__)(theirs, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "BLOCK_BYTES", block_bytes)
        ours = [Parameter(a.copy()) for a in start]
        optimizer = kind(ours, **settings)
        walk(optimizer, ours, gradients[:10], lambda g: Tensor(g.copy()))
        walk(reference, theirs, gradients[:10], torch.tensor)
        assert_close(ours, theirs, dtype)
        assert all(v.dtype == dtype for p in ours[:-1] for v in optimizer.state[p].values() if isinstance(v, np.ndarray))

        resumed = [Parameter(q.detach().numpy().copy()) for q in theirs]
        optimizer = kind(resumed, lr=0.7)
        optimizer.load_state_dict(reference.state_dict())
        walk(optimizer, resumed, gradients[10:], lambda g: Tensor(g.copy()))
        walk(reference, theirs, gradients[10:], torch.tensor)
        assert_close(resumed, theirs, dtype)


EACH = [
    (SGD, {"weight_decay": 0.05, "maximize": True}),
    (SGD, {"momentum": 0.9, "dampening": 0.3}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    (Adam, {"betas": (0.5, 0.8), "eps": 1e-2, "maximize": True}),
    (Adam, {"amsgrad": True, "weight_decay": 0.05}),
    (Adam, {"decoupled_weight_decay": True, "weight_decay": 0.05}),
    (AdamW, {"weight_decay": 0.5}),
    (AdamW, {"amsgrad": True, "maximize": True}),
    (RMSprop, {"alpha": 0.5, "eps": 1e-2, "weight_decay": 0.05, "maximize": True}),
    (RMSprop, {"momentum": 0.9}),
    (RMSprop, {"momentum": 0.5, "centered": True, "weight_decay": 0.05}),
    (Adagrad, {"lr_decay": 0.1, "eps": 1e-2}),
    (Adagrad, {"initial_accumulator_value": 0.5, "weight_decay": 0.05, "maximize": True}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "settings"), [*((kind, {}) for kind in KINDS), *EACH])
def test_each_option_is_pytorchs(kind, settings, dtype):
    follow_pytorch(kind, {"lr": 0.1, **settings} if settings else {}, dtype)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data(), st.sampled_from([np.float32, np.float64]), st.integers(0, 999), st.sampled_from([16, 1 << 17]))
def test_all_options_together_are_pytorchs(kind, data, dtype, seed, block_bytes):
    follow_pytorch(kind, data.draw(OPTIONS[kind]), dtype, seed, block_bytes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_and_defaults_are_pytorchs(kind):
    torch = pytest.importorskip("torch")
    ours, theirs = (inspect.signature(k).parameters for k in (kind, getattr(torch.optim, kind.__name__)))
    missing = {"foreach", "fused", "capturable", "differentiable"}
    positional = [name for name, p in theirs.items() if p.kind is not p.KEYWORD_ONLY and name not in missing | {"maximize"}]
    assert [name for name, p in ours.items() if p.kind is not p.KEYWORD_ONLY] == positional
    assert {name: p.default for name, p in ours.items()} == {
        name: p.default for name, p in theirs.items() if name not in missing
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_in_place_and_leaves_the_gradient(kind):
    p = Parameter(np.ones((2, 3), np.float32))
    optimizer = kind([p], lr=0.1, weight_decay=0.1, maximize=True)
    g = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    for _ in range(3):
        p.grad = Tensor(g.copy())
        kept = p.array
        optimizer.step()
        assert p.array is kept
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


@pytest.mark.parametrize(
    ("kind", "settings"), [(SGD, {"lr": 0.1, "momentum": 0.5}), (Adam, {"lr": 0.3}), (Adagrad, {"lr": 1.0})]
)
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
    ("kind", "settings"),
    [
        (SGD, {"lr": 0.1, "momentum": 0.9}),
        (SGD, {}),
        (Adam, {"lr": 0.1, "amsgrad": True}),
        (AdamW, {}),
        (RMSprop, {"momentum": 0.5, "centered": True}),
        (Adagrad, {"lr_decay": 0.1}),
    ],
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


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SGD, {}),
        (SGD, {"momentum": 0.9}),
        (Adam, {"amsgrad": True}),
        (AdamW, {}),
        (RMSprop, {}),
        (RMSprop, {"momentum": 0.5, "centered": True}),
        (Adagrad, {}),
    ],
)
def test_the_state_has_pytorchs_keys_and_loads_there(kind, settings):
    torch = pytest.importorskip("torch")
    ours, theirs = Parameter([1.0, 2.0]), torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer, reference = (
        k([p], lr=0.1, **settings) for k, p in ((kind, ours), (getattr(torch.optim, kind.__name__), theirs))
    )

    def both_step(g):
        ours.grad, theirs.grad = Tensor(g), torch.tensor(g)
        optimizer.step()
        reference.step()

    both_step([1.0, -2.0])
    state, expected = optimizer.state_dict(), reference.state_dict()
    assert state["state"].keys() == expected["state"].keys()
    assert [memory.keys() for memory in state["state"].values()] == [memory.keys() for memory in expected["state"].values()]
    only_there = {"foreach", "fused", "capturable", "differentiable"}
    assert state["param_groups"][0].keys() == expected["param_groups"][0].keys() - only_there
    for memory in state["state"].values():
        memory.update({key: torch.tensor(v.numpy()) for key, v in memory.items() if isinstance(v, Tensor)})
    reference.load_state_dict(state)
    both_step([0.5, 0.5])
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
        (TypeError, r"got tuple; pass model.parameters\(\), without the names", list(layer.named_parameters())),
        (TypeError, r"got dict; pass model.parameters\(\)", layer.state_dict()),
        (ValueError, "computed from others", [result]),
        (ValueError, "given twice", [p, p]),
        (ValueError, "given twice", [{"params": [p]}, {"params": [p]}]),
        (ValueError, "unknown setting learning_rate; a group may set lr", [{"params": [p], "learning_rate": 1}]),
        (TypeError, "a group is a dict", [{"params": [p]}, p]),
        (TypeError, "a group is a dict", [{"lr": 1}]),
        (TypeError, "got set; put what there is in a list, in an order", {p}),
        (TypeError, r"of a group must be a sequence of Tensors, got Linear; pass model\.parameters", [{"params": layer}]),
        (TypeError, "of a group must be a sequence of Tensors, got NoneType", [{"params": None}]),
    ):
        for kind in KINDS:
            with pytest.raises(error, match=f"{kind.__name__}: .*{message}"):
                kind(params)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SGD, {"lr": -0.1}, "lr must be at least 0 and finite, got -0.1"),
        (SGD, {"lr": float("inf")}, "lr must be at least 0 and finite, got inf"),
        (SGD, {"momentum": 0.9, "dampening": -1}, "dampening"),
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
        (AdamW, {"betas": (0.9, 1.5)}, r"betas\[1\]"),
        (RMSprop, {"alpha": 1.5}, "alpha must be at most 1, got 1.5"),
        (RMSprop, {"momentum": -0.5}, "momentum"),
        (Adagrad, {"lr_decay": -0.5}, "lr_decay"),
        (Adagrad, {"initial_accumulator_value": -0.5}, "initial_accumulator_value"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, message):
    p = Parameter([1.0])
    with pytest.raises(ValueError, match=f"{kind.__name__}: {message}"):
        kind([p], **settings)
    with pytest.raises(ValueError, match=message):
        kind([{"params": [p], **settings}])


def test_settings_that_are_no_numbers_are_refused():
    for kind, settings, message in (
        (SGD, {"lr": "0.1"}, "lr must be a number, got '0.1'"),
        (SGD, {"lr": True}, "lr must be a number, got True"),
        (SGD, {"momentum": None}, "momentum must be a number, got None"),
        (SGD, {"nesterov": 0.9}, "nesterov must be True or False, got 0.9"),
        (Adam, {"betas": 0.9}, "betas must be a pair of numbers, got 0.9"),
        (Adam, {"eps": [1]}, "eps must be a number"),
        (AdamW, {"amsgrad": 1}, "amsgrad must be True or False, got 1"),
        (RMSprop, {"centered": "no"}, "centered must be True or False"),
        (Adagrad, {"maximize": None}, "maximize must be True or False"),
    ):
        with pytest.raises(TypeError, match=f"{kind.__name__}: {message}"):
            kind([Parameter([1.0])], **settings)


def test_a_gradient_of_another_shape_is_refused():
    p = Parameter([1.0, 2.0])
    with pytest.raises(ValueError, match=r"grad: expected the shape of the tensor, \(2,\), got \(1,\)"):
        p.grad = Tensor([1.0])
    p.grad = Tensor([1.0, 1.0])
    p.grad.array = Tensor([1.0]).array
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


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SGD, {"momentum": 0.9, "nesterov": True}),
        (Adam, {"amsgrad": True}),
        (AdamW, {"maximize": True}),
        (RMSprop, {"momentum": 0.9, "centered": True}),
        (Adagrad, {}),
    ],
)
def test_on_a_device(monkeypatch, kind, settings):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
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


def test_the_memory_goes_where_the_model_goes(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    layer, stays = Linear(2, 2, generator=mt.Generator(0)), Linear(2, 2, generator=mt.Generator(0))
    optimizers = [Adam(model.parameters(), lr=0.1) for model in (layer, stays)]
    for target in (None, "cuda", "float64", "cpu"):
        if target:
            layer.to(target)
        if target == "float64":
            stays.to(target)
        for model, optimizer in zip((layer, stays), optimizers):
            model.weight.grad = model.weight.detach() * 0 + 1
            optimizer.step()
    np.testing.assert_allclose(layer.weight.numpy(), stays.weight.numpy(), rtol=1e-12)


def test_a_parameter_of_another_shape_is_refused():
    p = Parameter([1.0, 2.0])
    optimizer = Adam([p])
    p.grad = Tensor([1.0, 1.0])
    optimizer.step()
    p.array, p.grad = Tensor([1.0, 1.0, 1.0]).array, Tensor([1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"Adam: exp_avg of the state has shape \(2,\), its parameter \(3,\)"):
        optimizer.step()


def test_settings_may_change_between_steps():
    torch = pytest.importorskip("torch")
    ours, theirs = Parameter([1.0, 2.0]), torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer, reference = RMSprop([ours], lr=0.1), torch.optim.RMSprop([theirs], lr=0.1)
    for lr, momentum in ((0.1, 0.0), (0.2, 0.0), (0.05, 0.0)):
        for o in (optimizer, reference):
            o.param_groups[0].update(lr=lr, momentum=momentum)
        ours.grad, theirs.grad = Tensor([1.0, -1.0]), torch.tensor([1.0, -1.0])
        optimizer.step()
        reference.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-6)
    optimizer.param_groups[0]["momentum"] = 0.9  # momentum is switched on later
    optimizer.step()
    sgd = SGD([ours], lr=0.1, momentum=0.9)
    sgd.step()
    sgd.param_groups[0]["momentum"] = 0.0
    sgd.load_state_dict(sgd.state_dict())  # a momentum buffer is kept without momentum too


def test_a_variance_that_rounding_makes_negative_is_0():
    p = Parameter(np.zeros(1000, np.float32))
    optimizer = RMSprop([p], lr=1e-9, alpha=0.5, centered=True)
    p.grad = Tensor(np.random.default_rng(0).standard_normal(1000).astype(np.float32))
    for _ in range(40):
        optimizer.step()
    assert np.isfinite(p.numpy()).all()


def test_gradients_set_to_zeros_are_zeros():
    p = Parameter([1.0, 2.0])
    optimizer = SGD([p])
    p.grad = Tensor([np.nan, 1.0])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]


def test_it_prints_its_groups():
    p = [Parameter([1.0]), Parameter([2.0]), Parameter([3.0])]
    assert repr(Adagrad([{"params": p[:1]}, {"params": p[1:], "lr": 0.5}])) == (
        "Adagrad(\n"
        "  1 parameters: lr=0.01, lr_decay=0.0, eps=1e-10, weight_decay=0.0, initial_accumulator_value=0.0, maximize=False\n"
        "  2 parameters: lr=0.5, lr_decay=0.0, eps=1e-10, weight_decay=0.0, initial_accumulator_value=0.0, maximize=False\n"
        ")"
    )


def test_a_state_of_adam_is_none_of_adamw():
    p = Parameter([1.0])
    with pytest.raises(ValueError, match="AdamW: decoupled_weight_decay must be True"):
        AdamW([p]).load_state_dict(Adam([p]).state_dict())


def test_groups_with_and_without_decay():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    model[2].requires_grad_(False)
    groups = nn.decay_groups(model, 0.1)
    assert [[p.shape for p in group["params"]] for group in groups] == [[(2, 1, 3, 3)], [(2,), (2,), (2,)]]
    assert [group["weight_decay"] for group in AdamW(groups).param_groups] == [0.1, 0.0]
    assert len(nn.decay_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1
    with pytest.raises(TypeError, match="decay_groups: expected a Module, got list"):
        nn.decay_groups([], 0.1)


def test_an_iterator_that_was_used_up_is_refused_everywhere():
    """`params = model.parameters(); SGD(params); clip_grad_norm_(params, 1)`: the iterator is used up by SGD."""
    layer = Linear(2, 2)
    for take in (
        nn.SGD,
        lambda params: nn.SGD([{"params": [Parameter([1.0])]}, {"params": params}]),
        lambda params: nn.SGD([Parameter([1.0])], lr=0.1).add_param_group({"params": params}),
        lambda params: nn.clip_grad_norm_(params, 1.0),
        lambda params: nn.clip_grad_value_(params, 1.0),
        nn.ExponentialMovingAverage,
        lambda params: nn.ExponentialMovingAverage([Parameter([1.0])]).copy_to(params),
    ):
        for used in (layer.parameters(), (p for p in layer.parameters()), iter([]), filter(None, []), map(id, [])):
            list(used)
            with pytest.raises(
                ValueError, match=r"there are no parameters: the iterator was used up before, .* list\(model.param"
            ):
                take(used)
    assert nn.clip_grad_norm_([], 1.0).item() == 0.0  # an empty list is not an error
    nn.clip_grad_value_((), 1.0)
    nn.SGD([{"params": [Parameter([1.0])]}, {"params": []}])


def test_a_parameter_in_read_only_memory_is_told():
    array = np.ones(2)
    array.flags.writeable = False
    p = Parameter(Tensor(array, device="cpu"))
    p.grad = Tensor(np.ones(2), device="cpu")
    with pytest.raises(
        ValueError, match=r"SGD.step: the memory of a parameter \(2,\) is read-only, .*: p.array = p.array.copy\(\)"
    ):
        nn.SGD([p], lr=1.0).step()
    p.array = p.array.copy()
    nn.SGD([p], lr=1.0).step()
    assert p.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("step", [math.nan, -1, 0.5, "one", None])
def test_a_step_of_the_state_that_is_none_is_refused(step):
    p = Parameter([1.0])
    optimizer = nn.Adam([p])
    (p * p).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["step"] = step
    with pytest.raises(ValueError, match="step of the state must be an integer|the state remembers"):
        nn.Adam([p]).load_state_dict(state)


def test_nn_has_every_name_of_nn_optim():
    for name in nn.optim.__all__:
        assert name in nn.__all__
        assert getattr(nn, name) is getattr(nn.optim, name)
