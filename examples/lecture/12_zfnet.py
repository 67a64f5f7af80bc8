"""ZFNet, 2013: AlexNet, improved after visualising its layers.

Its authors ran a trained network in reverse (deconvnet): all units of a layer but one are set to 0, and its activation passes
back to the pixels, with each convolution transposed, each max pooling inverted by the positions of its maxima (switches), and
ReLU applied on the way. The result is the pattern that activated the unit. It showed that AlexNet's first layer had coarse and
dead kernels, so they made them 7×7 with stride 2 instead of 11×11 with stride 4.

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

# The first layer: smaller kernels, more positions.
first, alexnet = (next(row for row in one.rows if row.type == "Conv2d") for one in (found, before))
page.check("first convolution", (first.formula, first.output_shape), ("96 × (3·7·7) + 96", (96, 110, 110)))
page.check("    AlexNet's", (alexnet.formula, alexnet.output_shape), ("96 × (3·11·11) + 96", (96, 55, 55)))
page.check("positions, compared with AlexNet", first.output_shape[1] ** 2 / alexnet.output_shape[1] ** 2, 4)

# The same for LeNet, trained on digits. For three channels of each convolution, the patches of 500 digits with the highest
# activations; below each, the part that activated the unit.
model = trained_lenet(page)
digits, _ = mnist_sample()[np.arange(500)]
rows, patterns = {}, {}
for name, layer, field in (("C1", "features.1", 5), ("C3", "features.4", 14)):
    patches = nn.top_patches(model, digits, layer, units=[0, 1, 2], k=7)
    below = saliency.reconstruct_patches(model, digits, layer, patches)
    page.check(f"{name}: receptive field", nn.receptive_field(model, (1, 28, 28))[layer].size, (field, field))
    rows |= {f"{name}, map {unit}": patches[unit] for unit in patches}
    patterns |= {f"{name}, map {unit}": below[unit] for unit in patches}
page.save(plot.patches(rows, patterns), "zfnet_patches.png")
