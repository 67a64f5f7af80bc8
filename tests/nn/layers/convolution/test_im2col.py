"""Convolution by columns, on arrays: its definition, its adjoints, the parts of a batch."""

import numpy as np
import pytest
from convolutions import convolutions, seven_loops
from hypothesis import given
from hypothesis import strategies as st

from microtensor.nn.layers.convolution.cpu import im2col as columns
from microtensor.nn.layers.windows import Window


@given(convolutions())
def test_convolution_is_its_definition(case):
    g, window, x, w, _ = case
    expected = seven_loops(x, w, window, g.groups)
    np.testing.assert_allclose(columns.forward(x, w, None, window, g.groups), expected, rtol=1e-10, atol=1e-10)


@given(convolutions(), st.sampled_from([1, 200, 1 << 20]))
def test_the_three_are_adjoint(case, column_bytes):
    g, window, x, w, v = case
    with pytest.MonkeyPatch.context() as patch:  # the parts of a batch make no difference
        patch.setattr(columns, "BYTES", column_bytes)
        forward = (columns.forward(x, w, None, window, g.groups) * v).sum()
        to_input = (columns.to_input(v, w, None, window, g.groups, g.size) * x).sum()
        to_weight = (columns.to_weight(x, v, window, g.groups) * w).sum()
    np.testing.assert_allclose([to_input, to_weight], forward, rtol=1e-9, atol=1e-9)


def test_kernels_turned_round_go_to_the_matrix_product_in_order(monkeypatch):
    """One kernel a group leaves a view that runs backward, on which NumPy's matrix product takes three times as long."""
    seen = []
    plain = columns.forward
    monkeypatch.setattr(columns, "forward", lambda x, weight, *rest: seen.append(weight) or plain(x, weight, *rest))
    columns.to_input(np.ones((2, 3, 4, 4)), np.ones((3, 2, 3, 3)), None, Window((3, 3)), 3, (6, 6))
    assert seen[0].flags.c_contiguous
