"""Adversarial examples: the gradient of the loss at the image, used to change the prediction (FGSM)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd.arguments import is_number
from ..autograd.grad_mode import no_grad
from ..creation import zeros_like
from ..ops.elementwise import clamp, sign
from ..ops.functions import log
from ..ops.gathering import take_along_dim
from ..ops.join import cat
from ..ops.softmax import log_softmax
from ..runtime.arrays import to_numpy
from ..tensor import Tensor
from .explainer import Explainer, Model, Target
from .softmax import ends_in_sigmoid


class Attack(NamedTuple):
    """The result of `fgsm`. For a single image, the axis N is missing."""

    images: Tensor
    """The adversarial images, of the shape of x."""
    before: np.ndarray[Any, Any]
    """The predicted class of each original image: (N,)."""
    after: np.ndarray[Any, Any]
    """The predicted class of each adversarial image: (N,)."""
    loss_before: np.ndarray[Any, Any]
    """The cross-entropy of each original image's class, in nats: (N,)."""
    loss_after: np.ndarray[Any, Any]
    """The cross-entropy of each adversarial image's class, in nats: (N,)."""

    @property
    def flipped(self) -> np.ndarray[Any, Any]:
        """Whether the predicted class changed: (N,)."""
        return np.asarray(self.before != self.after)


def fgsm(
    model: Model,
    x: Any,
    epsilon: float,
    target: Target = None,
    targeted: bool = False,
    lower_bound: float = -math.inf,
    upper_bound: float = math.inf,
) -> Attack:
    """The fast gradient sign method: x + epsilon · sign(gradient of the loss).

    Goodfellow, Shlens and Szegedy 2014, "Explaining and harnessing adversarial examples", section 4, arxiv.org/abs/1412.6572.
    Each pixel changes by at most epsilon, but all changes raise the loss. The loss is the cross-entropy of the class.

    Args:
        model, x: as in `gradient`. For a model that ends in softmax, the logarithm of its probabilities is taken; there is no
            warning. A model with a single score separates class 1 from class 0: the score is a logit, above 0 for class 1, or
            the result of a sigmoid, above ½ for class 1.
        epsilon: the largest change of a pixel, in units of x.
        target: the true class, or one for each image; None: the predicted class.
        targeted: lower the loss of `target` instead, so that the image is classified as `target`.
        lower_bound, upper_bound: the range of pixel values, in units of x; adversarial images are clipped to it.

    Returns:
        An `Attack`: the adversarial images, and the classes before and after.

    Raises:
        TypeError: the target is a function; else as `gradient`.
        ValueError: epsilon is negative, lower_bound is not below upper_bound, `targeted` without target; else as `gradient`.

    >>> import microtensor as mt
    >>> model = lambda x: x.flatten(1)  # the class is the index of the brighter pixel
    >>> attack = fgsm(model, mt.Tensor([[[0.5, 0.6]]]), epsilon=0.1)
    >>> attack.images, bool(attack.flipped)
    (Tensor([[[0.6, 0.5]]]), True)
    """
    if not is_number(epsilon) or not 0 <= epsilon < math.inf:
        raise ValueError(f"saliency.fgsm: epsilon must be a number of 0 or more, in units of x, got {epsilon!r}")
    if not is_number(lower_bound) or not is_number(upper_bound) or not lower_bound < upper_bound:
        raise ValueError(f"saliency.fgsm: lower_bound {lower_bound!r} must be a number below upper_bound {upper_bound!r}")
    if callable(target):
        raise TypeError("saliency.fgsm: the target must be a class, or one for each image, got a function")
    if targeted and target is None:
        raise ValueError("saliency.fgsm: targeted=True needs a target: the class that the image is to be classified as")
    explainer = Explainer("fgsm", _with_two_classes(model, x), x, target, warns=False)
    with explainer:
        scores = explainer.prepare()
        loss = _cross_entropy(explainer, scores)
        of_loss = Explainer("fgsm", explainer.model, explainer.images, loss, warns=False)
        step = sign(of_loss.gradient(of_loss.images)) * float(epsilon)
        moved = of_loss.images - step if targeted else of_loss.images + step
        if lower_bound > -math.inf or upper_bound < math.inf:
            moved = clamp(moved, float(lower_bound), float(upper_bound))
        with no_grad():
            scores_after = of_loss.scores(moved)
            losses = loss(scores), loss(scores_after)
    before, after = (to_numpy(s.array.argmax(1)) for s in (scores, scores_after))
    facts = [before, after, *(to_numpy(x.array) for x in losses)]
    return Attack(explainer.like_x(moved), *(x[0] if explainer.single else x for x in facts))


def _cross_entropy(explainer: Explainer, scores: Tensor) -> Callable[[Tensor], Tensor]:
    """The cross-entropy of each image's class, as a function of the scores: (N, classes) → (N,)."""
    classes = Tensor(np.array(explainer.classes), device=scores.device).unsqueeze(1)

    def loss(scores: Tensor) -> Tensor:
        log_likelihood = log(scores) if explainer.gives_probabilities else log_softmax(scores, dim=1)
        return -take_along_dim(log_likelihood, classes, 1).squeeze(1)

    return loss


def _with_two_classes(model: Any, x: Any) -> Any:
    """The model; or, if it gives one score per image, a function that gives the scores of two classes: (0, s) for a logit s,
    (1 − p, p) for a probability p.
    """
    explainer = Explainer("fgsm", model, x, lambda scores: scores.flatten(1).sum(dim=1), warns=False)
    with explainer, no_grad():
        images = explainer.images[:1]
        scores = explainer.scores(images)
        if scores.ndim != 2 or scores.shape[1] != 1 or not len(images):
            return model
        is_probability = ends_in_sigmoid(model, images)

    def two_scores(images: Tensor) -> Tensor:
        score = model(images)
        return cat([1 - score if is_probability else zeros_like(score), score], dim=1)

    return two_scores
