"""Forward and backward hooks: what they see and replace, compared with PyTorch's."""

import copy
import gc
import weakref

import numpy as np
import pytest

from microtensor import Tensor, no_grad
from microtensor.nn.containers import Residual, Sequential
from microtensor.nn.layers.activation import ReLU, Tanh
from microtensor.nn.layers.conv import Conv2d
from microtensor.nn.layers.linear import Identity, Linear
from microtensor.nn.layers.pool import MaxPool2d
from microtensor.nn.lists import ModuleList
from microtensor.nn.module import Module


def x(*shape, seed=0, grad=False):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), requires_grad=grad)


class Scaled(Module):
    def forward(self, x, by=1.0):
        return x * by


class Mixed(Module):
    """Two tensors in, a number between them, two tensors out."""

    def forward(self, a, factor, b):
        return a * b * factor, a + b.sum(1, keepdim=True)


def test_hooks_run_in_order_and_see_arguments_and_results():
    layer, log = Linear(2, 2), []
    for name in ("first", "second"):
        layer.register_forward_pre_hook(lambda module, args, name=name: log.append((name, module is layer, len(args))))
        layer.register_forward_hook(lambda module, args, result, name=name: log.append((name, result.shape)))
    layer.register_forward_pre_hook(lambda module, args: log.append("prepended"), prepend=True)
    layer(x(3, 2))
    assert log == ["prepended", ("first", True, 1), ("second", True, 1), ("first", (3, 2)), ("second", (3, 2))]


def test_hooks_replace_arguments_and_result():
    layer = Identity()
    layer.register_forward_pre_hook(lambda module, args: args[0] + 1)  # not a tuple: the only argument
    layer.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    layer.register_forward_hook(lambda module, args, result: result + args[0])
    assert layer(Tensor([1.0])).item() == 8


def test_a_hook_that_is_always_called_is_called_once():
    """As PyTorch's: after a computation, and after one that raised, with None for the result."""

    class Failing(Module):
        def forward(self, x):
            raise KeyError("forward")

    log = []
    layer = Failing()
    layer.register_forward_hook(lambda module, args, result: log.append("usual"))
    layer.register_forward_hook(lambda module, args, result: log.append((len(args), result)), always_call=True)
    relu = ReLU()
    relu.register_forward_hook(lambda module, args, kwargs, result: log.append(kwargs), with_kwargs=True, always_call=True)
    relu.register_forward_pre_hook(lambda module, args: 1 / 0)
    with pytest.raises(KeyError, match="forward"):
        layer(x(2))
    assert log == [(1, None)]
    with pytest.raises(ZeroDivisionError):
        relu(x(2))
    assert log[1:] == [{}]
    ok = Identity()
    ok.register_forward_hook(lambda module, args, result: log.append("once") or result * 2, always_call=True)
    ok.register_forward_hook(lambda module, args, result: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ok(x(2))
    assert log[2:] == ["once"]


def test_hooks_with_keywords():
    layer = Scaled()
    layer.register_forward_pre_hook(lambda module, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda module, args, kwargs, result: result + kwargs["by"], with_kwargs=True)
    assert layer(Tensor([2.0]), by=3.0).item() == 12
    layer.register_forward_pre_hook(lambda module, args, kwargs: args, with_kwargs=True)
    with pytest.raises(TypeError, match=r"Scaled: a hook before it that takes keywords must return None or \(args, kwargs\)"):
        layer(Tensor([2.0]), by=3.0)


def test_a_handle_removes_its_hook_and_no_other():
    layer, log = Identity(), []
    first = layer.register_forward_hook(lambda *_: log.append(1))
    second = layer.register_forward_hook(lambda *_: log.append(2))
    first.remove()
    first.remove()
    layer(x(1))
    with layer.register_forward_hook(lambda *_: log.append(3)) as handle:
        layer(x(1))
    layer(x(1))
    handle.remove()
    second.remove()
    layer(x(1))
    assert log == [2, 2, 3, 2]


def test_the_same_function_twice_is_two_hooks():
    layer, log = Identity(), []

    def hook(*_):
        log.append(1)

    first = layer.register_forward_hook(hook)
    layer.register_forward_hook(hook)
    first.remove()
    layer(x(1))
    assert log == [1]


def test_hooks_of_a_copy_are_its_own():
    layer, log = Identity(), []
    handle = layer.register_forward_hook(lambda *_: log.append(1))
    twin = copy.deepcopy(layer)
    handle.remove()
    layer(x(1))
    assert log == []
    twin(x(1))
    assert log == [1]


def test_a_hook_must_be_a_function():
    for register in ("register_forward_pre_hook", "register_forward_hook", "register_full_backward_hook"):
        with pytest.raises(TypeError, match="Identity: a hook must be a function, got 3"):
            getattr(Identity(), register)(3)


# Backward


def both(torch, ours, theirs, shape, grad=True, hook=None):
    """What a backward hook on the second layer of two equal nets is given; and the gradients that come out in the end."""
    theirs.load_state_dict({name: torch.tensor(t.numpy()) for name, t in ours.state_dict().items()})
    start = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found = []
    for net, lift in ((ours, Tensor), (theirs, torch.tensor)):
        seen = []

        def record(module, grad_input, grad_output, seen=seen):
            seen.append([None if g is None else np.array(g.tolist(), np.float32) for g in (*grad_input, *grad_output)])
            return None if hook is None else hook(module, grad_input, grad_output)

        net[1].register_full_backward_hook(record)
        data = lift(start)
        data.requires_grad = grad
        (net(data) ** 2).sum().backward()
        found.append((seen, [np.array(p.grad.tolist()) for p in [*net.parameters(), *([data] if grad else [])]]))
    return found


def compare(found):
    (seen, gradients), (their_seen, their_gradients) = found
    assert len(seen) == len(their_seen) == 1
    for ours, theirs in zip(seen[0], their_seen[0]):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(gradients, their_gradients):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hook", [None, lambda m, gi, go: (gi[0] * 3,)], ids=["look", "replace"])
def test_backward_hooks_are_pytorchs(hook):
    torch = pytest.importorskip("torch")
    ours = Sequential(Linear(3, 4), Linear(4, 5), Tanh())
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5), torch.nn.Tanh())
    compare(both(torch, ours, theirs, (2, 3), hook=hook))


def test_backward_hook_on_the_first_layer_has_no_input_gradient():
    layer, seen = Linear(3, 2), []
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: seen.append((grad_input, grad_output)))
    layer(x(4, 3)).sum().backward()
    ((grad_input, (grad_output,)),) = seen
    assert grad_input == (None,)
    np.testing.assert_array_equal(grad_output.numpy(), np.ones((4, 2)))
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: grad_output)
    with pytest.raises(ValueError, match="Linear: a backward hook replaced a gradient that is not computed"):
        layer(x(4, 3)).sum().backward()


def test_backward_hook_with_several_tensors_in_and_out():
    layer, seen = Mixed(), []
    a, b = x(2, 3, seed=1, grad=True), x(2, 3, seed=2, grad=True)

    def hook(module, grad_input, grad_output):
        seen.append((grad_input, grad_output))
        return tuple(None if g is None else g * 2 for g in grad_input)

    def pass_by(*out):
        return (out[0] * 3).sum() + (out[1] ** 2).sum()

    pass_by(*layer(a, 2.0, b)).backward()
    plain = [a.grad.numpy(), b.grad.numpy()]
    a.grad = b.grad = None
    layer.register_full_backward_hook(hook)
    out = layer(a, 2.0, b)
    assert isinstance(out, tuple)
    pass_by(*out).backward()
    ((grad_input, grad_output),) = seen
    assert grad_input[1] is None
    for found, expected in zip([grad_input[0], grad_input[2]], plain):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    for found, expected in zip([a.grad, b.grad], plain):
        np.testing.assert_allclose(found.numpy(), 2 * expected, rtol=1e-6)
    np.testing.assert_array_equal(grad_output[0].numpy(), np.full((2, 3), 3))
    np.testing.assert_allclose(grad_output[1].numpy(), 2 * out[1].numpy(), rtol=1e-6)


def test_backward_hooks_see_the_gradient_of_each_branch():
    """The gradient of x has two parts, one through the body and one around it; the hook sees its module's alone."""
    body, seen = Linear(3, 3), []
    net = Residual(body)
    body.register_full_backward_hook(lambda module, grad_input, grad_output: seen.append(grad_input[0]))
    data = x(2, 3, grad=True)
    net(data).sum().backward()
    np.testing.assert_allclose(seen[0].numpy(), np.ones((2, 3)) @ body.weight.numpy(), rtol=1e-6)
    np.testing.assert_allclose(data.grad.numpy(), seen[0].numpy() + 1, rtol=1e-6)


def test_several_backward_hooks_run_in_order_in_each_pass():
    layer, seen = Identity(), []
    layer.register_full_backward_hook(lambda m, gi, go: gi[0] * 2)  # not a tuple: the only gradient
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(gi[0].item()))
    data = Tensor([1.0], requires_grad=True)
    y = layer(data)
    y.backward(retain_graph=True)
    y.backward()
    assert seen == [2.0, 2.0]
    assert data.grad.item() == 4.0


def test_backward_hooks_of_second_order():
    layer, seen = Tanh(), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(gi[0].requires_grad))
    data = Tensor([0.5], requires_grad=True)
    layer(data).sum().backward(create_graph=True)
    assert seen == [True]


def test_without_a_graph_backward_hooks_are_not_called():
    layer, seen = ReLU(), []
    layer.register_full_backward_hook(lambda *_: seen.append(1))
    with no_grad():
        assert not layer(x(2, grad=True)).requires_grad
    layer(x(2))
    assert seen == []


@pytest.mark.parametrize("answer", [lambda gi: (gi[0].sum(),), lambda gi: (gi[0], gi[0]), lambda gi: 3.0])
def test_a_backward_hook_that_returns_a_wrong_gradient(answer):
    layer = ReLU()
    layer.register_full_backward_hook(lambda m, gi, go: answer(gi))
    with pytest.raises(ValueError, match=r"ReLU: a backward hook must return None or one gradient for each of the 1 arguments"):
        layer(x(2, 3, grad=True)).sum().backward()


def test_a_result_without_tensors_is_refused_by_a_backward_hook():
    class Named(Module):
        def forward(self, x):
            return {"y": x}

    layer = Named()
    layer.register_full_backward_hook(lambda *_: None)
    with pytest.raises(TypeError, match="Named: a backward hook needs a Tensor or a tuple of them as result, got dict"):
        layer(x(2, grad=True))


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("answer", [lambda given: given, lambda given: None, lambda given: (None,), list])
def test_a_hook_of_a_first_layer_may_return_the_gradients_that_it_was_given(answer):
    torch, grads = pytest.importorskip("torch"), []
    for tensor, layer in ((Tensor, Linear(2, 3)), (torch.tensor, torch.nn.Linear(2, 3))):
        layer.register_full_backward_hook(lambda module, given, g: grads.append(given) or (answer(given) if module else None))
        if tensor is Tensor or answer is not list:  # PyTorch takes tuples alone
            layer(tensor(np.ones((1, 2), np.float32))).sum().backward()
            assert layer.weight.grad.tolist() == [[1.0, 1.0]] * 3
    assert set(grads) == {(None,)}


def test_a_backward_hook_leaves_other_objects_in_a_result():
    torch = pytest.importorskip("torch")

    def forward(self, flag, x, table):
        return x * 2, flag, None, x.sum() * 3, {"table": table}, x.detach()

    seen = []
    for base, tensor in ((Module, Tensor), (torch.nn.Module, torch.tensor)):
        module = type("Mixed", (base,), {"forward": forward})()
        module.register_full_backward_hook(
            lambda module, given, g: seen.append([[v if v is None else v.tolist() for v in each] for each in (given, g)])
        )
        v = tensor(np.ones(2, np.float32), requires_grad=True)
        y, flag, nothing, total, table, apart = module(True, v, [1, 2])
        assert flag is True
        assert nothing is None
        assert table == {"table": [1, 2]}
        assert not apart.requires_grad
        (y.sum() + total).backward()
        assert v.grad.tolist() == [5.0, 5.0]
    assert seen[0] == seen[1] == [[None, [5.0, 5.0], None], [[1.0, 1.0], None, None, 1.0, None, None]]


class TestErrorsNameTheLayer:
    def test_by_its_dotted_name_from_the_outermost_module(self):
        model = Sequential(Sequential(Conv2d(1, 2, 3), ReLU()), Sequential(MaxPool2d(2), MaxPool2d(4)))
        with pytest.raises(ValueError, match=r"^1\.1 \(MaxPool2d\): max_pool2d: kernel") as caught:
            model(Tensor(np.zeros((1, 1, 8, 8), np.float32)))
        assert str(caught.value).count("MaxPool2d") == 1
        with pytest.raises(ValueError, match=r"^0\.0 \(Conv2d\): conv2d: weight .* takes 1 channels"):
            model(Tensor(np.zeros((1, 3, 8, 8), np.float32)))

    def test_a_layer_by_itself_says_its_operation_alone(self):
        with pytest.raises(ValueError, match=r"^max_pool2d: "):
            MaxPool2d(4)(Tensor(np.zeros((1, 1, 2, 2))))

    def test_in_a_list_that_is_not_called_itself(self):
        class Model(Module):
            def __init__(self):
                self.layers = ModuleList([Linear(2, 2), Linear(3, 2)])

            def forward(self, x):
                for layer in self.layers:
                    x = layer(x)
                return x

        with pytest.raises(ValueError, match=r"^layers\.1 \(Linear\): linear: weight"):
            Model()(Tensor([[1.0, 2.0]]))


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("forward", [lambda self, a, b: a * b, lambda self, a, b: (a * b, a + b)])
def test_backward_hooks_make_no_reference_cycles(forward, backward):
    layer = type("Layer", (Module,), {"forward": forward})()
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: None)
    one, other = x(2, 3, grad=True), x(2, 3, grad=True)
    gc.collect()
    gc.disable()
    try:
        result = layer(one, other)
        parts = result if isinstance(result, tuple) else (result,)
        watched = [weakref.ref(part) for part in parts]
        if backward:
            sum(part.sum() for part in parts).backward()
        del result, parts
        assert [part() for part in watched] == [None] * len(watched)
        assert gc.collect() == 0
    finally:
        gc.enable()
