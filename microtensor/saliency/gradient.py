"""The gradient of a class score with respect to the image.

Training computes how the loss changes with the weights. A saliency map shows how the score of one class changes with each
pixel: the same graph and the same backward pass, but the leaf is the image and the weights are constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.backward import topological
from ..autograd.grad_mode import enable_grad
from ..tensor import Tensor
from .explainer import Explainer, Model, Reduce, Target, check_reduce, over_channels


def gradient(
    model: Model,
    x: Any,
    target: Target = None,
    reduce: Reduce = "max",
    explain: bool = False,
    out: Callable[[str], Any] = print,
) -> Tensor:
    """How much the score of a class changes with each pixel: the gradient of the score at the image.

    Simonyan, Vedaldi and Zisserman 2013, section 3, arxiv.org/abs/1312.6034: near the image the score is approximately linear
    in the pixels, with the gradient as its weights. One backward pass computes the maps of the whole batch, since no image's
    score depends on another image. If they do, as in batch norm without running statistics, each image is passed alone.

    Args:
        model: images (N, C, H, W) → scores (N, classes), preferably logits, as in the paper: a model that ends in softmax gives
            a warning, and `before_softmax` returns its logits. Its layers, and all modules that a function calls, run in eval
            mode. No gradient of a weight is computed, no `.grad` changed. For sequences (N, C, L): `lambda x:
            model(x.squeeze(2))` with x (N, C, 1, L); for a model that returns a tuple: `lambda x: model(x)[0]`.
        x: floating-point Tensor or array: images (N, C, H, W), or a single image (C, H, W).
        target: the score that is explained: a class, or one for each image; None: the class of the highest score of each; or a
            function scores → (N,), one value per image.
        reduce: how channels are combined: "max" or "mean" of the absolute values; None: the signed gradient itself.
        explain, out: describe each step, with shapes: `out` is called with each line.

    Returns:
        A Tensor without a graph, with the dtype and device of x, in units of score per unit of x: (N, H, W), for a single
        image (H, W); with `reduce=None` of the shape of x.

    Raises:
        TypeError: x is not floating point; the target does not hold integers; the model is not callable or returns no Tensor.
        ValueError: x is not images, a target is out of range or not one per image, `reduce` is unknown, the scores are not
            (N, classes), or they do not depend on x.

    >>> import microtensor as mt
    >>> def model(x):  # class 0 depends on the upper row, class 1 on the lower
    ...     return x.sum(dim=(1, 3)) * mt.Tensor([3.0, -2.0])
    >>> image = mt.Tensor([[[0.1, 0.2], [0.3, 0.4]]])
    >>> gradient(model, image, target=1, explain=True)
    1. forward: the image (1, 1, 2, 2) through the model, which records 2 operations
    2. scores: (1, 2); the highest is 0.9, of class 0
    3. seed: (1, 2); 1 at the explained class, 1, and 0 at the others
    4. backward: through the same operations to the image: (1, 1, 2, 2), from -2 to 0; the weights are constants
    5. reduce: the largest magnitude over the channels: (1, 2, 2), from 0 to 2
    Tensor([[0., 0.],
            [2., 2.]])
    """
    check_reduce("gradient", reduce)
    explainer = Explainer("gradient", model, x, target)
    leaf = explainer.images.requires_grad_()
    with explainer, enable_grad():
        scores = explainer.scores(leaf)  # 1. forward  2. the scores
        lines = _describe_forward(leaf, scores) if explain else []  # before the graph is released
        seed = explainer.seed(scores)  # 3. 1 at the explained class
        (g,) = explainer.backward(scores, [leaf], seed)  # 4. backward to the image, not to the weights
    pixels = over_channels(g, reduce)  # 5. reduce the channels
    if explain:
        for line in [*lines, *_describe_backward(explainer, seed, g, pixels, reduce)]:
            out(line)
    return explainer.like_x(pixels)


def _describe_forward(leaf: Tensor, scores: Tensor) -> list[str]:
    """Steps 1 and 2 of `explain=True`: the forward pass and the scores."""
    count = sum(origin.op is not None for origin in topological([scores.origin])) if scores.origin is not None else 0
    what = "the image" if len(leaf) == 1 else f"{len(leaf)} images"
    lines = [f"1. forward: {what} {leaf.shape} through the model, which records {count} operation{'s' * (count != 1)}"]
    best = ""
    if scores.ndim == 2 and scores.numel():
        highest = scores[0].argmax().item()
        best = f"; the highest{_first(leaf)} is {scores[0, highest].item():.4g}, of class {highest}"
    return [*lines, f"2. scores: {scores.shape}{best}"]


def _describe_backward(explainer: Explainer, seed: Tensor, g: Tensor, pixels: Tensor, reduce: Reduce) -> list[str]:
    """Steps 3 to 5 of `explain=True`: the seed, the backward pass and the reduction."""
    if explainer.classes is None:
        what = "the gradient of the target function with respect to each score"
    else:
        classes = ", ".join(map(str, explainer.classes[:8])) + (", …" if len(explainer.classes) > 8 else "")
        what = f"1 at the explained class, {classes}, and 0 at the others"
    how = {"max": "the largest magnitude", "mean": "the mean magnitude"}.get(str(reduce))
    return [
        f"3. seed: {seed.shape}; {what}",
        f"4. backward: through the same operations to the image: {g.shape}{_range(g)}; the weights are constants",
        f"5. reduce: {f'{how} over the channels' if how else 'none, the signed gradient is returned'}: "
        f"{pixels.shape}{_range(pixels)}",
    ]


def _first(leaf: Tensor) -> str:
    return " of the first image" if len(leaf) > 1 else ""


def _range(x: Tensor) -> str:
    return f", from {x.min().item():.4g} to {x.max().item():.4g}" if x.numel() else ""
