"""Operations that run along an axis."""

import microtensor as mt
from cases.reduce import apart, over_dim, with_zeros

CASES = {
    "cumsum": over_dim(mt.cumsum, lambda torch, x, dim: torch.cumsum(x, dim)),
}

COMPOSED = {
    "cumprod": with_zeros(over_dim(mt.cumprod, lambda torch, x, dim: torch.cumprod(x, dim))),
    "cummax": over_dim(lambda x, dim: mt.cummax(x, dim).values, lambda torch, x, dim: torch.cummax(x, dim).values, **apart),
    "cummin": over_dim(lambda x, dim: mt.cummin(x, dim).values, lambda torch, x, dim: torch.cummin(x, dim).values, **apart),
}

NOT_DIFFERENTIABLE = {"_index_so_far"}
