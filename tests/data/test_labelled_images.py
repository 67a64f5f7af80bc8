"""Labelled images: what a network eats, their forms, their checks."""

import sys

import numpy as np
import pytest
import strict
from data_files import images_and_labels

from microtensor.data import LabelledImages, to_input


def test_to_input_is_the_formula_of_the_field():
    images, _ = images_and_labels(4)
    expected = (images.astype(np.float64)[:, None] / 255 - 0.1307) / 0.3081
    x = to_input(images)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(to_input(images[2]), x[2])
    np.testing.assert_allclose(to_input(images, mean=0.0, std=1.0), images[:, None] / 255, rtol=1e-6)


def test_to_input_refuses_what_is_scaled_already():
    with pytest.raises(TypeError, match="to_input: expected images as an array of uint8, from 0 to 255, got float32"):
        to_input(np.zeros((2, 28, 28), np.float32))
    with pytest.raises(TypeError, match="got list"):
        to_input([[0]])
    with pytest.raises(ValueError, match=r"\(…, H, W\), got the shape \(784,\)"):
        to_input(np.zeros(784, np.uint8))


def test_own_arrays_are_checked_too():
    images, labels = images_and_labels(3)
    with pytest.raises(TypeError, match="LabelledImages: labels: expected a NumPy array, got list"):
        LabelledImages(images, labels.tolist())
    with pytest.raises(ValueError, match="LabelledImages: 3 images in images, but 2 labels in labels"):
        LabelledImages(images, labels[:2])
    assert len(LabelledImages(images[:0], labels[:0])) == 0


@pytest.mark.parametrize("constants", [{}, {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}])
def test_to_input_on_a_device_gives_the_same_bits(monkeypatch, constants):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(-1, 3, 4, 4)
    there = to_input(strict.cupy.asarray(images), **constants)
    assert there.dtype == np.float32
    np.testing.assert_array_equal(there.get(), to_input(images, **constants))
