"""Deletion and insertion curves: they measure a saliency map by the probability while pixels are removed or added."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ops.elementwise import where
from ..runtime.arrays import to_numpy
from ..runtime.integers import as_integer
from ..tensor import Tensor
from .attribution import baseline_images
from .explainer import Explainer, Model, Target, check_map


class Curve(NamedTuple):
    """The probability of the class against the fraction of changed pixels. For a single image, the axis N is missing."""

    fraction: np.ndarray[Any, Any]
    """The fraction of pixels changed so far: (steps + 1,), from 0 to 1."""
    score: np.ndarray[Any, Any]
    """The probability of the class at each step: (N, steps + 1)."""
    auc: np.ndarray[Any, Any]
    """The area under the curve, from 0 to 1: (N,)."""


def deletion(
    model: Model,
    x: Any,
    map: Any,
    target: Target = None,
    steps: int = 50,
    baseline: Any = 0.0,
    batch_size: int = 32,
) -> Curve:
    """The probability of the class while pixels are deleted, most important first: with a good map it falls quickly.

    Petsiuk, Das and Saenko 2018, "RISE", section 4.1, arxiv.org/abs/1806.07421. Equally important pixels go row by row.

    Args:
        model, x, target: as in `gradient`; logits go through softmax, a single logit through sigmoid. The result of a score
            function is used unchanged.
        map: the importance of each pixel, (N, H, W), for a single image (H, W), as the methods here return it.
        steps: the number of steps; each deletes the same number of pixels.
        baseline: the value of deleted pixels: a number, or a Tensor or array that broadcasts to x.
        batch_size: as in `smooth_grad`.

    Returns:
        A `Curve`; the smaller its `auc`, the better the map.

    Raises:
        TypeError, ValueError: as `gradient`; also if the map does not fit x or holds nan, or `steps` is not an integer of at
            least 1.

    >>> import microtensor as mt
    >>> def model(x):
    ...     return mt.cat([x.sum(dim=(2, 3)), x.sum(dim=(2, 3)) * 0], dim=1)
    >>> x = mt.Tensor([[[4.0, 0.0]]])
    >>> deletion(model, x, x[0], steps=2).score.round(3), deletion(model, x, -x[0], steps=2).score.round(3)
    (array([0.982, 0.5  , 0.5  ]), array([0.982, 0.982, 0.5  ]))
    """
    explainer = Explainer("deletion", model, x, target, batch_size, warns=False)
    return _curve("deletion", explainer, map, steps, explainer.images, baseline_images("deletion", baseline, explainer))


def insertion(
    model: Model,
    x: Any,
    map: Any,
    target: Target = None,
    steps: int = 50,
    baseline: Any = None,
    batch_size: int = 32,
) -> Curve:
    """The probability of the class while pixels are inserted, most important first: with a good map it rises quickly.

    Petsiuk, Das and Saenko 2018, section 4.1.

    Args:
        model, x, map, target, steps, batch_size: as in `deletion`.
        baseline: the image at the start. None: x blurred by a Gaussian with a standard deviation of 5 pixels, as in the paper:
            the inserted pixels then make no sharp edges. Or a number, a Tensor or an array.

    Returns:
        A `Curve`; the larger its `auc`, the better the map.

    Raises:
        TypeError, ValueError: as `deletion`.
    """
    explainer = Explainer("insertion", model, x, target, batch_size, warns=False)
    start = gaussian_blur(explainer.images) if baseline is None else baseline_images("insertion", baseline, explainer)
    return _curve("insertion", explainer, map, steps, start, explainer.images)


def _curve(name: str, explainer: Explainer, map: Any, steps: Any, start: Tensor, end: Tensor) -> Curve:
    """The curve from the images `start` to the images `end`, most important pixels first. The class is that of the images."""
    count = as_integer(f"saliency.{name}", "steps", steps, least=1)
    importance = to_numpy(check_map(name, explainer, map).array)
    images, (height, width) = explainer.images, explainer.images.shape[2:]
    order = np.argsort(-importance.reshape(len(images), height * width), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
    rank = Tensor(ranks.reshape(1, len(images), 1, height, width), device=images.device)
    changed = np.round(np.arange(count + 1) * (height * width) / count).astype(np.int64)

    def variants(first: int, last: int) -> Tensor:
        limits = Tensor(changed[first:last], device=images.device).reshape(-1, 1, 1, 1, 1)
        return where(rank < limits, end, start)

    with explainer:
        explainer.prepare(probability=True)
        values = explainer.values_of_variants(count + 1, variants, probability=True)  # (steps + 1, N)
    score = values.T.double().numpy()
    fraction = changed / (height * width)
    auc = ((score[:, 1:] + score[:, :-1]) / 2 * np.diff(fraction)).sum(axis=1)
    return Curve(fraction, score[0], auc[0]) if explainer.single else Curve(fraction, score, auc)


def gaussian_blur(images: Tensor, sigma: float = 5.0) -> Tensor:
    """Images (N, C, H, W), each channel blurred by a Gaussian, `sigma` in pixels, truncated at 3 sigma; borders are replicated.

    >>> import microtensor as mt
    >>> gaussian_blur(mt.Tensor([[[[0.0, 0.0, 8.0, 0.0, 0.0]]]]), sigma=0.5).round(decimals=2)
    Tensor([[[[0.  , 0.85, 6.29, 0.85, 0.  ]]]])
    """
    down, across = (
        Tensor(_gaussian_matrix(length, sigma).astype(images.dtype), device=images.device) for length in images.shape[2:]
    )
    return down @ images @ across.T


def _gaussian_matrix(length: int, sigma: float) -> np.ndarray[Any, Any]:
    """The blur of a line of pixels as a matrix (length, length), whose rows sum to 1."""
    radius = int(np.ceil(3 * sigma))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((length, length))
    for i in range(length):
        np.add.at(matrix[i], (i + offsets).clip(0, length - 1), kernel / kernel.sum())
    return matrix
