"""Overhead per operation: a chain of 1,000 operations on arrays so small that arithmetic takes no time."""

import numpy as np

LENGTH, SIZE = 1000, 16
X, C = np.random.default_rng(0).uniform(0.5, 1.0, (2, SIZE)).astype(np.float32)


def chain(y, c):
    for _ in range(LENGTH // 2):
        y = y * c
        y = y + c
    return y


def microtensor():
    import microtensor as mt

    x, c = mt.Tensor(X, requires_grad=True), mt.Tensor(C)

    def work():
        x.grad = None
        chain(x, c).sum().backward()

    return work


def torch():
    import torch

    x, c = torch.tensor(X, requires_grad=True), torch.tensor(C)

    def work():
        x.grad = None
        chain(x, c).sum().backward()

    return work


def autograd():
    import autograd
    import autograd.numpy as anp

    gradient = autograd.grad(lambda x: anp.sum(chain(x, C)))
    return lambda: gradient(X)


def tinygrad():
    from tinygrad import Tensor

    c = Tensor(C).realize()

    def work():
        x = Tensor(X)
        chain(x, c).sum().gradient(x)[0].numpy()

    return work
