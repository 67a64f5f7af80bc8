"""Convolution by oneDNN: its values, parts and threads, forks, and when it is left alone."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from convolutions import convolutions
from hypothesis import given
from hypothesis import strategies as st

from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.convolution.cpu import im2col
from microtensor.nn.layers.convolution.onednn import convolution
from microtensor.nn.layers.convolution.onednn.bindings import Library
from microtensor.nn.layers.convolution.onednn.schedule import FORWARD, PARTS, TO_INPUT, TO_WEIGHT, Schedule
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


def schedules(g, window, x, w, least):
    """The three of a convolution, each cut into parts of `least` multiplications."""
    found = convolution.library()
    return [
        Schedule(found, kind, x.shape, w.shape, window, g.groups, kind == FORWARD, least)
        for kind in (FORWARD, TO_INPUT, TO_WEIGHT)
    ]


@installed
@given(convolutions(), st.sampled_from([1, 200, 1 << 20]))
def test_it_computes_what_columns_do(case, least):
    g, window, *given = case
    x, w, v = float32(*given)
    bias = np.arange(len(w), dtype=np.float32)
    try:
        forward, to_input, to_weight = schedules(g, window, x, w, least)
    except convolution.Failure:  # then it is not used
        return
    x64, w64, v64 = (array.astype(np.float64) for array in (x, w, v))
    assert_sums(forward.run([x, w, None], bias), im2col.forward(x64, w64, bias, window, g.groups), w[0].size + len(w))
    assert_sums(to_input.run([None, w, v]), im2col.to_input(v64, w64, None, window, g.groups, g.size), w[:, 0].size)
    assert_sums(to_weight.run([x, None, v]), im2col.to_weight(x64, v64, window, g.groups), v[:, 0].size)


@installed
@given(convolutions(depthwise=True), st.sampled_from([1, 1 << 20]))
def test_a_kernel_for_each_channel(case, least):
    g, window, *given = case
    x, w, v = float32(*given)
    try:
        forward, to_input, to_weight = schedules(g, window, x, w, least)
    except convolution.Failure:
        return
    zeros = np.zeros(len(w), np.float32)
    assert_sums(forward.run([x, w, None], zeros), im2col.forward(x, w, None, window, g.groups), w[0].size)
    assert_sums(to_input.run([None, w, v]), im2col.to_input(v, w, None, window, g.groups, g.size), w[0].size)
    assert_sums(to_weight.run([x, None, v]), im2col.to_weight(x, v, window, g.groups), v[:, 0].size)


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
        (Schedule(convolution.library(), kind, x.shape, w.shape, SAME, groups, False, least=1), given)
        for kind, given in ((FORWARD, [x, w, None]), (TO_INPUT, [None, w, v]), (TO_WEIGHT, [x, None, v]))
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
    assert_sums(found[0][2], im2col.to_weight(x, v, SAME, groups), v[:, 0].size)


@installed
def test_what_is_large_is_cut_and_what_is_small_is_not():
    found = convolution.library()
    for images, size, parts in ((1, 16, 1), (PARTS, 32, PARTS)):
        schedule = Schedule(found, FORWARD, (images, 16, size, size), (32, 16, 3, 3), SAME, 1, False, least=1 << 20)
        assert len(schedule.parts) == parts


@installed
def test_several_threads_may_call_it_at_once():
    x, w, _ = example()
    expected = [convolution.forward(x + i, w, None, SAME, 1) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = list(pool.map(lambda i: convolution.forward(x + i, w, None, SAME, 1), range(8)))
            for one, other in zip(found, expected):
                np.testing.assert_array_equal(one, other)


def _both(queue=None):
    x, w, v = example(images=64)
    found = convolution.forward(x, w, None, SAME, 1), convolution.to_weight(x, v, SAME, 1)
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
def test_giventhat_do_not_lie_in_one_piece():
    x, w, v = example()
    np.testing.assert_array_equal(
        convolution.forward(x[::-2, :, :, ::-1], w, None, SAME, 1),
        convolution.forward(x[::-2, :, :, ::-1].copy(), w, None, SAME, 1),
    )
    one = np.broadcast_to(np.float32(1), v.shape)  # as the gradient of a sum is
    np.testing.assert_array_equal(convolution.to_weight(x, one, SAME, 1), convolution.to_weight(x, one.copy(), SAME, 1))


@installed
def test_the_bias_of_a_transposed_convolution():
    _, w, v = example()
    bias = np.arange(w.shape[1], dtype=np.float32)
    found = convolution.to_input(v, w, bias, SAME, 1, (9, 11))
    assert_sums(found, im2col.to_input(v, w, bias, SAME, 1, (9, 11)), w[:, 0].size + len(bias))


@installed
def test_it_leaves_alone_what_is_not_for_it():
    x, w, v = example()
    assert convolution.forward(x.astype(np.float64), w.astype(np.float64), None, SAME, 1) is None
    assert convolution.forward(x[:0], w, None, SAME, 1) is None
    assert convolution.forward(x, w[:, :, :1, :1], None, Window((1, 1)), 1) is None  # a product of matrices is quicker
    assert convolution.to_input(v, w[:, :2], None, SAME, 1, (9, 11)) is None  # two channels
    assert convolution.forward(x, w[:, :5], None, SAME, 4) is None  # groups of 5 channels and 9 kernels
    nowhere = Window((3, 3), padding=((9, 9), (9, 9)))  # a padding that is wider than the kernel
    np.testing.assert_allclose(
        dispatch.forward(x, w, None, nowhere, 1), im2col.forward(x, w, None, nowhere, 1), rtol=1e-4, atol=1e-4
    )


@installed
def test_convolutions_go_that_way(monkeypatch):
    x, w, v = example()
    taken = []
    run = Schedule.run
    monkeypatch.setattr(Schedule, "run", lambda self, *rest: taken.append(self.result) or run(self, *rest))
    dispatch.forward(x, w, None, SAME, 1)
    dispatch.to_input(v, w, None, SAME, 1, (9, 11))
    dispatch.to_weight(x, v, SAME, 1)
    assert taken == [2, 0, 1]
    with plain():
        dispatch.forward(x, w, None, SAME, 1)
    assert len(taken) == 3


# When it is not used


@pytest.fixture
def asked_anew():
    """`library` forgets what it has found, before and after."""
    convolution.library.cache_clear()
    convolution._schedule.cache_clear()
    yield
    convolution.library.cache_clear()
    convolution._schedule.cache_clear()


def test_it_can_be_turned_off(monkeypatch, asked_anew):
    monkeypatch.setenv("MICROTENSOR_ONEDNN", "0")
    x, w, _ = example()
    assert convolution.library() is None
    assert convolution.forward(x, w, None, SAME, 1) is None


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
@pytest.mark.parametrize("kind", [FORWARD, TO_INPUT, TO_WEIGHT])
def test_a_library_that_computes_something_else_is_not_used(kind, monkeypatch, asked_anew):
    run = Schedule.run

    def wrong(self, *rest):
        y = run(self, *rest)
        if self.result == {FORWARD: 2, TO_INPUT: 0, TO_WEIGHT: 1}[kind]:
            y.flat[-1] += 0.01
        return y

    monkeypatch.setattr(Schedule, "run", wrong)
    with pytest.warns(RuntimeWarning, match=f"computes a convolution \\({kind}, Window.* wrong, by 0.*Convolutions go on"):
        assert convolution.library() is None
    x, w, _ = example()
    assert convolution.forward(x, w, None, SAME, 1) is None


@installed
def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr("microtensor.nn.layers.convolution.onednn_library.MAJOR", 2)
    with pytest.raises(OSError, match=r"is oneDNN 3\.\d+\.\d+, and version 2 is needed"):
        Library(convolution._installed())


@installed
def test_a_process_ends_in_peace():
    """What the library has made is destroyed at the end, in whatever order."""
    code = (
        "import numpy as np, microtensor as mt\nfrom microtensor import nn\n"
        "conv = nn.Conv2d(3, 8, 3)\nconv(mt.ones(2, 3, 8, 8)).sum().backward()\nprint(conv.weight.grad.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[4])
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "(8, 3, 3, 3)")
