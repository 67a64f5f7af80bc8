"""Operations in whose result a number may stand in several places."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.ops import repeating
from microtensor.testing import shapes, tensors


@st.composite
def broadcasted(draw):
    x = draw(tensors())
    target = draw(hnp.broadcastable_shapes(x.shape, min_dims=x.ndim, max_dims=x.ndim + 1, max_side=3))
    target = np.broadcast_shapes(target, x.shape)
    return Case(lambda x: x.broadcast_to(target), [x], lambda torch, x: x.broadcast_to(target))


@st.composite
def expanded(draw):
    x = draw(tensors(shapes(max_side=2)))
    target = [draw(st.sampled_from([-1, n, 3] if n == 1 else [-1, n])) for n in x.shape]
    target = draw(st.lists(st.integers(1, 3), max_size=2)) + target
    return Case(lambda x: x.expand(target), [x], lambda torch, x: x.expand(target))


@st.composite
def repeated(draw):
    x = draw(tensors(shapes(max_side=3)))
    counts = draw(st.lists(st.integers(0, 3), min_size=x.ndim, max_size=x.ndim + 1))
    return Case(lambda x: x.repeat(counts), [x], lambda torch, x: x.repeat(counts))


@st.composite
def tiled(draw):
    x = draw(tensors(shapes(max_side=3)))
    counts = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    return Case(lambda x: x.tile(counts), [x], lambda torch, x: x.tile(counts))


@st.composite
def interleaved(draw):
    x = draw(tensors(shapes(max_side=3)))
    dim = draw(st.none() | st.integers(-x.ndim, x.ndim - 1)) if x.ndim else None
    n = x.array.size if dim is None else x.shape[dim]
    counts = draw(st.integers(0, 3) | st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return Case(
        lambda x: x.repeat_interleave(counts, dim),
        [x],
        lambda torch, x: x.repeat_interleave(
            counts if isinstance(counts, int) else torch.tensor(counts, dtype=torch.long), dim
        ),
    )


@st.composite
def grids(draw):
    vectors = draw(st.lists(tensors(shapes(max_dims=1)), min_size=1, max_size=3))
    indexing = draw(st.sampled_from(["ij", "xy"]))
    return Case(
        lambda *xs: mt.stack(mt.meshgrid(*xs, indexing=indexing)),
        vectors,
        lambda torch, *xs: torch.stack(torch.meshgrid(*xs, indexing=indexing)),
    )


@st.composite
def slid(draw):
    x = draw(tensors(shapes(min_dims=1)))
    dim = draw(st.integers(-x.ndim, x.ndim - 1))
    size, step = draw(st.integers(1, x.shape[dim])), draw(st.integers(1, 5))
    return Case(lambda x: x.unfold(dim, size, step), [x], lambda torch, x: x.unfold(dim, size, step))


@st.composite
def overlaid(draw):
    length = draw(st.integers(1, 4))
    size, step = draw(st.integers(1, length)), draw(st.integers(1, 5))
    lead = draw(shapes(max_dims=2, max_side=3))
    dim = draw(st.integers(0, len(lead)))
    g = draw(tensors((*lead[:dim], (length - size) // step + 1, *lead[dim:], size)))
    return Case(lambda g: repeating._overlay(g, dim=dim, step=step, length=length), [g])


CASES = {
    "broadcast_to": broadcasted(),
    "_windows": slid(),
    "_overlay": overlaid(),
}

COMPOSED = {
    "expand": expanded(),
    "repeat": repeated(),
    "tile": tiled(),
    "repeat_interleave": interleaved(),
    "meshgrid": grids(),
}
