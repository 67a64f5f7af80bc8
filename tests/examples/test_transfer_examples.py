"""The examples on transfer: they run, with tiny settings; their tasks share no picture between learning and testing."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn
from microtensor.data import write_idx


def example(name):
    pytest.importorskip("matplotlib")
    path = Path(__file__).parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    return example("transfer")


@pytest.fixture(scope="module")
def imagenet():
    return example("transfer_imagenet")


TINY = ["--base-epochs", "1", "--base-images", "128", "--labels", "10", "--passes", "0.02", "--seeds", "2"]


@pytest.mark.parametrize("base", ["digits", "fashion"])
def test_it_runs_and_draws(digits, base, tmp_path, capsys):
    if base == "fashion":
        source = np.random.default_rng(0)
        write_idx(tmp_path / "train-images-idx3-ubyte", source.integers(0, 256, (64, 28, 28), dtype=np.uint8))
        write_idx(tmp_path / "train-labels-idx1-ubyte", source.integers(0, 10, 64, dtype=np.uint8))
    digits.main([*TINY, "--base", base, "--data", str(tmp_path), "--out", str(tmp_path)])
    assert (tmp_path / f"{base}.png").read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"before: {64 if base == 'fashion' else 128} images, ")
    assert [line.split(": ")[0].strip() for line in lines[1:5]] == [f"10 labels, {way}" for way in digits.METHODS]
    assert lines[1].endswith("; +0.0 ± 0.0 points")


def test_the_two_tasks_have_no_digit_in_common_and_random_labels_are_the_same_ones_elsewhere(digits):
    before, train, test = digits.tasks("digits", None)
    noise, _, _ = digits.tasks("noise", None)
    assert (before.classes, train.classes, test.classes) == (tuple("01234"), tuple("56789"), tuple("56789"))
    assert (len(before), len(train), len(test)) == (3000, 3000, 500)
    np.testing.assert_array_equal(noise.images, before.images)
    np.testing.assert_array_equal(np.bincount(noise.labels), np.bincount(before.labels))
    assert 0.15 < (noise.labels == before.labels).mean() < 0.25
    chosen = digits.few(train, 30, mt.Generator(0))
    assert np.bincount(train.labels[chosen.indices]).tolist() == [6] * 5
    assert len(set(chosen.indices)) == 30


def test_the_frozen_ways_keep_the_convolutions_and_the_others_move_them(digits):
    mt.manual_seed(0)
    _, train, _ = digits.tasks("digits", None)
    base, data = digits.network(5), digits.few(train, 10, mt.Generator(0))
    for way, kept in zip(digits.METHODS, (False, True, False, False)):
        model = digits.learned(way, base, data, 5, epochs=1)
        assert np.array_equal(model[0].weight.numpy(), base[0].weight.numpy()) == kept, way
        assert model[0].weight.requires_grad == (way in ("from scratch", "fine-tuned"))


def test_imagenets_network_on_faces(imagenet, tmp_path, capsys):
    source = np.random.default_rng(0)
    np.save(tmp_path / "lfw_subset.npy", source.random((12, 25, 25)))
    weights = tmp_path / "weights.npz"
    mt.save(weights, models.efficientnet_lite0().state_dict())
    small = ["--side", "32", "--labels", "4", "--passes", "0.01", "--seeds", "1"]
    imagenet.main([*small, "--pictures", str(tmp_path), "--weights", str(weights), "--out", str(tmp_path)])
    assert (tmp_path / "faces.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "EfficientNet, frozen, test images: Features(12 samples of float32 (1280,), 0.1 MB)" in said
    assert "    4 labels, EfficientNet, never trained: " in said


def test_what_is_missing_is_said(imagenet):
    with pytest.raises(SystemExit, match="the package no_such_package is not installed"):
        imagenet.package_folder("no_such_package", "data")


def test_as_many_pictures_of_each_class_and_none_twice(imagenet):
    task = imagenet.pictures("digits", None, tests=50)
    chosen = imagenet.few(task.labels, 30, seed=0)
    assert np.bincount(task.labels[chosen]).tolist() == [3] * 10
    assert len(set(chosen)) == 30
    assert task.tested[0].shape == (50, 28, 28)
    network = imagenet.small_network("digits", 10)
    assert network(nn.transfer.Features(*imagenet.single(*task.tested, side=0).tensors).tensors[0]).shape == (50, 10)
