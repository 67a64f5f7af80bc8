"""Learning rates over time, against PyTorch's."""

import numpy as np
import pytest

from microtensor import nn


def test_the_cosine_is_pytorchs():
    torch = pytest.importorskip("torch")
    ours = nn.SGD([{"params": nn.Linear(1, 1).parameters()}, {"params": nn.Linear(1, 1).parameters(), "lr": 0.3}], lr=0.1)
    theirs = torch.optim.SGD(
        [{"params": torch.nn.Linear(1, 1).parameters()}, {"params": torch.nn.Linear(1, 1).parameters(), "lr": 0.3}], lr=0.1
    )
    schedule = nn.CosineAnnealingLR(ours, T_max=7, eta_min=0.01)
    expected = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=7, eta_min=0.01)
    for _ in range(7):
        theirs.step()
        expected.step()
        schedule.step()
        np.testing.assert_allclose([g["lr"] for g in ours.param_groups], [g["lr"] for g in theirs.param_groups], rtol=1e-12)


def test_it_stays_at_the_end():
    optimizer = nn.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    schedule = nn.CosineAnnealingLR(optimizer, T_max=2)
    for _ in range(5):
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_wrong_input_is_refused():
    with pytest.raises(TypeError, match="expected an Optimizer, got Linear"):
        nn.CosineAnnealingLR(nn.Linear(1, 1), T_max=2)
    with pytest.raises(ValueError, match="T_max must be at least 1 step, got 0"):
        nn.CosineAnnealingLR(nn.SGD(nn.Linear(1, 1).parameters(), lr=0.1), T_max=0)
