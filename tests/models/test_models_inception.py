"""GoogLeNet, Inception v3 and Inception-ResNet: parameters, multiply-adds, keys, auxiliary heads, and PyTorch's numbers."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.models.googlenet import CARDS as GOOGLENET
from microtensor.models.googlenet import (
    TABLE,
    BasicConv2d,
    GoogLeNetOutputs,
    Inception,
    InceptionAuxOf2014,
    InceptionOf2014,
    from_imagenet,
    googlenet,
    googlenet_2014,
)
from microtensor.models.inception_resnet import CARDS as INCEPTION_RESNET
from microtensor.models.inception_resnet import V1, V2, Block, inception_resnet_v1, inception_resnet_v2
from microtensor.models.inception_v3 import CARDS as INCEPTION_V3
from microtensor.models.inception_v3 import InceptionAux, InceptionOutputs, inception_v3

CARDS = {card.name: card for card in (*GOOGLENET, *INCEPTION_V3, *INCEPTION_RESNET)}

FACTS = {
    "googlenet": (13_004_888, 1_498_376_192),
    "googlenet_2014": (13_378_280, 1_582_671_872),
    "inception_v3": (27_161_264, 5_713_216_096),
    "inception_resnet_v1": (22_742_808, 6_206_361_696),
    "inception_resnet_v2": (55_813_192, 13_155_794_016),
}
"""Parameters, those of auxiliary heads included; multiply-adds for one image of the card's size."""


def undrawn(factory, *args, **settings):
    """A network whose weights nobody has drawn."""
    with nn.init.skipped():
        return factory(*args, **settings)


def count(module):
    return sum(p.numel() for p in module.parameters())


def images(*shape, seed=0):
    return mt.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("name", FACTS)
def test_parameters_and_multiply_adds(name):
    card = CARDS[name]
    found = nn.summary(undrawn(card.factory), card.input_shape, depth=0)
    assert (found.total_parameters, found.multiply_adds) == FACTS[name]
    assert f"{found.total_parameters:,}" in card.factory.__doc__
    assert f"{found.multiply_adds:,}" in card.factory.__doc__


@pytest.mark.parametrize(
    ("factory", "parameters"), [(googlenet, 6_624_904), (googlenet_2014, 6_998_552), (inception_v3, 23_834_568)]
)
def test_parameters_without_auxiliary_heads(factory, parameters):
    model = undrawn(factory, aux_logits=False)
    assert count(model) == parameters
    assert f"{parameters:,}" in factory.__doc__
    assert not any(name.lower().startswith("aux") for name in model.state_dict())


@pytest.mark.parametrize("factory", [googlenet, googlenet_2014, inception_v3, inception_resnet_v1, inception_resnet_v2])
def test_num_classes(factory):
    model = undrawn(factory, num_classes=7)
    shapes = {name: p.shape for name, p in model.named_parameters() if p.shape == (7,)}
    heads = {googlenet: 3, googlenet_2014: 3, inception_v3: 2}
    assert len(shapes) == heads.get(factory, 1)


# Keys

EXCERPTS = {
    "googlenet": {
        "conv1.conv.weight": (64, 3, 7, 7),
        "conv1.bn.running_var": (64,),
        "conv3.conv.weight": (192, 64, 3, 3),
        "inception3a.branch1.conv.weight": (64, 192, 1, 1),
        "inception3a.branch2.0.conv.weight": (96, 192, 1, 1),
        "inception3a.branch2.1.conv.weight": (128, 96, 3, 3),
        "inception3a.branch3.1.conv.weight": (32, 16, 3, 3),
        "inception3a.branch4.1.conv.weight": (32, 192, 1, 1),
        "inception4e.branch2.1.bn.num_batches_tracked": (),
        "inception5b.branch4.1.bn.bias": (128,),
        "aux1.conv.conv.weight": (128, 512, 1, 1),
        "aux2.conv.conv.weight": (128, 528, 1, 1),
        "aux2.fc1.weight": (1024, 2048),
        "aux2.fc2.bias": (1000,),
        "fc.weight": (1000, 1024),
    },
    "googlenet_2014": {
        "conv1.conv.bias": (64,),
        "inception3a.branch3.1.conv.weight": (32, 16, 5, 5),
        "inception5b.branch3.1.conv.weight": (128, 48, 5, 5),
        "aux1.fc1.weight": (1024, 2048),
    },
    "inception_v3": {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_3b_1x1.conv.weight": (80, 64, 1, 1),
        "Mixed_5b.branch1x1.conv.weight": (64, 192, 1, 1),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5d.branch3x3dbl_3.bn.weight": (96,),
        "Mixed_5d.branch_pool.conv.weight": (64, 288, 1, 1),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6e.branch7x7dbl_2.conv.weight": (192, 192, 7, 1),
        "AuxLogits.conv1.conv.weight": (768, 128, 5, 5),
        "AuxLogits.fc.weight": (1000, 768),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7c.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "fc.weight": (1000, 2048),
    },
    "inception_resnet_v1": {
        "conv2d_4b.conv.weight": (256, 192, 3, 3),
        "repeat_1.4.branch2.2.conv.weight": (32, 32, 3, 3),
        "repeat_1.4.conv2d.weight": (256, 96, 1, 1),
        "mixed_6a.branch1.2.conv.weight": (256, 192, 3, 3),
        "repeat_2.9.branch1.1.conv.weight": (128, 128, 1, 7),
        "mixed_7a.branch0.1.conv.weight": (384, 256, 3, 3),
        "repeat_3.4.branch1.2.bn.bias": (192,),
        "classif.weight": (1000, 1792),
    },
    "inception_resnet_v2": {
        "conv2d_4a.conv.weight": (192, 80, 3, 3),
        "mixed_5b.branch1.1.conv.weight": (64, 48, 5, 5),
        "mixed_5b.branch3.1.conv.weight": (64, 192, 1, 1),
        "repeat.9.conv2d.bias": (320,),
        "mixed_6a.branch0.conv.weight": (384, 320, 3, 3),
        "repeat_1.19.branch1.2.conv.weight": (192, 160, 7, 1),
        "mixed_7a.branch2.2.conv.weight": (320, 288, 3, 3),
        "repeat_2.8.branch1.1.conv.weight": (224, 192, 1, 3),
        "block8.conv2d.weight": (2080, 448, 1, 1),
        "conv2d_7b.bn.running_mean": (1536,),
        "classif.bias": (1000,),
    },
}


@pytest.mark.parametrize("name", EXCERPTS)
def test_keys(name):
    state = undrawn(CARDS[name].factory).state_dict()
    assert {key: state[key].shape if key in state else None for key in EXCERPTS[name]} == EXCERPTS[name]


def test_the_order_of_googlenets_keys_is_torchvisions():
    names = [name for name, child in undrawn(googlenet).named_children() if count(child)]
    assert names == [
        *("conv1", "conv2", "conv3", "inception3a", "inception3b", "inception4a", "inception4b", "inception4c", "inception4d"),
        *("inception4e", "inception5a", "inception5b", "aux1", "aux2", "fc"),
    ]


def test_the_order_of_inception_v3s_keys_is_torchvisions():
    names = [name for name, child in undrawn(inception_v3).named_children() if count(child)]
    assert names[5:] == [
        *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "AuxLogits"),
        *("Mixed_7a", "Mixed_7b", "Mixed_7c", "fc"),
    ]


# GoogLeNet


def test_table_1_fits_together():
    """What comes out of each module is what the next takes, and so many parameters has each in the paper's network."""
    model = undrawn(googlenet_2014)
    channels = {"3a": 192, "3b": 256, "4a": 480, "4b": 512, "4c": 512, "4d": 512, "4e": 528, "5a": 832, "5b": 832}
    for (name, row), after in zip(TABLE.items(), [*list(channels.values())[1:], 1024]):
        assert row[0] + row[2] + row[4] + row[5] == after
        c, (one, three_red, three, five_red, five, pool) = channels[name], row
        weights = c * (one + three_red + five_red + pool) + 9 * three_red * three + 25 * five_red * five
        assert count(getattr(model, f"inception{name}")) == weights + sum(row)


def test_googlenet_in_training_and_in_eval_mode():
    mt.manual_seed(0)
    model, x = googlenet(num_classes=5), images(2, 3, 64, 64)
    out = model(x)
    assert isinstance(out, GoogLeNetOutputs)
    assert out._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [y.shape for y in out] == [(2, 5)] * 3
    labels = np.array([1, 3])
    losses = [nn.cross_entropy(scores, labels) for scores in (out.logits, out.aux_logits1, out.aux_logits2)]
    (losses[0] + 0.3 * (losses[1] + losses[2])).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model.eval()(x).shape == (2, 5)
    assert googlenet(aux_logits=False, num_classes=5)(x).shape == (2, 5)


def test_the_auxiliary_heads_stand_on_4a_and_4d():
    model, x = googlenet(num_classes=5), images(2, 3, 64, 64)
    out = model(x)
    reached = {}
    for name in ("aux_logits1", "aux_logits2"):
        model.zero_grad()
        getattr(out, name).sum().backward(retain_graph=True)
        touched = {key.split(".")[0] for key, p in model.named_parameters() if p.grad is not None}
        reached[name] = touched - {"conv1", "conv2", "conv3", "inception3a", "inception3b"}
    assert reached == {
        "aux_logits1": {"inception4a", "aux1"},
        "aux_logits2": {"inception4a", "inception4b", "inception4c", "inception4d", "aux2"},
    }


def test_rates_of_dropout():
    tv, paper, third = undrawn(googlenet), undrawn(googlenet_2014), undrawn(inception_v3)
    assert (tv.dropout.p, tv.aux1.dropout.p, tv.aux2.dropout.p) == (0.2, 0.7, 0.7)
    assert (paper.dropout.p, paper.aux1.dropout.p, paper.aux2.dropout.p) == (0.4, 0.7, 0.7)
    assert third.dropout.p == 0.5
    assert undrawn(inception_resnet_v1).dropout.p == undrawn(inception_resnet_v2).dropout.p == 0.2


@pytest.mark.parametrize("factory", [googlenet, inception_v3, inception_resnet_v1, inception_resnet_v2])
def test_batch_normalisation_has_tensorflows_eps(factory):
    norms = [m for m in undrawn(factory).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {0.001}
    assert {norm.momentum for norm in norms} == {0.1}


def test_googlenet_2014_has_no_batch_normalisation():
    kinds = {type(m) for m in undrawn(googlenet_2014).modules()}
    assert nn.LocalResponseNorm in kinds
    assert nn.BatchNorm2d not in kinds


def reference_2014(torch, state, x, training):
    """Figure 3, written with PyTorch's functions: the scores; in training those of the heads on 4d and on 4a too."""
    F = torch.nn.functional

    def conv(name, x, **settings):
        return F.relu(F.conv2d(x, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"], **settings))

    def pool(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    def module(name, x):
        name = f"inception{name}"
        three = conv(f"{name}.branch2.1", conv(f"{name}.branch2.0", x), padding=1)
        five = conv(f"{name}.branch3.1", conv(f"{name}.branch3.0", x), padding=2)
        pooled = conv(f"{name}.branch4.1", F.max_pool2d(x, 3, 1, 1))
        return torch.cat([conv(f"{name}.branch1", x), three, five, pooled], 1)

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def head(name, x):
        x = conv(f"{name}.conv", F.avg_pool2d(x, 5, 3)).flatten(1)
        return linear(f"{name}.fc2", F.relu(linear(f"{name}.fc1", x)))

    x = F.local_response_norm(pool(conv("conv1", x, stride=2, padding=3)), 5)
    x = pool(F.local_response_norm(conv("conv3", conv("conv2", x), padding=1), 5))
    x = early = module("4a", pool(module("3b", module("3a", x))))
    x = late = module("4d", module("4c", module("4b", x)))
    x = module("5b", module("5a", pool(module("4e", x))))
    logits = linear("fc", x.mean((2, 3)))
    return [logits, head("aux2", late), head("aux1", early)] if training else [logits]


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def in_both(torch, model, x):
    """The model's state and the images as PyTorch's, which require gradients."""
    state = {name: torch.tensor(value.numpy(), requires_grad=True) for name, value in model.state_dict().items()}
    return state, torch.tensor(x.numpy(), requires_grad=True)


def test_googlenet_2014_computes_what_the_paper_draws_in_training():
    torch = pytest.importorskip("torch")
    mt.manual_seed(1)
    model, x = without_dropout(googlenet_2014(num_classes=6)), images(1, 3, 224, 224)
    state, pixels = in_both(torch, model, x)
    with mt.no_grad(), torch.no_grad():
        for ours, theirs in zip(model(x), reference_2014(torch, state, pixels, training=True), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_googlenet_2014_computes_what_the_paper_draws_and_has_its_gradients():
    torch = pytest.importorskip("torch")
    mt.manual_seed(1)
    model = googlenet_2014(num_classes=6, aux_logits=False).double().eval()
    x = images(1, 3, 65, 65).double()
    x.requires_grad = True
    state, pixels = in_both(torch, model, x)
    (expected,) = reference_2014(torch, state, pixels, training=False)
    y = model(x)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-8)
    cotangent = np.random.default_rng(1).standard_normal((1, 6))
    (y * mt.Tensor(cotangent)).sum().backward()
    (expected * torch.tensor(cotangent)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), pixels.grad.numpy(), rtol=1e-6, atol=1e-12)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), state[name].grad.numpy(), rtol=1e-6, atol=1e-12, err_msg=name)


def test_the_paper_has_5x5_kernels_and_torchvision_3x3():
    paper, tv = undrawn(InceptionOf2014, 192, *TABLE["3a"]), undrawn(Inception, 192, *TABLE["3a"])
    assert paper.branch3[1].conv.kernel_size == (5, 5)
    assert tv.branch3[1].conv.kernel_size == (3, 3)


def test_transform_input_undoes_one_normalisation_and_does_the_other():
    pixels = np.random.default_rng(0).random((2, 3, 5, 4)).astype(np.float32)  # from 0 to 1
    mean, std = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    given = mt.Tensor((pixels - mean) / std)
    np.testing.assert_allclose(from_imagenet(given).numpy(), 2 * pixels - 1, atol=1e-6)
    mt.manual_seed(0)
    model = googlenet(num_classes=3, aux_logits=False, transform_input=True).eval()
    x = images(1, 3, 32, 32)
    y = model(x)
    model.transform_input = False
    np.testing.assert_allclose(y.numpy(), model(from_imagenet(x)).numpy(), rtol=1e-6)
    assert undrawn(inception_v3, transform_input=True).transform_input


def test_initial_weights_are_torchvisions():
    mt.manual_seed(0)
    model = googlenet()
    assert model.inception5b.branch2[1].conv.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert model.aux1.fc1.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert model.fc.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert abs(model.fc.bias.numpy()).max() <= 1 / 32
    third = inception_v3()
    assert third.Mixed_7c.branch3x3_2a.conv.weight.numpy().std() == pytest.approx(0.1, rel=0.02)
    assert third.fc.weight.numpy().std() == pytest.approx(0.1, rel=0.02)
    assert third.AuxLogits.conv0.conv.weight.numpy().std() == pytest.approx(0.1, rel=0.02)
    assert third.AuxLogits.conv1.conv.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert third.AuxLogits.fc.weight.numpy().std() == pytest.approx(0.001, rel=0.02)


def test_initial_weights_of_googlenet_2014_are_caffes():
    mt.manual_seed(0)
    model = googlenet_2014()
    weight = model.inception5b.branch2[1].conv.weight.numpy()
    assert weight.var() == pytest.approx(1 / (192 * 9), rel=0.02)
    assert abs(weight).max() == pytest.approx((3 / (192 * 9)) ** 0.5, rel=0.01)
    biases = {name: set(p.numpy().tolist()) for name, p in model.named_parameters() if name.endswith("bias")}
    assert all(values == {0.0} for name, values in biases.items() if name.endswith(("fc.bias", "fc2.bias")))
    assert all(
        values == {float(np.float32(0.2))} for name, values in biases.items() if name.endswith(("conv.bias", "fc1.bias"))
    )


# Inception v3


def test_inception_v3_in_training_and_in_eval_mode():
    mt.manual_seed(0)
    model = inception_v3(num_classes=5)
    with mt.no_grad():
        out = model(images(2, 3, 299, 299))
        assert isinstance(out, InceptionOutputs)
        assert out._fields == ("logits", "aux_logits")
        assert [y.shape for y in out] == [(2, 5)] * 2
        assert model.eval()(images(1, 3, 75, 75)).shape == (1, 5)


def test_each_parameter_is_used():
    assert nn.summary(undrawn(inception_v3, aux_logits=False), (3, 75, 75)).unused == {}
    assert nn.summary(undrawn(InceptionAux, 768, 5), (768, 17, 17)).unused == {}
    assert nn.summary(undrawn(inception_resnet_v1), (3, 75, 75)).unused == {}
    assert nn.summary(undrawn(inception_resnet_v2), (3, 75, 75)).unused == {}


def test_sizes_in_inception_v3():
    found = nn.summary(undrawn(inception_v3), (3, 299, 299), depth=1)
    sizes = {row.name: row.output_shape for row in found.rows}
    assert sizes["maxpool2"] == (192, 35, 35)
    assert sizes["Mixed_5d"] == (288, 35, 35)
    assert sizes["Mixed_6a"] == sizes["Mixed_6e"] == (768, 17, 17)
    assert sizes["Mixed_7a"] == (1280, 8, 8)
    assert sizes["Mixed_7c"] == (2048, 8, 8)


# Inception-ResNet


def test_sizes_in_inception_resnet():
    expected = {
        inception_resnet_v1: {"conv2d_4b": (256, 35, 35), "mixed_6a": (896, 17, 17), "mixed_7a": (1792, 8, 8)},
        inception_resnet_v2: {
            "mixed_5b": (320, 35, 35),
            "mixed_6a": (1088, 17, 17),
            "mixed_7a": (2080, 8, 8),
            "conv2d_7b": (1536, 8, 8),
        },
    }
    for factory, sizes in expected.items():
        found = nn.summary(undrawn(factory), (3, 299, 299), depth=1)
        assert {row.name: row.output_shape for row in found.rows if row.name in sizes} == sizes


def test_batch_normalisation_shifts_and_does_not_scale():
    state = undrawn(inception_resnet_v2).state_dict()
    assert "conv2d_1a.bn.bias" in state
    assert "conv2d_1a.bn.running_mean" in state
    assert not any(name.endswith("bn.weight") for name in state)
    scales = sum(value.shape[0] for name, value in state.items() if name.endswith("bn.bias"))
    assert 55_813_192 + scales == 55_843_464  # timm's, which has scales


def test_a_file_with_scales_loads():
    model = undrawn(inception_resnet_v1)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    scales = {name.replace("bn.bias", "bn.weight"): np.ones_like(v) for name, v in state.items() if name.endswith("bn.bias")}
    loaded = model.load_state_dict(state | scales, strict=False)
    assert loaded.missing_keys == []
    assert sorted(loaded.unexpected_keys) == sorted(scales)
    with pytest.raises(ValueError, match="conv2d_1a.bn.weight"):
        model.load_state_dict(state | scales)


def test_facenets_parameters_from_those_of_version_1():
    """facenet-pytorch 2.6's InceptionResnetV1 has 23,482,624, counted there."""
    model = undrawn(inception_resnet_v1)
    scales = sum(p.numel() for name, p in model.named_parameters() if name.endswith("bn.bias"))
    block8 = undrawn(Block, 1792, V1["block8"], 1.0)
    its_scales = sum(p.numel() for name, p in block8.named_parameters() if name.endswith("bn.bias"))
    face = 1792 * 512 + 2 * 512
    assert count(model) - count(model.classif) + scales + count(block8) + its_scales + face == 23_482_624


@pytest.mark.parametrize(("table", "part", "channels"), [(V1, "block35", 256), (V2, "block17", 1088), (V2, "block8", 2080)])
@pytest.mark.parametrize("rectified", [True, False])
def test_a_block_adds_a_part_of_what_it_computes(table, part, channels, rectified):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    mt.manual_seed(0)
    block = Block(channels, table[part], 0.3, rectified).eval()
    x = images(2, channels, 5, 6)
    state = {name: torch.tensor(value.numpy()) for name, value in block.state_dict().items()}

    def unit(name, x):
        weight = state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, padding=[n // 2 for n in weight.shape[2:]])
        mean, var = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
        return F.relu(F.batch_norm(x, mean, var, None, state[f"{name}.bn.bias"], eps=0.001))

    pixels, branches = torch.tensor(x.numpy()), []
    for i, convolutions in enumerate(table[part]):
        names = [f"branch{i}"] if len(convolutions) == 1 else [f"branch{i}.{j}" for j in range(len(convolutions))]
        y = pixels
        for name in names:
            y = unit(name, y)
        branches.append(y)
    y = pixels + 0.3 * F.conv2d(torch.cat(branches, 1), state["conv2d.weight"], state["conv2d.bias"])
    expected = (F.relu(y) if rectified else y).numpy()
    np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_scales_of_the_blocks():
    one, two = undrawn(inception_resnet_v1), undrawn(inception_resnet_v2)
    assert [{b.scale for b in blocks} for blocks in (one.repeat_1, one.repeat_2, one.repeat_3)] == [{0.17}, {0.1}, {0.2}]
    assert [{b.scale for b in blocks} for blocks in (two.repeat, two.repeat_1, two.repeat_2)] == [{0.17}, {0.1}, {0.2}]
    assert [len(blocks) for blocks in (one.repeat_1, one.repeat_2, one.repeat_3)] == [5, 10, 5]
    assert [len(blocks) for blocks in (two.repeat, two.repeat_1, two.repeat_2)] == [10, 20, 9]
    assert (two.block8.scale, two.block8.rectified) == (1.0, False)
    assert all(block.rectified for block in [*two.repeat_2, *one.repeat_3])
    assert two.mixed_5b.branch3[0].count_include_pad is False


# Bad input


def in_training(factory, shape, **settings):
    return lambda: factory(**settings)(images(*shape))


BAD = {
    "four channels": (
        in_training(googlenet, (1, 4, 32, 32)),
        r"conv1\.conv \(Conv2d\): conv2d: weight \(64, 3, 7, 7\) takes 3 channels per group, but x \(1, 4, 32, 32\) has 4",
    ),
    "one channel to transform": (
        in_training(googlenet, (1, 1, 32, 32), transform_input=True),
        r"transform_input: expected normalised images \(N, 3, H, W\), got shape \(1, 1, 32, 32\)",
    ),
    "too small a picture": (in_training(googlenet, (2, 3, 8, 8)), r"maxpool3 \(MaxPool2d\): max_pool2d: kernel \(3, 3\)"),
    "too small for the heads of 2014": (
        in_training(googlenet_2014, (1, 3, 96, 96)),
        r"aux2 \(InceptionAuxOf2014\): an auxiliary head needs 14 to 16 pixels per side, got shape \(1, 528, 6, 6\); "
        "train on images of 224×224, or with aux_logits=False",
    ),
    "too small for the head of v3": (
        in_training(inception_v3, (2, 3, 96, 96)),
        r"AuxLogits \(InceptionAux\): the auxiliary head needs 17 pixels per side or more, got shape \(2, 768, 4, 4\); "
        "train on images of 299×299, or with aux_logits=False",
    ),
    "too small for v1": (
        in_training(inception_resnet_v1, (2, 3, 74, 74)),
        r"mixed_7a\.branch0\.1\.conv \(Conv2d\): conv2d: kernel \(3, 3\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_words(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_the_heads_of_2014_take_14_to_16_pixels():
    head = InceptionAuxOf2014(8, 3)
    for size in (14, 15, 16):
        assert head(images(1, 8, size, size)).shape == (1, 3)
    model = undrawn(googlenet_2014)
    for size, pixels in ((223, 14), (270, 16)):
        found = nn.summary(model, (3, size, size), depth=1)
        assert next(row.output_shape for row in found.rows if row.name == "inception4a") == (512, pixels, pixels)


def test_cards():
    assert list(CARDS) == ["googlenet_2014", "googlenet", "inception_v3", "inception_resnet_v1", "inception_resnet_v2"]
    assert [card.year for card in CARDS.values()] == [2014, 2014, 2015, 2016, 2016]
    assert isinstance(undrawn(CARDS["googlenet"].factory).conv1, BasicConv2d)
