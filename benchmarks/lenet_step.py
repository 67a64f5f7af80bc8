"""Ten training steps of LeNet-5 at batch 64."""

import numpy as np

BATCH, STEPS = 64, 10
IMAGES = np.random.default_rng(0).standard_normal((BATCH, 1, 28, 28)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 10, BATCH)


def microtensor():
    import microtensor as mt
    from microtensor import models, nn

    model = models.lenet5()
    optimizer = nn.Adam(model.parameters())
    images = mt.Tensor(IMAGES)

    def work():
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.cross_entropy(model(images), LABELS).backward()
            optimizer.step()

    return work


def torch():
    import torch
    from torch import nn

    model = lenet(nn)
    optimizer = torch.optim.Adam(model.parameters())
    images, labels = torch.tensor(IMAGES), torch.tensor(LABELS)

    def work():
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    return work


def lenet(nn):
    """The network of `microtensor.models.lenet5`, built from PyTorch's layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
