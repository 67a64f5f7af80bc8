"""Object localisation: a bounding box around the most salient region of a map."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.arguments import is_number
from ..autograd.graph import Node
from ..runtime.arrays import is_array, to_numpy
from ..tensor import Tensor
from .curves import gaussian_blur


def object_box(map: Any, quantile: float = 0.95, smooth: float = 0.02) -> np.ndarray[Any, Any]:
    """The bounding box of the largest connected region above a quantile of the saliency map.

    Simonyan, Vedaldi and Zisserman 2013, section 3.2, arxiv.org/abs/1312.6034, take pixels above the 95 % quantile of the map
    as foreground, those below the 30 % quantile as background, and segment the rest by colour with GraphCut. Here, instead of
    GraphCut, the map is blurred before the threshold: this connects regions but ignores colour, so a box tends to be smaller
    than the object. A smaller quantile makes it larger.

    Args:
        map: (N, H, W), or for a single image (H, W); larger values are more important.
        quantile: the fraction of pixels that are background.
        smooth: the standard deviation of the Gaussian blur, as a fraction of the longer side, up to 1; 0 for none.

    Returns:
        Integers (N, 4), for a single image (4,): x0, y0, x1, y1 in pixels, x1 and y1 exclusive: `image[y0:y1, x0:x1]`. The
        whole image if the map is constant.

    Raises:
        TypeError: the map does not hold numbers.
        ValueError: it is not (N, H, W) or (H, W), has no pixels or holds infinity or nan; `quantile` or `smooth` is not between
            0 and 1.

    >>> map = np.zeros((6, 8))
    >>> map[2:4, 3:7] = 1
    >>> object_box(map, quantile=0.8, smooth=0)
    array([3, 2, 7, 4])
    """
    if not isinstance(map, Node) and not is_array(map):
        raise TypeError(f"saliency.object_box: the map must be a Tensor or an array, got {type(map).__name__}")
    values = to_numpy(map.array if isinstance(map, Node) else map)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"saliency.object_box: the map must hold numbers, got {values.dtype}")
    if values.ndim not in (2, 3) or 0 in values.shape[-2:]:
        raise ValueError(f"saliency.object_box: the map must be (N, H, W) or (H, W), with pixels, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("saliency.object_box: the map holds infinity or nan")
    if not is_number(quantile) or not 0 <= quantile < 1:
        raise ValueError(f"saliency.object_box: quantile must be a number from 0 up to, not including, 1, got {quantile!r}")
    if not is_number(smooth) or not 0 <= smooth <= 1:
        raise ValueError(
            f"saliency.object_box: smooth must be a number from 0 to 1, a fraction of the longer side, got {smooth!r}"
        )
    maps = values.astype(np.float64).reshape(-1, 1, *values.shape[-2:])
    sigma = float(smooth) * max(values.shape[-2:])
    if sigma and len(maps):
        maps = to_numpy(gaussian_blur(Tensor(maps, device="cpu"), sigma).array)
    boxes = np.array([_box(one, float(quantile)) for one in maps[:, 0]], np.int64).reshape(-1, 4)
    return boxes[0] if values.ndim == 2 else boxes


def _box(map: np.ndarray[Any, Any], quantile: float) -> tuple[int, int, int, int]:
    """The box of the largest region of one map (H, W)."""
    width = map.shape[1]
    foreground = map > np.quantile(map, quantile)
    if not foreground.any():  # the quantile is the maximum, shared by many pixels
        foreground = map == map.max()
    region = _largest_region(foreground)
    rows, columns = np.divmod(region, width)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _largest_region(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The flat indices of the largest region, connected by eight neighbours; in a tie the first such region."""
    width = mask.shape[1] + 2  # with a border, so that index + 1 never wraps to the next row
    unvisited = set(np.flatnonzero(np.pad(mask, 1)).tolist())
    neighbours = [dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    largest: list[int] = []
    for start in sorted(unvisited):
        if start not in unvisited:
            continue
        unvisited.discard(start)
        region = [start]
        for pixel in region:  # the list grows in the loop
            for step in neighbours:
                if pixel + step in unvisited:
                    unvisited.discard(pixel + step)
                    region.append(pixel + step)
        if len(region) > len(largest):
            largest = region
    rows, columns = np.divmod(np.array(largest), width)
    return (rows - 1) * (width - 2) + columns - 1
