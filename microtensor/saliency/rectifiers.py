"""Other rules for the way back through a ReLU. They are the engine's: set in a `with` block, for every ReLU there is.

                the gradient passes where                         paper
    gradient    the unit was on
    deconvnet   the gradient is positive                          Zeiler and Fergus 2013
    guided      the unit was on and the gradient is positive      Springenberg et al. 2014

A rule that hooks on modules changes misses the ReLU that is a function, and one module that is called twice. Here `relu` itself
asks, so neither matters, and nor does who wrote the model. ReLU6 and every `hardtanh` from 0 up are ReLUs with a ceiling: on is
between 0 and the ceiling, as for the gradient. ELU, leaky ReLU, sigmoids and the like keep their derivatives under any rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.activations import rectifier
from ..ops.elementwise import where
from ..runtime.scoped import Block, Setting
from ..tensor import Tensor
from .scores import Explainer, Reduce, Target, check_reduce, over_channels


def _guided(g: Any, on: Any) -> Any:
    return where(on & ~(g <= 0), g, 0)  # nan passes, as it does through relu


def _deconvnet(g: Any, on: Any) -> Any:
    return where(~(g <= 0), g, 0)


RULES: dict[str, Callable[[Any, Any], Any]] = {"guided": _guided, "deconvnet": _deconvnet}


def relu_rule(rule: str) -> Block:
    """Inside, backward passes of this thread go through every ReLU by this rule: "guided" or "deconvnet".

    What counts is where the backward pass runs; the forward pass may have run outside.

    Raises:
        ValueError: there is no rule of this name.

    >>> import microtensor as mt
    >>> x = mt.Tensor([-1.0, 1.0, 2.0], requires_grad=True)
    >>> y, g = x.relu(), mt.Tensor([5.0, -5.0, 5.0])
    >>> with relu_rule("deconvnet"):
    ...     mt.grad(y, x, g, retain_graph=True)[0]
    Tensor([5., 0., 5.])
    >>> with relu_rule("guided"):
    ...     mt.grad(y, x, g, retain_graph=True)[0]
    Tensor([0., 0., 5.])
    >>> mt.grad(y, x, g)[0]
    Tensor([ 0., -5.,  5.])
    """
    if rule not in RULES:
        raise ValueError(f"relu_rule: expected one of {', '.join(map(repr, RULES))}, got {rule!r}")
    return Setting(rectifier, derivative=RULES[rule])


def guided_backprop(model: Callable[[Tensor], Tensor], x: Any, target: Target = None, reduce: Reduce = "max") -> Tensor:
    """The gradient, but back through each ReLU passes only what is positive, and only where the unit was on.

    Springenberg et al. 2014, "Striving for simplicity: the all convolutional net", section 3.4, arxiv.org/abs/1412.6806. Sharp
    pictures, of what the layers saw rather than of what decided: `sanity_check` shows it.

    Args:
        model, x, target, reduce: as in `gradient`.

    Returns, Raises:
        As `gradient`.

    >>> import microtensor as mt
    >>> def model(x):  # the second pixel speaks against the class
    ...     return (x.flatten(1).relu() * mt.Tensor([1.0, -1.0])).sum(dim=1, keepdim=True)
    >>> guided_backprop(model, mt.Tensor([[[1.0, 2.0]]]))
    Tensor([[1., 0.]])
    """
    return _ruled("guided_backprop", "guided", model, x, target, reduce)


def deconvnet(model: Callable[[Tensor], Tensor], x: Any, target: Target = None, reduce: Reduce = "max") -> Tensor:
    """The gradient, but back through each ReLU passes what is positive, whether the unit was on or not.

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", section 2.1, arxiv.org/abs/1311.2901: the
    network run in reverse, each layer by its transpose, max pooling by the places of its maxima (the switches), which is what
    its gradient does anyhow, and each ReLU by a ReLU.

    Args:
        model, x, target, reduce: as in `gradient`.

    Returns, Raises:
        As `gradient`.

    >>> import microtensor as mt
    >>> deconvnet(lambda x: x.flatten(1).relu().sum(dim=1, keepdim=True), mt.Tensor([[[-1.0, 2.0]]]))
    Tensor([[1., 1.]])
    """
    return _ruled("deconvnet", "deconvnet", model, x, target, reduce)


def _ruled(name: str, rule: str, model: Any, x: Any, target: Target, reduce: Reduce) -> Tensor:
    check_reduce(name, reduce)
    explainer = Explainer(name, model, x, target)
    with explainer, relu_rule(rule):
        g = explainer.gradient(explainer.images)
    return explainer.answer(over_channels(g, reduce))
