"""ResNet, 2015: shortcuts.

A deeper network should not be worse: its added layers could learn the identity. In practice very deep plain networks had a
larger error, on the training images too, so the cause was not overfitting: a stack of layers does not easily learn the
identity. So each block adds what it computes to its input, and only has to learn the difference (the residual):

    x ──┬── convolutions ──(+)── ReLU ──→
        └──────────────────┘

Backward, the sum passes its gradient to both branches; the shortcut has no weights that could shrink it.

(He, Zhang, Ren & Sun 2015, "Deep residual learning for image recognition", arXiv 1512.03385). examples/degradation.py trains
networks with and without shortcuts, at several depths.
"""

import numpy as np
from page import Page, built, costs, parameters

import microtensor as mt
from microtensor import nn, plot
from microtensor.models.resnet import BasicBlock, BottleneckOf2015, ResNet

page = Page(__doc__)

# For ImageNet. From 50 layers upwards, blocks have three convolutions: 1×1 to fewer channels, 3×3, 1×1 to four times as many.
table = {18: (11_689_512, 1.814), 34: (21_797_672, 3.664), 50: (25_557_032, 4.089), 101: (44_549_160, 7.801)}
table[152] = (60_192_808, 11.514)
for depth, (count, work) in table.items():
    found = nn.summary(built(f"resnet{depth}"), (3, 224, 224))
    page.check(f"ResNet-{depth}: parameters", found.total_parameters, count)
    page.check("    multiply-adds (10⁹)", round(found.multiply_adds / 1e9, 3), work)

# The lecture's table, for CIFAR-10: 32×32 pixels and ten classes, the first convolution 3×3 and no pool after it. Below it, the
# paper's own networks for CIFAR-10 (section 4.2): three stages of 16, 32 and 64 maps.
small = {18: 11_173_962, 34: 21_282_122, 50: 23_520_842, 101: 42_512_970, 152: 58_156_618}
papers = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}
for depth, count in (small | papers).items():
    page.check(f"ResNet-{depth} for CIFAR-10: parameters", parameters(built(f"cifar_resnet{depth}")), count)


# The receptive field of the last layer. In ResNet-50 it depends on where a block has its stride: in the 3×3 kernel, as in
# torchvision, or in the first 1×1, as in the paper. All are larger than the image, 224 pixels: they include padding.
def field(network: nn.Module) -> float:
    return nn.receptive_field(network, (3, 224, 224))["layer4"].size[0]


for depth, size in ((18, 435), (34, 899), (50, 427), (101, 971), (152, 1_451)):
    page.check(f"ResNet-{depth}: receptive field", field(built(f"resnet{depth}")), size)
with nn.init.skipped(), mt.default_device("cpu"):
    page.check("ResNet-50 of the paper: receptive field", field(ResNet(BottleneckOf2015, (3, 4, 6, 3))), 483)

# A block whose last scale is 0 computes the identity: both the input and the gradient pass it unchanged.
block = BasicBlock(16, 16)
block.bn2.weight.array[...] = 0
x = abs(mt.randn(2, 16, 8, 8)).detach().requires_grad_()
y = block(x)
g = mt.randn(*y.shape)
page.check("a block with scale 0 returns its input", np.array_equal(y.numpy(), x.numpy()), True)
page.save(plot.graph(y, names=block), "resnet_block.png")
y.backward(g)
page.check("    and passes the gradient unchanged", bool(np.allclose(x.grad.numpy(), g.numpy())), True)

page.save(costs(nn.summary(built("resnet50"), (3, 224, 224), depth=2), "ResNet-50"), "resnet_costs.png")
