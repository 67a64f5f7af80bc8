"""What happens to the score when parts of the image are hidden: no gradient, so any model at all may be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random
from ..autograd.arguments import is_number
from ..nn.layers.resize import interpolate
from ..ops.elementwise import where
from ..runtime.integers import as_integer, as_integers
from ..tensor import Tensor
from .attribution import filled
from .explainer import Explainer, Target


def occlusion(
    model: Callable[[Tensor], Tensor],
    x: Any,
    target: Target = None,
    window: int | tuple[int, int] = 8,
    stride: int | tuple[int, int] | None = None,
    baseline: Any = 0.0,
    batch_size: int = 32,
) -> Tensor:
    """By how much the score falls when a window of the image is covered, for every place of the window.

    Zeiler and Fergus 2013, section 4.2, arxiv.org/abs/1311.2901. The windows begin at 0, stride, 2 · stride, … until one
    reaches the border, beyond which it is cut off; a pixel gets the mean over the windows that cover it.

    Args:
        model, x, target: as in `gradient`; gradients are not needed, and there is no warning of a softmax.
        window: its height and width in pixels, or one number for both.
        stride: from window to window, in pixels; None: half the window. At most the window, or pixels would never be covered.
        baseline: what covers: a number for all pixels, or a Tensor or array that broadcasts to x.
        batch_size: as in `smooth_grad`.

    Returns:
        (N, H, W), for one image (H, W), signed: positive where covering lowers the score. In units of score.

    Raises:
        TypeError, ValueError: as `gradient`; also where window, stride or baseline do not fit.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[[1.0, 2.0, 3.0]]])
    >>> occlusion(lambda x: x.sum(dim=(2, 3)), x, window=(1, 2), stride=1)
    Tensor([[3., 4., 5.]])
    """
    explainer = Explainer("occlusion", model, x, target, batch_size, warns=False)
    images = explainer.images
    height, width = images.shape[2:]
    sizes = _two("window", window)
    strides = tuple(max(1, size // 2) for size in sizes) if stride is None else _two("stride", stride)
    if sizes[0] > height or sizes[1] > width:
        raise ValueError(f"saliency.occlusion: the window {sizes} is larger than the image ({height}, {width})")
    if strides[0] > sizes[0] or strides[1] > sizes[1]:
        raise ValueError(f"saliency.occlusion: stride {strides} must be at most the window {sizes}: else pixels are left out")
    cover = filled("occlusion", baseline, explainer)
    bands = [_covered(n, size, step, images) for n, size, step in zip((height, width), sizes, strides)]
    rows, columns = bands  # bools (places, H), (places, W)
    places = len(rows) * len(columns)

    def varied(start: int, stop: int) -> Tensor:
        masks = Tensor(_masks(rows, columns, start, stop).reshape(stop - start, 1, 1, height, width))
        return where(masks, cover, images)

    with explainer:
        before = explainer.score(explainer.settle())
        falls = before - explainer.over(places, varied)  # (places, N)
    # A place's windows are bands of rows and of columns: their sums are two products of matrices.
    by_place = falls.T.reshape(len(images), len(rows), len(columns))
    down, across = Tensor(rows.astype(images.dtype)), Tensor(columns.astype(images.dtype))
    total = down.T @ by_place @ across
    times = down.sum(dim=0).unsqueeze(1) * across.sum(dim=0)
    return explainer.answer(total / times)


def _two(what: str, value: Any) -> tuple[int, int]:
    numbers = as_integers("saliency.occlusion", what, value, least=1)
    if len(numbers) not in (1, 2):
        raise ValueError(f"saliency.occlusion: {what} must be one number, or height and width, got {value!r}")
    return numbers[0], numbers[-1]


def _covered(length: int, size: int, step: int, images: Tensor) -> Any:
    """Along one axis: whether the window at each place covers each pixel, bools (places, length)."""
    xp = images.xp
    first = xp.arange(-(-(length - size) // step) + 1)[:, None] * step
    pixels = xp.arange(length)
    return (pixels >= first) & (pixels < first + size)


def _masks(rows: Any, columns: Any, start: int, stop: int) -> Any:
    """The windows `start` to `stop`, counted row by row: bools (stop − start, H, W)."""
    across = len(columns)
    places = range(start, stop)
    i, j = [place // across for place in places], [place % across for place in places]
    xp = Tensor(rows).xp
    return rows[xp.asarray(np.array(i))][:, :, None] & columns[xp.asarray(np.array(j))][:, None, :]


def rise(
    model: Callable[[Tensor], Tensor],
    x: Any,
    target: Target = None,
    samples: int = 4000,
    grid: int = 7,
    p: float = 0.5,
    baseline: Any = 0.0,
    generator: random.Generator | None = None,
    batch_size: int = 32,
) -> Tensor:
    """The mean of random smooth masks, each weighed by the probability that the class keeps when only what it shows is seen.

    Petsiuk, Das and Saenko 2018, "RISE", section 3, equation 6, arxiv.org/abs/1806.07421. A mask is a grid of cells, on with
    probability p, enlarged bilinearly to a little more than the image and cut out at a random place.

    Args:
        model, x, target: as in `gradient`; gradients are not needed, and there is no warning of a softmax. Of a class the
            probability counts: of logits the softmax is taken, of a single one the sigmoid. What a function gives counts as
            it is.
        samples: how many masks. All images get the same ones.
        grid: cells along the height and along the width.
        p: the probability that a cell is on.
        baseline: what is seen where a mask is 0: a number for all pixels, or a Tensor or array that broadcasts to x.
        generator: where the masks come from; None: the default generator. The same state gives the same map, whatever
            `batch_size` is, up to rounding.
        batch_size: as in `smooth_grad`.

    Returns:
        (N, H, W), for one image (H, W): about the mean probability where the pixel is seen.

    Raises:
        TypeError, ValueError: as `gradient`; also where `samples` or `grid` is no integer from 1, or p not in (0, 1].

    >>> import microtensor as mt
    >>> def model(x):  # is the right half bright?
    ...     bright = 4 * x[:, 0, :, 2:].mean(dim=(1, 2)) - 2
    ...     return mt.stack([bright, -bright], dim=1)
    >>> map = rise(model, mt.ones(1, 4, 4), target=0, samples=500, grid=2)
    >>> bool(map[:, 0].max() < map[:, 3].min())
    True
    """
    count = as_integer("saliency.rise", "samples", samples, least=1)
    cells = as_integer("saliency.rise", "grid", grid, least=1)
    if not is_number(p) or not 0 < p <= 1:
        raise ValueError(f"saliency.rise: p must be a number above 0 and up to 1, got {p!r}")
    explainer = Explainer("rise", model, x, target, batch_size, warns=False)
    images, generator = explainer.images, random.default if generator is None else generator
    height, width = images.shape[2:]
    cell = -(-height // cells), -(-width // cells)
    on = generator.bernoulli(float(p), (count, 1, cells, cells)).astype(images.dtype)
    shifts = np.stack([generator.integers(0, length, (count,)) for length in cell])
    empty = filled("rise", baseline, explainer)
    way = images - empty
    total: Any = 0

    def masks(start: int, stop: int) -> Tensor:
        size = ((cells + 1) * cell[0], (cells + 1) * cell[1])
        large = interpolate(Tensor(on[start:stop], device=images.device), size=size, mode="bilinear").array[:, 0]
        xp = images.xp
        first, down, right = (xp.asarray(a)[:, None] for a in (np.arange(stop - start), *shifts[:, start:stop]))
        rows, columns = down + xp.arange(height), right + xp.arange(width)
        return Tensor(large[first[:, :, None], rows[:, :, None], columns[:, None, :]])

    with explainer:
        explainer.settle(probability=True)
        for start, stop in explainer.chunks(count):
            shown = masks(start, stop)  # (k, H, W)
            seen = empty + way * shown.reshape(stop - start, 1, 1, height, width)
            found = explainer.values(seen.reshape(-1, *images.shape[1:]), probability=True).reshape(stop - start, -1)
            total = total + found.T @ shown.flatten(1)  # (N, H·W)
    return explainer.answer((total / (count * float(p))).reshape(-1, height, width))
