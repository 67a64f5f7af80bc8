"""Output size: the number of windows that fit.

A kernel of k pixels is applied to an image of n pixels with p pixels of padding on each side, and moves by s pixels, the
stride. A window that would extend beyond the padding is left out. So the number of windows, which is the size of the output, is

    ⌊(n + 2p − k) / s⌋ + 1        the floor: rounded down

With dilation d the kernel has gaps, and covers d · (k − 1) + 1 pixels. Height and width are computed separately.
The slide rounds up (a ceiling). Its own example, 5 → 3 → 2 on page 05, does not show the error: there the division is exact.
"""

import math
from itertools import product

from page import Page

import microtensor as mt
from microtensor import nn
from microtensor.plot.style import BLUE, FAINT, VERMILION, new_figure

page = Page(__doc__)


def size(n: int, k: int, p: int = 0, s: int = 1, d: int = 1) -> int:
    """The output size of the library's convolution, from the shape of its result."""
    return nn.Conv1d(1, 1, k, stride=s, padding=p, dilation=d)(mt.zeros(1, 1, n)).shape[2]


# 6 pixels, kernel 3, padding 1, stride 2: (6 + 2 − 3) / 2 + 1 = 3.5.
page.check("6 pixels, kernel 3, padding 1, stride 2", size(6, 3, p=1, s=2), 3)
page.check("    the slide's ceiling, which is wrong", math.ceil((6 + 2 * 1 - 3) / 2) + 1, 4)

# The formula for many combinations, not only for one example.
for n, k, p, s, d in product(range(1, 10), (1, 2, 3), (0, 1), (1, 2, 3), (1, 2)):
    room = n + 2 * p - (d * (k - 1) + 1)
    if room >= 0 and size(n, k, p, s, d) != math.floor(room / s) + 1:
        raise AssertionError(f"the floor is wrong for {n} pixels, kernel {k}, padding {p}, stride {s}, dilation {d}")

# One exception: pooling with `ceil_mode=True`, as in GoogLeNet. There the last window may extend beyond the border, and takes
# the maximum of the pixels inside.
page.check("maximum of 3, stride 2, of 112 pixels", nn.MaxPool1d(3, 2)(mt.zeros(1, 1, 112)).shape[2], 55)
page.check("    with ceil_mode", nn.MaxPool1d(3, 2, ceil_mode=True)(mt.zeros(1, 1, 112)).shape[2], 56)

# The windows of the first example. The fourth would need a pixel beyond the padding.
figure = new_figure(height=3.3)
axes = figure.subplots()
for i in range(-1, 7):
    inside = 0 <= i < 6
    axes.barh(0.4, 1, 0.8, left=i, color="#f0f0f0" if inside else "white", edgecolor=FAINT)
    axes.text(i + 0.5, 0.4, str(i) if inside else "pad", ha="center", va="center", fontsize=11)
for window in range(4):
    left, below, fits = 2 * window - 1, -0.49 - 0.6 * window, window < size(6, 3, p=1, s=2)
    look = {"edgecolor": BLUE if fits else VERMILION, "linestyle": "-" if fits else "--"}
    axes.barh(below, 3, 0.42, left=left, fill=False, linewidth=2.2, **look)
    text = f"window {window}" if fits else "does not fit: left out"
    axes.text(left + 1.5, below, text, ha="center", va="center", fontsize=11)
axes.set(xlim=(-1.2, 8.4), ylim=(-2.8, 1.0), yticks=[])
axes.set_title("6 pixels, kernel 3, padding 1, stride 2: three windows", fontsize=12)
axes.set_xlabel("position (pixels)", fontsize=11)
axes.spines[["top", "right", "left"]].set_visible(False)
page.save(figure, "output_size.png")
