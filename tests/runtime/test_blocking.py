"""Blocks of a batch that fit the cache."""

import numpy as np
import pytest

from microtensor.runtime import blocking


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_blocks_are_the_whole_batch(monkeypatch, block_bytes, count):
    monkeypatch.setattr(blocking, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(blocking, "MIN_BLOCKED_BYTES", 0)
    images = np.zeros((count, 2, 3))
    assert [i for block in blocking.blocks(images) for i in range(count)[block]] == list(range(count))
    for block in blocking.blocks(images):
        assert images[block].nbytes <= max(block_bytes, images[0].nbytes)


def test_each_channel_is_a_feature_map():
    assert blocking.feature_maps(np.zeros((2, 3, 4, 5))).shape == (6, 4, 5)
    assert blocking.feature_maps(np.zeros((0, 3, 4, 5))).shape == (0, 4, 5)
