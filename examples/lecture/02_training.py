"""Training: a network learns to classify handwritten digits.

A network is a function with many parameters. Training changes them step by step until its predictions are right:

    1. forward     a batch of images goes in, scores for each class come out
    2. loss        one number that measures the error of the scores: here the cross-entropy
    3. backward    the derivative of the loss with respect to each parameter, by the chain rule
    4. step        each parameter is changed a little, against its derivative

One pass over all training images is an epoch. The result is measured on test images that were not used for training.
"""

from pathlib import Path

import numpy as np
from page import Page

import microtensor as mt
from microtensor import models, nn, plot
from microtensor.data import DataLoader, Subset, mnist_sample


def weights(quick: bool) -> str:
    """The name of the weights file, which other pages load."""
    return "lenet5-quick.npz" if quick else "lenet5.npz"


def train(path: Path, quick: bool) -> tuple[nn.Module, nn.History]:
    """Train LeNet-5 on the digits in the package, and save its weights."""
    mt.manual_seed(0)
    digits = Subset(mnist_sample(), range(1_500 if quick else 6_000))
    data = DataLoader(digits, batch_size=32, shuffle=True)
    model = models.lenet5()
    optimizer = nn.Adam(model.parameters(), lr=3e-3)
    epochs = 2 if quick else 6
    schedule = nn.CosineAnnealingLR(optimizer, T_max=epochs * len(data))  # steps become smaller towards the end
    unseen = DataLoader(mnist_sample(train=False), batch_size=500)
    settings = {"schedule": schedule, "schedule_per": "step", "validation": unseen, "progress": False}
    history = nn.fit(model, data, nn.cross_entropy, optimizer, epochs=epochs, **settings)
    mt.save(path, model.state_dict())
    return model, history


if __name__ == "__main__":
    page = Page(__doc__)

    # One step by hand. Before it, the ten scores are nearly equal, so the loss is about ln 10 = 2.30.
    model, (images, labels) = models.lenet5(), mnist_sample()[np.arange(64)]
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    loss = nn.cross_entropy(model(mt.Tensor(images)), labels)  # 1. and 2.
    loss.backward()  # 3.
    optimizer.step()  # 4.
    after = nn.cross_entropy(model(mt.Tensor(images)), labels)
    page.check("loss before the first step, about ln 10", round(loss.item(), 1), 2.3)
    page.check_least("one step reduces it by at least", loss.item() - after.item(), 1e-3)

    # Hundreds of such steps, with batches in random order: `nn.fit` is this loop, with measurements.
    model, history = train(page.out / weights(page.quick), page.quick)
    page.check_least("accuracy on test digits", history[-1]["val_accuracy"], 0.85 if page.quick else 0.97)
    page.save(plot.training_curve(history), "training.png")

    # Which digits are confused? Correct predictions are on the diagonal.
    images, labels = mnist_sample(train=False)[np.arange(1_000)]
    with model.evaluating(), mt.no_grad():
        answers = model(mt.Tensor(images)).argmax(dim=1)
    page.save(plot.confusion_matrix(labels, answers), "confusion.png")
