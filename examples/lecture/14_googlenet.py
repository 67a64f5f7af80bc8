"""GoogLeNet, 2014: kernels of several sizes side by side.

Patterns in an image may be small or large. An inception module applies 1×1, 3×3 and 5×5 kernels to the same input and
concatenates their results as channels. To keep it cheap, 1×1 kernels before the large ones reduce the number of channels:

    x ──┬── 1×1 ──────────────────┬──→
        ├── 1×1, fewer ── 3×3 ────┤
        ├── 1×1, fewer ── 5×5 ────┤
        └── maximum of 3×3 ── 1×1 ┘

With nine such modules the network is 22 layers deep. In training, two auxiliary heads classify from the middle of the network,
which gives the early layers a stronger gradient.

(Szegedy, Liu, Jia et al. 2014, "Going deeper with convolutions", arXiv 1409.4842). torchvision's, without `_2014`, has batch
normalisation, and 3×3 kernels where the paper has 5×5.
"""

from page import Page, built, costs, parameters

import microtensor as mt
from microtensor import nn, plot
from microtensor.models.googlenet import TABLE, InceptionOf2014

page = Page(__doc__)

# With the auxiliary heads, and without them: they are used in training only.
page.check("as in the paper: parameters", parameters(built("googlenet_2014", aux_logits=False)), 6_998_552)
page.check("    with both auxiliary heads", parameters(built("googlenet_2014")), 13_378_280)
page.check("torchvision's: parameters", parameters(built("googlenet", aux_logits=False)), 6_624_904)
page.check("    with both auxiliary heads", parameters(built("googlenet")), 13_004_888)
page.check("    multiply-adds", nn.summary(built("googlenet"), (3, 224, 224)).multiply_adds, 1_498_376_192)

# A ninth of AlexNet's parameters, mainly because there is no large linear layer: each of the last 1024 feature maps is
# averaged, and one linear layer computes the scores.
network = built("googlenet_2014", aux_logits=False)
page.check("AlexNet's parameters, as a multiple", round(parameters(built("alexnet_2012")) / parameters(network), 1), 8.7)

# The first module, 192 channels of 28×28 → 256, and one with the same outputs but without the 1×1 kernels in front.
module = InceptionOf2014(192, *TABLE["3a"])
cheap = nn.summary(module, (192, 28, 28))
direct = nn.Concat(
    nn.Conv2d(192, 64, 1),
    nn.Conv2d(192, 128, 3, padding=1),
    nn.Conv2d(192, 32, 5, padding=2),
    nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(192, 32, 1)),
)
naive = nn.summary(direct, (192, 28, 28))
page.check("inception 3a: output shape", cheap.rows[0].output_shape, (64 + 128 + 32 + 32, 28, 28))
page.check("    without 1×1 kernels", naive.rows[0].output_shape, (256, 28, 28))
each = 192 * 64 + (192 * 96 + 96 * 128 * 9) + (192 * 16 + 16 * 32 * 25) + 192 * 32  # for each of 28·28 pixels
page.check("    multiply-adds", cheap.multiply_adds, 28 * 28 * each)
page.check("    without 1×1 kernels", naive.multiply_adds, 28 * 28 * 192 * (64 + 128 * 9 + 32 * 25 + 32))
page.check("    ratio", round(naive.multiply_adds / cheap.multiply_adds, 2), 2.41)

page.save(costs(nn.summary(network, (3, 224, 224), depth=1), "GoogLeNet"), "googlenet_costs.png")
image = mt.zeros(1, 192, 28, 28).requires_grad_()
page.save(plot.graph(module(image), names=module, max_nodes=20), "googlenet_inception.png")
