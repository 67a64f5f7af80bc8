"""Dilation: a kernel with gaps has a larger receptive field, with the same number of weights.

With dilation d the elements of a kernel are d pixels apart: k of them cover d · (k − 1) + 1 pixels. No weight is added, and no
resolution is lost, as it would be with a stride. If the dilation doubles from layer to layer, 1, 2, 4, 8, the field doubles
too, instead of growing by two pixels per layer.

But other layers must fill the gaps. If all dilations share a factor, whole rows and columns of pixels inside the field have no
influence: "gridding" (Yu, Koltun & Funkhouser 2017, arXiv 1705.09914).
"""

from page import Page, parameters

from microtensor import nn, plot

page = Page(__doc__)


def line(*dilations: int) -> nn.Sequential:
    """Layers with kernel 3 on a sequence."""
    return nn.Sequential(*[nn.Conv1d(1, 1, 3, dilation=d) for d in dilations])


def fields(network: nn.Module, length: int) -> list[float]:
    """The receptive field of each layer, in units of the sequence."""
    return [row.size[0] for row in nn.receptive_field(network, (1, length)) if row.depth]


page.check("dilation 1, 1, 1, 1: fields", fields(line(1, 1, 1, 1), 31), [3, 5, 7, 9])
page.check("dilation 1, 2, 4, 8: fields", fields(line(1, 2, 4, 8), 31), [3, 7, 15, 31])
page.check("parameters of the first", parameters(line(1, 1, 1, 1)), 4 * (3 + 1))
page.check("parameters of the second", parameters(line(1, 2, 4, 8)), 4 * (3 + 1))

# The receptive field of one unit on top: 9 inputs of 31, or all of them.
page.save(plot.receptive_field_triangles(line(1, 1, 1, 1), (1, 31)), "dilation_1_1_1_1.png")
page.save(plot.receptive_field_triangles(line(1, 2, 4, 8), (1, 31)), "dilation_1_2_4_8.png")


def layers(*dilations: int) -> nn.Sequential:
    """3×3 layers on an image, which keep its size."""
    return nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=d, dilation=d) for d in dilations])


# Two networks with fields of 13×13 and 15×15. The first uses only every second row and column.
even, doubling = layers(2, 2, 2), layers(1, 2, 4)
page.check("dilation 2, 2, 2: pixels used of 13×13", int((nn.seen_pixels(even, (1, 17, 17)) > 0).sum().item()), 7 * 7)
page.check("dilation 1, 2, 4: pixels used of 15×15", int((nn.seen_pixels(doubling, (1, 17, 17)) > 0).sum().item()), 15 * 15)
page.save(plot.gridding({"dilation 2, 2, 2": even, "dilation 1, 2, 4": doubling}, (1, 17, 17)), "gridding.png")
