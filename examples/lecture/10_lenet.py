"""LeNet-5, 1998: the structure that convolutional networks have had ever since.

Convolutions and subsampling alternate, then come linear layers: from layer to layer there are fewer pixels, and more feature
maps. It read the amounts on millions of cheques.

    28×28 → C1 6@28×28 → S2 6@14×14 → C3 16@10×10 → S4 16@5×5 → C5 120 → F6 84 → 10 scores

`lenet5` is the network as it is taught now, with ReLU and max pooling. `lenet5_1998` is that of the paper: subsampling with
trainable weights, scaled hyperbolic tangents, a C3 whose maps use only some of S2's, and distances to drawn digits as scores
(LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition", Proc. IEEE 86(11)).
"""

import numpy as np
from page import Page, built, costs, parameters, percent, trained_lenet

from microtensor import models, nn, plot
from microtensor.data import mnist_sample

page = Page(__doc__)

# As it is taught now.
found = nn.summary(built("lenet5"), (1, 28, 28))
print(f"{found}\n")
page.check("parameters", found.total_parameters, 61_706)
page.check("multiply-adds for one digit", found.multiply_adds, 416_520)
layers = {row.name: row for row in found.rows}
fields = [layers[f"features.{i}"].receptive_field[0] for i in (0, 2, 3, 5)]
page.check("receptive fields of C1, S2, C3, S4", fields, [5, 6, 14, 16])

# As published. Each of C3's sixteen maps uses three to six of S2's six maps: 60 pairs of 96. The authors' reasons: fewer
# connections, and different inputs make the maps learn different features.
published = built("lenet5_1998")
page.check("parameters in 1998", parameters(published), 60_000)
page.check("pairs of maps in its C3", sum(len(maps) for maps in models.lenet.C3_TABLE), 60)
page.check("    parameters of its C3", parameters(published.c3), 60 * 25 + 16)
page.check("    and with all 96 pairs", layers["features.3"].parameters, 96 * 25 + 16)

# Convolutions have 4 % of the parameters and 86 % of the multiply-adds; linear layers the reverse.
page.check("linear layers: % of the parameters", percent(found, "Linear", "parameters"), 96)
page.check("linear layers: % of the multiply-adds", percent(found, "Linear", "multiply_adds"), 14)
page.save(costs(found, "LeNet-5"), "lenet_costs.png")

# The feature maps of a trained C1: each is bright where its kernel matches the digit.
image = mnist_sample(train=False)[np.arange(1)][0]
maps = nn.activations(trained_lenet(page), image, "features.1")["features.1"]
page.check("maps after C1 and its ReLU", maps.shape, (1, 6, 28, 28))
page.save(plot.feature_maps(maps, image), "lenet_maps.png")
