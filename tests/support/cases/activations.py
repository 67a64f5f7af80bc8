"""Activation functions."""

import math

import numpy as np
from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case, unary
from microtensor.nn import rrelu
from microtensor.ops import activations, smooth_activations
from microtensor.testing import shapes, tensors


def activation(name, *settings, **limits):
    """The function of that name, here and in torch.nn.functional."""
    return unary(
        lambda x: getattr(mt, name)(x, *settings),
        lambda torch, x: getattr(torch.nn.functional, name)(x, *settings),
        **limits,
    )


@st.composite
def learned_slope(draw):
    x = draw(tensors(away_from=[0.0]))
    channels = x.shape[1] if x.ndim > 1 else 1
    weight = draw(tensors(st.sampled_from([(1,), (channels,)])))
    return Case(mt.prelu, [x, weight], lambda torch, x, weight: torch.nn.functional.prelu(x, weight))


@st.composite
def halves(draw):
    shape = list(draw(shapes(min_dims=1)))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    shape[dim] *= 2
    return Case(lambda x: mt.glu(x, dim), [draw(tensors(shape))], lambda torch, x: torch.nn.functional.glu(x, dim))


@st.composite
def along_an_axis(draw, name):
    x = draw(tensors(shapes(min_dims=1)))
    dim = draw(st.integers(-x.ndim, x.ndim - 1))
    return Case(lambda x: getattr(mt, name)(x, dim=dim), [x], lambda torch, x: getattr(torch.nn.functional, name)(x, dim=dim))


@st.composite
def random_slope(draw):
    """While training PyTorch draws other slopes, so there numerical gradients alone."""
    training, seed = draw(st.booleans()), draw(st.integers(0, 99))
    return Case(
        lambda x: rrelu(x, 0.1, 0.5, training, generator=mt.Generator(seed)),
        [draw(tensors(away_from=[0.0]))],
        None if training else lambda torch, x: torch.nn.functional.rrelu(x, 0.1, 0.5),
    )


@st.composite
def passed(draw):
    """The gradient of a ReLU with or without an upper limit, from its result y."""
    high = draw(st.sampled_from([float("nan"), 1.0]))
    g = draw(tensors())
    y = mt.Tensor(np.clip(draw(tensors(st.just(g.shape))).numpy(), 0.0, None if math.isnan(high) else high))
    return Case(
        lambda g: activations._passed(g, y.to(g.dtype).to(g.device), low=0.0, high=high),
        [g],
        lambda torch, g: g * torch.tensor((y.numpy() != 0) & (y.numpy() != high)),
    )


CASES = {
    "_passed": passed(),
    "relu": activation("relu", away_from=[0.0]),
    "hardtanh": activation("hardtanh", away_from=[-1.0, 1.0]) | activation("hardtanh", -0.5, 1.5, away_from=[-0.5, 1.5]),
    "sigmoid": activation("sigmoid", low=-4.0, high=4.0),
    "logsigmoid": activation("logsigmoid", low=-4.0, high=4.0),
    "softplus": st.one_of(
        activation("softplus", low=-4.0, high=4.0),
        activation("softplus", 2.0, low=-4.0, high=4.0),
        activation("softplus", 1.0, 1.5, away_from=[1.5]),
    ),
    "softsign": activation("softsign", away_from=[0.0]),
    "_not_above_0": unary(smooth_activations._not_above_0, lambda torch, x: x.clamp(max=0), away_from=[0.0]),
    "_gelu": activation("gelu", low=-4.0, high=4.0),
}

COMPOSED = {
    "relu6": activation("relu6", low=-2.0, high=8.0, away_from=[0.0, 6.0]),
    "leaky_relu": activation("leaky_relu", away_from=[0.0]) | activation("leaky_relu", -0.2, away_from=[0.0]),
    "prelu": learned_slope(),
    # PyTorch 2.13's own gradients of hardsigmoid take 1/6 in float32
    "hardsigmoid": unary(
        mt.hardsigmoid, lambda torch, x: torch.nn.functional.relu6(x + 3) / 6, low=-5.0, high=5.0, away_from=[-3.0, 3.0]
    ),
    "hardswish": activation("hardswish", low=-5.0, high=5.0, away_from=[-3.0, 3.0]),
    "elu": activation("elu", away_from=[0.0]) | activation("elu", 0.3, away_from=[0.0]),
    "celu": activation("celu", away_from=[0.0]) | activation("celu", 0.5, away_from=[0.0]),
    "selu": activation("selu", away_from=[0.0]),
    "gelu": unary(
        lambda x: mt.gelu(x, "tanh"),
        lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
        low=-4.0,
        high=4.0,
    ),
    "silu": activation("silu", low=-4.0, high=4.0),
    "mish": activation("mish", low=-4.0, high=4.0),
    "threshold": activation("threshold", 0.3, -7.0, away_from=[0.3]),
    "hardshrink": activation("hardshrink", away_from=[-0.5, 0.5]) | activation("hardshrink", 1.0, away_from=[-1.0, 1.0]),
    "softshrink": activation("softshrink", away_from=[-0.5, 0.5]) | activation("softshrink", 1.0, away_from=[-1.0, 1.0]),
    "tanhshrink": activation("tanhshrink"),
    "glu": halves(),
    "softmin": along_an_axis("softmin"),
    "rrelu": random_slope(),
}
