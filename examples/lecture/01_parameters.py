"""Parameters: how many weights and biases a layer learns.

A convolution has one small kernel for each output channel, used at every position of the image. So its number of parameters
does not depend on the size of the image:

    kernels × (input channels · height · width of the kernel) + one bias for each kernel

A linear layer connects each of its inputs to each of its outputs. So its number of parameters does depend on the size of the
image, and in older networks nearly all parameters are in linear layers:

    outputs × inputs + one bias for each output
"""

from page import Page, costs

from microtensor import nn

page = Page(__doc__)

# One kernel of 3×3 pixels, on red, green and blue: 3 · 3 · 3 weights and a bias.
one = nn.summary(nn.Conv2d(3, 1, kernel_size=3), (3, 32, 32))
page.check("one 3×3 kernel on RGB", one.total_parameters, 28)

# Sixteen of them. `formula` shows how the number is computed.
sixteen = nn.summary(nn.Conv2d(3, 16, kernel_size=3), (3, 32, 32))
page.check("sixteen 3×3 kernels on RGB", sixteen.total_parameters, 448)
page.check("    because", sixteen.rows[0].formula, "16 × (3·3·3) + 16")

# A larger image needs more multiply-adds, but no more parameters.
larger = nn.summary(nn.Conv2d(3, 16, kernel_size=3), (3, 224, 224))
page.check("the same on an image of 224×224", larger.total_parameters, 448)
page.check_least("    but multiply-adds grow by a factor of at least", larger.multiply_adds / sixteen.multiply_adds, 54)

# A whole network, for images of 32×32 pixels and four classes. "Same" padding keeps the size; stride 2 halves it.
network = nn.Sequential(
    nn.Conv2d(3, 8, kernel_size=3, padding=1),  # 8×32×32
    nn.ReLU(),
    nn.Conv2d(8, 16, kernel_size=5, stride=2, padding=2),  # 16×16×16
    nn.ReLU(),
    nn.Flatten(),  # 4096
    nn.Linear(16 * 16 * 16, 512),
    nn.ReLU(),
    nn.Linear(512, 4),
)
found = nn.summary(network, (3, 32, 32))
print(f"\n{found}\n")
page.check("layer by layer", [row.parameters for row in found.rows if row.parameters], [224, 3_216, 2_097_664, 2_052])
page.check("total", found.total_parameters, 2_103_156)

# The first linear layer has nearly all the parameters; the convolutions do many of the multiply-adds.
page.save(costs(found, "The small network"), "parameters.png")
