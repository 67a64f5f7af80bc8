"""Max pooling, forward and backward.

Forward, each window gives its largest number. Backward, the gradient that arrives at a window goes to the pixel that won it,
all of it; the other pixels of the window get nothing, for a small change of theirs would change nothing.

With stride 1, windows of 3×3 overlap, and one pixel may win several of them. Then what it gets adds up: that is the chain rule,
a sum over all ways on which a pixel reaches the result.
"""

import numpy as np
from page import Page

import microtensor as mt
from microtensor import nn, plot

page = Page(__doc__)

image = np.array([[2, 4, 8, 3, 6], [9, 3, 4, 2, 5], [5, 4, 6, 3, 1], [2, 3, 1, 3, 4], [2, 7, 4, 5, 7]], dtype=np.float32)
arriving = np.array([[1, 3, 1], [1, 4, 2], [6, 2, 1]], dtype=np.float32)

# Forward: 5×5 pixels, windows of 3×3, stride 1, so (5 − 3) / 1 + 1 = 3 of them each way.
x = mt.Tensor(image[None, None], requires_grad=True)  # (N, C, H, W) = (1, 1, 5, 5)
y = nn.max_pool2d(x, kernel_size=3, stride=1)
page.check("the largest of each window", y[0, 0].numpy().astype(int).tolist(), [[9, 8, 8], [9, 6, 6], [7, 7, 7]])

# Backward: what arrives at the nine windows, led back to the twenty-five pixels.
y.backward(mt.Tensor(arriving[None, None]))
gradient = x.grad[0, 0].numpy()
expected = np.zeros((5, 5))
expected[0, 2] = 3 + 1  # the 8 wins two windows
expected[1, 0] = 1 + 1  # so does the 9
expected[2, 2] = 4 + 2  # and the 6
expected[4, 1] = 6 + 2  # and the 7 on the left
expected[4, 4] = 1  # the 7 on the right wins one
page.check("the gradient of the image", gradient.astype(int).tolist(), expected.astype(int).tolist())
page.check("nothing is lost: both sum up to", gradient.sum(), arriving.sum())

# The same, window by window. (Were the largest number there twice in a window, the first in reading order would win.)
print(f"\n{nn.trace_max_pool(image, 3, stride=1, gradient=arriving)}\n")
page.save(plot.max_pooling(image, 3, stride=1, gradient=arriving), "max_pool.png")
if not page.quick:
    plot.save_animation(plot.max_pooling_frames(image, 3, stride=1, gradient=arriving), page.out / "max_pool.gif")
    print(f"→ {page.out / 'max_pool.gif'}")
