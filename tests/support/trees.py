"""Trees to save: strategies that draw them, and whether two are the same to the last bit."""

import struct

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microtensor as mt

DTYPES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"]
TENSORS = {"é/weight": mt.Tensor([[1.0, -2.0]]), "fc.bias": mt.Tensor(np.arange(3)), "empty": mt.Tensor(np.zeros((0, 2)))}
ODD_NAMES = ["", ".", "..", "/", "a/b", "/etc/passwd", "../up", "a\\b", "x.npy", "tree.json", "file", "\0", "a\0b", "\n"]

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [*ODD_NAMES, "ключ", "重み", "layer1.0.conv1.weight", "$tensor", "$"]
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**130), 2**130)
    | st.floats(allow_nan=True)
    | st.text(st.characters(), max_size=8)
)
keys = names | st.integers(-(2**63) + 1, 2**63 - 1)
trees = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def assert_same(found, expected):
    """Equal to the last bit: types, order of keys, dtypes, shapes, nan and −0. A Tensor is found where an array was saved."""
    if isinstance(expected, (mt.Tensor, np.ndarray)):
        array = expected.numpy() if isinstance(expected, mt.Tensor) else expected
        assert isinstance(found, mt.Tensor)
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.numpy().tobytes() == array.tobytes()
        return
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert [(type(key), key) for key in found] == [(type(key), key) for key in expected]
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            assert_same(a, b)
    elif isinstance(expected, float):
        assert struct.pack("<d", found) == struct.pack("<d", expected) or found != found and expected != expected
    else:
        assert found == expected
