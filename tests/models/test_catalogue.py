"""The catalogue: every network by name, its numbers, and the commands that show them."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from microtensor import models, nn
from microtensor.commands import cli
from microtensor.io import state
from microtensor.models.catalogue import card, cards

# What shared tables and papers say; the families' own tests say more.
PARAMETERS = {
    "lenet5": 61_706, "lenet5_1998": 60_000, "alexnet_2012": 60_965_224, "alexnet": 61_100_840, "zfnet": 62_357_608,
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
    "googlenet_2014": 13_378_280, "googlenet": 13_004_888, "inception_v3": 27_161_264,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160, "resnet152": 60_192_808,
    "cifar_resnet18": 11_173_962, "cifar_resnet34": 21_282_122, "cifar_resnet50": 23_520_842, "cifar_resnet101": 42_512_970,
    "cifar_resnet152": 58_156_618, "cifar_resnet20": 269_722, "cifar_resnet32": 464_154, "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018, "cifar_resnet110": 1_727_962, "mobilenet_v1": 4_231_976,
    "densenet121": 7_978_856, "densenet169": 14_149_480, "densenet201": 20_013_928, "densenet161": 28_681_000,
    "cifar_densenet": 769_162, "mobilenet_v2": 3_504_872,
    "shufflenet_v2_x0_5": 1_366_792, "shufflenet_v2_x1_0": 2_278_604, "shufflenet_v2_x1_5": 3_503_624,
    "shufflenet_v2_x2_0": 7_393_996, "squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496,
    "resnext50_32x4d": 25_028_904, "resnext101_32x8d": 88_791_336, "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696, "wrn": 36_479_194, "se_resnet50": 28_088_024, "xception": 22_855_952,
    "inception_resnet_v2": 55_813_192, "efficientnet_lite0": 4_652_008,
}  # fmt: skip

MULTIPLY_ADDS = {  # in G at 224×224, as published, rounded
    "alexnet": 0.714, "vgg11": 7.609, "vgg13": 11.308, "vgg16": 15.470, "vgg19": 19.632, "googlenet": 1.498,
    "resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089, "resnet101": 7.801, "resnet152": 11.514,
    "densenet121": 2.834, "densenet169": 3.360, "densenet201": 4.291, "densenet161": 7.728, "mobilenet_v2": 0.301,
    "shufflenet_v2_x0_5": 0.040, "shufflenet_v2_x1_0": 0.145, "shufflenet_v2_x1_5": 0.296, "shufflenet_v2_x2_0": 0.583,
    "squeezenet1_0": 0.819, "squeezenet1_1": 0.349, "resnext50_32x4d": 4.230, "resnext101_32x8d": 16.414,
    "wide_resnet50_2": 11.398, "wide_resnet101_2": 22.753,
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    with nn.init.skipped():
        assert sum(p.numel() for p in models.build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds_are_the_published_ones(name):
    assert round(models.table(name)[0].multiply_adds / 1e9, 3) == MULTIPLY_ADDS[name]


def test_the_rest_of_the_table():
    assert models.table("lenet5")[0].multiply_adds == 416_520
    assert models.table("mobilenet_v1")[0].multiply_adds == 568_740_352
    assert models.table("inception_v3")[0].multiply_adds == 5_713_216_096  # at 299×299
    alexnet, vgg = models.table("alexnet_2012", "vgg16")
    assert (round(alexnet.weight_bytes / 1e6, 1), round(vgg.weight_bytes / 1e6, 1)) == (243.9, 553.4)


def test_every_factory_is_exported_under_the_name_of_its_card():
    for name, each in cards().items():
        assert each.name == name
        assert getattr(models, name) is each.factory, name
        assert each.paper
        assert "\n" not in each.idea
        assert 1980 < each.year < 2030
    years = [each.year for each in cards().values()]
    assert years == sorted(years)


def test_names_that_are_none_get_a_hint():
    with pytest.raises(ValueError, match="there is no 'resnet49'; did you mean .*resnet"):
        models.build("resnet49")
    with pytest.raises(ValueError, match="there is no 'qqq'; `microtensor models` and list_models.. name all 78$"):
        card("qqq")
    with pytest.raises(TypeError, match="colour"):
        models.build("lenet5", colour=True)
    for name in ("ResNet-50", "RESNET50"):
        with pytest.raises(ValueError, match=f"there is no '{name}'; did you mean resnet50 "):
            models.build(name)


def test_the_commands_that_list_and_summarise(capsys):
    assert cli.main(["models", "lenet5", "vgg16"]) == 0
    printed = capsys.readouterr().out
    assert "lenet5  1998    1×28×28       61,706         416,520" in printed
    assert "553.4 MB" in printed
    assert "Simonyan, Zisserman" in printed
    assert cli.main(["summary", "resnet18", "--input", "3x64x64", "--depth", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ResNet for 3×64×64")
    assert "11,689,512" in printed
    assert cli.main(["summary", "resnet"]) == 1
    assert "microtensor: models: there is no 'resnet'; did you mean" in capsys.readouterr().err


def test_the_command_that_predicts(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    picture, weights = tmp_path / "picture.png", tmp_path / "weights.npz"
    image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 240, 3), dtype=np.uint8)).save(picture)
    model = models.squeezenet1_1()
    model.classifier[1].bias.array[967] = 100.0
    state.save(weights, model.state_dict())
    assert cli.main(["predict", str(picture), "--model", "squeezenet1_1", "--weights", str(weights), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(picture), "  100.0%  espresso (967)"]
    assert len(lines) == 3
    assert cli.main(["predict", str(tmp_path / "none.png"), "--model", "squeezenet1_1", "--weights", str(weights)]) == 1
    assert "none.png" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell with pipes")
def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m microtensor models | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100)
    assert result.stdout.startswith("model")
    assert result.stderr == ""
