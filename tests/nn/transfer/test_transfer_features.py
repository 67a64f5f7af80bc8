"""Cached features: computed once per image, equal to those of the network, refused if they are random."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.data import DataLoader, Dataset, Subset, TensorDataset, mnist_sample
from microtensor.data.transforms import CenterCrop, Compose, Normalize, RandomHorizontalFlip
from microtensor.nn import transfer


def small():
    mt.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 10)
    )


DIGITS = Subset(mnist_sample(), range(70))


def test_the_base_runs_once_per_image_and_gives_what_comes_to_the_head():
    model, seen = transfer.freeze_base(small()), []
    model[0].register_forward_hook(lambda module, args, result: seen.append(args[0].shape[0]))
    features = transfer.cache_features(model, DIGITS, batch_size=32)
    assert seen == [32, 32, 6]
    assert features.tensors[0].device == model[5].weight.device
    assert features.nbytes == 70 * (144 * 4 + 8)
    assert repr(features) == "Features(70 samples of float32 (144,), 0.0 MB)"
    np.testing.assert_array_equal(features.tensors[1].numpy(), DIGITS[:][1])
    images = mt.Tensor(DIGITS[:][0])
    with mt.no_grad():
        expected = model.eval()(images)
    np.testing.assert_allclose(model[5](features.tensors[0]).detach().numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    nn.fit(model[5], DataLoader(features, 32), nn.cross_entropy, nn.SGD(model[5].parameters(), lr=0.1), progress=False)
    assert len(seen) == 4  # none but those of `expected`


def test_training_on_features_is_training_the_network():
    """Without randomness, training on the features takes the same steps as training through the frozen base."""
    weights = []
    for cached in (True, False):
        model = transfer.freeze_base(small().eval())
        model[4] = nn.Identity()
        head = transfer.head_of(model)
        data = transfer.cache_features(model, DIGITS) if cached else DIGITS
        optimizer = nn.SGD(head.parameters(), lr=0.1, momentum=0.9)
        loader = DataLoader(data, 16, shuffle=True, generator=mt.Generator(0))
        nn.fit(head if cached else model, loader, nn.cross_entropy, optimizer, epochs=3, progress=False)
        weights.append(head.weight.numpy())
    np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-5)


def test_features_are_the_same_each_time_and_modes_and_generators_stay():
    model = small().train()
    state = mt.random.default.get_state()
    first, second = (transfer.cache_features(model, DIGITS).tensors[0].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(module.training for module in model.modules())
    assert mt.random.default.get_state() == state
    assert not model[5]._hooks


def test_features_before_another_module_and_through_a_transform():
    model = small()
    assert transfer.cache_features(model, DIGITS, at="2").tensors[0].shape == (70, 4, 6, 6)


def test_features_through_a_transform():
    model, sample = small(), mnist_sample()
    raw = [(image[None], label) for image, label in zip(sample.images[:70], sample.labels[:70])]
    still = Compose([CenterCrop(28), Normalize(sample.mean, sample.std)])
    through = transfer.cache_features(model, raw, transform=still).tensors[0].numpy()
    np.testing.assert_allclose(through, transfer.cache_features(model, DIGITS).tensors[0].numpy(), rtol=1e-4, atol=1e-5)


class Noisy(Dataset):
    """Draws from NumPy's generator, whose state is not compared."""

    def __init__(self):
        self.source = np.random.default_rng(0)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.source.standard_normal((1, 28, 28)).astype(np.float32), index


class Drawing(Noisy):
    """Draws from the default generator; the samples do not show it."""

    def __getitem__(self, index):
        mt.random.default.integers(0, 2, ())
        return np.zeros((1, 28, 28), np.float32), index


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transform": RandomHorizontalFlip()}, r"RandomHorizontalFlip\(p=0.5\) is random, .* every epoch would see the same"),
        ({"dataset": Noisy()}, "Noisy is random"),
        ({"dataset": Drawing()}, "Drawing is random"),
        ({"dataset": Subset(DIGITS, [])}, "the data set is empty"),
        ({"dataset": DataLoader(DIGITS, 8)}, r"got a DataLoader; give its data set, and its transform: .*loader\.dataset"),
        ({"dataset": np.zeros((3, 1, 28, 28))}, r"expected a data set, got ndarray; make one: TensorDataset"),
        ({"dataset": TensorDataset(np.zeros((3, 1, 28, 28)))}, r"expected samples \(image, label\) from TensorDataset"),
        ({"transform": RandomHorizontalFlip}, "expected a transform, a function or None, got the class RandomHorizontalFlip"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"at": "9"}, "cache_features: Sequential has no layer '9'"),
        ({"at": 5}, "a layer is asked for by its dotted name, such as .*, got 5"),
        ({"model": models.lenet5}, r"expected a Module, got function"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1))}, "computes on with the scores of 1, .* at="),
        ({"model": nn.Sequential(nn.Flatten(), *[nn.Linear(784, 784)] * 2)}, "2 computed 2 times for a batch, and once"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words(settings, message):
    given = {"model": small(), "dataset": DIGITS} | settings
    with pytest.raises((TypeError, ValueError), match=message):
        transfer.cache_features(**given)


def test_a_network_that_computes_on_trains_from_an_earlier_module_on():
    mt.manual_seed(0)
    model = models.squeezenet1_1(num_classes=3)
    data = TensorDataset(np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32), np.arange(2))
    with pytest.raises(ValueError, match=r"SqueezeNet computes on with the scores of classifier\.1"):
        transfer.cache_features(model, data)
    features = transfer.cache_features(model, data, at="classifier").tensors[0]
    tail = nn.Sequential(model.classifier, nn.Flatten()).eval()
    np.testing.assert_allclose(tail(features).detach().numpy(), model.eval()(data.tensors[0]).detach().numpy(), rtol=1e-5)
