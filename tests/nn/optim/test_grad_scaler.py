"""Loss scaling: the scales of PyTorch step by step, skipped steps, states, and calls in the wrong order."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import strict
from hypothesis import given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import nn
from microtensor.nn.optim.grad_scaler import GradScaler

KINDS = [nn.SGD, nn.Adam, nn.AdamW, nn.RMSprop, nn.Adagrad]
SETTINGS = {nn.SGD: {"lr": 0.1, "momentum": 0.9}}


def parameter(*numbers):
    return mt.Tensor(np.array(numbers, np.float32), requires_grad=True)


def give(p, *numbers):
    """A gradient as `backward()` would leave it."""
    p.grad = mt.Tensor(np.array(numbers, np.float32))


def state_of(optimizer):
    tree = optimizer.state_dict()["state"]
    return {i: {k: v.numpy().copy() if isinstance(v, mt.Tensor) else v for k, v in s.items()} for i, s in tree.items()}


@given(
    st.lists(st.sampled_from([1.0, -0.5, np.inf, np.nan]), min_size=1, max_size=12),
    st.sampled_from([2.0, 1.5]),
    st.sampled_from([0.5, 0.3]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([2.0**16, 2.0**127, 3.0]),
)
def test_scales_and_parameters_are_pytorchs(gradients, growth, backoff, interval, scale):
    torch = pytest.importorskip("torch")
    settings = {"init_scale": scale, "growth_factor": growth, "backoff_factor": backoff, "growth_interval": interval}
    ours, theirs = GradScaler(**settings), torch.amp.GradScaler("cpu", **settings)
    p, q = parameter(1.0, 2.0), torch.tensor([1.0, 2.0], requires_grad=True)
    first, second = nn.Adam([p], lr=0.1), torch.optim.Adam([q], lr=0.1)
    for g in gradients:
        np.testing.assert_allclose(
            ours.scale((p * 1e-3).sum()).item(), theirs.scale((q * 1e-3).sum()).item(), rtol=1e-5, atol=1e-3
        )
        give(p, g * ours.get_scale() if abs(g) < 1 else g, 0.25)
        q.grad = torch.tensor(p.grad.numpy().copy())
        for scaler, optimizer in ((ours, first), (theirs, second)):
            scaler.unscale_(optimizer)
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6)
        for scaler, optimizer in ((ours, first), (theirs, second)):
            scaler.step(optimizer)
            scaler.update()
        assert ours.get_scale() == theirs.get_scale()
        assert ours.state_dict() == theirs.state_dict()
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_skipped_step_leaves_no_trace(kind):
    def train(gradients):
        p, frozen = parameter(1.0, -2.0), parameter(3.0)
        optimizer, scaler = kind([p, frozen], **SETTINGS.get(kind, {})), GradScaler(init_scale=4.0)
        for g in gradients:
            give(p, *(4 * n for n in g))
            scaler.step(optimizer)
            scaler.update()
        return p.detach().numpy(), state_of(optimizer), scaler.get_scale()

    good = [(0.5, -0.25), (0.125, 1.0), (-1.0, 0.5)]
    numbers, state, _ = train(good)
    p, optimizer = parameter(1.0, -2.0), None
    optimizer, scaler = kind([p], **SETTINGS.get(kind, {})), GradScaler(init_scale=4.0)
    for g in [(np.inf, 1.0), good[0], (1.0, np.nan), good[1], good[2], (-np.inf, 0.0)]:
        scale = scaler.get_scale()
        give(p, *(scale * n for n in g))
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 0.5
    np.testing.assert_array_equal(p.detach().numpy(), numbers)
    np.testing.assert_equal(state_of(optimizer), state)


def test_gradients_too_small_for_float16_survive():
    def gradient(scaler):
        w = parameter(1.0)
        optimizer = nn.SGD([w], lr=1.0)
        with mt.autocast("float16"):
            y = mt.Tensor([[1e-3]]) @ w
            loss = (y.float() * 1e-6).sum()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        return w.grad.item()

    assert gradient(GradScaler(enabled=False)) == 0
    np.testing.assert_allclose(gradient(GradScaler()), 1e-9, rtol=2e-3)


def test_one_of_two_optimizers_is_skipped_and_the_scale_falls():
    p, q = parameter(1.0), parameter(1.0)
    first, second, scaler = nn.SGD([p], lr=1.0), nn.SGD([q], lr=1.0), GradScaler(init_scale=2.0)
    give(p, 1.0)
    give(q, np.inf)
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert (p.item(), q.item(), scaler.get_scale()) == (0.5, 1.0, 1.0)


def test_losses_in_lists_and_halves():
    scaler = GradScaler()
    a, b = scaler.scale([mt.Tensor([1.0]), (mt.ones(1, dtype="float16"),)])
    assert a.item() == b[0].item() == 65536
    assert b[0].dtype == np.float32
    assert scaler.scale(mt.ones(1, dtype="float64")).dtype == np.float64


def test_disabled_it_does_nothing():
    p = parameter(1.0)
    optimizer, scaler = nn.SGD([p], lr=1.0), GradScaler(enabled=False)
    loss = p * p
    assert scaler.scale(loss) is loss
    give(p, 0.5)
    for _ in range(2):
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    assert p.item() == 0
    assert scaler.get_scale() == 1
    assert scaler.state_dict() == {}
    assert not scaler.is_enabled()
    scaler.load_state_dict({})
    assert repr(scaler) == "GradScaler(enabled=False)"


def test_a_state_goes_on_here_and_in_pytorch():
    torch = pytest.importorskip("torch")
    scaler = GradScaler(init_scale=8.0, growth_interval=2)
    p = parameter(1.0)
    optimizer = nn.SGD([p])
    give(p, 1.0)
    scaler.step(optimizer)
    scaler.update()
    theirs, again = torch.amp.GradScaler("cpu"), GradScaler()
    theirs.load_state_dict(scaler.state_dict())
    again.load_state_dict(theirs.state_dict())
    assert again.state_dict() == scaler.state_dict() == theirs.state_dict()
    give(p, 1.0)
    again.step(optimizer)
    again.update()
    assert again.get_scale() == 16
    scaler.update(new_scale=5.0)
    assert scaler.get_scale() == 5
    assert repr(scaler).startswith("GradScaler(scale=5, growth_factor=2, ")


def misused(*calls):
    p = parameter(1.0)
    scaler, optimizer = GradScaler(), nn.SGD([p])
    give(p, 1.0)
    for call in calls:
        getattr(scaler, call)(*([] if call == "update" else [optimizer]))


def half_gradient():
    p = mt.ones(2, dtype="float16", requires_grad=True)
    p.grad = mt.ones(2, dtype="float16")
    GradScaler().unscale_(nn.SGD([p]))


@pytest.mark.parametrize(("make", "kind", "message"), [
    (lambda: GradScaler(1024.0), TypeError, "GradScaler: device must be a name, got 1024.0 \\(float\\); give init_scale by name"),
    (lambda: GradScaler(init_scale="2"), TypeError, "GradScaler: init_scale must be a number, got '2' \\(str\\)"),
    (lambda: GradScaler(init_scale=0.0), ValueError, "GradScaler: init_scale must be more than 0 and finite in float32, got 0.0"),
    (lambda: GradScaler(init_scale=1e39), ValueError, "init_scale must be more than 0 and finite in float32, got 1e\\+39"),
    (lambda: GradScaler(growth_factor=1.0), ValueError, "GradScaler: growth_factor must be more than 1 and finite, got 1.0"),
    (lambda: GradScaler(backoff_factor=1.0), ValueError, "GradScaler: backoff_factor must be more than 0 and less than 1, got 1.0"),
    (lambda: GradScaler(growth_interval=0), ValueError, "GradScaler: growth_interval must be an integer of 1 or more, got 0"),
    (lambda: GradScaler(enabled=1), TypeError, "GradScaler: enabled must be True or False, got 1 \\(int\\)"),
    (lambda: GradScaler().scale(1.0), TypeError, "GradScaler.scale: expected a loss, as a floating-point Tensor, .* got float"),
    (lambda: GradScaler().step(nn.Linear(1, 1)), TypeError, "GradScaler.step: expected an Optimizer, got Linear"),
    (lambda: GradScaler().step(nn.SGD([parameter(1.0)])), RuntimeError, "GradScaler.step: no parameter has a gradient"),
    (lambda: misused("unscale_", "unscale_"), RuntimeError, "GradScaler.unscale_: unscale_\\(\\) was called for this optimizer since"),
    (lambda: misused("step", "unscale_"), RuntimeError, "GradScaler.unscale_: step\\(\\) was called for this optimizer since"),
    (lambda: misused("step", "step"), RuntimeError, "GradScaler.step: it was called for this optimizer since the last update"),
    (lambda: misused("update"), RuntimeError, "GradScaler.update: no gradients were checked since the last update"),
    (lambda: misused("step", "update", "update"), RuntimeError, "GradScaler.update: no gradients were checked"),
    (half_gradient, ValueError, "GradScaler.unscale_: a gradient \\(2,\\) is of float16"),
    (lambda: GradScaler().update(new_scale=-1.0), ValueError, "init_scale must be more than 0"),
    (lambda: GradScaler().load_state_dict({}), ValueError, "GradScaler: the state must have scale, growth_factor, .* not enabled\\?"),
    (lambda: GradScaler().load_state_dict([]), ValueError, "got list"),
])  # fmt: skip
def test_what_means_nothing_is_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


# In the training loop


class Watch(nn.Callback):
    """Gradients overflow at some steps; records the scale after each; raises at the step where the program is interrupted."""

    def __init__(self, die_at=None):
        self.scales, self.norms, self.die_at = [], [], die_at

    def on_step(self, run):
        self.scales.append(run.scaler.get_scale())
        self.norms.append(np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in run.model.parameters())))
        if run.step == self.die_at:
            raise KeyboardInterrupt


def batches():
    random = np.random.default_rng(0)
    x, labels = random.standard_normal((6, 8, 4)).astype(np.float32), random.integers(0, 3, (6, 8))
    return [(mt.Tensor(a), mt.Tensor(b)) for a, b in zip(x, labels)]


def run_of(folder=None, die_at=None, precision=None, **settings):
    mt.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    watch = Watch(die_at)
    checkpoint = None if folder is None else nn.Checkpoint(folder, every=1)
    precision = nn.GradScaler(init_scale=2.0**22, growth_interval=3) if precision is None else precision
    optimizer = nn.Adam(model.parameters(), lr=0.01)
    try:
        history = nn.fit(
            model, batches(), nn.cross_entropy, optimizer, epochs=2, precision=precision, callbacks=[watch], progress=False,
            checkpoint=checkpoint, validation=batches(), **settings,
        )  # fmt: skip
    except KeyboardInterrupt:
        history = None
    return model, history, watch


def test_fit_finds_its_scale_and_resumes_bit_for_bit(tmp_path):
    model, history, watch = run_of()
    scales = watch.scales
    assert scales[0] == 2.0**21
    assert len(scales) == 12
    assert any(b > a for a, b in pairwise(scales))
    _, nothing, before = run_of(tmp_path, die_at=9)
    assert nothing is None
    resumed, again, after = run_of(tmp_path)
    assert before.scales[: 12 - len(after.scales)] + after.scales == scales
    for (name, p), q in zip(model.state_dict().items(), resumed.state_dict().values()):
        np.testing.assert_array_equal(p.numpy(), q.numpy(), err_msg=name)
    assert [row["val_loss"] for row in history] == [row["val_loss"] for row in again]
    with pytest.raises(
        ValueError, match="precision, kind: 'mixed' in the checkpoint, 'full' here"
    ):  # the precision is a setting of the run
        run_of(tmp_path, precision="32-true")


def test_fit_clips_what_was_divided_by_the_scale():
    _, _, mixed = run_of(clip_norm=1e-3, accumulate=2, precision="16-mixed")
    assert len(mixed.norms) == 6
    assert {*mixed.scales} == {2.0**16}
    np.testing.assert_allclose(mixed.norms, 1e-3, rtol=0.01)


@pytest.mark.parametrize(("precision", "kind", "message"), [
    ("bf16-mixed", ValueError, "fit: precision must be \"16-mixed\", \"32-true\" or None, got 'bf16-mixed'; there is no bfloat16"),
    ("16", ValueError, "fit: precision must be \"16-mixed\", \"32-true\" or None, got '16'"),
    (16, TypeError, "fit: precision must be \"16-mixed\", \"32-true\", None or a GradScaler, got int"),
    (GradScaler, TypeError, "got the class GradScaler; create one: GradScaler\\(...\\)"),
])  # fmt: skip
def test_fit_refuses_a_precision_that_it_does_not_know(precision, kind, message):
    with pytest.raises(kind, match=message):
        run_of(precision=precision)


@pytest.fixture
def on_device(monkeypatch):
    if mt.get_default_device() == "cpu":
        monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
        with mt.default_device("cuda"):
            yield
    else:
        yield


def test_on_a_device_a_step_waits_once_and_the_rest_not_at_all(on_device, request):
    if request.config.getoption("--device") == "cuda":
        pytest.skip("the stand-in counts, a real GPU does not")
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    x, labels = mt.ones(5, 1, 8, 8), mt.Tensor([0, 1, 2, 0, 1], dtype="int64")
    optimizer, scaler = nn.Adam(model.parameters()), GradScaler()
    for _ in range(3):
        optimizer.zero_grad()
        with strict.counting() as counts:
            with mt.autocast("float16"):
                y = model(x)
                loss = nn.cross_entropy(y, labels)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
        assert y.dtype == np.float16
        assert (counts.waits, counts.copies) == (0, 0), counts.names
        with strict.counting() as counts:
            scaler.step(optimizer)
            scaler.update()
            scaler.get_scale()
        assert (counts.waits, counts.copies) == (1, 1), counts.names
    assert scaler.state_dict()["_growth_tracker"] == 3
