"""Tracing a model: what is recorded, and that the model is not changed."""

import sys

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import Tensor
from microtensor.autograd.graph import mode
from microtensor.nn.containers import Sequential
from microtensor.nn.inspect.trace import trace
from microtensor.nn.layers.activation import ReLU
from microtensor.nn.layers.batch_norm import BatchNorm2d
from microtensor.nn.layers.dropout import Dropout
from microtensor.nn.layers.embedding import Embedding
from microtensor.nn.layers.linear import Bilinear, Flatten, Linear
from microtensor.nn.lists import ParameterList
from microtensor.nn.module import Buffer, Module, Parameter
from microtensor.random import Generator


class Noisy(Module):
    """Draws random numbers, in eval mode too, from the default generator and from its own."""

    def __init__(self):
        self.generator = Generator(1)
        self.weight = Parameter([1.0])

    def forward(self, x):
        return x * self.weight + mt.rand(1) + mt.rand(1, generator=self.generator)


def test_nothing_of_the_model_is_changed():
    net = Sequential(BatchNorm2d(2), Dropout(0.5), Noisy(), Flatten(), Linear(18, 3))
    net[1].eval()
    seen = []
    net[2].register_forward_hook(lambda module, args, result: seen.append(result.shape))
    hooks = [module._hooks for module in net.modules()]
    modes = [module.training for module in net.modules()]
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    generators = [mt.random.default.get_state(), net[2].generator.get_state()]
    observers = mode.observers
    assert len(trace("summary", net, (2, 3, 3)).calls) == 6
    assert seen == [(1, 2, 3, 3)]  # the user's own hooks are called
    assert [module._hooks for module in net.modules()] == hooks
    assert [module.training for module in net.modules()] == modes
    assert [mt.random.default.get_state(), net[2].generator.get_state()] == generators
    assert mode.observers == observers
    assert mode.recording
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[name])


def test_nor_when_it_fails():
    net = Sequential(BatchNorm2d(2), Linear(3, 3))
    with pytest.raises(ValueError, match="summary: Sequential cannot compute"):
        trace("summary", net, (2, 4, 4))
    assert all(module.training and not module._hooks for module in net.modules())
    assert not mode.observers
    assert mode.recording


@pytest.mark.parametrize(
    ("model", "shape", "dtype", "error", "message"),
    [
        (lambda x: x, (3,), None, TypeError, "summary: expected a Module, got <function"),
        (Linear, (3,), None, TypeError, r"summary: expected a Module, .*create one: Linear\("),
        (Linear(3, 1), "3", None, TypeError, "summary: input_shape must be integers"),
        (Linear(3, 1), (2.0,), None, TypeError, "summary: input_shape must be integers"),
        (Linear(3, 1), (0,), None, ValueError, "summary: the numbers of input_shape must be at least 1"),
        (Linear(3, 1), (3,), "word", TypeError, "summary: 'word' is no dtype"),
        (Linear(3, 1), (3,), ["int64", "int64"], ValueError, "summary: 2 dtypes for 1 inputs"),
        (
            Sequential(Flatten(), Linear(3, 1)),
            (1, 2, 2),
            None,
            ValueError,
            r"summary: Sequential cannot compute for input_shape \(1, 2, 2\), which is that of one sample, without the batch "
            r"axis: 1 \(Linear\): linear: weight \(1, 3\) takes 3 features",
        ),
        (Linear(3, 1), ((3,), (3,)), None, TypeError, r"inputs are to be a list, got .*; write \[\(3,\), \(3,\)\]"),
        (
            Bilinear(3, 3, 1),
            (3,),
            None,
            ValueError,
            r"missing 1 .*; give a list with a shape for each input, such as \[\(1, 28",
        ),
        (Embedding(3, 1), (3,), None, ValueError, r"use \.to\('int64'\); here: dtype=\"int64\"$"),
        (Linear(3, 1), [(3,), (3,)], None, ValueError, "summary: Linear cannot compute .* positional argument"),
    ],
)
def test_what_cannot_be_traced(model, shape, dtype, error, message):
    with pytest.raises(error, match=message):
        trace("summary", model, shape, dtype)


def test_inputs_are_of_the_models_dtype_or_the_one_asked_for():
    class Keeping(Module):
        def __init__(self, tensor):
            self.tensor = tensor

        def forward(self, *inputs):
            self.seen = [(x.dtype, x.shape) for x in inputs]
            return inputs[0]

    for tensor, dtype in ((Parameter(np.ones(1)), "float64"), (Buffer(np.ones(1, np.int64)), "float32"), (None, "float32")):
        model = Keeping(tensor)
        trace("summary", model, (3, 4))
        assert model.seen == [(np.dtype(dtype), (1, 3, 4))]
    trace("summary", model, [(3,), (2, 2)], ["int64", None])
    assert model.seen == [(np.dtype(np.int64), (1, 3)), (np.dtype(np.float32), (1, 2, 2))]
    trace("summary", model, ())
    assert model.seen == [(np.dtype(np.float32), (1,))]


def test_a_model_on_a_gpu_gets_its_input_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    net = Sequential(Flatten(), Linear(12, 3)).to("cuda")
    assert trace("summary", net, (3, 2, 2)).calls[2].multiply_adds == 36


def test_parameters_count_where_they_are_met_first():
    class Model(Module):
        def __init__(self):
            self.first = Linear(2, 3)
            self.second = Linear(2, 3)
            self.second.weight = self.first.weight  # tied
            self.scales = ParameterList([Parameter([1.0, 2.0, 3.0])])  # no call: used by forward
            self.rest = Linear(1, 1)  # never used

        def forward(self, x):
            return self.first(x) + self.second(x) * self.scales[0] + self.first(x)

    model = Model()
    watched = trace("summary", model, (2,))
    found = [(call.name, [p.shape for p in call.parameters], len(call.again)) for call in watched.calls]
    assert found == [("", [(3,)], 0), ("first", [(3, 2), (3,)], 0), ("second", [(3,)], 1), ("first", [], 2)]
    assert {id(p) for p in model.parameters()} - watched.counted == {id(p) for p in model.rest.parameters()}


def test_activations_are_what_depends_on_the_input_and_is_no_view():
    class Model(Module):
        def __init__(self):
            self.weight = Parameter(np.ones((4, 3), np.float32))

        def forward(self, x):
            weight = self.weight / self.weight.norm()  # does not depend on the input
            return (x.reshape(1, 3) @ weight.T).relu().unsqueeze(0)

    (call,) = trace("summary", Model(), (3,)).calls
    assert call.activation_bytes == 2 * 4 * 4  # the product and relu's result, of 4 float32 each
    assert call.multiply_adds == 3 * 4


def test_words_are_followed_through_their_table():
    net = Sequential(Embedding(10, 4), Linear(4, 2))
    calls = trace("summary", net, (5,), "int64").calls
    assert [call.shapes for call in calls] == [[(5, 2)], [(5, 4)], [(5, 2)]]
    assert [call.activation_bytes for call in calls] == [0, 5 * 4 * 4, 5 * 2 * 4]
    assert calls[2].multiply_adds == 5 * 4 * 2


def test_results_of_several_tensors():
    class Two(Module):
        def forward(self, x):
            return {"a": x.relu(), "b": (x * 2, x[:, :1])}

    (call,) = trace("summary", Two(), (3,)).calls
    assert call.shapes == [(3,), (3,), (1,)]


def test_depth_counts_for_the_module_above():
    net = Sequential(Sequential(Linear(2, 2), ReLU()), Linear(2, 1))
    deep, flat = trace("summary", net, (2,)), trace("summary", net, (2,), depth=1)
    assert [call.name for call in flat.calls] == ["", "0", "1"]
    assert [call.shapes for call in flat.calls] == [[(1,)], [(2,)], [(1,)]]
    for key in ("multiply_adds", "activation_bytes"):
        assert sum(getattr(call, key) for call in deep.calls) == sum(getattr(call, key) for call in flat.calls)
    assert [len(call.parameters) for call in flat.calls] == [0, 2, 2]
    assert [call.name for call in trace("summary", net, (2,), depth=0).calls] == [""]


def test_functions_called_in_forward_count_for_the_module_that_calls_them():
    class Model(Module):
        def __init__(self):
            self.inner = Linear(3, 3)

        def forward(self, x):
            return self.inner(x) @ Tensor(np.ones((3, 2), np.float32))

    outer, inner = trace("summary", Model(), (3,)).calls
    assert (outer.multiply_adds, inner.multiply_adds) == (6, 9)


def test_sums_of_products_are_left_out():
    seen = []
    net = Sequential(Linear(3, 2), ReLU())
    net[0].register_forward_hook(lambda module, args, result: seen.append(result.tolist()))
    trace("summary", net, (3,))
    assert seen == [[net[0].bias.tolist()]]
    net(mt.ones(1, 3))
    assert seen[1] != seen[0]
