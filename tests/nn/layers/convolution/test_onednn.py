"""Convolution by oneDNN: its values, parts and threads, forks, and when it is left alone."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from convolutions import convolutions, meaning
from hypothesis import given
from hypothesis import strategies as st

from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.onednn import convolution
from microtensor.nn.layers.convolution.onednn.bindings import Library
from microtensor.nn.layers.convolution.onednn.schedule import FORWARD, GRAD_INPUT, GRAD_WEIGHT, MAX_PARTS, Schedule
from microtensor.nn.layers.convolution.problem import OPERATIONS, Device, Problem
from microtensor.nn.layers.windows import Window
from microtensor.runtime import threads
from microtensor.runtime.cuda.kernels import plain

installed = pytest.mark.skipif(convolution.library() is None, reason="oneDNN is not installed: pip install onednn-cpu-gomp")

SAME = Window((3, 3), padding=((1, 1), (1, 1)))


def float32(*given):
    return [array.astype(np.float32) for array in given]


def assert_sums(actual, expected, terms):
    """Sums of so many products of numbers from a normal distribution, in another order.

    Each addition rounds by half of 2⁻²³ of a partial sum, which is about √terms: errors of √terms of them add up to
    terms · 2⁻²⁴, in the mean. Ten times that, and the smallest sums have as much as the largest.
    """
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=10 * 2**-24 * max(terms, 16))


def problem_of(operation, x, w, v, window=SAME, groups=1, bias=False):
    return Problem(operation, x.shape, w.shape, v.shape, window, groups, x.dtype.char, dispatch.device(x), bias)


def forward(x, w, v, window=SAME, groups=1):
    return convolution.forward(x, w, None, problem_of("forward", x, w, v, window, groups))


@installed
@given(convolutions(), st.booleans(), st.sampled_from([1, 200, 1 << 20]))
def test_parts_make_no_difference(case, one_kernel_a_channel, least):
    g, window, *given = case
    x, w, v = float32(*given)
    groups = g.groups
    if one_kernel_a_channel:
        groups, w, v = g.channels, np.resize(w, (g.channels, 1, *g.kernel)), np.resize(v, (g.images, g.channels, *v.shape[2:]))
    bias, zeros = np.arange(len(w), dtype=np.float32), np.zeros(g.channels)
    y, image, weight = meaning(x, w, v, bias, zeros, window, groups)
    library = convolution.library()
    try:
        found = [
            Schedule(library, problem_of(operation, x, w, v, window, groups, operation == FORWARD), least)
            for operation in OPERATIONS
        ]
    except convolution.Failure:  # then it is not used
        return
    assert_sums(found[0].run([x, w, None], bias), y, w[0].size + len(w))
    assert_sums(found[1].run([None, w, v]), image, w[:, 0].size)
    assert_sums(found[2].run([x, None, v]), weight, v[:, 0].size)


def example(images=8, channels=20, kernels=36, size=(9, 11), groups=1, window=SAME):
    rng = np.random.default_rng(0)
    shapes = (
        (images, channels, *size),
        (kernels, channels // groups, *window.kernel),
        (images, kernels, *window.places("", size)),
    )
    return float32(*(rng.standard_normal(shape) for shape in shapes))


@installed
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"images": 1, "kernels": 64},
        {"images": 1, "channels": 48, "kernels": 96, "size": (2, 3)},
        {"images": 1, "groups": 4},
    ],
    ids=["images", "kernels", "large weight", "groups"],
)
def test_numbers_do_not_depend_on_the_number_of_threads(sizes):
    """The cut into parts, of each sort, is by the shape alone; threads only take them."""
    x, w, v = example(**sizes)
    groups, before, found = sizes.get("groups", 1), threads.get_num_threads(), []
    three = [
        (Schedule(convolution.library(), problem_of(operation, x, w, v, SAME, groups), least=1), given)
        for operation, given in zip(OPERATIONS, ([x, w, None], [None, w, v], [x, None, v]))
    ]
    assert all(len(schedule.parts) > 1 for schedule, _ in three)
    try:
        for count in (1, 2, 5):
            threads.set_num_threads(count)
            found.append([schedule.run(given) for schedule, given in three])
    finally:
        threads.set_num_threads(before)
    for others in found[1:]:
        for one, other in zip(found[0], others):
            np.testing.assert_array_equal(one, other)
    zeros = np.zeros(len(w)), np.zeros(x.shape[1])
    assert_sums(found[0][2], meaning(x, w, v, *zeros, SAME, groups)[2], v[:, 0].size)


@installed
def test_what_is_large_is_cut_and_what_is_small_is_not():
    found = convolution.library()
    for images, size, parts in ((1, 16, 1), (MAX_PARTS, 32, MAX_PARTS)):
        shapes = (images, 16, size, size), (32, 16, 3, 3), (images, 32, size, size)
        schedule = Schedule(found, Problem(FORWARD, *shapes, SAME), least=1 << 20)
        assert len(schedule.parts) == parts


@installed
def test_several_threads_may_call_it_at_once():
    x, w, v = example()
    expected = [forward(x + i, w, v) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = list(pool.map(lambda i: forward(x + i, w, v), range(8)))
            for one, other in zip(found, expected):
                np.testing.assert_array_equal(one, other)


def _both(queue=None):
    x, w, v = example(images=64)
    found = forward(x, w, v), convolution.grad_weight(x, v, problem_of("grad_weight", x, w, v))
    return queue.put(found) if queue else found


@installed
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork in a process with threads: that is what this is about
def test_after_a_fork():
    expected = _both()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_both, args=(queue,))
    child.start()
    try:
        found = queue.get(timeout=30)
        child.join(30)
    finally:
        child.kill()
    assert child.exitcode == 0
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)


@installed
def test_arrays_that_are_not_contiguous():
    x, w, v = example()
    turned = x[::-1, :, :, ::-1]
    np.testing.assert_array_equal(forward(turned, w, v), forward(turned.copy(), w, v))
    one, problem = np.broadcast_to(np.float32(1), v.shape), problem_of("grad_weight", x, w, v)  # as the gradient of a sum is
    np.testing.assert_array_equal(convolution.grad_weight(x, one, problem), convolution.grad_weight(x, one.copy(), problem))


@installed
@pytest.mark.parametrize("bias_in_problem", [True, False])
def test_the_bias_of_a_transposed_convolution(bias_in_problem):
    """It is no argument of oneDNN's gradient."""
    x, w, v = example()
    bias, problem = np.arange(w.shape[1], dtype=np.float32), problem_of("grad_input", x, w, v, bias=bias_in_problem)
    exact = meaning(x, w, v, np.zeros(len(w)), bias, SAME, 1)[1]
    assert_sums(convolution.grad_input(v, w, bias, problem), exact, w[:, 0].size + len(bias))
    with dispatch.way("onednn"):
        assert_sums(dispatch.grad_input(v, w, bias, SAME, 1, (9, 11)), exact, w[:, 0].size + len(bias))
    assert not any(code.bias for code in convolution._schedule(problem).compiled)


@installed
def test_a_bias_that_the_problem_does_not_tell_of():
    x, w, v = example()
    bias = np.arange(len(w), dtype=np.float32)
    exact = meaning(x, w, v, bias, np.zeros(x.shape[1]), SAME, 1)[0]
    assert_sums(convolution.forward(x, w, bias, problem_of("forward", x, w, v)), exact, w[0].size + len(bias))
    exact -= bias[:, None, None]
    assert_sums(convolution.forward(x, w, None, problem_of("forward", x, w, v, bias=True)), exact, w[0].size + len(bias))


@installed
def test_it_says_what_is_not_for_it():
    x, w, v = example()
    for why, problem in {
        "float32 on the CPU": problem_of("forward", x.astype(float), w, v),
        "do not fill blocks of 16": problem_of("forward", x, w[:, :5], v, groups=4),  # groups of 5 channels and 9 kernels
        "it is for float32 on the CPU": problem_of("forward", x, w, v)._replace(device=Device("cuda:0")),
    }.items():
        assert why in convolution.why_not(problem)
    with plain():
        assert "is not installed, or is turned off" in convolution.why_not(problem_of("forward", x, w, v))
    nowhere = Window((3, 3), padding=((9, 9), (9, 9)))  # a padding that is wider than the kernel
    y = dispatch.forward(x, w, None, nowhere, 1)
    v = np.zeros_like(y)
    np.testing.assert_allclose(y, meaning(x, w, v, np.zeros(len(w)), np.zeros(x.shape[1]), nowhere, 1)[0], rtol=1e-4, atol=1e-4)


# When it is not used


@pytest.fixture
def asked_anew():
    """`library` forgets what it has found, before and after."""

    def forget():
        convolution.library.cache_clear()
        convolution._schedule.cache_clear()
        dispatch.forget()

    forget()
    yield
    forget()


def test_it_can_be_turned_off(monkeypatch, asked_anew):
    monkeypatch.setenv("MICROTENSOR_ONEDNN", "0")
    assert convolution.library() is None
    assert "is turned off" in convolution.why_not(problem_of("forward", *example()))


def test_without_the_package_there_is_no_word(monkeypatch, asked_anew):
    monkeypatch.delenv("MICROTENSOR_ONEDNN", raising=False)
    monkeypatch.setattr(convolution, "PACKAGE", "no-such-package")
    assert convolution.library() is None


@pytest.mark.parametrize(
    ("file", "words"),
    [("/no/such/libdnnl.so.3", "no/such/libdnnl.so.3: cannot open"), ("libc.so.6", "libc.so.6 is not oneDNN: it has no")],
)
@pytest.mark.skipif(sys.platform != "linux", reason="names of files on Linux")
def test_what_is_not_the_library_is_refused_once_in_words(file, words, monkeypatch, asked_anew):
    monkeypatch.setenv("MICROTENSOR_ONEDNN", file)
    with pytest.warns(RuntimeWarning, match=f"oneDNN is not used: .*{words}.*MICROTENSOR_ONEDNN=0") as warned:
        found = [convolution.library() for _ in range(3)]
    assert found == [None] * 3
    assert len(warned) == 1


@installed
@pytest.mark.parametrize("kind", [FORWARD, GRAD_INPUT, GRAD_WEIGHT])
def test_a_library_that_computes_something_else_is_not_used(kind, monkeypatch, asked_anew):
    run = Schedule.run

    def wrong(self, *rest):
        y = run(self, *rest)
        if self.result == {FORWARD: 2, GRAD_INPUT: 0, GRAD_WEIGHT: 1}[kind]:
            y.flat[-1] += 0.01
        return y

    monkeypatch.setattr(Schedule, "run", wrong)
    with pytest.warns(
        RuntimeWarning, match=f"computes a convolution \\({kind}, Window.* wrong, by 0.*Convolutions are computed without it"
    ):
        assert convolution.library() is None
    assert "is turned off" in convolution.why_not(problem_of("forward", *example()))


@installed
def test_another_version_is_refused(monkeypatch):
    path = Path(convolution.library().c._name)
    monkeypatch.setattr("microtensor.nn.layers.convolution.onednn.bindings.MAJOR", 2)
    with pytest.raises(OSError, match=r"is oneDNN 3\.\d+\.\d+, and version 2 is needed"):
        Library(path)


@installed
def test_a_process_ends_in_peace():
    """What the library has made is destroyed at the end, in whatever order."""
    code = (
        "import numpy as np, microtensor as mt\nfrom microtensor import nn\n"
        "conv = nn.Conv2d(3, 8, 3)\nconv(mt.ones(2, 3, 8, 8)).sum().backward()\nprint(conv.weight.grad.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[4])
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "(8, 3, 3, 3)")
