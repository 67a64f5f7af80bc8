"""Graphs as text."""

import numpy as np
import pytest

import microtensor as mt
from microtensor.profiler.draw import draw_graph

X = mt.Tensor(np.ones(2), requires_grad=True)


def test_every_operation_and_leaf_once_every_use_an_arrow():
    text = draw_graph((X.exp() * X).sum())
    assert text.count("[label=") == 4
    assert text.count("->") == 4
    assert 'label="leaf (2,)", shape=box]' in text
    assert text.startswith("digraph {")
    assert text.endswith("}")


def test_deep_graphs():
    y = X
    for _ in range(5000):
        y = -y
    assert draw_graph(y, "mermaid").count("-->") == 5000


def test_wrong_input_is_refused_in_words():
    with pytest.raises(ValueError, match='format must be "dot" or "mermaid", got \'svg\''):
        draw_graph(X, "svg")
    with pytest.raises(ValueError, match="the tensor has no graph"):
        draw_graph(mt.Tensor([1.0]))
    with pytest.raises(TypeError, match="expected a Tensor, got float"):
        draw_graph(1.0)
    y = X * X
    y.sum().backward()
    with pytest.raises(RuntimeError, match="released"):
        draw_graph(y)
