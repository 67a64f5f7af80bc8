"""Operations that rearrange."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.testing import shapes, tensors


@st.composite
def reshaped(draw):
    x = draw(tensors())
    target = draw(st.permutations(x.shape).map(tuple) | st.just((-1,)))
    return Case(lambda x: x.reshape(target), [x], lambda torch, x: x.reshape(target))


@st.composite
def broadcasted(draw):
    x = draw(tensors())
    target = draw(hnp.broadcastable_shapes(x.shape, min_dims=x.ndim, max_dims=x.ndim + 1, max_side=3))
    target = np.broadcast_shapes(target, x.shape)
    return Case(lambda x: x.broadcast_to(target), [x], lambda torch, x: x.broadcast_to(target))


@st.composite
def permuted(draw):
    x = draw(tensors(shapes(min_dims=1)))
    dims = [d - draw(st.sampled_from([0, x.ndim])) for d in draw(st.permutations(range(x.ndim)))]
    return Case(lambda x: x.permute(dims), [x], lambda torch, x: x.permute(dims))


@st.composite
def concatenated(draw):
    lead = draw(shapes(min_dims=1))
    dim = draw(st.integers(-len(lead), len(lead) - 1))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        size = list(lead)
        size[dim] = draw(st.integers(0, 3))
        parts.append(draw(tensors(size)))
    return Case(lambda *xs: mt.cat(xs, dim), parts, lambda torch, *xs: torch.cat(xs, dim))


@st.composite
def padded(draw):
    x = draw(tensors(shapes(min_dims=1)))
    padding = draw(st.lists(st.integers(0, 2), max_size=2 * x.ndim).map(lambda p: p[: len(p) // 2 * 2]))
    value = draw(st.sampled_from([0.0, -1.5]))
    return Case(lambda x: x.pad(padding, value), [x], lambda torch, x: torch.nn.functional.pad(x, tuple(padding), value=value))


CASES = {
    "reshape": reshaped(),
    "broadcast_to": broadcasted(),
    "permute": permuted(),
    "_cat": concatenated(),
    "_pad": padded(),
}
