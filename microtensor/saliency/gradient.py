"""The gradient of a score, taken at the image.

Training asks how the loss changes with the weights. A saliency map asks how the score of one class changes with each pixel:
the same graph, walked back to another leaf, with the weights as constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.backward import enable_grad, topological
from ..tensor import Tensor
from .explainer import Explainer, Reduce, Target, check_reduce, over_channels


def gradient(
    model: Callable[[Tensor], Tensor],
    x: Any,
    target: Target = None,
    reduce: Reduce = "max",
    explain: bool = False,
    out: Callable[[str], Any] = print,
) -> Tensor:
    """How much the score of a class changes with each pixel: the gradient of the score, taken at the image.

    Simonyan, Vedaldi and Zisserman 2013, section 3, arxiv.org/abs/1312.6034: near the image the score is about linear in the
    pixels, and the gradient is its weights. One backward pass serves the whole batch, for no image's score depends on
    another's pixels; where a model mixes them, as a batch norm without running statistics does, each goes through it alone.

    Args:
        model: images (N, C, H, W) → scores (N, classes). Let it give logits, as in the paper: of one that ends in softmax
            there is a warning, and `before_softmax` gives its logits. Its layers, and all modules that a function calls, run in
            eval mode: without dropout, with stored statistics. Afterwards their modes are as before. No gradient of a weight is
            computed, no `.grad` touched. Of one that takes sequences (N, C, L): `lambda x: model(x.squeeze(2))`, with x
            (N, C, 1, L); of one that returns more than scores: `lambda x: model(x)[0]`.
        x: a Tensor or array of floating-point numbers: images (N, C, H, W), or one image (C, H, W).
        target: what is explained: a class, or one for each image; None for the class of the highest score of each; or a
            function scores → (N,), a number for each image.
        reduce: what becomes of the channels: "max" or "mean" of the absolute values, or None for the gradient itself, signed.
        explain: say in words what is done, step by step, with shapes.
        out: called with each line of it.

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
    >>> gradient(model, image, target=1, explain=True)
    1. forward: the image (1, 1, 2, 2) through the model, which records 2 operations
    2. scores: (1, 2); the highest is 0.9, of class 0
    3. seed: (1, 2); 1 at the class that is asked about, 1, and 0 at the others
    4. backward: along the same operations to the image: (1, 1, 2, 2), from -2 to 0; the weights are constants
    5. render: the largest magnitude over the channels: (1, 2, 2), from 0 to 2
    Tensor([[0., 0.],
            [2., 2.]])
    """
    check_reduce("gradient", reduce)
    explainer = Explainer("gradient", model, x, target)
    leaf = explainer.images.requires_grad_()
    with explainer, enable_grad():
        scores = explainer.scores(leaf)  # 1. forward  2. the scores
        lines = _forward_in_words(leaf, scores) if explain else []  # before the graph is released
        seed = explainer.seed(scores)  # 3. 1 at the class that is asked about
        g = explainer.back(scores, leaf, seed)  # 4. backward to the image, past the weights
    pixels = over_channels(g, reduce)  # 5. render
    if explain:
        for line in [*lines, *_backward_in_words(explainer, seed, g, pixels, reduce)]:
            out(line)
    return explainer.answer(pixels)


def _forward_in_words(leaf: Tensor, scores: Tensor) -> list[str]:
    count = sum(origin.op is not None for origin in topological([scores.origin])) if scores.origin is not None else 0
    what = "the image" if len(leaf) == 1 else f"{len(leaf)} images"
    lines = [f"1. forward: {what} {leaf.shape} through the model, which records {count} operation{'s' * (count != 1)}"]
    best = ""
    if scores.ndim == 2 and scores.numel():
        highest = scores[0].argmax().item()
        best = f"; the highest{_first(leaf)} is {scores[0, highest].item():.4g}, of class {highest}"
    return [*lines, f"2. scores: {scores.shape}{best}"]


def _backward_in_words(explainer: Explainer, seed: Tensor, g: Tensor, pixels: Tensor, reduce: Reduce) -> list[str]:
    if explainer.classes is None:
        what = "how the function's number changes with each score"
    else:
        classes = ", ".join(map(str, explainer.classes[:8])) + (", …" if len(explainer.classes) > 8 else "")
        what = f"1 at the class that is asked about, {classes}, and 0 at the others"
    how = {"max": "the largest magnitude", "mean": "the mean magnitude"}.get(str(reduce))
    return [
        f"3. seed: {seed.shape}; {what}",
        f"4. backward: along the same operations to the image: {g.shape}{_range(g)}; the weights are constants",
        f"5. render: {f'{how} over the channels' if how else 'nothing, the gradient is left as it is'}: "
        f"{pixels.shape}{_range(pixels)}",
    ]


def _first(leaf: Tensor) -> str:
    return " of the first image" if len(leaf) > 1 else ""


def _range(x: Tensor) -> str:
    return f", from {x.min().item():.4g} to {x.max().item():.4g}" if x.numel() else ""
