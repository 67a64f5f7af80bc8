"""Lists and dicts of modules and parameters: their methods, and PyTorch's names and keys."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, relu
from microtensor.nn.containers import Sequential
from microtensor.nn.layers.activation import ReLU, Tanh
from microtensor.nn.layers.linear import Identity, Linear
from microtensor.nn.lists import ModuleDict, ModuleList, ParameterDict, ParameterList
from microtensor.nn.module import Module, Parameter


def layers(n):
    return [Linear(1, i + 1) for i in range(n)]


LISTS = {
    "ModuleList": (ModuleList, lambda torch: torch.nn.ModuleList),
    "Sequential": (lambda parts: Sequential(*parts), lambda torch: lambda parts: torch.nn.Sequential(*parts)),
}


@given(st.data())
def test_a_module_list_has_the_methods_of_a_list(data):
    """A random walk of list operations, on a plain list, on ours and on PyTorch's, whose keys stay the same."""
    torch = pytest.importorskip("torch")
    make, theirs = LISTS[data.draw(st.sampled_from(sorted(LISTS)))]
    known = layers(data.draw(st.integers(0, 3)))
    ours = make(known)
    twins = {id(layer): torch.nn.Linear(1, layer.out_features) for layer in known}
    other, plain = theirs(torch)([twins[id(layer)] for layer in known]), list(known)
    for _ in range(data.draw(st.integers(1, 6))):
        action = data.draw(st.sampled_from(["append", "extend", "insert", "pop", "del", "set", "del slice", "+="]))
        if not plain and action in ("pop", "del", "set"):
            continue
        new = layers(2)
        twins |= {id(layer): torch.nn.Linear(1, layer.out_features) for layer in new}
        at = data.draw(st.integers(-len(plain), len(plain) - (action != "insert")) if plain else st.just(0))
        part = slice(*sorted((data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4)))))
        for target, parts in ((plain, new), (ours, new), (other, [twins[id(layer)] for layer in new])):
            if action == "append":
                target.append(parts[0])
            elif action == "extend":
                target.extend(parts)
            elif action == "+=":
                target += theirs(torch)(parts) if target is other else parts
            elif action == "insert":
                target.insert(at % len(target) if target is other and at < 0 else at, parts[0])
            elif action == "pop":
                target.pop(at)
            elif action == "del":
                del target[at]
            elif action == "del slice":
                del target[part]
            else:
                target[at] = parts[0]
        assert list(ours) == plain
        assert len(ours) == len(plain)
        assert list(ours.state_dict()) == list(other.state_dict())


@pytest.mark.parametrize("kind", [ModuleList, ParameterList])
def test_slices_and_sums_are_numbered_from_0(kind):
    parts = layers(3) if kind is ModuleList else [Parameter([float(i)]) for i in range(3)]
    whole = kind(parts)
    tail = whole[1:]
    assert type(tail) is kind
    assert list(tail) == parts[1:] if kind is ModuleList else [p.item() for p in tail] == [1.0, 2.0]
    assert {key.partition(".")[0] for key in tail.state_dict()} == {"0", "1"}
    both = tail + whole[:1]
    assert [id(part) for part in both] == [id(parts[i]) for i in (1, 2, 0)]
    assert len(whole) == 3
    with pytest.raises(TypeError):
        whole + 3


def test_a_named_sequential_keeps_its_names():
    net = Sequential(OrderedDict(first=Linear(1, 1), last=ReLU()))
    net.insert(1, Tanh())
    assert [name for name, _ in net.named_children()] == ["first", "2", "last"]
    assert net.pop("first").out_features == 1
    del net["last"]
    assert [type(module).__name__ for module in net] == ["Tanh"]
    more = net + Sequential(ReLU())
    assert [type(module).__name__ for module in more] == ["Tanh", "ReLU"]
    assert len(net) == 1


def test_a_slice_has_no_hooks():
    net = Sequential(ReLU(), ReLU())
    net.register_forward_hook(lambda *_: 1 / 0)
    assert net[:1](Tensor([1.0])).item() == 1


def test_lists_cannot_be_called():
    for holder in (ModuleList([ReLU()]), ModuleDict({"a": ReLU()}), ParameterList(), ParameterDict()):
        with pytest.raises(
            NotImplementedError, match=f"{type(holder).__name__} only holds modules or parameters, and computes nothing"
        ):
            holder(Tensor([1.0]))


class Model(Module):
    def __init__(self):
        self.blocks = ModuleList([Linear(2, 2), Linear(2, 2)])
        self.heads = ModuleDict({"small": Linear(2, 1), "large": Linear(2, 3)})
        self.scales = ParameterList([Parameter([1.0]), Tensor([2.0]), np.ones(1, np.float32)])
        self.named = ParameterDict({"shift": Parameter([0.5])})

    def forward(self, x, head="small"):
        for block, scale in zip(self.blocks, self.scales):
            x = block(x) * scale
        return self.heads[head](x) + self.named["shift"]


def test_modules_in_lists_are_found_named_trained_and_copied():
    torch = pytest.importorskip("torch")
    net, theirs = Model(), torch.nn.Module()
    theirs.blocks = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    theirs.heads = torch.nn.ModuleDict({"small": torch.nn.Linear(2, 1), "large": torch.nn.Linear(2, 3)})
    theirs.scales = torch.nn.ParameterList([torch.ones(1), torch.ones(1), torch.ones(1)])
    theirs.named = torch.nn.ParameterDict({"shift": torch.nn.Parameter(torch.ones(1))})
    assert list(net.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in net.named_modules()] == [name for name, _ in theirs.named_modules()]
    net(Tensor([[1.0, 2.0]])).sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == ["heads.large.weight", "heads.large.bias", "scales.2"]
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(Tensor([[1.0, 2.0]]), "large").numpy(), net(Tensor([[1.0, 2.0]]), "large").numpy())
        assert twin.blocks[0] is not net.blocks[0]
        assert twin.scales[0] is not net.scales[0]
    assert net.to("float64").scales[1].dtype == np.float64


def test_repr_lists_modules_and_parameters():
    assert repr(Model()) == (
        "Model(\n"
        "  (blocks): ModuleList(\n"
        "    (0): Linear(in_features=2, out_features=2, bias=True)\n"
        "    (1): Linear(in_features=2, out_features=2, bias=True)\n"
        "  )\n"
        "  (heads): ModuleDict(\n"
        "    (small): Linear(in_features=2, out_features=1, bias=True)\n"
        "    (large): Linear(in_features=2, out_features=3, bias=True)\n"
        "  )\n"
        "  (scales): ParameterList(\n"
        "    (0): Parameter float32 (1,)\n"
        "    (1): Parameter float32 (1,)\n"
        "    (2): Parameter float32 (1,)\n"
        "  )\n"
        "  (named): ParameterDict(\n"
        "    (shift): Parameter float32 (1,)\n"
        "  )\n"
        ")"
    )
    assert repr(ModuleList()) == "ModuleList()"


@pytest.mark.parametrize(("kind", "part"), [(ModuleDict, ReLU), (ParameterDict, lambda: Parameter([1.0]))])
def test_a_module_dict_has_the_methods_of_a_dict(kind, part):
    parts = {"b": part(), "a": part()}
    held = kind(parts)
    assert list(held) == list(held.keys()) == ["b", "a"]
    assert [id(value) for value in held.values()] == [id(value) for value in parts.values()]
    assert [name for name, _ in held.items()] == ["b", "a"]
    assert "a" in held
    assert "c" not in held
    assert held.get("c") is None
    old = held["b"]
    held["b"] = part()
    assert held["b"] is not old
    assert list(held) == ["b", "a"]
    held.update({"c": old})
    assert held.pop("c") is old
    del held["a"]
    assert len(held) == 1
    assert held == held
    assert held != kind(dict(held))
    assert hash(held) == hash(held)
    with pytest.raises(KeyError, match="'c' among the 1: b"):
        held["c"]
    held.clear()
    assert not held
    assert not [*held.parameters()]
    assert list(kind([("x", part())])) == ["x"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ModuleList(ReLU()), TypeError, r"ModuleList: expected a list of modules, ModuleList\(\[a, b\]\), got ReLU"),
        (lambda: ModuleList([3]), TypeError, "ModuleList: expected a Module, got 3"),
        (lambda: ModuleList([ReLU]), TypeError, r"create one: ReLU\("),
        (lambda: Sequential([ReLU(), ReLU()]), TypeError, r"got \[ReLU\(\), ReLU\(\)\]; unpack it: Sequential\(\*layers\)"),
        (
            lambda: Sequential(ReLU(), relu),
            TypeError,
            r"got <function relu .*; take the layer of this function, such as ReLU\(",
        ),
        (lambda: ModuleList().extend([ReLU(), None]), TypeError, "expected a Module, got None"),
        (lambda: ModuleList([ReLU()])[1], IndexError, "ModuleList: no module 1 among the 1: 0"),
        (lambda: ModuleList([ReLU()]).insert(3, ReLU()), IndexError, "cannot insert at 3, there are 1"),
        (lambda: ModuleList().pop(), IndexError, "no module -1 among the 0"),
        (lambda: ParameterList([[1.0]]), TypeError, r"ParameterList: expected a Parameter, got \[1.0\]"),
        (lambda: ParameterList([Tensor([1])[0] > 0]), TypeError, "floating"),
        (lambda: ModuleDict(3), TypeError, "ModuleDict: expected modules by name"),
        (lambda: ModuleDict({"a.b": ReLU()}), ValueError, "ModuleDict: 'a.b' cannot name a module: it is empty, has a dot"),
        (lambda: ModuleDict({"keys": ReLU()}), ValueError, "'keys' cannot name a module"),
        (lambda: ModuleDict({3: ReLU()}), TypeError, "ModuleDict: a name must be a string, got 3"),
        (lambda: ModuleDict({"a": Linear}), TypeError, "ModuleDict: expected a Module, got <class"),
        (lambda: ParameterDict({"a": 3.0}), TypeError, "ParameterDict: expected a Parameter, got 3.0"),
        (lambda: ParameterDict()["a"], KeyError, "ParameterDict: no parameter 'a' among the 0"),
    ],
)
def test_wrong_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_refused_extension_changes_nothing():
    held = ModuleList([Identity()])
    with pytest.raises(TypeError):
        held.extend([ReLU(), 3])
    assert len(held) == 1


class Index:
    def __index__(self):
        return 1

    def __repr__(self):  # the name of a test, in every process the same
        return "Index()"


@pytest.mark.parametrize("one", [np.int64(1), np.uint8(1), np.array(1), Tensor(np.array(1)), Index(), True], ids=repr)
@pytest.mark.parametrize("kind", ["Sequential", "ModuleList", "ParameterList"])
def test_everything_that_python_accepts_as_an_index(kind, one):
    def parts(count):
        return [Parameter([float(i)]) if kind == "ParameterList" else ReLU() for i in range(count)]

    a, b, c, d = parts(4)
    held = (
        Sequential(a, b, c)
        if kind == "Sequential"
        else {"ModuleList": ModuleList, "ParameterList": ParameterList}[kind]([a, b, c])
    )
    assert held[one] is b
    assert next(iter(held[one:])) is b
    assert len(held[:one]) == 1
    held[one] = d
    assert held[1] is d
    held.insert(one, b)
    assert len(held) == 4
    assert all(x is y for x, y in zip(held, [a, b, d, c]))
    assert held.pop(one) is b
    assert len(held) == 3
    del held[one]
    assert len(held) == 2
    assert held[-1] is c
    for wrong in (1.0, "one", None):
        with pytest.raises(IndexError, match=f"{kind}: no "):
            held[wrong]
        with pytest.raises(IndexError, match=f"{kind}: cannot insert"):
            held.insert(wrong, a)
