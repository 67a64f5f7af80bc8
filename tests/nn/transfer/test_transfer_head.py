"""The head of a network: found in all models of the catalogue, replaced, and trained with a frozen base."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.data import DataLoader, Subset, mnist_sample
from microtensor.models.catalogue import cards
from microtensor.nn import transfer
from microtensor.nn.inspect.trace import trace

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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transfer.replace_head(models.lenet5(), 0), "replace_head: num_classes must be at least 1, got 0"),
        (lambda: transfer.replace_head(models.lenet5(), 2.0), "replace_head: num_classes must be an integer, got 2.0"),
        (lambda: transfer.replace_head(models.lenet5, 2), r"replace_head: expected a Module, got function"),
        (lambda: transfer.replace_head(nn.Linear, 2), r"got the class Linear; create one: Linear\(\.\.\.\)"),
        (lambda: transfer.replace_head(nn.Linear(2, 2), 3), r"the model is the layer itself; make a new one: Linear\(…\)"),
        (lambda: transfer.replace_head(nn.ReLU(), 3), "replace_head: ReLU has no weights; name the Linear"),
        (lambda: transfer.replace_head(models.lenet5(), 3, "classifier.4"), "'classifier.4' is ReLU; a Linear, a Conv1d or"),
        (lambda: transfer.replace_head(models.lenet5(), 3, "fc"), "LeNet5 has no layer 'fc'; there is features, features.0"),
        (
            lambda: transfer.freeze_base(models.lenet5(), 3),
            "freeze_base: a layer is asked for by its dotted name, such as .*, got 3",
        ),
        (lambda: transfer.head_of(3), "head_of: expected a Module, got int"),
    ],
)
def test_wrong_input_is_refused_in_words(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
