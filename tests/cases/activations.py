"""Activation functions."""

from hypothesis import strategies as st

import microtensor as mt
from cases.common import Case, unary
from microtensor.testing import tensors


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


CASES = {
    "relu": activation("relu", away_from=[0.0]),
    "hardtanh": activation("hardtanh", away_from=[-1.0, 1.0]) | activation("hardtanh", -0.5, 1.5, away_from=[-0.5, 1.5]),
    "sigmoid": activation("sigmoid", low=-4.0, high=4.0),
    "logsigmoid": activation("logsigmoid", low=-4.0, high=4.0),
    "softplus": st.one_of(
        activation("softplus", low=-4.0, high=4.0),
        activation("softplus", 2.0, low=-4.0, high=4.0),
        activation("softplus", 1.0, 1.5, away_from=[1.5]),
    ),
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
    "softsign": activation("softsign", away_from=[0.0]),
    "elu": activation("elu", away_from=[0.0]) | activation("elu", 0.3, away_from=[0.0]),
    "celu": activation("celu", away_from=[0.0]) | activation("celu", 0.5, away_from=[0.0]),
    "selu": activation("selu", away_from=[0.0]),
    "gelu": st.one_of(
        activation("gelu", low=-4.0, high=4.0),
        unary(
            lambda x: mt.gelu(x, "tanh"),
            lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
            low=-4.0,
            high=4.0,
        ),
    ),
    "silu": activation("silu", low=-4.0, high=4.0),
    "mish": activation("mish", low=-4.0, high=4.0),
}
