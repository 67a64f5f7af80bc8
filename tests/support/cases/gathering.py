"""Indices along one axis."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.ops import gathering
from microtensor.testing import shapes, tensors


@st.composite
def along(draw, unique=False):
    """The shape of x, an axis, and an index along it that is smaller than x elsewhere."""
    shape = draw(shapes(min_dims=1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    n = shape[dim]
    size = [draw(st.integers(0 if draw(st.booleans()) else m, m)) for m in shape]
    size[dim] = draw(st.integers(0, n if unique else 5))
    if unique:
        rng = np.random.default_rng(draw(st.integers(0, 999)))
        full = np.moveaxis(np.argsort(rng.random(shape), dim), dim, 0)[: size[dim]]
        index = np.moveaxis(full, 0, dim)[tuple(slice(m) for m in size)]
    else:
        index = draw(hnp.arrays(np.int64, size, elements=st.integers(0, n - 1)))
    return shape, dim, index


@st.composite
def gathered(draw):
    shape, dim, index = draw(along())
    return Case(
        lambda x: mt.gather(x, dim, mt.Tensor(index)),
        [draw(tensors(shape))],
        lambda torch, x: torch.gather(x, dim, torch.tensor(index)),
    )


@st.composite
def collected(draw):
    shape, dim, index = draw(along())
    return Case(
        lambda g: gathering._collect(g, dim=dim % len(shape), index=mt.Tensor(index, device=g.device), shape=shape),
        [draw(tensors(index.shape))],
    )


@st.composite
def scattered(draw):
    """PyTorch's gradient for src is right where no two numbers go to one element, and src has the shape of the index."""
    unique = draw(st.booleans())
    shape, dim, index = draw(along(unique))
    if unique and draw(st.booleans()):
        return Case(
            lambda x: mt.scatter(x, dim, index, 1.5),
            [draw(tensors(shape))],
            lambda torch, x: torch.scatter(x, dim, torch.tensor(index), 1.5),
        )
    src = draw(tensors(index.shape if unique else tuple(n + draw(st.integers(0, 1)) for n in index.shape)))
    return Case(
        lambda x, src: mt.scatter(x, dim, index, src),
        [draw(tensors(shape)), src],
        (lambda torch, x, src: torch.scatter(x, dim, torch.tensor(index), src)) if unique else None,
    )


@st.composite
def scatter_added(draw):
    shape, dim, index = draw(along())
    return Case(
        lambda x, src: mt.scatter_add(x, dim, index, src),
        [draw(tensors(shape)), draw(tensors(index.shape))],
        lambda torch, x, src: torch.scatter_add(x, dim, torch.tensor(index), src),
    )


@st.composite
def taken_along(draw):
    if draw(st.integers(0, 3)) == 0:
        x = draw(tensors())
        index = draw(hnp.arrays(np.int64, shapes(), elements=st.integers(0, x.array.size - 1)))
        return Case(lambda x: x.take_along_dim(index), [x], lambda torch, x: x.take_along_dim(torch.tensor(index)))
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=3, max_side=3))
    ndim = max(map(len, drawn.input_shapes))
    (xs, size) = ((1,) * (ndim - len(s)) + s for s in drawn.input_shapes)
    dim = draw(st.integers(-ndim, ndim - 1))
    size = list(size)
    size[dim] = draw(st.integers(0, 4))
    index = draw(hnp.arrays(np.int64, size, elements=st.integers(-xs[dim], xs[dim] - 1)))
    return Case(
        lambda x: x.take_along_dim(index, dim), [draw(tensors(xs))], lambda torch, x: x.take_along_dim(torch.tensor(index), dim)
    )


@st.composite
def slices(draw, add):
    shape = draw(shapes(min_dims=1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    index = draw(hnp.arrays(np.int64, st.integers(0, 4), elements=st.integers(0, shape[dim] - 1)))
    if not add:
        return Case(
            lambda x: x.index_select(dim, index),
            [draw(tensors(shape))],
            lambda torch, x: x.index_select(dim, torch.tensor(index)),
        )
    size = list(shape)
    size[dim] = len(index)
    alpha = draw(st.sampled_from([1, 2, -0.5]))
    return Case(
        lambda x, s: x.index_add(dim, index, s, alpha),
        [draw(tensors(shape)), draw(tensors(size))],
        lambda torch, x, s: x.index_add(dim, torch.tensor(index), s, alpha=alpha),
    )


CASES = {
    "gather": gathered(),
    "_collect": collected(),
    "_scatter": scattered(),
}

COMPOSED = {
    "scatter_add": scatter_added(),
    "take_along_dim": taken_along(),
    "index_select": slices(add=False),
    "index_add": slices(add=True),
}
