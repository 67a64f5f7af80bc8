"""NumPy's functions and operators with a tensor among their arguments; and comparisons with what is no number."""

import operator
from array import array
from collections import deque

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor


@pytest.fixture(autouse=True)
def _on_the_cpu():
    """NumPy's functions are asked of what lies in its memory."""
    with mt.default_device("cpu"):
        yield


ARRAY = np.array([[3, 4], [5, 6]])
OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("name", [*OPERATORS, "and_", "or_", "xor", "lshift", "rshift"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_operator_of_an_array_and_a_tensor_is_an_operation(name, requires_grad):
    whole = name in ("and_", "or_", "xor", "lshift", "rshift")
    dtype = np.int64 if whole else np.float64
    array, other = ARRAY.astype(dtype), np.array([[1, 2], [3, 2]], dtype)
    compute = getattr(operator, name)
    y = compute(array, Tensor(other, requires_grad=requires_grad and not whole))
    assert type(y) is Tensor
    np.testing.assert_array_equal(y.numpy(), compute(array, other))
    assert y.requires_grad == compute(Tensor(array), Tensor(other, requires_grad=requires_grad and not whole)).requires_grad
    if name != "matmul":
        number = array[0, 0]  # NumPy's own
        np.testing.assert_array_equal(compute(number, Tensor(other)).numpy(), compute(number, other))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "matmul", "less", "power"])
def test_a_ufunc_that_is_an_operator_is_the_operation(name):
    x = Tensor(ARRAY / 2, requires_grad=True)
    y = getattr(np, name)(ARRAY / 1, x)
    assert type(y) is Tensor
    np.testing.assert_array_equal(y.numpy(), getattr(np, name)(ARRAY / 1, x.numpy()))


UFUNCS = {
    "exp": "exp",
    "sqrt": "sqrt",
    "log1p": "log1p",
    "absolute": "abs",
    "negative": "neg",
    "isnan": "isnan",
    "arctan2": "arctan2",
}


@pytest.mark.parametrize(("name", "here"), UFUNCS.items())
@pytest.mark.parametrize("requires_grad", [False, True])
def test_any_other_ufunc_names_the_operation(name, here, requires_grad):
    x = Tensor([1.0, 2.0], requires_grad=requires_grad)
    ufunc = getattr(np, name)
    arguments = [x] * ufunc.nin
    with pytest.raises(TypeError, match=rf"np\.{name}: .* write mt\.{here}\(x{', y' * (ufunc.nin - 1)}\).*x\.numpy\(\)"):
        ufunc(*arguments)
    np.testing.assert_allclose(getattr(mt, here)(*arguments).numpy(), ufunc(*[x.numpy()] * ufunc.nin), rtol=1e-6)


def test_every_operation_that_an_error_names_is_there():
    x = Tensor([0.5, 0.25])
    for name, ufunc in vars(np).items():
        if isinstance(ufunc, np.ufunc):
            try:
                ufunc(*[x] * ufunc.nin)
            except TypeError as error:
                advice = str(error)
                assert "write mt." in advice or "microtensor has no such operation" in advice or "expected" in advice, name
                if "write mt." in advice:
                    assert hasattr(mt, advice.partition("write mt.")[2].partition("(")[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.add.reduce(x), r"np\.add\.reduce: .*write mt\.sum\(x\)"),
        (lambda x: np.maximum.reduce(x), r"np\.maximum\.reduce: .*write mt\.amax\(x\)"),
        (lambda x: np.add.accumulate(x), r"np\.add\.accumulate: .*microtensor has no such operation"),
        (lambda x: np.add.outer(x, x), r"np\.add\.outer: .*microtensor has no such operation"),
        (lambda x: np.cbrt(x), r"np\.cbrt: .*microtensor has no such operation; for the values alone.*x\.numpy\(\)"),
        (lambda x: np.add(x, 1, dtype=np.float64), r"np\.add: a tensor takes no dtype"),
        (lambda x: np.add(x, 1, where=np.array([True, False])), r"np\.add: a tensor takes no where"),
        (lambda x: np.add(np.ones(2), 1, out=x), r"np\.add: NumPy cannot write into a tensor; write x\[\.\.\.\]"),
        (lambda x: np.divmod(x, 2), r"np\.divmod: .*microtensor has no such operation"),
        (lambda x: np.array(["a", "b"]) + x, "add: "),
    ],
)
def test_what_is_no_operator_is_refused_in_words(call, message):
    with pytest.raises(TypeError, match=message):
        call(Tensor([1.0, 2.0]))


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"])
def test_an_array_takes_a_tensor_in_place(name):
    array = np.array([4.0, 5.0])
    same, expected = array, array.copy()
    array = getattr(operator, name)(array, Tensor([2.0, 3.0]))
    assert array is same
    np.testing.assert_array_equal(array, getattr(operator, name)(expected, np.array([2.0, 3.0])))


def test_an_array_refuses_in_place_what_it_would_lose():
    array, whole = np.ones(2), np.ones(2, int)
    with pytest.raises(TypeError, match=r"requires a gradient, and the array would lose it.*tensor\.detach\(\)"):
        array += Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="the result is float32, which the array of int64 cannot hold"):
        whole += Tensor([1.5, 2.0])
    with pytest.raises(ValueError, match=r"the result has shape \(2, 2\), the array \(2,\)"):
        array += mt.ones(2, 2)
    assert array.tolist() == whole.tolist() == [1, 1]
    array += Tensor([1.0, 2.0], requires_grad=True).detach()
    assert array.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("name", ["mean", "sum", "prod", "max", "min", "any", "all", "std", "var"])
@pytest.mark.parametrize("axis", [None, 0])
def test_numpys_reductions_are_the_methods_of_their_names(name, axis):
    x = np.array([[1.0, 2.0], [4.0, 5.0]])
    y = getattr(np, name)(Tensor(x, requires_grad=name not in ("any", "all")), axis=axis)
    expected = getattr(np, name)(x, axis=axis)
    y = y[0] if isinstance(y, tuple) else y
    np.testing.assert_allclose(y.numpy(), expected)
    assert type(y) is Tensor


# Comparisons with what is no number


def test_none_is_not_equal_to_a_tensor():
    x = Tensor([1.0])
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (x == None) is False  # noqa: E711
    assert x in [None, x]
    assert x not in [None]
    assert [None, x].index(x) == 1
    marker = object()
    assert (x == marker) is False
    assert (x != marker) is True
    assert (x == {}) is False
    assert x not in (marker, Tensor)


@pytest.mark.parametrize("other", ["a", [1.0], (1.0,), 1j, range(1), b"1", array("d", [1.0]), bytearray(b"1"), deque([1.0])])
def test_what_looks_like_numbers_is_refused_in_words(other):
    for compare in (operator.eq, operator.ne):
        with pytest.raises(TypeError, match=r"(eq|ne): expected a Tensor, a number or an array, got"):
            compare(Tensor([1.0]), other)


def test_who_can_compare_is_asked():
    class Anything:
        def __eq__(self, other):
            return "asked"

    assert (Tensor([1.0]) == Anything()) == "asked"


def test_cupy_leaves_operators_to_the_tensor():
    """It asks an instance for the attribute, and does so where that is None; NumPy asks the class."""
    assert Tensor([1.0]).__array_ufunc__ is None
    assert callable(Tensor.__array_ufunc__)
