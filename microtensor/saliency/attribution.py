"""Gradients that are weighed by the image, or taken at many images and averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from .. import random
from ..autograd.arguments import is_number
from ..autograd.graph import Node, is_floating
from ..runtime.integers import as_integer
from ..tensor import Tensor
from .explainer import Explainer, Reduce, Target, check_reduce, over_channels


def input_x_gradient(model: Callable[[Tensor], Tensor], x: Any, target: Target = None, reduce: Reduce = "max") -> Tensor:
    """Each pixel times the gradient there: what it adds to the score, if the score is linear in the pixels.

    Shrikumar et al. 2016, "Not just a black box", arxiv.org/abs/1605.01713. A pixel that is 0 gets 0, whatever it means: so the
    map depends on what the images' zero is.

    Args:
        model, x, target, reduce: as in `gradient`. With `reduce=None` the map is signed.

    Returns:
        (N, H, W), for one image (H, W), in units of score; with `reduce=None` of the shape of x.

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
    return explainer.answer(over_channels(explainer.images * g, reduce))


def smooth_grad(
    model: Callable[[Tensor], Tensor],
    x: Any,
    target: Target = None,
    reduce: Reduce = "max",
    samples: int = 50,
    noise: float = 0.15,
    generator: random.Generator | None = None,
    batch_size: int = 32,
) -> Tensor:
    """The mean of the gradients at `samples` images with noise: what is not the same in all of them fades.

    Smilkov et al. 2017, "SmoothGrad", section 3, arxiv.org/abs/1706.03825. The class is that of the image without noise.

    Args:
        model, x, target, reduce: as in `gradient`. Signed gradients are averaged; `reduce` follows.
        samples: how many images with noise, for each image; each image gets noise of its own.
        noise: the standard deviation of the noise, as a share of the image's largest number less its smallest. The paper
            found 0.1 to 0.2 good.
        generator: where the noise comes from; None: the default generator. The same state gives the same map, whatever
            `batch_size` is, up to rounding.
        batch_size: so many images go through the model at once, or one for each image, if these are more.

    Returns, Raises:
        As `gradient`. ValueError also where `samples` < 1 or `noise` < 0.

    >>> import microtensor as mt
    >>> smooth_grad(lambda x: x.sum(dim=(2, 3)), mt.Tensor([[[1.0, 2.0]]]), samples=4)
    Tensor([[1., 1.]])
    """
    check_reduce("smooth_grad", reduce)
    count = as_integer("saliency.smooth_grad", "samples", samples, least=1)
    if not is_number(noise) or not 0 <= noise < float("inf"):
        raise ValueError(f"saliency.smooth_grad: noise must be a number of 0 or more, a share of the range, got {noise!r}")
    generator = random.default if generator is None else generator
    explainer = Explainer("smooth_grad", model, x, target, batch_size)
    images = explainer.images
    spread = images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True)
    total: Tensor = images * 0
    with explainer:
        explainer.settle()
        for start, stop in explainer.chunks(count):
            size = (stop - start, *images.shape)
            drawn = Tensor(generator.normal(0, 1, size, images.dtype), device=images.device)
            noisy = images + drawn * (spread * float(noise))
            total = total + explainer.gradient(noisy.reshape(-1, *images.shape[1:])).reshape(size).sum(dim=0)
    return explainer.answer(over_channels(total / count, reduce))


class Integrated(NamedTuple):
    """What `integrated_gradients` gives with `return_convergence_delta=True`."""

    map: Tensor
    delta: Tensor
    """By how much the sum of all attributions is larger than score(x) − score(baseline): (N,), for one image ()."""


@overload
def integrated_gradients(
    model: Callable[[Tensor], Tensor],
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
    model: Callable[[Tensor], Tensor],
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
    model: Callable[[Tensor], Tensor],
    x: Any,
    target: Target = None,
    reduce: Reduce = "max",
    baseline: Any = 0.0,
    n_steps: int = 50,
    return_convergence_delta: bool = False,
    batch_size: int = 32,
) -> Tensor | Integrated:
    """(x − baseline) times the mean of the gradients on the straight way from the baseline to x.

    Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", section 3, arxiv.org/abs/1703.01365.
    Completeness (proposition 1): all attributions of an image sum to score(x) − score(baseline). The integral is taken by Gauss
    and Legendre's rule at `n_steps` points; what it misses is the completeness error.

    Args:
        model, x, target, reduce: as in `gradient`; a class is that of x, not of the baseline. Probabilities are welcome here:
            of a model that ends in softmax there is no warning.
        baseline: an image without what is looked for: a number for all pixels, or a Tensor or array that broadcasts to x.
        n_steps: points on the way.
        return_convergence_delta: give the completeness error too.
        batch_size: as in `smooth_grad`.

    Returns:
        The map, as `input_x_gradient`; or, if asked for, an `Integrated`: map and delta.

    Raises:
        TypeError, ValueError: as `gradient`; also where the baseline does not fit x, or `n_steps` < 1.

    >>> import microtensor as mt
    >>> def model(x):  # a product: no pixel alone is the cause
    ...     return x.prod(dim=3).sum(dim=2)
    >>> integrated_gradients(model, mt.Tensor([[[2.0, 3.0]]]), return_convergence_delta=True)
    Integrated(map=Tensor([[3., 3.]]), delta=Tensor(0.))
    """
    check_reduce("integrated_gradients", reduce)
    count = as_integer("saliency.integrated_gradients", "n_steps", n_steps, least=1)
    explainer = Explainer("integrated_gradients", model, x, target, batch_size, warns=False)
    images = explainer.images
    start_at = filled("integrated_gradients", baseline, explainer)
    way = images - start_at
    points, weights = np.polynomial.legendre.leggauss(count)  # on [−1, 1]
    total: Tensor = images * 0
    with explainer:
        explainer.settle()
        for start, stop in explainer.chunks(count):
            size = (stop - start, *images.shape)
            at, weight = (
                Tensor((numbers[start:stop] / 2 + shift).astype(images.dtype), device=images.device).reshape(-1, 1, 1, 1, 1)
                for numbers, shift in ((points, 0.5), (weights, 0.0))
            )
            between = start_at + way * at
            g = explainer.gradient(between.reshape(-1, *images.shape[1:])).reshape(size)
            total = total + (g * weight).sum(dim=0)
        attribution = way * total
        pixels = explainer.answer(over_channels(attribution, reduce))
        if not return_convergence_delta:
            return pixels
        change = explainer.values(images) - explainer.values(start_at)
    return Integrated(pixels, explainer.answer(attribution.sum(dim=(1, 2, 3)) - change))


def filled(name: str, baseline: Any, explainer: Explainer) -> Tensor:
    """A baseline, as images of the explainer's shape: a number for all pixels, or what broadcasts to x.

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
