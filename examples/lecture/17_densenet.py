"""DenseNet, 2016: each layer gets the outputs of all layers before it.

A ResNet adds the output of a block to its input. A DenseNet concatenates it as more channels. So no feature is lost or computed
twice, and a layer may be narrow: it computes only k channels, the growth rate.

    the l-th layer of a block has    k0 + k · (l − 1)    input channels, if the block has k0

Between blocks a transition halves the channels by 1×1 kernels, and the size by average pooling.

(Huang, Liu, van der Maaten & Weinberger 2016, "Densely connected convolutional networks", arXiv 1608.06993).
"""

from page import Page, built, costs, parameters

from microtensor import nn
from microtensor.models.densenet import DenseBlock
from microtensor.plot.style import BLUE, VERMILION, new_figure

page = Page(__doc__)

# A block of 6 layers with k = 32 and 64 input channels, as the first of DenseNet-121.
block = DenseBlock(64, growth_rate=32, layers=6)
channels = [layer.conv1.in_channels for layer in block]
page.check("input channels of each layer", channels, [64, 96, 128, 160, 192, 224])
page.check("    k0 + k (l − 1)", [64 + 32 * (layer - 1) for layer in range(1, 7)], channels)
page.check("output shape of the block", nn.summary(block, (64, 8, 8)).rows[0].output_shape, (64 + 6 * 32, 8, 8))

# The published networks, and two for CIFAR-10: with 1×1 kernels before the 3×3 and halved channels (BC), and without.
table = {121: (7_978_856, 2.834), 169: (14_149_480, 3.360), 201: (20_013_928, 4.291), 161: (28_681_000, 7.728)}
for depth, (count, work) in table.items():
    found = nn.summary(built(f"densenet{depth}"), (3, 224, 224))
    page.check(f"DenseNet-{depth}: parameters", found.total_parameters, count)
    page.check("    multiply-adds (10⁹)", round(found.multiply_adds / 1e9, 3), work)
page.check("DenseNet-BC-100-12: parameters", parameters(built("cifar_densenet")), 769_162)
plain = built("cifar_densenet", depth=40, growth_rate=12, bottleneck=False, compression=1.0)
page.check("DenseNet-40-12: parameters", parameters(plain), 1_019_722)

# Input channels in DenseNet-121: 32 more with each layer, halved by each transition.
network = built("densenet121")
page.check("ResNet-50's parameters, as a multiple", round(parameters(built("resnet50")) / parameters(network), 1), 3.2)
found = nn.summary(network, (3, 224, 224), depth=3)
steps = [row for row in found.rows if row.type == "BottleneckLayer"]
modules = dict(network.named_modules())
channels = [modules[row.name].conv1.in_channels for row in steps]
page.check("layers in dense blocks", len(channels), 6 + 12 + 24 + 16)
page.check("input channels of the last", channels[-1], 512 + 32 * (16 - 1))
figure = new_figure(height=3.8)
axes = figure.subplots()
first = 0
for i, count in enumerate((6, 12, 24, 16)):
    color, marker = ((BLUE, "o"), (VERMILION, "s"))[i % 2]
    places = range(first + 1, first + count + 1)
    axes.plot(places, channels[first : first + count], marker, color=color, markersize=5)
    side, place = 56 // 2**i, (max(first + count / 2, 5), channels[first + count - 1] + 40)
    axes.annotate(f"block {i + 1}\n{side}×{side} pixels", place, ha="center", fontsize=11)
    first += count
axes.set(xlim=(0, 62), ylim=(0, 1_200))
axes.set_xlabel("layer, counted over all blocks", fontsize=11)
axes.set_ylabel("input channels", fontsize=11)
axes.spines[["top", "right"]].set_visible(False)
page.save(figure, "densenet_channels.png")
page.save(costs(nn.summary(network, (3, 224, 224), depth=2), "DenseNet-121"), "densenet_costs.png")
