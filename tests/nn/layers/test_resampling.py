"""Taps: rounds, their transpose, and resampling against a matrix."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, nn
from microtensor.nn.layers import resampling
from microtensor.runtime import blocking
from microtensor.testing import tensors


@st.composite
def taps(draw, before):
    after, count = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    weight = rng.standard_normal(count) if draw(st.booleans()) else None
    return resampling.Taps(before, after, rng.integers(0, after, count), rng.integers(0, before, count), weight)


def matrix(taps):
    whole = np.zeros((taps.after, taps.before))
    np.add.at(whole, (taps.place, taps.index), 1 if taps.weight is None else taps.weight)
    return whole


@given(st.data(), tensors(st.tuples(*[st.integers(1, 4)] * 4)))
def test_resampling_is_a_product_with_matrices(data, x):
    down, across = data.draw(taps(x.shape[2])), data.draw(taps(x.shape[3]))
    np.testing.assert_allclose(matrix(down.turned), matrix(down).T)
    y = resampling.resample(x, down, across).numpy()
    np.testing.assert_allclose(y, matrix(down) @ x.numpy() @ matrix(across).T, atol=1e-12)
    np.testing.assert_allclose(resampling.resample(x, down, None).numpy(), matrix(down) @ x.numpy(), atol=1e-12)
    np.testing.assert_allclose(resampling.resample(x, None, across).numpy(), x.numpy() @ matrix(across).T, atol=1e-12)


@given(st.data(), st.integers(1, 5))
def test_a_round_has_each_place_at_most_once(data, before):
    found = data.draw(taps(before))
    assert [i for step in found.rounds for i in range(found.place.size)[step]] == list(range(found.place.size))
    for step in found.rounds:
        assert (np.diff(found.place[step]) > 0).all()


def test_the_result_has_memory_of_its_own():
    x = Tensor(np.ones((1, 1, 2, 2)))
    y = resampling.resample(x, None, None)
    y[...] = 0.0
    assert x.sum().item() == 4.0


def test_what_is_not_taken_is_not_touched():
    pick = resampling.Taps(3, 2, np.arange(2), np.array([0, 2]), np.array([1.0, 0.5]))
    x = Tensor(np.array([[[[1.0, np.nan, np.inf]]]]))
    np.testing.assert_array_equal(resampling.resample(x, None, pick).numpy(), [[[[1.0, np.inf]]]])


@pytest.mark.parametrize("part_bytes", [1, 300])
def test_the_parts_of_a_batch_make_no_difference(monkeypatch, part_bytes):
    x = Tensor(np.random.default_rng(0).standard_normal((3, 2, 4, 5)))
    down = resampling.Taps(4, 6, np.arange(6), np.arange(6) % 4, np.arange(6.0))
    across = resampling.Taps(5, 2, np.array([0, 0, 1]), np.array([0, 1, 4]), None)
    whole = resampling.resample(x, down, across).numpy()
    monkeypatch.setattr(blocking, "PART_BYTES", part_bytes)
    monkeypatch.setattr(blocking, "SINGLE_THREAD_BYTES", 0)
    np.testing.assert_array_equal(resampling.resample(x, down, across).numpy(), whole)


def test_what_is_known_beforehand_is_copied_to_a_device_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = Tensor(np.ones((2, 3, 11, 13), np.float32), device="cuda", requires_grad=True)
    calls = (
        lambda: nn.interpolate(x, (7, 9), mode="bilinear", align_corners=False),
        lambda: nn.adaptive_avg_pool2d(x, (4, 5)),
        lambda: nn.adaptive_max_pool2d(x, (4, 5)),
    )
    for call in calls:
        call().backward(call())
        with strict.counting() as counts:
            call().backward(call().detach())
        assert counts.copies == counts.waits == 0
