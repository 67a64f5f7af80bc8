"""Depthwise separable convolutions: filtering and combining channels in two cheaper steps.

A convolution does two things at once: it filters each channel with a k×k kernel, and it combines the channels, separately for
each output channel. A separable convolution first filters each channel once (depthwise), then combines the channels by 1×1
kernels (pointwise). For each pixel of the result, from C channels to C', this takes

    standard     k² · C · C'           multiply-adds
    separable    k² · C + C · C'       multiply-adds, a fraction 1/C' + 1/k²

(Howard et al. 2017, "MobileNets", section 3.1, arXiv 1704.04861).
"""

from page import Page

from microtensor import nn
from microtensor.plot.style import BLUE, VERMILION, new_figure

page = Page(__doc__)


def separable(k: int, channels: int, out: int, padding: int = 0) -> nn.Sequential:
    """Depthwise (`groups=channels`), then 1×1."""
    return nn.Sequential(nn.Conv2d(channels, channels, k, padding=padding, groups=channels), nn.Conv2d(channels, out, 1))


# The slide's example: 12×12 pixels of 3 channels → 8×8 of 256, with kernels of 5×5.
standard = nn.summary(nn.Conv2d(3, 256, 5), (3, 12, 12))
page.check("output shape", standard.rows[0].output_shape, (256, 8, 8))
page.check("standard: multiply-adds", standard.multiply_adds, 1_228_800)  # 5·5·3·256 for each of 8·8 pixels
page.check("standard: parameters", standard.total_parameters, 19_456)

cheap = nn.summary(separable(5, 3, 256), (3, 12, 12))
page.check("separable: output shape", cheap.rows[0].output_shape, (256, 8, 8))
page.check("separable: multiply-adds", cheap.multiply_adds, 53_952)  # 5·5·3 and 3·256, for each of 8·8 pixels
page.check("separable: parameters", cheap.total_parameters, 1_102)
page.check("1/C' + 1/k²", round(1 / 256 + 1 / 25, 4), round(cheap.multiply_adds / standard.multiply_adds, 4))

# The slide has 2.8 million and 60 thousand multiply-adds: it counted 5×5 kernels at all 12·12 positions of the image.
# Without padding they fit at 8·8 positions only. With padding 2 they fit at all, but then the result is 12×12, not 8×8.
wide = nn.summary(nn.Conv2d(3, 256, 5, padding=2), (3, 12, 12))
page.check("the slide's 2.8 million, which are for a 12×12 result", wide.multiply_adds, 2_764_800)
depthwise = nn.summary(separable(5, 3, 256, padding=2), (3, 12, 12)).rows[1]
pointwise = cheap.rows[2]
slide = depthwise.multiply_adds + pointwise.multiply_adds
page.check("the slide's 60 thousand: 12×12 depthwise, 8×8 pointwise", slide, 59_952)

# The saving depends on the kernel: with many channels, it approaches a factor of k².
figure = new_figure(height=3.6)
axes = figure.subplots()
outputs = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
for k, color, marker in ((5, VERMILION, "s"), (3, BLUE, "o")):
    pairs = [(nn.Conv2d(16, out, k, padding=k // 2), separable(k, 16, out, padding=k // 2)) for out in outputs]
    ratios = [nn.summary(a, (16, 8, 8)).multiply_adds / nn.summary(b, (16, 8, 8)).multiply_adds for a, b in pairs]
    axes.plot(outputs, ratios, marker + "-", color=color, label=f"{k}×{k} kernels, at most {k * k} times")
axes.axhline(1, color="#767676", linewidth=1)
axes.set_xscale("log", base=2)
axes.set_xticks(outputs, [str(out) for out in outputs])
axes.set_xlabel("output channels, C'", fontsize=11)
axes.set_ylabel("multiply-adds, standard\nover separable (times)", fontsize=11)
axes.legend(fontsize=11, frameon=False)
axes.spines[["top", "right"]].set_visible(False)
page.save(figure, "separable.png")
