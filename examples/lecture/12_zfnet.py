"""ZFNet, 2013: AlexNet, looked into.

Its authors ran a trained network backwards: take one unit, set all others of its layer to 0, and go down to the pixels, each
convolution transposed, each max pooling by the places where its maxima were (the switches), each ReLU by a ReLU. What comes out
is the pattern that excited the unit. So they saw that AlexNet's first layer was coarse, and that many of its kernels were dead,
and made its kernels 7×7 instead of 11×11, 2 pixels apart instead of 4.

    224×224 → 96@110² → pool 55² → 256@26² → pool 13² → 384@13² → 384@13² → 256@13² → pool 6² → 4096 → 4096 → 1000 scores

(Zeiler & Fergus 2013, "Visualizing and understanding convolutional networks", arXiv 1311.2901).
"""

import numpy as np
from page import Page, built, costs, trained_lenet

from microtensor import nn, plot, saliency
from microtensor.data import mnist_sample

page = Page(__doc__)

found = nn.summary(built("zfnet"), (3, 224, 224))
before = nn.summary(built("alexnet_2012"), (3, 227, 227))
page.check("parameters", found.total_parameters, 62_357_608)
page.save(costs(found, "ZFNet"), "zfnet_costs.png")

# The first layer: smaller kernels, more places.
first, firstly = (next(row for row in one.rows if row.type == "Conv2d") for one in (found, before))
page.check("first convolution", (first.formula, first.output_shape), ("96 × (3·7·7) + 96", (96, 110, 110)))
page.check("    AlexNet's", (firstly.formula, firstly.output_shape), ("96 × (3·11·11) + 96", (96, 55, 55)))
page.check("places, so many times as many", first.output_shape[1] ** 2 / firstly.output_shape[1] ** 2, 4)

# Looking into a network of our own: LeNet, trained on digits. For three maps of each convolution, the patches of 500 digits
# that excite them most; below each, what of it did so.
model = trained_lenet(page)
digits, _ = mnist_sample()[np.arange(500)]
rows, patterns = {}, {}
for name, layer, field in (("C1", "features.1", 5), ("C3", "features.4", 14)):
    patches = nn.top_patches(model, digits, layer, units=[0, 1, 2], k=7)
    below = saliency.reconstruct_patches(model, digits, layer, patches)
    page.check(f"{name}: pixels that a unit sees", nn.receptive_field(model, (1, 28, 28))[layer].size, (field, field))
    rows |= {f"{name}, map {unit}": patches[unit] for unit in patches}
    patterns |= {f"{name}, map {unit}": below[unit] for unit in patches}
page.save(plot.patches(rows, patterns), "zfnet_patches.png")
