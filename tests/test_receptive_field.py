"""Receptive fields of whole models: published numbers, and what a unit of a layer sees."""

import pytest

from microtensor.models.lenet import lenet5
from microtensor.nn.containers import Concat, Residual, Sequential
from microtensor.nn.inspect.receptive_field import receptive_field
from microtensor.nn.layers.activation import ReLU
from microtensor.nn.layers.batch_norm import BatchNorm2d
from microtensor.nn.layers.conv import Conv1d, Conv2d
from microtensor.nn.layers.linear import Flatten, Identity, Linear
from microtensor.nn.layers.pool import MaxPool2d


def sizes(model, shape):
    return [row.size for row in receptive_field(model, shape) if row.type.startswith(("Conv", "Max"))]


def test_lenet():
    assert sizes(lenet5(), (1, 28, 28)) == [(5, 5), (6, 6), (14, 14), (16, 16)]


def test_alexnet_convolutions():
    """11, 51, 99, 131, 163; pool5 195: Krizhevsky et al. 2012, figure 2."""
    layers = [Conv2d(3, 4, 11, 4, 2), MaxPool2d(3, 2), Conv2d(4, 4, 5, padding=2), MaxPool2d(3, 2)]
    layers += [Conv2d(4, 4, 3, padding=1), Conv2d(4, 4, 3, padding=1), Conv2d(4, 4, 3, padding=1), MaxPool2d(3, 2)]
    assert [size for size, _ in sizes(Sequential(*layers), (3, 224, 224))] == [11, 19, 51, 67, 99, 131, 163, 195]


def test_vgg16():
    layers, channels = [], 3
    for count in (2, 2, 3, 3, 3):
        layers += [Conv2d(channels if i == 0 else 2, 2, 3, padding=1) for i in range(count)] + [MaxPool2d(2, 2)]
        channels = 2
    found = receptive_field(Sequential(*layers), (3, 224, 224))
    assert [found[name].size[0] for name in ("16", "17")] == [196, 212]
    assert found["17"].jump == (32, 32)
    assert found["17"].output_shape == (2, 7, 7)


def test_residual_network():
    """ResNet-18: 435 at the last block. He et al. 2015, table 1."""

    def block(c, d, stride):
        around = Sequential(Conv2d(c, d, 1, stride), BatchNorm2d(d)) if stride > 1 else Identity()
        body = Sequential(Conv2d(c, d, 3, stride, 1), BatchNorm2d(d), ReLU(), Conv2d(d, d, 3, 1, 1), BatchNorm2d(d))
        return Residual(body, around)

    net = Sequential(Conv2d(3, 2, 7, 2, 3), MaxPool2d(3, 2, 1), *[block(2, 2, 2 if i in (2, 4, 6) else 1) for i in range(8)])
    found = receptive_field(net, (3, 224, 224))
    assert found["9"].size == (435, 435)
    assert found["9"].jump == (32, 32)


def test_sequences_and_dilation():
    plain = Sequential(*[Conv1d(1, 1, 3) for _ in range(4)])
    dilated = Sequential(*[Conv1d(1, 1, 3, dilation=d) for d in (1, 2, 4, 8)])
    assert sizes(plain, (1, 64)) == [(3,), (5,), (7,), (9,)]
    assert sizes(dilated, (1, 64)) == [(3,), (7,), (15,), (31,)]


def test_branches_see_the_largest():
    net = Sequential(Concat(Conv2d(1, 1, 1), Conv2d(1, 1, 3, padding=1), Conv2d(1, 1, (1, 7), padding=(0, 3))))
    row = receptive_field(net, (1, 9, 9))["0"]
    assert (row.size, row.jump, row.center) == ((3, 7), (1, 1), (0.5, 0.5))


def test_what_a_unit_sees():
    net = Sequential(Conv2d(1, 1, 3, 2, 1), Conv2d(1, 1, 3, 2, 1), Flatten(), Linear(4, 2))
    found = receptive_field(net, (1, 5, 5))
    assert (found["0"].size, found["0"].jump, found["0"].center) == ((3, 3), (2, 2), (0.5, 0.5))
    assert (found["1"].size, found["1"].jump, found["1"].center) == ((7, 7), (4, 4), (0.5, 0.5))
    assert found["0"].of(0, 2) == [(-1, 2), (3, 6)]
    assert found["3"].of(0, 0) == [(-3, 8), (-3, 8)]
    assert found[0].name == ""
    assert len(found) == 5
    with pytest.raises(ValueError, match=r"receptive_field: 0 has 2 axes of the input, got unit \(1,\)"):
        found["0"].of(1)
    with pytest.raises(KeyError, match="receptive_field: no module 'conv' among 0, 1, 2, 3"):
        found["conv"]


def test_without_an_image_nothing_is_seen_in_part():
    row = receptive_field(Linear(3, 2), (3,))[0]
    assert row.size == row.jump == row.center == ()
    assert "Linear" in repr(receptive_field(Linear(3, 2), (3,)))
