"""Picking elements out, and putting them back."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.ops import indexing
from microtensor.testing import broadcastable, indices, shapes, tensors


def written(draw, index, tensor):
    """The same index as a user may write it: arrays as tensors or lists, a single part without the tuple."""
    forms = [lambda a: a, tensor, lambda a: a.tolist() if a.ndim else a]
    parts = tuple(draw(st.sampled_from(forms))(p) if isinstance(p, np.ndarray) else p for p in index)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else parts


@st.composite
def indexed(draw):
    x = draw(tensors(shapes(min_dims=0)))
    index = draw(indices(x.shape))
    ours = written(draw, index, mt.Tensor)
    # PyTorch takes no negative steps, and puts the axes of arrays elsewhere where numbers and slices stand between them
    backwards = any(isinstance(i, slice) and (i.step or 1) < 0 for i in index)
    mixed = {np.ndim(i) > 0 for i in index if isinstance(i, (int, np.ndarray))} == {True, False}

    def wide(i):
        return i if i.dtype == bool else i.astype(np.int64)  # PyTorch takes no int8

    def theirs(torch, x):
        return x[tuple(torch.tensor(wide(i)) if isinstance(i, np.ndarray) else i for i in index)].clone()

    return Case(lambda x: x[ours], [x], None if backwards or mixed else theirs)


@st.composite
def put_back(draw):
    shape = draw(shapes(min_dims=0))
    index = written(draw, draw(indices(shape)), mt.Tensor)
    g = draw(tensors(mt.Tensor(np.zeros(shape))[index].shape))
    return Case(lambda g: indexing._put(g, index=indexing.as_index(index, g.device), shape=shape), [g])


@st.composite
def taken(draw):
    x = draw(tensors())
    index = draw(hnp.arrays(np.int64, shapes(max_dims=2), elements=st.integers(-x.array.size, x.array.size - 1)))
    return Case(lambda x: x.take(index), [x], lambda torch, x: x.take(torch.tensor(index)))


@st.composite
def masked(draw, ours, theirs):
    x, m = draw(broadcastable(2))
    mask = m.numpy() > draw(st.sampled_from([-3, 0, 0, 3]))
    return Case(lambda x: ours(x, mt.Tensor(mask)), [x], lambda torch, x: theirs(torch, x, torch.tensor(mask)))


@st.composite
def filled(draw):
    case = draw(masked(lambda x, mask: mt.masked_fill(x, mask, 1.5), lambda torch, x, mask: torch.masked_fill(x, mask, 1.5)))
    if draw(st.booleans()):
        return case
    mask = mt.Tensor(draw(hnp.arrays(bool, case.inputs[0].shape)))
    return Case(
        lambda x, v: mt.masked_fill(x, mask, v),
        [case.inputs[0], draw(tensors(()))],
        lambda torch, x, v: torch.masked_fill(x, torch.tensor(mask.numpy()), v),
    )


CASES = {
    "getitem": indexed(),
    "_put": put_back(),
}

COMPOSED = {
    "take": taken(),
    "masked_select": masked(mt.masked_select, lambda torch, x, mask: torch.masked_select(x, mask)),
    "masked_fill": filled(),
}
