"""LeNet-5, as taught and as published: parameters, shapes, PyTorch's outputs, learning."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.data import mnist_sample
from microtensor.models import lenet


def count(module):
    return sum(p.array.size for p in module.parameters())


def test_parameters():
    assert count(models.lenet5()) == 61_706
    assert count(models.lenet5_1998()) == 60_000


def test_parameters_of_1998_layer_by_layer():
    model = models.lenet5_1998()
    layers = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert {name: count(getattr(model, name)) for name in layers} == layers
    assert [name for name, _ in model.named_buffers()] == ["codes"]


def test_the_table_of_c3():
    model = models.lenet5_1998()
    dense = (model.c3.place < 60).astype(int)
    assert dense.sum() == 60
    assert dense.sum(0).tolist() == [10] * 6  # each map of S2 goes to ten of C3
    assert dense.sum(1).tolist() == [3] * 6 + [4] * 9 + [6]
    assert len({tuple(row) for row in dense}) == 16


def test_the_drawings_of_the_digits_differ():
    codes = lenet.digit_codes()
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1.0, 1.0}
    distances = (codes[:, None] != codes[None]).sum(-1) + 84 * np.eye(10, dtype=int)
    assert distances.min() >= 5


def test_scaled_tanh_keeps_one():
    assert lenet.scaled_tanh(mt.Tensor([1.0])).item() == pytest.approx(1.0, abs=1e-4)


def test_outputs_and_gradients_are_pytorchs():
    torch = pytest.importorskip("torch")
    tn = torch.nn
    ours = models.lenet5().to(np.float64)  # in float32 the two may round to different sides of a ReLU's zero
    features = [tn.Conv2d(1, 6, 5, padding=2), tn.ReLU(), tn.MaxPool2d(2), tn.Conv2d(6, 16, 5), tn.ReLU(), tn.MaxPool2d(2)]
    classifier = [tn.Flatten(), tn.Linear(400, 120), tn.ReLU(), tn.Linear(120, 84), tn.ReLU(), tn.Linear(84, 10)]
    theirs = tn.ModuleDict({"features": tn.Sequential(*features), "classifier": tn.Sequential(*classifier)}).double()
    ours.load_state_dict({name: mt.Tensor(value.numpy()) for name, value in theirs.state_dict().items()})
    images, labels = mnist_sample(train=False)[:16]
    images = images.astype(np.float64)
    expected = theirs["classifier"](theirs["features"](torch.tensor(images)))
    loss = nn.cross_entropy(ours(mt.Tensor(images)), labels)
    np.testing.assert_allclose(ours(mt.Tensor(images)).numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    loss.backward()
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def overfit(model, images, steps):
    """The training accuracy after so many steps on the same few digits."""
    labels = mnist_sample().labels[: len(images)]
    optimizer = nn.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return (model(images).argmax(dim=1).numpy() == labels).mean()


def test_lenet5_learns():
    mt.manual_seed(0)
    images = mt.Tensor(mnist_sample()[:128][0])
    assert overfit(models.lenet5(), images, 60) >= 0.95


def test_lenet5_of_1998_learns():
    mt.manual_seed(0)
    pixels = mnist_sample().images[:128].astype(np.float32) / 255 * 1.275 - 0.1  # the paper's: −0.1 to 1.175
    images = mt.Tensor(pixels[:, None]).pad((2, 2, 2, 2), value=-0.1)
    assert overfit(models.lenet5_1998(), images, 60) >= 0.95


def test_wrong_input_is_refused_in_words():
    with pytest.raises(
        ValueError, match=r"lenet5_1998: expected x \(N, 1, 32, 32\), got shape \(2, 1, 28, 28\); pad 28×28 digits"
    ):
        models.lenet5_1998()(mt.Tensor(np.zeros((2, 1, 28, 28), np.float32)))
    with pytest.raises(ValueError, match=r"takes 1 channels per group, but x \(2, 3, 28, 28\) has 3"):
        models.lenet5()(mt.Tensor(np.zeros((2, 3, 28, 28), np.float32)))
