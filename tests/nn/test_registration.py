"""Registered parameters and buffers: reserved attributes, tensors under two names, extra state."""

import copy
import pickle

import numpy as np
import pytest
from small_modules import Block, names

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.nn.layers.linear import Linear
from microtensor.nn.module import Buffer, Module, Parameter


class Two(Module):
    """One tensor under two buffer names, one parameter under two names."""

    def __init__(self):
        table = Tensor([1.0, 2.0])
        self.register_buffer("a", table)
        self.register_buffer("b", table)
        self.v = self.w = Parameter([3.0])


@pytest.mark.parametrize("persistent", [True, False])
def test_a_tensor_assigned_to_a_reserved_name_becomes_a_buffer(persistent):
    module = Module()
    module.register_buffer("mean", None, persistent=persistent)
    assert dict(module.named_buffers()) == {}
    assert module.mean is None
    module.mean = Tensor([1.0])
    assert type(module.mean) is Buffer
    assert [*module.state_dict()] == ["mean"] * persistent
    module.to("float64")
    assert module.mean.dtype == np.float64
    module.mean = None
    module.mean = module_mean = Tensor([2.0])
    assert type(module.mean) is Buffer
    assert module.mean.persistent == persistent
    del module.mean
    module.mean = module_mean
    assert type(module.mean) is Tensor
    assert not dict(module.named_buffers())


def test_copies_of_a_module_have_their_own_reserved_names():
    module = Module()
    module.register_buffer("mean", None)
    for twin in (copy.copy(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        twin.mean = Tensor([1.0])
        assert [*twin.state_dict()] == ["mean"]
    module.mean = Tensor([1.0])
    assert [*module.state_dict()] == ["mean"]


def test_a_value_that_state_dict_would_miss_is_refused():
    module = nn.Linear(2, 3, bias=False)
    for value in (Tensor([1.0, 1.0, 1.0]), np.ones(3), 1.0):
        with pytest.raises(TypeError, match=r"Linear\.bias is a Parameter, and a .* in its place would be lost"):
            module.bias = value
    with pytest.raises(
        TypeError, match=r"Linear\.weight is a Parameter, and a ndarray in its place would be lost .* a new Parameter$"
    ):
        module.weight = np.ones((3, 2))
    module.bias = Parameter([1.0, 1.0, 1.0])
    assert [*module.state_dict()] == ["weight", "bias"]
    norm = nn.BatchNorm1d(3)
    with pytest.raises(TypeError, match=r"BatchNorm1d\.running_mean is a Buffer, and a list"):
        norm.running_mean = [0.0, 0.0, 0.0]
    module = Module()
    module.register_parameter("scale", None)
    with pytest.raises(TypeError, match="is a Parameter, and a Tensor in its place would be lost"):
        module.scale = Tensor([1.0])
    module.scale = Parameter([1.0])
    assert [*module.state_dict()] == ["scale"]


def test_one_tensor_under_two_names_is_one_buffer():
    module = Two()
    assert module.a is module.b
    assert [name for name, _ in module.named_buffers()] == ["a", "v"][:1]
    assert [*module.state_dict()] == ["v", "w", "a", "b"]
    module.a[...] = 5.0
    assert module.b.tolist() == [5.0, 5.0]
    twins = [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        module.to("float64"),
        nn.Sequential(module).to("float32")[0],
        module.half().float(),
    ]
    for twin in twins:
        assert twin.a is twin.b
        assert twin.v is twin.w
    module.load_state_dict({name: x * 0 + 7 for name, x in module.state_dict().items()})
    assert module.a is module.b
    assert module.v is module.w
    assert module.b.tolist() == [7.0, 7.0]


def test_one_tensor_in_two_modules_is_one_buffer():
    table, a, b = Tensor([1.0]), Module(), Module()
    a.register_buffer("table", table)
    b.register_buffer("table", table)
    both = nn.ModuleList([a, b])
    assert [name for name, _ in both.named_buffers()] == ["0.table"]
    assert both.to("float64")[0].table is both[1].table
    c = Module()
    c.register_buffer("table", table)  # which has not moved
    c.register_buffer("own", table, persistent=False)
    assert c.table is not b.table
    assert c.table.dtype == np.float32
    assert [*c.state_dict()] == ["table"]
    c.register_buffer("array", np.ones(1))
    c.register_buffer("other", np.ones(1))
    assert c.array is not c.other


class Counted(Module):
    def __init__(self):
        self.weight, self.seen = Parameter([1.0]), None

    def get_extra_state(self):
        return self.seen

    def set_extra_state(self, state):
        self.seen = state


@pytest.mark.parametrize("state", [3, {"calls": [1, 2], "name": "a"}, (1.5, None), Tensor([1.0, 2.0])])
def test_extra_state_is_saved_and_restored(tmp_path, state):
    model = nn.Sequential(Counted(), nn.Linear(1, 1), Counted())
    model[0].seen = state
    saved = model.state_dict()
    assert [*saved] == ["0.weight", "0._extra_state", "1.weight", "1.bias", "2.weight", "2._extra_state"]
    assert [*model.state_dict(prefix="net.")][1] == "net.0._extra_state"
    mt.save(tmp_path / "model.npz", saved)
    twin = nn.Sequential(Counted(), nn.Linear(1, 1), Counted())
    assert twin.load_state_dict(mt.load(tmp_path / "model.npz")) == ([], [])
    found = twin[0].seen
    assert found.tolist() == state.tolist() if isinstance(state, Tensor) else found == state


def test_the_keys_are_pytorchs():
    torch = pytest.importorskip("torch")

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.inner = torch.nn.Parameter(torch.ones(1)), torch.nn.Linear(1, 1)
            self.register_buffer("seen", torch.ones(1))

        def get_extra_state(self):
            return 3

    class Ours(Module):
        def __init__(self):
            self.weight, self.inner, self.seen = Parameter([1.0]), nn.Linear(1, 1), Buffer([1.0])

        get_extra_state = Theirs.get_extra_state

    assert [*Ours().state_dict()] == [*Theirs().state_dict()]


def test_missing_or_unexpected_extra_state_is_listed_and_nothing_is_loaded():
    model = nn.Sequential(Counted())
    with pytest.raises(ValueError, match="missing: 0._extra_state"):
        model.load_state_dict({"0.weight": Tensor([5.0])})
    assert model[0].weight.item() == 1.0
    assert model.load_state_dict({"0.weight": Tensor([5.0])}, strict=False).missing_keys == ["0._extra_state"]
    with pytest.raises(ValueError, match="unexpected: _extra_state"):
        nn.Linear(1, 1).load_state_dict({**nn.Linear(1, 1).state_dict(), "_extra_state": object()})
    with pytest.raises(ValueError, match="0.weight is"):
        model.load_state_dict({"0.weight": Tensor([5.0, 6.0]), "0._extra_state": 4})
    assert model[0].seen is None

    class Half(Module):
        def get_extra_state(self):
            return 1

    with pytest.raises(RuntimeError, match=r"Half has get_extra_state\(\), and no set_extra_state\(\)"):
        Half().load_state_dict({"_extra_state": 1})


def test_extra_state_that_a_file_format_cannot_store_is_refused(tmp_path):
    model = Counted()
    model.seen = object()
    with pytest.raises(TypeError, match="save: '_extra_state' is of type object"):
        mt.save(tmp_path / "model.npz", model.state_dict())
    model.seen = {"calls": 3}
    pytest.importorskip("safetensors")
    with pytest.raises(TypeError, match="'_extra_state' must be a Tensor .* got dict; .npz holds any tree"):
        mt.save(tmp_path / "model.safetensors", model.state_dict())


def test_registering_is_the_same_as_assigning():
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
def test_a_wrong_name_or_value_is_refused(register, args, error, message):
    net = Block()
    with pytest.raises(error, match=message):
        getattr(net, register)(*args)


def test_a_tensor_assigned_over_a_buffer_becomes_a_buffer():
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
