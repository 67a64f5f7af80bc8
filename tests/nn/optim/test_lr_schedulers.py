"""Learning rate schedules: as in PyTorch, step by step, also after loading a state; and invalid settings."""

import inspect
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microtensor import Tensor, nn
from microtensor.nn.module import Parameter

STEPS = 25
RATES = (0.1, 0.3)

short, long = st.integers(1, 6), st.integers(1, 30)
parts = st.floats(0.05, 1.0)
OPTIONS = {
    "StepLR": {"step_size": short, "gamma": parts},
    "MultiStepLR": {"milestones": st.lists(st.integers(0, 30), max_size=5), "gamma": parts},
    "ExponentialLR": {"gamma": parts},
    "ConstantLR": {"factor": parts, "total_iters": short},
    "LinearLR": {"start_factor": parts, "end_factor": parts, "total_iters": long},
    "PolynomialLR": {"total_iters": long, "power": st.floats(0.5, 3.0)},
    "CosineAnnealingLR": {"T_max": long, "eta_min": st.sampled_from([0.0, 0.01, 0.2])},
    "CosineAnnealingWarmRestarts": {"T_0": short, "T_mult": st.integers(1, 3), "eta_min": st.sampled_from([0.0, 0.01])},
}
REQUIRED = {"step_size", "milestones", "gamma", "T_max", "T_0"}


def settings_of(name):
    options = OPTIONS[name]
    needed = {key: value for key, value in options.items() if key in REQUIRED and (key != "gamma" or len(options) == 1)}
    return st.fixed_dictionaries(needed, optional={key: value for key, value in options.items() if key not in needed})


def optimizers(kind="SGD", **settings):
    """Ours and PyTorch's, with two groups."""
    torch = pytest.importorskip("torch")
    ours = [{"params": Parameter([1.0]), "lr": lr} for lr in RATES]
    theirs = [{"params": torch.nn.Parameter(torch.ones(1)), "lr": lr} for lr in RATES]
    return getattr(nn, kind)(ours, **settings), getattr(torch.optim, kind)(theirs, **settings)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def both(name, ours, theirs, **settings):
    torch = pytest.importorskip("torch")
    return getattr(nn, name)(ours, **settings), getattr(torch.optim.lr_scheduler, name)(theirs, **settings)


def through_json(state):
    return json.loads(json.dumps(state, allow_nan=False))


def compare(make, steps=STEPS, kind="SGD", resume=7, look=rates, **settings):
    """The rates of both for some steps; in the middle, ours is replaced by a new one that loads the state, through JSON."""
    ours, theirs = optimizers(kind, **settings)
    schedule, expected = make(nn, ours), make(pytest.importorskip("torch").optim.lr_scheduler, theirs)
    for i in range(steps):
        np.testing.assert_allclose(look(ours), look(theirs), rtol=1e-9, atol=1e-12, err_msg=f"step {i}")
        assert schedule.get_last_lr() == rates(ours)
        assert schedule.last_epoch == expected.last_epoch == i
        if i == resume:
            saved, saved_schedule = through_json(ours.state_dict()), through_json(schedule.state_dict())
            ours, _ = optimizers(kind, **settings)
            if resume % 2:  # in either order
                ours.load_state_dict(saved)
            schedule = make(nn, ours)
            if not resume % 2:
                ours.load_state_dict(saved)
            schedule.load_state_dict(saved_schedule)
            np.testing.assert_allclose(look(ours), look(theirs), rtol=1e-9, atol=1e-12)
        theirs.step()
        if i + 1 < steps:
            expected.step()
            schedule.step()


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
@pytest.mark.parametrize("name", OPTIONS)
@given(st.data())
def test_every_step_is_pytorchs(name, data):
    settings, resume = data.draw(settings_of(name)), data.draw(st.integers(0, 20))
    compare(lambda library, optimizer: getattr(library, name)(optimizer, **settings), resume=resume)


def test_a_users_functions_are_pytorchs():
    one, two = lambda n: 1 / (1 + n), lambda n: np.float32(0.5) ** n
    for function in (one, [one, two]):
        compare(lambda library, optimizer, function=function: library.LambdaLR(optimizer, function))


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop"])
@given(st.data())
def test_one_cycle_is_pytorchs(kind, data):
    three = data.draw(st.booleans())
    settings = data.draw(
        st.fixed_dictionaries(
            {"max_lr": st.sampled_from([1.0, [1.0, 0.3]])},
            optional={
                "pct_start": st.floats(0.1, 0.5 if three else 1.0),
                "anneal_strategy": st.sampled_from(["cos", "linear"]),
                "cycle_momentum": st.booleans(),
                "base_momentum": st.sampled_from([0.8, [0.7, 0.8]]),
                "max_momentum": st.sampled_from([0.9, [0.9, 0.99]]),
                "div_factor": st.floats(1.0, 50.0),
                "final_div_factor": st.floats(1.0, 1e5),
            },
        )
    )
    steps = data.draw(st.sampled_from([{"total_steps": STEPS}, {"epochs": 5, "steps_per_epoch": 5}]))

    def look(optimizer):
        momenta = [group["betas"][0] if kind == "Adam" else group["momentum"] for group in optimizer.param_groups]
        return rates(optimizer) + momenta

    extra = {} if kind == "Adam" else {"momentum": 0.5}
    compare(
        lambda library, optimizer: library.OneCycleLR(optimizer, three_phase=three, **steps, **settings),
        kind=kind,
        look=look,
        resume=data.draw(st.integers(0, 20)),
        **extra,
    )


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 20))
def test_one_after_another_is_pytorchs(first, second, resume):
    def make(library, optimizer):
        schedules = [
            library.LinearLR(optimizer, start_factor=0.1, total_iters=first),
            library.CosineAnnealingLR(optimizer, T_max=second, eta_min=0.01),
            library.ExponentialLR(optimizer, gamma=0.9),
        ]
        return library.SequentialLR(optimizer, schedules, milestones=[first, first + second])

    compare(make, resume=resume)


def test_one_after_another_may_hold_restarts_and_a_cycle():
    optimizer = nn.SGD([Parameter([1.0])], lr=1.0, momentum=0.5)
    warm_up = nn.ConstantLR(optimizer, factor=0.5, total_iters=9)
    restarts = nn.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    cycle = nn.OneCycleLR(optimizer, max_lr=3.0, total_steps=4, pct_start=0.5)
    inner = nn.SequentialLR(optimizer, [restarts, cycle], milestones=[3])
    schedule = nn.SequentialLR(optimizer, [warm_up, inner], milestones=[2])
    seen = []
    for _ in range(8):
        seen.append(rates(optimizer)[0])
        schedule.step()
    np.testing.assert_allclose(seen[:5], [0.5, 0.5, 1.0, 0.5, 1.0])
    assert seen[5] == pytest.approx(3 / 25)
    assert seen[6] == 3.0
    momentum = optimizer.param_groups[0]["momentum"]
    state = through_json(schedule.state_dict())
    for s in (warm_up, restarts):
        s.step()
    optimizer.param_groups[0]["momentum"] = 0.0
    schedule.load_state_dict(state)
    assert rates(optimizer) == schedule.get_last_lr()
    assert optimizer.param_groups[0]["momentum"] == momentum


def test_restarts_at_fractions_of_an_epoch_are_pytorchs():
    for mult in (1, 2):
        ours, theirs = optimizers()
        schedule, expected = both("CosineAnnealingWarmRestarts", ours, theirs, T_0=2, T_mult=mult)
        for epoch in (0.0, 0.5, 1.75, 2.0, 2.25, 5.5, 7.0, 3.5):
            schedule.step(epoch)
            expected.step(epoch)
            np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12)
            assert (schedule.T_cur, schedule.T_i, schedule.last_epoch) == (expected.T_cur, expected.T_i, expected.last_epoch)
    with pytest.raises(ValueError, match="CosineAnnealingWarmRestarts: epoch must be finite, at least 0, got -1"):
        schedule.step(-1)


def test_a_cycle_ends():
    optimizer = nn.SGD([Parameter([1.0])], momentum=0.9)
    schedule = nn.OneCycleLR(optimizer, max_lr=1.0, total_steps=4, anneal_strategy="linear")
    for _ in range(4):  # one after each step of the optimizer
        schedule.step()
    assert schedule.get_last_lr() == [pytest.approx(1 / 25 / 1e4)]
    with pytest.raises(ValueError, match="OneCycleLR: the cycle of 4 steps is complete"):
        schedule.step()
    assert schedule.last_epoch == 4


def test_cycles_that_have_no_room_to_rise():
    for settings in ({"total_steps": 1}, {"total_steps": 10, "pct_start": 0.1}, {"total_steps": 10, "pct_start": 0}):
        schedule = nn.OneCycleLR(nn.SGD([Parameter([1.0])], momentum=0.9), max_lr=1.0, **settings)
        assert all(map(math.isfinite, schedule.get_last_lr()))
    assert schedule.get_last_lr()[0] > 0.9


# When training gets no further

METRICS = st.lists(st.sampled_from([0.0, 0.5, 0.999, 0.9999, 1.0, 1.0001, 2.0, -1.0, math.nan, math.inf]), max_size=30)


@given(
    METRICS,
    st.fixed_dictionaries(
        {},
        optional={
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.floats(0.0, 0.9),
            "patience": st.integers(0, 3),
            "threshold": st.sampled_from([0.0, 1e-4, 0.1]),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
            "cooldown": st.integers(0, 3),
            "min_lr": st.sampled_from([0.0, 0.05, [0.01, 0.1]]),
            "eps": st.sampled_from([1e-8, 0.1]),
        },
    ),
)
def test_a_plateau_is_pytorchs(metrics, settings):
    if settings.get("mode") == "max":
        metrics = [-metric for metric in metrics]  # a first metric of infinity would never be improved on
    ours, theirs = optimizers()
    schedule, expected = both("ReduceLROnPlateau", ours, theirs, **settings)
    for i, metric in enumerate(metrics):
        schedule.step(metric)
        expected.step(metric)
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12)
        assert schedule.get_last_lr() == rates(ours)
        assert (schedule.num_bad_epochs, schedule.cooldown_counter) == (expected.num_bad_epochs, expected.cooldown_counter)
        if i == 5:
            state, optimizer_state = through_json(schedule.state_dict()), ours.state_dict()
            ours, _ = optimizers()
            ours.load_state_dict(optimizer_state)
            schedule = nn.ReduceLROnPlateau(ours)
            schedule.load_state_dict(state)


def test_a_metric_is_one_number():
    optimizer = nn.SGD([Parameter([1.0])], lr=1.0)
    schedule = nn.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    for metric in (1, np.float32(1.0), Tensor([1.0]), np.array(1.0)):
        schedule.step(metric)
    assert rates(optimizer) == [0.125]
    for metric in (None, "0.5", Tensor([1.0, 2.0]), [1.0]):
        with pytest.raises(TypeError, match="ReduceLROnPlateau: step needs the metric, one number, got"):
            schedule.step(metric)


# What all share


def test_a_rate_of_ones_own_is_a_formula():
    class Harmonic(nn.LRScheduler):
        def get_lr(self):
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer = nn.SGD([{"params": Parameter([1.0]), "lr": lr} for lr in RATES])
    schedule = Harmonic(optimizer)
    schedule.step()
    assert rates(optimizer) == [0.05, 0.15]
    optimizer.param_groups[0]["lr"] = 5.0  # holds until the next step
    schedule.step()
    assert rates(optimizer) == pytest.approx([0.1 / 3, 0.1])
    with pytest.raises(NotImplementedError, match=r"LRScheduler: define get_lr\(self\)"):
        nn.LRScheduler(optimizer)


def test_a_schedule_begins_after_steps_taken_before():
    ours, _ = optimizers()
    nn.StepLR(ours, step_size=2)
    schedule = nn.StepLR(ours, step_size=2, last_epoch=4)
    assert schedule.last_epoch == 5
    np.testing.assert_allclose(rates(ours), [0.001, 0.003])
    with pytest.raises(
        ValueError, match='StepLR: group 0 has no "initial_lr" to continue from after step 4; load the state of the'
    ):
        nn.StepLR(nn.SGD([Parameter([1.0])]), step_size=2, last_epoch=4)


def test_the_arguments_and_defaults_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in (*OPTIONS, "LambdaLR", "OneCycleLR", "SequentialLR", "ReduceLROnPlateau"):
        ours, theirs = (
            {p.name: p.default for p in inspect.signature(getattr(library, name)).parameters.values()}
            for library in (nn, torch.optim.lr_scheduler)
        )
        assert ours == theirs
        assert list(ours) == list(theirs)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    ours, _ = optimizers()
    schedule = nn.StepLR(ours, step_size=2)
    state = schedule.state_dict()
    with pytest.raises(
        ValueError, match="StepLR: this is the state of another schedule: it has .*T_max.*; expected .*step_size"
    ):
        schedule.load_state_dict(nn.CosineAnnealingLR(ours, T_max=2).state_dict())
    with pytest.raises(ValueError, match="ExponentialLR: this is the state of another schedule"):
        nn.ExponentialLR(ours, gamma=0.5).load_state_dict(state)
    with pytest.raises(TypeError, match="StepLR: expected a dict, as state_dict"):
        schedule.load_state_dict(None)
    other = nn.SGD([Parameter([1.0])])
    with pytest.raises(ValueError, match="StepLR: the state is for 1 groups, the optimizer has 2"):
        schedule.load_state_dict(nn.StepLR(other, step_size=3).state_dict())
    assert schedule.state_dict() == state
    two, three = (nn.SequentialLR(ours, [nn.StepLR(ours, 2) for _ in range(n)], milestones=[*range(1, n)]) for n in (2, 3))
    with pytest.raises(ValueError, match="SequentialLR: the state is of 2 schedules, here are 3"):
        three.load_state_dict(two.state_dict())
    mixed = nn.SequentialLR(ours, [nn.StepLR(ours, 2), nn.ExponentialLR(ours, 0.5)], milestones=[1])
    with pytest.raises(ValueError, match="ExponentialLR: this is the state of another schedule"):
        mixed.load_state_dict(two.state_dict())


def test_a_state_shares_no_list():
    schedule = nn.MultiStepLR(nn.SGD([Parameter([1.0])]), milestones=[2, 4])
    schedule.state_dict()["milestones"].append(9)
    schedule.get_last_lr().append(9)
    assert schedule.milestones == [2, 4]
    assert len(schedule.get_last_lr()) == 1


def test_groups_added_later_are_refused():
    for make in (lambda o: nn.StepLR(o, step_size=2), nn.ReduceLROnPlateau):
        optimizer = nn.SGD([Parameter([1.0])])
        schedule = make(optimizer)
        optimizer.add_param_group({"params": Parameter([1.0])})
        with pytest.raises(ValueError, match="it is for 1 groups, and the optimizer has 2; make the schedule after"):
            schedule.step(*[1.0] * schedule.needs_metric)


SGD, ADAGRAD = nn.SGD([Parameter([1.0])], momentum=0.9), nn.Adagrad([Parameter([1.0])])
STEP = nn.StepLR(SGD, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.CosineAnnealingLR(nn.Linear(1, 1), T_max=2),
            TypeError,
            "CosineAnnealingLR: expected an Optimizer, got Linear",
        ),
        (lambda: nn.OneCycleLR(None, 1.0, 2), TypeError, "OneCycleLR: expected an Optimizer, got NoneType"),
        (lambda: nn.ReduceLROnPlateau([]), TypeError, "ReduceLROnPlateau: expected an Optimizer, got list"),
        (lambda: nn.CosineAnnealingLR(SGD, T_max=0), ValueError, "CosineAnnealingLR: T_max must be at least 1, got 0"),
        (lambda: nn.CosineAnnealingLR(SGD, T_max=2.5), TypeError, "T_max must be an integer, got 2.5"),
        (lambda: nn.CosineAnnealingLR(SGD, 2, eta_min=-1), ValueError, "eta_min must be finite, at least 0, got -1"),
        (lambda: nn.StepLR(SGD, step_size=0), ValueError, "StepLR: step_size must be at least 1"),
        (lambda: nn.StepLR(SGD, 2, gamma="0.1"), TypeError, "StepLR: gamma must be a number, got '0.1'"),
        (lambda: nn.StepLR(SGD, 2, last_epoch=-2), ValueError, "last_epoch must be at least -1"),
        (
            lambda: nn.MultiStepLR(SGD, milestones=3),
            TypeError,
            "MultiStepLR: milestones must be a list of integers, got 3",
        ),
        (lambda: nn.MultiStepLR(SGD, milestones=[1.5]), TypeError, "MultiStepLR: a milestone must be an integer"),
        (lambda: nn.ExponentialLR(SGD, gamma=math.inf), ValueError, "ExponentialLR: gamma must be finite"),
        (
            lambda: nn.ConstantLR(SGD, factor=2),
            ValueError,
            "ConstantLR: factor must be finite, at least 0 and at most 1, got 2",
        ),
        (lambda: nn.LinearLR(SGD, start_factor=1.5), ValueError, "LinearLR: start_factor must be"),
        (lambda: nn.LinearLR(SGD, end_factor=-1), ValueError, "LinearLR: end_factor must be"),
        (lambda: nn.LinearLR(SGD, total_iters=0), ValueError, "LinearLR: total_iters must be at least 1"),
        (lambda: nn.PolynomialLR(SGD, power=-1), ValueError, "PolynomialLR: power must be"),
        (lambda: nn.CosineAnnealingWarmRestarts(SGD, T_0=0), ValueError, "T_0 must be at least 1"),
        (lambda: nn.CosineAnnealingWarmRestarts(SGD, 2, T_mult=1.5), TypeError, "T_mult must be an integer"),
        (lambda: nn.LambdaLR(SGD, 0.5), TypeError, "LambdaLR: lr_lambda must be a function, or a list of them, got 0.5"),
        (lambda: nn.LambdaLR(SGD, [abs, abs]), ValueError, "LambdaLR: 2 functions for 1 groups; give one for each, or one"),
        (lambda: nn.OneCycleLR(SGD, 1.0), ValueError, "OneCycleLR: give total_steps, or epochs and steps_per_epoch"),
        (lambda: nn.OneCycleLR(SGD, 1.0, epochs=3), ValueError, "OneCycleLR: give total_steps, or epochs and steps_per_epoch"),
        (lambda: nn.OneCycleLR(SGD, 1.0, 0), ValueError, "total_steps must be at least 1, got 0"),
        (lambda: nn.OneCycleLR(SGD, [1.0, 2.0], 5), ValueError, "max_lr has 2 numbers for 1 groups; give one for each"),
        (
            lambda: nn.OneCycleLR(SGD, 1.0, 5, pct_start=1.5),
            ValueError,
            "pct_start must be finite, at least 0 and at most 1, got",
        ),
        (lambda: nn.OneCycleLR(SGD, 1.0, 5, pct_start=0.7, three_phase=True), ValueError, "pct_start must be .* at most 0.5"),
        (lambda: nn.OneCycleLR(SGD, 1.0, 5, anneal_strategy="cosine"), ValueError, 'must be "cos" or "linear", got \'cosine\''),
        (lambda: nn.OneCycleLR(SGD, 1.0, 5, div_factor=0), ValueError, "div_factor must be above 0, got 0"),
        (
            lambda: nn.OneCycleLR(ADAGRAD, 1.0, 5),
            ValueError,
            "Adagrad has neither momentum nor betas to cycle; give cycle_momentum",
        ),
        (lambda: nn.SequentialLR(SGD, [], []), TypeError, "SequentialLR: schedulers must be a list of schedules"),
        (lambda: nn.SequentialLR(SGD, [STEP, 1], [2]), TypeError, "SequentialLR: schedule 1 must be an LRScheduler, got int"),
        (
            lambda: nn.SequentialLR(SGD, [STEP, STEP], []),
            ValueError,
            r"2 schedules need a list of 1 milestones between them, got",
        ),
        (lambda: nn.SequentialLR(SGD, [STEP] * 3, [4, 2]), ValueError, r"milestones must increase, got \[4, 2\]"),
        (lambda: nn.SequentialLR(ADAGRAD, [STEP], []), ValueError, "schedule 0, StepLR, is for another optimizer"),
        (
            lambda: nn.SequentialLR(SGD, [nn.ReduceLROnPlateau(SGD)], []),
            ValueError,
            "ReduceLROnPlateau, needs a metric at each",
        ),
        (lambda: nn.ReduceLROnPlateau(SGD, mode="least"), ValueError, 'mode must be "min" or "max", got \'least\''),
        (lambda: nn.ReduceLROnPlateau(SGD, threshold_mode=1), ValueError, 'threshold_mode must be "rel" or "abs", got 1'),
        (lambda: nn.ReduceLROnPlateau(SGD, factor=1.0), ValueError, "ReduceLROnPlateau: factor must be less than 1, got 1.0"),
        (lambda: nn.ReduceLROnPlateau(SGD, patience=-1), ValueError, "patience must be at least 0"),
        (lambda: nn.ReduceLROnPlateau(SGD, min_lr=[0.1, 0.2]), ValueError, "min_lr has 2 numbers for 1 groups"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


SIMPLE = [
    lambda o: nn.StepLR(o, 2),
    lambda o: nn.OneCycleLR(o, 0.1, total_steps=9),
    lambda o: nn.CosineAnnealingWarmRestarts(o, 3),
    lambda o: nn.SequentialLR(o, [nn.ConstantLR(o), nn.StepLR(o, 2)], [2]),
    lambda o: nn.ReduceLROnPlateau(o),
]


def trained(step_first, schedule_of, of=nn.SGD):
    p = nn.Parameter([1.0])
    optimizer = of([p], lr=0.1, momentum=0.9)
    schedule = schedule_of(optimizer)
    for _ in range(3):
        (p * p).sum().backward()
        steps = [optimizer.step, lambda: schedule.step(*([1.0] if schedule.needs_metric else []))]
        for step in steps if step_first else reversed(steps):
            step()


@pytest.mark.parametrize("schedule_of", SIMPLE)
def test_a_schedule_that_steps_before_its_optimizer_is_told_once(schedule_of):
    trained(True, schedule_of)  # a warning is an error in these tests
    with pytest.warns(
        UserWarning, match=r"SGD: .* stepped before the first step of the optimizer.* call optimizer.step\(\) be"
    ) as told:
        trained(False, schedule_of)
    assert len(told) == 1
    assert told[0].filename == __file__


def test_what_only_looks_as_if_a_schedule_came_first_is_not_told():
    p = nn.Parameter([1.0])
    optimizer = nn.SGD([p], lr=0.1)
    schedule = nn.StepLR(optimizer, 2)
    nn.preview_lr(schedule, 5)
    p.grad = p.detach() * 0
    optimizer.step()  # the preview is no step of the schedule
    optimizer = nn.SGD([p], lr=0.1)
    for _ in range(5):
        nn.StepLR(optimizer, 2).step()  # without any step of the optimizer: rates are only read
    optimizer = nn.SGD([p], lr=0.1)
    schedule, scaler = nn.StepLR(optimizer, 2), nn.GradScaler(init_scale=4.0)
    for factor in (math.inf, 1.0):
        p.grad = None
        scaler.scale((p * p).sum()).backward()
        p.grad = p.grad * factor
        scaler.step(optimizer)  # the first is skipped
        scaler.update()
        schedule.step()
    again = nn.SGD([p], lr=0.1)
    schedule = nn.StepLR(again, 2)
    schedule.step()
    again.load_state_dict(optimizer.state_dict())  # it had stepped
    again.step()


@pytest.mark.parametrize("schedule_of", SIMPLE)
@pytest.mark.parametrize("value", ["3", math.nan, 10**30, [], None, 0.5])
def test_a_state_of_nonsense_is_refused_and_changes_nothing(schedule_of, value):
    schedule = schedule_of(nn.SGD([nn.Parameter([1.0])], lr=0.1, momentum=0.9))
    state = schedule.state_dict()
    with pytest.raises(ValueError, match="last_epoch of the state must be of the kind of 0, got "):
        schedule.load_state_dict({**state, "last_epoch": value})
    assert schedule.state_dict() == state


def test_settings_that_give_no_rate_are_refused_and_change_nothing():
    optimizer = nn.SGD([nn.Parameter([1.0])], lr=0.1)
    schedule = nn.CosineAnnealingLR(optimizer, T_max=3)
    state = schedule.state_dict()
    for change in ({"T_max": 0}, {"eta_min": math.inf}, {"base_lrs": []}, {"_last_lr": [math.nan]}):
        with pytest.raises(ValueError, match="CosineAnnealingLR: from this state no learning rates come"):
            schedule.load_state_dict({**state, **change})
        assert schedule.state_dict() == state
        assert optimizer.param_groups[0]["lr"] == 0.1
