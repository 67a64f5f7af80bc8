"""Modules: what is found, named, moved, saved and loaded; compared with PyTorch's module of the same structure."""

import contextlib
import copy
import gc
import pickle
import sys
import weakref

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import Tensor
from microtensor.nn import init
from microtensor.nn.containers import Sequential
from microtensor.nn.layers.activation import ReLU
from microtensor.nn.layers.batch_norm import BatchNorm2d
from microtensor.nn.layers.dropout import Dropout
from microtensor.nn.layers.linear import Flatten, Linear
from microtensor.nn.module import Buffer, Module, Parameter
from microtensor.nn.optim.optimizers import SGD
from microtensor.random import Generator


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
    assert net.state_dict()["second.scale"].array is net.state_dict()["again.scale"].array


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


# Freezing


def test_freeze_stops_learning_and_unfreeze_undoes_it():
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


def test_a_part_of_what_is_frozen_can_be_unfrozen():
    net = Net().freeze()
    net.second.unfreeze()
    assert not net.second.frozen
    assert net.first.frozen
    assert net.frozen
    assert [name for name, p in net.named_parameters() if p.requires_grad] == [
        "first.scale",
        "second.offset",
    ]  # scale is shared


def test_unfreeze_leaves_alone_what_was_made_constant_by_hand():
    net = Linear(2, 2)
    net.requires_grad_(False).unfreeze()
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_().freeze().bias.requires_grad = True  # one bias goes on learning
    net.unfreeze()
    assert all(p.requires_grad for p in net.parameters())


def test_an_optimiser_leaves_the_frozen_part_where_it_is():
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


def test_repr_says_what_is_frozen():
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


# Reaching what is inside, and adding to it


def test_every_name_where_none_is_removed():
    theirs = torch_net(pytest.importorskip("torch"))
    ours = Net()
    for walk in ("named_parameters", "named_buffers", "named_modules"):
        assert names(getattr(ours, walk)(remove_duplicate=False)) == names(getattr(theirs, walk)(remove_duplicate=False))


def test_get_by_dotted_name():
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("again") is net.first
    assert net.get_parameter("second.offset") is net.second.offset
    assert net.get_parameter("weight") is net.weight
    assert net.get_buffer("first.count") is net.first.count


@pytest.mark.parametrize(
    ("get", "target", "message"),
    [
        ("get_submodule", "second.conv", "Net: no module 'second.conv'; Block holds none"),
        ("get_submodule", "weight", "Net: no module 'weight'; Net holds first, again, second"),
        ("get_parameter", "second.mean", "Net: no parameter 'second.mean'; there is scale, offset beside it"),
        ("get_parameter", "third.mean", "Net: no module 'third'; Net holds first, again, second"),
        ("get_buffer", "", "Net: no buffer ''; there is seen beside it"),
    ],
)
def test_get_what_is_not_there(get, target, message):
    with pytest.raises(AttributeError) as error:
        getattr(Net(), get)(target)
    assert str(error.value) == message


def test_registering_is_assigning():
    net = Block()
    net.register_parameter("extra", Parameter([1.0]))
    net.register_parameter("nothing", None)
    net.register_buffer("steps", Tensor([3.0]))
    net.register_buffer("table", np.zeros(2), persistent=False)
    net.add_module("inner", Block())
    net.register_module("inner", Linear(1, 1))  # again: in its place
    assert names(net.named_parameters()) == ["scale", "offset", "extra", "inner.weight", "inner.bias"]
    assert names(net.named_buffers()) == ["count", "mean", "steps", "table"]
    assert [name for name in net.state_dict() if "." not in name] == ["scale", "offset", "extra", "count", "mean", "steps"]
    assert net.nothing is None


@pytest.mark.parametrize(
    ("register", "args", "error", "message"),
    [
        ("register_parameter", ("a", Tensor([1.0])), TypeError, "a must be a Parameter or None, got Tensor; make it one"),
        ("register_parameter", ("a.b", None), ValueError, "'a.b' cannot name a Parameter: it is empty, has a dot or is taken"),
        ("register_parameter", (3, None), TypeError, "a name must be a string, got 3"),
        ("register_buffer", ("", np.zeros(1)), ValueError, "'' cannot name a Buffer"),
        ("register_buffer", ("scale", np.zeros(1)), ValueError, "'scale' cannot name a Buffer"),
        ("register_buffer", ("table", "x"), TypeError, "expected numbers"),
        ("register_module", ("forward", Block()), ValueError, "'forward' cannot name a Module"),
        ("register_module", ("training", Block()), ValueError, "'training' cannot name a Module"),
        ("register_module", ("a", Block), TypeError, "a must be a Module or None, got type"),
    ],
)
def test_what_cannot_be_registered(register, args, error, message):
    net = Block()
    with pytest.raises(error, match=message):
        getattr(net, register)(*args)


def test_a_tensor_assigned_where_a_buffer_stands_becomes_one():
    net = Block()
    net.mean = net.mean * 0.9
    assert type(net.mean) is Buffer
    assert "mean" in net.state_dict()
    net.register_buffer("table", np.zeros(2), persistent=False)
    net.table = Tensor([1.0])
    assert not net.table.persistent
    with pytest.raises(TypeError, match=r"Block\.mean is a Buffer, .* assign a new Buffer of its \.detach\(\)"):
        net.mean = net.mean * net.scale
    with pytest.raises(TypeError, match=r"Block\.scale is a Parameter, .* scale\[\.\.\.\] = x in no_grad"):
        net.scale = Tensor([1.0, 1.0])
    net.scale = None
    net.scale = Tensor([1.0, 1.0])  # nothing is lost


def test_apply_goes_upwards_and_to_each_once():
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


def test_to_what_is_wrong_moves_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    net = Net()
    with pytest.raises(TypeError, match="a module computes in floating point, not in int32"):
        net.to("cuda", "int32")
    assert {t.device for t in net.state_dict().values()} == {"cpu"}
    with pytest.raises(TypeError, match="not in bool"):
        ReLU().to(bool)  # also where there is nothing to move


def test_to_where_it_is_changes_nothing():
    net = Net()
    arrays = [p.array for p in net.parameters()]
    net.to("cpu").to(np.float32)
    assert all(p.array is a for p, a in zip(net.parameters(), arrays))


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
        p.array = p.array + i + 1
    kept = net.weight.array
    assert net.load_state_dict({name: form(t) for name, t in source.state_dict().items()}) == ([], [])
    assert net.weight.array is kept
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
