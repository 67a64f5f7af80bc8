"""Published weights, in every wrapping that they come in."""

import time

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.models.match_weights import elsewhere, matches
from microtensor.models.weights import load_weights


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))


def below(prefix, state):
    return {prefix + name: x for name, x in state.items()}


def changed(state):
    return {name: x + 1 for name, x in state.items()}


def same(a, b):
    return all(np.array_equal(x.numpy(), y.numpy()) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": x for name, x in state.items()}, "optimizer": {"lr": 0.1}},
        lambda state: {f"_orig_mod.{name}": x for name, x in state.items()},
        lambda state: {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")},
        lambda state: below("_orig_mod.module.", state),
        lambda state: below("module._orig_mod.", state),
        lambda state: {"n_averaged": mt.tensor(3), **below("module.", state)},
        lambda state: {"_orig_mod.n_averaged": mt.tensor(3), **below("_orig_mod.module.module.", state)},
        lambda state: {"state_dict": {"criterion.weight": mt.ones(10), **below("model.", state)}},
        lambda state: {"state_dict": below("net.", state)},
        lambda state: {"state_dict": {"loss.weight": mt.ones(2), **below("backbone.", state)}},
        lambda state: {"state_dict": {**below("ema_model.", changed(state)), **below("model.", state)}},
        lambda state: {"model_ema": changed(state), "model": state},
        lambda state: {"state_dict": {"model": state, "epoch": 3}},
        lambda state: {"params_ema": state},
        lambda state: below("_fsdp_wrapped_module.", state),
        lambda state: {name.replace("3.", "3._orig_mod."): x for name, x in state.items()},
        lambda state: {name.replace("3.", "3.module."): x for name, x in state.items()},
    ],
)
def test_whatever_is_around_them(tmp_path, wrap):
    source, target = network(), network()
    for x in source.parameters():
        x.array += 1
    mt.save(tmp_path / "weights.npz", wrap(source.state_dict()))
    assert not same(source, target)
    assert load_weights(target, tmp_path / "weights.npz") is target
    assert same(source, target)


def test_from_pytorch_and_safetensors(tmp_path):
    torch = pytest.importorskip("torch")
    source, target = network(), network()
    torch.save({name: torch.tensor(x.numpy()) for name, x in source.state_dict().items()}, tmp_path / "weights.pth")
    assert same(load_weights(target, tmp_path / "weights.pth"), source)
    pytest.importorskip("safetensors")
    source = network()
    mt.save(tmp_path / "weights.safetensors", source.state_dict())
    assert same(load_weights(target, tmp_path / "weights.safetensors"), source)


def test_torchvisions_old_densenet_names(tmp_path):
    with nn.init.skipped():
        model = models.build("densenet121")
    old = {
        name: name.replace("norm1", "norm.1").replace("conv1", "conv.1").replace("norm2", "norm.2").replace("conv2", "conv.2")
        for name in model.state_dict()
        if "denselayer" in name
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old.values()
    state = {old.get(name, name): x for name, x in model.state_dict().items() if x.numel() < 5000}
    mt.save(tmp_path / "part.npz", state)
    with pytest.raises(ValueError, match="missing: features.conv0.weight, ") as caught:
        load_weights(model, tmp_path / "part.npz")
    assert "unexpected:" not in str(caught.value)


def test_weights_of_another_network_are_refused_and_nothing_is_loaded(tmp_path):
    mt.save(tmp_path / "weights.npz", nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).state_dict())
    model = network()
    before = [x.numpy().copy() for x in model.state_dict().values()]
    message = r"holds the weights of another network: load_state_dict: .*\n  missing: 3.weight, 3.bias\n  of another shape: 0.weight is \(2, 1, 3, 3\) here"
    with pytest.raises(ValueError, match=message):
        load_weights(model, tmp_path / "weights.npz")
    assert all(np.array_equal(x.numpy(), y) for x, y in zip(model.state_dict().values(), before))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"epoch": 3}, "holds no weights by name; it has epoch"),
        ([mt.ones(2)], "holds no weights by name; it has list"),
        ({}, "it has nothing"),
    ],
)
def test_a_file_without_weights(tmp_path, tree, message):
    mt.save(tmp_path / "file.npz", tree)
    with pytest.raises(ValueError, match=message):
        load_weights(network(), tmp_path / "file.npz")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", ["model", "module", "net", "_orig_mod"])
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod.module.", "net."])
def test_a_child_that_is_called_as_wrappers_call_theirs(tmp_path, name, prefix, strict):
    class Net(nn.Module):
        def __init__(self):
            setattr(self, name, nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))

    source, target = Net(), Net()
    mt.save(tmp_path / "own.npz", below(prefix, source.state_dict()))
    assert same(load_weights(target, tmp_path / "own.npz", strict), source)


@pytest.mark.parametrize(
    ("wrap", "places"),
    [
        (lambda a, b: {"first": a, "second": b}, r"\['first'\], \['second'\]"),
        (
            lambda a, b: {**below("model.", a), **below("net.", b)},
            "with 'model.' before each name, with 'net.' before each name",
        ),
    ],
)
def test_of_two_that_fit_none_is_guessed(tmp_path, wrap, places):
    model, state = network(), network().state_dict()
    mt.save(tmp_path / "two.npz", wrap(state, changed(state)))
    with pytest.raises(ValueError, match=f"has several sets of weights that fit: {places}; take one out of microtensor.load"):
        load_weights(model, tmp_path / "two.npz")


@pytest.mark.parametrize(
    ("wrap", "hint"),
    [
        (
            lambda state: {**below("student.", state), **below("teacher.", changed(state))},
            r"begin with 'student.' fit \(and 1 more\)",
        ),
        (lambda state: {"runs": {"last": {"best": state}}}, "what is deeper in it fits"),
        (lambda state: [state, {"lr": 0.1}], "what is deeper in it fits"),
    ],
)
def test_where_the_weights_are_and_the_advice_works(tmp_path, wrap, hint):
    model, state = network(), network().state_dict()
    mt.save(tmp_path / "far.npz", wrap(state))
    with pytest.raises(ValueError, match=hint) as error:
        load_weights(model, tmp_path / "far.npz")
    advice = str(error.value).rpartition("fit")[2].partition(": ")[2]
    eval(advice, {"model": model, "microtensor": mt})
    assert all(np.array_equal(x.numpy(), state[name].numpy()) for name, x in model.state_dict().items())


def test_a_step_file_says_where_its_weights_are(tmp_path):
    data = [(mt.ones(2, 3), mt.tensor([0, 1]))]
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    nn.fit(
        model,
        data,
        nn.CrossEntropyLoss(),
        nn.SGD(model.parameters(), lr=0.1),
        checkpoint=nn.Checkpoint(tmp_path),
        progress=False,
    )
    (step,) = nn.Checkpoint(tmp_path).files()
    with pytest.raises(ValueError, match=r"what is deeper in it fits: .*\['parts'\]\['model'\]\)") as error:
        load_weights(other, step)
    eval(str(error.value).rpartition("fits: ")[2], {"model": other, "microtensor": mt})
    assert same(model, other)
    with pytest.raises(ValueError, match=r"tensors by name are deeper in it: microtensor.load\(.*\)\['parts'\]\['model'\]"):
        load_weights(network(), step)


def test_not_strict_tells_what_it_did(tmp_path):
    source, target = network(), network()
    state = {name: x for name, x in source.state_dict().items() if not name.startswith("3.")}
    mt.save(tmp_path / "part.npz", {**state, "head.weight": mt.ones(1)})
    told = "7 tensors were loaded from .*; 2 keep their values: 3.weight, 3.bias; 1 of the file's were left over: head.w"
    with pytest.warns(UserWarning, match=told):
        assert load_weights(target, tmp_path / "part.npz", strict=False) is target
    assert np.array_equal(target[0].weight.numpy(), source[0].weight.numpy())
    mt.save(tmp_path / "whole.npz", source.state_dict())
    load_weights(target, tmp_path / "whole.npz", strict=False)  # nothing to tell


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "tree",
    [
        {"a.weight": mt.ones(2), "b.num_batches_tracked": mt.tensor(1)},
        {"1.num_batches_tracked": mt.tensor(1)},
        {"state_dict": {"weight": mt.ones(3)}},
    ],
)
def test_a_file_of_which_nothing_fits(tmp_path, tree, strict):
    model = network()
    before = [x.numpy().copy() for x in model.state_dict().values()]
    mt.save(tmp_path / "other.npz", tree)
    with pytest.raises(ValueError, match="and nothing was loaded") as error:
        load_weights(model, tmp_path / "other.npz", strict)
    assert "strict=False" not in str(error.value)  # it would not help
    assert all(np.array_equal(x.numpy(), y) for x, y in zip(model.state_dict().values(), before))


@pytest.mark.parametrize(
    "names",
    [
        [f"a{i}.3.weight" for i in range(20_000)],
        ["module." * i + "3.weight" for i in range(2000)],
        ["." * 10**6 + "3.weight", "a." * 10**6 + "3.bias"],
        ["denselayer" + "1" * 10**6],
    ],
    ids=["prefixes", "wrappers", "dots", "digits"],
)
def test_names_made_to_take_time(names):
    begin = time.process_time()
    for model in (network(), models.build("efficientnet_lite0", num_classes=2)):
        matches(model, dict.fromkeys(names, mt.ones(2, 8)))
        elsewhere(model, {"a": {"b": dict.fromkeys(names, mt.ones(2, 8))}})
    assert time.process_time() - begin < 10


def test_weights_of_another_network_are_said_in_few_words(tmp_path):
    with nn.init.skipped():
        source, model = models.resnet50(), models.build("densenet121")
    mt.save(tmp_path / "resnet50.npz", source.state_dict())
    with pytest.raises(ValueError, match="unexpected: conv1.weight, bn1.weight, bn1.bias and 317 more") as error:
        load_weights(model, tmp_path / "resnet50.npz")
    assert "missing: features.conv0.weight, features.norm0.weight, features.norm0.bias and " in str(error.value)
    assert len(str(error.value)) < 600 + len(str(tmp_path))


def test_the_model_comes_first():
    with pytest.raises(TypeError, match=r"the model comes first, got str: load_weights\(model, path\)"):
        load_weights("weights.npz", network())


def test_scales_that_are_all_1_are_passed_over(tmp_path):
    """Files of Inception-ResNet have scales of batch normalisation that the network has not."""
    with nn.init.skipped():
        model = models.inception_resnet_v2()
    names = [name for name in model.state_dict() if name.endswith("bn.bias")]
    for value, fits in ((1.0, True), (2.0, False)):
        scales = {name.replace("bias", "weight"): mt.full((3,), value) for name in names[:2]}
        assert set(scales).isdisjoint(model.renamed(scales)) == fits


class Counting(nn.Module):
    """A layer with state beside its tensors."""

    def __init__(self):
        self.linear, self.calls = nn.Linear(2, 2), 0

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = int(state["calls"])


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"model": state}, lambda s: {"module." + k: v for k, v in s.items()}]
)
def test_extra_state_comes_with_the_weights(tmp_path, wrap):
    model = nn.Sequential(Counting())
    model[0].calls = 7
    mt.save(tmp_path / "w.npz", wrap(model.state_dict()))
    assert models.load_weights(nn.Sequential(Counting()), tmp_path / "w.npz")[0].calls == 7


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("build", [models.lenet5, models.squeezenet1_1, models.googlenet])
def test_weights_for_other_classes_say_what_to_do_and_it_works(tmp_path, build, strict):
    path = tmp_path / "seven.npz"
    source = build(num_classes=7)
    mt.save(path, source.state_dict())
    model = build(num_classes=5)
    with pytest.raises(
        ValueError, match=r"7 classes in the file, 5 here: .*replace_head\(model, 7\).*replace_head\(model, 5\)"
    ):
        models.load_weights(model, path, strict=strict)
    models.load_weights(nn.transfer.replace_head(model, 7), path, strict=strict)
    assert all(np.array_equal(x.numpy(), source.state_dict()[name].numpy()) for name, x in model.state_dict().items())


def test_a_shape_that_differs_elsewhere_too_is_no_matter_of_classes(tmp_path):
    path = tmp_path / "wide.npz"
    mt.save(path, nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 7)).state_dict())
    with pytest.raises(ValueError, match="of another shape") as error:
        models.load_weights(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), path, strict=False)
    assert "replace_head" not in str(error.value)
