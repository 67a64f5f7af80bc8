"""Beyond: five later ideas.

SqueezeNet, 2016     1×1 kernels reduce the channels, then 1×1 and 3×3 kernels expand them: AlexNet's accuracy with 50 times
                     fewer parameters (Iandola et al., arXiv 1602.07360)
ResNeXt, 2016        a ResNet whose 3×3 kernels are in 32 groups, and wider at the same cost (Xie et al., arXiv 1611.05431)
Xception, 2016       an inception module with one branch per channel, which is a depthwise separable convolution (Chollet,
                     arXiv 1610.02357)
ShuffleNet, 2017     1×1 kernels in groups too; a channel shuffle mixes the groups, which would otherwise stay separate (Zhang
                     et al., arXiv 1707.01083; version 2: Ma et al., arXiv 1807.11164)
EfficientNet, 2019   depth, width and image size are scaled together (Tan & Le, arXiv 1905.11946); Lite omits operations that
                     are slow on phones
"""

from page import Page, built, parameters

import microtensor as mt
from microtensor import nn
from microtensor.models.catalogue import card
from microtensor.plot.style import BLUE, VERMILION, new_figure

page = Page(__doc__)

# The size and the main idea of each network, from the catalogue; `microtensor models` prints them for all.
beyond = {"squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496, "resnext50_32x4d": 25_028_904, "xception": 22_855_952}
beyond |= {"shufflenet_v2_x1_0": 2_278_604, "efficientnet_lite0": 4_652_008}
for name, expected in beyond.items():
    page.check(f"{name}: parameters", parameters(built(name)), expected)
    print(f"    {card(name).idea}")

# SqueezeNet's 50 times.
ratio = parameters(built("alexnet_2012")) / parameters(built("squeezenet1_0"))
page.check("AlexNet's parameters, as a multiple of SqueezeNet's", round(ratio), 49)

# ResNeXt: 128 channels in 32 groups cost an eighth of what ResNet's 64 cost: 128 · 4 · 9 weights, not 64 · 64 · 9.
page.check("ResNet-50's first 3×3 kernels", parameters(built("resnet50").layer1[0].conv2), 64 * 64 * 9)
page.check("    ResNeXt-50's, twice as wide", parameters(built("resnext50_32x4d").layer1[0].conv2), 128 * 4 * 9)
page.check(
    "    in total, as a fraction of ResNet-50's",
    round(parameters(built("resnext50_32x4d")) / parameters(built("resnet50")), 2),
    0.98,
)

# ShuffleNet: channels 0, 1, 2 of one group and 3, 4, 5 of another, shuffled: each new group has channels of both.
channels = nn.channel_shuffle(mt.Tensor([0.0, 1, 2, 3, 4, 5]).reshape(1, 6, 1, 1), groups=2)
page.check("shuffled channels", channels.flatten().numpy().astype(int).tolist(), [0, 3, 1, 4, 2, 5])

# All networks of these pages: parameters against multiply-adds, for one image.
history = ("alexnet_2012", "zfnet", "vgg16", "googlenet_2014", "resnet50", "mobilenet_v1", "densenet121")
figure = new_figure(height=5.0)
axes = figure.subplots()
for names, color, marker, label in ((history, BLUE, "o", "pages 11 to 17"), (tuple(beyond), VERMILION, "s", "this page")):
    heads = {"googlenet_2014": {"aux_logits": False}}  # which are used in training only
    found = {name: nn.summary(built(name, **heads.get(name, {})), card(name).input_shape) for name in names}
    places = {name: (one.total_parameters / 1e6, one.multiply_adds / 1e9) for name, one in found.items()}
    axes.plot(*zip(*places.values()), marker, color=color, label=label)
    for name, place in places.items():
        aside = (6, -13) if name == "resnet50" else (6, 5)
        axes.annotate(name, place, aside, textcoords="offset points", fontsize=10)
axes.set(xscale="log", yscale="log", xlim=(0.9, 400), ylim=(0.1, 30))
axes.set_xticks((1, 3, 10, 30, 100, 300), ("1", "3", "10", "30", "100", "300"))
axes.set_yticks((0.1, 0.3, 1, 3, 10, 30), ("0.1", "0.3", "1", "3", "10", "30"))
axes.set_xlabel("parameters (millions)", fontsize=11)
axes.set_ylabel("multiply-adds for one image (10⁹)", fontsize=11)
axes.legend(fontsize=11, frameon=False, loc="lower right")
axes.spines[["top", "right"]].set_visible(False)
page.save(figure, "beyond.png")
