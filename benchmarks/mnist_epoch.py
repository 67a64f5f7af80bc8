"""An epoch of LeNet-5 on the whole of MNIST at batch 64, data loading included. MICROTENSOR_DATA names the files' folder."""

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
    from microtensor.data import DataLoader

    data, model = DataLoader(mnist(), BATCH, shuffle=True), models.lenet5()
    optimizer = nn.Adam(model.parameters())

    def work():
        for images, labels in data:
            optimizer.zero_grad()
            nn.cross_entropy(model(images), labels).backward()
            optimizer.step()

    return work


def torch():
    import torch
    from torch import nn

    images, labels = (torch.tensor(x.numpy()) for x in mnist().tensors())
    model = lenet(nn)
    optimizer = torch.optim.Adam(model.parameters())

    def work():
        for batch in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()

    return work
