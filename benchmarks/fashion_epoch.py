"""An epoch of the network of examples/fashion_mnist.py on all of Fashion-MNIST at batch 128, with data loading.

The environment variable MICROTENSOR_DATA has the folder of the files.
"""

import os

from benchmarks.mnist_epoch import our_epoch, torch_epoch

BATCH = 128


def fashion():
    from microtensor.data import FashionMNIST

    if "MICROTENSOR_DATA" not in os.environ:
        raise RuntimeError("set MICROTENSOR_DATA to the folder of Fashion-MNIST's files")
    return FashionMNIST(os.environ["MICROTENSOR_DATA"])


def network(nn):
    """The network, built from the layers of either library."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 7 * 7, 10)),
    )


def microtensor():
    from microtensor import nn

    model = network(nn)
    return our_epoch(fashion(), BATCH, model, nn.AdamW(model.parameters(), lr=3e-3))


def torch():
    import torch
    from torch import nn

    model = network(nn)
    return torch_epoch(fashion(), BATCH, model, torch.optim.AdamW(model.parameters(), lr=3e-3))
