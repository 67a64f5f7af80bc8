"""Small modules with shared parameters and buffers, and the same in PyTorch."""

import numpy as np

from microtensor.nn.module import Buffer, Module, Parameter


class Block(Module):
    def __init__(self):
        self.scale = Parameter([2.0, 3.0])
        self.count = Buffer(np.array(5))
        self.mean = Buffer(np.array([0.5, 0.25], np.float32))
        self.offset = Parameter(np.ones(2, np.float32))

    def forward(self, x):
        return (x - self.mean) * self.scale + self.offset


class Net(Module):
    """Buffers before parameters, a parameter and a module that are shared."""

    def __init__(self):
        self.seen = Buffer(np.zeros(1, np.float32))
        self.first = Block()
        self.weight = Parameter([1.0])
        self.none = None
        self.again = self.first
        self.second = Block()
        self.second.scale = self.first.scale
        self.name = "net"

    def forward(self, x):
        return self.second(self.again(self.first(x))) * self.weight


def torch_net(torch):
    block = torch.nn.Module
    net, first, second = block(), block(), block()
    for part in (first, second):
        part.scale = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
        part.register_buffer("count", torch.tensor(5))
        part.register_buffer("mean", torch.tensor([0.5, 0.25]))
        part.offset = torch.nn.Parameter(torch.ones(2))
    second.scale = first.scale
    net.register_buffer("seen", torch.zeros(1))
    net.first = first
    net.weight = torch.nn.Parameter(torch.ones(1))
    net.again = first
    net.second = second
    return net


def names(pairs):
    return [name for name, _ in pairs]
