"""Every way to compute a convolution gives what it means, for every geometry; which way is taken, and the table that says so."""

import sys

import numpy as np
import pytest
import strict
from convolutions import convolutions, meaning, seven_loops
from hypothesis import given, settings
from hypothesis import strategies as st
from strict.cudnn import Cudnn

import microtensor as mt
from microtensor import nn
from microtensor.nn.layers.convolution import costs, dispatch
from microtensor.nn.layers.convolution.cpu import blocking, depthwise, im2col, toeplitz
from microtensor.nn.layers.convolution.gpu import cudnn, implicit_gemm
from microtensor.nn.layers.convolution.onednn import convolution as onednn
from microtensor.nn.layers.convolution.problem import OPERATIONS, Device, Problem, flipped
from microtensor.nn.layers.windows import Window
from microtensor.runtime.cuda.kernels import plain

SAME = Window((3, 3), padding=((1, 1), (1, 1)))

GEOMETRIES = {
    # images, channels, size, kernels, groups, window
    "3x3": (3, 4, (7, 9), 6, 1, SAME),
    "few kernels": (2, 32, (6, 5), 4, 1, SAME),
    "one image": (1, 3, (8, 8), 5, 1, Window((3, 2))),
    "one pixel": (2, 3, (1, 1), 4, 1, SAME),
    "one kernel": (2, 3, (5, 4), 1, 1, SAME),
    "one row": (3, 2, (1, 9), 4, 1, Window((1, 3), padding=((0, 0), (1, 1)))),
    "1x1": (5, 6, (6, 7), 4, 1, Window((1, 1))),
    "1x1, groups": (3, 6, (2, 3), 4, 2, Window((1, 1))),
    "1x1, one pixel": (9, 20, (1, 1), 30, 1, Window((1, 1))),
    "1x1, stride": (2, 4, (5, 6), 3, 1, Window((1, 1), (2, 3))),
    "1x1, padding": (2, 4, (3, 4), 3, 1, Window((1, 1), padding=((1, 0), (0, 2)))),
    "stride": (2, 3, (9, 8), 4, 1, Window((3, 3), (2, 3), ((1, 1), (1, 1)))),
    "dilation": (2, 3, (9, 10), 4, 1, Window((3, 2), dilation=(2, 3))),
    "divisors": (2, 4, (16, 17), 4, 2, Window((3, 2), (4, 6), ((5, 0), (1, 7)), (6, 4))),
    "uneven padding": (2, 3, (6, 6), 4, 1, Window((3, 3), padding=((0, 2), (2, 1)))),
    "wide padding": (2, 3, (4, 5), 4, 1, Window((2, 2), padding=((5, 6), (1, 0)))),
    "stride beyond the image": (2, 2, (4, 3), 3, 1, Window((2, 2), (9, 7))),
    "groups": (2, 6, (7, 6), 4, 2, SAME),
    "groups of one channel": (2, 3, (7, 6), 6, 3, SAME),
    "blocks of 16": (2, 32, (6, 7), 48, 1, SAME),
    "depthwise": (3, 5, (7, 9), 5, 5, SAME),
    "depthwise, many images": (16, 17, (3, 4), 17, 17, SAME),
    "depthwise, 5x5 stride": (2, 4, (11, 9), 4, 4, Window((5, 5), (2, 2), ((2, 2), (2, 2)))),
    "depthwise, dilation": (2, 3, (12, 11), 3, 3, Window((5, 3), (2, 3), ((0, 2), (3, 0)), (2, 3))),
    "depthwise, padding alone": (2, 3, (12, 11), 3, 3, Window((5, 3), (3, 1), ((9, 0), (0, 8)))),
    "depthwise, divisors": (3, 5, (16, 17), 5, 5, Window((3, 2), (4, 6), ((5, 0), (1, 7)), (6, 4))),
    "depthwise, wide padding": (4, 5, (12, 11), 5, 5, Window((5, 3), padding=((4, 5), (5, 6)))),
    "depthwise, 1x1": (2, 3, (4, 5), 3, 3, Window((1, 1))),
    "depthwise, one channel": (2, 1, (6, 6), 1, 1, SAME),
}


def name_of(way):
    return f"gpu-{way.name}" if way.gpu else way.name


def arrays_of(geometry, dtype, seed=0):
    """x, weight, g, and a bias for either side."""
    images, channels, size, kernels, groups, window = geometry
    shapes = (images, channels, *size), (kernels, channels // groups, *window.kernel)
    shapes += (images, kernels, *window.places("", size)), (kernels,), (channels,)
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.fixture(params=dispatch.WAYS, ids=name_of)
def way(request, monkeypatch):
    """Each way, and what it needs: oneDNN installed; the stand-ins for CuPy and cuDNN."""
    way = request.param
    if way.name == "onednn" and onednn.library() is None:
        pytest.skip("oneDNN is not installed: pip install onednn-cpu-gomp")
    if way.gpu:
        if strict.COMPILER is None:
            pytest.skip("needs g++, which compiles the kernels for the processor")
        monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
        monkeypatch.setitem(sys.modules, "cudnn", Cudnn())
        monkeypatch.setattr(cudnn, "verdict", cudnn.Verdict())
        monkeypatch.setattr(cudnn, "_local", cudnn.Local())
    dispatch.forget()
    yield way
    dispatch.forget()


def check(way, arrays, window, groups, on=None, bias=True):
    """The three of a way, where it fits, are the meaning: to a few roundings of the largest sum that their terms could have.

    Returns:
        The operations that it computes.
    """
    put = strict.cupy.asarray if way.gpu or on is not None else np.asarray
    there = [put(array) for array in arrays]
    x, w, g, b, c = there
    b, c = (b, c) if bias else (None, None)
    where = on or dispatch.device(x)
    given = {"forward": (x, w, b), "grad_input": (g, w, c), "grad_weight": (x, g)}
    zero = [a if bias else a * 0 for a in arrays[3:]]
    wanted = meaning(*arrays[:3], *zero, window, groups)
    most = meaning(*map(abs, arrays[:3]), *map(abs, zero), window, groups)
    allowed, computed = 8 * float(np.finfo(arrays[0].dtype).eps), []
    for operation, exact, scale in zip(OPERATIONS, wanted, most):
        shapes = x.shape, w.shape, g.shape
        problem = Problem(operation, *shapes, window, groups, arrays[0].dtype.char, where, bias and operation == "forward")
        why = way.why_not(problem)
        assert isinstance(why, str)
        assert way.fits(problem) == (why == "")
        if why:
            continue
        assert 0 < way.cost(problem) < float("inf")
        y = getattr(way, operation)(*given[operation], problem)
        assert (y.dtype, y.shape) == (x.dtype, exact.shape)
        y = y if isinstance(y, np.ndarray) else y.get()
        assert (np.abs(y - exact) <= allowed * scale + 1e-30).all(), (way.name, operation)
        computed.append(operation)
    return computed


def dtypes_of(way):
    return ["float16", "float32", "float64"] if way.gpu else ["float32", "float64"]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_way_gives_what_a_convolution_means(way, geometry):
    for dtype in dtypes_of(way):
        for bias in (True, False):
            check(way, arrays_of(GEOMETRIES[geometry], dtype), GEOMETRIES[geometry][-1], GEOMETRIES[geometry][-2], bias=bias)


@settings(max_examples=60)
@given(convolutions(), st.booleans(), st.data())
def check_drawn(way, case, one_kernel_a_channel, data):
    g, window, x, w, v = case
    groups = g.channels if one_kernel_a_channel else g.groups
    rng = np.random.default_rng(0)
    if one_kernel_a_channel:
        w, v = rng.standard_normal((groups, 1, *g.kernel)), rng.standard_normal((g.images, groups, *v.shape[2:]))
    if not x.size * w.size * v.size:
        return
    dtype = data.draw(st.sampled_from(dtypes_of(way)))
    arrays = [a.astype(dtype) for a in (x, w, v, rng.standard_normal(len(w)), rng.standard_normal(g.channels))]
    check(way, arrays, window, groups)


def test_every_way_gives_what_a_convolution_means_of_drawn_geometries(way):
    check_drawn(way)


def test_every_way_computes_all_three_of_some_geometry(way):
    """Or the tests above would hold it to nothing."""
    found = [check(way, arrays_of(geometry, "float32"), geometry[-1], geometry[-2]) for geometry in GEOMETRIES.values()]
    assert [*OPERATIONS] in found


@pytest.mark.parametrize(("nbytes", "rows"), [(1, 1), (1000, 2), (10000, 3)])
def test_blocks_make_no_difference(way, nbytes, rows, monkeypatch):
    """How a batch is cut: on the CPU for the cache, on a GPU for the workspace and for idle multiprocessors."""
    monkeypatch.setattr(blocking, "BLOCK_BYTES", nbytes)
    monkeypatch.setattr(blocking, "MIN_SHARED_BYTES", 0)
    monkeypatch.setattr(depthwise, "LINE_ELEMENTS", nbytes // 20)
    monkeypatch.setattr(depthwise, "CHANNELS_BYTES", nbytes)
    monkeypatch.setattr(toeplitz, "MATRIX_BYTES", nbytes)
    monkeypatch.setattr(toeplitz, "toeplitz_block", lambda problem: (0.0, rows))
    monkeypatch.setattr(implicit_gemm, "BUSY_BLOCKS", 512 if rows > 1 else 3)
    monkeypatch.setattr(implicit_gemm, "MIN_SHARE_TERMS", rows)
    with mt.cuda.convolution_workspace(nbytes):
        for geometry in GEOMETRIES.values():
            check(way, arrays_of(geometry, "float64" if way.name not in ("cudnn", "onednn") else "float32"), *geometry[:3:-1])


@pytest.mark.parametrize("way", [way for way in dispatch.WAYS if not way.gpu and way.name != "onednn"], ids=name_of)
def test_the_ways_of_numpy_compute_on_arrays_of_cupy(way, monkeypatch):
    """They are the reference for its kernels, inside `plain`."""
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    for geometry in GEOMETRIES.values():
        check(way, arrays_of(geometry, "float64"), geometry[-1], geometry[-2], on=Device("cuda:0", kernels=False))


@given(convolutions())
def test_unfold_and_matmul_mean_the_seven_loops(case):
    g, window, x, w, v = case
    b, c = np.zeros(len(w)), np.zeros(g.channels)
    y, image, weight = meaning(x, w, v, b, c, window, g.groups)
    np.testing.assert_allclose(y, seven_loops(x, w, window, g.groups), rtol=1e-10, atol=1e-10)
    forward = (y * v).sum()
    np.testing.assert_allclose([(image * x).sum(), (weight * w).sum()], forward, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_what_is_chosen_gives_what_a_convolution_means(dtype, geometry):
    *_, groups, window = GEOMETRIES[geometry]
    arrays = arrays_of(GEOMETRIES[geometry], dtype)
    x, w, g, b, c = arrays
    found = dispatch.forward(x, w, b, window, groups), dispatch.grad_input(g, w, c, window, groups, x.shape[2:])
    found += (dispatch.grad_weight(x, g, window, groups),)
    most, allowed = meaning(*map(abs, arrays), window, groups), 8 * float(np.finfo(dtype).eps)
    for y, exact, scale in zip(found, meaning(*arrays, window, groups), most):
        assert (y.dtype, y.shape) == (x.dtype, exact.shape)
        assert y.flags.c_contiguous
        assert (np.abs(y - exact) <= allowed * scale).all()


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 3, 5, 5)])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_empty_batch(shape, groups, device, monkeypatch):
    if device == "cuda":
        monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x, layer = mt.zeros(shape, device=device).requires_grad_(), nn.Conv2d(3, 3, 3, stride=2, groups=groups).to(device)
    y = layer(x)
    y.sum().backward()
    assert y.shape == (shape[0], 3, 2, 2)
    assert x.grad.shape == x.shape
    assert layer.weight.grad.shape == layer.weight.shape
    assert not layer.weight.grad.numpy().any()
    assert (layer.bias.grad.numpy() == 4 * shape[0]).all()


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 1e30])
def test_an_infinite_pixel_is_seen_where_it_is_and_nowhere_else(way, odd):
    arrays = arrays_of((16, 3, (6, 6), 3, 3, SAME), "float32")
    arrays[1] = np.abs(arrays[1]) + 1
    for which in (0, 2):
        given = [array.copy() for array in arrays]
        given[which][5, 1, 2, 3] = odd
        put = strict.cupy.asarray if way.gpu else np.asarray
        x, w, g, _, _ = map(put, given)
        for operation, of in zip(OPERATIONS, ((x, w, None), (g, w, None), (x, g))):
            problem = Problem(operation, x.shape, w.shape, g.shape, SAME, 3, "f", dispatch.device(x))
            if way.fits(problem):
                y = getattr(way, operation)(*of, problem)
                with np.errstate(invalid="ignore", over="ignore"):
                    exact = getattr(im2col, operation)(
                        *(None if a is None else a if isinstance(a, np.ndarray) else a.get() for a in of),
                        problem._replace(device=Device()),
                    )
                y = y if isinstance(y, np.ndarray) else y.get()
                np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-4)


def test_flipped_kernels_are_contiguous():
    """One kernel a group leaves a view that runs backward, on which NumPy's matrix product takes three times as long."""
    assert im2col.flip(np.ones((3, 2, 3, 3)), 3).flags.c_contiguous


def test_the_gradient_of_a_1x1_weight_is_contiguous():
    for images in (1, 3, 20):
        x, g = np.ones((images, 6, 6, 7)), np.ones((images, 4, 6, 7))
        assert dispatch.grad_weight(x, g, Window((1, 1)), 2).flags.c_contiguous


# What is chosen


def test_a_way_is_chosen_once_for_each_problem(monkeypatch):
    asked = []
    cheapest = dispatch.cheapest
    monkeypatch.setattr(dispatch, "cheapest", lambda problem: asked.append(problem.operation) or cheapest(problem))
    dispatch.forget()
    layer, x = nn.Conv2d(3, 4, 3), mt.Tensor(np.ones((2, 3, 5, 5), np.float32), requires_grad=True)
    for _ in range(3):
        layer(x).sum().backward()
    assert sorted(asked) == sorted(OPERATIONS)


def test_a_way_can_be_asked_for():
    x, w = np.ones((1, 2, 4, 4), np.float32), np.ones((2, 2, 3, 3), np.float32)
    with (
        pytest.raises(ValueError, match="way: expected one of pointwise, toeplitz, depthwise, .*, got 'fft'"),
        dispatch.way("fft"),
    ):
        pass
    with (
        pytest.raises(ValueError, match="way: pointwise does not compute this convolution, im2col_rows, im2col"),
        dispatch.way("pointwise"),
    ):
        dispatch.forward(x, w, None, SAME, 1)
    with dispatch.way("im2col_rows"):
        rows = dispatch.forward(x, w, None, SAME, 1)
    np.testing.assert_allclose(rows, dispatch.forward(x, w, None, SAME, 1), rtol=1e-5)
    assert dispatch.forced.way is None


def test_the_number_of_threads_chooses_nothing():
    """Or results would depend on it."""
    assert "threads" not in Problem._fields + Device._fields


def test_the_gradient_of_the_input_is_a_convolution_of_the_gradient():
    problem = Problem("grad_input", (2, 3, 6, 5), (4, 3, 3, 2), (2, 4, 6, 6), Window((3, 2), padding=((1, 1), (1, 1))))
    there = flipped(problem)
    assert (there.x, there.weight, there.y) == ((2, 4, 6, 6), (3, 4, 3, 2), (2, 3, 6, 5))
    assert there.window.places("", there.x[2:]) == there.y[2:]
    assert flipped(problem._replace(window=Window((3, 2), (2, 1)))) is None
    assert flipped(problem._replace(window=Window((3, 2), padding=((3, 1), (1, 1))))) is None  # wider than the kernel − 1


# The table


def test_the_table_says_what_is_taken():
    ways = nn.convolution_ways((32, 16, 28, 28), (32, 16, 3, 3), padding=1)
    for operation in OPERATIONS:
        rows = [row for row in ways.rows if row.operation == operation]
        assert {row.name for row in rows} == {way.name for way in dispatch.WAYS if not way.gpu}
        assert all(row.fits == (row.why_not == "") == (row.nanoseconds < float("inf")) for row in rows)
        chosen = min(rows, key=lambda row: row.nanoseconds)
        assert [row.name for row in rows if row.chosen] == [chosen.name] == [ways.chosen(operation)]
    lines = repr(ways).splitlines()
    assert lines[0].startswith("x (32, 16, 28, 28), weight (32, 16, 3, 3) → (32, 32, 28, 28); stride (1, 1)")
    assert lines[2].split() == ["way", *OPERATIONS]
    assert sum(line.count("*") for line in lines[4:11]) == 3
    assert "pointwise: the kernel is not 1×1 with stride 1 and no padding" in lines
    padded = repr(nn.convolution_ways((2, 3, 6, 6), (4, 3, 3, 3), padding=4))
    assert "im2col_rows (grad_input): the padding is wider than the kernel − 1" in padded


def test_the_table_for_a_gpu_needs_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    ways = nn.convolution_ways((64, 64, 28, 28), (64, 1, 3, 3), padding="same", groups=64, device="cuda")
    assert {row.name for row in ways.rows} == {way.name for way in dispatch.WAYS if way.gpu}
    assert ways.chosen("forward") == "depthwise"
    assert "cudnn: cuDNN is not installed, is turned off, or there is no GPU" in repr(ways)


def test_the_table_is_of_what_runs(monkeypatch):
    """Inside `plain` too, and for float16, which the CPU computes in float32."""
    with plain():
        assert not any(row.fits for row in nn.convolution_ways((8, 16, 9, 9), (16, 16, 3, 3)).rows if row.name == "onednn")
    half, single = (nn.convolution_ways((8, 16, 9, 9), (16, 16, 3, 3), dtype=dtype) for dtype in ("float16", "float32"))
    assert half.rows == single.rows
    monkeypatch.setattr(costs, "GEMM_NS_PER_MAC", 1e9)
    dispatch.forget()
    dear = nn.convolution_ways((8, 16, 9, 9), (16, 16, 3, 3), dtype="float64")
    assert min(row.nanoseconds for row in dear.rows) > min(row.nanoseconds for row in half.rows)
    dispatch.forget()


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        (((1, 3, 5), (4, 3, 3, 3)), {}, ValueError, "convolution_ways: expected x of 4 axes"),
        (((1, 3, 5, 5), (4, 2, 3, 3)), {}, ValueError, "convolution_ways: weight .* takes 2 channels per group"),
        (((0, 3, 5, 5), (4, 3, 3, 3)), {}, ValueError, "convolution_ways: there is nothing to compute"),
        (((1, 3, 5, 5), (4, 3, 7, 7)), {}, ValueError, "convolution_ways: kernel .* more than the image"),
        (((1, 3, 5, 5), (4, 3, 3, 3)), {"stride": 1.5}, TypeError, "convolution_ways: stride must be an integer"),
        (((1, 3, 5.5, 5), (4, 3, 3, 3)), {}, TypeError, "convolution_ways: x_shape must be integers"),
        (((1, 3, 5, 5), (4, 3, 3, 3)), {"dtype": "abc"}, TypeError, "convolution_ways: .abc. is no dtype"),
        (((1, 3, 5, 5), (4, 3, 3, 3)), {"dtype": "int64"}, TypeError, "dtype must be float16, float32 or float64, got int64"),
        (((1, 3, 5, 5), (4, 3, 3, 3)), {"device": "tpu"}, ValueError, 'device: expected "cpu", "cuda"'),
    ],
)
def test_the_table_refuses_in_words(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        nn.convolution_ways(*arguments, **settings)
    with pytest.raises(ValueError, match="chosen: expected one of forward, grad_input, grad_weight, got 'to_input'"):
        nn.convolution_ways((1, 3, 5, 5), (4, 3, 3, 3)).chosen("to_input")
