"""Derivatives at points where a function has none, or no second one: the exact value, ±inf or nan, never another number.

The values are limits from both sides, found with mpmath to 80 digits. `None` stands where there is no finite one.
"""

import math

import numpy as np
import pytest

import microtensor as mt
from microtensor import Tensor, nn

INF = math.inf


def number(value):
    return Tensor(np.float64(value))


def vector(*numbers):
    return mt.stack([v if isinstance(v, Tensor) else number(v) for v in numbers])


def derivatives(f, x, count):
    """f′(x), f″(x) …"""
    leaf, found = number(x).requires_grad_(), []
    with np.errstate(all="ignore"):
        y = f(leaf)
        for _ in range(count):
            if y is not None and y.requires_grad:
                (y,) = mt.grad(y, leaf, create_graph=True, allow_unused=True)
            else:
                y = None
            found.append(0.0 if y is None else y.item())
    return found


NORMS = [0.5, 1, 1.5, 2, 3, 4, INF, -INF]

AT = {  # (function, x): f′, f″, f‴
    **{
        f"norm {p} of (x, 2x), squared": (lambda x, p=p: mt.norm(vector(x, 2 * x), p) ** 2, 0.0, [0, None, None]) for p in NORMS
    },
    **{f"norm {p} of (x, x²)": (lambda x, p=p: mt.norm(vector(x, x * x), p), 0.0, [0, None]) for p in NORMS},
    "norm 1.5 of (x, 1)": (lambda x: mt.norm(vector(x, 1), 1.5), 0.0, [0, None, None]),
    "norm 2 of (x, 1)": (lambda x: mt.norm(vector(x, 1)), 0.0, [0, 1, 0]),
    "norm 2.5 of (x, 1)": (lambda x: mt.norm(vector(x, 1), 2.5), 0.0, [0, 0, None]),
    "norm 4 of (x, 1)": (lambda x: mt.norm(vector(x, 1), 4), 0.0, [0, 0, 0, 6]),
    "norm 3 of (x, 2)": (lambda x: mt.norm(vector(x, 2), 3), 0.0, [0, 0]),
    "normalize of (x, 2x)": (lambda x: nn.normalize(vector(x, 2 * x), dim=0, eps=0.5)[1], 0.0, [4, 0, 0]),
    "std of (x, 0)": (lambda x: mt.std(vector(x, 0)), 0.0, [0, None, None]),
    "std of (x, x²), squared": (lambda x: mt.std(vector(x, x * x), correction=0) ** 2, 1.0, [0, None, None]),
    "var of (x, x²)": (lambda x: mt.var(vector(x, x * x), correction=0), 1.0, [0, 0.5, 3]),
    "x ** x": (lambda x: x**x, 1.0, [1, 2, 3]),
    "x ** 1, a tensor": (lambda x: x ** number(1), 0.0, [1, 0, 0]),
    "x ** 2, a tensor": (lambda x: x ** number(2), 0.0, [0, 2, 0]),
    "x ** 3": (lambda x: x**3, 0.0, [0, 0, 6]),
    "x ** 3, below": (lambda x: x ** number(3), -2.0, [12, -12, 6]),
    "x ** 1.5": (lambda x: x**1.5, 0.0, [0, None, None]),
    "x ** 1.5, a tensor": (lambda x: x ** number(1.5), 0.0, [0, None, None]),
    "x ** 0.5": (lambda x: x**0.5, 0.0, [None, None, None]),
    "0 ** x": (lambda x: number(0) ** x, 2.0, [0, 0, 0]),
    "sqrt": (mt.sqrt, 0.0, [None, None, None]),
    "rsqrt": (mt.rsqrt, 0.0, [None, None, None]),
    "log": (mt.log, 0.0, [None, None, None]),
    "log1p": (mt.log1p, -1.0, [None, None, None]),
    "1 / x": (lambda x: 1 / x, 0.0, [None, None, None]),
    **{f"{f.__name__} {x}": (f, x, [None] * 3) for f in (mt.asin, mt.acos, mt.atanh) for x in (-1.0, 1.0)},
    "acosh": (mt.acosh, 1.0, [None, None, None]),
    "asin of 0": (mt.asin, 0.0, [1, 0, 1]),
    "softsign": (mt.softsign, 0.0, [1, 0, 6]),
    "prod of (x, x, 3)": (lambda x: mt.prod(vector(x, x, 3)), 0.0, [0, 6, 0]),
    "prod of (x, x, x)": (lambda x: mt.prod(vector(x, x, x)), 0.0, [0, 0, 6]),
    "cumprod of (x, 2, x)": (lambda x: mt.cumprod(vector(x, 2, x), dim=0)[-1], 0.0, [0, 4, 0]),
    "logsumexp of (x, −∞)": (lambda x: mt.logsumexp(vector(x, -INF), dim=0), 1.0, [1, 0, 0]),
    "softmax of (x, −∞, 0)": (lambda x: mt.softmax(vector(x, -INF, 0), dim=0)[0], 0.0, [0.25, 0, -0.125]),
    "kl_div, its target": (lambda t: nn.kl_div(number(-1), t, "sum"), 0.0, [1, None, None]),
    "binary_cross_entropy at 0": (lambda x: nn.binary_cross_entropy(x, 1.0, reduction="sum"), 0.0, [-1e12, None, None]),
    "binary_cross_entropy at 1": (lambda x: nn.binary_cross_entropy(x, 0.0, reduction="sum"), 1.0, [1e12, None, None]),
}


@pytest.mark.parametrize("name", AT)
def test_the_exact_value_or_none(name):
    f, x, expected = AT[name]
    for order, (found, right) in enumerate(zip(derivatives(f, x, len(expected)), expected), 1):
        if right is None:
            assert not math.isfinite(found), f"order {order}"
        else:
            assert found == pytest.approx(right, rel=1e-9, abs=1e-12), f"order {order}"


def test_the_order_of_derivatives_of_a_power_does_not_matter():
    for base, exponent, right in (
        (2.0, 0.0, 0.5),
        (2.0, 1.0, 1 + math.log(2)),
        (0.0, 2.0, 0.0),
        (0.0, 1.0, None),
        (0.0, 0.0, None),
    ):
        for first, second in ((0, 1), (1, 0)):
            with np.errstate(all="ignore"):
                leaves = [number(base).requires_grad_(), number(exponent).requires_grad_()]
                (g,) = mt.grad(leaves[0] ** leaves[1], leaves[first], create_graph=True)
                mixed = mt.grad(g, leaves[second])[0].item()
            assert mixed == pytest.approx(right, rel=1e-12) if right is not None else not math.isfinite(mixed)


def test_the_angle_of_the_origin_has_no_second_derivatives():
    y, x = number(0).requires_grad_(), number(0).requires_grad_()
    first = mt.grad(mt.atan2(y, x), [y, x], create_graph=True)
    assert [g.item() for g in first] == [0, 0]
    for g in first:
        assert not any(math.isfinite(h.item()) for h in mt.grad(g, [y, x], retain_graph=True))


def test_only_the_point_itself_is_nan():
    """A row of zeros does not spoil the others, nor does a first derivative that is recorded."""
    x = Tensor(np.array([[3.0, 4.0], [0.0, 0.0]]), requires_grad=True)
    for f in (
        lambda x: mt.norm(x, dim=1),
        lambda x: mt.norm(x, 3, dim=1),
        lambda x: mt.std(x, dim=1),
        lambda x: mt.norm(x, INF, 1),
    ):
        (g,) = mt.grad(f(x).sum(), x, create_graph=True)
        assert np.isfinite(g.numpy()).all()
        assert not g.numpy()[1].any()
        (h,) = mt.grad((g * g).sum() + (f(x) ** 2).sum(), x)
        assert np.isfinite(h.numpy()[0]).all()
        assert not np.isfinite(h.numpy()[1]).any()


# Where a number is nan, or extreme

ACTIVATIONS = [
    *(mt.relu, mt.relu6, mt.hardtanh, mt.hardsigmoid, mt.hardswish, mt.leaky_relu, mt.softshrink, mt.hardshrink, mt.softsign),
    *(mt.elu, mt.celu, mt.selu, mt.gelu, mt.silu, mt.mish, mt.softplus, mt.tanhshrink, mt.logsigmoid, mt.sigmoid, mt.tanh, abs),
    *(lambda x: mt.gelu(x, "tanh"), lambda x: mt.threshold(x, 0.5, -7.0), lambda x: mt.prelu(x, Tensor([0.25]).to(x.dtype))),
]


def both_ways(f, x, g):
    """The gradient as training has it, and as a pass that is recorded has it."""
    with np.errstate(all="ignore"):
        return [mt.grad(f(x), x, g, create_graph=recorded)[0].numpy() for recorded in (False, True)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("f", ACTIVATIONS)
def test_an_activation_of_nan_never_stops_the_gradient(f, dtype):
    x = Tensor(np.array([np.nan, 1.0, np.nan, -1.0] * 5, dtype), requires_grad=True)
    for gradient in both_ways(f, x, Tensor(np.full(20, 2.0, dtype))):
        assert gradient[::2].all()  # it is nan, or something of what arrived
        assert np.isfinite(gradient[1::2]).all()


@pytest.mark.parametrize("f", ACTIVATIONS)
def test_gradients_of_extreme_numbers_are_the_same_whether_recorded_or_not(f):
    numbers = [0.0, -0.0, 1e-30, -1e-30, 30.0, -30.0, 1e5, -1e5, 1e12, -1e12]
    for dtype in ("float32", "float64"):
        x, g = Tensor(np.array(numbers, dtype), requires_grad=True), Tensor(np.full(len(numbers), 2.0, dtype))
        fast, recorded = both_ways(f, x, g)
        assert np.isfinite(fast).all()
        np.testing.assert_allclose(fast, recorded, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_gradient_of_nan_goes_to_both(name):
    torch = pytest.importorskip("torch")
    numbers = np.array([[np.nan, 1.0, np.nan, 1.0, 2.0, 1.0], [0.0, np.nan, np.nan, 1.0, 1.0, 2.0]])
    leaves = [Tensor(row, requires_grad=True) for row in numbers]
    theirs = [torch.tensor(row, requires_grad=True) for row in numbers]
    wanted = torch.autograd.grad(getattr(torch, name)(*theirs), theirs, torch.full((6,), 2.0).double())
    for recorded in (False, True):
        found = mt.grad(getattr(mt, name)(*leaves), leaves, Tensor(np.full(6, 2.0)), create_graph=recorded)
        for ours, right in zip(found, wanted):
            np.testing.assert_array_equal(ours.numpy(), right.numpy())


def test_gelu_far_out_has_the_slope_of_its_limits_recorded_too():
    x = Tensor(np.array([INF, 50.0, -50.0]), requires_grad=True)
    for gradient in both_ways(mt.gelu, x, Tensor(np.ones(3))):
        np.testing.assert_array_equal(gradient, [1, 1, 0])
