"""The classics, 1989 to 2014: parameters, multiply-adds, receptive fields, PyTorch's outputs, initial weights, learning."""

from importlib import import_module

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.data import mnist_sample

NAMES = ("lecun_1989", "tdnn", "lenet", "alexnet", "zfnet", "vgg")  # those of some files are also their factories' in `models`
FILES = lecun_1989, tdnn, lenet, alexnet, zfnet, vgg = [import_module(f"microtensor.models.{name}") for name in NAMES]
CARDS = {card.name: card for file in FILES for card in file.CARDS}

PARAMETERS = {
    "lecun_1989": 9_760,
    "tdnn": 515,
    "lenet5_1998": 60_000,
    "lenet5": 61_706,
    "alexnet_2012": 60_965_224,
    "alexnet": 61_100_840,
    "zfnet": 62_357_608,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}

MULTIPLY_ADDS = {
    "lecun_1989": 82_860,
    "tdnn": 6_072,
    "lenet5": 416_520,
    "alexnet_2012": 724_406_816,
    "alexnet": 714_188_480,
    "zfnet": 1_168_032_896,
}

VGG_MULTIPLY_ADDS = {
    "vgg11": 7_609_090_048,
    "vgg13": 11_308_466_176,
    "vgg16": 15_470_264_320,
    "vgg19": 19_632_062_464,
    "vgg11_bn": 7_609_090_048,
    "vgg13_bn": 11_308_466_176,
    "vgg16_bn": 15_470_264_320,
    "vgg19_bn": 19_632_062_464,
}


def build(name, **options):
    """The model of this name, its weights not drawn."""
    with nn.init.skipped():
        return CARDS[name].factory(**options)


def count(module):
    return sum(p.numel() for p in module.parameters())


def rows(model, shape, *types):
    return [row for row in nn.summary(model, shape).rows if row.type in types]


def types(modules):
    return [type(module).__name__ for module in modules]


# What is counted


def test_every_card_is_counted_here_and_names_its_factory():
    assert CARDS.keys() == PARAMETERS.keys()
    assert all(card.factory.__name__ == name for name, card in CARDS.items())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    assert count(build(name)) == PARAMETERS[name]


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds(name):
    found = nn.summary(build(name), CARDS[name].input_shape)
    assert found.multiply_adds == MULTIPLY_ADDS[name]
    assert found.unused == {}


@pytest.mark.parametrize("name", VGG_MULTIPLY_ADDS)
def test_multiply_adds_of_vgg(name):
    """At 32×32 each convolution computes a 49th of what it does at 224×224, and the linear layers the same."""
    found = rows(build(name), (3, 32, 32), "Conv2d", "Linear")
    convolutions = sum(row.multiply_adds for row in found if row.type == "Conv2d")
    linear = sum(row.multiply_adds for row in found if row.type == "Linear")
    assert 49 * convolutions + linear == VGG_MULTIPLY_ADDS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", VGG_MULTIPLY_ADDS)
def test_multiply_adds_of_vgg_at_full_size(name):
    assert nn.summary(build(name), CARDS[name].input_shape).multiply_adds == VGG_MULTIPLY_ADDS[name]


def test_vgg16_for_two_classes():
    assert count(build("vgg16", num_classes=2)) == 134_268_738


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lecun_1989", (1, 16, 16)), ("tdnn", (16, 15)), ("alexnet", (3, 63, 63)), ("vgg11", (3, 32, 32)), ("vgg11", (3, 40, 64))],
)
def test_classes_and_sizes(name, shape):
    found = nn.summary(build(name, num_classes=7), shape)
    assert found.rows[0].output_shape == (7,)


def test_alexnet_of_2012_layer_by_layer():
    found = rows(build("alexnet_2012"), (3, 227, 227), "Conv2d", "Linear")
    assert [row.parameters for row in found] == [
        34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000
    ]  # fmt: skip
    assert [row.output_shape for row in found[:5]] == [
        (96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)
    ]  # fmt: skip


def test_zfnet_layer_by_layer():
    found = rows(build("zfnet"), (3, 224, 224), "Conv2d", "MaxPool2d", "Linear")
    assert [row.parameters for row in found if row.parameters] == [
        14_208, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000
    ]  # fmt: skip
    assert [row.output_shape[1] for row in found[:8]] == [110, 55, 26, 13, 13, 13, 13, 6]


def test_receptive_fields():
    def sides(name, shape, *kinds):
        return [field.size[0] for field in nn.receptive_field(build(name), shape) if field.type in kinds]

    for name, size in (("alexnet_2012", 227), ("alexnet", 224)):
        assert sides(name, (3, size, size), "Conv2d") == [11, 51, 99, 131, 163]
        assert sides(name, (3, size, size), "MaxPool2d")[-1] == 195
    found = nn.receptive_field(build("vgg16").features, (3, 32, 32))
    assert (found["28"].size, found["30"].size, found["30"].jump) == ((196, 196), (212, 212), (32, 32))
    assert sides("lecun_1989", (1, 16, 16), "Maps") == [5, 13]
    assert sides("tdnn", (16, 15), "Conv1d", "TDNN") == [15, 3, 7]


# The zip code network of 1989


def test_units_connections_and_parameters_of_1989():
    model = lecun_1989.lecun_1989()
    h1, h2 = (row.output_shape for row in rows(model, (1, 16, 16), "Maps"))
    assert (h1, h2) == ((12, 8, 8), (12, 4, 4))
    assert {name: count(child) for name, child in model.named_children()} == {
        "h1": 1_068, "h2": 2_592, "h3": 5_790, "output": 310
    }  # fmt: skip
    units = [768, 192, 30, 10]
    fan_in = [model.h1.weight[0].numel(), model.h2.weight[0].numel(), model.h3.in_features, model.output.in_features]
    assert 256 + sum(units) == 1_256
    assert sum(n * (inputs + 1) for n, inputs in zip(units, fan_in)) == 64_660


def test_the_table_of_h2():
    seen = np.zeros((12, 12), int)
    for number, maps in enumerate(lecun_1989.H2_TABLE):
        seen[number, list(maps)] += 1
    assert set(seen.ravel()) == {0, 1}
    assert seen.sum(0).tolist() == seen.sum(1).tolist() == [8] * 12
    assert len({tuple(row) for row in seen}) == 12
    layer = lecun_1989.Maps(12, lecun_1989.H2_TABLE, 4)
    x = mt.Tensor(np.random.default_rng(0).normal(size=(1, 12, 8, 8)).astype(np.float32), requires_grad=True)
    for number, row in enumerate(seen):
        (gradient,) = mt.grad(layer(x)[0, number].sum(), x)
        assert (abs(gradient.numpy()).sum((0, 2, 3)) > 0).tolist() == row.astype(bool).tolist()


def test_the_border_looks_like_background():
    model = lecun_1989.lecun_1989()
    maps = model.h1(mt.Tensor(np.full((1, 1, 16, 16), -1, np.float32))).numpy()
    np.testing.assert_allclose(maps, np.broadcast_to(maps[:, :, :1, :1], maps.shape), atol=1e-6)
    assert len(np.unique(maps[0, :, 0, 0])) == 12


def test_outputs_and_gradients_of_1989_are_pytorchs():
    """Written with a group of 8 input maps for each map of H2, where ours spreads kernels over zeros."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    ours = lecun_1989.lecun_1989().double()
    rng = np.random.default_rng(0)
    for parameter in ours.parameters():
        parameter.array[...] = mt.Tensor(rng.normal(0, 0.1, parameter.shape)).array
    w1, b1, w2, b2, *rest = (torch.tensor(p.numpy(), requires_grad=True) for p in ours.parameters())
    x, g = rng.uniform(-1, 1, (2, 1, 16, 16)), rng.normal(size=(2, 10))
    image = torch.tensor(x, requires_grad=True)

    def squash(t):
        return 1.7159 * torch.tanh(2 / 3 * t)

    h1 = squash(F.conv2d(F.pad(image, (2, 2, 2, 2), value=-1), w1, stride=2) + b1)
    seen = F.pad(h1, (2, 2, 2, 2), value=-1)[:, torch.tensor(lecun_1989.H2_TABLE).ravel()]
    h2 = squash(F.conv2d(seen, w2, stride=2, groups=12) + b2)
    expected = squash(F.linear(squash(F.linear(h2.flatten(1), rest[0], rest[1])), rest[2], rest[3]))
    expected.backward(torch.tensor(g))
    mine = mt.Tensor(x, requires_grad=True)
    scores = ours(mine)
    scores.backward(mt.Tensor(g))
    np.testing.assert_allclose(scores.numpy(), expected.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(mine.grad.numpy(), image.grad.numpy(), rtol=1e-9, atol=1e-12)
    for (name, p), q in zip(ours.named_parameters(), (w1, b1, w2, b2, *rest)):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_weights_of_1989_start_within_2_4_over_fan_in():
    mt.manual_seed(0)
    model = lecun_1989.lecun_1989()
    for layer, fan_in in ((model.h1, 25), (model.h2, 200), (model.h3, 192), (model.output, 30)):
        assert 0.9 < abs(layer.weight.numpy()).max() * fan_in / 2.4 <= 1
        assert not layer.bias.numpy().any()


def test_the_network_of_1989_learns():
    mt.manual_seed(0)
    digits = mnist_sample()
    pixels = mt.Tensor(digits.images[:128, None].astype(np.float32) / 127.5 - 1)
    images, labels = nn.interpolate(pixels, (16, 16), mode="bilinear"), digits.labels[:128]
    assert learned(lecun_1989.lecun_1989(), images, labels, lr=1e-2, steps=50) >= 0.95


def learned(model, inputs, labels, lr, steps):
    """The training accuracy after so many steps on all of it."""
    optimizer = nn.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return (model(inputs).argmax(dim=1).numpy() == labels).mean()


# The time-delay network


def test_tdnn_is_pytorchs():
    torch = pytest.importorskip("torch")
    ours = tdnn.tdnn()
    theirs = torch.nn.ModuleDict({"hidden1": torch.nn.Conv1d(16, 8, 3), "hidden2": torch.nn.Conv1d(8, 3, 5)})
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(2, 16, 15)).astype(np.float32)
    expected = theirs["hidden2"](theirs["hidden1"](torch.tensor(x)).sigmoid()).sigmoid().sum(2)
    np.testing.assert_allclose(ours(mt.Tensor(x)).numpy(), expected.detach().numpy(), rtol=1e-5)


def test_tdnn_does_not_mind_when_a_sound_comes():
    model = tdnn.tdnn()
    sound = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
    x = np.zeros((3, 16, 25), np.float32)
    for sample, start in zip(x, (6, 9, 14)):
        sample[:, start : start + 5] = sound
    scores = model(mt.Tensor(x)).numpy()
    np.testing.assert_allclose(scores[1:], scores[[0, 0]], rtol=1e-5)


def test_tdnn_learns():
    """Three sounds, each at any time in noise."""
    mt.manual_seed(0)
    rng = np.random.default_rng(0)
    sounds, labels = rng.normal(size=(3, 16, 5)), rng.integers(0, 3, 150)
    x = rng.normal(0, 0.3, (150, 16, 15))
    for sample, label, start in zip(x, labels, rng.integers(0, 11, 150)):
        sample[:, start : start + 5] += sounds[label]
    assert learned(tdnn.tdnn(), mt.Tensor(x.astype(np.float32)), labels, lr=3e-2, steps=50) >= 0.95


# AlexNet, ZFNet, VGG


def test_names_are_torchvisions():
    assert list(build("alexnet").state_dict())[::2] == [
        *(f"features.{i}.weight" for i in (0, 3, 6, 8, 10)), "classifier.1.weight", "classifier.4.weight", "classifier.6.weight"
    ]  # fmt: skip
    assert list(build("vgg11").state_dict())[::2] == [
        *(f"features.{i}.weight" for i in (0, 3, 6, 8, 11, 13, 16, 18)), *(f"classifier.{i}.weight" for i in (0, 3, 6))
    ]  # fmt: skip
    assert list(build("vgg19_bn").state_dict())[-13:-5] == [
        "features.49.weight", "features.49.bias", "features.50.weight", "features.50.bias",
        "features.50.running_mean", "features.50.running_var", "features.50.num_batches_tracked", "classifier.0.weight",
    ]  # fmt: skip


def test_where_dropout_is():
    before = ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Linear"]
    after = ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    for name, expected in (("alexnet", before), ("alexnet_2012", after), ("zfnet", after), ("vgg11", after)):
        model = build(name, dropout=0.3)
        assert types(model.classifier) == expected
        assert {layer.p for layer in model.classifier if isinstance(layer, nn.Dropout)} == {0.3}


def layers_of(torch, name):
    """The convolutions of a network in PyTorch, written out by hand."""
    from torch.nn import BatchNorm2d, Conv2d, LocalResponseNorm, MaxPool2d, ReLU

    def norm():
        return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)

    return torch.nn.Sequential(
        *{
            "alexnet": lambda: [
                *(Conv2d(3, 64, 11, 4, 2), ReLU(), MaxPool2d(3, 2)),
                *(Conv2d(64, 192, 5, padding=2), ReLU(), MaxPool2d(3, 2)),
                *(Conv2d(192, 384, 3, padding=1), ReLU(), Conv2d(384, 256, 3, padding=1), ReLU()),
                *(Conv2d(256, 256, 3, padding=1), ReLU(), MaxPool2d(3, 2)),
            ],
            "alexnet_2012": lambda: [
                *(Conv2d(3, 96, 11, 4), ReLU(), norm(), MaxPool2d(3, 2)),
                *(Conv2d(96, 256, 5, padding=2, groups=2), ReLU(), norm(), MaxPool2d(3, 2)),
                *(Conv2d(256, 384, 3, padding=1), ReLU(), Conv2d(384, 384, 3, padding=1, groups=2), ReLU()),
                *(Conv2d(384, 256, 3, padding=1, groups=2), ReLU(), MaxPool2d(3, 2)),
            ],
            "zfnet": lambda: [
                *(Conv2d(3, 96, 7, 2, 1), ReLU(), MaxPool2d(3, 2, ceil_mode=True), norm()),
                *(Conv2d(96, 256, 5, 2), ReLU(), MaxPool2d(3, 2, ceil_mode=True), norm()),
                *(Conv2d(256, 384, 3, padding=1), ReLU(), Conv2d(384, 384, 3, padding=1), ReLU()),
                *(Conv2d(384, 256, 3, padding=1), ReLU(), MaxPool2d(3, 2, ceil_mode=True)),
            ],
            "vgg11": lambda: [
                *(Conv2d(3, 64, 3, padding=1), ReLU(), MaxPool2d(2, 2), Conv2d(64, 128, 3, padding=1), ReLU(), MaxPool2d(2, 2)),
                *(Conv2d(128, 256, 3, padding=1), ReLU(), Conv2d(256, 256, 3, padding=1), ReLU(), MaxPool2d(2, 2)),
                *(Conv2d(256, 512, 3, padding=1), ReLU(), Conv2d(512, 512, 3, padding=1), ReLU(), MaxPool2d(2, 2)),
                *(Conv2d(512, 512, 3, padding=1), ReLU(), Conv2d(512, 512, 3, padding=1), ReLU(), MaxPool2d(2, 2)),
            ],
            "vgg11_bn": lambda: [
                *(Conv2d(3, 64, 3, padding=1), BatchNorm2d(64), ReLU(), MaxPool2d(2, 2)),
                *(Conv2d(64, 128, 3, padding=1), BatchNorm2d(128), ReLU(), MaxPool2d(2, 2)),
                *(Conv2d(128, 256, 3, padding=1), BatchNorm2d(256), ReLU()),
                *(Conv2d(256, 256, 3, padding=1), BatchNorm2d(256), ReLU(), MaxPool2d(2, 2)),
                *(Conv2d(256, 512, 3, padding=1), BatchNorm2d(512), ReLU()),
                *(Conv2d(512, 512, 3, padding=1), BatchNorm2d(512), ReLU(), MaxPool2d(2, 2)),
                *(Conv2d(512, 512, 3, padding=1), BatchNorm2d(512), ReLU()),
                *(Conv2d(512, 512, 3, padding=1), BatchNorm2d(512), ReLU(), MaxPool2d(2, 2)),
            ],
        }[name]()
    )


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", 71), ("alexnet_2012", 83), ("zfnet", 70), ("vgg11", 32), ("vgg11_bn", 32)]
)
def test_convolutions_are_pytorchs(name, size):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs, ours = layers_of(torch, name), build(name).features
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    image, mine = torch.tensor(x, requires_grad=True), mt.Tensor(x, requires_grad=True)
    for training in (True, False):  # the first changes running statistics, which the second uses
        expected, y = theirs.train(training)(image), ours.train(training)(mine)
        scale = abs(expected.detach().numpy()).max()
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-4 * scale)
    g = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    y.backward(mt.Tensor(g))
    expected.backward(torch.tensor(g))
    pairs = [("x", mine, image), *((n, p, q) for (n, p), q in zip(ours.named_parameters(), theirs.parameters()))]
    for name, p, q in pairs:
        np.testing.assert_allclose(
            p.grad.numpy(), q.grad.numpy(), rtol=1e-3, atol=1e-4 * float(q.grad.abs().max()), err_msg=name
        )


def test_responses_are_normalised_as_in_2012():
    """Krizhevsky et al. 2012, section 3.3, by its formula: n 5, α 1e-4, β 0.75, k 2."""
    a = np.random.default_rng(0).uniform(0, 200, (1, 8, 1, 1))
    expected = [a[0, i] / (2 + 1e-4 * (a[0, max(0, i - 2) : i + 3] ** 2).sum()) ** 0.75 for i in range(8)]
    for name in ("alexnet_2012", "zfnet"):
        norms = [layer for layer in build(name).features if isinstance(layer, nn.LocalResponseNorm)]
        assert len(norms) == 2
        for norm in norms:
            np.testing.assert_allclose(norm(mt.Tensor(a)).numpy()[0], expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "biases"), [("alexnet_2012", [0, 1, 0, 1, 1, 1, 1, 0]), ("zfnet", [0] * 8)])
def test_weights_start_from_a_hundredth(name, biases, monkeypatch):
    drawn = []
    monkeypatch.setattr(nn.init, "normal_", lambda weight, mean=0.0, std=1.0: drawn.append((weight.ndim, mean, std)))
    model = CARDS[name].factory()
    assert drawn == [(4, 0.0, 0.01)] * 5 + [(2, 0.0, 0.01)] * 3
    learned = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert [set(layer.bias.tolist()) for layer in learned] == [{bias} for bias in biases]


def test_vgg_starts_as_torchvisions(monkeypatch):
    mt.manual_seed(0)
    convolution, linear = nn.Conv2d(32, 128, 3), nn.Linear(300, 200)
    nn.Sequential(convolution, linear).apply(vgg.initialise)
    assert convolution.weight.numpy().std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert linear.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert not convolution.bias.numpy().any()
    assert not linear.bias.numpy().any()
    seen = []
    monkeypatch.setattr(vgg, "initialise", seen.append)
    vgg.vgg11()
    assert [types(seen).count(kind) for kind in ("Conv2d", "Linear")] == [8, 3]


# What is refused


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "lecun_1989",
            (2, 1, 28, 28),
            r"lecun_1989: expected x \(N, 1, 16, 16\), got shape \(2, 1, 28, 28\); resize the digits",
        ),
        ("lecun_1989", (1, 16, 16), r"lecun_1989: expected x \(N, 1, 16, 16\), got shape \(1, 16, 16\)"),
        ("tdnn", (2, 12, 15), r"takes 16 channels per group, but x \(2, 12, 15\) has 12"),
        ("tdnn", (2, 16, 6), r"conv1d: "),
        ("alexnet_2012", (1, 3, 224, 224), r"alexnet_2012: expected x \(N, 3, 227, 227\), got shape \(1, 3, 224, 224\)"),
        ("zfnet", (1, 1, 224, 224), r"zfnet: expected x \(N, 3, 224, 224\), got shape \(1, 1, 224, 224\)"),
        ("alexnet", (1, 1, 224, 224), r"takes 3 channels per group, but x \(1, 1, 224, 224\) has 1"),
    ],
)
def test_wrong_input_is_refused_in_words(name, shape, message):
    with pytest.raises(ValueError, match=message):
        build(name)(mt.Tensor(np.zeros(shape, np.float32)))


@pytest.mark.parametrize(("name", "size"), [("alexnet", 62), ("vgg11", 31)])
def test_an_image_too_small_for_the_pools_is_refused(name, size):
    with pytest.raises(ValueError, match="MaxPool2d"):
        nn.summary(build(name), (3, size, size))


def test_vgg_has_five_stages():
    with pytest.raises(ValueError, match=r"VGG: expected the number of convolutions of each of 5 stages, got \(2, 2\)"):
        vgg.VGG((2, 2))
