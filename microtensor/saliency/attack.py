"""The gradient at the image, used against the model: a step that nobody sees changes the answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd.arguments import is_number
from ..autograd.backward import no_grad
from ..creation import zeros_like
from ..ops.elementwise import clamp, sign
from ..ops.functions import log
from ..ops.gathering import take_along_dim
from ..ops.join import cat
from ..ops.softmax import log_softmax
from ..runtime.arrays import to_numpy
from ..tensor import Tensor
from .scores import Explainer, Target
from .softmax import ends_in_sigmoid


class Attack(NamedTuple):
    """What `fgsm` did. For one image, the axis N is missing."""

    images: Tensor
    """The changed images, of the shape of x."""
    before: np.ndarray[Any, Any]
    """The class of each image's highest score, as it was: (N,)."""
    after: np.ndarray[Any, Any]
    """And of the changed image: (N,)."""
    loss_before: np.ndarray[Any, Any]
    """The cross-entropy of each image's class, in nats: (N,)."""
    loss_after: np.ndarray[Any, Any]

    @property
    def flipped(self) -> np.ndarray[Any, Any]:
        """Whether the answer is another: (N,)."""
        return np.asarray(self.before != self.after)


def fgsm(
    model: Callable[[Tensor], Tensor],
    x: Any,
    epsilon: float,
    target: Target = None,
    targeted: bool = False,
    lower_bound: float = -math.inf,
    upper_bound: float = math.inf,
) -> Attack:
    """A step of epsilon for each pixel, all up the loss: x + epsilon · sign(gradient of the loss).

    Goodfellow, Shlens and Szegedy 2014, "Explaining and harnessing adversarial examples", section 4, arxiv.org/abs/1412.6572.
    No pixel changes by more than epsilon, but all changes add up in the score. The loss is the cross-entropy of the class.

    Args:
        model, x: as in `gradient`. Of one that ends in softmax the logarithm is taken; there is no warning. One that gives a
            single score tells class 1 from class 0: the score is a logit, or ends in sigmoid, and is above 0, or ½, for 1.
        epsilon: the length of the step, in units of x.
        target: the true class, or one for each image; None: the one that the model names.
        targeted: step down the loss of `target` instead, to be taken for it.
        lower_bound, upper_bound: what pixels can be, in units of x; the step is cut off there.

    Returns:
        An `Attack`: the changed images, and the classes before and after.

    Raises:
        TypeError: the target is a function; else as `gradient`.
        ValueError: epsilon is negative, the bounds are the wrong way round, `targeted` is without target; else as `gradient`.

    >>> import microtensor as mt
    >>> model = lambda x: x.flatten(1)  # the brighter pixel is the class
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
        raise ValueError("saliency.fgsm: targeted=True needs a target, the class to be taken for")
    classes = Explainer("fgsm", _of_two_classes(model, x), x, target, warns=False)
    with classes:
        scores = classes.settle()
        chosen = Tensor(np.array(classes.classes), device=scores.device).unsqueeze(1)

        def loss(scores: Tensor) -> Tensor:
            likelihood = log(scores) if classes.probable else log_softmax(scores, dim=1)
            return -take_along_dim(likelihood, chosen, 1).squeeze(1)

        explainer = Explainer("fgsm", classes.model, classes.images, loss, warns=False)
        step = sign(explainer.gradient(explainer.images)) * float(epsilon)
        moved = explainer.images - step if targeted else explainer.images + step
        if lower_bound > -math.inf or upper_bound < math.inf:
            moved = clamp(moved, float(lower_bound), float(upper_bound))
        with no_grad():
            scores_after = explainer.scores(moved)
            losses = loss(scores), loss(scores_after)
    before, after = (to_numpy(s.array.argmax(1)) for s in (scores, scores_after))
    numbers = [before, after, *(to_numpy(x.array) for x in losses)]
    return Attack(classes.answer(moved), *(x[0] if classes.single else x for x in numbers))


def _of_two_classes(model: Any, x: Any) -> Any:
    """The model, or, if it gives one score s for each image, a function that gives the scores of two classes: (0, s), or, of a
    probability p, (1 − p, p)."""
    explainer = Explainer("fgsm", model, x, lambda scores: scores.flatten(1).sum(dim=1), warns=False)
    with explainer, no_grad():
        images = explainer.images[:1]
        scores = explainer.scores(images)
        if scores.ndim != 2 or scores.shape[1] != 1 or not len(images):
            return model
        probable = ends_in_sigmoid(model, images)

    def both(images: Tensor) -> Tensor:
        score = model(images)
        return cat([1 - score if probable else zeros_like(score), score], dim=1)

    return both
