"""Max pooling, forward and backward.

Forward, each window returns its maximum. Backward, the gradient of a window's output goes entirely to the pixel that was its
maximum; the other pixels of the window get 0, since a small change of them does not change the result.

With stride 1, windows of 3×3 overlap, and one pixel may be the maximum of several. Then its gradients add up, by the chain
rule: a sum over all paths from the pixel to the result.
"""

import numpy as np
from page import Page

import microtensor as mt
from microtensor import nn, plot

page = Page(__doc__)

image = np.array([[2, 4, 8, 3, 6], [9, 3, 4, 2, 5], [5, 4, 6, 3, 1], [2, 3, 1, 3, 4], [2, 7, 4, 5, 7]], dtype=np.float32)
gradient_of_result = np.array([[1, 3, 1], [1, 4, 2], [6, 2, 1]], dtype=np.float32)

# Forward: 5×5 pixels, windows of 3×3, stride 1, so (5 − 3) / 1 + 1 = 3 windows per axis.
x = mt.Tensor(image[None, None], requires_grad=True)  # (N, C, H, W) = (1, 1, 5, 5)
y = nn.max_pool2d(x, kernel_size=3, stride=1)
page.check("the maximum of each window", y[0, 0].numpy().astype(int).tolist(), [[9, 8, 8], [9, 6, 6], [7, 7, 7]])

# Backward: from the gradient of the nine windows to that of the twenty-five pixels.
y.backward(mt.Tensor(gradient_of_result[None, None]))
gradient = x.grad[0, 0].numpy()
expected = np.zeros((5, 5))
expected[0, 2] = 3 + 1  # the 8 is the maximum of two windows
expected[1, 0] = 1 + 1  # so is the 9
expected[2, 2] = 4 + 2  # and the 6
expected[4, 1] = 6 + 2  # and the 7 on the left
expected[4, 4] = 1  # the 7 on the right of one
page.check("the gradient of the image", gradient.astype(int).tolist(), expected.astype(int).tolist())
page.check("both gradients have the same sum", gradient.sum(), gradient_of_result.sum())

# The same, window by window. (If the maximum occurs twice in a window, the first one in row order counts.)
print(f"\n{nn.trace_max_pool(image, 3, stride=1, gradient=gradient_of_result)}\n")
page.save(plot.max_pooling(image, 3, stride=1, gradient=gradient_of_result), "max_pool.png")
if not page.quick:
    plot.save_animation(plot.max_pooling_frames(image, 3, stride=1, gradient=gradient_of_result), page.out / "max_pool.gif")
    print(f"→ {page.out / 'max_pool.gif'}")
