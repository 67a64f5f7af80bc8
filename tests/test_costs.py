"""Multiply-adds: counted by hand, and against a loop that counts."""

import importlib
import math
import pkgutil

import pytest

import microtensor as mt
from microtensor import nn, ops
from microtensor.graph import mode
from microtensor.nn.inspect.tracks import RULES
from microtensor.nn.layers.batch_norm import batch_norm
from microtensor.nn.layers.conv import conv1d, conv2d
from microtensor.nn.layers.conv_transpose import conv_transpose2d
from microtensor.nn.layers.linear import linear
from microtensor.nn.layers.pool import avg_pool2d, max_pool2d
from microtensor.watching.costs import COUNTS, multiply_adds


def cost(function):
    """Multiply-adds of all operations that `function` runs."""
    total = []
    mode.observers = (*mode.observers, lambda op, inputs, settings, y: total.append(multiply_adds(op.__name__, inputs, y)))
    try:
        function()
    finally:
        mode.observers = mode.observers[:-1]
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


def test_what_is_counted_and_followed_by_name_is_an_operation():
    names = set()
    for package in (ops, nn):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(found.name)
            names |= {value.__name__ for value in vars(module).values() if hasattr(value, "rule") and hasattr(value, "output")}
    assert set(COUNTS) | set(RULES) | {"_embedding"} <= names
