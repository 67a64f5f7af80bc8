"""Operations that put tensors together, and take them apart."""

from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case
from microtensor.testing import shapes, tensors


@st.composite
def alike_but_for(draw, lead, dim):
    """One to three tensors of the shape `lead`, each of its own length along `dim`."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        size = list(lead)
        size[dim] = draw(st.integers(0, 3))
        parts.append(draw(tensors(size)))
    return parts


@st.composite
def concatenated(draw):
    lead = draw(shapes(min_dims=1))
    dim = draw(st.integers(-len(lead), len(lead) - 1))
    return Case(lambda *xs: mt.cat(xs, dim), draw(alike_but_for(lead, dim)), lambda torch, *xs: torch.cat(xs, dim))


@st.composite
def stacked(draw):
    shape = draw(shapes())
    dim = draw(st.integers(-len(shape) - 1, len(shape)))
    parts = [draw(tensors(shape)) for _ in range(draw(st.integers(1, 3)))]
    return Case(lambda *xs: mt.stack(xs, dim), parts, lambda torch, *xs: torch.stack(xs, dim))


@st.composite
def beside(draw, ours, theirs, axis):
    lead = draw(shapes())
    same = st.lists(tensors(lead), min_size=1, max_size=3)
    parts = draw(alike_but_for(lead, axis) if len(lead) > 1 else same)
    return Case(lambda *xs: ours(xs), parts, lambda torch, *xs: theirs(torch)(xs))


@st.composite
def apart(draw, ours, theirs, settings):
    """One of the parts that x falls into."""
    x = draw(tensors(shapes(min_dims=1)))
    dim = draw(st.integers(-x.ndim, x.ndim - 1))
    args = (*draw(settings(x.shape[dim])), dim)
    k = draw(st.integers(0, len(ours(x, *args)) - 1))
    return Case(lambda x: ours(x, *args)[k], [x], lambda torch, x: theirs(torch, x, *args)[k])


def sections(n):
    cuts = st.lists(st.integers(0, n), max_size=2).map(sorted)
    return (st.integers(1, 5) | cuts.map(lambda c: [b - a for a, b in zip([0, *c], [*c, n])])).map(lambda s: (s,))


CASES = {
    "_cat": concatenated(),
}

COMPOSED = {
    "stack": stacked(),
    "hstack": beside(mt.hstack, lambda torch: torch.hstack, 1),
    "vstack": beside(mt.vstack, lambda torch: torch.vstack, 0),
    "split": apart(mt.split, lambda torch, x, *a: torch.split(x, *a), sections),
    "chunk": apart(mt.chunk, lambda torch, x, *a: torch.chunk(x, *a), lambda n: st.tuples(st.integers(1, 5))),
    "unbind": apart(mt.unbind, lambda torch, x, *a: torch.unbind(x, *a), lambda n: st.just(())),
}
