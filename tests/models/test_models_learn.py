"""Each small network learns: what it is made for, on little data, to 95 % or better within a stated number of steps.

A wrong gradient, a dead layer, running statistics that do not run: networks that have one still compute, and do not get here.
"""

import math

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.data import mnist_sample
from microtensor.models.autoencoder import conv_autoencoder, conv_vae, denoising_autoencoder, vae_loss
from microtensor.models.cifar_resnet import cifar_resnet20
from microtensor.models.densenet import cifar_densenet
from microtensor.models.fcn import FCN, Backbone, FCNHead
from microtensor.models.lecun_1989 import lecun_1989
from microtensor.models.lenet import lenet5, lenet5_1998
from microtensor.models.mobilenet_v1 import mobilenet_v1
from microtensor.models.mobilenet_v2 import mobilenet_v2
from microtensor.models.resnet import BasicBlock, ResNet
from microtensor.models.shufflenet_v1 import shufflenet_v1
from microtensor.models.shufflenet_v2 import shufflenet_v2_x0_5
from microtensor.models.squeezenet import squeezenet1_1
from microtensor.models.tdnn import tdnn
from microtensor.models.unet import unet
from microtensor.models.wide_resnet import wrn


def learn(model, inputs, targets, loss, lr, steps, batch_size=64):
    """So many steps of Adam on random batches, the learning rate going up to `lr` and down again; then eval mode."""
    optimizer = nn.Adam(model.parameters(), lr=lr)
    schedule = nn.OneCycleLR(optimizer, max_lr=lr, total_steps=steps, cycle_momentum=False)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(inputs))
    for _ in range(steps):
        if len(order) < batch_size:
            order = np.append(order, rng.permutation(len(inputs)))
        batch, order = order[:batch_size], order[batch_size:]
        optimizer.zero_grad()
        loss(model(mt.Tensor(inputs[batch])), mt.Tensor(targets[batch])).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def predicted(model, inputs):
    with mt.no_grad():
        return model(mt.Tensor(inputs)).argmax(dim=1).numpy()


# Digits


def ink(n=512):
    """Digits as pixels from 0 to 1: (n, 1, 28, 28), and their labels."""
    sample = mnist_sample()
    return (sample.images[:n, None] / 255).astype(np.float32), sample.labels[:n]


def digits(size, channels=3):
    """512 digits as most networks want them: normalised, of so many pixels, in so many channels that are alike."""
    inputs, labels = mnist_sample()[:512]
    inputs = nn.interpolate(mt.Tensor(inputs), (size, size), mode="bilinear").numpy()
    return np.repeat(inputs, channels, axis=1), labels


def digits_of_1998():
    inputs, labels = ink()
    return np.pad(inputs, ((0, 0), (0, 0), (2, 2), (2, 2))) * np.float32(1.275) - np.float32(0.1), labels


def digits_of_1989():
    inputs, labels = ink()
    return nn.interpolate(mt.Tensor(inputs), (16, 16), mode="bilinear").numpy() * 2 - 1, labels


def squeezenet():
    """Its scores end in a ReLU: one that starts below 0 for all images has no gradient, and is never learned. These do not."""
    model = squeezenet1_1(num_classes=10, dropout=0.0)
    model.classifier[1].bias.array[...] = 1
    return model


QUICK = {  # each within 2 seconds on one core
    "lenet5": (lenet5, lambda: digits(28, channels=1), 4e-3, 100),
    "lenet5_1998": (lenet5_1998, digits_of_1998, 5e-3, 120),
    "lecun_1989": (lecun_1989, digits_of_1989, 2e-2, 120),
}
SLOW = {  # each within 15
    "cifar_resnet20": (cifar_resnet20, lambda: digits(16), 1e-2, 50),
    "cifar_densenet, depth 22, growth rate 8": (lambda: cifar_densenet(22, 8), lambda: digits(16), 2e-2, 70),
    "wrn, depth 10, width 2": (lambda: wrn(10, 2), lambda: digits(16), 1e-2, 50),
    "mobilenet_v1, a quarter": (lambda: mobilenet_v1(10, 0.25), lambda: digits(64), 2e-2, 80),
    "mobilenet_v2, a quarter": (lambda: mobilenet_v2(10, 0.25), lambda: digits(48), 1e-2, 90),
    "shufflenet_v1": (lambda: shufflenet_v1(3, 10), lambda: digits(48), 1e-2, 60),
    "shufflenet_v2_x0_5": (lambda: shufflenet_v2_x0_5(10), lambda: digits(64), 1e-2, 60),
    "squeezenet1_1": (squeezenet, lambda: digits(33), 1e-3, 140),
}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_512_digits_are_learned(name):
    factory, data, lr, steps = (QUICK | SLOW)[name]
    mt.manual_seed(0)
    inputs, labels = data()
    model = learn(factory(), inputs, labels, nn.cross_entropy, lr, steps)
    assert (predicted(model, inputs) == labels).mean() >= 0.95


# Sounds


def syllables(n):
    """Spectrograms (n, 16, 15) of tones that rise, fall or stay, begun at any time and pitch, in noise; and which it is."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, n)
    pitch, start = rng.uniform(5, 10, n), rng.integers(0, 8, n)
    frames, bands = np.arange(15), np.arange(16)[:, None]
    slope = np.array([1.0, -1.0, 0.0])[kinds]
    height = pitch[:, None] + slope[:, None] * (frames - start[:, None] - 3)  # (n, 15)
    tone = np.exp(-((bands - height[:, None]) ** 2) / 2)  # (n, 16, 15)
    heard = (frames >= start[:, None]) & (frames < start[:, None] + 7)
    return (2 * tone * heard[:, None] + 0.3 * rng.standard_normal((n, 16, 15))).astype(np.float32), kinds


def test_the_time_delay_network_learns_sounds_whenever_they_come():
    mt.manual_seed(0)
    inputs, kinds = syllables(512)
    model = learn(tdnn(), inputs, kinds, nn.cross_entropy, lr=5e-2, steps=300)
    assert (predicted(model, inputs) == kinds).mean() >= 0.95


# Every pixel


def bars(n, side, channels=1):
    """Images (n, channels, side, side) of a lying and a standing bar in noise, and of what each pixel is: 0 nothing, 1 lying,
    2 standing.

    Both are as bright, so that no pixel tells by itself. Where they cross, the standing bar is in front.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]

    def bar(height, width):
        middle = rng.uniform(0.2 * side, 0.8 * side, (2, n, 1, 1))
        return (abs(rows - middle[0]) < height * side / 2) & (abs(columns - middle[1]) < width * side / 2)

    lying, standing = bar(0.2, 0.6), bar(0.6, 0.2)
    kinds = np.where(standing, 2, np.where(lying, 1, 0))
    images = (kinds > 0)[:, None] + 0.2 * rng.standard_normal((n, channels, side, side))
    return images.astype(np.float32), kinds


def check_pixels(kinds, found, accuracy, each):
    assert (kinds == found).mean() >= accuracy
    for kind in range(3):
        overlap = ((kinds == kind) & (found == kind)).sum() / ((kinds == kind) | (found == kind)).sum()
        assert overlap >= each, f"of what is {kind}"


def test_unet_learns_which_bar_a_pixel_is_of():
    mt.manual_seed(0)
    images, kinds = bars(128, side=32)
    model = learn(unet(1, 3, base=8), images, kinds, nn.cross_entropy, lr=1e-2, steps=120, batch_size=8)
    check_pixels(kinds, predicted(model, images), accuracy=0.97, each=0.8)


@pytest.mark.slow
def test_an_fcn_on_a_small_resnet_learns_which_bar_a_pixel_is_of():
    mt.manual_seed(0)
    network = ResNet(BasicBlock, (1, 1, 1, 1), replace_stride_with_dilation=(False, True, True))
    model = FCN(Backbone(network), FCNHead(512, 3), FCNHead(256, 3))

    def loss(result, kinds):
        return nn.cross_entropy(result["out"], kinds) + 0.5 * nn.cross_entropy(result["aux"], kinds)

    images, kinds = bars(64, side=48, channels=3)
    learn(model, images, kinds, loss, lr=2e-3, steps=50, batch_size=8)
    with mt.no_grad():
        found = model(mt.Tensor(images))["out"].argmax(dim=1).numpy()
    check_pixels(kinds, found, accuracy=0.95, each=0.7)


# Images, without labels


def test_an_autoencoder_paints_digits_from_sixteen_numbers():
    mt.manual_seed(0)
    images, _ = ink()
    model = learn(conv_autoencoder(16), images, images, nn.binary_cross_entropy, lr=1e-2, steps=250, batch_size=32)
    with mt.no_grad():
        error = nn.mse_loss(model(mt.Tensor(images)), mt.Tensor(images)).item()
    assert error < np.square(images - images.mean(0)).mean() / 2  # half of what a code without numbers would give, 0.067


def test_a_denoising_autoencoder_paints_lost_pixels():
    mt.manual_seed(0)
    images, _ = ink()
    model = denoising_autoencoder(code=64, noise=0.5)
    learn(model, images, images, nn.binary_cross_entropy, lr=1e-2, steps=200, batch_size=32)
    x = mt.Tensor(images)
    with mt.no_grad():
        spoilt = model.corrupt(x)
        before, after = nn.mse_loss(spoilt, x).item(), nn.mse_loss(model(spoilt), x).item()
    assert after < before / 2


def test_a_variational_autoencoder_raises_its_bound():
    """It starts around 784 log 2 = 543 nats for each digit, as each pixel may be ink or not."""
    mt.manual_seed(0)
    images, _ = ink()
    model = conv_vae(latent=8)
    with mt.no_grad():
        start = vae_loss(model(mt.Tensor(images)), mt.Tensor(images)).item()
    assert start == pytest.approx(784 * math.log(2), rel=0.2)
    learn(model, images, images, vae_loss, lr=1e-2, steps=200, batch_size=32)
    with mt.no_grad():
        painted = model(mt.Tensor(images))
        bound = vae_loss(painted, mt.Tensor(images)).item()
        new = model.sample(200).numpy()
    assert bound < 200
    assert (painted.log_variance.numpy().mean(0) < -1).sum() >= 3  # numbers of the code that say something of the digit
    assert new.mean() == pytest.approx(images.mean(), rel=0.3)
