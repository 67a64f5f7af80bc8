"""Modules: what is found, named, moved, saved and loaded; compared with PyTorch's module of the same structure."""

import contextlib
import gc
import sys
import weakref

import numpy as np
import pytest
import stand_in

import microtensor as mt
from microtensor import Tensor
from microtensor.nn.activation import ReLU
from microtensor.nn.containers import Sequential
from microtensor.nn.linear import Flatten, Linear
from microtensor.nn.module import Buffer, Module, Parameter
from microtensor.nn.norm import BatchNorm2d
from microtensor.nn.optim import SGD


class Block(Module):
    def __init__(self):
        self.scale = Parameter([2.0, 3.0])
        self.count = Buffer(np.array(5))
        self.mean = Buffer(np.array([0.5, 0.25], np.float32))
        self.offset = Parameter(np.ones(2, np.float32))

    def forward(self, x):
        return (x - self.mean) * self.scale + self.offset


class Net(Module):
    """Buffers before parameters, a parameter and a module that are shared."""

    def __init__(self):
        self.seen = Buffer(np.zeros(1, np.float32))
        self.first = Block()
        self.weight = Parameter([1.0])
        self.none = None
        self.again = self.first
        self.second = Block()
        self.second.scale = self.first.scale
        self.name = "net"

    def forward(self, x):
        return self.second(self.again(self.first(x))) * self.weight


def torch_net(torch):
    block = torch.nn.Module
    net, first, second = block(), block(), block()
    for part in (first, second):
        part.scale = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
        part.register_buffer("count", torch.tensor(5))
        part.register_buffer("mean", torch.tensor([0.5, 0.25]))
        part.offset = torch.nn.Parameter(torch.ones(2))
    second.scale = first.scale
    net.register_buffer("seen", torch.zeros(1))
    net.first = first
    net.weight = torch.nn.Parameter(torch.ones(1))
    net.again = first
    net.second = second
    return net


def names(pairs):
    return [name for name, _ in pairs]


def test_names_and_order_are_pytorchs():
    theirs = torch_net(pytest.importorskip("torch"))
    ours = Net()
    assert names(ours.named_parameters()) == names(theirs.named_parameters())
    assert names(ours.named_parameters("p", recurse=False)) == names(theirs.named_parameters("p", recurse=False))
    assert names(ours.named_parameters("p")) == names(theirs.named_parameters("p"))
    assert names(ours.named_buffers()) == names(theirs.named_buffers())
    assert names(ours.named_children()) == names(theirs.named_children())
    assert names(ours.named_modules()) == names(theirs.named_modules())
    assert names(ours.named_modules("net")) == names(theirs.named_modules(prefix="net"))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(list(ours.parameters())) == len(list(theirs.parameters())) == 4
    assert len(list(ours.buffers())) == len(list(theirs.buffers()))


def test_each_shared_object_is_found_once():
    net = Net()
    assert [id(m) for m in net.modules()] == [id(net), id(net.first), id(net.second)]
    assert sum(p is net.first.scale for p in net.parameters()) == 1
    assert net.state_dict()["second.scale"].data is net.state_dict()["again.scale"].data


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


def test_a_reassigned_attribute_is_what_is_found():
    net = Net()
    net.weight = Parameter([7.0])
    del net.again
    assert names(net.named_parameters()) == names(Net().named_parameters())
    assert next(net.parameters()).item() == 7.0
    assert "again.scale" not in net.state_dict()


def test_train_and_eval_reach_every_module():
    net = Net()
    assert net.training
    assert net.second.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    with pytest.raises(TypeError, match="mode must be True or False, got list"):
        net.train([1])


def test_evaluating_ends_in_the_modes_that_were():
    net = Net()
    net.second.eval()
    with net.evaluating():
        assert not any(m.training for m in net.modules())
    with contextlib.suppress(RuntimeError), net.evaluating():
        raise RuntimeError
    assert [m.training for m in net.modules()] == [True, True, False]


def test_freezing_and_forgetting_gradients():
    net = Net()
    net(Tensor([1.0, 2.0])).sum().backward()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert not net(Tensor([1.0, 2.0])).requires_grad
    assert net.requires_grad_()(Tensor([1.0, 2.0])).requires_grad


@pytest.mark.parametrize("box", [lambda m: [m], lambda m: (1, m), lambda m: {"a": m}], ids=["list", "tuple", "dict"])
@pytest.mark.parametrize("part", [Block, lambda: Parameter([1.0])], ids=["module", "parameter"])
def test_a_plain_collection_of_parts_is_refused_in_words(box, part):
    net = Net()
    net.second.parts = box(part())
    for walk in (net.parameters, net.modules, net.buffers):
        with pytest.raises(TypeError, match=r"Block\.parts: a plain (list|tuple|dict) hides the (Block|Parameter)"):
            list(walk())
    for walk in (net.state_dict, net.eval, lambda: net.to("float64")):
        with pytest.raises(TypeError, match="Sequential"):
            walk()


def test_plain_collections_of_anything_else_are_fine():
    net = Net()
    net.sizes, net.table, net.empty = [1, 2], {"a": Tensor([1.0])}, ()
    assert len(list(net.parameters())) == 4


def test_a_tensor_that_nobody_would_learn_is_refused_in_words():
    net = Net()
    net.bias = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"Net\.bias: a Tensor that requires a gradient .* Parameter"):
        list(net.parameters())
    net.bias = Tensor([1.0])
    net.features = net.weight * 2  # a result, kept to look at
    assert len(list(net.parameters())) == 4


def test_a_module_that_holds_itself_is_refused():
    net = Net()
    net.second.parent = net
    with pytest.raises(ValueError, match=r"second\.parent leads back"):
        list(net.parameters())


def test_a_module_without_forward_says_so():
    class Nothing(Module):
        pass

    with pytest.raises(NotImplementedError, match="Nothing .* forward"):
        Nothing()(Tensor([1.0]))


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


def test_to_where_it_is_changes_nothing():
    net = Net()
    arrays = [p.data for p in net.parameters()]
    net.to("cpu").to(np.float32)
    assert all(p.data is a for p, a in zip(net.parameters(), arrays))


@pytest.mark.parametrize("target", ["int64", bool, "elsewhere"])
def test_to_what_is_no_floating_point_dtype_raises(target):
    with pytest.raises((TypeError, ValueError), match="to: "):
        Net().to(target)


def test_an_optimiser_goes_on_after_to():
    net = Linear(3, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    net.to("float64")
    net(Tensor(np.ones((1, 3)))).sum().backward()
    before = net.weight.numpy().copy()
    optimizer.step()
    np.testing.assert_allclose(net.weight.numpy(), before - 0.1)


def test_to_a_device_and_back(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", stand_in.cupy)
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


# Saving and loading


def test_state_dict_shares_memory_and_is_detached():
    net = Net()
    state = net.state_dict()
    assert not any(t.requires_grad for t in state.values())
    assert {type(t) for t in state.values()} == {Tensor}
    state["weight"][0] = 9.0
    assert net.weight.item() == 9.0


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.numpy().astype(np.float64)], ids=["tensors", "arrays"])
def test_load_copies_into_the_memory_that_is_there(form):
    source, net = Net(), Net()
    for i, p in enumerate([*source.parameters(), *source.buffers()]):
        p.data = p.data + i + 1
    kept = net.weight.data
    assert net.load_state_dict({name: form(t) for name, t in source.state_dict().items()}) == ([], [])
    assert net.weight.data is kept
    for name, value in net.state_dict().items():
        assert value.dtype == source.state_dict()[name].dtype
        np.testing.assert_array_equal(value.numpy(), source.state_dict()[name].numpy())
        assert not np.shares_memory(value.numpy(), source.state_dict()[name].numpy())


def test_load_names_everything_that_is_wrong_at_once_and_changes_nothing():
    net = Net()
    state = {name: t.numpy() + 1 for name, t in net.state_dict().items()}
    del state["weight"], state["second.mean"]
    state |= {"first.scale": np.zeros(3), "extra": np.zeros(1), "second.offset": np.zeros((2, 1))}
    before = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    with pytest.raises(ValueError, match="Net") as error:
        net.load_state_dict(state)
    for part in (
        "missing: weight, second.mean",
        "unexpected: extra",
        "first.scale is (2,) here, (3,) in the state",
        "second.offset is (2,) here, (2, 1) in the state",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"another shape: first\.scale"):
        net.load_state_dict(state, strict=False)
    for name, t in net.state_dict().items():
        np.testing.assert_array_equal(t.numpy(), before[name])


def test_load_that_is_not_strict_tells_what_it_passed_over():
    net = Net()
    loaded = net.load_state_dict({"weight": np.array([4.0]), "other": np.array(1)}, strict=False)
    assert net.weight.item() == 4.0
    assert loaded.unexpected_keys == ["other"]
    assert loaded.missing_keys == [name for name in net.state_dict() if name != "weight"]


@pytest.mark.parametrize("state", [[1], {"weight": "x"}, {"weight": [1.0]}, {"weight": np.array(["x"])}])
def test_load_of_what_is_no_state_is_a_type_error(state):
    with pytest.raises(TypeError, match="expected|must be"):
        Net().load_state_dict(state)


def test_loading_into_a_pending_backward_is_refused():
    net = Linear(2, 2)
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    y = net(x).sum()
    net.load_state_dict(Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="assigned to"):
        y.backward()


def test_pytorchs_state_loads():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ours = Sequential(Linear(3, 4), ReLU(), Linear(4, 2))
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(Tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


# Showing


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


def test_a_model_dies_with_its_last_name():
    gc.disable()
    try:
        net = Sequential(Linear(2, 2), BatchNorm2d(2))
        gone = weakref.ref(net[0])
        gradient = mt.grad(net[0](Tensor([[1.0, 2.0]])).sum(), net[0].weight)
        del net, gradient
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("hide", [lambda m: [[m]], lambda m: {"a": [m]}, lambda m: {m}])
def test_modules_hidden_in_nested_containers_are_refused(hide):
    class Model(Module):
        pass

    model = Model()
    model.layers = hide(Linear(2, 2))
    with pytest.raises(TypeError, match="hides the Linear in it from parameters"):
        list(model.parameters())
