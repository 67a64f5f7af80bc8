"""Layers of weights and numbers: linear, embedding and the like; dropout."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.nn import dropout, embedding, linear
from microtensor.nn.layers.dropout import _drop
from microtensor.testing import shapes, tensors


@st.composite
def fully_connected(draw):
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x, weight = draw(tensors(draw(shapes(max_dims=2)) + (n,))), draw(tensors((m, n)))
    bias = [draw(tensors((m,)))] if draw(st.booleans()) else []
    return Case(linear, [x, weight, *bias], lambda torch, *inputs: torch.nn.functional.linear(*inputs))


@st.composite
def table(draw):
    rows = draw(st.integers(1, 5))
    index = draw(hnp.arrays(np.int64, draw(shapes(max_dims=2)), elements=st.integers(0, rows - 1)))
    return Case(
        lambda weight: embedding(index, weight),
        [draw(tensors((rows, draw(st.integers(1, 3)))))],
        lambda torch, weight: torch.nn.functional.embedding(torch.tensor(index), weight),
    )


@st.composite
def dropping(draw, function, axes):
    """PyTorch draws other random numbers: numerical gradients alone."""
    x, p, seed = draw(tensors(shapes(**axes))), draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])), draw(st.integers(0, 99))
    return Case(lambda x: function(x * x, p, True, generator=mt.Generator(seed)), [x])


@st.composite
def dropping_there(draw):
    """As on a device."""
    x = draw(tensors(shapes(min_dims=1)))
    settings = {"seed": draw(st.integers(0, 99)), "keep": 0.6, "shared": draw(st.integers(0, x.ndim - 1)), "scale": 1.7}
    shifts = draw(st.sampled_from([None, (0.5, -0.25)]))
    return Case(lambda x: _drop(x, **settings, shifts=shifts), [x])


CASES = {
    "_drop": dropping_there(),
    "_linear": fully_connected(),
    "_embedding": table(),
}

COMPOSED = {
    "dropout": dropping(dropout, {}),
    "dropout2d": dropping(mt.nn.dropout2d, {"min_dims": 4, "max_dims": 4, "max_side": 3}),
    "alpha_dropout": dropping(mt.nn.alpha_dropout, {}),
    "feature_alpha_dropout": dropping(mt.nn.feature_alpha_dropout, {"min_dims": 2}),
}
