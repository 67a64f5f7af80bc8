"""`@op(meaning=…)`: the composition from which derivatives come while a pass is recorded."""

import gc
import weakref

import numpy as np
import pytest

import microtensor as mt


def leaf(values):
    return mt.Tensor(np.array(values, np.float64), requires_grad=True)


def product_rule():
    """x · y written out on arrays, which counts how often its vjps and its meaning are called."""
    calls = {"x": 0, "y": 0, "meaning": 0}

    def composed(x, y):
        calls["meaning"] += 1
        return x * y

    @mt.op(elementwise=True, meaning=composed)
    def product(x, y):
        def for_x(g):
            calls["x"] += 1
            return g.constant(g.array * y.array)

        def for_y(g):
            calls["y"] += 1
            return g.constant(g.array * x.array)

        return x.array * y.array, (for_x, for_y)

    return product, calls


def test_without_recording_the_vjps_are_called():
    product, calls = product_rule()
    x, y = leaf([2.0]), leaf([3.0])
    product(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (3.0, 2.0)
    assert calls == {"x": 1, "y": 1, "meaning": 0}


def test_a_recorded_pass_runs_the_meaning_once_for_all_inputs():
    product, calls = product_rule()
    x, y = leaf([2.0]), leaf([3.0])
    dx, dy = mt.grad(product(x, y), (x, y), create_graph=True)
    assert calls == {"x": 0, "y": 0, "meaning": 1}
    assert mt.grad(dx * dy, (x, y))[0].item() == 3.0  # dx = y, dy = x


def test_only_what_is_asked_for_is_differentiated_but_all_of_it_again():
    asked = []

    @mt.op
    def watched(x):
        return x.array * 1, (lambda g: asked.append(1) or g * 1,)

    @mt.op(meaning=lambda x, y: x * x * watched(y))
    def product(x, y):
        return x.array**2 * y.array, (lambda g: 2 * g * x * y, lambda g: g * x * x)

    x, y = leaf([2.0]), leaf([3.0])
    (dx,) = mt.grad(product(x, y * y), x, create_graph=True)
    assert (dx.item(), asked) == (36.0, [])
    assert mt.grad(dx, y)[0].item() == 24.0  # 4 x y
    assert asked == [1]


def test_derivatives_of_every_order():
    @mt.op(meaning=lambda x, *, n: x**n)
    def power(x, *, n):
        return x.array**n, (lambda g: g.constant(g.array * n * x.array ** (n - 1)),)

    x = leaf([2.0])
    y = power(x, n=4)
    for expected in (32.0, 48.0, 48.0, 24.0):
        (y,) = mt.grad(y, x, create_graph=True)
        assert y.item() == expected


def test_inputs_count_as_independent_of_each_other():
    product, _ = product_rule()
    x = leaf([3.0])
    (dx,) = mt.grad(product(x, x * x), x, create_graph=True)
    assert dx.item() == 27.0
    assert mt.grad(dx, x)[0].item() == 18.0


def test_numbers_constants_and_missing_tensors_are_handed_on():
    seen = []

    def composed(x, y, z=None):
        seen.append((type(y), z))
        return x * y

    @mt.op(meaning=composed)
    def scaled(x, y, z=None):
        return x.array * y.array, (lambda g: g.constant(g.array * y.array), None, None)

    x = leaf([1.0])
    for y in (2.0, mt.Tensor(np.array([2.0]))):
        assert mt.grad(scaled(x, y), x, create_graph=True)[0].item() == 2.0
    assert issubclass(seen[0][0], float)
    assert seen[1] == (mt.Tensor, None)


def test_a_rule_without_vjps_has_those_of_its_meaning():
    @mt.op(meaning=lambda x, y: x * x * y)
    def product(x, y):
        return x.array**2 * y.array, None

    x, y = leaf([2.0]), leaf([5.0])
    product(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (20.0, 4.0)
    assert x.grad.origin is None
    (dx,) = mt.grad(product(x, y), x, create_graph=True)
    assert mt.grad(dx, x)[0].item() == 10.0


def test_with_output():
    @mt.op(output=True, meaning=lambda x: x.exp())
    def exponential(x):
        return x.xp.exp(x.array), (lambda g, y: g.constant(g.array * y.array),)

    x = leaf([0.0])
    (dx,) = mt.grad(exponential(x), x, create_graph=True)
    assert mt.grad(dx, x)[0].item() == 1.0


def test_an_input_without_vjp_gets_no_gradient():
    @mt.op(meaning=lambda x, y: x * y)
    def product(x, y):
        return x.array * y.array, (lambda g: g * y, None)

    x, y = leaf([2.0]), leaf([3.0])
    assert mt.grad(product(x, y), (x, y), create_graph=True, allow_unused=True)[1] is None


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_input_that_was_overwritten_is_refused(create_graph):
    product, _ = product_rule()
    x, y = leaf([2.0]), leaf([3.0])
    z = product(x, y)
    y.array = y.array + 1
    with pytest.raises(RuntimeError, match="gradient of product needs was assigned to"):
        z.backward(create_graph=create_graph)


def test_an_input_that_only_the_meaning_needs():
    @mt.op(meaning=lambda x, y: x + y * 1)
    def total(x, y):
        return x.array + y.array, (lambda g: g, lambda g: g)

    for create_graph in (False, True):
        x, y = leaf([2.0]), leaf([3.0])
        z = total(x, y)
        y.array = y.array + 1
        if create_graph:
            with pytest.raises(RuntimeError, match="total needs was assigned to"):
                z.backward(create_graph=True)
        else:
            z.backward()  # the vjps need no input


def test_the_inputs_are_released_with_the_graph():
    product, _ = product_rule()
    x, y = leaf([2.0]), leaf([3.0])
    between = x * 1
    memory = weakref.ref(between)
    z = product(between, y)
    del between
    assert memory() is not None
    z.backward()
    assert memory() is None
    with pytest.raises(RuntimeError, match="released by an earlier pass"):
        z.backward()


def test_a_recorded_pass_leaves_no_cycle():
    product, _ = product_rule()
    gc.collect()
    gc.disable()
    try:
        x, y = leaf([2.0]), leaf([3.0])
        z = product(x * 1, y)
        memory = weakref.ref(z)
        (dx,) = mt.grad(z, x, create_graph=True)
        del z
        assert mt.grad(dx, y)[0].item() == 1.0
        del dx
        assert memory() is None
    finally:
        gc.enable()


# What is refused


def recorded(function):
    @mt.op(meaning=function)
    def double(x):
        return 2 * x.array, (lambda g: g * 2,)

    x = leaf([1.0, 2.0])
    return mt.grad(double(x), x, mt.ones(2, dtype="float64"), create_graph=True)


def test_what_is_no_function():
    with pytest.raises(TypeError, match="op: meaning must be a function or None, got 'x \\* y'"):
        mt.op(meaning="x * y")


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: x.array * 2, TypeError, "double: its meaning must return a Tensor, .* it returned .*rray"),
        (lambda x: (x * 2).sum(), ValueError, r"double: its meaning returned float64 \(\), but its rule float64 \(2,\)"),
        (lambda x: (x * 2).to("float32"), ValueError, r"its meaning returned float32 \(2,\), but its rule float64"),
        (lambda x: x.detach() * 2, ValueError, "double: its meaning returned what depends on none of its inputs"),
    ],
)
def test_a_meaning_that_does_not_fit(function, error, words):
    with pytest.raises(error, match=words):
        recorded(function)


def test_a_meaning_that_leaves_out_an_input():
    @mt.op(meaning=lambda x, y: x * 1)
    def total(x, y):
        return x.array + y.array, (lambda g: g, lambda g: g)

    x, y = leaf([1.0]), leaf([2.0])
    with pytest.raises(ValueError, match="total: its meaning does not depend on input 1"):
        mt.grad(total(x, y), (x, y), create_graph=True)


def test_recording_is_as_before_where_a_meaning_raises():
    def composed(x):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        recorded(composed)
    assert mt.is_grad_enabled()
