"""`x += y` and its kin: in the memory of x, or not at all."""

import operator

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn

FLOATS = np.array([5.0, 7.0, 2.0], np.float32)
WHOLE = np.array([5, 7, 2])
BOOLS = np.array([True, False, True])

CASES = [
    (op, FLOATS, y) for op in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow") for y in (2, 1.5, FLOATS[::-1])
]
CASES += [(op, WHOLE, y) for op in ("iadd", "isub", "imul", "ifloordiv", "imod", "ipow") for y in (2, WHOLE[::-1])]
CASES += [(op, WHOLE, y) for op in ("iand", "ior", "ixor", "ilshift", "irshift") for y in (1, WHOLE[::-1])]
CASES += [(op, BOOLS, y) for op in ("iand", "ior", "ixor") for y in (True, BOOLS[::-1])]


@pytest.mark.parametrize(("op", "x", "y"), CASES)
def test_written_into_the_memory_as_numpy_does(op, x, y):
    expected = x.copy()
    expected = getattr(operator, op)(expected, y)
    tensor = mt.tensor(x)
    alias, view, detached, before = tensor, tensor[:1], tensor.detach(), tensor.assigned[0]
    tensor = getattr(operator, op)(tensor, mt.tensor(y.copy()) if isinstance(y, np.ndarray) else y)
    assert tensor is alias
    assert tensor.dtype == x.dtype
    np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(view.numpy(), tensor.numpy()[:1])
    np.testing.assert_array_equal(detached.numpy(), tensor.numpy())
    assert tensor.assigned[0] > before


def test_the_array_that_a_tensor_was_made_of_changes_too():
    array = np.array([5, 7])
    x = Tensor(array)
    x **= 2
    x //= 3
    x %= 5
    assert array.tolist() == [3, 1]


def test_in_a_loop_over_parameters():
    model = nn.Linear(2, 1, bias=False)
    with mt.no_grad():
        for p in model.parameters():
            p[...] = 3.0
        for p in model.parameters():
            p **= 2
            p %= 5
    assert model.weight.tolist() == [[4.0, 4.0]]
    assert isinstance(model.weight, nn.Parameter)
    assert model.weight.requires_grad


SIGNS = ["+=", "-=", "*=", "/=", "//=", "%=", "**=", "&=", "|=", "^=", "<<=", ">>="]


def run(sign, x, y):
    names = {"x": x, "y": y}
    exec(f"x {sign} y", names)
    return names["x"]


@pytest.mark.parametrize("sign", SIGNS[:7])
def test_a_leaf_that_requires_a_gradient_is_refused_while_recording(sign):
    x = mt.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=f"x {sign[:-1].replace('*', '[*]').replace('+', '[+]')}= y: a leaf that requires"):
        run(sign, x, 2.0)
    assert x.tolist() == [1.0, 1.0]
    with mt.no_grad():
        assert run(sign, x, 2.0) is x


@pytest.mark.parametrize("sign", SIGNS[:7])
def test_a_result_in_a_graph_goes_to_a_new_tensor_while_recording(sign):
    w = mt.tensor([3.0, 5.0], requires_grad=True)
    x = w * 1
    y = run(sign, x, 2.0)
    assert x.tolist() == [3.0, 5.0]
    assert y is not x


@pytest.mark.parametrize("sign", SIGNS[:7])
def test_a_pending_backward_sees_it(sign):
    x, w = mt.tensor([1.0]), mt.tensor([2.0], requires_grad=True)
    y = x * w
    run(sign, x, 2.0)
    with pytest.raises(RuntimeError, match="was assigned to"):
        y.backward()


@pytest.mark.parametrize(
    ("sign", "x", "y", "wanted"),
    [
        ("/=", WHOLE, 2, "float32"),
        ("/=", WHOLE, WHOLE, "float32"),
        ("//=", WHOLE, 2.5, "float32"),
        ("+=", WHOLE, 0.5, "float32"),
        ("*=", WHOLE, FLOATS, "float32"),
        ("%=", WHOLE, 1.5, "float32"),
        ("**=", WHOLE, 0.5, "float32"),
        ("+=", BOOLS, WHOLE, "int64"),
        ("|=", BOOLS, WHOLE, "int64"),
        ("/=", BOOLS, 2, "float32"),
    ],
)
def test_a_dtype_never_changes_in_silence(sign, x, y, wanted):
    tensor = mt.tensor(x)
    y = mt.tensor(y) if isinstance(y, np.ndarray) else y
    with pytest.raises(TypeError, match=rf"the result is {wanted}, which x, .*x = x\.to\('{wanted}'\)"):
        run(sign, tensor, y)
    np.testing.assert_array_equal(tensor.numpy(), x)
    converted = tensor.to(wanted)  # as the message says
    assert run(sign, converted, y) is converted


def test_integers_to_a_negative_power_are_refused():
    n = mt.tensor([3, 2])
    with pytest.raises(ValueError, match="pow"):
        n **= -1
    assert n.tolist() == [3, 2]


@pytest.mark.parametrize("sign", SIGNS[:7])
@pytest.mark.parametrize(("shape", "other"), [((2,), (2, 2)), ((1, 2), (3, 2)), ((), (1,)), ((0,), (3, 0))])
def test_a_shape_never_grows(sign, shape, other):
    x, y = mt.ones(*shape) if shape else mt.tensor(1.0), mt.ones(*other)
    with pytest.raises(ValueError, match=r"which x .* has no room for; write x = x "):
        run(sign, x, y)
    assert x.shape == shape


@pytest.mark.parametrize("sign", ["+=", "**=", "//="])
def test_memory_used_twice_is_refused(sign):
    x = mt.ones(2).expand(3, 2)
    with pytest.raises(ValueError, match=r"x .*= y: x \(3, 2\) is a view that cannot be assigned to.*x = x\.clone\(\)"):
        run(sign, x, 1.0)
    x = x.clone()
    assert run(sign, x, 2.0) is x


@pytest.mark.parametrize("sign", ["+=", "**=", "//="], ids=["add", "pow", "floordiv"])
def test_read_only_memory_is_refused(sign):
    array = np.ones(2, np.float32)
    array.flags.writeable = False
    x = Tensor(array)
    with pytest.raises(ValueError, match=r"the memory of x \(2,\) is read-only.*x = x\.clone\(\)"):
        run(sign, x, 1.0)
    x = x.clone()
    assert run(sign, x, 1.0) is x


def test_a_matrix_product_is_refused():
    x = mt.ones(2, 2)
    with pytest.raises(TypeError, match="x @= y: .* write x = x @ y"):
        x @= mt.ones(2, 2)


def test_itself_and_overlapping_views():
    x = mt.tensor([1.0, 2.0, 3.0])
    x *= x
    assert x.tolist() == [1.0, 4.0, 9.0]
    x[1:] -= x[:-1]
    assert x.tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize("optimiser", [nn.SGD, nn.Adam, nn.AdamW, nn.RMSprop, nn.Adagrad])
def test_an_optimiser_refuses_a_read_only_parameter_before_it_moves_any(optimiser):
    array = np.ones(2, np.float32)
    array.flags.writeable = False
    free, fixed = nn.Parameter(mt.ones(2)), nn.Parameter(Tensor(array))
    for p in (free, fixed):
        p.grad = mt.ones(2)
    moving = optimiser([free, fixed], lr=0.1)
    with pytest.raises(ValueError, match=r"step: the memory of a parameter \(2,\) is read-only.*p\.array = p\.array\.copy\(\)"):
        moving.step()
    assert free.tolist() == [1.0, 1.0]
    fixed.array = fixed.array.copy()  # as the message says
    moving.step()
    assert fixed.tolist() == free.tolist() != [1.0, 1.0]


def test_clipping_refuses_a_read_only_gradient():
    array = np.full(2, 3.0, np.float32)
    array.flags.writeable = False
    p = nn.Parameter(mt.ones(2))
    p.grad = Tensor(array)
    for clip in (lambda: nn.clip_grad_norm_([p], 1.0), lambda: nn.clip_grad_value_([p], 1.0)):
        with pytest.raises(ValueError, match=r"clip_grad_\w+_: the memory of a gradient \(2,\) is read-only"):
            clip()
    p.grad = p.grad.clone()
    nn.clip_grad_value_([p], 1.0)
    assert p.grad.tolist() == [1.0, 1.0]
