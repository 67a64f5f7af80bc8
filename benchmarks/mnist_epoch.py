"""An epoch of LeNet-5 on all of MNIST at batch 64, with data loading. MICROTENSOR_DATA has the folder of the files."""

import os

from benchmarks.lenet_step import lenet

BATCH = 64


def mnist():
    from microtensor.data import MNIST

    if "MICROTENSOR_DATA" not in os.environ:
        raise RuntimeError("set MICROTENSOR_DATA to the folder of MNIST's files")
    return MNIST(os.environ["MICROTENSOR_DATA"])


def microtensor():
    from microtensor import models, nn

    model = models.lenet5()
    return our_epoch(mnist(), BATCH, model, nn.Adam(model.parameters()))


def torch():
    import torch
    from torch import nn

    model = lenet(nn)
    return torch_epoch(mnist(), BATCH, model, torch.optim.Adam(model.parameters()))


def our_epoch(dataset, batch_size, model, optimizer):
    """An epoch with this library."""
    from microtensor import nn
    from microtensor.data import DataLoader

    data = DataLoader(dataset, batch_size, shuffle=True)

    def work():
        for images, labels in data:
            optimizer.zero_grad()
            nn.cross_entropy(model(images), labels).backward()
            optimizer.step()

    return work


def torch_epoch(dataset, batch_size, model, optimizer):
    """An epoch with PyTorch."""
    import torch

    images, labels = (torch.tensor(x.numpy()) for x in dataset.tensors())

    def work():
        for batch in torch.randperm(len(labels)).split(batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()

    return work
