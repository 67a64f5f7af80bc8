"""Published weights, in every wrapping that they come in."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.models.weights import load_weights


def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))


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
    ],
    ids=["plain", "checkpoint", "parallel", "compiled", "without counters"],
)
def test_whatever_is_around_them(tmp_path, wrap):
    source, target = network(), network()
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
