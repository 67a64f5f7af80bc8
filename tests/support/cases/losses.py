"""Losses."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt
from cases.common import Case
from microtensor import nn
from microtensor.nn.losses import classification as loss
from microtensor.nn.losses import regression
from microtensor.nn.losses.labels import Labels
from microtensor.testing import shapes, tensors

REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


@st.composite
def scores(draw):
    """The shape of scores (N, C, …), or (C,) of a single example, and labels for them, some to be ignored, but not all."""
    classes = draw(st.integers(1, 4))
    shape = draw(st.sampled_from([(classes,), (1, classes), (3, classes), (2, classes, 3), (2, classes, 2, 2)]))
    labels_shape = shape[2:] if len(shape) == 1 else (shape[0], *shape[2:])
    labels = np.array(draw(hnp.arrays(np.int64, labels_shape, elements=st.integers(0, classes - 1))))
    ignore = draw(st.sampled_from([-100, -100, 0]))
    if labels.size > 1 and draw(st.booleans()):
        labels.reshape(-1)[0] = ignore
    if (labels == ignore).all():
        ignore = -7
        labels[...] = np.maximum(labels, 0)
    return shape, classes, labels, ignore


@st.composite
def classification(draw, smoothing=True):
    shape, classes, labels, ignore = draw(scores())
    settings = {"reduction": draw(REDUCTIONS), "ignore_index": ignore}
    if smoothing:
        settings["label_smoothing"] = draw(st.sampled_from([0.0, 0.3, 1.0]))
    weight = draw(st.none() | hnp.arrays(np.float64, (classes,), elements=st.floats(0.5, 2.0)))
    name = "cross_entropy" if smoothing else "nll_loss"
    return Case(
        lambda x: getattr(nn, name)(x, labels, weight, **settings),
        [draw(tensors(shape))],
        lambda torch, x: getattr(torch.nn.functional, name)(
            x, torch.tensor(labels), None if weight is None else torch.tensor(weight), **settings
        ),
    )


@st.composite
def with_probabilities(draw):
    shape, classes, *_ = draw(scores())
    settings = {"reduction": draw(REDUCTIONS), "label_smoothing": draw(st.sampled_from([0.0, 0.3, 1.0]))}
    weight = draw(st.none() | hnp.arrays(np.float64, (classes,), elements=st.floats(0.5, 2.0)))
    return Case(
        lambda x, target: nn.cross_entropy(x, target, weight, **settings),
        [draw(tensors(shape)), draw(tensors(shape, low=0.0, high=1.0))],
        lambda torch, x, target: torch.nn.functional.cross_entropy(
            x, target, None if weight is None else torch.tensor(weight), **settings
        ),
    )


@st.composite
def labelled(draw, operation):
    """The two halves of nll_loss: of (N, C, …) to (N, P), and back."""
    shape, _, labels, ignore = draw(scores())

    def on(x, name):  # the labels beside x
        like = x.constant(x.xp.zeros(shape, x.dtype))
        return Labels(name, labels, "x", like, None, ignore)

    if operation is loss._pick:
        return Case(lambda x: loss._pick(x, labels=on(x, "_pick")), [draw(tensors(shape))])
    places = (1, 1) if len(shape) == 1 else (shape[0], math.prod(shape[2:]))
    return Case(lambda g: loss._place(g, labels=on(g, "_place"), shape=shape), [draw(tensors(places))])


def beside(x, tensors):
    """The same tensors where x is."""
    return {key: value.to(x.device) for key, value in tensors.items()}


@st.composite
def pair(draw, name, low=-2.0, high=2.0, apart=(), weighted=False, **settings):
    """x and a target of one shape, whose difference is not near a number of `apart`."""
    shape = draw(shapes())
    settings = {"reduction": draw(REDUCTIONS)} | {key: draw(value) for key, value in settings.items()}
    x, target = draw(tensors(shape, low=low, high=high)), draw(tensors(shape, low=low, high=high))
    for kink in apart(settings) if callable(apart) else apart:
        for side in (kink, -kink):
            near = abs(x - target - side) < 0.05
            x = mt.where(near, target + side + 0.1, x)
    weight = draw(tensors(shape, low=0.5, high=2.0)) if weighted and draw(st.booleans()) else None
    arrays = {} if weight is None else {"weight": weight}
    return Case(
        lambda x, target: getattr(nn, name)(x, target, **beside(x, arrays), **settings),
        [x, target],
        lambda torch, x, target: getattr(torch.nn.functional, name)(
            x, target, **{key: torch.tensor(value.numpy()) for key, value in arrays.items()}, **settings
        ),
    )


@st.composite
def yes_or_no(draw, name, low, high):
    shape = draw(shapes(min_dims=1))
    arrays = {"weight": draw(tensors(draw(st.sampled_from([shape, shape[-1:]])), low=0.5, high=2.0))}
    if name.endswith("logits"):
        arrays["pos_weight"] = draw(tensors(shape[-1:], low=0.5, high=2.0))
    arrays = {key: value for key, value in arrays.items() if draw(st.booleans())}
    reduction = draw(REDUCTIONS)
    return Case(
        lambda x, target: getattr(nn, name)(x, target, reduction=reduction, **beside(x, arrays)),
        [draw(tensors(shape, low=low, high=high)), draw(tensors(shape, low=0.0, high=1.0))],
        lambda torch, x, target: getattr(torch.nn.functional, name)(
            x, target, reduction=reduction, **{key: torch.tensor(value.numpy()) for key, value in arrays.items()}
        ),
    )


@st.composite
def divergence(draw):
    shape, log_target = draw(shapes(min_dims=1)), draw(st.booleans())
    reduction = draw(st.sampled_from(["mean", "batchmean", "sum", "none"]))
    return Case(
        lambda x, target: nn.kl_div(x, target, reduction, log_target),
        [draw(tensors(shape)), draw(tensors(shape, low=0.1, high=1.0))],
        lambda torch, x, target: kl_div_without_warning(torch, x, target, reduction, log_target),
    )


def kl_div_without_warning(torch, x, target, reduction, log_target):
    """PyTorch warns that "mean" is not the divergence."""
    losses = torch.nn.functional.kl_div(x, target, reduction="none", log_target=log_target)
    return (
        losses.mean()
        if reduction == "mean"
        else losses
        if reduction == "none"
        else losses.sum() / (len(x) if reduction == "batchmean" else 1)
    )


@st.composite
def overlap(draw):
    shape, _, labels, ignore = draw(scores().filter(lambda drawn: len(drawn[0]) > 1))
    settings = {"ignore_index": ignore, "reduction": draw(REDUCTIONS), "smooth": draw(st.sampled_from([1.0, 0.1]))}
    if draw(st.booleans()):
        areas = draw(tensors(shape, low=0.0, high=1.0))
        return Case(lambda x, areas: nn.dice_loss(x, areas, **settings), [draw(tensors(shape)), areas])
    return Case(lambda x: nn.dice_loss(x, labels, **settings), [draw(tensors(shape))])


@st.composite
def soft(draw):
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(0, len(shape) - 1))
    inputs = [draw(tensors(shape)), draw(tensors(shape, low=0.0, high=1.0))]
    return Case(lambda x, target: loss._soft_cross_entropy(x, target, axis=axis), inputs)


CASES = {
    "_cross_entropy": classification(),
    "_soft_cross_entropy": soft(),
    "_pick": labelled(loss._pick),
    "_place": labelled(loss._place),
    "_huber": tensors(away_from=[-1.0, 1.0]).map(lambda x: Case(lambda x: regression._huber(x, delta=1.0), [x])),
    "_binary_cross_entropy": yes_or_no("binary_cross_entropy", 0.1, 0.9),
    "_binary_cross_entropy_with_logits": yes_or_no("binary_cross_entropy_with_logits", -4.0, 4.0),
}

COMPOSED = {
    "cross_entropy of probabilities": with_probabilities(),
    "nll_loss": classification(smoothing=False),
    "mse_loss": pair("mse_loss", weighted=True),
    "l1_loss": pair("l1_loss", apart=[0.0], weighted=True),
    "huber_loss": pair("huber_loss", apart=lambda s: [0.0, s["delta"]], weighted=True, delta=st.sampled_from([0.5, 1.0])),
    "smooth_l1_loss": pair("smooth_l1_loss", apart=lambda s: [0.0, s["beta"]], beta=st.sampled_from([0.0, 0.5, 1.0])),
    "kl_div": divergence(),
    "dice_loss": overlap(),
}
