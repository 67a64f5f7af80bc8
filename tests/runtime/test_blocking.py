"""The parts of a batch."""

import numpy as np
import pytest

from microtensor.runtime import blocking


@pytest.mark.parametrize("part_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_parts_are_the_whole(monkeypatch, part_bytes, count):
    monkeypatch.setattr(blocking, "PART_BYTES", part_bytes)
    monkeypatch.setattr(blocking, "SINGLE_THREAD_BYTES", 0)
    images = np.zeros((count, 2, 3))
    assert [i for part in blocking.parts(images) for i in range(count)[part]] == list(range(count))
    for part in blocking.parts(images):
        assert images[part].nbytes <= max(part_bytes, images[0].nbytes)


def test_channels_are_images():
    assert blocking.planes(np.zeros((2, 3, 4, 5))).shape == (6, 4, 5)
    assert blocking.planes(np.zeros((0, 3, 4, 5))).shape == (0, 4, 5)
