"""Small training runs, and whether two of them came to the same."""

import numpy as np

import microtensor as mt
from microtensor import nn
from microtensor.data import DataLoader, TensorDataset

POINTS = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)
LABELS = (POINTS[:, 0] > POINTS[:, 1]).astype(np.int64)


def setting(batch_size=8, lr=0.3):
    mt.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))
    data = DataLoader(TensorDataset(POINTS, LABELS), batch_size, shuffle=True, generator=mt.Generator(1))
    return model, data, nn.SGD(model.parameters(), lr=lr, momentum=0.9)


def weights(model):
    return np.concatenate([p.numpy().ravel() for p in model.parameters()])


def train_in(folder, *callbacks, epochs=1):
    """Train a layer for two steps an epoch, with checkpoints in a folder."""
    model = nn.Linear(2, 2, generator=mt.Generator(0))
    data = [(mt.Tensor(np.eye(2, dtype="float32")), mt.tensor([0, 1]))] * 2
    optimizer, checkpoint = nn.SGD(model.parameters(), lr=0.1), nn.Checkpoint(folder)
    return nn.fit(
        model, data, nn.cross_entropy, optimizer, epochs=epochs, callbacks=callbacks, checkpoint=checkpoint, progress=False
    )


def leaves(tree, place=""):
    """(path, value) of everything in a tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else None
    if pairs is None:
        yield place, tree
    else:
        for key, value in pairs:
            yield from leaves(value, f"{place}/{key}")


def assert_same_values(tree, expected):
    """Whether two trees, such as the states of two runs, hold the same numbers, tensor for tensor."""
    found, wanted = dict(leaves(tree)), dict(leaves(expected))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, mt.Tensor):
            np.testing.assert_array_equal(found[name].numpy(), value.numpy(), strict=True, err_msg=name)
        else:
            assert found[name] == value, name
