"""Transfer learning: begin with what another task has taught.

The first layers of a network learn strokes and corners, which serve many tasks; the last layer belongs to its own task alone.
So with few labels one takes a network that was trained on something else, and

    1. replaces the head      a new last layer, with as many scores as the new task has classes
    2. freezes the base       only the head learns; nothing that was learned before is lost
    3. fine-tunes             then all layers learn, the nearer to the pixels the smaller the steps

Here the first task is to read the digits 0 to 4, of which there are many; the second to read 5 to 9, of which there are few.
(examples/transfer.py measures it at length, and has a case in which transfer does not help.)
"""

import numpy as np
from page import Page

import microtensor as mt
from microtensor import models, nn, plot
from microtensor.data import DataLoader, LabelledImages, Subset, mnist_sample
from microtensor.nn import transfer

page = Page(__doc__)


def only(digits: LabelledImages, classes: range) -> LabelledImages:
    """The digits of these classes, counted from 0."""
    chosen = np.isin(digits.labels, classes)
    return LabelledImages(digits.images[chosen], digits.labels[chosen] - classes.start, [str(c) for c in classes])


def learn(model, data, groups, lr, epochs):
    """Train by AdamW."""
    nn.fit(model, DataLoader(data, 16, shuffle=True), nn.cross_entropy, nn.AdamW(groups, lr=lr), epochs=epochs, progress=False)


# The first task.
before = Subset(only(mnist_sample(), range(5)), range(500 if page.quick else 3_000))
base = models.lenet5(num_classes=5)
learn(base, before, base.parameters(), 3e-3, epochs=2 if page.quick else 4)

# The second, in three ways, each with several draws of few digits.
digits, unseen = only(mnist_sample(), range(5, 10)), DataLoader(only(mnist_sample(train=False), range(5, 10)), 500)
epochs, ways = 5 if page.quick else 40, ("from scratch", "frozen", "fine-tuned")
accuracies = {way: {count: [] for count in (20, 100)} for way in ways}
for count in (20, 100):
    for seed in range(1 if page.quick else 4):
        few = Subset(digits, mt.Generator(seed).permutation(len(digits))[:count])

        model = models.lenet5(num_classes=5)
        learn(model, few, model.parameters(), 3e-3, epochs)
        accuracies["from scratch"][count].append(nn.evaluate(model, unseen)["accuracy"])

        model = models.lenet5(num_classes=5)
        model.load_state_dict(base.state_dict())
        transfer.freeze_base(transfer.replace_head(model, num_classes=5))  # 1. and 2.
        head, features = transfer.head_of(model), transfer.cache_features(model, few)  # the base runs once per image
        learn(head, features, head.parameters(), 3e-3, epochs)
        same = np.array_equal(model.features[0].weight.numpy(), base.features[0].weight.numpy())
        accuracies["frozen"][count].append(nn.evaluate(model, unseen)["accuracy"])

        model.unfreeze()  # 3.
        groups = transfer.layer_groups(model, lr=1e-3, factor=3)
        learn(model, few, groups, 1e-3, epochs)
        accuracies["fine-tuned"][count].append(nn.evaluate(model, unseen)["accuracy"])

page.check("the frozen base is as it was", same, True)
page.check("it learns", sum(p.numel() for p in head.parameters()), 84 * 5 + 5)
page.check("of", sum(p.numel() for p in model.parameters()), 61_281)
page.check("learning rates, first layers to head", [round(g["lr"], 6) for g in groups], [0.000111, 0.000333, 0.001])
for way in ways:
    page.check_least(f"{way}, 20 labels: accuracy", float(np.mean(accuracies[way][20])), 0.2)
if not page.quick:
    ahead = np.mean(accuracies["fine-tuned"][20]) - np.mean(accuracies["from scratch"][20])
    page.check_least("with 20 labels, what was learned before is worth (points of accuracy)", 100 * float(ahead), 3)
page.save(plot.few_shot_curve(accuracies, chance=0.2), "transfer_learning.png")
