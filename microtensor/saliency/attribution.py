"""Attribution methods that multiply the gradient by the image, or average it over many images."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import numpy as np

from .. import random
from ..autograd.arguments import is_number
from ..autograd.graph import Node, is_floating
from ..runtime.integers import as_integer
from ..tensor import Tensor
from .explainer import Explainer, Model, Reduce, Target, check_reduce, over_channels


def input_x_gradient(model: Model, x: Any, target: Target = None, reduce: Reduce = "max") -> Tensor:
    """Each pixel times its gradient: its contribution to the score, if the score is linear in the pixels.

    Shrikumar et al. 2016, "Not just a black box", arxiv.org/abs/1605.01713. A pixel with value 0 gets attribution 0, so the map
    depends on which colour the value 0 stands for.

    Args:
        model, x, target, reduce: as in `gradient`. With `reduce=None` the map is signed.

    Returns:
        (N, H, W), for a single image (H, W), in units of score; with `reduce=None` of the shape of x.

    Raises:
        TypeError, ValueError: as `gradient`.

    >>> import microtensor as mt
    >>> def model(x):
    ...     return x.sum(dim=(1, 3)) * mt.Tensor([3.0, -2.0])
    >>> input_x_gradient(model, mt.Tensor([[[1.0, 2.0], [3.0, 4.0]]]), target=1, reduce=None)
    Tensor([[[ 0.,  0.],
             [-6., -8.]]])
    """
    check_reduce("input_x_gradient", reduce)
    explainer = Explainer("input_x_gradient", model, x, target)
    with explainer:
        g = explainer.gradient(explainer.images)
    return explainer.like_x(over_channels(explainer.images * g, reduce))


def smooth_grad(
    model: Model,
    x: Any,
    target: Target = None,
    reduce: Reduce = "max",
    samples: int = 50,
    noise: float = 0.15,
    generator: random.Generator | None = None,
    batch_size: int = 32,
) -> Tensor:
    """The mean of the gradients at `samples` noisy copies of the image: noise in the gradient averages out.

    Smilkov et al. 2017, "SmoothGrad", section 3, arxiv.org/abs/1706.03825. The class is that of the image without noise.

    Args:
        model, x, target, reduce: as in `gradient`. Signed gradients are averaged, then reduced.
        samples: noisy copies of each image; each image gets its own noise.
        noise: the standard deviation of the Gaussian noise, as a fraction of the image's range (maximum − minimum). The paper
            recommends 0.1 to 0.2.
        generator: source of the noise; None: the default generator. The same state gives the same map for any `batch_size`,
            up to rounding.
        batch_size: images per batch, or one per image of x if these are more.

    Returns, Raises:
        As `gradient`. ValueError also if `samples` < 1 or `noise` < 0.

    >>> import microtensor as mt
    >>> smooth_grad(lambda x: x.sum(dim=(2, 3)), mt.Tensor([[[1.0, 2.0]]]), samples=4)
    Tensor([[1., 1.]])
    """
    check_reduce("smooth_grad", reduce)
    count = as_integer("saliency.smooth_grad", "samples", samples, least=1)
    if not is_number(noise) or not 0 <= noise < float("inf"):
        raise ValueError(
            f"saliency.smooth_grad: noise must be a number of 0 or more, a fraction of the image's range, got {noise!r}"
        )
    generator = random.default if generator is None else generator
    explainer = Explainer("smooth_grad", model, x, target, batch_size)
    images = explainer.images
    value_range = images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True)
    total: Tensor = images * 0
    with explainer:
        explainer.prepare()
        for start, stop in explainer.batches(count):
            size = (stop - start, *images.shape)
            unit_noise = Tensor(generator.normal(0, 1, size, images.dtype), device=images.device)
            noisy = images + unit_noise * (value_range * float(noise))
            total = total + explainer.gradient(noisy.reshape(-1, *images.shape[1:])).reshape(size).sum(dim=0)
    return explainer.like_x(over_channels(total / count, reduce))


class Integrated(NamedTuple):
    """The result of `integrated_gradients` with `return_convergence_delta=True`."""

    map: Tensor
    delta: Tensor
    """The completeness error: sum of all attributions − (score(x) − score(baseline)): (N,), for a single image ()."""


@overload
def integrated_gradients(
    model: Model,
    x: Any,
    target: Target = ...,
    reduce: Reduce = ...,
    baseline: Any = ...,
    n_steps: int = ...,
    return_convergence_delta: Literal[False] = ...,
    batch_size: int = ...,
) -> Tensor: ...
@overload
def integrated_gradients(
    model: Model,
    x: Any,
    target: Target = ...,
    reduce: Reduce = ...,
    baseline: Any = ...,
    n_steps: int = ...,
    *,
    return_convergence_delta: Literal[True],
    batch_size: int = ...,
) -> Integrated: ...
def integrated_gradients(
    model: Model,
    x: Any,
    target: Target = None,
    reduce: Reduce = "max",
    baseline: Any = 0.0,
    n_steps: int = 50,
    return_convergence_delta: bool = False,
    batch_size: int = 32,
) -> Tensor | Integrated:
    """(x − baseline) times the mean of the gradients on the straight line from the baseline to x.

    Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", section 3, arxiv.org/abs/1703.01365.
    Completeness (proposition 1): the attributions of an image sum to score(x) − score(baseline). The integral is computed by
    Gauss-Legendre quadrature with `n_steps` points; its error is the completeness error.

    Args:
        model, x, target, reduce: as in `gradient`; a class is that of x, not of the baseline. The model may end in softmax:
            there is no warning.
        baseline: an image without information: one value for all pixels, or a Tensor or array that broadcasts to x.
        n_steps: points on the line.
        return_convergence_delta: return the completeness error too.
        batch_size: as in `smooth_grad`.

    Returns:
        The map, as `input_x_gradient`; with `return_convergence_delta`, an `Integrated`: map and delta.

    Raises:
        TypeError, ValueError: as `gradient`; also if the baseline does not fit x, or `n_steps` < 1.

    >>> import microtensor as mt
    >>> def model(x):  # the product of two pixels: both count equally
    ...     return x.prod(dim=3).sum(dim=2)
    >>> integrated_gradients(model, mt.Tensor([[[2.0, 3.0]]]), return_convergence_delta=True)
    Integrated(map=Tensor([[3., 3.]]), delta=Tensor(0.))
    """
    check_reduce("integrated_gradients", reduce)
    count = as_integer("saliency.integrated_gradients", "n_steps", n_steps, least=1)
    explainer = Explainer("integrated_gradients", model, x, target, batch_size, warns=False)
    images = explainer.images
    start = baseline_images("integrated_gradients", baseline, explainer)
    with explainer:
        explainer.prepare()
        attribution = (images - start) * _mean_gradient(explainer, start, count)
        pixels = explainer.like_x(over_channels(attribution, reduce))
        if not return_convergence_delta:
            return pixels
        change = explainer.values(images) - explainer.values(start)
    return Integrated(pixels, explainer.like_x(attribution.sum(dim=(1, 2, 3)) - change))


def _mean_gradient(explainer: Explainer, start: Tensor, count: int) -> Tensor:
    """The mean gradient on the line from `start` to the images, by Gauss-Legendre quadrature with `count` points."""
    images = explainer.images
    points, weights = np.polynomial.legendre.leggauss(count)  # on [−1, 1]
    points, weights = (points + 1) / 2, weights / 2  # on [0, 1]
    difference, total = images - start, images * 0
    for first, last in explainer.batches(count):
        point, weight = (
            Tensor(values[first:last].astype(images.dtype), device=images.device).reshape(-1, 1, 1, 1, 1)
            for values in (points, weights)
        )
        between = start + difference * point  # (last − first, N, C, H, W)
        g = explainer.gradient(between.reshape(-1, *images.shape[1:])).reshape(between.shape)
        total = total + (g * weight).sum(dim=0)
    return total


def baseline_images(name: str, baseline: Any, explainer: Explainer) -> Tensor:
    """A baseline as images of x's shape: one value for all pixels, or a Tensor or array that broadcasts to x.

    Raises:
        TypeError: it is neither a number nor a floating-point Tensor or array.
        ValueError: it does not broadcast to x.
    """
    images = explainer.images
    if is_number(baseline):
        return images * 0 + float(baseline)
    values = Tensor(baseline, device=images.device) if isinstance(baseline, np.ndarray) else baseline
    if not isinstance(values, Node) or not is_floating(values.dtype):
        found = values.dtype if isinstance(values, Node) else type(baseline).__name__
        raise TypeError(f"saliency.{name}: the baseline must be a number or a floating-point Tensor, got {found}")
    try:
        return Tensor(values).detach().to(images.dtype).broadcast_to(images.shape)
    except ValueError:
        raise ValueError(f"saliency.{name}: the baseline {values.shape} does not broadcast to images {images.shape}") from None
