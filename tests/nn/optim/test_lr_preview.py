"""Learning rates computed ahead."""

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn


def optimizer():
    mt.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    groups = [{"params": net[0].parameters(), "lr": 0.1}, {"params": net[1].parameters(), "lr": 1.0}]
    return nn.SGD(groups, momentum=0.9)


SCHEDULES = {
    "step": lambda o: nn.StepLR(o, 3, gamma=0.5),
    "cosine": lambda o: nn.CosineAnnealingLR(o, T_max=12),
    "warm restarts": lambda o: nn.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2),
    "one cycle": lambda o: nn.OneCycleLR(o, max_lr=[0.1, 1.0], total_steps=20),
    "function": lambda o: nn.LambdaLR(o, lambda step: 0.9**step),
    "sequence": lambda o: nn.SequentialLR(o, [nn.LinearLR(o, total_iters=4), nn.ExponentialLR(o, 0.8)], milestones=[4]),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("before", [0, 5])
def test_it_is_what_training_will_do_and_leaves_no_trace(name, before):
    seen, trained = optimizer(), optimizer()
    schedule, other = SCHEDULES[name](seen), SCHEDULES[name](trained)
    for _ in range(before):
        schedule.step()
        other.step()
    settings = [{key: value for key, value in group.items() if key != "params"} for group in seen.param_groups]
    state = schedule.state_dict()
    rates = nn.preview_lr(schedule, 12)
    assert rates[0] == [group["lr"] for group in seen.param_groups]
    assert [{key: value for key, value in group.items() if key != "params"} for group in seen.param_groups] == settings
    assert schedule.state_dict() == state
    expected = []
    for _ in range(12):
        expected.append([group["lr"] for group in trained.param_groups])
        other.step()
    assert rates == expected
    schedule.step()  # the preview has not advanced it
    np.testing.assert_allclose([group["lr"] for group in seen.param_groups], expected[1])


def test_a_rate_that_was_written_by_hand_is_the_first_and_stays():
    o = optimizer()
    schedule = nn.StepLR(o, 2)
    o.param_groups[0]["lr"] = 0.77
    assert nn.preview_lr(schedule, 2) == [[0.77, 1.0], [0.1, 1.0]]
    assert o.param_groups[0]["lr"] == 0.77


def test_a_schedule_that_ends_before_says_so_and_is_put_back():
    o = optimizer()
    schedule = nn.OneCycleLR(o, max_lr=1.0, total_steps=5)
    state, rate = schedule.state_dict(), o.param_groups[0]["lr"]
    with pytest.raises(ValueError, match="5"):
        nn.preview_lr(schedule, 10)
    assert schedule.state_dict() == state
    assert o.param_groups[0]["lr"] == rate


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda o: nn.preview_lr(o, 3), TypeError, "preview_lr: expected a schedule, such as CosineAnnealingLR.*, got SGD"),
        (lambda o: nn.preview_lr(nn.StepLR(o, 1), 0), ValueError, "steps must be at least 1, got 0"),
        (lambda o: nn.preview_lr(nn.StepLR(o, 1), 1.5), TypeError, "steps must be an integer, got 1.5"),
        (lambda o: nn.preview_lr(nn.ReduceLROnPlateau(o), 3), ValueError, "ReduceLROnPlateau needs a metric"),
    ],
)
def test_wrong_input_is_refused_in_words(call, kind, message):
    with pytest.raises(kind, match=message):
        call(optimizer())
