"""Multiply-adds: counted by hand, and against a loop that counts."""

import importlib
import math
import pkgutil

import pytest

import microtensor as mt
from microtensor import nn, ops
from microtensor.autograd.observers import Observer, observing
from microtensor.nn.inspect.receptive_field_rules import rule
from microtensor.nn.layers.batch_norm import batch_norm
from microtensor.nn.layers.conv import conv1d, conv2d
from microtensor.nn.layers.conv_transpose import conv_transpose2d
from microtensor.nn.layers.embedding import _embedding
from microtensor.nn.layers.linear import linear
from microtensor.nn.layers.pool import avg_pool2d, max_pool2d
from microtensor.profiler.costs import multiply_adds


def cost(function):
    """Multiply-adds of all operations that `function` runs."""
    total = []

    class Total(Observer):
        def operation(self, operation, inputs, settings, result):
            total.append(multiply_adds(operation, inputs, result))

    with observing(Total()):
        function()
    return sum(total)


x = mt.ones(2, 6, 9, 8)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: conv2d(x, mt.ones(4, 6, 3, 2)), 2 * 4 * 7 * 7 * 6 * 3 * 2),
        (lambda: conv2d(x, mt.ones(4, 6, 1, 1), mt.ones(4)), 2 * 4 * 9 * 8 * 6),
        (lambda: conv2d(x, mt.ones(4, 6, 3, 3), stride=2, padding=1), 2 * 4 * 5 * 4 * 6 * 9),  # zeros of the padding too
        (lambda: conv2d(x, mt.ones(4, 3, 3, 3), groups=2, dilation=2), 2 * 4 * 5 * 4 * 3 * 9),
        (lambda: conv2d(x, mt.ones(6, 1, 3, 3), groups=6), 2 * 6 * 7 * 6 * 9),  # depthwise
        (lambda: conv1d(x[:, :, 0], mt.ones(4, 6, 3)), 2 * 4 * 6 * 6 * 3),
        (lambda: conv_transpose2d(x, mt.ones(6, 5, 3, 3), stride=2), 2 * 6 * 9 * 8 * 5 * 9),
        (lambda: linear(mt.ones(3, 7), mt.ones(4, 7), mt.ones(4)), 3 * 4 * 7),
        (lambda: linear(mt.ones(5, 3, 7), mt.ones(4, 7)), 5 * 3 * 4 * 7),
        (lambda: mt.ones(5, 3, 7) @ mt.ones(5, 7, 2), 5 * 3 * 7 * 2),
        (lambda: mt.ones(7) @ mt.ones(7), 7),
        (lambda: mt.einsum("bij,bjk->bik", mt.ones(5, 3, 7), mt.ones(5, 7, 2)), 5 * 3 * 7 * 2),
        (lambda: max_pool2d(x, 2), 0),
        (lambda: avg_pool2d(x, 2), 0),
        (lambda: batch_norm(x, None, None, mt.ones(6), mt.ones(6), training=True), 0),
        (lambda: (x * 2 + 1).relu().sum().tanh(), 0),
    ],
)
def test_one_for_each_use_of_a_weight(function, expected):
    assert cost(function) == expected


def test_as_many_as_a_loop_multiplies():
    """Each number of the result, each channel, each element of the kernel: once."""
    y = conv2d(x, mt.ones(4, 3, 3, 2), stride=(2, 1), padding=1, groups=2)
    loop = sum(1 for _ in range(math.prod(y.shape)) for _ in range(3) for _ in range(3) for _ in range(2))
    assert cost(lambda: conv2d(x, mt.ones(4, 3, 3, 2), stride=(2, 1), padding=1, groups=2)) == loop


GRADIENTS = ("._passed", "._softmax_gradient", "._log_softmax_gradient")
"""Operations of derivatives alone: no forward pass has them, whose receptive field could be asked for."""


def library_operations():
    """Every operation of the library, by its module and name."""
    found = {}
    for package in (mt, ops, nn):
        for part in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if part.name.startswith(("microtensor.ops.", "microtensor.nn.", "microtensor.autograd")):
                module = importlib.import_module(part.name)
                mine = {
                    f"{part.name}.{key}": value
                    for key, value in vars(module).items()
                    if hasattr(value, "rule") and callable(value)
                }
                found |= {key: value for key, value in mine.items() if value.__module__ == part.name}
    return found


def test_of_every_operation_of_the_library_it_is_known_what_it_looks_at():
    found = library_operations()
    assert len(found) > 120
    unknown = {key for key, operation in found.items() if rule(operation) is None and operation is not _embedding}
    assert {key for key in unknown if not key.endswith(GRADIENTS)} == set()


@pytest.mark.parametrize("name", ["_conv2d", "_linear", "_matmul", "_to_input", "_to_weight"])
def test_an_operation_of_the_user_costs_what_it_says_whatever_it_is_called(name):
    def smooth(x):
        return x.array * 1.0, (lambda g: g,)

    smooth.__name__ = name
    assert cost(lambda: mt.op(smooth)(x)) == 0
    counted = mt.op(multiply_adds=lambda inputs, result: 3 * result.numel())(smooth)
    assert cost(lambda: counted(x)) == 3 * x.numel()
    with mt.profile() as found:
        counted(x)
    assert sum(row.flops for row in found.rows) == 2 * 3 * x.numel()
