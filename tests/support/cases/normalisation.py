"""Normalisation."""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from cases.common import Case
from microtensor import nn
from microtensor.nn.layers import batch_norm as norm
from microtensor.nn.layers import response_norm
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


@st.composite
def last_axes(draw, function, vectors):
    """x, its last axes, and so many vectors of them, or none."""
    x = draw(tensors(shapes(min_dims=1, max_dims=3)))
    lengths = x.shape[draw(st.integers(0, x.ndim - 1)) :]
    given = [draw(tensors(lengths)) for _ in range(draw(st.integers(0, vectors)))]
    return Case(
        lambda x, *v: getattr(nn, function)(x, lengths, *v, eps=0.1),
        [x, *given],
        lambda torch, x, *v: getattr(torch.nn.functional, function)(x, lengths, *v, eps=0.1),
    )


@st.composite
def groups(draw):
    n, groups, each = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    count = groups * each
    positions = draw(
        shapes(max_dims=2, max_side=3).filter(lambda s: each * np.prod(s) > 1)
    )  # of one value there is no variance
    x = draw(tensors((max(n, 2), count, *positions)))
    given = [draw(tensors((count,))) for _ in range(draw(st.integers(0, 2)))]
    return Case(
        lambda x, *v: nn.group_norm(x, groups, *v, eps=0.1),
        [x, *given],
        lambda torch, x, *v: torch.nn.functional.group_norm(x, groups, *v, eps=0.1),
    )


@st.composite
def instances(draw):
    x = draw(tensors(shapes(min_dims=3, max_dims=4).filter(lambda s: np.prod(s[2:]) > 1)))
    given = [draw(tensors(x.shape[1:2])) for _ in range(draw(st.sampled_from([0, 2])))]
    return Case(
        lambda x, *v: nn.instance_norm(x, None, None, *v, eps=0.1),
        [x, *given],
        lambda torch, x, *v: torch.nn.functional.instance_norm(x, None, None, *v, eps=0.1),
    )


@st.composite
def responses(draw):
    x, size = draw(tensors(shapes(min_dims=3, max_dims=4))), draw(st.integers(1, 6))
    settings = (size, draw(st.floats(0.1, 2.0)), draw(st.sampled_from([0.5, 0.75, 1.0, 2.0])), draw(st.floats(0.5, 2.0)))
    return Case(
        lambda x: nn.local_response_norm(x, *settings),
        [x],
        lambda torch, x: torch.nn.functional.local_response_norm(x, *settings),
    )


@st.composite
def neighbours(draw):
    before, after = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    x = draw(tensors(shapes(min_dims=2)))
    return Case(lambda x: response_norm._neighbours(x, before=before, after=after), [x])


@st.composite
def to_length_1(draw):
    x = draw(tensors(shapes(min_dims=1), low=0.1))
    p, dim = draw(st.sampled_from([1.0, 2.0, 3.0])), draw(st.integers(-x.ndim, x.ndim - 1))
    assume(x.shape[dim] != 1)  # the result is 1 for every x, and the gradients are rounding errors of 0, which have no slope
    return Case(lambda x: nn.normalize(x, p, dim), [x], lambda torch, x: torch.nn.functional.normalize(x, p, dim))


@st.composite
def by_known(draw):
    """x and two vectors, normalised by a mean and a variance that are known."""
    inputs = draw(channels(least=1))
    mean, variance = (draw(tensors(inputs[1].shape, low=low)) for low in (-2.0, 0.1))
    mean, variance = mean.numpy(), variance.numpy()

    def function(x, weight, bias):
        known = (x.constant(x.xp.asarray(v.astype(x.dtype))) for v in (mean, variance))
        return norm.batch_norm(x, *known, weight, bias, eps=0.1)

    def reference(torch, x, weight, bias):
        return torch.nn.functional.batch_norm(x, torch.tensor(mean), torch.tensor(variance), weight, bias, eps=0.1)

    return Case(function, inputs, reference)


CASES = {
    "_batch_norm": normalisation(),
    "_normalise_by": by_known(),
    "_affine": channels(least=1).map(lambda inputs: Case(norm._affine, inputs)),
    "_normalize_rows": st.one_of(last_axes("layer_norm", 2), groups()),
    "_neighbours": neighbours(),
}

COMPOSED = {
    "instance_norm": instances(),
    "rms_norm": last_axes("rms_norm", 1),
    "normalize": to_length_1(),
    "local_response_norm": responses(),
}
