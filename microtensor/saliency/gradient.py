"""Which pixels a score depends on: the same engine, asked about the image.

Training asks how the loss changes with the weights. A saliency map asks how the score of one class changes with each pixel:
the same graph, walked back to another leaf, with the weights as constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np

from ..backend import is_array, to_numpy
from ..gradient import enable_grad, grad
from ..graph import Node, is_floating
from ..tensor import Tensor

Target: TypeAlias = int | Sequence[int] | Any | None
"""The class to explain: None for each image's highest score, one class for all images, or one for each (an array, a Tensor)."""


def gradient(
    model: Callable[[Tensor], Tensor], x: Any, target: Target = None, reduce: Literal["max", "mean"] | None = "max"
) -> Tensor:
    """How much the score of a class changes with each pixel: the gradient of the score, taken at the image.

    Simonyan, Vedaldi and Zisserman 2013, section 3, arxiv.org/abs/1312.6034: near the image the score is about linear in the
    pixels, and the gradient is its weights. One backward pass serves the whole batch, for no image's score depends on
    another's pixels.

    Args:
        model: images (N, C, H, W) → scores (N, classes). Let it give logits, as in the paper: after a softmax, a class also
            gains where the others lose. Its layers run in eval mode: without dropout, with stored statistics. Afterwards
            their modes are as before. No gradient of a weight is computed, and no `.grad` touched.
        x: a Tensor or array of floating-point numbers: images (N, C, H, W), or one image (C, H, W).
        target: the class whose score is explained: an integer, or one for each image; None for the highest score of each.
        reduce: what becomes of the channels: "max" or "mean" of the absolute values, or None for the gradient itself, signed.

    Returns:
        A Tensor without graph, of the dtype and on the device of x, in units of score per unit of x: (N, H, W), for
        one image (H, W); with `reduce=None` of the shape of x.

    Raises:
        TypeError: x is no Tensor or array, or not floating point; the target is not of integers; the model is not callable,
            or returns no Tensor.
        ValueError: x is not of images, a target is out of range, there are fewer or more targets than images, `reduce` is
            unknown, the scores are not (N, classes), or they do not depend on x.

    >>> import microtensor as mt
    >>> def model(x):  # class 0 looks at the upper row, class 1 at the lower
    ...     return x.sum(dim=(1, 3)) * mt.Tensor([3.0, -2.0])
    >>> image = mt.Tensor([[[0.1, 0.2], [0.3, 0.4]]])
    >>> gradient(model, image, target=1)
    Tensor([[0., 0.],
            [2., 2.]])
    """
    if reduce not in ("max", "mean", None):
        raise ValueError(f'saliency: reduce must be "max", "mean" or None, got {reduce!r}')
    images, single = _images(x)
    leaf = images.requires_grad_()
    with _evaluating(model), enable_grad():
        scores = _scores(model, leaf)  # 1. forward  2. the scores
        seed = _seed(scores, target)  # 3. 1 at the class that is asked about
        (g,) = grad(scores, leaf, seed, allow_unused=True)  # 4. backward to the image, past the weights
    if g is None:
        raise _independent()
    pixels = _over_channels(g, reduce)  # 5. render
    return pixels[0] if single else pixels


def _images(x: Any) -> tuple[Tensor, bool]:
    """Images (N, C, H, W) without graph, and whether x was a single one (C, H, W)."""
    if not isinstance(x, Node) and not is_array(x):
        raise TypeError(f"saliency: x must be a Tensor or an array of images, got {type(x).__name__}; wrap it: Tensor(...)")
    if not is_floating(x.dtype):
        raise TypeError(
            f"saliency: x must be floating point, got {x.dtype}: only such pixels have gradients; scale and convert"
        )
    if x.ndim not in (3, 4):
        raise ValueError(f"saliency: x must be images (N, C, H, W) or one image (C, H, W), got shape {x.shape}")
    images = Tensor(x)
    return (images.unsqueeze(0), True) if x.ndim == 3 else (images, False)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Every layer in eval mode; afterwards each in its own mode again, which need not be the same for all."""
    layers = model.modules() if hasattr(model, "modules") else [model]
    before = [(layer, layer.training) for layer in layers if hasattr(layer, "training")]
    try:
        for layer, _ in before:
            layer.training = False
        yield
    finally:
        for layer, training in before:
            layer.training = training


def _scores(model: Any, images: Tensor) -> Tensor:
    """The model's scores (N, classes) for images (N, C, H, W)."""
    if not callable(model):
        raise TypeError(f"saliency: the model must be callable, images → scores, got {type(model).__name__}")
    scores = model(images)
    if not isinstance(scores, Tensor):
        raise TypeError(f"saliency: the model must return a Tensor of scores (N, classes), it returned {type(scores).__name__}")
    if scores.ndim != 2 or scores.shape[0] != images.shape[0] or not scores.shape[1] or not is_floating(scores.dtype):
        raise ValueError(
            f"saliency: the model must return floating-point scores ({images.shape[0]}, classes) "
            f"for images {images.shape}, it returned {scores.dtype} {scores.shape}"
        )
    if not scores.requires_grad:
        raise _independent()
    return scores


def _seed(scores: Tensor, target: Target) -> Tensor:
    """The gradient to start from: for each image, 1 at its target class and 0 at the others (N, classes)."""
    count, classes = scores.shape
    if target is None:
        chosen = to_numpy(scores.data.argmax(1))
    else:
        chosen = to_numpy(target.data) if isinstance(target, Node) else to_numpy(target) if is_array(target) else _list(target)
        if chosen.dtype.kind not in "iu" and chosen.size:
            raise TypeError(f"saliency: target must be an integer, or one for each image, got {target!r}")
        if chosen.shape not in ((), (count,)):
            raise ValueError(f"saliency: target must be one class, or one for each of {count} images, got shape {chosen.shape}")
        outside = chosen[(chosen < 0) | (chosen >= classes)]
        if outside.size:
            raise ValueError(f"saliency: target {outside[0]} is out of range: the classes are 0 to {classes - 1}")
    seed = (np.arange(classes) == np.broadcast_to(chosen, (count,))[:, None]).astype(scores.dtype)
    return Tensor(seed, device=scores.device)


def _list(target: Any) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(target)
    except ValueError:  # nested lists of unequal length
        raise TypeError(f"saliency: target must be an integer, or one for each image, got {target!r}") from None


def _over_channels(g: Tensor, reduce: str | None) -> Tensor:
    """(N, C, H, W) → (N, H, W), or unchanged if `reduce` is None."""
    if reduce is None:
        return g.clone()  # an array of its own: the engine's may be shared
    return g.abs().amax(dim=1) if reduce == "max" else g.abs().mean(dim=1)


def _independent() -> ValueError:
    return ValueError(
        "saliency: the scores do not depend on x: the model must compute them from its argument, "
        "in operations on Tensors, outside no_grad() and without detach()"
    )
