"""DenseNet: parameters, multiply-adds, keys, growth, PyTorch's numbers, and memory that is given for time."""

import tracemalloc

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.models import cifar_densenet, densenet121, densenet161, densenet169, densenet201
from microtensor.models.densenet import CARDS, BottleneckLayer, DenseBlock, DenseLayer, DenseNet, transition

IMAGENET = {
    densenet121: (7_978_856, 2_834_161_664),
    densenet161: (28_681_000, 7_727_907_072),
    densenet169: (14_149_480, 3_359_843_328),
    densenet201: (20_013_928, 4_291_365_888),
}
"""Parameters, and multiply-adds at 224×224 pixels."""


def undrawn(factory, *args, **settings):
    """A network whose weights nobody has drawn."""
    with nn.init.skipped():
        return factory(*args, **settings)


def count(module):
    return sum(p.numel() for p in module.parameters())


def images(*shape, seed=0):
    return mt.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("factory", IMAGENET)
def test_parameters_and_multiply_adds(factory):
    """At 224×224 pixels there are 49 times those at 32×32, in all but the linear layer."""
    found = nn.summary(undrawn(factory), (3, 32, 32))
    linear = next(row.multiply_adds for row in found.rows if row.type == "Linear")
    multiply_adds = 49 * (found.multiply_adds - linear) + linear
    assert (found.total_parameters, multiply_adds) == IMAGENET[factory]
    assert f"{found.total_parameters:,} parameters, {multiply_adds:,} multiply-adds" in factory.__doc__
    assert found.unused == {}


def test_parameters_of_those_for_cifar():
    found = nn.summary(undrawn(cifar_densenet), (3, 32, 32))
    assert (found.total_parameters, found.multiply_adds) == (769_162, 287_929_692)
    assert "769,162 parameters, 287,929,692 multiply-adds" in cifar_densenet.__doc__
    assert count(undrawn(cifar_densenet, 40, 12, bottleneck=False, compression=1.0)) == 1_019_722


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        ({"depth": 100, "growth_rate": 12, "bottleneck": False, "compression": 1.0}, 7.0),
        ({"depth": 100, "growth_rate": 24, "bottleneck": False, "compression": 1.0}, 27.2),
        ({"depth": 250, "growth_rate": 24}, 15.3),
        ({"depth": 190, "growth_rate": 40}, 25.6),
    ],
)
def test_the_other_rows_of_table_2(settings, millions):
    assert round(count(undrawn(cifar_densenet, **settings)) / 1e6, 1) == millions


def test_num_classes():
    assert undrawn(densenet121, num_classes=7).classifier.weight.shape == (7, 1024)
    assert undrawn(cifar_densenet, num_classes=100).classifier.weight.shape == (100, 342)


EXCERPT = {
    "features.conv0.weight": (64, 3, 7, 7),
    "features.norm0.running_mean": (64,),
    "features.denseblock1.denselayer1.norm1.weight": (64,),
    "features.denseblock1.denselayer1.conv1.weight": (128, 64, 1, 1),
    "features.denseblock1.denselayer1.norm2.num_batches_tracked": (),
    "features.denseblock1.denselayer1.conv2.weight": (32, 128, 3, 3),
    "features.denseblock1.denselayer6.norm1.bias": (224,),
    "features.transition1.norm.weight": (256,),
    "features.transition1.conv.weight": (128, 256, 1, 1),
    "features.denseblock3.denselayer24.conv1.weight": (128, 992, 1, 1),
    "features.denseblock4.denselayer16.conv2.weight": (32, 128, 3, 3),
    "features.norm5.running_var": (1024,),
    "classifier.weight": (1000, 1024),
    "classifier.bias": (1000,),
}


def test_keys():
    state = undrawn(densenet121).state_dict()
    assert {name: state[name].shape if name in state else None for name in EXCERPT} == EXCERPT
    assert list(state)[:7] == [
        "features.conv0.weight",
        *(f"features.norm0.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        "features.denseblock1.denselayer1.norm1.weight",
    ]
    assert not any("bias" in name for name in state if "conv" in name)


def test_a_layer_sees_k_channels_more_than_the_one_before():
    model = undrawn(cifar_densenet, 40, 12, bottleneck=False, compression=1.0)
    before = 16
    for number in (1, 2, 3):
        block = model.features[f"denseblock{number}"]
        assert [layer.conv1.in_channels for layer in block] == [before + 12 * i for i in range(12)]
        assert {layer.conv1.out_channels for layer in block} == {12}
        before += 12 * 12


def test_compression():
    model = undrawn(DenseNet, 12, (3, 3), 15, compression=0.3)
    assert model.features.transition1.conv.out_channels == 15  # ⌊0.3 · (15 + 3 · 12)⌋
    assert transition(10, 4)(images(2, 10, 5, 8)).shape == (2, 4, 2, 4)


# PyTorch's numbers


def reference(torch, state, x, blocks, training):
    """Section 3, written with PyTorch's functions: the features side by side are one growing tensor."""
    F = torch.nn.functional

    def norm(name, x):
        statistics = state[f"{name}.running_mean"].detach().clone(), state[f"{name}.running_var"].detach().clone()
        return F.relu(F.batch_norm(x, *statistics, state[f"{name}.weight"], state[f"{name}.bias"], training))

    def conv(name, x):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    x = conv("features.conv0", x)
    for i, layers in enumerate(blocks, start=1):
        if i > 1:
            name = f"features.transition{i - 1}"
            x = F.avg_pool2d(conv(f"{name}.conv", norm(f"{name}.norm", x)), 2)
        for j in range(1, layers + 1):
            name = f"features.denseblock{i}.denselayer{j}"
            new = conv(f"{name}.conv1", norm(f"{name}.norm1", x))
            if f"{name}.conv2.weight" in state:
                new = conv(f"{name}.conv2", norm(f"{name}.norm2", new))
            x = torch.cat([x, new], 1)
    x = norm(f"features.norm{len(blocks) + 1}", x)
    return F.linear(x.mean((2, 3)), state["classifier.weight"], state["classifier.bias"])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("memory_efficient", [True, False])
def test_scores_and_gradients_are_pytorchs(training, bottleneck, memory_efficient):
    torch = pytest.importorskip("torch")
    mt.manual_seed(3)
    depth = 22 if bottleneck else 13
    model = cifar_densenet(depth, 4, bottleneck=bottleneck, compression=0.5, memory_efficient=memory_efficient)
    model = model.double().train(training)
    x = images(3, 3, 9, 12).double()
    x.requires_grad = True
    state = {name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()}
    pixels = torch.tensor(x.numpy(), requires_grad=True)
    for name, _ in model.named_parameters():
        state[name].requires_grad_()
    expected = reference(torch, state, pixels, (3, 3, 3), training)
    y = model(x)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-8)
    cotangent = np.random.default_rng(1).standard_normal((3, 10))
    (y * mt.Tensor(cotangent)).sum().backward()
    (expected * torch.tensor(cotangent)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), pixels.grad.numpy(), rtol=1e-6, atol=1e-10)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), state[name].grad.numpy(), rtol=1e-6, atol=1e-10, err_msg=name)


def test_in_training_and_in_eval_mode():
    mt.manual_seed(0)
    model, x = densenet121(num_classes=5), images(2, 3, 32, 32)
    assert model.eval()(x).shape == (2, 5)
    assert cifar_densenet()(images(2, 3, 16, 16)).shape == (2, 10)


# Memory


def kept(block, x):
    """Bytes that a forward pass leaves behind for the backward pass, and the gradients that this then finds."""
    block.zero_grad()
    tracemalloc.start()
    y = block(x)
    bytes_kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    (y * y).sum().backward()
    return bytes_kept, [p.grad.numpy() for p in block.parameters()]


def test_memory_efficient_layers_keep_little_and_find_the_same_gradients():
    mt.manual_seed(0)
    usual = DenseBlock(16, 4, 24, 1)
    frugal = DenseBlock(16, 4, 24, 1, memory_efficient=True)
    frugal.load_state_dict(usual.state_dict())
    x = images(4, 16, 16, 16)
    (much, gradients), (little, same) = kept(usual, x), kept(frugal, x)
    assert little < 0.3 * much
    for a, b in zip(gradients, same, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * abs(a).max())


def test_memory_efficient_layers_look_twice():
    mt.manual_seed(0)
    layer = BottleneckLayer(3, 4, memory_efficient=True)
    layer(images(2, 3, 4, 4)).sum().backward()
    assert (layer.norm1.num_batches_tracked.item(), layer.norm2.num_batches_tracked.item()) == (2, 1)
    assert layer.eval()(images(2, 3, 4, 4)).shape == (2, 4, 4, 4)
    assert (layer.norm1.num_batches_tracked.item(), layer.norm2.num_batches_tracked.item()) == (2, 1)


# Settings


def test_initial_weights_are_torchvisions():
    mt.manual_seed(0)
    model = densenet121()
    for conv in (model.features.conv0, model.features.denseblock4.denselayer16.conv2):
        fan_in = conv.weight.numpy()[0].size
        assert conv.weight.numpy().var() == pytest.approx(2 / fan_in, rel=0.05)
    assert abs(model.classifier.weight.numpy()).max() == pytest.approx(1 / 32, rel=0.01)
    assert not model.classifier.bias.numpy().any()


def test_new_numbers_are_dropped_and_old_ones_are_not():
    mt.manual_seed(0)
    block, x = DenseBlock(3, 8, 1, drop_rate=0.5), images(2, 3, 6, 6)
    y = block(x).numpy()
    assert (y[:, :3] == x.numpy()).all()
    assert 0.4 < (y[:, 3:] == 0).mean() < 0.6
    assert (block.eval()(x).numpy()[:, 3:] != 0).all()
    rates = {m.p for m in undrawn(cifar_densenet, drop_rate=0.2).modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.2}


def test_a_layer_takes_its_inputs_side_by_side():
    mt.manual_seed(0)
    layer, x = DenseLayer(5, 2).eval(), images(2, 5, 4, 4)
    np.testing.assert_array_equal(layer(x[:, :1], x[:, 1:3], x[:, 3:]).numpy(), layer(x).numpy())


def test_cards():
    assert [card.name for card in CARDS] == ["densenet121", "densenet161", "densenet169", "densenet201", "cifar_densenet"]
    assert {card.year for card in CARDS} == {2016}


BAD = {
    "a depth between": (
        lambda: cifar_densenet(101),
        ValueError,
        r"cifar_densenet: three equal blocks with bottlenecks have 6n \+ 4 layers, got depth 101; 100 and 106 are the nearest",
    ),
    "a depth between, without bottlenecks": (
        lambda: cifar_densenet(41, bottleneck=False),
        ValueError,
        r"without bottlenecks have 3n \+ 4 layers, got depth 41; 40 and 43 are the nearest",
    ),
    "half a layer": (lambda: cifar_densenet(40.5), TypeError, "cifar_densenet: depth"),
    "too few layers": (lambda: cifar_densenet(9), ValueError, "cifar_densenet: depth"),
    "no growth": (lambda: DenseNet(growth_rate=0), ValueError, "DenseNet: growth_rate"),
    "no block": (lambda: DenseNet(block_config=()), ValueError, r"expected a block or more, .* got block_config=\(\)"),
    "an empty block": (lambda: DenseNet(block_config=(3, 0)), ValueError, "each of block_config"),
    "no compression": (lambda: DenseNet(compression=0), ValueError, "compression above 0 and up to 1, got .*compression=0"),
    "expansion": (lambda: cifar_densenet(compression=1.5), ValueError, "compression=1.5"),
    "a probability of 2": (lambda: cifar_densenet(drop_rate=2), ValueError, "Dropout: p is the probability"),
    "one channel": (
        lambda: densenet121()(images(2, 1, 32, 32)),
        ValueError,
        r"features\.conv0 \(Conv2d\): conv2d: weight \(64, 3, 7, 7\) takes 3 channels per group, but x \(2, 1, 32, 32\) has 1",
    ),
    "too small a picture": (
        lambda: densenet121().eval()(images(2, 3, 16, 16)),
        ValueError,
        r"features\.transition3\.pool \(AvgPool2d\): avg_pool2d: kernel \(2, 2\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_words(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
