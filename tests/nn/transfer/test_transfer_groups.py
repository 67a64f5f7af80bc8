"""Groups of layers: how a model is divided, the learning rate of each, and gradual unfreezing."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.data import DataLoader, TensorDataset
from microtensor.models.catalogue import card
from microtensor.nn import transfer
from microtensor.nn.transfer.groups import split


def built(name):
    with nn.init.skipped():
        return card(name).factory()


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
    """With random labels the validation gets worse; the weights of the best epoch, an early one, are restored."""
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
