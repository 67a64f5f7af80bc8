"""Functions of one variable, the error function, rounding."""

from hypothesis import strategies as st

import microtensor as mt
from cases.common import binary, unary

WHOLE = [-2.0, -1.0, 0.0, 1.0, 2.0]


def function(name, **settings):
    """The function of that name, here and in PyTorch."""
    return unary(getattr(mt, name), lambda torch, x: getattr(torch, name)(x), **settings)


CASES = {
    "square": function("square"),
    "sqrt": function("sqrt", low=0.5),
    "rsqrt": function("rsqrt", low=0.5),
    "reciprocal": function("reciprocal", away_from=[0.0], gap=0.5),
    "exp": function("exp"),
    "exp2": function("exp2"),
    "expm1": function("expm1"),
    "log": function("log", low=0.5),
    "log2": function("log2", low=0.5),
    "log10": function("log10", low=0.5),
    "log1p": function("log1p", low=-0.5),
    "sin": function("sin"),
    "cos": function("cos"),
    "tan": function("tan", low=-1.2, high=1.2),
    "asin": function("asin", low=-0.9, high=0.9),
    "acos": function("acos", low=-0.9, high=0.9),
    "atan": function("atan"),
    "atan2": st.one_of(
        binary(mt.atan2, lambda torch, y, x: torch.atan2(y, x), away_from=[0.0], gap=0.5),
        unary(lambda y: mt.atan2(y, -1.5), lambda torch, y: torch.atan2(y, torch.full_like(y, -1.5)), away_from=[0.0]),
        unary(lambda x: mt.atan2(0.5, x), lambda torch, x: torch.atan2(torch.full_like(x, 0.5), x)),
    ),
    "sinh": function("sinh"),
    "cosh": function("cosh"),
    "tanh": function("tanh"),
    "asinh": function("asinh"),
    "acosh": function("acosh", low=1.5),
    "atanh": function("atanh", low=-0.9, high=0.9),
    "erf": function("erf", low=-3.0, high=3.0),
    "erfc": function("erfc", low=-3.0, high=3.0),
    "floor": function("floor", away_from=WHOLE),
    "ceil": function("ceil", away_from=WHOLE),
    "trunc": function("trunc", away_from=WHOLE),
    "round": st.one_of(
        function("round", away_from=[-1.5, -0.5, 0.5, 1.5]),
        unary(lambda x: x.round(-1), lambda torch, x: torch.round(x, decimals=-1)),
    ),
}

COMPOSED = {
    "frac": function("frac", away_from=WHOLE),
}
