"""Philox: the paper's numbers, the same ones in array calls and in kernels, and numbers that look random."""

import sys

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor.random import seed_from
from microtensor.runtime.cuda.kernels import Kernels, plain
from microtensor.runtime.cuda.philox import BITS, philox, threshold, uniform, words

compiler = pytest.mark.skipif(strict.COMPILER is None, reason="needs g++, which compiles the kernels for the processor")
seeds = st.one_of(st.integers(0, 9), st.integers(0, 2**63 - 1))
counts = st.sampled_from([0, 1, 2, 3, 4, 5, 255, 1023, 1024, 1025, 5000])


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    return strict.cupy


KNOWN = [  # philox4x32 of 10 rounds in kat_vectors, the file of known answers that comes with the paper's Random123
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    parts = [np.array([int(word, 16)], np.uint64) for word in counter.split()]
    first, second = (int(word, 16) for word in key.split())
    assert " ".join(f"{int(word[0]):08x}" for word in philox(parts, (first, second))) == answer


def test_each_word_depends_on_its_number_and_the_seed_alone():
    many = words(np, 2**40 + 7, 1001)
    np.testing.assert_array_equal(words(np, 2**40 + 7, 13), many[:13])
    np.testing.assert_array_equal(words(np, 2**40 + 7, 401, start=150), many[600:])
    assert not (words(np, 2**40 + 8, 1001) == many).any()
    assert not (words(np, 7, 1001) == many).any()  # the high half of the seed counts


@compiler
@pytest.mark.parametrize("start", [0, 5, 2**32 - 2, 2**40 + 3])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**63 - 1])
def test_a_kernel_draws_the_same(tmp_path, device, start, seed):
    source = """extern "C" __global__ void draw(real *low, real *high, size seed, size start, size n) {
        EACH(i, n) {
            const Words drawn = philox(seed, start + i);
            for (unsigned k = 0; k < 4; k++) {
            low[4 * i + k] = (real)(drawn.at[k] & 0xffff), high[4 * i + k] = (real)(drawn.at[k] >> 16);
        }
        }
    }"""
    (tmp_path / "some.cu").write_text(source, encoding="utf-8")
    low, high = device.empty(40, "float32"), device.empty(40, "float32")
    Kernels(str(tmp_path / "some.py"), "some.cu").each("draw", "float32", 10, low, high, seed, start, 10)
    drawn = high.get().astype(np.uint64) * 2**16 + low.get().astype(np.uint64)
    np.testing.assert_array_equal(drawn, words(np, seed, 40, start=start))


@compiler
@given(seed=seeds, count=counts, dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_uniform_numbers_are_the_same_bits_in_array_calls(seed, count, dtype):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", strict.cupy)
        like = strict.cupy.zeros((count, 1), dtype)
        with strict.counting() as made:
            drawn = uniform(like, seed, -0.25, 1.5)
        with plain():
            reference = uniform(like, seed, -0.25, 1.5)
    assert made.kernels <= 1
    assert not made.copies
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn.get(), reference.get())
    np.testing.assert_array_equal(drawn.get(), uniform(np.zeros((count, 1), dtype), seed, -0.25, 1.5))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers_are_below_one_and_spread_evenly(dtype):
    like = np.zeros(200_000, dtype)
    numbers = uniform(like, 3, 0, 1)
    assert numbers.dtype == dtype
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert 1 - 2.0 ** -BITS[like.dtype.char] == np.dtype(dtype).type(1 - 2.0 ** -BITS[like.dtype.char]) < 1
    counts, _ = np.histogram(numbers.astype("float64"), 64, (0, 1))
    assert chi_square(counts) < 6


def chi_square(counts):
    """How far counts are from even, in standard deviations of chi-square."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("seed", [0, 1, 2**62 + 12345])
def test_words_look_random(seed):
    """Bytes, pairs of neighbours, bits, and the words of neighbouring seeds: within six standard deviations."""
    drawn = words(np, seed, 400_000)
    for shift in (0, 8, 16, 24):
        assert abs(chi_square(np.bincount(drawn >> shift & 255, minlength=256))) < 6
    top = drawn >> 28
    for apart in (1, 2, 4, 1024):
        assert abs(chi_square(np.bincount(top[:-apart] * 16 + top[apart:], minlength=256))) < 6
    bits = np.unpackbits(drawn.view(np.uint8)).reshape(-1, 32)
    assert np.abs(bits.mean(0) - 0.5).max() < 6 * 0.5 / np.sqrt(len(drawn))
    other = words(np, seed + 1, 400_000)
    flipped = np.unpackbits((drawn ^ other).view(np.uint8)).mean()
    assert abs(flipped - 0.5) < 6 * 0.5 / np.sqrt(32 * len(drawn))
    assert abs(np.corrcoef(drawn.astype("d"), other.astype("d"))[0, 1]) < 6 / np.sqrt(len(drawn))


def test_the_test_of_randomness_finds_what_is_not():
    counted = np.arange(400_000) * 2654435761 % 2**32 >> 28
    assert abs(chi_square(np.bincount(counted[:-1] * 16 + counted[1:], minlength=256))) > 6


def test_probabilities():
    assert [threshold(p) for p in (0, 0.5, 1)] == [0, 2**31, 2**32]
    kept = words(np, 5, 1_000_000) < threshold(0.3)
    assert abs(kept.mean() - 0.3) < 6 * np.sqrt(0.21 / 1_000_000)


def test_seeds_come_from_a_generator():
    generator = mt.Generator(3)
    first, second = seed_from(generator), seed_from(generator)
    assert [first, second] == [seed_from(generator.manual_seed(3)), seed_from(generator)]
    assert first != second
    mt.manual_seed(3)
    assert seed_from(None) == first
