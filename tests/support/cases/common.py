"""What a case is, and the strategies that several families share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import microtensor as mt
from microtensor.nn.layers.windows import Window
from microtensor.testing import broadcastable, tensors


class Case(NamedTuple):
    ours: Callable[..., Any]
    inputs: list[mt.Tensor]
    theirs: Callable[..., Any] | None = None
    """The same with PyTorch: gets the torch module, then one tensor per input. None where PyTorch has no such operation."""


def unary(ours, theirs, **settings):
    return tensors(**settings).map(lambda x: Case(ours, [x], theirs))


def binary(ours, theirs, **settings):
    return broadcastable(**settings).map(lambda inputs: Case(ours, inputs, theirs))


# Of a `microtensor.testing.Geometry` g: its images, its settings, its window.


def images(g, draw, **settings):
    return draw(tensors((g.images, g.channels, *g.size), **settings))


def sliding(g):
    return {"stride": g.stride, "padding": g.padding, "dilation": g.dilation}


def window_of(g):
    return Window.of("", g.kernel, g.stride, g.padding, g.dilation)
