"""Picking elements out, and putting them back."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor.ops import indexing
from microtensor.testing import broadcastable, shapes, tensors


@st.composite
def indices(draw, shape, tensor=mt.Tensor):
    """Any index that NumPy takes for an array of `shape`: numbers, slices, new axes, an ellipsis, and arrays, lists and tensors of
    integers or bools, mixed."""
    result = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    parts, axis = [], 0
    while axis < len(shape):
        kind = draw(st.sampled_from(["number", "slice", "slice", "integers", "bools", "new", "end"]))
        n = shape[axis]
        if kind == "end":
            break
        if kind == "new":
            parts.append(None)
            continue
        if kind == "bools":
            span = draw(st.integers(1, len(shape) - axis))
            mask = np.zeros(shape[axis : axis + span], bool)
            # as many as the other arrays can broadcast with
            chosen = draw(st.sampled_from([1, result[-1] if result else 1]))
            mask.reshape(-1)[draw(st.permutations(range(mask.size)))[:chosen]] = True
            if mask.sum() != chosen:
                continue
            parts.append(mask)
            axis += span
            continue
        if kind == "number" and n:
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "integers" and n:
            lengths = draw(st.sampled_from([result, result[-1:], (1,), ()]))
            parts.append(
                draw(hnp.arrays(draw(st.sampled_from([np.int64, np.int32, np.int8])), lengths, elements=st.integers(-n, n - 1)))
            )
        else:
            parts.append(draw(st.slices(n)))
        axis += 1
    if not any(p is Ellipsis for p in parts) and draw(st.booleans()):
        at = draw(st.integers(0, len(parts)))
        parts.insert(len(parts) if axis < len(shape) and at < len(parts) else at, Ellipsis)
    return tuple(parts)


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
    index = draw(hnp.arrays(np.int64, shapes(max_dims=2), elements=st.integers(-x.data.size, x.data.size - 1)))
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
