"""Saliency maps: which pixels does the score depend on?

Training computes how the loss changes with the weights. A saliency map shows how the score of one class changes with each
pixel: the same chain rule, but the leaf is the image and the weights are constants. Five steps:

    1. forward     the image through the network
    2. scores      before the softmax, which would mix the classes
    3. seed        1 at the explained class, 0 at the others
    4. backward    to the image
    5. reduce      the largest magnitude over the channels: one value per pixel

(Simonyan, Vedaldi & Zisserman 2013, section 3, arXiv 1312.6034).
"""

import numpy as np
from page import Page, trained_lenet

import microtensor as mt
from microtensor import nn, plot, saliency
from microtensor.data import mnist_sample

page = Page(__doc__)
model = trained_lenet(page)

# Test digits that the network classifies correctly.
images, labels = mnist_sample(train=False)[np.arange(100)]
with mt.no_grad():
    right = np.flatnonzero(model(mt.Tensor(images)).argmax(dim=1).numpy() == labels)
digit, label = images[right[0]], int(labels[right[0]])

# The five steps by hand …
image = mt.Tensor(digit[None], requires_grad=True)  # (1, 1, 28, 28)
scores = model(image)  # 1. and 2.: (1, 10)
seed = np.eye(10, dtype=np.float32)[[label]]  # 3.
(g,) = mt.grad(scores, image, mt.Tensor(seed))  # 4.
by_hand = abs(g.numpy()).max(axis=1)[0]  # 5.: (28, 28)

# … and by the function, which describes its steps.
found = saliency.gradient(model, digit, target=label, explain=True)
page.check("\nthe same", bool(np.allclose(found.numpy(), by_hand)), True)

# Is it the derivative? Make the most salient pixel slightly brighter, and compare the change of the score.
row, column = np.unravel_index(by_hand.argmax(), by_hand.shape)
brighter = digit.copy()
brighter[0, row, column] += 0.01
change = (model(mt.Tensor(brighter[None])) - scores)[0, label].item() / 0.01
page.check("the derivative of the score there, within 2 %", abs(change / g[0, 0, row, column].item() - 1) < 0.02, True)

# Other methods average over noise, integrate from a black image to the image, change the rule of the ReLUs in the backward
# pass, weight the feature maps of the last convolution, or occlude parts without a gradient. Integrated gradients are
# complete: they sum to the score's difference from the black image.
two = images[right[1:3]]
total = saliency.integrated_gradients(model, two, n_steps=200, return_convergence_delta=True)
page.check("integrated gradients, completeness error below 0.1", bool(abs(total.delta.numpy()).max() < 0.1), True)
maps = {
    "gradient": saliency.gradient(model, two),
    "input × gradient": saliency.input_x_gradient(model, two),
    "SmoothGrad": saliency.smooth_grad(model, two, samples=25),
    "integrated": saliency.integrated_gradients(model, two),
    "guided": saliency.guided_backprop(model, two),
    "deconvnet": saliency.deconvnet(model, two),
    "Grad-CAM": saliency.grad_cam(model, two),
    "occlusion": saliency.occlusion(model, two, window=6, stride=2),
}
titles = [f"a {labels[i]}" for i in right[1:3]]
page.save(plot.saliency_methods(two, maps, titles, columns=5), "saliency.png")

# Why before the softmax? Where the probability is near 1, it hardly changes with the pixels: its gradient vanishes.
page.save(plot.softmax_comparison(nn.Sequential(model, nn.Softmax(dim=1)), digit), "saliency_softmax.png")
