"""Images of another size, and pixels that become channels."""

import numpy as np
from hypothesis import strategies as st

from cases.common import Case
from microtensor.nn.layers import resampling, resize, shuffle
from microtensor.testing import tensors

MODES = {1: ["nearest", "nearest-exact", "linear", "area"], 2: ["nearest", "nearest-exact", "bilinear", "bicubic", "area"]}


@st.composite
def interpolated(draw, axes):
    size = tuple(draw(st.integers(1, 5)) for _ in range(axes))
    settings = {"mode": draw(st.sampled_from(MODES[axes]))}
    if settings["mode"] in ("linear", "bilinear", "bicubic"):
        settings["align_corners"] = draw(st.sampled_from([None, False, True]))
    if settings["mode"] in ("bilinear", "bicubic"):
        settings["antialias"] = draw(st.booleans())
    # PyTorch 2.13 errs where antialias makes a width of 1, and where a factor other than 1 leaves a length as it was
    least = 2 if settings.get("antialias") else 1
    if draw(st.booleans()):
        settings["size"] = tuple(draw(st.integers(least, 8)) for _ in range(axes))
    else:
        enough = [[f for f in (0.4, 0.5, 1, 1.5, 2, 2.6) if f == 1 or least <= int(n * f) != n] for n in size]
        settings["scale_factor"] = tuple(float(draw(st.sampled_from(factors))) for factors in enough)
        settings["recompute_scale_factor"] = draw(st.sampled_from([None, False, True]))
        if settings.get("antialias"):
            size = tuple(max(n, 2) for n in size)
    x = draw(tensors((2, draw(st.integers(1, 2)), *size)))
    return Case(
        lambda x: resize.interpolate(x, **settings), [x], lambda torch, x: torch.nn.functional.interpolate(x, **settings)
    )


@st.composite
def resampled(draw):
    """Taps of any kind: places that take nothing, and numbers that are taken twice."""
    shape = tuple(draw(st.integers(1, 3)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    taps = []
    for before in shape[2:]:
        after, count = draw(st.integers(1, 4)), draw(st.integers(1, 6))
        weight = rng.standard_normal(count) if draw(st.booleans()) else None
        taps.append(resampling.Taps(before, after, rng.integers(0, after, count), rng.integers(0, before, count), weight))
    down, across = (draw(st.sampled_from([t, t, None])) for t in taps)
    return Case(lambda x: resampling._resample(x, down=down, across=across), [draw(tensors(shape))])


@st.composite
def shuffled(draw, name):
    r = draw(st.integers(1, 3))
    channels, height, width = (draw(st.integers(1, 2)) for _ in range(3))
    factors = {"pixel_shuffle": (r * r, 1), "pixel_unshuffle": (1, r), "channel_shuffle": (r, 1)}[name]
    batch = (2,) if name == "channel_shuffle" else draw(st.sampled_from([(), (2,), (2, 1)]))
    x = draw(tensors((*batch, channels * factors[0], height * factors[1], width * factors[1])))
    return Case(lambda x: getattr(shuffle, name)(x, r), [x], lambda torch, x: getattr(torch.nn.functional, name)(x, r))


CASES = {
    "_resample": resampled(),
}

COMPOSED = {
    "interpolate, sequences": interpolated(1),
    "interpolate, images": interpolated(2),
    "pixel_shuffle": shuffled("pixel_shuffle"),
    "pixel_unshuffle": shuffled("pixel_unshuffle"),
    "channel_shuffle": shuffled("channel_shuffle"),
}
