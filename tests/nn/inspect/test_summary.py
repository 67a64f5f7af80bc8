"""Summaries: the lecture's numbers (shared examples of parameters, multiply-adds and receptive fields), and how they print."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.models.lenet import lenet5, lenet5_1998
from microtensor.nn.containers import Concat, Sequential
from microtensor.nn.inspect.summary import formula, summary
from microtensor.nn.layers.activation import ReLU
from microtensor.nn.layers.batch_norm import BatchNorm2d
from microtensor.nn.layers.conv import Conv1d, Conv2d
from microtensor.nn.layers.linear import Bilinear, Flatten, Identity, Linear
from microtensor.nn.lists import ModuleList
from microtensor.nn.module import Module


def rows(found, *types):
    return [row for row in found.rows if row.type in types]


# The lecture's small examples


def test_one_filter_and_sixteen():
    one, many = summary(Conv2d(3, 1, 3), (3, 8, 8)), summary(Conv2d(3, 16, 3), (3, 8, 8))
    assert (one.total_parameters, many.total_parameters) == (28, 448)
    assert (one.rows[0].formula, many.rows[0].formula) == ("1 × (3·3·3) + 1", "16 × (3·3·3) + 16")


def test_two_convolutions_and_two_linear_layers():
    net = Sequential(
        Conv2d(3, 8, 3, padding="same"),
        ReLU(),
        Conv2d(8, 16, 5, stride=2, padding="same"),
        ReLU(),
        Flatten(),
        Linear(16 * 16 * 16, 512),
        ReLU(),
        Linear(512, 4),
    )
    found = summary(net, (3, 32, 32))
    assert [(row.formula, row.parameters) for row in rows(found, "Conv2d", "Linear")] == [
        ("8 × (3·3·3) + 8", 224),
        ("16 × (8·5·5) + 16", 3_216),
        ("512 × 4096 + 512", 2_097_664),
        ("4 × 512 + 4", 2_052),
    ]
    assert found.total_parameters == 2_103_156
    assert [row.output_shape for row in found.rows[1:6]] == [(8, 32, 32), (8, 32, 32), (16, 16, 16), (16, 16, 16), (4096,)]


def test_strided_twice():
    found = summary(Sequential(Conv2d(1, 1, 3, 2, 1), Conv2d(1, 1, 3, 2, 1)), (1, 5, 5))
    first, second = rows(found, "Conv2d")
    assert (first.output_shape, second.output_shape) == ((1, 3, 3), (1, 2, 2))
    assert (first.receptive_field, second.receptive_field) == ((3, 3), (7, 7))
    assert (first.jump, second.jump) == ((2, 2), (4, 4))


def test_four_layers_of_one_dimension():
    for dilations, expected in (((1, 1, 1, 1), [3, 5, 7, 9]), ((1, 2, 4, 8), [3, 7, 15, 31])):
        found = summary(Sequential(*[Conv1d(1, 1, 3, dilation=d) for d in dilations]), (1, 40))
        assert [row.receptive_field for row in rows(found, "Conv1d")] == [(size,) for size in expected]


def test_two_and_three_small_kernels():
    found = summary(Sequential(*[Conv2d(1, 1, 3, padding=1) for _ in range(3)]), (1, 9, 9))
    assert [row.receptive_field for row in rows(found, "Conv2d")] == [(3, 3), (5, 5), (7, 7)]


def test_standard_and_depthwise_separable():
    standard = summary(Conv2d(3, 256, 5), (3, 12, 12))
    assert (standard.multiply_adds, standard.total_parameters) == (1_228_800, 19_456)
    separable = summary(Sequential(Conv2d(3, 3, 5, groups=3), Conv2d(3, 256, 1)), (3, 12, 12))
    assert (separable.multiply_adds, separable.total_parameters) == (53_952, 1_102)
    assert [row.formula for row in rows(separable, "Conv2d")] == ["3 × (1·5·5) + 3", "256 × (3·1·1) + 256"]


def test_growth_of_a_dense_block():
    """The l-th layer takes k0 + k · (l − 1) channels. Huang et al. 2016, section 3."""
    k0, k = 16, 12

    def layer(channels):
        return Concat(Identity(), Sequential(BatchNorm2d(channels), ReLU(), Conv2d(channels, k, 3, padding=1, bias=False)))

    found = summary(Sequential(*[layer(k0 + k * i) for i in range(4)]), (k0, 8, 8))
    assert [row.formula for row in rows(found, "Conv2d")] == [f"12 × ({k0 + k * (n - 1)}·3·3)" for n in (1, 2, 3, 4)]
    assert [row.formula for row in rows(found, "BatchNorm2d")] == [f"2 × {k0 + k * (n - 1)}" for n in (1, 2, 3, 4)]
    assert [row.output_shape[0] for row in rows(found, "Concat")] == [k0 + k * n for n in (1, 2, 3, 4)]


def test_lenet():
    found = summary(lenet5(), (1, 28, 28))
    assert (found.total_parameters, found.multiply_adds, found.weight_bytes) == (61_706, 416_520, 246_824)
    assert [row.multiply_adds for row in rows(found, "Conv2d", "Linear")] == [117_600, 240_000, 48_000, 10_080, 840]
    assert [row.receptive_field for row in rows(found, "Conv2d", "MaxPool2d")] == [(5, 5), (6, 6), (14, 14), (16, 16)]
    assert [row.sees_all for row in rows(found, "Conv2d", "Linear")] == [False, False, True, True, True]
    old = summary(lenet5_1998(), (1, 32, 32))
    assert (old.total_parameters, old.buffers) == (60_000, 840)


# What is counted


def test_everything_that_is_frozen_or_not_used_is_said():
    class Net(Module):
        def __init__(self):
            self.stem = Sequential(Conv2d(3, 4, 3), BatchNorm2d(4)).freeze()
            self.head = Linear(4, 2)
            self.head.bias.requires_grad = False
            self.unused = ModuleList([Linear(7, 1), Linear(1, 1)])

        def forward(self, x):
            return self.head(self.stem(x).mean((2, 3)))

    found = summary(Net(), (3, 8, 8))
    assert found.total_parameters == 112 + 8 + 10 + 10
    assert (found.trainable_parameters, found.frozen_parameters, found.buffers) == (18, 122, 9)
    assert found.unused == {"unused.0": 8, "unused.1": 2}
    assert [(row.type, row.trainable_parameters) for row in found.rows if row.parameters] == [
        ("Conv2d", 0),
        ("BatchNorm2d", 0),
        ("Linear", 8),
    ]
    lines = str(found).split("\n")
    assert [[word in line for word in ("frozen", "in part")] for line in lines if " = " in line and "Conv" in line] == [
        [True, False]
    ]
    assert [line for line in lines if "head" in line and "in part" in line]
    assert "not used by this input: unused.0 (8), unused.1 (2)" in lines


def test_a_layer_used_twice_costs_twice_and_counts_once():
    layer = Linear(4, 4)
    found = summary(Sequential(layer, ReLU(), layer), (4,))
    assert (found.total_parameters, found.multiply_adds) == (20, 32)
    assert [(row.parameters, row.formula) for row in rows(found, "Linear")] == [(20, "4 × 4 + 4"), (0, "shared")]


def test_bilinear_counts_by_its_products():
    found = summary(Bilinear(3, 4, 5), [(3,), (4,)])
    assert found.rows[0].formula == "5 × (3·4) + 5"
    assert found.multiply_adds in (5 * 3 * 4 + 5 * 4, 5 * 3 * 4 + 5 * 3)  # by the weights, then by the second input


def test_memory_is_of_the_dtype():
    for dtype, size in (("float32", 4), ("float64", 8)):
        found = summary(Sequential(Linear(3, 5), ReLU()).to(dtype), (3,))
        assert (found.weight_bytes, found.activation_bytes) == (20 * size, 10 * size)


def test_formulas():
    assert formula([]) == ""
    assert formula([()]) == "1"
    assert formula([(3,), (3,), (4,)]) == "2 × 3 + 4"
    assert formula([(4, 3), (4, 3)]) == "2 × (4 × 3)"


# How it prints


def test_the_table():
    net = Sequential(Sequential(Conv2d(3, 16, 3, padding=1), BatchNorm2d(16), ReLU()), Flatten(), Linear(16 * 64, 10))
    net[0].freeze()
    lines = str(summary(net, (3, 8, 8))).split("\n")
    assert lines[0] == "Sequential for 3×8×8"
    assert lines[2].split() == ["layer", "output", "parameters", "trainable", "multiply-adds", "field", "jump", "memory"]
    assert (
        lines[6] == "│ ├ 0 Conv2d       16×8×8  16 × (3·3·3) + 16 =         448  frozen            27,648      3     1   4.1 kB"
    )
    assert "parameters: 10,250 trainable, 480 frozen; 42.9 kB of weights; 33 more numbers in buffers" in lines
    assert "Linear: outputs × inputs + biases" in lines
    assert max(map(len, lines)) <= 128


def test_what_is_wide_is_cut_short():
    net = Sequential(Sequential(*[Linear(1000, 1000) for _ in range(3)]))
    found = summary(net, (1000,), depth=1)
    assert found.rows[1].parameters == 3 * 1_001_000
    assert "1000 × 1000 + 1000 + 1000 × 1000 + … =" in str(found)
    assert max(map(len, str(found).split("\n"))) <= 128


def test_sizes_have_units():
    found = str(summary(Linear(10, 100, bias=False), (10,)))
    assert "4.0 kB of weights" in found
    assert "400 B" in found
    assert "1.0 MB" in str(summary(Linear(249_999, 1, bias=False), (249_999,)))
    assert "2.0 MB" in str(summary(Linear(500, 1000), (500,)))
    assert repr(summary(Identity(), (1,))) == str(summary(Identity(), (1,)))


@pytest.mark.parametrize("shape", [(1, 28, 28), [1, 28, 28], [(1, 28, 28)], np.array([1, 28, 28]).tolist()])
def test_shapes_may_be_lists(shape):
    assert summary(lenet5(), shape).multiply_adds == 416_520


def test_a_depth_is_a_integer_of_0_or_more():
    model = Linear(2, 2)
    assert len(summary(model, (2,), depth=0).rows) == 1
    for depth, error in ((-1, ValueError), (0.5, TypeError), ("all", TypeError), (True, TypeError)):
        with pytest.raises(error, match="summary: depth must be"):
            summary(model, (2,), depth=depth)


def test_a_class_of_the_user_is_not_explained_by_the_layer_whose_name_it_bears():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(mt.ones(4, 3))

        def forward(self, x):
            return x * self.scale.sum()

    assert "outputs × inputs" not in repr(nn.summary(Linear(), (3,)))
    assert "Linear: outputs × inputs" in repr(nn.summary(nn.Linear(3, 4), (3,)))
