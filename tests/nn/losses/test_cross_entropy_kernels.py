"""Cross-entropy by kernels, against float64 on the CPU, and what it says of labels that are out of range."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.runtime.cuda.kernels import plain

pytestmark = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")

TOLERANCE = {"float16": 2e-3, "float32": 5e-6, "float64": 1e-12}
"""Of float16 the result alone is rounded to it, 2^-11."""


@pytest.fixture(autouse=True)
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)


@st.composite
def problems(draw):
    """Logits (N, C, …), labels, some of which are to be ignored, the gradient's seed, and settings."""
    classes = draw(st.sampled_from([1, 2, 10, 33, 257, 1025]))
    shape = draw(
        st.sampled_from([(1,), (3,), (70,), (257,), (2, 3), (3, 16, 17), (5, 7, 1)] if classes < 100 else [(2,), (2, 3)])
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    logits, labels = rng.standard_normal((shape[0], classes, *shape[1:])) * 3, rng.integers(0, classes, shape)
    ignore = draw(st.sampled_from([-100, 0, 255]))
    labels[rng.random(shape) < 0.2] = ignore
    settings = {
        "weight": rng.uniform(0.5, 1.5, classes) if draw(st.booleans()) else None,
        "ignore_index": ignore,
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
    }
    return logits, labels, settings


def run(logits, labels, settings, where):
    """The loss and the gradient of the logits, as NumPy's arrays."""
    x, settings = Tensor(logits, device=where, requires_grad=True), dict(settings)
    if settings.get("weight") is not None:
        settings["weight"] = Tensor(settings["weight"].astype(logits.dtype), device=where)
    loss = nn.cross_entropy(x, Tensor(labels, device=where), **settings)
    g = np.random.default_rng(0).standard_normal(loss.shape).astype("float16").astype(logits.dtype)
    loss.backward(Tensor(np.asarray(g), device=where))
    return loss.detach().cpu().numpy(), x.grad.cpu().numpy()


@given(problems(), st.sampled_from(list(TOLERANCE)), st.sampled_from(["int64", "int32"]))
def test_they_compute_what_float64_does(problem, dtype, whole):
    logits, labels, settings = problem
    logits = logits.astype(dtype)
    if settings["weight"] is not None:
        settings["weight"] = settings["weight"].astype(dtype).astype("float64")
    found = run(logits, labels.astype(whole), settings, "cuda")
    expected = run(logits.astype("float64"), labels, settings, "cpu")
    for a, b in zip(found, expected):
        assert a.dtype == dtype
        atol = TOLERANCE[dtype] * (0.01 + np.nan_to_num(np.abs(b)).max(initial=0))  # the sum of many is rounded as one
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=atol)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("wrong", [-1, 3, 7, -(2**63), 2**63 - 1])
def test_a_label_out_of_range_makes_nan_and_is_named_when_numbers_next_come(reduction, wrong):
    x = Tensor(np.zeros((4, 3), "float32"), device="cuda", requires_grad=True)
    labels = Tensor(np.array([0, wrong, -100, 2]), device="cuda")
    with strict.counting() as counts:
        loss = nn.cross_entropy(x, labels, reduction=reduction)
        loss.backward(Tensor(np.ones(loss.shape, "float32"), device="cuda"))
    assert counts.waits == 0
    with pytest.raises(ValueError, match=f"labels must be 0 to 2 for 3 classes, got {wrong};.*in an earlier step"):
        loss.numpy()
    assert np.isnan(loss.numpy()).tolist() == ([False, True, False, False] if reduction == "none" else True)
    gradient = np.isnan(x.grad.numpy()).any(1)
    assert gradient.tolist() == ([True, True, False, True] if reduction == "mean" else [False, True, False, False])


def test_the_worst_label_of_several_steps_is_named():
    x = Tensor(np.zeros((300, 3), "float32"), device="cuda")
    for place, wrong in ((0, 5), (299, 9), (257, 4)):
        labels = np.zeros(300, int)
        labels[place] = wrong
        nn.cross_entropy(x, Tensor(labels, device="cuda"))
    with pytest.raises(ValueError, match="got 9;"):
        x.numpy()


def test_labels_on_the_host_are_refused_at_once_and_others_go_up_in_one_copy():
    x = Tensor(np.zeros((4, 3), "float32"), device="cuda")
    with pytest.raises(ValueError, match="got 3; an example that is to be left out has the label ignore_index=-100$"):
        nn.cross_entropy(x, [0, 1, 2, 3])
    with strict.counting() as counts:
        nn.cross_entropy(x, [0, 1, 2, 2])
    assert (counts.kernels, counts.copies, counts.waits) == (2, 1, 0)


def test_three_kernels():
    x = Tensor(np.zeros((4, 3, 5), "float32"), device="cuda", requires_grad=True)
    labels, weight = Tensor(np.zeros((4, 5), int), device="cuda"), Tensor(np.ones(3, "float32"), device="cuda")
    for step in range(2):
        with strict.counting() as forward:
            loss = nn.cross_entropy(x, labels, weight, label_smoothing=0.1)
        g = Tensor(np.ones((), "float32"), device="cuda")
        with strict.counting() as backward:
            mt.grad(loss, x, g)
        assert (forward.kernels, backward.kernels) == (2 + step, 1)  # the worst label beside that of the step before
        assert forward.copies + forward.waits + backward.copies + backward.waits == 0


def test_singular_logits_and_nothing():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 4)).astype("float32")
    x[0, 1], x[1, 2], x[2], x[3, 0], x[4, 1] = np.inf, np.nan, -np.inf, -np.inf, 1e30
    labels = np.array([0, 1, 2, 3, 1, 0, 0, -100])
    for reduction in ("none", "mean"):
        found = run(x, labels, {"reduction": reduction}, "cuda")
        with plain():
            expected = run(x, labels, {"reduction": reduction}, "cuda")
        for a, b in zip(found, expected):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
    ignored = x.copy()
    ignored[7] = np.nan
    loss, gradient = run(ignored[3:], labels[3:], {}, "cuda")
    assert np.isfinite(loss)
    assert not gradient[4].any()
    for labels in (np.zeros(0, int), np.array([-100, -100])):
        loss, gradient = run(x[: len(labels)], labels, {}, "cuda")
        assert np.isnan(loss)
        assert not gradient.any()
    loss, gradient = run(x[5:7], np.array([0, 0]), {"weight": np.array([0.0, 1.0, 1.0, 1.0])}, "cuda")
    assert np.isnan(loss)
    assert not gradient.any()


def test_logits_and_labels_that_are_not_contiguous():
    rng = np.random.default_rng(0)
    x, labels = Tensor(rng.standard_normal((3, 6, 4)), device="cuda"), Tensor(rng.integers(0, 3, (4, 6)), device="cuda")
    turned, lying = x.permute(1, 0, 2), labels.T
    found = nn.cross_entropy(turned, lying, reduction="none").numpy()
    np.testing.assert_array_equal(found, nn.cross_entropy(turned.clone(), lying.clone(), reduction="none").numpy())
