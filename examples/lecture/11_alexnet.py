"""AlexNet, 2012: LeNet's structure, much larger.

It won the ImageNet contest with a top-5 error of 15.3 %, where the second had 26.2 %. New beside its size: ReLU, which does not
saturate, dropout, and training on two graphics cards, between which the network is split: convolutions 2, 4 and 5 use only the
half of the feature maps that is on the same card (`groups=2`).

    227×227 → 96@55² → pool 27² → 256@27² → pool 13² → 384@13² → 384@13² → 256@13² → pool 6² → 4096 → 4096 → 1000 scores

(Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks", NIPS 25). torchvision's
AlexNet is a version of 2014 without the split.
"""

from page import Page, built, costs, parameters, percent

from microtensor import nn
from microtensor.plot.style import BLUE, new_figure

page = Page(__doc__)

network = built("alexnet_2012")
found = nn.summary(network, (3, 227, 227))
print(f"{found}\n")
page.check("parameters", found.total_parameters, 60_965_224)
page.check("parameters of torchvision's", parameters(built("alexnet")), 61_100_840)

# A parameter in float32 takes 4 bytes. The slide gives another size; this is the right one. (1 MB is a million bytes.)
page.check("weights in float32, bytes", found.weight_bytes, 4 * 60_965_224)
page.check("    in MB", round(found.weight_bytes / 1e6, 1), 243.9)

# The paper says 224×224. But its feature maps of 55×55 need 227: the floor of (224 − 11) / 4 + 1 is 54.
conv = network.features[0]
page.check("first convolution, from 224", nn.summary(conv, (3, 224, 224)).rows[0].output_shape, (96, 54, 54))
page.check("first convolution, from 227", nn.summary(conv, (3, 227, 227)).rows[0].output_shape, (96, 55, 55))

# The split halves the input channels of a kernel of the second convolution: 48 instead of 96.
page.check("second convolution, split in two", parameters(nn.Conv2d(96, 256, 5, groups=2)), 256 * (48 * 25 + 1))
page.check("    not split", parameters(nn.Conv2d(96, 256, 5)), 256 * (96 * 25 + 1))

# Nearly all parameters are in the three linear layers, nearly all multiply-adds in the convolutions.
page.check("linear layers: % of the parameters", percent(found, "Linear", "parameters"), 96)
page.check("linear layers: % of the multiply-adds", percent(found, "Linear", "multiply_adds"), 8)
page.save(costs(found, "AlexNet"), "alexnet_costs.png")

# Receptive fields in pixels per side, with the overlapping pools (3×3, stride 2).
rows = [row for row in nn.receptive_field(network, (3, 227, 227)) if row.type in ("Conv2d", "MaxPool2d")]
sizes = {row.name: int(row.size[0]) for row in rows}
page.check("receptive fields of the convolutions", [sizes[r.name] for r in rows if r.type == "Conv2d"], [11, 51, 99, 131, 163])
page.check("    and of the last pool", sizes[rows[-1].name], 195)
figure = new_figure(height=3.6)
axes = figure.subplots()
names = [f"{row.name}\n{row.type}" for row in rows]
axes.bar(names, sizes.values(), color=BLUE)
for i, size in enumerate(sizes.values()):
    axes.annotate(str(size), (i, size + 4), ha="center", fontsize=11)
axes.set_ylabel("receptive field (pixels per side)", fontsize=11)
axes.set_xlabel("layer", fontsize=11)
axes.axhline(227, color="#767676", linestyle="--", linewidth=1)
axes.annotate("the image: 227", (-0.4, 216), fontsize=11)
axes.spines[["top", "right"]].set_visible(False)
page.save(figure, "alexnet_fields.png")
