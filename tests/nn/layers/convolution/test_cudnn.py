"""Convolution by cuDNN, on a stand-in for its Python package: results, plans, and what turns it off."""

import importlib
import importlib.util
import json
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import strict
from convolutions import convolutions, meaning
from hypothesis import given
from hypothesis import strategies as st
from strict.cudnn import FACTS, Cudnn

import microtensor as mt
from microtensor import nn
from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.gpu import cudnn as own
from microtensor.nn.layers.windows import Window

ROOT = Path(__file__).parents[4]
THREE = Window((3, 3), padding=((1, 1), (1, 1)))

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")


@pytest.fixture
def install(monkeypatch):
    """Puts a stand-in for cuDNN, with these faults, beside the one for CuPy, before anything is known of either."""

    def put(module):
        monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
        monkeypatch.setitem(sys.modules, "cudnn", module)
        monkeypatch.setattr(own, "verdict", own.Verdict())
        monkeypatch.setattr(own, "_local", own.Local())
        dispatch.forget()
        return module

    yield put
    dispatch.forget()


def some(dtype="float32", channels=4, kernels=6):
    """Images, weights and a gradient on the device."""
    rng = np.random.default_rng(0)
    shapes = (2, channels, 5, 6), (kernels, channels, 3, 3), (2, kernels, 5, 6)
    return [strict.cupy.asarray(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def three(x, w, g, window=THREE, groups=1):
    size = x.shape[2:]
    results = dispatch.forward(x, w, None, window, groups), dispatch.grad_input(g, w, None, window, groups, size)
    return [*results, dispatch.grad_weight(x, g, window, groups)]


def kernels_of(work):
    """The names of what ran."""
    with strict.counting() as counts:
        work()
    return set(counts.names)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_it_computes_the_definition(install, dtype):
    install(Cudnn())

    @given(convolutions(), st.booleans())
    def check(case, bias):
        g, window, x, w, v = case
        rng = np.random.default_rng(0)
        b, c = (rng.standard_normal(n) if bias else np.zeros(n) for n in (len(w), g.channels))
        host = [a.astype(dtype) for a in (x, w, v, b, c)]
        x, w, v, b, c = map(strict.cupy.asarray, host)
        if not x.size or g.groups == g.channels == len(w):
            return
        with dispatch.way("cudnn"):
            b, c = (b, c) if bias else (None, None)
            results = dispatch.forward(x, w, b, window, g.groups), dispatch.grad_input(v, w, c, window, g.groups, g.size)
            results += (dispatch.grad_weight(x, v, window, g.groups),)
        most = meaning(*map(abs, host), window, g.groups)
        for y, exact, scale in zip(results, meaning(*host, window, g.groups), most):
            assert y.dtype == dtype
            assert (np.abs(y.get() - exact) <= 2 * float(np.finfo(dtype).eps) * scale).all()

    check()


def test_it_is_chosen_where_it_may_be(install):
    install(Cudnn())
    x, w, g = some()
    assert kernels_of(lambda: three(x, w, g)) >= {"conv_fprop", "conv_dgrad", "conv_wgrad"}
    assert kernels_of(lambda: three(x, w, g)) == {"conv_fprop", "conv_dgrad", "conv_wgrad"}
    assert "conv_fprop" not in kernels_of(lambda: three(*some("float64")))
    with mt.cuda.allow_cudnn(False):
        assert not kernels_of(lambda: three(x, w, g)) & {"conv_fprop", "conv_dgrad", "conv_wgrad"}
    alone = strict.cupy.asarray(np.ones((4, 1, 3, 3), np.float32))
    assert "conv_fprop" not in kernels_of(lambda: dispatch.forward(x, alone, None, THREE, 4))
    with dispatch.way("cudnn"):
        assert kernels_of(lambda: dispatch.forward(x, alone, None, THREE, 4)) == {"conv_fprop"}
    with dispatch.way("implicit_gemm"):
        assert "conv_fprop" not in kernels_of(lambda: three(x, w, g))


def test_layers_learn_as_they_do_without_it(install):
    install(Cudnn())
    weights = []
    for allowed in (True, False):
        mt.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2)).to("cuda")
        optimizer = nn.SGD(model.parameters(), lr=0.1)
        x = mt.Tensor(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32"), device="cuda")
        with mt.cuda.allow_cudnn(allowed):
            for _ in range(3):
                optimizer.zero_grad()
                (model(x) ** 2).mean().backward()
                optimizer.step()
        weights.append([p.numpy() for p in model.parameters()])
    for with_it, without in zip(*weights):
        np.testing.assert_allclose(with_it, without, rtol=1e-4, atol=1e-6)


# Plans


def test_a_plan_is_made_once_for_a_shape(install):
    cudnn = install(Cudnn())
    x, w, g = some()
    three(x, w, g)
    before = len(cudnn.plans)
    three(x, w, g)
    assert len(cudnn.plans) == before
    dispatch.forward(x[:1].copy(), w, None, THREE, 1)
    assert len(cudnn.plans) == before + 1
    with mt.cuda.convolution_workspace(1 << 20):
        three(x, w, g)
    assert len(cudnn.plans) == before + 4
    assert len(cudnn.handles) == 1


def test_another_thread_has_plans_and_a_handle_of_its_own(install):
    cudnn = install(Cudnn())
    x, w, g = some()
    three(x, w, g)
    before, results = len(cudnn.plans), []
    thread = threading.Thread(target=lambda: results.extend(three(x, w, g)))
    thread.start()
    thread.join()
    assert len(results) == 3
    assert (len(cudnn.handles), len(cudnn.plans)) == (2, before + 3)


def test_what_engines_must_not_do(install):
    cudnn = install(Cudnn())
    x, w, g = some()
    three(x, w, g)
    usual = {f"numerical_note.{n}" for n in ("DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION", "NONDETERMINISTIC")}
    assert set(cudnn.plans[-1].notes) == usual | {"numerical_note.TENSOR_CORE"}
    with mt.cuda.allow_tf32():
        three(x, w, g)
        assert set(cudnn.plans[-1].notes) == usual
    three(*some("float16"))
    assert set(cudnn.plans[-1].notes) == usual


def test_a_shape_without_a_plan_takes_our_own_way(install):
    install(Cudnn())
    x, w, g = some()
    three(x, w, g)
    with mt.cuda.convolution_workspace(10):
        assert not kernels_of(lambda: three(x, w, g)) & {"conv_fprop", "conv_dgrad", "conv_wgrad"}
        with (
            dispatch.way("cudnn"),
            pytest.raises(ValueError, match="way: cudnn does not compute this convolution, implicit_gemm, im2col do"),
        ):
            three(x, w, g)
    assert kernels_of(lambda: three(x, w, g)) == {"conv_fprop", "conv_dgrad", "conv_wgrad"}


def test_a_part_of_an_array_may_begin_anywhere(install):
    install(Cudnn())
    numbers = np.random.default_rng(0).standard_normal((3, 1, 5, 3)).astype("float32")
    whole, w = strict.cupy.asarray(numbers), np.ones((2, 1, 3, 3), np.float32)
    y = dispatch.forward(whole[1:], strict.cupy.asarray(w), None, THREE, 1)
    assert whole[1:].data.ptr % 16
    zeros = [np.zeros(shape) for shape in ((2, 2, 5, 3), 2, 1)]
    np.testing.assert_allclose(y.get(), meaning(numbers[1:], w, *zeros, THREE, 1)[0], atol=1e-5)


def test_it_works_on_the_gpu_and_the_stream_of_the_array(install):
    """The stand-in raises where the handle's are others."""
    cudnn = install(Cudnn())
    two = strict.Cupy(2)
    with pytest.MonkeyPatch.context() as patch, two.cuda.Device(0):
        patch.setitem(sys.modules, "cupy", two)
        layer = nn.Conv2d(4, 6, 3).to("cuda:1")
        x = mt.Tensor(np.ones((2, 4, 5, 5), np.float32), device="cuda:1", requires_grad=True)
        layer(x).sum().backward()
        assert x.grad.device == "cuda:1"
        with mt.cuda.device(0):
            nn.Conv2d(4, 6, 3).to("cuda:0")(mt.Tensor(np.ones((2, 4, 5, 5), np.float32), device="cuda:0"))
    assert sorted(handle.gpu for handle in cudnn.handles) == [0, 1]


# Trust


FAULTS = [
    ({"is_wrong": {"conv_fprop"}}, r"`forward` of \(2, 8, .* is not what our kernels compute: off by \d"),
    ({"is_wrong": {"conv_dgrad"}}, "`grad_input` of"),
    ({"is_wrong": {"conv_wgrad"}}, "`grad_weight` of"),
    ({"writes_nothing": {"conv_wgrad"}}, "off by nan"),
    ({"no_plan": {"conv_dgrad"}}, "it has no plan for the convolution `grad_input`"),
    ({"raises": {"conv_wgrad"}}, r"its trial failed \(RuntimeError: CUDNN_STATUS_EXECUTION_FAILED\)"),
    ({"fails_to_plan": {"conv_fprop"}}, r"it failed to plan a convolution \(RuntimeError: CUDNN_STATUS_INTERNAL_ERROR\)"),
    ({"no_library": True}, "does not find cuDNN itself .*; pip install nvidia-cudnn-cu12"),
]


@pytest.mark.parametrize(
    ("faults", "message"), FAULTS, ids=[next(iter(faults)) + str(i) for i, (faults, _) in enumerate(FAULTS)]
)
def test_it_is_off_where_its_trial_fails_and_says_so_once(install, faults, message):
    install(Cudnn(**faults))
    x, w, g = some()
    with pytest.warns(RuntimeWarning, match=f"^cuDNN is not used, convolutions take our own kernels: .*{message}") as caught:
        results = three(x, w, g)
    assert len(caught) == 1
    host = [a.get().astype(float) for a in (x, w, g)]
    for y, exact in zip(results, meaning(*host, np.zeros(6), np.zeros(4), THREE, 1)):
        np.testing.assert_allclose(y.get(), exact, atol=1e-4)
    assert not kernels_of(lambda: three(x, w, g)) & {"conv_fprop", "conv_dgrad", "conv_wgrad"}
    assert not kernels_of(lambda: three(*some("float16"))) & {"conv_fprop", "conv_dgrad", "conv_wgrad"}


def test_where_it_breaks_later_it_is_off_too(install):
    cudnn = install(Cudnn())
    x, w, g = some()
    three(x, w, g)
    cudnn.faults["fails to plan"] = {"conv_fprop"}
    with pytest.warns(RuntimeWarning, match="it failed to plan a convolution"):
        dispatch.forward(x[:1].copy(), w, None, THREE, 1)
    assert not kernels_of(lambda: three(x, w, g)) & {"conv_fprop", "conv_dgrad", "conv_wgrad"}


def test_without_the_package_nothing_is_said(install):
    install(None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not kernels_of(lambda: three(*some())) & {"conv_fprop", "conv_dgrad", "conv_wgrad"}


def test_a_step_with_it_waits_for_nothing(install):
    install(Cudnn())
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).to("cuda")
    x = mt.Tensor(np.ones((2, 3, 8, 8), np.float32), device="cuda")
    for _ in range(2):
        with strict.counting() as counts:
            model(x).sum().backward()
    assert (counts.waits, counts.copies) == (0, 0)
    assert {"conv_fprop", "conv_dgrad", "conv_wgrad"} <= set(counts.names)


# The package itself


def test_the_names_are_those_of_the_package_that_is_installed(monkeypatch):
    """It imports without a GPU. The tests put nothing in its place but here."""
    monkeypatch.delitem(sys.modules, "cudnn", raising=False)
    if importlib.util.find_spec("cudnn") is None:
        pytest.skip("nvidia-cudnn-frontend is not installed")
    monkeypatch.syspath_prepend(str(ROOT))
    tool = importlib.import_module("tools.cudnn_names")
    installed = tool.installed()
    if installed["version"] != FACTS["version"]:
        pytest.skip(f"the file is of version {FACTS['version']}, and {installed['version']} is installed")
    assert json.loads(tool.written(installed)) == FACTS


def test_one_file_names_it():
    named = []
    for folder in ("microtensor", "nn", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            if "microtensor/nn" not in path.as_posix() and 'import_module("cudnn")' in path.read_text(encoding="utf-8"):
                named.append(path.name)
    assert named == ["cudnn.py"]


def test_the_setting():
    assert mt.cuda.get_allow_cudnn()
    with mt.cuda.allow_cudnn(False):
        assert not mt.cuda.get_allow_cudnn()
    mt.cuda.set_allow_cudnn(False)
    assert not mt.cuda.get_allow_cudnn()
    mt.cuda.set_allow_cudnn(True)
    with pytest.raises(TypeError, match=r"^set_allow_cudnn: expected True or False, got 1 \(int\)$"), mt.cuda.allow_cudnn(1):
        pass
    assert mt.cuda.get_allow_cudnn()
