"""What stands behind derivatives at singular points: away from them, where each is an ordinary function."""

import numpy as np
from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case, unary
from microtensor.ops import singular
from microtensor.testing import tensors

apart = {"away_from": [0.0]}


@st.composite
def powers(draw, operation, theirs, **settings):
    p = draw(st.sampled_from([-1.5, -1, 0, 0.5, 1, 2, 3.5]))
    return Case(lambda x: operation(x, p=p, **settings), [draw(tensors(**apart))], lambda torch, x: theirs(x, p))


def nowhere(g, x):
    return singular.undefined(g, x, where=x.xp.zeros(x.shape, bool)) + g * x


@st.composite
def softsigns(draw):
    k, odd = draw(st.integers(1, 4)), draw(st.booleans())
    return Case(
        lambda x: singular.power_of_one_more(x, k=k, odd=odd),
        [draw(tensors(**apart))],
        lambda torch, x: (1 + x.abs()) ** -k * (x.sign() if odd else 1),
    )


@st.composite
def logarithms(draw):
    k = draw(st.integers(0, 3))
    return Case(
        lambda x, y: singular.power_times_log(x, y, k=k),
        [draw(tensors((2, 3), low=0.2)), draw(tensors((2, 3)))],
        lambda torch, x, y: x**y * x.log() ** k,
    )


@st.composite
def power_gradients(draw, operation, theirs):
    g, x, y = (draw(tensors((2, 3), low=low)) for low in (-2.0, 0.3, -2.0))
    return Case(operation, [g, x, y], lambda torch, g, x, y: theirs(g, x, y))


CASES = {
    "base_gradient": power_gradients(singular.base_gradient, lambda g, x, y: g * y * x ** (y - 1)),
    "exponent_gradient": power_gradients(singular.exponent_gradient, lambda g, x, y: g * x**y * x.log()),
    "undefined": tensors((2, 3)).map(lambda x: Case(nowhere, [x, mt.Tensor(np.ones((2, 3)))], lambda torch, g, x: g * x)),
    "pointed": unary(singular.pointed, lambda torch, x: x * 1, **apart),
    "tip": unary(lambda x: singular.tip(x) + x, lambda torch, x: x * 1, **apart),
    "power_of_size": powers(singular.power_of_size, lambda x, p: x.abs() ** p),
    "signed_power": powers(singular.signed_power, lambda x, p: x.sign() * x.abs() ** p),
    "power_times_log": logarithms(),
    "power_of_one_more": softsigns(),
}
