"""Operations that rearrange."""

from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case
from microtensor.testing import shapes, tensors


def dims_of(ndim, least=0, most=None):
    """Some axes, counted from either end."""
    axes = st.permutations(range(ndim)).flatmap(
        lambda p: st.integers(least, ndim if most is None else most).map(lambda n: p[:n])
    )
    return axes.flatmap(lambda p: st.tuples(*(st.sampled_from([d, d - ndim]) for d in p)))


@st.composite
def reshaped(draw, ours, theirs):
    x = draw(tensors())
    target = draw(st.permutations(x.shape).map(tuple) | st.just((-1,)) | st.just((1, -1, 1)))
    return Case(lambda x: ours(x, target), [x], lambda torch, x: theirs(torch, x, target))


@st.composite
def permuted(draw):
    x = draw(tensors(shapes(min_dims=1)))
    dims = draw(dims_of(x.ndim, least=x.ndim))
    return Case(lambda x: x.permute(dims), [x], lambda torch, x: x.permute(dims))


@st.composite
def two_dims(draw, ours, theirs):
    x = draw(tensors(shapes(min_dims=1)))
    i, j = (draw(st.integers(-x.ndim, x.ndim - 1)) for _ in range(2))
    return Case(lambda x: ours(x, i, j), [x], lambda torch, x: theirs(torch, x, i, j))


@st.composite
def flattened(draw):
    x = draw(tensors())
    axes = sorted(draw(st.tuples(st.integers(0, x.ndim - 1), st.integers(0, x.ndim - 1)))) if x.ndim else [0, -1]
    return Case(lambda x: x.flatten(*axes), [x], lambda torch, x: torch.flatten(x, *axes))


@st.composite
def unflattened(draw):
    x = draw(tensors(shapes(min_dims=1)))
    dim = draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[dim]
    sizes = draw(st.sampled_from([(n,), (1, n), (-1, 1), (n, -1, 1)] + [(a, n // a) for a in (2, 3) if n % a == 0]))
    return Case(lambda x: x.unflatten(dim, sizes), [x], lambda torch, x: x.unflatten(dim, sizes))


@st.composite
def squeezed(draw):
    x = draw(tensors(shapes(max_side=2)))
    if not x.ndim or draw(st.booleans()):
        return Case(mt.squeeze, [x], lambda torch, x: x.squeeze())
    dims = draw(dims_of(x.ndim, least=1))
    dims = dims[0] if draw(st.booleans()) else dims
    return Case(lambda x: x.squeeze(dims), [x], lambda torch, x: x.squeeze(dims))


@st.composite
def unsqueezed(draw):
    x = draw(tensors())
    dim = draw(st.integers(-x.ndim - 1, x.ndim))
    return Case(lambda x: x.unsqueeze(dim), [x], lambda torch, x: x.unsqueeze(dim))


@st.composite
def moved(draw):
    x = draw(tensors(shapes(min_dims=1)))
    source = draw(dims_of(x.ndim))
    destination = draw(dims_of(x.ndim, len(source), len(source)))
    return Case(lambda x: x.movedim(source, destination), [x], lambda torch, x: x.movedim(source, destination))


@st.composite
def flipped(draw):
    x = draw(tensors())
    dims = draw(dims_of(x.ndim))
    return Case(lambda x: x.flip(dims), [x], lambda torch, x: x.flip(dims))


@st.composite
def rolled(draw):
    x = draw(tensors())
    dims = draw(dims_of(x.ndim, least=1)) if x.ndim and draw(st.booleans()) else None
    shifts = tuple(draw(st.integers(-5, 5)) for _ in dims or (0,))
    if len(shifts) == 1 and draw(st.booleans()):
        shifts, dims = shifts[0], None if dims is None else dims[0]
    return Case(lambda x: x.roll(shifts, dims), [x], lambda torch, x: x.roll(shifts, dims))


@st.composite
def turned(draw):
    x = draw(tensors(shapes(min_dims=2)))
    k, dims = draw(st.integers(-5, 5)), draw(dims_of(x.ndim, 2, 2))
    return Case(lambda x: x.rot90(k, dims), [x], lambda torch, x: x.rot90(k, dims))


CASES = {
    "reshape": reshaped(mt.reshape, lambda torch, x, shape: x.reshape(shape)),
    "permute": permuted(),
    "flip": flipped(),
    "roll": rolled(),
}

COMPOSED = {
    "view": reshaped(lambda x, shape: x.view(shape), lambda torch, x, shape: x.view(shape)),
    "flatten": flattened(),
    "unflatten": unflattened(),
    "squeeze": squeezed(),
    "unsqueeze": unsqueezed(),
    "transpose": two_dims(lambda x, i, j: x.transpose(i, j), lambda torch, x, i, j: x.transpose(i, j)),
    "movedim": moved(),
    "rot90": turned(),
}
