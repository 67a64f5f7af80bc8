"""Pooling and unpooling."""

from hypothesis import assume
from hypothesis import strategies as st

from cases.common import Case, images, sliding, window_of
from microtensor.nn.layers import adaptive, pool, pool_argmax, pool_windows, unpool
from microtensor.testing import geometries, tensors


@st.composite
def max_pooling(draw):
    g = draw(geometries(half_padding=True))
    settings = sliding(g) | {"ceil_mode": draw(st.booleans())}
    x = images(g, draw, distinct=True, low=0.0, high=100.0)
    try:
        pool.max_pool2d(x, g.kernel, **settings)
    except ValueError:  # a dilated window sees padding alone: PyTorch 2.13 has −∞ there, and a gradient in another image
        assume(False)
    return Case(
        lambda x: pool.max_pool2d(x, g.kernel, **settings),
        [x],
        lambda torch, x: torch.nn.functional.max_pool2d(x, g.kernel, **settings),
    )


@st.composite
def max_pooling_of_sequences(draw):
    g = draw(geometries(half_padding=True))
    settings = {"stride": g.stride[1], "padding": g.padding[1], "ceil_mode": draw(st.booleans())}
    return Case(
        lambda x: pool.max_pool1d(x, g.kernel[1], **settings),
        [draw(tensors((g.images, g.channels, g.size[1] + 2), distinct=True, low=0.0, high=100.0))],
        lambda torch, x: torch.nn.functional.max_pool1d(x, g.kernel[1], **settings),
    )


@st.composite
def average_pooling(draw):
    g = draw(geometries(half_padding=True))._replace(dilation=(1, 1))
    settings = {"stride": g.stride, "padding": g.padding, "ceil_mode": draw(st.booleans())}
    settings |= {"count_include_pad": draw(st.booleans()), "divisor_override": draw(st.sampled_from([None, 3]))}
    return Case(
        lambda x: pool.avg_pool2d(x, g.kernel, **settings),
        [images(g, draw)],
        lambda torch, x: torch.nn.functional.avg_pool2d(x, g.kernel, **settings),
    )


@st.composite
def average_pooling_of_sequences(draw):
    g = draw(geometries(half_padding=True))
    settings = {"stride": g.stride[1], "padding": g.padding[1], "ceil_mode": draw(st.booleans())}
    settings |= {"count_include_pad": draw(st.booleans())}
    return Case(
        lambda x: pool.avg_pool1d(x, g.kernel[1], **settings),
        [draw(tensors((g.images, g.channels, g.size[1] + 2)))],
        lambda torch, x: torch.nn.functional.avg_pool1d(x, g.kernel[1], **settings),
    )


@st.composite
def pooling_adjoint(draw, of):
    g = draw(geometries(half_padding=True))._replace(dilation=(1, 1))
    window = window_of(g)
    places = (g.images, g.channels, *window.places("", g.size))
    if of == "mean":
        scale = pool_windows.CountedPixels((0, 0), g.size) if draw(st.booleans()) else 0.5
        return Case(lambda y: pool._avg_pool2d_grad(y, window=window, scale=scale, size=g.size), [draw(tensors(places))])
    x = images(g, draw, distinct=True)
    indices = pool.max_pool2d(x, g.kernel, **sliding(g), return_indices=True)[1].array
    settings = {"argmax": indices, "apart": pool_windows.disjoint_distance(window)}
    if of == "scatter":
        return Case(lambda y: pool_argmax._scatter_argmax(y, **settings, size=g.size), [draw(tensors(places))])
    return Case(lambda x: pool_argmax._gather_argmax(x, **settings), [x])


@st.composite
def adaptive_pooling(draw, kind, axes):
    name = f"adaptive_{kind}_pool{axes}d"
    size = [draw(st.integers(1, 9 if axes == 1 else 6)) for _ in range(axes)]
    wanted = [draw(st.one_of(st.none(), st.integers(1, 7))) for _ in size]
    wanted = wanted[0] or size[0] if axes == 1 else tuple(wanted)
    x = draw(tensors((2, draw(st.integers(1, 2)), *size), distinct=kind == "max", high=20.0))
    return Case(
        lambda x: getattr(adaptive, name)(x, wanted), [x], lambda torch, x: getattr(torch.nn.functional, name)(x, wanted)
    )


@st.composite
def unpooling(draw):
    """Where windows lie side by side: of several numbers for one pixel, PyTorch gives a gradient to each."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = tuple(k + draw(st.integers(0, 1)) for k in kernel)
    size = tuple(k + draw(st.integers(0, 4)) for k in kernel)
    pooled = draw(tensors((2, draw(st.integers(1, 2)), *size), distinct=True))
    y, indices = pool.max_pool2d(pooled, kernel, stride, return_indices=True)
    indices = indices.numpy()
    return Case(
        lambda x: unpool.max_unpool2d(x, x.constant(x.xp.asarray(indices)), kernel, stride, output_size=size),
        [draw(tensors(y.shape))],
        lambda torch, x: torch.nn.functional.max_unpool2d(x, torch.tensor(indices), kernel, stride, output_size=size),
    )


CASES = {
    "_max_pool2d": max_pooling(),
    "_scatter_argmax": pooling_adjoint("scatter"),
    "_gather_argmax": pooling_adjoint("gather"),
    "_avg_pool2d": average_pooling(),
    "_avg_pool2d_grad": pooling_adjoint("mean"),
}

COMPOSED = {
    "max_pool1d": max_pooling_of_sequences(),
    "avg_pool1d": average_pooling_of_sequences(),
    "adaptive_avg_pool1d": adaptive_pooling("avg", 1),
    "adaptive_avg_pool2d": adaptive_pooling("avg", 2),
    "adaptive_max_pool1d": adaptive_pooling("max", 1),
    "adaptive_max_pool2d": adaptive_pooling("max", 2),
    "max_unpool2d": unpooling(),
}
