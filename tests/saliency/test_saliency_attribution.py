"""Gradients multiplied by the image, or averaged over many images."""

import numpy as np
import pytest
from saliency_nets import draw, reused

import microtensor as mt
from microtensor import saliency


def linear(weight):
    return lambda x: x.flatten(1) @ weight


def quadratic(matrices):
    """Score of class c: ½ xᵀ A_c x."""
    return lambda x: mt.stack([(x.flatten(1) @ a * x.flatten(1)).sum(dim=1) / 2 for a in matrices], dim=1)


def symmetric(seed, n):
    a = draw(seed, n, n)
    return a + a.T


@pytest.mark.parametrize("reduce", ["max", "mean", None])
def test_input_x_gradient_of_a_linear_model_is_what_each_pixel_adds(reduce):
    weight, x = draw(0, 12, 3), draw(1, 2, 3, 2, 2)
    parts = x.numpy() * weight.numpy().T[[2, 0]].reshape(2, 3, 2, 2)
    expected = {"max": np.abs(parts).max(1), "mean": np.abs(parts).mean(1), None: parts}[reduce]
    np.testing.assert_allclose(saliency.input_x_gradient(linear(weight), x, [2, 0], reduce).numpy(), expected, rtol=1e-12)


def test_smooth_grad_of_a_linear_model_is_its_gradient():
    weight, x = draw(0, 12, 3), draw(1, 2, 3, 2, 2)
    expected = saliency.gradient(linear(weight), x, [2, 0]).numpy()
    np.testing.assert_allclose(saliency.smooth_grad(linear(weight), x, [2, 0], samples=5).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 6, 100])
def test_smooth_grad_is_the_mean_over_the_noise_of_its_generator(batch_size):
    model, x, samples, noise = reused(), draw(3, 2, 2, 8, 8), 7, 0.3
    classes = model.eval()(x).argmax(dim=1)
    drawn = mt.Generator(5).normal(0, 1, (samples, 2, 2, 8, 8), np.float64)
    spread = noise * (x.numpy().max((1, 2, 3)) - x.numpy().min((1, 2, 3))).reshape(2, 1, 1, 1)
    each = [saliency.gradient(model, mt.Tensor(x.numpy() + n * spread), classes, None).numpy() for n in drawn]
    found = saliency.smooth_grad(
        model, x, reduce=None, samples=samples, noise=noise, generator=mt.Generator(5), batch_size=batch_size
    )
    np.testing.assert_allclose(found.numpy(), np.mean(each, 0), rtol=1e-10, atol=1e-14)


def test_without_noise_it_is_the_gradient_and_seeds_repeat():
    model, x = reused(), draw(3, 2, 2, 8, 8)
    plain = saliency.gradient(model, x).numpy()
    np.testing.assert_allclose(saliency.smooth_grad(model, x, samples=2, noise=0.0).numpy(), plain, rtol=1e-12)
    a, b, c = (saliency.smooth_grad(model, x, samples=3, generator=mt.Generator(seed)).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_integrated_gradients_of_a_quadratic_model(n_steps):
    """The gradient at b + t (x − b) is linear in t, so Gauss-Legendre quadrature with one point, the midpoint, is exact."""
    matrices, x, baseline = [symmetric(c, 12) for c in range(3)], draw(5, 2, 3, 2, 2), draw(6, 3, 2, 2)
    flat, start = x.numpy().reshape(2, 12), baseline.numpy().reshape(12)
    expected = np.stack([(flat[i] - start) * (matrices[c].numpy() @ (flat[i] + start) / 2) for i, c in enumerate([2, 0])])
    found = saliency.integrated_gradients(
        quadratic(matrices), x, [2, 0], None, baseline, n_steps, return_convergence_delta=True
    )
    np.testing.assert_allclose(found.map.numpy().reshape(2, 12), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.delta.numpy(), 0, atol=1e-10)


def test_completeness_and_its_error_on_a_network():
    model, x = reused(), draw(3, 3, 2, 8, 8)
    scores, zero = model.eval()(x).numpy(), model(x * 0).numpy()
    errors = []
    for n_steps in (4, 300):
        map, delta = saliency.integrated_gradients(model, x, 1, None, n_steps=n_steps, return_convergence_delta=True)
        change = scores[:, 1] - zero[:, 1]
        np.testing.assert_allclose(map.numpy().sum((1, 2, 3)) - change, delta.numpy(), rtol=1e-6, atol=1e-9)
        errors.append(np.abs(delta.numpy()).max())
    assert errors[1] < 0.02 * np.abs(change).max()
    assert errors[1] < errors[0] / 5


def test_chunks_change_nothing_and_a_single_image_is_one_of_many():
    model, x = reused(), draw(3, 3, 2, 8, 8)
    whole = saliency.integrated_gradients(model, x, [1, 0, 3], n_steps=10, batch_size=1000)
    parts = saliency.integrated_gradients(model, x, [1, 0, 3], n_steps=10, batch_size=4)
    np.testing.assert_allclose(whole.numpy(), parts.numpy(), rtol=1e-10)
    map, delta = saliency.integrated_gradients(model, x[1], 0, n_steps=10, return_convergence_delta=True)
    assert delta.shape == ()
    np.testing.assert_allclose(map.numpy(), whole.numpy()[1], rtol=1e-10)


def test_the_class_is_that_of_the_image_and_a_function_may_stand_for_it():
    weight = draw(0, 4, 3)
    x = draw(1, 5, 1, 2, 2)
    best = (x.flatten(1) @ weight).argmax(dim=1)
    assert (best.numpy() != (x.numpy() * 0).reshape(5, 4).argmax(1)).any()
    for method in (saliency.integrated_gradients, saliency.smooth_grad, saliency.input_x_gradient, saliency.gradient):
        expected = method(linear(weight), x, best)
        np.testing.assert_allclose(method(linear(weight), x).numpy(), expected.numpy(), rtol=1e-12)
    two = saliency.input_x_gradient(linear(weight), x, lambda s: s[:, 2] - 3 * s[:, 0], None).numpy()
    rows = weight.numpy()
    np.testing.assert_allclose(two, x.numpy() * (rows[:, 2] - 3 * rows[:, 0]).reshape(1, 2, 2), rtol=1e-12)


MODEL, X = linear(draw(0, 4, 3)), draw(1, 2, 1, 2, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: saliency.smooth_grad(MODEL, X, samples=0), ValueError, "smooth_grad: samples must be at least 1"),
        (lambda: saliency.smooth_grad(MODEL, X, samples=2.5), TypeError, "samples must be an integer, got 2.5"),
        (lambda: saliency.smooth_grad(MODEL, X, noise=-1), ValueError, "noise must be a number of 0 or more"),
        (lambda: saliency.smooth_grad(MODEL, X, batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda: saliency.integrated_gradients(MODEL, X, n_steps=0), ValueError, "n_steps must be at least 1"),
        (lambda: saliency.integrated_gradients(MODEL, X, baseline="black"), TypeError, "baseline must be a number or a"),
        (
            lambda: saliency.integrated_gradients(MODEL, X, baseline=mt.Tensor(np.array([1]))),
            TypeError,
            "floating-point Tensor, got int64",
        ),
        (
            lambda: saliency.integrated_gradients(MODEL, X, baseline=draw(0, 3)),
            ValueError,
            r"\(3,\) does not broadcast to images",
        ),
        (lambda: saliency.input_x_gradient(MODEL, X, reduce="l2"), ValueError, "input_x_gradient: reduce must be"),
        (
            lambda: saliency.input_x_gradient(MODEL, X, lambda s: s),
            ValueError,
            r"must return a Tensor \(2,\), one value per image",
        ),
        (lambda: saliency.gradient(MODEL, X, lambda s: mt.ones(2)), ValueError, "does not depend on the scores"),
        (lambda: saliency.gradient(MODEL, X, lambda s: draw(0, 2).requires_grad_()), ValueError, "not depend on the scores"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
