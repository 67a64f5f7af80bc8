"""Transfer learning: start from a network that was trained on another task.

The first layers of a network learn strokes and corners, which are useful for many tasks; the last layer is specific to its
task. So with few labels one takes a network that was trained on something else, and

    1. replaces the head      a new last layer, with one score for each class of the new task
    2. freezes the base       only the head is trained
    3. fine-tunes             then all layers are trained, with smaller learning rates for earlier layers

Here the first task is to classify the digits 0 to 4, with many labels; the second the digits 5 to 9, with few.
(examples/transfer.py measures this in detail, and has a case in which transfer does not help.)
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
    return LabelledImages(digits.images[chosen], digits.labels[chosen] - classes.start)


def network() -> nn.Sequential:
    """LeNet-5's two convolutions and one linear layer, the head: 28×28 pixels → 16 maps of 5×5 → five scores."""
    return nn.Sequential(*models.lenet5().features, nn.Flatten(), nn.Linear(16 * 5 * 5, 5))


def learn(model, data, groups, lr, epochs):
    nn.fit(model, DataLoader(data, 16, shuffle=True), nn.cross_entropy, nn.AdamW(groups, lr=lr), epochs=epochs, progress=False)


# The first task.
base = network()
before = Subset(only(mnist_sample(), range(5)), range(400 if page.quick else 3_000))
learn(base, before, base.parameters(), 3e-3, epochs=1 if page.quick else 6)

# The second, by three methods, each on several random draws of few digits.
digits, unseen = only(mnist_sample(), range(5, 10)), DataLoader(only(mnist_sample(train=False), range(5, 10)), 500)
lengths = {20: 5, 100: 3} if page.quick else {20: 96, 100: 43}  # epochs, by the number of labels
accuracies = {method: {count: [] for count in lengths} for method in ("from scratch", "frozen", "fine-tuned")}
for count, epochs in lengths.items():
    for seed in range(1 if page.quick else 5):
        few = Subset(digits, mt.Generator(seed).permutation(len(digits))[:count])
        model = network()
        learn(model, few, model.parameters(), 3e-3, epochs)
        accuracies["from scratch"][count].append(nn.evaluate(model, unseen)["accuracy"])

        model.load_state_dict(base.state_dict())
        transfer.replace_head(model, num_classes=5)  # 1.
        transfer.freeze_base(model)  # 2.
        head, features = transfer.head_of(model), transfer.cache_features(model, few)  # the base runs once per image
        learn(head, features, head.parameters(), 3e-3, epochs)
        accuracies["frozen"][count].append(nn.evaluate(model, unseen)["accuracy"])
        kept = [np.array_equal(now.numpy(), then.numpy()) for now, then in zip(model.parameters(), base.parameters())]

        model.unfreeze()  # 3.
        groups = transfer.layer_groups(model, lr=1e-3, factor=3)
        learn(model, few, groups, 1e-3, epochs)
        accuracies["fine-tuned"][count].append(nn.evaluate(model, unseen)["accuracy"])

page.check("frozen: both convolutions are unchanged, the head is not", kept, [True] * 4 + [False] * 2)
page.check("fine-tuned: learning rates, from the first layer", [round(g["lr"], 6) for g in groups], [0.000111, 0.000333, 0.001])
for count in lengths:
    means = {method: float(np.mean(accuracies[method][count])) for method in accuracies}
    for method, mean in means.items():
        page.check_least(f"{count} labels, {method}: accuracy", mean, 0.3)  # chance: 0.2
    if not page.quick:
        page.check_least("    advantage of frozen, percentage points", 100 * (means["frozen"] - means["from scratch"]), 1)
page.save(plot.few_shot_curve(accuracies), "transfer_learning.png")
