"""MobileNet, 2017: a network for phones.

All its convolutions but the first are depthwise separable (page 07): a 3×3 kernel per channel, then 1×1 kernels across
channels. A width multiplier scales the channels of every layer, which trades accuracy for speed.

    224×224 → 3×3, 32, stride 2 → thirteen separable convolutions, 64@112² to 1024@7² → mean of each map → 1000 scores

(Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision applications", arXiv 1704.04861).
"""

from page import Page, built, costs, parameters

from microtensor import nn
from microtensor.models.mobilenet_v1 import DepthwiseSeparable
from microtensor.plot.style import BLUE, VERMILION, new_figure

page = Page(__doc__)

network = built("mobilenet_v1")
found = nn.summary(network, (3, 224, 224))
page.check("parameters", found.total_parameters, 4_231_976)
page.check("multiply-adds", found.multiply_adds, 568_740_352)

# One block, 512 channels of 14×14, against the standard convolution that it replaces: 1/512 + 1/9 of the multiply-adds.
separable, plain = DepthwiseSeparable(512, 512, stride=1), nn.Conv2d(512, 512, 3, padding=1, bias=False)
works = [nn.summary(layer, (512, 14, 14)).multiply_adds for layer in (separable, plain)]
page.check(
    "multiply-adds of a block, as a fraction of a standard convolution",
    round(works[0] / works[1], 4),
    round(1 / 512 + 1 / 9, 4),
)

# The 3×3 kernels are now so cheap that nearly all multiply-adds are in the 1×1 kernels (the paper's table 2).
kinds = {"1×1": 0, "3×3, depthwise": 0, "3×3, the first": 0, "linear": 0}
modules = dict(network.named_modules())
for row in found.rows:
    module = modules[row.name]
    if isinstance(module, nn.Conv2d):
        kind = "1×1" if module.kernel_size == (1, 1) else "3×3, depthwise" if module.groups > 1 else "3×3, the first"
        kinds[kind] += row.multiply_adds
    elif isinstance(module, nn.Linear):
        kinds["linear"] += row.multiply_adds
shares = [round(100 * work / found.multiply_adds, 2) for work in kinds.values()]
page.check("multiply-adds, % in " + "; ".join(kinds), shares, [94.86, 3.06, 1.91, 0.18])

# Half the width, a quarter of the multiply-adds: input and output channels are both halved (the paper's table 6).
widths = (1.0, 0.75, 0.5, 0.25)
thin = [nn.summary(built("mobilenet_v1", width_mult=width), (3, 224, 224)) for width in widths]
page.check("millions of multiply-adds, by width", [round(one.multiply_adds / 1e6) for one in thin], [569, 325, 149, 41])
page.check("millions of parameters, by width", [round(one.total_parameters / 1e6, 1) for one in thin], [4.2, 2.6, 1.3, 0.5])
page.check("for comparison, VGG-16's millions", round(parameters(built("vgg16")) / 1e6), 138)

page.save(costs(nn.summary(network, (3, 224, 224), depth=3), "MobileNet"), "mobilenet_costs.png")
figure = new_figure(height=3.4)
panels = figure.subplots(1, 2)
for axes, field, color in zip(panels, ("total_parameters", "multiply_adds"), (BLUE, VERMILION)):
    values = [getattr(one, field) / 1e6 for one in thin]
    axes.bar([str(width) for width in widths], values, color=color)
    for i, value in enumerate(values):
        axes.annotate(f"{value:.3g}", (i, value), ha="center", va="bottom", fontsize=11)
    axes.set_xlabel("width multiplier", fontsize=11)
    axes.set_ylabel(field.replace("total_", "").replace("_", "-") + " (millions)", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
page.save(figure, "mobilenet_widths.png")
