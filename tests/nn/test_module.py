"""Modules: mode, freezing, moving, state_dict, repr and copies, compared with PyTorch's."""

import contextlib
import copy
import gc
import pickle
import sys
import weakref

import numpy as np
import pytest
import strict
from small_modules import Block, Net

import microtensor as mt
from microtensor import Tensor
from microtensor.nn import init
from microtensor.nn.containers import Sequential
from microtensor.nn.layers.activation import ReLU
from microtensor.nn.layers.batch_norm import BatchNorm2d
from microtensor.nn.layers.dropout import Dropout
from microtensor.nn.layers.linear import Flatten, Linear
from microtensor.nn.module import Module, Parameter
from microtensor.nn.optim import SGD
from microtensor.random import Generator


def test_what_is_computed_from_parameters_is_a_tensor():
    net = Net()
    y = net(Tensor([1.0, 2.0]))
    assert type(y) is Tensor
    assert type(net.weight * 2) is type(net.weight.detach()) is type(net.weight[0]) is Tensor
    y.sum().backward()
    assert all(p.grad is not None and type(p.grad) is Tensor for p in net.parameters())
    assert net.second.mean.grad is None


def test_a_parameter_can_be_frozen_and_must_be_floating_point():
    assert not Parameter([1.0], requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="int64"):
        Parameter(np.arange(3))


def test_train_and_eval_set_every_module():
    net = Net()
    assert net.training
    assert net.second.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(TypeError, match="mode must be True or False, got list"):
        net.train([1])


def test_evaluating_restores_the_mode_of_each_module():
    net = Net()
    net.second.eval()
    with net.evaluating():
        assert not any(m.training for m in net.modules())
    with contextlib.suppress(RuntimeError), net.evaluating():
        raise RuntimeError
    assert [m.training for m in net.modules()] == [True, True, False]


def test_zero_grad_and_requires_grad():
    net = Net()
    net(Tensor([1.0, 2.0])).sum().backward()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert not net(Tensor([1.0, 2.0])).requires_grad
    assert net.requires_grad_()(Tensor([1.0, 2.0])).requires_grad


def test_a_module_without_forward_raises():
    class Nothing(Module):
        pass

    with pytest.raises(NotImplementedError, match="Nothing .* forward"):
        Nothing()(Tensor([1.0]))


# Freezing


def test_freeze_clears_requires_grad_and_unfreeze_restores_it():
    net = Net()
    net.second.offset.requires_grad = False
    net(Tensor([1.0, 2.0])).sum().backward()
    before = [p.requires_grad for p in net.parameters()]
    assert net.freeze() is net
    assert all(m.frozen for m in net.modules())
    assert not any(p.requires_grad for p in net.parameters())
    assert all(p.grad is None for p in net.parameters())  # or an optimiser would go on with it
    assert not net(Tensor([1.0, 2.0])).requires_grad
    assert net.unfreeze() is net
    assert not any(m.frozen for m in net.modules())
    assert [p.requires_grad for p in net.parameters()] == before == [True, True, True, False]


def test_freeze_twice_unfreeze_once():
    net = Net().freeze().freeze().unfreeze()
    assert all(p.requires_grad for p in net.parameters())


def test_a_submodule_can_be_unfrozen():
    net = Net().freeze()
    net.second.unfreeze()
    assert not net.second.frozen
    assert net.first.frozen
    assert net.frozen
    assert [name for name, p in net.named_parameters() if p.requires_grad] == [
        "first.scale",
        "second.offset",
    ]  # scale is shared


def test_unfreeze_keeps_requires_grad_that_was_set_by_hand():
    net = Linear(2, 2)
    net.requires_grad_(False).unfreeze()
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_().freeze().bias.requires_grad = True  # one bias goes on learning
    net.unfreeze()
    assert all(p.requires_grad for p in net.parameters())


def test_an_optimiser_does_not_change_frozen_parameters():
    net = Sequential(Linear(2, 2), Linear(2, 1))
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    x = Tensor([[1.0, 2.0]])
    net(x).sum().backward()
    optimizer.step()
    net[0].freeze()
    before = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    optimizer.zero_grad()
    net(x).sum().backward()
    optimizer.step()
    changed = [name for name, t in net.state_dict().items() if (t.numpy() != before[name]).any()]
    assert changed == ["1.weight", "1.bias"]


def test_a_frozen_batch_normalisation_keeps_its_statistics():
    norm = BatchNorm2d(2).freeze()
    x = Tensor(np.arange(8, dtype=np.float32).reshape(2, 2, 1, 2))
    y = norm(x)  # in training mode
    np.testing.assert_array_equal(norm.running_mean.numpy(), [0, 0])
    assert norm.num_batches_tracked.item() == 0
    np.testing.assert_array_equal(y.numpy(), norm.eval()(x).numpy())
    norm.train().unfreeze()(x)
    assert norm.num_batches_tracked.item() == 1


def test_repr_shows_frozen_layers():
    net = Sequential(Linear(2, 2), ReLU(), Linear(2, 1, bias=False))
    net[0].freeze()
    assert repr(net) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=2, bias=True, frozen=True)\n  (1): ReLU()\n"
        "  (2): Linear(in_features=2, out_features=1, bias=False)\n)"
    )
    assert "frozen" not in repr(net.unfreeze())
    assert repr(Block().freeze()) == "Block(frozen=True)"


def test_frozen_survives_copies():
    for net in (copy.deepcopy(Net().freeze()), pickle.loads(pickle.dumps(Net().freeze()))):
        assert net.second.frozen
        assert all(p.requires_grad for p in net.unfreeze().parameters())


def test_apply_calls_children_first_and_each_module_once():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Identity()), torch.nn.Flatten())
    ours = Sequential(Sequential(ReLU(), Dropout()), Flatten())
    order = {"ours": [], "theirs": []}
    theirs.apply(lambda module: order["theirs"].append(type(module).__name__.replace("Identity", "Dropout")))
    assert ours.apply(lambda module: order["ours"].append(type(module).__name__)) is ours
    assert order["ours"] == order["theirs"] == ["ReLU", "Dropout", "Sequential", "Flatten", "Sequential"]
    met = []
    net = Net()
    net.apply(met.append)
    assert len(met) == 3
    net.second.hidden = [Block()]
    with pytest.raises(TypeError, match=r"Block\.hidden: a plain list hides the Block .* ModuleList or ModuleDict"):
        net.apply(met.append)
    assert len(met) == 3
    assert Linear(2, 2).apply(lambda m: init.zeros_(m.weight)).weight.sum().item() == 0


def test_zero_grad_with_zeros():
    net = Linear(2, 1)
    net.weight.grad = Tensor([[np.nan, np.inf]])
    net.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(net.weight.grad.numpy(), [[0, 0]])
    assert net.bias.grad is None


# Moving


def test_to_a_dtype_keeps_objects_sharing_and_integers():
    net = Net()
    before = [id(p) for p in net.parameters()]
    net(Tensor([1.0, 2.0])).sum().backward()
    assert net.to("float64") is net
    assert [id(p) for p in net.parameters()] == before
    assert net.second.scale is net.first.scale
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert net.seen.dtype == np.float64
    assert net.first.count.dtype == np.int64
    net.zero_grad()
    net(Tensor(np.array([1.0, 2.0]))).sum().backward()  # the gradients are float64 now
    assert all(p.grad.dtype == np.float64 for p in net.parameters())


@pytest.mark.parametrize(
    "move",
    [
        lambda m: m.to("cuda", "float64"),
        lambda m: m.to(np.float64, "cuda:0"),
        lambda m: m.to(device="cuda", dtype=float),
        lambda m: m.to(Tensor(np.zeros(1)).to("cuda")),
        lambda m: m.cuda().double(),
        lambda m: m.double().cuda(0),
    ],
)
def test_to_a_device_and_a_dtype_in_any_order(monkeypatch, move):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    net = Net()
    assert move(net) is net
    assert {t.device for t in net.state_dict().values()} == {"cuda:0"}
    assert {t.dtype for t in net.parameters()} == {np.dtype(np.float64)}
    assert net.first.count.dtype == np.int64
    assert net.first.count.item() == 5
    net.cpu().float()
    assert {(t.device, t.dtype) for t in net.parameters()} == {("cpu", np.dtype(np.float32))}
    assert next(net.half().parameters()).dtype == np.float16


def test_to_a_wrong_target_moves_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    net = Net()
    with pytest.raises(TypeError, match="a module computes in floating point, not in int32"):
        net.to("cuda", "int32")
    assert {t.device for t in net.state_dict().values()} == {"cpu"}
    with pytest.raises(TypeError, match="not in bool"):
        ReLU().to(bool)  # also where there is nothing to move


def test_to_the_same_device_and_dtype_changes_nothing():
    net = Net()
    arrays = [p.array for p in net.parameters()]
    net.to("cpu").to(np.float32)
    assert all(p.array is a for p, a in zip(net.parameters(), arrays))


@pytest.mark.parametrize("target", ["int64", bool, "elsewhere"])
def test_to_anything_but_a_floating_point_dtype_raises(target):
    with pytest.raises((TypeError, ValueError), match="to: "):
        Net().to(target)


def test_an_optimiser_keeps_working_after_to():
    net = Linear(3, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    net.to("float64")
    net(Tensor(np.ones((1, 3)))).sum().backward()
    before = net.weight.numpy().copy()
    optimizer.step()
    np.testing.assert_allclose(net.weight.numpy(), before - 0.1)


def test_to_a_device_and_back(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    net = Sequential(BatchNorm2d(2))
    net.to("cuda")
    assert {t.device for t in net.state_dict().values()} == {"cuda:0"}
    assert net[0].num_batches_tracked.dtype == np.int64
    x = Tensor(np.arange(8, dtype=np.float32).reshape(2, 2, 1, 2)).to("cuda")
    net(x).sum().backward()
    assert net[0].weight.grad.device == "cuda:0"
    net.load_state_dict({name: value.numpy() for name, value in net.state_dict().items()})
    net.to("cpu")
    assert net[0].weight.grad.device == "cpu"
    assert net[0].num_batches_tracked.item() == 1


# Saving


def test_state_dict_shares_memory_and_is_detached():
    net = Net()
    state = net.state_dict()
    assert not any(t.requires_grad for t in state.values())
    assert {type(t) for t in state.values()} == {Tensor}
    state["weight"][0] = 9.0
    assert net.weight.item() == 9.0


# repr


def test_repr_is_pytorchs():
    torch = pytest.importorskip("torch")

    def net(linear, sequential, flatten):
        return sequential(linear(2, 3), sequential(flatten(), sequential(linear(3, 1, bias=False))), sequential())

    ours = net(Linear, Sequential, Flatten)
    assert repr(ours) == repr(net(torch.nn.Linear, torch.nn.Sequential, torch.nn.Flatten))


def test_repr_with_settings_and_children():
    class Part(Block):
        def extra_repr(self):
            return "a=1"

    part = Part()
    assert repr(part) == "Part(a=1)"
    part.inner = Block()
    assert repr(part) == "Part(\n  a=1\n  (inner): Block()\n)"


# Copies


class Noisy(Module):
    """Shared parameters, a generator, a hook, a buffer that is not saved: what a copy has to keep."""

    def __init__(self):
        generator = Generator(3)
        self.first = Linear(3, 3, generator=generator)
        self.second = Linear(3, 3, generator=generator)
        self.second.weight = self.first.weight
        self.drop = Dropout(0.5, generator=generator)
        self.norm = Block()
        self.scales = Sequential(Linear(3, 2))
        self.register_buffer("shift", np.float32([1.0, 2.0]), persistent=False)
        self.second.register_forward_hook(double)

    def forward(self, x):
        return self.norm(self.scales(self.drop(self.second(self.first(x))))) + self.shift


def double(module, args, result):
    return result * 2


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"])
def test_a_copy_computes_the_same_and_shares_nothing(twin_of):
    net = Noisy()
    x = Tensor([[1.0, 2.0, 3.0]])
    net(x).sum().backward()  # the generator has moved on
    twin = twin_of(net)
    assert repr(twin) == repr(net)
    assert list(twin.state_dict()) == list(net.state_dict())
    for mine, other in zip([*net.parameters(), *net.buffers()], [*twin.parameters(), *twin.buffers()]):
        assert type(mine) is type(other)
        assert not np.shares_memory(mine.array, other.array)
        assert mine.requires_grad == other.requires_grad
    assert twin.second.weight is twin.first.weight
    assert twin.drop.generator is not net.drop.generator
    assert not twin.shift.persistent
    ours, theirs = net(x), twin(x)  # each draws from a generator of its own
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_array_equal(net(x).numpy(), twin(x).numpy())
    np.testing.assert_array_equal(net.eval()(x).numpy(), twin.eval()(x).numpy())
    with mt.no_grad():
        twin.first.weight[...] = 0.0
    assert net.first.weight.array.any()
    twin.second.register_forward_hook(double)
    assert len(net.second._hooks) == 1


def test_a_model_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        net = Sequential(Linear(2, 2), BatchNorm2d(2))
        gone = weakref.ref(net[0])
        gradient = mt.grad(net[0](Tensor([[1.0, 2.0]])).sum(), net[0].weight)
        del net, gradient
        assert gone() is None
    finally:
        gc.enable()
