"""VGG, 2014: many layers of 3×3 kernels.

Two layers of 3×3 kernels have a receptive field of 5×5 pixels, three of 7×7. They need fewer weights than one layer of large
kernels, and have a ReLU after each. So VGG stacks 3×3 convolutions in five stages; each stage ends by halving the size, and the
number of feature maps doubles up to 512.

    224×224 → 64@224² → 128@112² → 256@56² → 512@28² → 512@14² → 7² → 4096 → 4096 → 1000 scores

(Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", section 2.3, arXiv 1409.1556).
"""

from page import Page, built, costs, parameters

from microtensor import nn

page = Page(__doc__)


def stack(count: int, k: int, channels: int = 64) -> nn.Sequential:
    """Layers of k×k kernels with the same number of channels."""
    return nn.Sequential(*[nn.Conv2d(channels, channels, k, bias=False) for _ in range(count)])


# A stack of small kernels against one large kernel, with C input and output channels: 2 · 9 C² weights against 25 C²,
# 3 · 9 C² against 49 C².
for count, k, share in ((2, 5, 0.72), (3, 7, 0.55)):
    small, large = stack(count, 3), stack(1, k)
    page.check(f"{count} layers of 3×3: receptive field", nn.receptive_field(small, (64, 16, 16))[0].size, (k, k))
    page.check(f"    their weights, as a fraction of one {k}×{k}", round(parameters(small) / parameters(large), 2), share)

# Four depths, counted in layers with weights.
for name, expected in (("vgg11", 132_863_336), ("vgg13", 133_047_848), ("vgg16", 138_357_544), ("vgg19", 143_667_240)):
    page.check(f"{name}: parameters", parameters(built(name)), expected)
found = nn.summary(built("vgg16"), (3, 224, 224))
page.check("vgg16: multiply-adds", found.multiply_adds, 15_470_264_320)

# Its weights in float32, 4 bytes each. The slide gives another size; this is the right one.
page.check("vgg16: weights in MB", round(found.weight_bytes / 1e6, 1), 553.4)

# For two classes the last layer has 2 · 4096 weights and 2 biases instead of 1000 · 4096 and 1000. The slide has one parameter
# less, …737, which cannot be: each of the two scores has 4097 parameters, and all other layers together have an even number.
two = built("vgg16", num_classes=2)
last = two.classifier[-1]
page.check("vgg16 with 2 outputs: parameters", parameters(two), 134_268_738)
page.check("    all but the last layer", parameters(two) - parameters(last), 134_260_544)
page.check("    the last layer", parameters(last), 2 * (4096 + 1))

# The receptive fields of its last layers, for an image of 224 pixels.
fields = nn.receptive_field(built("vgg16"), (3, 224, 224))
page.check("receptive field of conv5_3", fields["features.28"].size, (196, 196))
page.check("    and of the pool after it", fields["features.30"].size, (212, 212))

# The first convolutions have many multiply-adds and few parameters; the first linear layer has three quarters of all
# parameters. Later networks have no such layer: they average each feature map.
page.save(costs(found, "VGG-16"), "vgg_costs.png")
