"""ResNet's line: parameters, multiply-adds, keys, PyTorch's numbers, receptive fields, where they start."""

import math

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.models import cifar_resnet, resnet, resnext, senet, wide_resnet
from microtensor.models.cifar_resnet import CifarResNet, PaddedShortcut, SmallImageResNet
from microtensor.models.resnet import BasicBlock, Bottleneck, BottleneckOf2015, PlainBlock, ResNet
from microtensor.models.senet import SEBottleneck
from microtensor.models.wide_resnet import WideResNet, wrn
from microtensor.nn import init

CARDS = {card.name: card for module in (resnet, cifar_resnet, wide_resnet, resnext, senet) for card in module.CARDS}

# Parameters; multiply-adds at 224×224 pixels in 10⁹ as published, or at 32×32 exactly.
IMAGENET = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "plain18": (11_515_688, 1.795),
    "plain34": (21_623_848, 3.644),
    "resnext50_32x4d": (25_028_904, 4.230),
    "resnext101_32x8d": (88_791_336, 16.414),
    "wide_resnet50_2": (68_883_240, 11.398),
    "wide_resnet101_2": (126_886_696, 22.753),
    "se_resnet50": (28_088_024, 4.092),
    "se_resnext50_32x4d": (27_559_896, 4.233),
}
CIFAR = {
    "cifar_resnet18": (11_173_962, 555_422_720),
    "cifar_resnet34": (21_282_122, 1_159_402_496),
    "cifar_resnet50": (23_520_842, 1_297_829_888),
    "cifar_resnet101": (42_512_970, 2_509_983_744),
    "cifar_resnet152": (58_156_618, 3_722_137_600),
    "cifar_resnet20": (269_722, 40_551_040),
    "cifar_resnet32": (464_154, 68_862_592),
    "cifar_resnet44": (658_586, 97_174_144),
    "cifar_resnet56": (853_018, 125_485_696),
    "cifar_resnet110": (1_727_962, 252_887_680),
    "cifar_plain20": (269_722, 40_551_040),
    "cifar_plain32": (464_154, 68_862_592),
    "cifar_plain44": (658_586, 97_174_144),
    "cifar_plain56": (853_018, 125_485_696),
    "wrn": (36_479_194, 5_243_328_768),
}


def undrawn(factory, *args, **settings):
    """A network whose weights nobody has drawn."""
    with init.skipped():
        return factory(*args, **settings)


def count(model):
    return sum(p.numel() for p in model.parameters())


def at_224(found):
    """Multiply-adds at 224×224 pixels of a network that was watched at 32×32: seven times as many pixels along each axis, but
    for what comes after the mean over each channel."""
    sizes = {row.name: row.output_shape for row in found.rows}
    fixed = sum(row.multiply_adds for row in found.rows if row.type == "Linear" or ".se." in row.name)
    assert sizes["layer4"][1:] == (1, 1)
    return 49 * (found.multiply_adds - fixed) + fixed


@pytest.mark.parametrize("name", IMAGENET)
def test_parameters_and_multiply_adds_of_the_networks_for_imagenet(name):
    found = nn.summary(undrawn(CARDS[name].factory), (3, 32, 32))
    parameters, giga = IMAGENET[name]
    assert found.total_parameters == parameters
    assert round(at_224(found) / 1e9, 3) == giga
    assert found.rows[0].output_shape == (1000,)
    assert not found.unused
    assert f"{parameters:,} parameters, {at_224(found):,} multiply-adds" in CARDS[name].factory.__doc__


def test_seven_times_the_size_is_forty_nine_times_the_work():
    model = undrawn(resnet.resnet18)
    assert nn.summary(model, (3, 224, 224)).multiply_adds == at_224(nn.summary(model, (3, 32, 32))) == 1_814_073_344


@pytest.mark.parametrize("name", CIFAR)
def test_parameters_and_multiply_adds_of_the_networks_for_cifar(name):
    found = nn.summary(undrawn(CARDS[name].factory), (3, 32, 32))
    assert (found.total_parameters, found.multiply_adds) == CIFAR[name]
    assert found.rows[0].output_shape == (10,)
    assert f"{CIFAR[name][0]:,} parameters" in CARDS[name].factory.__doc__


def test_every_network_has_a_card_that_is_tested():
    assert set(CARDS) == set(IMAGENET) | set(CIFAR)
    for name, card in CARDS.items():
        assert card.factory.__name__ == name
        assert card.input_shape == ((3, 224, 224) if name in IMAGENET else (3, 32, 32))
        assert count(undrawn(card.factory, num_classes=7)) < count(undrawn(card.factory))


@pytest.mark.parametrize(("shortcut", "parameters"), [("A", 269_722), ("B", 272_474), ("C", 283_962)])
def test_parameters_of_the_three_shortcuts(shortcut, parameters):
    assert count(undrawn(cifar_resnet.cifar_resnet20, shortcut=shortcut)) == parameters


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    [(40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (16, 8, 11.0), (22, 8, 17.2), (16, 10, 17.1), (28, 10, 36.5), (28, 12, 52.5)],
)
def test_parameters_of_wide_networks_as_published(depth, width, millions):  # tables 4 and 5
    assert round(count(undrawn(wrn, depth, width)) / 1e6, 1) == millions


def test_a_squeeze_and_excitation_costs_what_equation_5_says():
    added = sum(n * (2 * c * c // 16 + c // 16 + c) for n, c in zip((3, 4, 6, 3), (256, 512, 1024, 2048)))
    assert IMAGENET["se_resnet50"][0] - IMAGENET["resnet50"][0] == added == 2_530_992
    assert IMAGENET["se_resnext50_32x4d"][0] - IMAGENET["resnext50_32x4d"][0] == added


# Keys

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def norm(name):
    return [f"{name}.{key}" for key in NORM]


def test_keys_are_torchvisions():
    keys = list(undrawn(resnet.resnet18).state_dict())
    assert len(keys) == 122
    assert keys[:12] == ["conv1.weight", *norm("bn1"), "layer1.0.conv1.weight", *norm("layer1.0.bn1")]
    assert [key for key in keys if key.startswith("layer2.0.")] == [
        "layer2.0.conv1.weight",
        *norm("layer2.0.bn1"),
        "layer2.0.conv2.weight",
        *norm("layer2.0.bn2"),
        "layer2.0.downsample.0.weight",
        *norm("layer2.0.downsample.1"),
    ]
    assert not any("downsample" in key for key in keys if key.startswith(("layer1.", "layer2.1.")))
    assert keys[-2:] == ["fc.weight", "fc.bias"]
    state = undrawn(resnet.resnet50).state_dict()
    assert len(state) == 320
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnext50_32x4d", (128, 4, 3, 3)), ("resnext101_32x8d", (256, 8, 3, 3)), ("wide_resnet50_2", (128, 128, 3, 3))],
)
def test_what_wide_networks_and_resnext_change(name, shape):
    state, usual = undrawn(CARDS[name].factory).state_dict(), undrawn(resnet.resnet50).state_dict()
    assert state["layer1.0.conv2.weight"].shape == shape
    assert state["layer1.0.conv3.weight"].shape[0] == usual["layer1.0.conv3.weight"].shape[0] == 256
    assert {key for key in state if "layer3" not in key} == {key for key in usual if "layer3" not in key}


def test_keys_of_squeeze_and_excitation_are_timms():
    own = undrawn(senet.se_resnet50).state_dict().keys() - undrawn(resnet.resnet50).state_dict().keys()
    places = [f"layer{i}.{j}.se" for i, n in enumerate((3, 4, 6, 3), 1) for j in range(n)]
    assert own == {f"{place}.{fc}.{what}" for place in places for fc in ("fc1", "fc2") for what in ("weight", "bias")}
    assert undrawn(senet.se_resnet50).state_dict()["layer1.0.se.fc1.weight"].shape == (16, 256, 1, 1)


# Numbers: against PyTorch, put together here from its functions and from the keys


def expected(torch, state, x, training, *, strides=(1, 2, 2, 2), dilations=((1, 1),) * 4, groups=1, early=False, plain=False):
    """A ResNet of any kind, whose blocks are what the keys say."""
    F = torch.nn.functional

    def conv(name, x, **settings):
        weight = state[f"{name}.weight"]
        padding = weight.shape[-1] // 2 * settings.get("dilation", 1)
        return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=padding, **settings)

    def norm(name, x):
        mean, var = (state[f"{name}.running_{which}"].clone() for which in ("mean", "var"))
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training)

    small = state["conv1.weight"].shape[-1] == 3
    y = F.relu(norm("bn1", conv("conv1", x, stride=1 if small else 2)))
    y = y if small else F.max_pool2d(y, 3, 2, 1)
    for stage, (stride, spread) in enumerate(zip(strides, dilations), 1):
        for place in dict.fromkeys(".".join(key.split(".")[:2]) for key in state if key.startswith(f"layer{stage}.")):
            first = place.endswith(".0")
            step, dilation = (stride if first else 1), spread[0 if first else 1]
            around = y
            if f"{place}.downsample.0.weight" in state:
                around = norm(f"{place}.downsample.1", conv(f"{place}.downsample.0", y, stride=step))
            elif step != 1:
                around = torch.cat([y[:, :, ::step, ::step]] * 2, 1)
                around[:, y.shape[1] :] = 0
            if f"{place}.conv3.weight" in state:
                z = F.relu(norm(f"{place}.bn1", conv(f"{place}.conv1", y, stride=step if early else 1)))
                settings = {"stride": 1 if early else step, "dilation": dilation, "groups": groups}
                z = F.relu(norm(f"{place}.bn2", conv(f"{place}.conv2", z, **settings)))
                z = norm(f"{place}.bn3", conv(f"{place}.conv3", z))
            else:
                z = F.relu(norm(f"{place}.bn1", conv(f"{place}.conv1", y, stride=step, dilation=dilation)))
                z = norm(f"{place}.bn2", conv(f"{place}.conv2", z, dilation=dilation))
            if f"{place}.se.fc1.weight" in state:
                s = F.relu(conv(f"{place}.se.fc1", z.mean((2, 3), keepdim=True)))
                z = z * torch.sigmoid(conv(f"{place}.se.fc2", s))
            y = F.relu(z if plain else z + around)
    return F.linear(y.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def expected_wide(torch, state, x, training):
    """A wide ResNet without dropout."""
    F = torch.nn.functional

    def rectified(name, x):
        mean, var = (state[f"{name}.running_{which}"].clone() for which in ("mean", "var"))
        return F.relu(F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training))

    y = F.conv2d(x, state["conv1.weight"], padding=1)
    for stage, stride in enumerate((1, 2, 2), 1):
        for place in dict.fromkeys(".".join(key.split(".")[:2]) for key in state if key.startswith(f"layer{stage}.")):
            step = stride if place.endswith(".0") else 1
            z = rectified(f"{place}.bn1", y)
            if f"{place}.downsample.weight" in state:
                y = F.conv2d(z, state[f"{place}.downsample.weight"], stride=step)
            z = F.conv2d(z, state[f"{place}.conv1.weight"], stride=step, padding=1)
            y = y + F.conv2d(rectified(f"{place}.bn2", z), state[f"{place}.conv2.weight"], padding=1)
    return F.linear(rectified("bn", y).mean((2, 3)), state["fc.weight"], state["fc.bias"])


NUMBERS = {
    "basic": (lambda: ResNet(BasicBlock, (2, 1, 1, 1), 5), 17, expected, {}),
    "plain": (lambda: ResNet(PlainBlock, (1, 1, 1, 1), 5), 16, expected, {"plain": True}),
    "bottleneck": (lambda: ResNet(Bottleneck, (1, 2, 1, 1), 5), 32, expected, {}),
    "bottleneck of 2015": (lambda: ResNet(BottleneckOf2015, (1, 1, 1, 1), 5), 16, expected, {"early": True}),
    "wide bottleneck": (lambda: ResNet(Bottleneck, (1, 1, 1, 1), 5, width_per_group=80), 16, expected, {}),
    "groups": (lambda: ResNet(Bottleneck, (1, 1, 1, 1), 5, groups=32, width_per_group=4), 16, expected, {"groups": 32}),
    "squeeze and excitation": (lambda: ResNet(SEBottleneck, (1, 1, 1, 1), 5), 16, expected, {}),
    "dilated": (
        lambda: ResNet(Bottleneck, (1, 1, 1, 2), 5, replace_stride_with_dilation=(False, True, True)),
        24,
        expected,
        {"strides": (1, 2, 1, 1), "dilations": ((1, 1), (1, 1), (1, 2), (2, 4))},
    ),
    "small images": (lambda: SmallImageResNet(BasicBlock, (1, 1, 1, 1), 5), 16, expected, {}),
    "shortcut A": (lambda: CifarResNet(2, 5), 15, expected, {"strides": (1, 2, 2)}),
    "shortcut B": (lambda: CifarResNet(2, 5, shortcut="B"), 16, expected, {"strides": (1, 2, 2)}),
    "shortcut C": (lambda: CifarResNet(2, 5, shortcut="C"), 16, expected, {"strides": (1, 2, 2)}),
    "plain, for CIFAR": (lambda: CifarResNet(2, 5, PlainBlock), 16, expected, {"strides": (1, 2, 2), "plain": True}),
    "WRN-10-1": (lambda: wrn(10, 1, 5), 16, expected_wide, {}),
    "WRN-16-2": (lambda: wrn(16, 2, 5), 15, expected_wide, {}),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_scores_and_gradients_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    make, size, reference, settings = NUMBERS[name]
    mt.manual_seed(0)
    rng = np.random.default_rng(0)
    model = make().double()
    for key, tensor in model.state_dict().items():  # batch norms as after training, and not as they begin
        if "running_mean" in key or key.endswith("bias"):
            tensor.array[...] = mt.Tensor(rng.normal(0, 0.3, tensor.shape)).array
        elif "running_var" in key:
            tensor.array[...] = mt.Tensor(rng.uniform(0.5, 1.5, tensor.shape)).array
    x = rng.standard_normal((3, 3, size, size))
    for training in (False, True):
        learned = {key for key, _ in model.named_parameters()}
        state = {key: torch.tensor(value.numpy(), requires_grad=key in learned) for key, value in model.state_dict().items()}
        ours, theirs = mt.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        model.train(training).zero_grad()
        scores, wanted = model(ours), reference(torch, state, theirs, training, **settings)
        np.testing.assert_allclose(scores.numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-9)
        g = rng.standard_normal(scores.shape)
        scores.backward(mt.Tensor(g))
        wanted.backward(torch.tensor(g))
        for key, mine, other in [("x", ours, theirs), *((key, p, state[key]) for key, p in model.named_parameters())]:
            scale = abs(other.grad.numpy()).max()
            np.testing.assert_allclose(mine.grad.numpy() / scale, other.grad.numpy() / scale, atol=1e-8, err_msg=key)


# What the blocks do


def test_a_body_of_zeros_passes_its_input_on():
    x = mt.Tensor(np.random.default_rng(0).uniform(0, 1, (2, 64, 4, 4)).astype(np.float32))
    for block in (BasicBlock(64, 64), Bottleneck(64, 16), SEBottleneck(64, 16)):
        last = block.bn2 if isinstance(block, BasicBlock) else block.bn3
        init.zeros_(last.weight)
        np.testing.assert_array_equal(block(x).numpy(), x.numpy())
    plain = PlainBlock(64, 64)
    init.zeros_(plain.bn2.weight)
    assert not plain(x).numpy().any()


def test_the_shortcut_is_not_scaled_by_squeeze_and_excitation():
    block, x = SEBottleneck(64, 16), mt.Tensor(np.ones((2, 64, 4, 4), np.float32))
    init.constant_(block.se.fc2.bias, -1e4)  # the gates are shut
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())
    init.zeros_(block.se.fc2.weight)
    init.zeros_(block.se.fc2.bias)  # half open
    np.testing.assert_array_equal(block.se(x).numpy(), 0.5 * x.numpy())


def test_the_padded_shortcut_takes_every_other_pixel_and_adds_channels_of_zeros():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    y = PaddedShortcut(3, stride=2)(mt.Tensor(x)).numpy()
    np.testing.assert_array_equal(y[:, :3], x[:, :, ::2, ::2])
    assert y.shape == (2, 6, 3, 2)
    assert not y[:, 3:].any()


def test_shortcuts_of_the_three_options():
    kinds = {
        option: [
            type(block.downsample).__name__
            for stage in ("layer1", "layer2", "layer3")
            for block in getattr(CifarResNet(2, shortcut=option), stage)
        ]
        for option in "ABC"
    }
    assert kinds["A"] == ["NoneType", "NoneType", "PaddedShortcut", "NoneType", "PaddedShortcut", "NoneType"]
    assert kinds["B"] == ["NoneType", "NoneType", "Sequential", "NoneType", "Sequential", "NoneType"]
    assert kinds["C"] == ["Sequential"] * 6


def test_dropout_of_wide_networks_stands_between_the_convolutions_and_rests_in_eval_mode():
    mt.manual_seed(0)
    model, x = wrn(10, 1, dropout=0.3), mt.Tensor(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32))
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3] * 3
    assert (model(x).numpy() != model(x).numpy()).any()
    model.eval()
    np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())
    seen = []
    model.layer1[0].dropout.register_forward_pre_hook(lambda module, args: seen.append(args[0].numpy().min()))
    model(x)
    assert seen == [0.0]  # rectified: after bn2 and ReLU


# What they see

FIELDS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), 435),
    "resnet34": (BasicBlock, (3, 4, 6, 3), 899),
    "resnet50": (Bottleneck, (3, 4, 6, 3), 427),
    "resnet50 of 2015": (BottleneckOf2015, (3, 4, 6, 3), 483),
    "resnet101": (Bottleneck, (3, 4, 23, 3), 971),
    "resnet152": (Bottleneck, (3, 8, 36, 3), 1451),
}


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields(name):
    block, layers, size = FIELDS[name]
    model = undrawn(ResNet, block, layers)
    assert nn.receptive_field(model, (3, 32, 32))["layer4"].size == (size, size)
    if name in IMAGENET:
        assert f"{size}×{size} pixels" in CARDS[name].factory.__doc__


def test_the_bottleneck_of_2015_costs_what_the_paper_says():
    found = nn.summary(undrawn(ResNet, BottleneckOf2015, (3, 4, 6, 3)), (3, 32, 32))
    assert at_224(found) == 3_857_973_248  # table 1: 3.8 · 10⁹
    assert found.total_parameters == IMAGENET["resnet50"][0]


@pytest.mark.parametrize(("size", "places"), [(32, 1), (64, 2), (65, 3)])
def test_images_of_any_size(size, places):
    model, seen = ResNet(BasicBlock, (1, 1, 1, 1), 3).eval(), []
    model.layer4.register_forward_hook(lambda module, args, y: seen.append(y.shape))
    assert model(mt.Tensor(np.zeros((2, 3, size, size), np.float32))).shape == (2, 3)
    assert seen == [(2, 512, places, places)]


# Where they start


def test_weights_start_as_he_et_al_draw_them():
    mt.manual_seed(0)
    model = ResNet(SEBottleneck, (1, 1, 1, 1))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            std = math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
            n = module.weight.numel()
            assert abs(module.weight.numpy().mean()) < 5 * std / math.sqrt(n), name
            assert module.weight.numpy().std() == pytest.approx(std, rel=5 / math.sqrt(2 * n)), name
            assert (module.bias is not None) == (".se." in name)
            assert module.bias is None or not module.bias.numpy().any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight.numpy() == 1).all()
            assert not module.bias.numpy().any()
    assert abs(model.fc.weight.numpy()).max() == pytest.approx(1 / math.sqrt(2048), rel=1e-2)


def test_each_seed_gives_its_own_weights():
    def first(seed):
        mt.manual_seed(seed)
        return CifarResNet(1).layer3[0].conv2.weight.numpy()

    np.testing.assert_array_equal(first(0), first(0))
    assert (first(0) != first(1)).any()


# What is refused

BAD = [
    (lambda: CifarResNet(0), ValueError, "CifarResNet: n must be at least 1, got 0"),
    (lambda: CifarResNet(1.5), TypeError, "CifarResNet: n must be an integer, got 1.5"),
    (
        lambda: cifar_resnet.cifar_resnet20(shortcut="D"),
        ValueError,
        'CifarResNet: shortcut must be "A" (padded with zeros), "B" (projected where the shape changes) or "C" (projected '
        "everywhere), got 'D'",
    ),
    (lambda: wrn(20, 10), ValueError, "WideResNet: depth must be 6n + 4, such as 10, 16, 22, 28, 34 or 40, got 20"),
    (lambda: wrn(4, 10), ValueError, "WideResNet: depth must be at least 10, got 4"),
    (lambda: WideResNet("28", 10), TypeError, "WideResNet: depth must be an integer, got '28'"),
    (lambda: wrn(28, 0), ValueError, "WideResNet: width must be at least 1, got 0"),
    (lambda: wrn(28, 2.5), TypeError, "WideResNet: width must be an integer, got 2.5"),
    (
        lambda: ResNet(BasicBlock, (2, 2, 2)),
        ValueError,
        "ResNet: expected layers for four stages and replace_stride_with_dilation for the last three, got (2, 2, 2) and "
        "(False, False, False)",
    ),
    (lambda: ResNet(BasicBlock, (1, 1, 1, 1), groups=32), TypeError, "unexpected keyword argument 'groups'"),
    (lambda: resnet.ResidualBlock().body(None), NotImplementedError, "ResidualBlock: write body(x)"),
    (
        lambda: CifarResNet(1)(mt.Tensor(np.zeros((2, 1, 32, 32), np.float32))),
        ValueError,
        "weight (16, 3, 3, 3) takes 3 channels per group, but x (2, 1, 32, 32) has 1",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_what_means_nothing_is_refused_in_words(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
