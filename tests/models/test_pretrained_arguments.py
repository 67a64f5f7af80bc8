"""Networks asked for as torchvision is asked for them."""

import inspect
import pickle

import pytest

import microtensor as mt
from microtensor import models
from microtensor.models.catalogue import cards


@pytest.mark.parametrize(
    "options", [{"pretrained": True}, {"weights": "IMAGENET1K_V1"}, {"weights": "DEFAULT", "progress": True}]
)
@pytest.mark.parametrize("name", ["resnet18", "lenet5", "fcn_resnet50", "wrn"])
def test_weights_that_would_be_downloaded(name, options):
    for make in (getattr(models, name), lambda **given: models.build(name, **given)):
        with pytest.raises(TypeError, match=rf"{name}: .*models.load_weights\(models.{name}\(\), '{name}.pth'\)") as error:
            make(**options)
        assert ("torchvision" in str(error.value)) == ("resnet" in name)  # the others are not torchvision's


def test_every_network_answers():
    for name in cards():
        with pytest.raises(TypeError, match=f"{name}: pretrained=True asks for weights"):
            getattr(models, name)(pretrained=True)


@pytest.mark.parametrize("given", [True, "IMAGENET1K_V1", "weights.pth"])
def test_in_place_of_the_number_of_classes(given):
    with pytest.raises(TypeError, match="resnet18: .* asks for weights"):
        models.resnet18(given)


@pytest.mark.parametrize(("name", "settings"), [("googlenet", "aux_logits=False, transform_input=True"), ("lenet5", "")])
def test_the_advice_works(tmp_path, monkeypatch, name, settings):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError) as error:
        getattr(models, name)(weights="here.npz")
    advice = str(error.value).rpartition("file: ")[2]
    assert advice == f"models.load_weights(models.{name}({settings}), 'here.npz')"
    mt.save("here.npz", eval(f"models.{name}({settings})").state_dict())
    assert isinstance(eval(advice), type(getattr(models, name)()))


def test_code_that_asks_for_none_runs_as_it_is():
    assert models.lenet5(weights=None, num_classes=3).classifier[-1].out_features == 3
    assert models.build("lenet5", pretrained=False, progress=True).classifier[-1].out_features == 10
    with pytest.raises(TypeError, match="progress"):
        models.lenet5(progress=True)
    with pytest.raises(TypeError, match="colour"):
        models.lenet5(colour=True)


def test_a_factory_is_what_it_was():
    assert list(inspect.signature(models.resnet18).parameters) == ["num_classes"]
    assert models.resnet18.__doc__
    assert pickle.loads(pickle.dumps(models.resnet18)) is models.resnet18


def test_torchvisions_other_names():
    assert not hasattr(models, "resnet49")
    with pytest.raises(AttributeError, match=r"no attribute 'ResNet50_Weights'; .*models.load_weights\(model, path\)"):
        models.ResNet50_Weights  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'get_model'; models.build\(name\) makes a network"):
        models.get_model  # noqa: B018
