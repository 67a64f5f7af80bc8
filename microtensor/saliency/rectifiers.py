"""Guided backpropagation and deconvnet: modified rules for the backward pass through ReLU, set in a `with` block.

                the gradient passes where                         paper
    gradient    the input was positive
    deconvnet   the gradient is positive                          Zeiler and Fergus 2013
    guided      the input and the gradient are positive           Springenberg et al. 2014

Implementations with hooks on modules miss a ReLU that is a function, or a module that is called twice. Here the backward pass
of `relu` itself applies the rule, so it holds for every model. ReLU6 and every `hardtanh` from 0 upwards are ReLUs with an
upper bound: their gradient passes between 0 and the bound. ELU, leaky ReLU, sigmoid and others keep their derivatives under any
rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops.activations import rectifier
from ..ops.elementwise import where
from ..runtime.scoped import Block, Setting
from ..tensor import Tensor
from .explainer import Explainer, Reduce, Target, check_reduce, over_channels


def _guided(g: Any, on: Any) -> Any:
    return where(on & ~(g <= 0), g, 0)  # not g > 0: nan passes, as through relu


def _deconvnet(g: Any, on: Any) -> Any:
    return where(~(g <= 0), g, 0)


RULES: dict[str, Callable[[Any, Any], Any]] = {"guided": _guided, "deconvnet": _deconvnet}


def relu_rule(rule: str) -> Block:
    """Inside, backward passes of this thread go through every ReLU by this rule: "guided" or "deconvnet".

    The rule must be set while the backward pass runs; the forward pass may have run outside.

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
    """The gradient, except that through each ReLU only positive gradients pass, and only where its input was positive.

    Springenberg et al. 2014, "Striving for simplicity: the all convolutional net", section 3.4, arxiv.org/abs/1412.6806. The
    maps are sharp, but show what the layers detect rather than what decides the class: see `sanity_check`.

    Args:
        model, x, target, reduce: as in `gradient`.

    Returns, Raises:
        As `gradient`.

    >>> import microtensor as mt
    >>> def model(x):  # the second pixel lowers the score
    ...     return (x.flatten(1).relu() * mt.Tensor([1.0, -1.0])).sum(dim=1, keepdim=True)
    >>> guided_backprop(model, mt.Tensor([[[1.0, 2.0]]]))
    Tensor([[1., 0.]])
    """
    return _gradient_by_rule("guided_backprop", "guided", model, x, target, reduce)


def deconvnet(model: Callable[[Tensor], Tensor], x: Any, target: Target = None, reduce: Reduce = "max") -> Tensor:
    """The gradient, except that through each ReLU only positive gradients pass, whatever its input was.

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks", section 2.1, arxiv.org/abs/1311.2901: the
    network in reverse: each convolution is transposed, max pooling puts values back where its maxima were (switches), as their
    gradients do; each ReLU is applied to the values on their way back.

    Args:
        model, x, target, reduce: as in `gradient`.

    Returns, Raises:
        As `gradient`.

    >>> import microtensor as mt
    >>> deconvnet(lambda x: x.flatten(1).relu().sum(dim=1, keepdim=True), mt.Tensor([[[-1.0, 2.0]]]))
    Tensor([[1., 1.]])
    """
    return _gradient_by_rule("deconvnet", "deconvnet", model, x, target, reduce)


def _gradient_by_rule(name: str, rule: str, model: Any, x: Any, target: Target, reduce: Reduce) -> Tensor:
    """The map of `gradient`, with a rule for ReLU."""
    check_reduce(name, reduce)
    explainer = Explainer(name, model, x, target)
    with explainer, relu_rule(rule):
        g = explainer.gradient(explainer.images)
    return explainer.like_x(over_channels(g, reduce))
