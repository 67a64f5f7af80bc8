"""Convolution on a GPU: memory beside arrays is untouched, the workspace, launches, large sizes, which way is cheapest."""

import sys

import numpy as np
import pytest
import strict
from convolutions import convolutions, meaning
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor.nn.layers import window_kernels, windows
from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.gpu import im2col, implicit_gemm
from microtensor.nn.layers.convolution.problem import Device, Problem
from microtensor.nn.layers.windows import Window
from microtensor.runtime.cuda.kernels import OPTIONS, _parameter, plain

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")

DTYPES = ["float16", "float32", "float64"]
ONE = Window((1, 1))
THREE = Window((3, 3), padding=((1, 1), (1, 1)))


@pytest.fixture(scope="module", autouse=True)
def device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", strict.cupy)
        dispatch.forget()
        yield strict.cupy
        dispatch.forget()


def draw(rng, dtype, images, channels, size, kernels, window, groups):
    """Images, weights, the gradient of the result, and a bias for either side."""
    shapes = (images, channels, *size), (kernels, channels // groups, *window.kernel)
    shapes += (images, kernels, *window.places("", size)), (kernels,), (channels,)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


MARGIN = 64


def fenced(host):
    """A device array amid nan, so that a kernel that reads beside it computes nan, and where it writes beside it, shows."""
    whole = np.full(host.size + 2 * MARGIN, np.nan, host.dtype)
    whole[MARGIN:-MARGIN] = host.reshape(-1)
    return strict.array.new(whole[MARGIN:-MARGIN].reshape(host.shape)), whole


def computed(way, x, w, g, b, c, window, groups):
    """What a way makes of NumPy's arrays on the stand-in. No kernel may touch what lies beside an array."""
    x, w, g, b, c = (fenced(a)[0] for a in (x, w, g, b, c))
    made = []

    def empty(shape, dtype=float):
        made.append(fenced(np.full(shape, np.nan, dtype)))
        return made[-1][0]

    with pytest.MonkeyPatch.context() as patch, dispatch.way(way):
        patch.setattr(strict.cupy, "empty", empty)
        results = dispatch.forward(x, w, b, window, groups), dispatch.grad_input(g, w, c, window, groups, x.shape[2:])
        results += (dispatch.grad_weight(x, g, window, groups),)
    assert all(np.isnan(whole[:MARGIN]).all() and np.isnan(whole[-MARGIN:]).all() for _, whole in made)
    assert all(y.dtype == x.dtype and y.flags.c_contiguous for y in results)
    return [y.get() for y in results]


def check(case, window, groups, ways=None):
    """Every way that fits gives the sums, to a few units in the last place of the largest sum that their terms could have."""
    wanted, most = meaning(*case, window, groups), meaning(*map(abs, case), window, groups)
    allowed = 4 * float(np.finfo(case[0].dtype).eps)
    shapes, letter = [array.shape for array in case[:3]], case[0].dtype.char
    fitting = dispatch.fitting(Problem("forward", *shapes, window, groups, letter, Device("cuda:0")))
    for way in ways or [way.name for way in fitting]:
        for y, exact, scale in zip(computed(way, *case, window, groups), wanted, most):
            assert y.shape == exact.shape
            assert (np.abs(y - exact) <= allowed * scale).all(), way


@settings(max_examples=50)
@given(
    convolutions(),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.sampled_from([1 << 28, 3000, 1]),
    st.sampled_from([(512, 256), (512, 1), (3, 16)]),
)
def test_no_way_touches_what_lies_beside_an_array(case, dtype, depthwise, workspace, cut):
    g, window, x, w, v = case
    rng = np.random.default_rng(0)
    groups = g.channels if depthwise else g.groups
    if depthwise:
        w, v = rng.standard_normal((groups, 1, *g.kernel)), rng.standard_normal((g.images, groups, *v.shape[2:]))
    b, c = rng.standard_normal(len(w)), rng.standard_normal(g.channels)
    case = [a.astype(dtype) for a in (x, w, v, b, c)]
    if not x.size * v.size:
        return
    with pytest.MonkeyPatch.context() as patch, mt.cuda.convolution_workspace(workspace):
        patch.setattr(implicit_gemm, "BUSY_BLOCKS", cut[0])
        patch.setattr(implicit_gemm, "MIN_SHARE_TERMS", cut[1])
        check(case, window, groups)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("images", "channels", "size", "kernels", "groups"),
    [
        (1, 1, (1, 1), 1, 1),
        (2, 16, (5, 7), 17, 1),  # K = 16, more rows than the smaller tile
        (1, 17, (16, 16), 16, 1),  # as many places as a tile has columns
        (1, 15, (1, 257), 64, 1),
        (3, 65, (4, 5), 65, 1),  # one more than a tile has, forward and back
        (5, 6, (51, 1), 4, 2),
    ],
)
def test_one_by_one_at_the_borders_of_tiles(dtype, images, channels, size, kernels, groups):
    check(draw(np.random.default_rng(0), dtype, images, channels, size, kernels, ONE, groups), ONE, groups)


@pytest.mark.parametrize(
    ("images", "channels", "size", "kernels", "groups"),
    [(2, 4, (9, 15), 66, 1), (2, 66, (3, 5), 4, 1), (1, 8, (16, 16), 24, 2), (17, 2, (4, 4), 2, 2), (9, 300, (1, 1), 300, 300)],
)
def test_windows_at_the_borders_of_tiles(images, channels, size, kernels, groups):
    check(draw(np.random.default_rng(0), "float32", images, channels, size, kernels, THREE, groups), THREE, groups)


@given(convolutions(), st.sampled_from(DTYPES))
def test_unfold_and_fold_are_the_plain_ones(case, dtype):
    g, window, x, *_ = case
    window = window._replace(padding=tuple((p, p) for p, _ in window.padding))
    options = {"kernel_size": g.kernel, "dilation": g.dilation, "padding": g.padding, "stride": g.stride}
    image = mt.Tensor(x.astype(dtype).swapaxes(2, 3).copy().swapaxes(2, 3), device="cuda")  # not contiguous
    columns = windows.unfold(image, **options)
    back = windows.fold(columns, g.size, **options)
    with plain():
        np.testing.assert_array_equal(columns.numpy(), windows.unfold(image, **options).numpy())
        wanted = windows.fold(columns.to("float64"), g.size, **options).numpy()
    size = np.abs(wanted) + 9 * np.abs(x).max()
    assert (np.abs(back.numpy() - wanted) <= 2 * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("way", ["im2col", "implicit_gemm"])
def test_what_is_not_contiguous_is_brought_in_order(way):
    rng = np.random.default_rng(0)
    x, w, ones = rng.standard_normal((2, 5, 6, 4)), rng.standard_normal((3, 4, 3, 3)), np.ones((2, 3, 5, 6))
    turned, weight = strict.cupy.asarray(x).transpose(0, 3, 1, 2), strict.cupy.asarray(w)
    gradient = strict.cupy.broadcast_to(strict.cupy.asarray(np.ones((1, 1, 1, 1))), ones.shape)  # as a sum's is
    with dispatch.way(way):
        y, back = (
            dispatch.forward(turned, weight, None, THREE, 1),
            dispatch.grad_input(gradient, weight, None, THREE, 1, (5, 6)),
        )
        change = dispatch.grad_weight(turned, gradient, THREE, 1)
    wanted = meaning(x.transpose(0, 3, 1, 2), w, ones, np.zeros(3), np.zeros(4), THREE, 1)
    for result, numbers in zip((y, back, change), wanted):
        np.testing.assert_allclose(result.get(), numbers, atol=1e-12)


# What it costs


@pytest.mark.parametrize(
    ("way", "counts"),
    # one product each; the kernels that unfold, fold, bring weights or gradients in order, add the bias, add up parts
    [("pointwise", (2, 3, 3)), ("im2col", (3, 4, 3)), ("implicit_gemm", (1, 1, 2)), ("depthwise", (1, 1, 2))],
)
def test_so_many_kernels(way, counts):
    window, groups = (ONE, 1) if way == "pointwise" else (THREE, 16 if way == "depthwise" else 1)
    x, w, g, b, c = map(strict.cupy.asarray, draw(np.random.default_rng(0), "float32", 40, 16, (12, 12), 16, window, groups))
    calls = (
        lambda: dispatch.forward(x, w, b, window, groups),
        lambda: dispatch.grad_input(g, w, c, window, groups, (12, 12)),
        lambda: dispatch.grad_weight(x, g, window, groups),
    )
    for call, count in zip(calls, counts):
        with dispatch.way(way), strict.counting() as seen:
            call()
        assert (seen.kernels, seen.copies, seen.waits) == (count, 0, 0), (way, seen.names)


@pytest.mark.parametrize("way", ["im2col", "pointwise"])
@pytest.mark.parametrize("nbytes", [500, 5000, 50000])
def test_the_workspace_bounds_what_is_made(monkeypatch, way, nbytes):
    """No array is larger, but for the results: also if a single image's columns are, 4 · 9 · 64 numbers."""
    window = ONE if way == "pointwise" else THREE
    x, w, g, _, _ = map(strict.cupy.asarray, draw(np.random.default_rng(0), "float32", 6, 4, (8, 8), 6, window, 1))
    made, new = [], strict.cupy.empty
    monkeypatch.setattr(strict.cupy, "empty", lambda *args: made.append(new(*args)) or made[-1])
    with mt.cuda.convolution_workspace(nbytes), dispatch.way(way):
        results = (
            dispatch.forward(x, w, None, window, 1),
            dispatch.grad_input(g, w, None, window, 1, (8, 8)),
            dispatch.grad_weight(x, g, window, 1),
        )
    places = {y.data.ptr for y in results}
    others = [a.nbytes for a in made if a.data.ptr not in places]
    least = 4 * 9 * 64 if way == "im2col" else 0  # the columns of a single channel, backward
    assert max(others, default=0) <= max(nbytes, least)
    if way == "im2col":
        assert max(others) > nbytes / 2 or max(others) > 6 * 4 * 9 * 64 * 4 / 2  # and it is used


def test_the_parts_of_a_batch():
    with mt.cuda.convolution_workspace(1000):
        assert list(im2col.parts(5, 10, 50)) == [(slice(0, 2), 0, 10), (slice(2, 4), 0, 10), (slice(4, 5), 0, 10)]
        assert list(im2col.parts(2, 10, 150)) == [(slice(i, i + 1), a, n) for i in (0, 1) for a, n in ((0, 6), (6, 4))]
        assert list(im2col.parts(1, 2, 5000)) == [(slice(0, 1), 0, 1), (slice(0, 1), 1, 1)]


# Which way


def shape(letter, images, groups, channels, kernels, side, window, operation="forward", tf32=False):
    places = window.places("", (side, side))
    weight = (groups * kernels, channels, *window.kernel)
    on = Device("cuda:0", tf32=tf32)
    x = (images, groups * channels, side, side)
    return Problem(operation, x, weight, (images, groups * kernels, *places), window, groups, letter, on)


@pytest.mark.parametrize(
    ("of", "way"),
    [
        (shape("f", 64, 1, 64, 256, 56, ONE), "pointwise"),
        (shape("e", 64, 1, 64, 256, 56, ONE), "pointwise"),
        (shape("f", 128, 1, 1, 6, 32, Window((5, 5))), "implicit_gemm"),  # columns would be 25 times the images
        (shape("f", 128, 1, 16, 16, 32, THREE), "implicit_gemm"),
        (shape("f", 64, 32, 4, 4, 56, THREE), "implicit_gemm"),  # ResNeXt
        (shape("f", 64, 1, 256, 256, 56, THREE), "im2col"),  # so much to compute that cuBLAS's rate counts
        (shape("e", 64, 1, 64, 64, 56, THREE), "im2col"),  # tensor cores
        (shape("f", 1, 1, 512, 512, 7, THREE), "im2col"),  # too few blocks
        (shape("f", 64, 256, 1, 1, 28, THREE), "depthwise"),
    ],
)
def test_the_cheapest_by_the_estimates_of_data_sheets(of, way):
    assert dispatch.cheapest(of).name == way


def test_tf32_speaks_for_matrix_products():
    of = 4096, 1, 128, 128, 3, THREE  # images so small that most of a product's tiles is unused
    assert dispatch.cheapest(shape("f", *of)).name == "implicit_gemm"
    assert dispatch.cheapest(shape("f", *of, tf32=True)).name == "im2col"


def test_what_is_too_large_for_numbers_of_32_bits_is_unfolded():
    window, on = Window((1, 3)), Device("cuda:0")
    of = Problem("forward", (1, 1, 1, 1 << 31), (4, 1, 1, 3), (1, 4, 1, (1 << 31) - 2), window, 1, "f", on)
    assert [way.name for way in dispatch.fitting(of)] == ["im2col"]
    groups = 1 << 21  # more than a grid has rows
    of = Problem("forward", (1, groups, 4, 4), (4 * groups, 1, 1, 3), (1, 4 * groups, 4, 2), window, groups, "f", on)
    assert [way.name for way in dispatch.fitting(of)] == ["im2col"]


@pytest.mark.parametrize("name", ["pointwise", "im2col", "implicit_gemm", "depthwise"])
@pytest.mark.parametrize("images", [1, 70])
def test_the_gradient_of_a_weight_is_no_view(name, images):
    """The engine keeps it as it is, and would copy a view."""
    channels, window = (1, THREE) if name == "depthwise" else (4, ONE if name == "pointwise" else THREE)
    x, g = (strict.cupy.asarray(np.ones((images, 4, 9, 9), np.float32)) for _ in range(2))
    with dispatch.way(name):
        gradient = dispatch.grad_weight(x, g, window, 4 // channels)
    assert gradient.base is None
    assert gradient.shape == (4, channels, *window.kernel)


# Past 2^31


def lazy(n):
    """Zeros of which no page is touched until it is written."""
    return strict.array.new(np.zeros(n, np.float16))


def launch(kernels, name, grid, blocks, *arguments):
    """Run the last blocks of a kernel."""
    module = strict.cupy.RawModule(code=kernels.source("e"), options=OPTIONS)
    total = int(np.prod(grid))
    arguments = tuple(_parameter(name, argument, np.float32) for argument in arguments)
    module.get_function(name).launch(grid, (256,), arguments, first=total - blocks)


def test_unfold_past_two_to_the_31():
    n = (1 << 20) + 1  # images of 32 × 64 pixels
    x, columns = lazy(n * 2048), lazy(n * 2048)
    x._host[-2048:] = np.arange(2048)
    sliding = ONE.for_kernels((32, 64), (32, 64))
    launch(window_kernels.kernels, "unfold", (n * 8,), 3, columns, x, sliding, n, 1, 0, 2048, 2048, 2048)
    np.testing.assert_array_equal(columns._host[-600:], np.arange(2048, dtype=np.float16)[-600:])
    launch(window_kernels.kernels, "fold", (n * 8,), 3, x, columns, sliding, n, 1, 0, 1)
    np.testing.assert_array_equal(x._host[-600:], np.arange(2048, dtype=np.float16)[-600:])


def test_the_implicit_product_past_two_to_the_31():
    n = (1 << 20) + 1
    x, y = lazy(n * 2048), lazy(n * 2048)
    image = np.random.default_rng(0).standard_normal((1, 1, 32, 64)).astype(np.float16)
    weight = np.random.default_rng(1).standard_normal((1, 1, 3, 3)).astype(np.float16)
    x._host[-2048:] = image.reshape(-1)
    w, sliding = strict.cupy.asarray(weight), THREE.for_kernels((32, 64), (32, 64))
    wanted, back, _ = meaning(image, weight, image, np.zeros(1), np.zeros(1), THREE, 1)
    launch(implicit_gemm.kernels, "forward_16", (n * 8, 1), 2, y, x, w, None, sliding, n, 1, 1, 1)
    np.testing.assert_allclose(y._host[-512:], wanted.reshape(-1)[-512:], rtol=1e-3, atol=1e-2)
    launch(implicit_gemm.kernels, "grad_input_16", (n * 8, 1, 1), 2, y, x, w, None, sliding, n, 1, 1, 1)
    np.testing.assert_allclose(y._host[-512:], back.reshape(-1)[-512:], rtol=1e-3, atol=1e-2)
