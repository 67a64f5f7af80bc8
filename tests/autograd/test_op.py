"""`@op`: how arguments arrive, what they become, what is refused."""

import inspect
import pydoc
import typing
from typing import Any, NamedTuple

import numpy as np
import pytest

import microtensor as mt
from microtensor.autograd.arguments import composed
from microtensor.gradcheck import check_gradients

X = mt.Tensor([[1.0, 2.0], [3.0, 4.0]])


@mt.op(elementwise=True)
def weighted(x, y, z=None, *, scale=1.0, dim=0):
    """x + scale · y, and z if there is one."""
    return x.array + scale * y.array + (0 if z is None else z.array), (lambda g: g, lambda g: g * scale, lambda g: g)


def test_settings_by_keyword_and_by_position_and_tensors_by_name():
    assert weighted(X, X, None, 3.0).tolist() == weighted(X, X, scale=3.0).tolist() == weighted(y=X, x=X, scale=3.0).tolist()
    assert weighted(X, X, X).tolist() == weighted(X, X, z=X).tolist()
    assert weighted(X, X, axis=1).tolist() == (X + X).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weighted(X), "weighted: y is missing: it takes x, y, z, scale=, dim="),
        (lambda: weighted(X, X, weight=2), "weighted: unexpected weight: it takes x, y, z"),
        (lambda: weighted(X, X, X, 1.0, 0, 5), "weighted: too many arguments"),
        (lambda: weighted(X, X, X, 1.0, scale=2.0), "weighted: too many arguments"),
        (lambda: weighted(X, "2"), "weighted: expected a Tensor, a number or an array, got str"),
        (lambda: X + None, "add: expected a Tensor, a number or an array, got None"),
        (lambda: X + [1.0, 2.0], r"add: expected a Tensor, a number or an array, got list; wrap it: Tensor\(...\)"),
        (lambda: mt.exp(2.0), "exp: expected a Tensor, got float"),
        (lambda: mt.exp(np.ones(2)), "exp: expected a Tensor, got ndarray"),
    ],
)
def test_wrong_arguments_are_refused_in_words(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("number", [300, -1])
def test_integers_that_the_dtype_cannot_hold_are_refused(number):
    with pytest.raises(ValueError, match=rf"add: Python integer {number} out of bounds for uint8; convert the tensor first"):
        X.to("uint8") + number


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"add: shapes \(2, 2\) and \(3,\) do not broadcast: counted from the right"):
        X + mt.Tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize("number", [2, 2.0, True, np.float64(2), np.float32(2), np.int64(2)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_number_never_changes_the_dtype(number, dtype):
    x = X.to(dtype)
    for y in (x * number, number * x, x + number, number - x, x / number, number / x, x**number, mt.maximum(x, number)):
        assert y.dtype == dtype


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ("float32", "float64", "float64"),
        ("float32", "int64", "float32"),
        ("float16", "int64", "float16"),
        ("int32", "int64", "int64"),
        ("bool", "float32", "float32"),
        ("bool", "int64", "int64"),
    ],
)
def test_dtypes_meet_as_in_pytorch(x, y, expected):
    assert (X.to(x) * X.to(y)).dtype == expected
    assert (X.to(y) * X.to(x)).dtype == expected


def test_integers_and_a_float_make_float32():
    assert (X.to("int64") * 0.5).dtype == np.float32
    assert (X.to("int64") / X.to("int64")).dtype == np.float32
    assert X.to("int64").exp().dtype == np.float32
    assert (X.to("int64") * 2).dtype == np.int64


def test_gradients_pass_through_promotion():
    x, y = mt.Tensor([1.0], requires_grad=True), mt.Tensor(np.array([2.0]), requires_grad=True)
    (x * y).backward()
    assert x.grad.dtype == np.float32
    assert y.grad.dtype == np.float64


def test_arrays_are_constants_on_either_side():
    x = mt.Tensor(np.ones(2), requires_grad=True)
    y = np.array([2.0, 3.0]) * x + x * np.array([1.0, 1.0])
    assert isinstance(y, mt.Tensor)
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 4.0]


def test_an_operation_of_the_users_own():
    @mt.op(output=True)
    def expm1(x):
        return x.xp.expm1(x.array), (lambda g, y: g * (y + 1),)

    check_gradients(expm1, mt.Tensor(np.array([0.1, -0.5])), order=2)


def test_a_rule_with_a_wrong_number_of_vjps_is_refused():
    @mt.op
    def bad(x, y):
        return x.array, (lambda g: g,)

    with pytest.raises(TypeError, match="bad: its rule returned 1 vjps for 2 tensors"):
        bad(mt.Tensor([1.0], requires_grad=True), X)


def test_operations_on_a_parameter_give_tensors():
    from microtensor.nn import Parameter

    assert type(Parameter([1.0]) * 2) is mt.Tensor
    assert type(Parameter([1.0]).exp()) is mt.Tensor


def test_settings_after_a_slash_are_settings():
    @mt.op
    def scaled(x, /, scale, dim=None):
        return x.array * scale, (lambda g: g * scale,)

    for y in (scaled(X, 2.0), scaled(X, scale=2.0), scaled(X, 2.0, axis=0), scaled(scale=2.0, x=X)):
        assert y.tolist() == (2 * X).tolist()
    with pytest.raises(TypeError, match="scaled: unexpected factor: it takes x, scale=, dim="):
        scaled(X, factor=2.0)


def test_plain_functions_and_methods_understand_composed():
    @composed
    def last(x, dim=-1, keepdim=False):
        return dim, keepdim

    assert last(X, axis=1, keepdims=True) == last(X, 1, True) == last(X, dim=1, keepdim=True) == (1, True)
    with pytest.raises(TypeError, match="last: dim is given twice, by two of its names: dim, axis"):
        last(X, dim=0, axis=1)
    with pytest.raises(TypeError, match="axes"):
        last(X, axes=1)


# What a rule returns


def same(g):
    return g


MISTAKES = {
    "no vjps": (lambda x: x.array * 2, r"pair \(array, vjps\), it returned \w*\.?ndarray of shape"),
    "no return": (lambda x: None, r"pair \(array, vjps\), it returned NoneType"),
    "a list": (lambda x: [x.array, (same,)], r"pair \(array, vjps\), it returned list"),
    "a tensor and no vjps": (lambda x: mt.cat([x.detach(), x.detach()]), r"pair \(array, vjps\), it returned Tensor of shape"),
    "three": (lambda x: (x.array, (same,), 1), r"pair \(array, vjps\), it returned a tuple of 3"),
    "one": (lambda x: (x.array,), r"pair \(array, vjps\), it returned a tuple of 1"),
    "a tensor": (
        lambda x: (x.detach(), (same,)),
        r"must return an array as its result, it returned Tensor; compute with x\.array",
    ),
    "numbers": (lambda x: (2.0, (same,)), "must return an array as its result, it returned float"),
    "nothing and vjps": (lambda x: (None, (same,)), "must return an array as its result, it returned NoneType"),
    "vjps and the array": (lambda x: ((same,), x.array), "must return an array as its result, it returned tuple"),
    "a function": (lambda x: (x.array, same), r"a tuple of vjps beside the array, it returned function; write \(vjp,\)"),
    "an array for vjps": (lambda x: (x.array, x.array), r"a tuple of vjps beside the array, it returned \w*\.?ndarray"),
    "too few": (lambda x: (x.array, ()), "returned 0 vjps for 1 tensors"),
    "too many": (lambda x: (x.array, (same, same)), "returned 2 vjps for 1 tensors"),
    "a derivative": (lambda x: (x.array, (x.array,)), r"returned \w*\.?ndarray as vjp 0: expected a function or None"),
}


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_rule_that_returns_something_else_than_array_and_vjps_is_refused_in_words(mistake, requires_grad, rows):
    """A result of two rows would unpack, and half of it would be taken for the whole."""
    rule, message = MISTAKES[mistake]

    def forgot(x):
        return rule(x)

    x = mt.Tensor(np.ones((rows, 3), np.float32), requires_grad=requires_grad)
    with pytest.raises(TypeError, match=f"forgot: its rule .*{message}"):
        mt.op(forgot)(x)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_that_a_rule_makes_later_is_found_too(mistake):
    rule, message = MISTAKES[mistake]

    @mt.op
    def forgot(x):
        return rule(x) if len(x) == 2 else (x.array, (same,))

    forgot(mt.ones(1, 3))
    with pytest.raises(TypeError, match=f"forgot: its rule .*{message}"):
        forgot(mt.ones(2, 3, requires_grad=True))


@pytest.mark.parametrize("vjps", [(None, "g"), (3, None), [None, 3]])
def test_a_vjp_of_two_that_is_no_function_is_refused(vjps):
    @mt.op
    def both(x, y):
        return x.array + y.array, (same, same) if len(x) == 1 else vjps

    x = mt.ones(1, 2, requires_grad=True)
    both(x, x)
    x = mt.ones(2, 2, requires_grad=True)
    with pytest.raises(TypeError, match=r"both: its rule returned (str|int) as vjp [01]: expected a function or None"):
        both(x, x)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda a: a.astype(complex),
        lambda a: a.astype(object),
        lambda a: a.astype("M8[s]"),
        lambda a: np.ma.masked_less(a, 2),
        pytest.param(
            lambda a: a.astype(np.longdouble), marks=pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="64 bits")
        ),
    ],
)
def test_an_array_that_no_tensor_can_hold_is_refused(spoilt):
    def strange(x):
        return spoilt(np.arange(4.0)), None

    with pytest.raises(TypeError, match="strange: its rule"):
        mt.op(strange)(mt.ones(4, device="cpu"))


def test_what_a_rule_may_return():
    """None for all vjps, or for one; a list of them; a scalar of NumPy's for a result without axes."""
    x = mt.ones(2, requires_grad=True, device="cpu")
    for returned in ((np.float32(3.0), None), (np.float32(3.0), (None,)), (np.array(3.0), [lambda g: g * mt.ones(2)])):
        assert mt.op(lambda x, *, fixed=returned: fixed)(x).shape == ()


@pytest.mark.parametrize("rule", [3, print, int, np.add])
def test_a_rule_is_a_function(rule):
    with pytest.raises(TypeError, match="op: a rule is a function, written with def"):
        mt.op(rule)


# What is said of operations


@pytest.mark.parametrize("name", mt.__all__)
def test_help_says_of_every_operation_that_it_returns_a_tensor(name):
    """And not what its rule does."""
    operation = getattr(mt, name)
    if not hasattr(operation, "rule"):
        return
    returned = inspect.signature(operation).return_annotation
    assert returned is mt.Tensor
    assert typing.get_type_hints(operation)["return"] is mt.Tensor
    assert operation.__annotations__["return"] is mt.Tensor
    assert "-> microtensor.tensor.Tensor" in pydoc.plain(pydoc.render_doc(operation))


def test_no_function_says_that_it_returns_what_a_rule_does():
    for place in (mt, mt.nn, mt.Tensor):
        for name in dir(place):
            function = getattr(place, name)
            if inspect.isfunction(function) and not name.startswith("_"):
                assert "Rule" not in str(inspect.signature(function)), name
    assert inspect.signature(mt.leaky_relu).return_annotation is mt.Tensor
    assert inspect.signature(mt.cat).return_annotation is mt.Tensor
    assert inspect.signature(mt.max).return_annotation == "Either"  # a tensor, or values and indices


def test_an_operation_of_the_user_says_so_too():
    @mt.op
    def cube(x):
        return x.array**3, (lambda g: 3 * g * x * x,)

    assert inspect.signature(cube).return_annotation is mt.Tensor
    assert list(inspect.signature(cube).parameters) == ["x"]


INPLACE = dict.fromkeys(("celu", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "relu6"), ())
INPLACE |= {"selu": (), "silu": (), "threshold": (0.5, 2.0)}


@pytest.mark.parametrize(("name", "settings"), INPLACE.items())
def test_inplace_is_understood_where_pytorch_has_it(name, settings):
    function, x = getattr(mt, name), mt.Tensor([-1.0, 0.3, 2.0])
    assert function(x, *settings, inplace=True).tolist() == function(x, *settings).tolist()
    assert x.tolist() == pytest.approx([-1.0, 0.3, 2.0])
    with pytest.raises(TypeError, match=f"{name}: inplace must be True or False, got 0.1"):
        function(x, *settings, inplace=0.1)


def test_pytorchs_names_of_the_tensors():
    assert mt.relu(input=X).tolist() == X.tolist()
    assert mt.add(input=X, other=2).tolist() == (X + 2).tolist()
    assert mt.leaky_relu(input=X).tolist() == X.tolist()
    assert mt.softmax(input=X, dim=1).shape == X.shape
    assert mt.max(input=X).item() == 4.0
    with pytest.raises(TypeError):
        mt.relu(X, input=X)
    with pytest.raises(TypeError, match="relu: unexpected other"):
        mt.relu(X, other=X)


def test_a_rule_may_name_what_it_returns():
    class Answer(NamedTuple):
        array: Any
        vjps: Any

    @mt.op
    def twice(x):
        return Answer(x.array * 2, (lambda g: g * 2,))

    x = mt.ones(2, requires_grad=True)
    np.testing.assert_array_equal(mt.grad(twice(x).sum(), x)[0].numpy(), [2, 2])
