"""Transfer learning: the head found and replaced, the base frozen, its features kept, groups of layers and their rates."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.data import DataLoader, Dataset, Subset, TensorDataset, mnist_sample
from microtensor.data.transforms import CenterCrop, Compose, Normalize, RandomHorizontalFlip
from microtensor.models.catalogue import cards
from microtensor.nn import transfer
from microtensor.nn.inspect.trace import trace
from microtensor.nn.transfer.groups import split

WITHOUT_HEAD = {
    "lenet5_1998": "its own, beside its layers",  # the distance to drawings of ten digits
    "denoising_autoencoder": "those of decoder.5, ConvTranspose2d",
    "conv_autoencoder": "those of decoder.5, ConvTranspose2d",
    "conv_vae": "those of decoder.5, ConvTranspose2d",
    "fcn32s_vgg16": "those of upscore, ConvTranspose2d",  # several layers have as many channels as there are classes
    "fcn16s_vgg16": "those of upscore16, ConvTranspose2d",
    "fcn8s_vgg16": "those of upscore8, ConvTranspose2d",
}
AUXILIARY = {"googlenet": 2, "googlenet_2014": 2, "inception_v3": 1, "fcn_resnet50": 1, "fcn_resnet101": 1}


def built(name):
    with nn.init.skipped():
        return cards()[name].factory()


# The head


@pytest.mark.parametrize("name", cards())
def test_every_network_of_the_catalogue_gets_a_new_head_and_keeps_all_else(name):
    model = built(name)
    before = dict(model.named_parameters())
    if name in WITHOUT_HEAD:
        with pytest.raises(ValueError, match=f"replace_head: {type(model).__name__} .* last weights are {WITHOUT_HEAD[name]}"):
            transfer.replace_head(model, 7)
        return
    old = transfer.head_of(model)
    with nn.init.skipped():
        assert transfer.replace_head(model, 7) is model
    after = dict(model.named_parameters())
    changed = [key for key in before if after[key] is not before[key]]
    assert [*after] == [*before]  # in the same order too
    assert len([key for key in changed if key.endswith("weight")]) == 1 + AUXILIARY.get(name, 0)
    for key in changed:
        assert after[key].shape == (7, *before[key].shape[1:])
    new = transfer.head_of(model)
    assert new is not old
    assert type(new) is type(old)


@pytest.mark.parametrize("name", ["lecun_1989", "tdnn", "lenet5", "squeezenet1_1", "cifar_resnet20"])
def test_the_network_then_gives_as_many_scores(name):
    with nn.init.skipped():
        model = transfer.replace_head(built(name), 7)
    assert trace("test", model, cards()[name].input_shape, depth=0).calls[0].shapes == [(7,)]


def test_scores_of_every_pixel():
    with nn.init.skipped():
        model = transfer.replace_head(models.unet(base=4), 7)
    assert trace("test", model, (1, 32, 32), depth=0).calls[0].shapes == [(7, 32, 32)]


def test_a_head_is_as_the_old_one_but_fresh():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, (3, 1), (2, 1), (1, 0), bias=False)).double().eval().freeze()
    head = transfer.head_of(transfer.replace_head(model, 5))
    assert repr(head) == "Conv2d(4, 5, kernel_size=(3, 1), stride=(2, 1), padding=(1, 0), bias=False)"
    assert head.weight.dtype == np.float64
    assert head.weight.device == model[0].weight.device
    assert (head.training, head.frozen, head.weight.requires_grad) == (False, False, True)
    assert model[0].frozen
    first, second = (
        transfer.head_of(transfer.replace_head(models.lenet5(), 3, generator=mt.Generator(1))).weight.numpy() for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_a_named_layer_and_one_that_two_names_lead_to():
    model = models.lenet5()
    last = model.classifier[5]
    transfer.replace_head(model, 3, name="classifier.3")
    assert model.classifier[3].out_features == 3
    assert model.classifier[5] is last
    shared = nn.Sequential({"first": nn.Linear(2, 2), "second": nn.ReLU()})
    shared.append(shared[0])
    transfer.replace_head(shared, 2)
    assert shared[0] is shared[2]
    assert shared[0] is transfer.head_of(shared)


def test_what_is_registered_last_counts_not_what_was_assigned_again():
    class Net(nn.Module):
        def __init__(self):
            self.head = None
            self.body = nn.Linear(4, 4)
            self.scores = nn.Linear(4, 2)
            self.body = nn.Linear(4, 4)  # stays where it was

    assert transfer.head_of(Net()).out_features == 2


# The base, frozen


def test_a_frozen_base_stays_to_the_last_bit_its_statistics_too():
    mt.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 81, 10))
    transfer.freeze_base(model)
    before = {name: x.numpy().copy() for name, x in model.state_dict().items()}
    data = DataLoader(Subset(mnist_sample(), range(64)), 16)
    nn.fit(model, data, nn.cross_entropy, nn.SGD(model.parameters(), lr=0.1), progress=False)
    changed = [name for name, x in model.state_dict().items() if not np.array_equal(x.numpy(), before[name])]
    assert changed == ["4.weight", "4.bias"]
    assert all(p.grad is None for p in model[:4].parameters())


def test_more_than_the_last_layer_may_learn_and_auxiliary_heads_do():
    model = transfer.freeze_base(models.lenet5(), "classifier")
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        "features.0.weight", "features.0.bias", "features.3.weight", "features.3.bias",
    ]  # fmt: skip
    model = transfer.freeze_base(built("googlenet"))
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == [f"{layer}.{what}" for layer in ("aux1.fc2", "aux2.fc2", "fc") for what in ("weight", "bias")]
    assert all(p.requires_grad for p in model.unfreeze().parameters())


# Features


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
    """Without what is random: the same steps, from the features and through the frozen base."""
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
    """Draws from NumPy, which this library cannot see."""

    def __init__(self):
        self.source = np.random.default_rng(0)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.source.standard_normal((1, 28, 28)).astype(np.float32), index


class Drawing(Noisy):
    """Draws from the default generator, and hides it."""

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
        ({"at": "9"}, "cache_features: Sequential: no module '9'"),
        ({"at": 5}, "named by a text such as 'classifier.6', got int"),
        ({"model": models.lenet5}, r"model must be a Module, got function"),
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


# Groups of layers


def names(parts):
    return [[name for name, _ in part] for part in parts]


def test_groups_go_from_the_pixels_to_the_scores_and_cut_no_block():
    assert names(split(built("resnet18"), 3, "test")) == [
        ["conv1", "bn1", "layer1.0", "layer1.1", "layer2.0", "layer2.1"],
        ["layer3.0", "layer3.1", "layer4.0", "layer4.1"],
        ["fc"],
    ]
    assert names(split(models.lenet5(), 4, "test")) == [
        ["features.0", "features.3"], ["classifier.1"], ["classifier.3"], ["classifier.5"],
    ]  # fmt: skip
    assert names(split(built("googlenet"), 3, "test"))[-1] == ["fc", "aux1", "aux2"]
    assert names(split(models.lenet5(), 99, "test")) == [
        ["features.0"],
        ["features.3"],
        *[[f"classifier.{i}"] for i in (1, 3, 5)],
    ]
    assert names(split(nn.Sequential(nn.Linear(1, 1)), 3, "test")) == [["0"]]


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1", "mobilenet_v2", "fcn_resnet50", "cifar_densenet", "lenet5_1998"])
def test_each_parameter_is_in_one_group_and_each_rate_smaller_by_the_factor(name):
    model = built(name)
    groups = transfer.layer_groups(model, lr=0.5, factor=10, count=4)
    assert [id(p) for g in groups for p in g["params"]] != []
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in model.parameters()}
    assert sum(len(g["params"]) for g in groups) == len([*model.parameters()])
    np.testing.assert_allclose([g["lr"] for g in groups], [0.5 / 10**i for i in reversed(range(len(groups)))])
    nn.SGD(groups, lr=0.5)


def test_parameters_of_the_models_own_and_shared_ones_learn_as_the_first_that_hold_them():
    class Net(nn.Module):
        def __init__(self):
            self.first, self.second, self.third = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
            self.third.weight = self.first.weight
            self.scale = nn.Parameter([1.0])

    net = Net()
    first, second, third = (group["params"] for group in transfer.layer_groups(net, lr=1.0))
    assert {id(p) for p in first} == {id(net.first.weight), id(net.first.bias), id(net.scale)}
    assert [id(p) for p in third] == [id(net.third.bias)]
    assert len(second) == 2


def test_a_first_step_is_smaller_by_the_factor():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    before = [layer.bias.item() for layer in model]
    optimizer = nn.SGD(transfer.layer_groups(model, lr=0.1, factor=4, count=2), lr=9.0)
    for p in model.parameters():
        p.grad = mt.ones(*p.shape)
    optimizer.step()
    np.testing.assert_allclose([b - layer.bias.item() for b, layer in zip(before, model)], [0.025, 0.1], rtol=1e-4)


# Unfreezing


class Watch(nn.Callback):
    """After each epoch: what has changed in it, and the running mean's counter."""

    def __init__(self, model):
        self.before, self.rows = self.state(model), []

    def state(self, model):
        return {name: x.numpy().copy() for name, x in model.state_dict().items()}

    def on_epoch(self, run):
        now = self.state(run.model)
        self.rows.append({name.split(".")[0] for name in now if not np.array_equal(now[name], self.before[name])})
        self.before = now


def three_layers():
    mt.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def data():
    source = np.random.default_rng(0)
    x = source.standard_normal((32, 4)).astype(np.float32)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).astype(np.int64)), 16)


def test_groups_learn_one_after_the_other_from_the_top(capsys):
    model = three_layers()
    optimizer = nn.AdamW(transfer.layer_groups(model, lr=0.01), lr=0.01)
    watch, gradually = Watch(model), transfer.UnfreezeGradually(every=2)
    nn.fit(model, data(), nn.cross_entropy, optimizer, epochs=6, callbacks=[watch, gradually])
    top, middle, all_ = {"5"}, {"3", "5"}, {"0", "1", "3", "5"}
    assert watch.rows == [top, top, middle, middle, all_, all_]
    assert gradually.learning == ("0", "1", "3", "5")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("learning")]
    assert said == ["learning: 5", "learning: 3, 5", "learning: 0, 1, 3, 5"]
    assert not model.frozen


def test_a_run_that_is_resumed_goes_on_with_as_many_groups(tmp_path):
    ended = []
    for stops in ((6,), (3, 6)):
        folder = tmp_path / str(len(stops))
        for epochs in stops:
            model = transfer.freeze_base(three_layers())
            optimizer = nn.AdamW(transfer.layer_groups(model, lr=0.01), lr=0.01)
            callbacks, checkpoint = [transfer.UnfreezeGradually(every=2)], nn.Checkpoint(folder)
            settings = {"epochs": epochs, "callbacks": callbacks, "checkpoint": checkpoint, "progress": False}
            nn.fit(model, data(), nn.cross_entropy, optimizer, **settings)
        ended.append({name: x.numpy() for name, x in model.state_dict().items()})
    for name in ended[0]:
        np.testing.assert_array_equal(ended[0][name], ended[1][name])


def test_what_was_cleared_by_hand_stays_so_and_many_names_are_shortened(capsys):
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(8)])
    model[0].weight.requires_grad = False
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    nn.fit(model, data(), nn.cross_entropy, optimizer, epochs=2, callbacks=[transfer.UnfreezeGradually(count=2)])
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["0.weight"]
    assert "learning: 0 … 7, 8 parts" in capsys.readouterr().out


def test_an_optimiser_without_the_base_is_refused():
    model = transfer.freeze_base(three_layers())
    optimizer = nn.SGD(model[5].parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"the optimizer does not hold 0\.weight, 0\.bias, 1\.weight …, which would never"):
        nn.fit(model, data(), nn.cross_entropy, optimizer, callbacks=[transfer.UnfreezeGradually()], progress=False)


def test_train_until_it_overfits_then_step_back():
    """On labels that are noise, the validation gets worse and the best epoch is an early one; its weights come back."""
    source = np.random.default_rng(0)
    noise = TensorDataset(source.standard_normal((24, 4)).astype(np.float32), source.integers(0, 2, 24))
    other = TensorDataset(source.standard_normal((200, 4)).astype(np.float32), source.integers(0, 2, 200))
    model, stopping = three_layers(), nn.EarlyStopping(patience=4)
    optimizer = nn.Adam(transfer.layer_groups(model, lr=0.05), lr=0.05)
    callbacks = [transfer.UnfreezeGradually(every=2), stopping]
    validation = DataLoader(other, 200)
    history = nn.fit(
        model, DataLoader(noise, 8), nn.cross_entropy, optimizer,
        epochs=40, validation=validation, callbacks=callbacks, progress=False,
    )  # fmt: skip
    assert len(history) == stopping.best_epoch + 4 < 40
    assert history[-1]["loss"] < history[stopping.best_epoch - 1]["loss"]
    assert history[-1]["val_loss"] > stopping.best
    assert nn.evaluate(model, validation)["loss"] == pytest.approx(stopping.best)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transfer.replace_head(models.lenet5(), 0), "replace_head: num_classes must be at least 1, got 0"),
        (lambda: transfer.replace_head(models.lenet5(), 2.0), "replace_head: num_classes must be a whole number, got 2.0"),
        (lambda: transfer.replace_head(models.lenet5, 2), r"replace_head: model must be a Module, got function"),
        (lambda: transfer.replace_head(nn.Linear, 2), r"got the class Linear; create one: Linear\(\.\.\.\)"),
        (lambda: transfer.replace_head(nn.Linear(2, 2), 3), r"the model is the layer itself; make a new one: Linear\(…\)"),
        (lambda: transfer.replace_head(nn.ReLU(), 3), "replace_head: ReLU has no weights; name the Linear"),
        (lambda: transfer.replace_head(models.lenet5(), 3, "classifier.4"), "'classifier.4' is ReLU; a Linear, a Conv1d or"),
        (lambda: transfer.replace_head(models.lenet5(), 3, "fc"), "no module 'fc'; LeNet5 holds features, classifier"),
        (lambda: transfer.freeze_base(models.lenet5(), 3), "freeze_base: a module is named by a text such as .*, got int"),
        (lambda: transfer.head_of(3), "head_of: model must be a Module, got int"),
        (lambda: transfer.layer_groups(models.lenet5(), "1"), "layer_groups: lr must be a number, got '1'"),
        (lambda: transfer.layer_groups(models.lenet5(), 1, 0.5), "factor must be finite and at least 1, got 0.5"),
        (lambda: transfer.layer_groups(models.lenet5(), -1.0), "lr must be finite and at least 0, got -1.0"),
        (lambda: transfer.layer_groups(models.lenet5(), 1.0, count=1), "layer_groups: count must be at least 2, got 1"),
        (lambda: transfer.layer_groups(nn.ReLU(), 1.0), "layer_groups: ReLU has no layers with parameters to put in groups"),
        (lambda: transfer.UnfreezeGradually(0), "UnfreezeGradually: every must be at least 1, got 0"),
        (lambda: transfer.UnfreezeGradually(count=1), "UnfreezeGradually: count must be at least 2, got 1"),
    ],
)
def test_wrong_input_is_refused_in_words(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
