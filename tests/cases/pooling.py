"""Pooling."""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from cases.common import Case, images, sliding, window_of
from microtensor.nn import pool
from microtensor.testing import geometries, tensors


@st.composite
def max_pooling(draw):
    g = draw(geometries(half_padding=True))
    x = images(g, draw, distinct=True, low=0.0, high=100.0)
    # A dilated window may see padding alone: −∞, whose gradient PyTorch 2.13 writes to another image.
    assume(np.isfinite(pool.max_pool2d(x, g.kernel, **sliding(g)).numpy()).all())
    return Case(
        lambda x: pool.max_pool2d(x, g.kernel, **sliding(g)),
        [x],
        lambda torch, x: torch.nn.functional.max_pool2d(x, g.kernel, **sliding(g)),
    )


@st.composite
def average_pooling(draw):
    g = draw(geometries(half_padding=True))._replace(dilation=(1, 1))
    return Case(
        lambda x: pool.avg_pool2d(x, g.kernel, g.stride, g.padding),
        [images(g, draw)],
        lambda torch, x: torch.nn.functional.avg_pool2d(x, g.kernel, g.stride, g.padding),
    )


@st.composite
def pooling_adjoint(draw, of):
    g = draw(geometries(half_padding=True))
    window = window_of(g)
    places = (g.images, g.channels, *window.places("", g.size))
    if of == "mean":
        return Case(lambda y: pool._spread_windows(y, window=window, size=g.size), [draw(tensors(places))])
    size = g.kernel[0] * g.kernel[1]
    winner = np.random.default_rng(draw(st.integers(0, 99))).integers(0, size, places).astype(np.uint8)
    if of == "to":
        return Case(lambda y: pool._to_winners(y, winner=winner, window=window, size=g.size), [draw(tensors(places))])
    return Case(lambda x: pool._from_winners(x, winner=winner, window=window), [images(g, draw)])


CASES = {
    "_max_pool2d": max_pooling(),
    "_to_winners": pooling_adjoint("to"),
    "_from_winners": pooling_adjoint("from"),
    "_avg_pool2d": average_pooling(),
    "_spread_windows": pooling_adjoint("mean"),
}
