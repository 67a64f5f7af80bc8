"""Parameters, buffers and submodules by dotted name, compared with PyTorch's module of the same structure."""

import pytest
from small_modules import Block, Net, names, torch_net

from microtensor import Tensor
from microtensor.nn.layers.linear import Linear
from microtensor.nn.module import Module, Parameter


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


def test_a_reassigned_attribute_keeps_its_place_in_the_order():
    net = Net()
    net.weight = Parameter([7.0])
    del net.again
    assert names(net.named_parameters()) == names(Net().named_parameters())
    assert next(net.parameters()).item() == 7.0
    assert "again.scale" not in net.state_dict()


def test_all_names_of_shared_objects_without_remove_duplicate():
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
def test_a_missing_dotted_name_is_an_attribute_error(get, target, message):
    with pytest.raises(AttributeError) as error:
        getattr(Net(), get)(target)
    assert str(error.value) == message


@pytest.mark.parametrize("box", [lambda m: [m], lambda m: (1, m), lambda m: {"a": m}], ids=["list", "tuple", "dict"])
@pytest.mark.parametrize("part", [Block, lambda: Parameter([1.0])], ids=["module", "parameter"])
def test_modules_in_a_plain_collection_are_refused(box, part):
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


def test_a_plain_tensor_that_requires_a_gradient_is_refused():
    net = Net()
    net.bias = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"Net\.bias: a Tensor that requires a gradient .* Parameter"):
        list(net.parameters())
    net.bias = Tensor([1.0])
    net.features = net.weight * 2  # a result, kept to look at
    assert len(list(net.parameters())) == 4


@pytest.mark.parametrize("hide", [lambda m: [[m]], lambda m: {"a": [m]}, lambda m: {m}])
def test_modules_hidden_in_nested_containers_are_refused(hide):
    class Model(Module):
        pass

    model = Model()
    model.layers = hide(Linear(2, 2))
    with pytest.raises(TypeError, match="hides the Linear in it from parameters"):
        list(model.parameters())


def test_a_module_that_holds_itself_is_refused():
    net = Net()
    net.second.parent = net
    with pytest.raises(ValueError, match=r"second\.parent leads back"):
        list(net.parameters())
