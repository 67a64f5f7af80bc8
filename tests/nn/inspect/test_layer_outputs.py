"""The outputs of the layers inside a model."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn


def images(n=2, seed=0):
    return mt.Tensor(np.random.default_rng(seed).standard_normal((n, 1, 6, 6)).astype(np.float32))


def network():
    mt.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    return nn.Sequential(body, nn.Flatten(), nn.Linear(48, 2))


def test_each_layer_gives_what_it_gives_to_the_next():
    net, x = network(), images()
    found = nn.activations(net, x, ["1", "0.2", "0.0"])
    assert list(found) == ["1", "0.2", "0.0"]
    net.eval()
    convolved = net[0][0](x)
    rectified = net[0][2](net[0][1](convolved))
    np.testing.assert_array_equal(found["0.0"].numpy(), convolved.detach().numpy())
    np.testing.assert_array_equal(found["0.2"].numpy(), rectified.detach().numpy())
    np.testing.assert_array_equal(found["1"].numpy(), rectified.detach().numpy().reshape(2, 48))


def test_the_model_is_afterwards_as_it_was_and_nothing_is_recorded():
    net, x = network(), images()
    net[0][3].eval()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    found = nn.activations(net, x)
    assert [module.training for module in net.modules()] == modes
    assert not any(module._hooks for module in net.modules())
    assert not any(value.requires_grad for value in found.values())
    for name, value in net.state_dict().items():  # the running statistics of the normalisation among them
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_without_names_it_is_every_layer_that_has_none_below():
    net = network()
    assert list(nn.activations(net, images())) == ["0.0", "0.1", "0.2", "0.3", "1", "2"]
    assert list(nn.activations(net, images(), "0")) == ["0"]
    np.testing.assert_array_equal(nn.activations(net, images(), "")[""].numpy(), net.eval()(images()).detach().numpy())


class Twice(nn.Module):
    """One ReLU is called twice, and writes in place into the output of a layer."""

    def __init__(self):
        self.first, self.relu, self.idle = nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Identity()
        self.first.weight.array[...] = 1

    def forward(self, x):
        y = self.first(x)
        z = self.relu(y)
        y[...] = 7.0
        return self.relu(-z + 1)


def test_a_layer_in_several_places_gives_a_list_and_later_writing_does_not_reach_it():
    x = mt.Tensor(np.array([[[[-1.0, 0.25]]]], np.float32))
    found = nn.activations(Twice(), x, ["relu", "first"])
    assert [value.tolist() for value in found["relu"]] == [[[[[0.0, 0.25]]]], [[[[1.0, 0.75]]]]]
    assert found["first"].tolist() == [[[[-1.0, 0.25]]]]
    assert "idle" not in nn.activations(Twice(), x)


class Pair(nn.Module):
    def forward(self, x):
        return x, {"double": x + x}


def test_what_is_no_tensor_is_copied_as_it_is():
    class Model(nn.Module):
        def __init__(self):
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)[1]["double"]

    (found,) = nn.activations(Model(), mt.Tensor([1.0]), "pair").values()
    assert found[0].tolist() == [1.0]
    assert found[1]["double"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: nn.activations(lambda x: x, x), TypeError, "activations: expected a Module, got function"),
        (lambda x: nn.activations(nn.ReLU, x), TypeError, r"the class ReLU; create one: ReLU\(...\)"),
        (lambda x: nn.activations(network(), [1.0]), TypeError, r"x must be a Tensor or an array, got list; wrap it"),
        (lambda x: nn.activations(network(), x, 3), TypeError, r'layers must be the name of a layer, such as "features.0"'),
        (lambda x: nn.activations(network(), x, ["0", 3]), TypeError, r"or several, got \['0', 3\]"),
        (lambda x: nn.activations(network(), x, "conv"), ValueError, "Sequential has no layer 'conv'; there is 0, 0.0, 0.1"),
        (lambda x: nn.activations(Twice(), x, "idle"), ValueError, "the model did not call its layer 'idle'"),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call(images())
