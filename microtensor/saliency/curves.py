"""Whether a map is right, asked of the model: how fast the probability falls when the pixels that matter most go, or rises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..ops.elementwise import where
from ..runtime.arrays import to_numpy
from ..runtime.integers import as_integer
from ..tensor import Tensor
from .attribution import filled
from .explainer import Explainer, Target, check_map


class Curve(NamedTuple):
    """A probability, pixel by pixel. For one image, the axis N is missing."""

    fraction: np.ndarray[Any, Any]
    """Of the pixels that were changed: (steps + 1,), from 0 to 1."""
    score: np.ndarray[Any, Any]
    """The probability of the class then: (N, steps + 1)."""
    auc: np.ndarray[Any, Any]
    """The area under the curve, from 0 to 1: (N,)."""


def deletion(
    model: Callable[[Tensor], Tensor],
    x: Any,
    map: Any,
    target: Target = None,
    steps: int = 50,
    baseline: Any = 0.0,
    batch_size: int = 32,
) -> Curve:
    """The probability of the class while pixels are taken away, the most important first: a good map lets it fall at once.

    Petsiuk, Das and Saenko 2018, "RISE", section 4.1, arxiv.org/abs/1806.07421. Pixels of equal importance go in reading order.

    Args:
        model, x, target: as in `gradient`; of logits the softmax is taken, of a single one the sigmoid. What a score function
            gives counts as it is.
        map: the importance of each pixel, (N, H, W) or for one image (H, W), as the methods here give it.
        steps: in so many the pixels go, the same share in each.
        baseline: what stands in the place of pixels that are gone: a number, or a Tensor or array that broadcasts to x.
        batch_size: as in `smooth_grad`.

    Returns:
        A `Curve`; the smaller its `auc`, the better the map.

    Raises:
        TypeError, ValueError: as `gradient`; also where the map does not fit x or holds nan, or `steps` is no integer
            from 1.

    >>> import microtensor as mt
    >>> def model(x):
    ...     return mt.cat([x.sum(dim=(2, 3)), x.sum(dim=(2, 3)) * 0], dim=1)
    >>> x = mt.Tensor([[[4.0, 0.0]]])
    >>> deletion(model, x, x[0], steps=2).score.round(3), deletion(model, x, -x[0], steps=2).score.round(3)
    (array([0.982, 0.5  , 0.5  ]), array([0.982, 0.982, 0.5  ]))
    """
    explainer = Explainer("deletion", model, x, target, batch_size, warns=False)
    return _curve("deletion", explainer, map, steps, explainer.images, filled("deletion", baseline, explainer))


def insertion(
    model: Callable[[Tensor], Tensor],
    x: Any,
    map: Any,
    target: Target = None,
    steps: int = 50,
    baseline: Any = None,
    batch_size: int = 32,
) -> Curve:
    """The probability of the class while pixels come back, the most important first: a good map lets it rise at once.

    Petsiuk, Das and Saenko 2018, section 4.1.

    Args:
        model, x, map, target, steps, batch_size: as in `deletion`.
        baseline: what is there before: None: x, blurred by a Gaussian of standard deviation 5 pixels, as in the paper, so that
            no edge of the pixels that came back is mistaken for something; or a number, a Tensor or an array.

    Returns:
        A `Curve`; the larger its `auc`, the better the map.

    Raises:
        TypeError, ValueError: as `deletion`.
    """
    explainer = Explainer("insertion", model, x, target, batch_size, warns=False)
    start = blurred(explainer.images) if baseline is None else filled("insertion", baseline, explainer)
    return _curve("insertion", explainer, map, steps, start, explainer.images)


def _curve(name: str, explainer: Explainer, map: Any, steps: Any, start: Tensor, end: Tensor) -> Curve:
    """From `start` to `end`, the pixels of highest importance first. The class is that of the images themselves."""
    count = as_integer(f"saliency.{name}", "steps", steps, least=1)
    importance = to_numpy(check_map(name, explainer, map).array)
    images, (height, width) = explainer.images, explainer.images.shape[2:]
    order = np.argsort(-importance.reshape(len(images), height * width), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
    place = Tensor(ranks.reshape(1, len(images), 1, height, width), device=images.device)
    changed = np.round(np.arange(count + 1) * (height * width) / count).astype(np.int64)

    def varied(first: int, last: int) -> Tensor:
        limits = Tensor(changed[first:last], device=images.device).reshape(-1, 1, 1, 1, 1)
        return where(place < limits, end, start)

    with explainer:
        explainer.settle(probability=True)
        score = explainer.over(count + 1, varied, probability=True).T.double().numpy()  # (N, steps + 1)
    fraction = changed / (height * width)
    auc = ((score[:, 1:] + score[:, :-1]) / 2 * np.diff(fraction)).sum(axis=1)
    return Curve(fraction, score[0], auc[0]) if explainer.single else Curve(fraction, score, auc)


def blurred(images: Tensor, sigma: float = 5.0) -> Tensor:
    """Images (N, C, H, W), each channel blurred by a Gaussian of this standard deviation, in pixels, cut off at 3 of them.

    Beyond the border the outermost pixel goes on.

    >>> import microtensor as mt
    >>> blurred(mt.Tensor([[[[0.0, 0.0, 8.0, 0.0, 0.0]]]]), sigma=0.5).round(decimals=2)
    Tensor([[[[0.  , 0.85, 6.29, 0.85, 0.  ]]]])
    """
    down, across = (Tensor(_bells(length, sigma).astype(images.dtype), device=images.device) for length in images.shape[2:])
    return down @ images @ across.T


def _bells(length: int, sigma: float) -> np.ndarray[Any, Any]:
    """What each pixel of a blurred line takes of each pixel of the line: (length, length), rows sum to 1."""
    reach = int(np.ceil(3 * sigma))
    steps = np.arange(-reach, reach + 1)
    bell = np.exp(-0.5 * (steps / sigma) ** 2)
    shares = np.zeros((length, length))
    for i in range(length):
        np.add.at(shares[i], (i + steps).clip(0, length - 1), bell / bell.sum())
    return shares
