"""The receptive field: which pixels a unit sees.

A unit of the first layer sees as many pixels as its kernel has. One of the second sees what all the units under its kernel see
together, and so on: the field grows from layer to layer. Three numbers say all, and each layer changes them by one rule:

    jump     pixels from a unit's field to its neighbour's        jump · s                        begins with 1
    size     pixels of a field, per side                          size + (k − 1) · jump           begins with 1
    centre   the middle of the first unit's field                 centre + ((k − 1)/2 − p) · jump begins with 0.5

(the jump on the right is that before the layer). Pixel i lies between i and i + 1, so the first has its middle at 0.5.
"""

import numpy as np
from page import Page

from microtensor import nn, plot

page = Page(__doc__)

# The slide's example: 5×5 pixels, and twice kernel 3, stride 2, padding 1.
network = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 3, stride=2, padding=1))
first, second = fields = [row for row in nn.receptive_field(network, (1, 5, 5)) if row.depth == 1]
page.check("sizes", [5, *(row.output_shape[1] for row in fields)], [5, 3, 2])
page.check("fields", [row.size[0] for row in fields], [3, 7])
page.check("jumps", [row.jump[0] for row in fields], [2, 4])
page.check("first centres", [row.center[0] for row in fields], [0.5, 0.5])

# The rules above, applied by hand, say the same.
jump, size, center = 1, 1, 0.5
for row in fields:
    jump, size, center = jump * 2, size + (3 - 1) * jump, center + ((3 - 1) / 2 - 1) * jump
    page.check("    by the rules: jump, size, centre", (jump, size, center), (row.jump[0], row.size[0], row.center[0]))
page.save(plot.receptive_field_grids(network, (1, 5, 5)), "receptive_field_grids.png")

# Kernels of 3 with stride 1: each layer adds two pixels. So two layers of 3×3 see 5×5, and three see 7×7.
line = nn.Sequential(*[nn.Conv1d(1, 1, 3) for _ in range(4)])
page.check("four layers, 1-D", [row.size[0] for row in nn.receptive_field(line, (1, 15)) if row.depth], [3, 5, 7, 9])
page.save(plot.receptive_field_triangles(line, (1, 15)), "receptive_field_triangles.png")
stack = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)])
page.check("2-D", [row.size for row in nn.receptive_field(stack, (1, 15, 15)) if row.depth], [(3, 3), (5, 5), (7, 7)])

# The proof: the gradient of a unit is not 0 at the pixels that it sees, and 0 at all others.
seen = np.argwhere(nn.seen_pixels(stack, (1, 15, 15), "2", unit=(7, 7)).numpy())
low, high = seen.min(0).tolist(), (seen.max(0) + 1).tolist()
page.check("the gradient is not 0 from .. to", [*zip(low, high)], nn.receptive_field(stack, (1, 15, 15))["2"].of(7, 7))
page.check("    at so many pixels", len(seen), 7 * 7)

# But not all of them matter alike: more ways lead to the unit from the middle of the field than from its border. With all
# weights alike, n layers of 3×3 make a bell of variance n · (3² − 1) / 12: its width grows as √n, the field as n (Luo et al.
# 2016, "Understanding the effective receptive field", section 2.2, arXiv 1701.04128).
deep = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(10)])
for layer in deep:
    layer.weight.array[...] = 1
effective = {f"{n} layers": nn.effective_receptive_field(deep, (1, 33, 33), layer=str(n - 1), samples=1) for n in (3, 10)}
page.check("3 layers: variance (pixels²)", round(effective["3 layers"].sigma[0] ** 2, 3), round(3 * 8 / 12, 3))
page.check("10 layers: variance (pixels²)", round(effective["10 layers"].sigma[0] ** 2, 3), round(10 * 8 / 12, 3))
page.save(plot.effective_field(effective), "effective_field.png")
