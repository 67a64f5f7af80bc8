"""The receptive field: the pixels that a unit depends on.

A unit of the first layer depends on as many pixels as its kernel has. A unit of the second layer depends on all pixels that the
units under its kernel depend on, and so on: the field grows from layer to layer. Three numbers describe it, each with one rule:

    jump     pixels between the fields of neighbouring units      jump · s                        starts at 1
    size     pixels of a field, per side                          size + (k − 1) · jump           starts at 1
    centre   the centre of the first unit's field                 centre + ((k − 1)/2 − p) · jump starts at 0.5

(the jump on the right is the one before the layer). Pixel i lies between i and i + 1, so the centre of the first is 0.5.
"""

import numpy as np
from page import Page

from microtensor import nn, plot

page = Page(__doc__)

# The slide's example: 5×5 pixels, and two layers with kernel 3, stride 2, padding 1.
network = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 3, stride=2, padding=1))
first, second = fields = [row for row in nn.receptive_field(network, (1, 5, 5)) if row.depth == 1]
page.check("sizes", [5, *(row.output_shape[1] for row in fields)], [5, 3, 2])
page.check("fields", [row.size[0] for row in fields], [3, 7])
page.check("jumps", [row.jump[0] for row in fields], [2, 4])
page.check("first centres", [row.center[0] for row in fields], [0.5, 0.5])

# The rules above, applied by hand, give the same.
jump, size, center = 1, 1, 0.5
for row in fields:
    jump, size, center = jump * 2, size + (3 - 1) * jump, center + ((3 - 1) / 2 - 1) * jump
    page.check("    by the rules: jump, size, centre", (jump, size, center), (row.jump[0], row.size[0], row.center[0]))
page.save(plot.receptive_field_grids(network, (1, 5, 5)), "receptive_field_grids.png")

# Kernels of 3 with stride 1: each layer adds two pixels. So two layers of 3×3 have a field of 5×5, three of 7×7.
line = nn.Sequential(*[nn.Conv1d(1, 1, 3) for _ in range(4)])
page.check("four layers, 1-D", [row.size[0] for row in nn.receptive_field(line, (1, 15)) if row.depth], [3, 5, 7, 9])
page.save(plot.receptive_field_triangles(line, (1, 15)), "receptive_field_triangles.png")
stack = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(3)])
page.check("2-D", [row.size for row in nn.receptive_field(stack, (1, 15, 15)) if row.depth], [(3, 3), (5, 5), (7, 7)])

# The proof: the gradient of a unit is nonzero at the pixels of its field, and 0 at all others.
seen = np.argwhere(nn.seen_pixels(stack, (1, 15, 15), "2", unit=(7, 7)).numpy())
low, high = seen.min(0).tolist(), (seen.max(0) + 1).tolist()
page.check("the gradient is nonzero from .. to", [*zip(low, high)], nn.receptive_field(stack, (1, 15, 15))["2"].of(7, 7))
page.check("    number of such pixels", len(seen), 7 * 7)

# But not all of them contribute equally: more paths lead to the unit from the centre of the field than from its border. With
# equal weights, n layers of 3×3 make a Gaussian of variance n · (3² − 1) / 12: its width grows as √n, the field as n (Luo et
# al. 2016, "Understanding the effective receptive field", section 2.2, arXiv 1701.04128).
deep = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(10)])
for layer in deep:
    layer.weight.array[...] = 1
effective = {f"{n} layers": nn.effective_receptive_field(deep, (1, 33, 33), layer=str(n - 1), samples=1) for n in (3, 10)}
page.check("3 layers: variance (pixels²)", round(effective["3 layers"].sigma[0] ** 2, 3), round(3 * 8 / 12, 3))
page.check("10 layers: variance (pixels²)", round(effective["10 layers"].sigma[0] ** 2, 3), round(10 * 8 / 12, 3))
page.save(plot.effective_field(effective), "effective_field.png")
