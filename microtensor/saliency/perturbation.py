"""Perturbation methods: how the score changes when parts of the image are masked. They need no gradient."""

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
from .attribution import baseline_images
from .explainer import Explainer, Model, Target


def occlusion(
    model: Model,
    x: Any,
    target: Target = None,
    window: int | tuple[int, int] = 8,
    stride: int | tuple[int, int] | None = None,
    baseline: Any = 0.0,
    batch_size: int = 32,
) -> Tensor:
    """By how much the score falls when a window of the image is occluded, at every position of the window.

    Zeiler and Fergus 2013, section 4.2, arxiv.org/abs/1311.2901. Windows start at 0, stride, 2 · stride, … until one reaches
    the border, where it is cut off; the value of a pixel is the mean over the windows that cover it.

    Args:
        model, x, target: as in `gradient`; gradients are not needed, and there is no warning about softmax.
        window: height and width of the window in pixels, or one number for both.
        stride: pixels from one window to the next; None: half the window. At most the window, or some pixels are never covered.
        baseline: the value of occluded pixels: one for all pixels, or a Tensor or array that broadcasts to x.
        batch_size: as in `smooth_grad`.

    Returns:
        (N, H, W), for a single image (H, W), signed: positive where occlusion lowers the score. In units of score.

    Raises:
        TypeError, ValueError: as `gradient`; also if window, stride or baseline do not fit.

    >>> import microtensor as mt
    >>> x = mt.Tensor([[[1.0, 2.0, 3.0]]])
    >>> occlusion(lambda x: x.sum(dim=(2, 3)), x, window=(1, 2), stride=1)
    Tensor([[3., 4., 5.]])
    """
    explainer = Explainer("occlusion", model, x, target, batch_size, warns=False)
    images = explainer.images
    height, width = images.shape[2:]
    sizes = _pair("window", window)
    strides = tuple(max(1, size // 2) for size in sizes) if stride is None else _pair("stride", stride)
    if sizes[0] > height or sizes[1] > width:
        raise ValueError(f"saliency.occlusion: the window {sizes} is larger than the image ({height}, {width})")
    if strides[0] > sizes[0] or strides[1] > sizes[1]:
        raise ValueError(
            f"saliency.occlusion: stride {strides} must be at most the window {sizes}: otherwise pixels are left out"
        )
    cover = baseline_images("occlusion", baseline, explainer)
    rows = _windows_along(height, sizes[0], strides[0], images)  # bools (row positions, H)
    columns = _windows_along(width, sizes[1], strides[1], images)  # bools (column positions, W)

    def occluded(start: int, stop: int) -> Tensor:
        masks = Tensor(_masks(rows, columns, start, stop).reshape(stop - start, 1, 1, height, width))
        return where(masks, cover, images)

    with explainer:
        before = explainer.score(explainer.prepare())
        falls = before - explainer.values_of_variants(len(rows) * len(columns), occluded)  # (positions, N)
    # Each window is a range of rows times a range of columns, so the sum over all windows is two matrix products.
    falls = falls.T.reshape(len(images), len(rows), len(columns))
    down, across = Tensor(rows.astype(images.dtype)), Tensor(columns.astype(images.dtype))
    total = down.T @ falls @ across
    covering = down.sum(dim=0).unsqueeze(1) * across.sum(dim=0)  # windows that cover each pixel
    return explainer.like_x(total / covering)


def _pair(what: str, value: Any) -> tuple[int, int]:
    """Height and width, from one number for both or two."""
    given = as_integers("saliency.occlusion", what, value, least=1)
    if len(given) not in (1, 2):
        raise ValueError(f"saliency.occlusion: {what} must be one number, or height and width, got {value!r}")
    return given[0], given[-1]


def _windows_along(length: int, size: int, stride: int, images: Tensor) -> Any:
    """Along one axis, whether the window at each position covers each pixel: bools (positions, length)."""
    xp = images.xp
    first = xp.arange(-(-(length - size) // stride) + 1)[:, None] * stride
    pixels = xp.arange(length)
    return (pixels >= first) & (pixels < first + size)


def _masks(rows: Any, columns: Any, start: int, stop: int) -> Any:
    """The windows `start` to `stop`, counted row by row: bools (stop − start, H, W)."""
    i, j = np.divmod(np.arange(start, stop), len(columns))
    xp = Tensor(rows).xp
    return rows[xp.asarray(i)][:, :, None] & columns[xp.asarray(j)][:, None, :]


def rise(
    model: Model,
    x: Any,
    target: Target = None,
    samples: int = 4000,
    grid: int = 7,
    p: float = 0.5,
    baseline: Any = 0.0,
    generator: random.Generator | None = None,
    batch_size: int = 32,
) -> Tensor:
    """The mean of random smooth masks, each weighted by the probability of the class when the image is multiplied by it.

    Petsiuk, Das and Saenko 2018, "RISE", section 3, equation 6, arxiv.org/abs/1806.07421. A mask is a grid of cells, each on
    with probability p, enlarged bilinearly to slightly more than the image and cropped at a random position.

    Args:
        model, x, target: as in `gradient`; gradients are not needed, and there is no warning about softmax. Logits go through
            softmax, a single logit through sigmoid. The result of a score function is used unchanged.
        samples: the number of masks; all images get the same masks.
        grid: cells along the height and along the width.
        p: the probability that a cell is on.
        baseline: the image where the mask is 0: one value for all pixels, or a Tensor or array that broadcasts to x.
        generator: source of the masks; None: the default generator. The same state gives the same map for any `batch_size`,
            up to rounding.
        batch_size: as in `smooth_grad`.

    Returns:
        (N, H, W), for a single image (H, W): about the mean probability while the pixel is visible.

    Raises:
        TypeError, ValueError: as `gradient`; also if `samples` or `grid` is not an integer of at least 1, or p not in (0, 1].

    >>> import microtensor as mt
    >>> def model(x):  # class 0: the right half is bright
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
    masks = _random_masks(explainer, count, cells, float(p), generator)
    empty = baseline_images("rise", baseline, explainer)
    difference, (height, width) = images - empty, images.shape[2:]
    total: Any = 0
    with explainer:
        explainer.prepare(probability=True)
        for start, stop in explainer.batches(count):
            mask = masks(start, stop)  # (stop − start, H, W)
            masked = empty + difference * mask.reshape(stop - start, 1, 1, height, width)
            values = explainer.values(masked.reshape(-1, *images.shape[1:]), probability=True)
            total = total + values.reshape(stop - start, -1).T @ mask.flatten(1)  # (N, H·W)
    return explainer.like_x((total / (count * float(p))).reshape(-1, height, width))


def _random_masks(
    explainer: Explainer, count: int, cells: int, p: float, generator: random.Generator
) -> Callable[[int, int], Tensor]:
    """RISE's masks: a function that makes the masks `start` to `stop`, from 0 to 1: (stop − start, H, W)."""
    images, (height, width) = explainer.images, explainer.images.shape[2:]
    cell = -(-height // cells), -(-width // cells)  # pixels
    on = generator.bernoulli(p, (count, 1, cells, cells)).astype(images.dtype)
    shifts = np.stack([generator.integers(0, length, (count,)) for length in cell])
    size = ((cells + 1) * cell[0], (cells + 1) * cell[1])

    def masks(start: int, stop: int) -> Tensor:
        large = interpolate(Tensor(on[start:stop], device=images.device), size=size, mode="bilinear").array[:, 0]
        xp = images.xp
        index, down, right = (xp.asarray(a)[:, None] for a in (np.arange(stop - start), *shifts[:, start:stop]))
        rows, columns = down + xp.arange(height), right + xp.arange(width)
        return Tensor(large[index[:, :, None], rows[:, :, None], columns[:, None, :]])

    return masks
