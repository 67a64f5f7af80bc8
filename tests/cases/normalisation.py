"""Normalisation."""

import numpy as np
from hypothesis import strategies as st

from cases.common import Case
from microtensor.nn import norm
from microtensor.testing import shapes, tensors


@st.composite
def channels(draw, least):
    """x (N, C, …) of at least so many values per channel, and two vectors (C,)."""
    shape = draw(shapes(min_dims=2, max_dims=4, max_side=3).filter(lambda s: np.prod(s) // s[1] >= least))
    return [draw(tensors(shape)), draw(tensors((shape[1],))), draw(tensors((shape[1],)))]


def normalisation():
    return channels(least=3).map(
        lambda inputs: Case(
            lambda x, weight, bias: norm.batch_norm(x, None, None, weight, bias, training=True, eps=0.1),
            inputs,
            lambda torch, x, w, b: torch.nn.functional.batch_norm(x, None, None, w, b, training=True, eps=0.1),
        )
    )


CASES = {
    "_batch_norm": normalisation(),
    "_affine": channels(least=1).map(lambda inputs: Case(norm._affine, inputs)),
}
