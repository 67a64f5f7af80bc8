"""Padding: NumPy's on any number of axes, crops, dtypes, errors in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor
from microtensor.testing import shapes, tensors

NUMPYS = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@given(st.data(), st.sampled_from([*NUMPYS]), tensors(shapes(min_dims=1, max_dims=4, max_side=3)))
def test_every_axis_as_numpy_pads_it(data, mode, x):
    """PyTorch pads the last axes only, after one or two others."""
    most = {"constant": lambda n: 3, "reflect": lambda n: n - 1, "replicate": lambda n: 3, "circular": lambda n: n}[mode]
    pairs = [(data.draw(st.integers(0, most(n))), data.draw(st.integers(0, most(n)))) for n in x.shape]
    ours = x.pad([n for pair in pairs[::-1] for n in pair], mode)
    np.testing.assert_array_equal(ours.numpy(), np.pad(x.numpy(), pairs, mode=NUMPYS[mode]), strict=True)


@given(tensors(shapes(min_dims=1)), st.integers(0, 3), st.integers(0, 3), st.sampled_from([*NUMPYS]))
def test_a_crop_undoes_what_padding_added(x, before, after, mode):
    n = x.shape[-1]
    before, after = (min(k, n - 1) for k in (before, after))
    np.testing.assert_array_equal(x.pad((before, after), mode).pad((-before, -after), mode).numpy(), x.numpy())


def test_a_crop_on_one_side_and_room_on_the_other():
    """As in PyTorch: what is mirrored was there before the crop, what is wrapped around is what the crop leaves."""
    x = Tensor(np.arange(5.0))
    assert x.pad((-2, 3), "reflect").tolist() == [2, 3, 4, 3, 2, 1]
    assert x.pad((-2, 3), "circular").tolist() == [2, 3, 4, 2, 3, 4]
    assert x.pad((3, -2), "circular").tolist() == [0, 1, 2, 0, 1, 2]
    assert x.pad((3, -2), "replicate").tolist() == [0, 0, 0, 0, 1, 2]
    assert x.pad((-2, 1)).tolist() == [2, 3, 4, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("mode", [*NUMPYS])
def test_the_dtype_stays(mode, dtype):
    x = Tensor(np.ones((1, 3), dtype))
    assert x.pad((1, 1), mode).dtype == dtype
    assert x.pad((1, 1), value=True).dtype == dtype
    assert x.pad((1, 1), value=np.uint8(1)).dtype == dtype
    assert x.pad((-1, 2), mode).shape == (1, 4)


def test_nothing_to_pad():
    x = Tensor(np.zeros((2, 0)))
    assert x.pad((1, 2)).shape == (2, 3)
    assert x.pad((0, 0, 1, 0), "replicate").shape == (3, 0)
    assert Tensor(np.array(1.0)).pad(()).shape == ()
    assert Tensor(np.ones(3)).pad((-3, 2)).tolist() == [0.0, 0.0]


def test_the_gradient_counts_every_copy():
    x = Tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    for mode, counts in [
        ("constant", [1, 1, 1, 1]),
        ("reflect", [1, 3, 3, 1]),
        ("replicate", [3, 1, 1, 3]),
        ("circular", [2, 2, 2, 2]),
    ]:
        (dx,) = mt.grad(x.pad((2, 2), mode).sum(), x)
        np.testing.assert_array_equal(dx.numpy(), counts)


X, WHOLE = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: X.pad((1,)),
            ValueError,
            r"pad \(1,\) must be pairs \(before, after\), last axis first, at most 2 pairs for shape",
        ),
        (lambda: X.pad((1,) * 6), ValueError, "at most 2 pairs"),
        (lambda: X.pad((0.5, 1)), TypeError, r"pad: pad must be integers, got \(0.5, 1\)"),
        (
            lambda: X.pad((1, 1), "mirror"),
            ValueError,
            "mode must be one of constant, reflect, replicate, circular, got 'mirror'",
        ),
        (lambda: X.pad((1, 1), -0.1), ValueError, "got -0.1; the constant goes by name: value="),
        (lambda: X.pad((1, 1), "reflect", 1.0), ValueError, "value=1.0 is for mode \"constant\", not 'reflect'"),
        (
            lambda: X.pad((3, 0), "reflect"),
            ValueError,
            r"to reflect 3 elements needs an axis of at least 4.*axis 1 of \(2, 3\) has 3",
        ),
        (lambda: X.pad((4, 0), "circular"), ValueError, r"4 elements wrap around the 3 of axis 1 of \(2, 3\) more than once"),
        (lambda: X[:, :0].pad((1, 0), "replicate"), ValueError, r"axis 1 of \(2, 0\) has no element to replicate"),
        (lambda: X.pad((-2, -2)), ValueError, r"\(-2, -2\) crops more than the 3 elements of axis 1 of \(2, 3\)"),
        (lambda: X.pad((1, 1), value="a"), TypeError, "value must be a number, got str"),
        (lambda: WHOLE.pad((1, 1), value=0.5), TypeError, r"value 0.5 does not fit int64; use .to\('float32'\) first"),
        (lambda: mt.pad([1.0], (1, 1)), TypeError, "pad: expected a Tensor, got list"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()
