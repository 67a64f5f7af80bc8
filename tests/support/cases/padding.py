"""Room around a tensor."""

from hypothesis import strategies as st

from cases.common import Case
from microtensor.testing import shapes, tensors


@st.composite
def with_constant(draw):
    x = draw(tensors(shapes(min_dims=1)))
    padding = []
    for n in x.shape[::-1][: draw(st.integers(0, x.ndim))]:
        before = draw(st.integers(-n, 2))
        padding += [before, draw(st.integers(min(before, 0) * -1 - n, 2))]
    value = draw(st.sampled_from([None, 0.0, -1.5, 2]))
    return Case(
        lambda x: x.pad(padding, value=value), [x], lambda torch, x: torch.nn.functional.pad(x, tuple(padding), value=value)
    )


@st.composite
def from_inside(draw, mode):
    """PyTorch pads the last one to three axes, after one or two others, from what is inside."""
    padded = draw(st.integers(1, 3 if mode != "circular" else 2))
    x = draw(tensors(shapes(min_dims=padded + 1, max_dims=padded + 2, max_side=4 if padded == 1 else 3)))
    padding = []
    for n in x.shape[: -padded - 1 : -1]:
        left, right = (draw(st.integers(1 - n, n - 1)) for _ in range(2))
        remain = n + min(left, 0) + min(right, 0)
        # PyTorch wraps around what the crop leaves, and mirrors what was there before it
        most = min(remain, n) if mode == "circular" else n - 1
        padding += [min(left, most), min(right, most)] if remain > 0 else [0, 0]
    return Case(lambda x: x.pad(padding, mode), [x], lambda torch, x: torch.nn.functional.pad(x, tuple(padding), mode=mode))


CASES = {
    "_pad": with_constant(),
}

COMPOSED = {
    "pad, reflect": from_inside("reflect"),
    "pad, replicate": from_inside("replicate"),
    "pad, circular": from_inside("circular"),
}
