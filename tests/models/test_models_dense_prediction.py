"""Networks that say something of every pixel, FCN and U-Net: parameters, geometry, PyTorch's numbers."""

import copy
import sys

import numpy as np
import pytest
import strict
from hypothesis import given, settings
from hypothesis import strategies as st

import microtensor as mt
from microtensor import nn
from microtensor.models import fcn, vgg
from microtensor.models.resnet import BasicBlock, ResNet
from microtensor.models.unet import CARDS, UNet, unet, unet_2015


def count(module, learned=None):
    return sum(p.numel() for p in module.parameters() if learned is None or p.requires_grad == learned)


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def randomised(model, seed=0):
    """The model with weights of which none is 0 and none is like another: what starts at 0 hides mistakes."""
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        fan_in = parameter.numel() / parameter.shape[0] if parameter.ndim > 1 else 100
        parameter.array[...] = mt.Tensor(rng.standard_normal(parameter.shape) * (2 / fan_in) ** 0.5).array
    return model


def check_against_torch(model, function, x):
    """The numbers of `model`, and its gradients, are those of `function(state, x)`, written in PyTorch."""
    torch = pytest.importorskip("torch")
    model.double()
    x = x.astype(np.float64)
    state = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}
    ours, theirs = mt.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = model(ours), function(torch.nn.functional, state, theirs)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    cotangent = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(mt.Tensor(cotangent))
    expected.backward(torch.tensor(cotangent))
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-8, atol=1e-10)
    for name, p in model.named_parameters():
        if p.requires_grad:
            np.testing.assert_allclose(p.grad.numpy(), state[name].grad.numpy(), rtol=1e-8, atol=1e-9, err_msg=name)


# FCN on ResNet


@pytest.mark.parametrize(
    ("factory", "parameters", "multiply_adds"),
    [(fcn.fcn_resnet50, 35_322_218, 152_716_512_000), (fcn.fcn_resnet101, 54_314_346, 232_737_606_400)],
)
def test_fcn_on_resnet_counts_as_torchvisions(factory, parameters, multiply_adds):
    with nn.init.skipped():
        model = factory()
    assert count(model) == parameters
    if factory is fcn.fcn_resnet50:  # 40 = 520 / 13, and all sizes are whole: the work is the pixels'
        assert nn.summary(model, (3, 40, 40), depth=0).multiply_adds * 13**2 == multiply_adds


def test_fcn_on_resnet_without_its_auxiliary_head():
    with nn.init.skipped():
        model = fcn.fcn_resnet50(aux_loss=False)
    assert count(model) == 32_957_013
    assert not any(name.startswith("aux") for name in model.state_dict())


def test_keys_are_torchvisions():
    with nn.init.skipped():
        state = fcn.fcn_resnet50(num_classes=5).state_dict()
    names = list(state)
    assert names[:6] == [
        "backbone.conv1.weight",
        "backbone.bn1.weight",
        "backbone.bn1.bias",
        "backbone.bn1.running_mean",
        "backbone.bn1.running_var",
        "backbone.bn1.num_batches_tracked",
    ]
    assert names[-8:] == [f"aux_classifier.{name}" for name in (
        "0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked", "4.weight", "4.bias",
    )]  # fmt: skip
    assert {name.split(".")[0] for name in names} == {"backbone", "classifier", "aux_classifier"}
    assert {name.split(".")[1] for name in names if name.startswith("backbone")} == {
        "conv1", "bn1", "layer1", "layer2", "layer3", "layer4",
    }  # fmt: skip
    assert state["classifier.0.weight"].shape == (512, 2048, 3, 3)
    assert state["aux_classifier.4.weight"].shape == (5, 256, 1, 1)
    assert len(names) == 334  # of torchvision's


def test_the_last_two_stages_are_dilated():
    with nn.init.skipped():
        backbone = fcn.fcn_resnet50().backbone
    kernels = {f"{stage}.{block}": backbone[stage][block].conv2 for stage in ("layer2", "layer3", "layer4") for block in (0, 1)}
    assert {name: (layer.stride[0], layer.dilation[0]) for name, layer in kernels.items()} == {
        "layer2.0": (2, 1),
        "layer2.1": (1, 1),
        "layer3.0": (1, 1),
        "layer3.1": (1, 2),
        "layer4.0": (1, 2),
        "layer4.1": (1, 4),
    }


def small_fcn():
    network = ResNet(BasicBlock, (1, 1, 1, 1), replace_stride_with_dilation=(False, True, True))
    return fcn.FCN(fcn.Backbone(network), fcn.FCNHead(512, 4), fcn.FCNHead(256, 4))


def test_an_fcn_gives_scores_of_the_image_s_size_for_both_heads():
    torch = pytest.importorskip("torch")
    model = small_fcn().eval()
    x = mt.Tensor(images(2, 3, 33, 50))
    result = model(x)
    assert list(result) == ["out", "aux"]
    middle, last = model.backbone(x)
    assert (middle.shape, last.shape) == ((2, 256, 5, 7), (2, 512, 5, 7))  # ⌈33 / 8⌉, ⌈50 / 8⌉
    for name, features, head in (("out", last, model.classifier), ("aux", middle, model.aux_classifier)):
        coarse = torch.tensor(head(features).detach().numpy())
        expected = torch.nn.functional.interpolate(coarse, size=(33, 50), mode="bilinear", align_corners=False)
        np.testing.assert_allclose(result[name].detach().numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


def test_an_fcn_without_the_auxiliary_head_gives_one_result():
    full = small_fcn().eval()
    model = fcn.FCN(full.backbone, full.classifier).eval()
    x = mt.Tensor(images(1, 3, 32, 32))
    assert list(model(x)) == ["out"]
    np.testing.assert_array_equal(model(x)["out"].detach().numpy(), full(x)["out"].detach().numpy())


# FCN on VGG-16


@pytest.mark.parametrize(
    ("factory", "learned", "fixed"),
    [
        (fcn.fcn32s_vgg16, 134_346_581, 21 * 21 * 64 * 64),
        (fcn.fcn16s_vgg16, 134_364_410, 21 * 21 * 32 * 32),
        (fcn.fcn8s_vgg16, 134_376_863, 21 * 21 * 16 * 16),
    ],
)
def test_fcn_on_vgg_parameters(factory, learned, fixed):
    with nn.init.skipped():
        model = factory()
    assert (count(model, True), count(model, False)) == (learned, fixed)
    network = 138_357_544 - 1000 * (4096 + 1)  # VGG-16 without its scores
    heads = {"FCN32s": [4096], "FCN16s": [4096, 512], "FCN8s": [4096, 512, 256]}[type(model).__name__]
    doubling = (len(heads) - 1) * 21 * 21 * 4 * 4
    assert learned == network + sum(21 * (channels + 1) for channels in heads) + doubling


def test_keys_are_those_of_the_papers_caffe_networks():
    with nn.init.skipped():
        names = list(fcn.fcn8s_vgg16().state_dict())
    layers = list(dict.fromkeys(name.split(".")[0] for name in names))
    assert layers == [
        "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3",
        "conv5_1", "conv5_2", "conv5_3", "fc6", "fc7", "score_fr", "score_pool3", "score_pool4", "upscore2", "upscore_pool4",
        "upscore8",
    ]  # fmt: skip
    assert [name for name in names if name.startswith("up")] == ["upscore2.weight", "upscore_pool4.weight", "upscore8.weight"]


def small(monkeypatch, maps=(4, 5, 6, 7, 8), units=9, padding=100):
    """The three networks with few channels."""
    monkeypatch.setattr(fcn, "MAPS", maps)
    monkeypatch.setattr(fcn, "UNITS", units)
    monkeypatch.setattr(fcn, "PADDING", padding)


FACTORIES = [fcn.fcn32s_vgg16, fcn.fcn16s_vgg16, fcn.fcn8s_vgg16]


def test_multiply_adds_of_fcn_on_vgg(monkeypatch):
    """Those of the docstrings, by a formula; and the formula, on a small network."""

    def formula(maps, units, classes, size):
        total, channels, side, sides = 0, 3, size + 198, []
        for names, count in zip(fcn.CONVOLUTIONS, maps):
            for _ in names:
                total += 9 * channels * count * side**2
                channels = count
            side = -(-side // 2)
            sides.append(side)
        side -= 6
        total += side**2 * (49 * channels * units + units**2 + units * classes)
        paint = [0, 0, 0]
        paint[0] = total + (classes * 64 * side) ** 2
        pool4 = total + (classes * 4 * side) ** 2 + maps[3] * classes * sides[3] ** 2
        paint[1] = pool4 + (classes * 32 * (2 * side + 2)) ** 2
        pool3 = pool4 + (classes * 4 * (2 * side + 2)) ** 2 + maps[2] * classes * sides[2] ** 2
        paint[2] = pool3 + (classes * 16 * (4 * side + 6)) ** 2
        return paint

    published = [int(factory.__doc__.split(" multiply-adds")[0].split()[-1].replace(",", "")) for factory in FACTORIES]
    assert formula((64, 128, 256, 512, 512), 4096, 21, 500) == published
    small(monkeypatch)
    found = [nn.summary(factory(3), (3, 30, 30), depth=0).multiply_adds for factory in FACTORIES]
    assert found == formula((4, 5, 6, 7, 8), 9, 3, 30)


@given(st.sampled_from(FACTORIES), st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=10)
def test_scores_are_of_the_image_s_size_whatever_it_is(factory, height, width):
    with pytest.MonkeyPatch.context() as monkeypatch:
        small(monkeypatch)
        assert factory(2)(mt.Tensor(images(1, 3, height, width))).shape == (1, 2, height, width)


def passing_on(model):
    """The model, each of whose layers passes on the first channel: what is left is where things are taken from."""
    for name, layer in model.named_children():
        if isinstance(layer, nn.Conv2d):
            middle = layer.kernel_size[0] // 2
            layer.weight.array[...] = 0
            if not name.startswith("score"):
                layer.weight.array[0, 0, middle, middle] = 1
    return model.eval()


@pytest.mark.parametrize(
    ("factory", "score", "stride"),
    [
        (fcn.fcn32s_vgg16, "score_fr", 32),
        (fcn.fcn16s_vgg16, "score_fr", 32),
        (fcn.fcn16s_vgg16, "score_pool4", 16),
        (fcn.fcn8s_vgg16, "score_fr", 32),
        (fcn.fcn8s_vgg16, "score_pool4", 16),
        (fcn.fcn8s_vgg16, "score_pool3", 8),
    ],
)
def test_scores_stand_where_the_image_has_what_they_are_of(monkeypatch, factory, score, stride):
    """A ramp comes back as itself: of each `stride` numbers the maximum is the last, (stride − 1) / 2 above their middle."""
    small(monkeypatch, maps=(1, 1, 1, 1, 1), units=1)
    model = passing_on(factory(1))
    getattr(model, score).weight.array[...] = 1
    rows, columns = np.mgrid[:170, :150].astype(np.float32)
    for ramp in (rows, columns):
        y = model(mt.Tensor(np.stack([ramp + 100, ramp, ramp])[None])).detach().numpy()[0, 0]
        inside = (slice(56, -56),) * 2  # beyond, what is interpolated begins in the padding
        np.testing.assert_allclose(y[inside], (ramp + 100 + (stride - 1) / 2)[inside], rtol=1e-5)


def torch_fcn8s(F, state, x):
    def conv(name, x, padding=0):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def up(name, x, stride):
        return F.conv_transpose2d(x, state[f"{name}.weight"], stride=stride)

    size = x.shape[2:]
    pools = []
    for stage, layers in enumerate((2, 2, 3, 3, 3), start=1):
        for layer in range(1, layers + 1):
            x = F.relu(conv(f"conv{stage}_{layer}", x, 100 if stage == layer == 1 else 1))
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        pools.append(x)
    x = conv("score_fr", F.relu(conv("fc7", F.relu(conv("fc6", x)))))
    x = up("upscore2", x, 2)
    x = x + conv("score_pool4", pools[3])[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
    x = up("upscore_pool4", x, 2)
    x = x + conv("score_pool3", pools[2])[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
    return up("upscore8", x, 8)[:, :, 31 : 31 + size[0], 31 : 31 + size[1]]


def test_fcn8s_computes_what_pytorch_does(monkeypatch):
    small(monkeypatch)
    check_against_torch(randomised(fcn.fcn8s_vgg16(3)).eval(), torch_fcn8s, images(2, 3, 41, 30))


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_upsampling_starts_as_bilinear_interpolation(factor):
    x = mt.Tensor(images(1, 3, 4, 5))
    layer = fcn.bilinear_upsampling(3, factor, learned=True)
    y = layer(x).detach().numpy()
    assert y.shape == (1, 3, 5 * factor, 6 * factor)
    half = factor // 2
    expected = nn.interpolate(x, scale_factor=factor, mode="bilinear").numpy()[:, :, half:-half, half:-half]
    np.testing.assert_allclose(y[:, :, factor:-factor, factor:-factor], expected, rtol=1e-5, atol=1e-5)


def test_a_classifier_s_layers_become_convolutions(monkeypatch):
    """On an image of which fc6 sees all, once, FCN's scores are those of the VGG-16 that it starts from."""
    small(monkeypatch, maps=(2, 2, 2, 2, 2), units=4096, padding=1)
    monkeypatch.setattr(vgg, "MAPS", (2, 2, 2, 2, 2))
    with nn.init.skipped():
        classifier = vgg.vgg16(num_classes=6)
        model = fcn.fcn32s_vgg16(num_classes=6)
    randomised(classifier).eval()
    assert model.start_from(classifier) is model
    last = classifier.classifier[6]
    model.score_fr.weight.array[...] = last.weight.array[:, :, None, None]
    model.score_fr.bias.array[...] = last.bias.array
    x = mt.Tensor(images(2, 3, 224, 224))
    with mt.no_grad():
        _, _, scores = model.eval().features(x)
        expected = classifier(x)
    assert scores.shape == (2, 6, 1, 1)
    np.testing.assert_allclose(scores.numpy()[:, :, 0, 0], expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("other", "given"),
    [(vgg.vgg11, "a network of 11 layers"), (vgg.vgg16_bn, "a network of 16 layers and batch normalisation")],
)
def test_start_from_refuses_another_network(monkeypatch, other, given):
    small(monkeypatch, maps=(2, 2, 2, 2, 2), units=4096)
    monkeypatch.setattr(vgg, "MAPS", (2, 2, 2, 2, 2))
    with (
        nn.init.skipped(),
        pytest.raises(ValueError, match=rf"FCN32s: start_from takes the weights of vgg16\(\), got {given}$"),
    ):
        fcn.fcn32s_vgg16(2).start_from(other())


def test_what_starts_how(monkeypatch):
    """Scores at 0, convolutions as He et al. 2015 say; what doubles learns, what enlarges to the image does not."""
    small(monkeypatch)
    model = fcn.fcn8s_vgg16(3)
    fixed = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert fixed == ["upscore8.weight"]
    assert not any(layer.weight.array.any() for name, layer in model.named_children() if name.startswith("score"))
    assert not model(mt.Tensor(images(1, 3, 20, 20))).array.any()
    wide = [getattr(model, name) for names in fcn.CONVOLUTIONS for name in names][4]
    assert wide.weight.numpy().std() == pytest.approx((2 / (9 * wide.in_channels)) ** 0.5, rel=0.2)


# U-Net


@pytest.mark.parametrize(("classes", "parameters"), [(1, 31_030_593), (2, 31_030_658)])
def test_unet_parameters(classes, parameters):
    with nn.init.skipped():
        assert count(unet(1, classes)) == count(unet_2015(1, classes)) == parameters


def test_unet_has_23_convolutions():
    """Section 2: "in total the network has 23 convolutional layers"."""
    with nn.init.skipped():
        layers = [layer for layer in unet_2015().modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(layers) == 23


def test_unet_multiply_adds():
    with nn.init.skipped():
        found = nn.summary(unet(), (1, 16, 16), depth=0).multiply_adds  # all of it is the pixels': 512 = 32 · 16
    assert found * 32**2 == 192_384_335_872

    total, side, channels = 0, 572, 1
    for level in range(5):  # the way down as published; each convolution loses two pixels
        width = 64 << level
        total += 9 * width * (channels * (side - 2) ** 2 + width * (side - 4) ** 2)
        channels, side = width, (side - 4) // 2
    side *= 2
    for level in reversed(range(4)):
        width = 64 << level
        total += 4 * 2 * width * width * side**2
        side *= 2
        total += 9 * width * (2 * width * (side - 2) ** 2 + width * (side - 4) ** 2)
        side -= 4
    assert side == 388
    assert total + 64 * 2 * side**2 == 150_428_424_448


def test_unet_as_published_makes_388_of_572():
    model = UNet(1, 2, base=1, padded=False).eval()
    with mt.no_grad():
        assert model(mt.Tensor(np.zeros((1, 1, 572, 572), np.float32))).shape == (1, 2, 388, 388)
        assert model(mt.Tensor(np.zeros((1, 1, 188, 204), np.float32))).shape == (1, 2, 4, 20)
        image = mt.Tensor(images(1, 1, 388, 388))
        assert model(image.pad((92, 92, 92, 92), mode="reflect")).shape == (1, 2, 388, 388)


def torch_unet(padding):
    torch = pytest.importorskip("torch")

    def function(F, state, x):
        def block(name, x):
            for layer in (0, 2):
                x = F.relu(F.conv2d(x, state[f"{name}.{layer}.weight"], state[f"{name}.{layer}.bias"], padding=padding))
            return x

        passed = [block("down.0", x)]
        for level in range(1, 5):
            passed.append(block(f"down.{level}", F.max_pool2d(passed[-1], 2)))
        x = passed.pop()
        for level in range(4):
            x = F.conv_transpose2d(x, state[f"up.{level}.weight"], state[f"up.{level}.bias"], stride=2)
            skip = passed.pop()
            crop = [(n - m) // 2 for n, m in zip(skip.shape[2:], x.shape[2:])]
            skip = skip[:, :, crop[0] : skip.shape[2] - crop[0], crop[1] : skip.shape[3] - crop[1]]
            x = block(f"merge.{level}", torch.cat([skip, x], dim=1))
        return F.conv2d(x, state["score.weight"], state["score.bias"])

    return function


@pytest.mark.parametrize(("padded", "size"), [(True, (32, 48)), (False, (188, 204))])
def test_unet_computes_what_pytorch_does(padded, size):
    model = randomised(unet(2, 3, base=2, padded=padded))
    check_against_torch(model, torch_unet(1 if padded else 0), images(1, 2, *size))


def test_unet_starts_from_the_paper_s_distribution():
    model = unet(3, 2, base=16)
    for layer, fan_in in ((model.down[2][0], 9 * 32), (model.up[0], 256), (model.merge[1][2], 9 * 64)):
        assert layer.weight.numpy().std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        assert not layer.bias.array.any()


def test_unet_drops_at_the_end_of_the_way_down():
    model, seen = UNet(1, 2, base=2, dropout=0.5), []
    model.dropout.register_forward_hook(lambda layer, args, y: seen.append(y.shape[1:]))
    x = mt.Tensor(images(1, 1, 32, 32))
    assert not np.array_equal(model(x).detach().numpy(), model(x).detach().numpy())
    assert seen[:2] == [(16, 4, 4), (32, 2, 2)]
    model.eval()
    np.testing.assert_array_equal(model(x).detach().numpy(), model(x).detach().numpy())


@pytest.mark.parametrize(
    ("padded", "shape", "message"),
    [
        (
            True,
            (1, 1, 572, 96),
            r"UNet: expected x \(N, 1, H, W\), H and W multiples of 16, got shape \(1, 1, 572, 96\); "
            r"pad it to 576×96: x.pad\(\(0, 0, 0, 4\)\)",
        ),
        (True, (1, 1, 8, 16), r"pad it to 16×16: x.pad\(\(0, 0, 0, 8\)\)"),
        (True, (1, 3, 16, 16), r"expected x \(N, 1, H, W\), H and W multiples of 16, got shape \(1, 3, 16, 16\)$"),
        (True, (1, 16, 16), r"got shape \(1, 16, 16\)$"),
        (
            False,
            (1, 1, 512, 100),
            r"H and W of 188, 204, 220, … pixels: 16 n \+ 188, got shape \(1, 1, 512, 100\); pad it to 524×188: "
            r"x.pad\(\(0, 88, 0, 12\)\)",
        ),
    ],
)
def test_unet_refuses_sizes_that_do_not_go_up(padded, shape, message):
    model = unet(1, 2, base=1, padded=padded)
    with pytest.raises(ValueError, match=message):
        model(mt.Tensor(np.zeros(shape, np.float32)))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"classes": 0}, ValueError, "UNet: classes must be at least 1, got 0"),
        ({"base": 1.5}, TypeError, "UNet: base"),
        ({"in_channels": "1"}, TypeError, "UNet: in_channels"),
        ({"dropout": 2}, ValueError, "Dropout: p is the probability"),
    ],
)
def test_unet_refuses_settings_that_mean_nothing(settings, error, message):
    with pytest.raises(error, match=message):
        unet(**settings)


def test_one_code_path_computes_on_the_stand_in_for_cupy(monkeypatch):
    small(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    for host, size in ((randomised(fcn.fcn8s_vgg16(3)).eval(), 20), (randomised(unet(3, 2, base=2, padded=False)), 188)):
        x, device = mt.Tensor(images(1, 3, size, size)), copy.deepcopy(host).to("cuda")
        y = device(x.to("cuda"))
        y.sum().backward()
        assert all(type(p.grad.array) is strict.ndarray for p in device.parameters() if p.requires_grad)
        np.testing.assert_allclose(y.detach().cpu().numpy(), host(x).detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("card", [*fcn.CARDS, *CARDS], ids=lambda card: card.name)
def test_cards(card):
    with nn.init.skipped():
        assert isinstance(card.factory(), nn.Module)
    assert (card.factory.__name__, len(card.input_shape)) == (card.name, 3)
