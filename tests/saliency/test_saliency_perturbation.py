"""Occlusion and RISE."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saliency_nets import draw, reused

import microtensor as mt
from microtensor import saliency


def curved(seed, pixels, classes=3):
    first, second = draw(seed, pixels, 5), draw(seed + 1, 5, classes)
    return lambda x: (x.flatten(1) @ first).tanh() @ second


def brute(model, x, target, window, stride, baseline):
    """A loop over windows, one image and one window at a time."""
    n, _, height, width = x.shape
    total, times = np.zeros((n, height, width)), np.zeros((height, width))
    tops = [0]
    while tops[-1] + window[0] < height:
        tops.append(tops[-1] + stride[0])
    lefts = [0]
    while lefts[-1] + window[1] < width:
        lefts.append(lefts[-1] + stride[1])
    for top in tops:
        for left in lefts:
            place = np.s_[top : top + window[0], left : left + window[1]]
            times[place] += 1
            for i in range(n):
                covered = x[i : i + 1].copy()
                covered[(..., *place)] = np.broadcast_to(baseline, x.shape[1:])[(..., *place)]
                change = model(mt.Tensor(x[i : i + 1])).numpy() - model(mt.Tensor(covered)).numpy()
                total[(i, *place)] += change[0, target[i]]
    return total / times


@given(st.data())
def test_occlusion_against_a_loop(data):
    n, c, height, width = (data.draw(st.integers(1, most)) for most in (2, 2, 6, 6))
    window = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    stride = tuple(data.draw(st.integers(1, size)) for size in window)
    baseline = data.draw(st.sampled_from([0.0, 0.7, "image"]))
    fill = np.random.default_rng(1).standard_normal((c, height, width)) if baseline == "image" else baseline
    x, target = draw(0, n, c, height, width), [2, 0][:n]
    model = curved(3, c * height * width)
    found = saliency.occlusion(model, x, target, window, stride, fill, batch_size=data.draw(st.sampled_from([1, 3, 100])))
    np.testing.assert_allclose(found.numpy(), brute(model, x.numpy(), target, window, stride, fill), rtol=1e-9, atol=1e-12)


def test_by_default_it_moves_by_half_a_window_and_one_image_is_one_of_many():
    model, x = reused(), draw(3, 2, 2, 8, 8)
    whole = saliency.occlusion(model, x, [1, 2], window=3)
    np.testing.assert_array_equal(whole.numpy(), saliency.occlusion(model, x, [1, 2], window=(3, 3), stride=1).numpy())
    np.testing.assert_allclose(saliency.occlusion(model, x[1], 2, window=3).numpy(), whole.numpy()[1], rtol=1e-9, atol=1e-12)
    assert not whole.requires_grad


def test_the_class_is_that_of_the_whole_image():
    model, x = curved(3, 9), draw(3, 6, 1, 3, 3)
    best = model(x).argmax(dim=1)
    np.testing.assert_array_equal(
        saliency.occlusion(model, x, window=2).numpy(), saliency.occlusion(model, x, best, window=2).numpy()
    )


@pytest.mark.parametrize("batch_size", [1, 64, 100_000])
def test_rise_is_the_masks_weighted_by_the_probability(batch_size):
    """With one cell for the whole image, a mask is 0 or 1 everywhere."""
    model, x, samples, p = curved(3, 16), draw(0, 2, 1, 4, 4), 50, 0.3
    on = mt.Generator(7).bernoulli(p, (samples, 1, 1, 1)).astype(np.float64)  # grid 1: the whole image, on or off
    seen = [model(mt.Tensor(x.numpy() * m)).softmax(dim=1).numpy()[[0, 1], [2, 0]] for m in on]
    expected = np.einsum("kn,k->n", np.array(seen), on.reshape(-1)) / (samples * p)
    found = saliency.rise(model, x, [2, 0], samples, 1, p, generator=mt.Generator(7), batch_size=batch_size)
    np.testing.assert_allclose(found.numpy(), np.broadcast_to(expected[:, None, None], (2, 4, 4)), rtol=1e-9)


def test_rise_of_a_linear_score_finds_its_weights():
    """For the score Σ w m, the mean of score · mask is Σ w E[m m'] / p: more where the weights are. Here by brute force."""
    samples, grid, size, p = 300, 3, 7, 0.5
    weight = np.random.default_rng(0).standard_normal((size, size))
    found = saliency.rise(
        lambda x: x.flatten(1),
        mt.ones(1, 1, size, size, dtype="float64"),
        lambda pixels: pixels @ mt.Tensor(weight.reshape(-1)),
        samples,
        grid,
        p,
        generator=mt.Generator(3),
    )
    generator, cell = mt.Generator(3), 3
    on = generator.bernoulli(p, (samples, 1, grid, grid)).astype(np.float64)
    down, right = generator.integers(0, cell, (samples,)), generator.integers(0, cell, (samples,))
    at = (np.arange((grid + 1) * cell) + 0.5) * grid / (
        (grid + 1) * cell
    ) - 0.5  # centres of the new pixels in units of the old
    low = np.floor(at).astype(int)
    spread = np.zeros((len(at), grid))
    for i, (a, t) in enumerate(zip(low, at - low)):
        spread[i, np.clip(a, 0, grid - 1)] += 1 - t
        spread[i, np.clip(a + 1, 0, grid - 1)] += t
    total = np.zeros((size, size))
    for k in range(samples):
        mask = (spread @ on[k, 0] @ spread.T)[down[k] : down[k] + size, right[k] : right[k] + size]
        total += (weight * mask).sum() * mask
    np.testing.assert_allclose(found.numpy()[0], total / (samples * p), rtol=1e-9, atol=1e-12)


def test_rise_takes_probabilities_as_they_are_and_seeds_repeat():
    model, x = curved(3, 16), draw(0, 2, 1, 4, 4)

    def ended(x):
        return model(x).softmax(dim=1)

    a, b, c = (saliency.rise(f, x, 1, 20, 2, generator=mt.Generator(s)) for f, s in ((model, 1), (ended, 1), (model, 2)))
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9)
    assert (a.numpy() != c.numpy()).any()
    one = saliency.rise(model, x[1], 1, 20, 2, generator=mt.Generator(1))
    np.testing.assert_allclose(one.numpy(), a.numpy()[1], rtol=1e-9)


MODEL, X = curved(3, 16), draw(0, 2, 1, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: saliency.occlusion(MODEL, X, window=5), ValueError, r"the window \(5, 5\) is larger than the image \(4, 4\)"),
        (lambda: saliency.occlusion(MODEL, X, window=2, stride=3), ValueError, r"stride \(3, 3\) must be at most the window"),
        (lambda: saliency.occlusion(MODEL, X, window=(2, 2, 2)), ValueError, "window must be one number, or height and width"),
        (lambda: saliency.occlusion(MODEL, X, window=0), ValueError, "at least 1"),
        (lambda: saliency.occlusion(MODEL, X, window=2.0), TypeError, "integers"),
        (lambda: saliency.rise(MODEL, X, p=0), ValueError, r"rise: p must be a number above 0 and up to 1, got 0"),
        (lambda: saliency.rise(MODEL, X, samples=0), ValueError, "samples must be at least 1"),
        (lambda: saliency.rise(MODEL, X, grid=0), ValueError, "grid must be at least 1"),
        (lambda: saliency.rise(MODEL, X, target=7, samples=2), ValueError, "target 7 is out of range"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
