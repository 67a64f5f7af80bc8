"""Containers: order, names, slices, and how branches and bodies combine."""

from collections import OrderedDict

import numpy as np
import pytest

from microtensor import Tensor
from microtensor.gradcheck import check_gradients
from microtensor.nn.containers import Concat, Residual, Sequential
from microtensor.nn.layers.activation import ReLU, Tanh
from microtensor.nn.layers.linear import Flatten, Identity, Linear


@pytest.fixture
def x():
    return Tensor(np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32))


def test_sequential_is_composition(x):
    first, second = Linear(3, 4), Linear(4, 2)
    net = Sequential(first, Tanh(), second)
    np.testing.assert_array_equal(net(x).numpy(), second(first(x).tanh()).numpy())
    assert Sequential()(x) is x


def test_keys_are_numbers_or_the_names_given(x):
    net = Sequential(Linear(3, 4), ReLU(), Linear(4, 2))
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for named in (dict, OrderedDict):
        net = Sequential(named([("fc", Linear(3, 4)), ("act", ReLU())]))
        assert list(net.state_dict()) == ["fc.weight", "fc.bias"]
        assert net["fc"] is net.fc is net[0]
        assert net(x).shape == (2, 4)


def test_a_module_that_is_held_twice_has_its_parameters_once(x):
    layer = Linear(3, 3)
    net = Sequential(layer, layer)
    np.testing.assert_array_equal(net(x).numpy(), layer(layer(x)).numpy())
    assert len(net) == len(list(net)) == 2
    assert len(list(net.parameters())) == 2
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_index_slice_append_replace(x):
    layers = [Linear(3, 3), ReLU(), Linear(3, 2)]
    net = Sequential(*layers).eval()
    assert [net[0], net[-1], *net[1:]] == [layers[0], layers[2], layers[1], layers[2]]
    tail = net[1:]
    assert type(tail) is Sequential
    assert list(tail.state_dict()) == ["2.weight", "2.bias"]
    assert not tail.training
    assert tail.append(Tanh()) is tail  # "2" is taken
    assert [name for name, _ in tail.named_children()] == ["1", "2", "3"]
    assert len(net) == 3
    net[-1] = Linear(3, 5)
    assert net(x).shape == (2, 5)
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_slice_of_a_subclass_keeps_its_settings(x):
    halves = Concat(Identity(), Linear(3, 2), Linear(3, 1), dim=-1)
    assert halves[:2](x).shape == (2, 5)
    assert halves[:2].dim == -1


@pytest.mark.parametrize("index", [3, -4, "3", "training"])
def test_an_index_out_of_range(index):
    net = Sequential(ReLU(), ReLU(), ReLU())
    with pytest.raises(IndexError, match="0, 1, 2"):
        net[index]
    with pytest.raises(IndexError, match="0, 1, 2"):
        net[index] = ReLU()


def test_anything_but_a_module_is_refused():
    for wrong in (3, np.tanh, [ReLU()], None):
        with pytest.raises(TypeError, match="Sequential: expected a Module"):
            Sequential(ReLU(), wrong)
    with pytest.raises(TypeError, match=r"create one: ReLU\("):
        Sequential(ReLU)
    with pytest.raises(TypeError, match="expected a Module"):
        Sequential(ReLU())[0] = 3


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training", "append"])
def test_a_name_that_is_another_attribute_is_refused(name):
    with pytest.raises(ValueError, match="cannot name"):
        Sequential({name: ReLU()})


def test_concat_concatenates_the_results_of_its_branches(x):
    branch = Linear(3, 4)
    y = Concat(Identity(), branch)(x)
    np.testing.assert_array_equal(y.numpy(), np.concatenate([x.numpy(), branch(x).numpy()], 1))
    assert list(Concat({"branch1": branch}).state_dict()) == ["branch1.weight", "branch1.bias"]
    assert repr(Concat(ReLU(), dim=-1)) == "Concat(\n  dim=-1\n  (0): ReLU()\n)"
    with pytest.raises(ValueError, match="cat: "):
        Concat(Identity(), Flatten(0))(x)
    with pytest.raises(ValueError, match="nothing to concatenate"):
        Concat()(x)


def test_residual_adds_body_and_shortcut(x):
    body, shortcut = Linear(3, 4), Linear(3, 4)
    np.testing.assert_array_equal(Residual(body, shortcut)(x).numpy(), (body(x) + shortcut(x)).numpy())
    same = Linear(3, 3)
    np.testing.assert_array_equal(Residual(same)(x).numpy(), (same(x) + x).numpy())
    assert list(Residual(body, shortcut).state_dict()) == ["body.weight", "body.bias", "shortcut.weight", "shortcut.bias"]


def test_residual_does_not_broadcast(x):
    with pytest.raises(ValueError, match=r"the body gives \(2, 1\), the shortcut \(2, 3\)"):
        Residual(Linear(3, 1))(x)


def test_gradients_of_containers():
    net = Sequential(Residual(Sequential(Linear(3, 3), Tanh())), Concat(Identity(), Linear(3, 2)), Tanh()).to("float64")

    x = Tensor(np.random.default_rng(1).standard_normal((2, 3)))
    check_gradients(net, x, order=2)
