"""`profile`: what it counts, what it calls by which name, and whose time it is. The clock is a fake one: nothing is timed."""

import copy
import csv
import gc
import re
import sys
import threading
import weakref

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import Tensor, nn
from microtensor.autograd.observers import of_all_threads
from microtensor.autograd.op import op
from microtensor.models import lenet5
from microtensor.profiler import spans
from microtensor.profiler.profiler import ProfileRow
from microtensor.profiler.spans import here

ON_DEVICE = mt.get_default_device() != "cpu"
needs_device = pytest.mark.skipif(not ON_DEVICE, reason="about devices: --device strict or cuda")


class Clock:
    """Nanoseconds that pass when a test says so."""

    def __init__(self):
        self.time = 0

    def __call__(self):
        return self.time

    def wait(self, seconds):
        self.time += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(spans, "now", clock)
    return clock


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    seen = []
    begin = spans.Recorder.begin
    monkeypatch.setattr(spans.Recorder, "begin", lambda self, *args: (seen.append(self), begin(self, *args)))
    yield
    assert of_all_threads == []
    assert all(recorder._stack.spans == [] for recorder in seen)
    assert here.layers == []


@pytest.fixture
def slow(clock):
    """An operation that takes 3 s, whose derivative is an operation of 5 s, with 2 s of work on arrays beside."""

    @op
    def slow_gradient(g):
        clock.wait(5)
        return g.array * 2, (lambda h: slow_gradient(h),)

    @op
    def slow(x):
        clock.wait(3)

        def back(g):
            clock.wait(2)
            return slow_gradient(g)

        return x.array * 2, (back,)

    return slow


def leaf(*shape):
    return Tensor(np.ones(shape, np.float32), requires_grad=True)


def by_seconds(profile):
    return sorted(profile.rows, key=lambda row: -row.seconds)


def row(profile, name, direction="forward"):
    (found,) = [row for row in profile.rows if (row.name, row.direction) == (name, direction)]
    return found


def test_whose_time_it_is(clock, slow):
    x = leaf(4)
    with mt.profile() as profile:
        clock.wait(1)
        y = slow(slow(x))
        clock.wait(10)
        y.backward(mt.ones(4))
        clock.wait(100)
    assert [(r.name, r.direction, r.calls, r.seconds) for r in by_seconds(profile)] == [
        ("slow", "backward", 2, 14),
        ("slow", "forward", 2, 6),
        ("backward pass", "backward", 1, 0),
    ]
    assert profile.seconds == 131
    assert profile.outside_seconds == 111
    assert sum(r.seconds for r in profile.rows) + profile.outside_seconds == profile.seconds


def test_the_longest_is_first(clock, slow):
    with mt.profile() as profile:
        mt.ones(2).sin()
        slow(mt.ones(2))
    times = [r.device_seconds if ON_DEVICE else r.seconds for r in profile.rows]
    assert times == sorted(times, reverse=True)
    assert profile.table(sort="seconds").splitlines()[2].startswith("slow")


def test_an_operation_inside_another_has_a_row_of_its_own(clock, slow):
    @op
    def outer(x):
        clock.wait(1)
        y = slow(slow(x).detach())
        clock.wait(0.5)
        return y.array, (None,)

    with mt.profile() as profile:
        outer(mt.ones(3))
    assert [(r.name, r.calls, r.seconds) for r in by_seconds(profile)] == [("slow", 2, 6), ("outer", 1, 1.5)]
    assert profile.outside_seconds == 0
    assert [span.name for span in profile.spans] == ["slow", "slow", "outer"]  # as they ended
    assert profile.spans[0].parent is profile.spans[2]


def test_each_number_of_bytes():
    x = leaf(10, 5)
    with mt.profile() as profile:
        y = x.sin()
        z = y.reshape(50)  # a view
        z.sum().backward()
    assert row(profile, "sin").bytes == 2 * 200
    assert row(profile, "reshape").bytes == 0
    assert row(profile, "sum").bytes == 200 + 4
    assert row(profile, "reshape", "backward").bytes == 0
    assert row(profile, "sin", "backward").bytes == 2 * 200 + 3 * 200  # cos(x), then g · that


def test_bytes_of_a_derivative_on_arrays():
    """Its gradient, and what it makes of it; nothing where it hands on what it was given."""

    @op
    def by_hand(x, y):
        return x.array + y.array, (lambda g: g.constant(g.array * 1), lambda g: g)

    x, y = leaf(10), leaf(10)
    with mt.profile() as profile:
        by_hand(x, y).backward(mt.ones(10))
        (x.exp() + y.exp()).backward(mt.ones(10))
    assert row(profile, "by_hand", "backward").bytes == 80
    assert row(profile, "add", "backward").bytes == 0


def test_an_array_beside_a_tensor_makes_no_second_call(monkeypatch):
    with mt.profile() as profile:
        mt.ones(3) * mt.ones(3).array
    assert (row(profile, "multiply").calls, row(profile, "multiply").bytes) == (1, 36)


def test_flops_are_twice_summarys_multiply_adds():
    model = lenet5()
    found = nn.summary(model, (1, 28, 28))
    x = mt.randn(3, 1, 28, 28, generator=mt.Generator(0))
    with mt.profile(model) as profile:
        nn.cross_entropy(model(x), [0, 1, 2]).backward()
    forward, backward = (sum(r.flops for r in profile.rows if r.direction == way) for way in ("forward", "backward"))
    assert forward == 2 * 3 * found.multiply_adds
    first = next(r for r in found.rows if r.multiply_adds)
    assert backward == 2 * forward - 2 * 3 * first.multiply_adds  # no gradient to the image
    assert {r.name: r.flops for r in profile.layers if r.direction == "forward" and r.flops} == {
        r.name: 2 * 3 * r.multiply_adds for r in found.rows if r.multiply_adds
    }
    assert row(profile, "conv2d").calls == row(profile, "conv2d", "backward").calls == 2
    assert row(profile, "linear").flops + row(profile, "conv2d").flops == forward


def test_layers_by_their_dotted_names(clock, slow):
    class Slow(nn.Module):
        def forward(self, x):
            return slow(x)

    class Net(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(Slow(), Slow())

        def forward(self, x):
            return slow(self.body(x))

    x, net = leaf(2), Net()
    with mt.profile(net) as profile:
        slow(net(x)).backward(mt.ones(2))
    expected = {
        (name, way): seconds for name in ("body.0", "body.1", "(model)") for way, seconds in (("forward", 3), ("backward", 7))
    }
    expected |= {("(outside)", "forward"): 3, ("(outside)", "backward"): 7}
    assert {(r.name, r.direction): r.seconds for r in profile.layers} == expected
    assert {(r.name, r.direction): r.calls for r in profile.layers}["body.0", "backward"] == 1
    assert [module._hooks for module in net.modules()] == [()] * 4
    assert "body.1 backward" in profile.table(by="layer")


def test_a_module_that_raises_leaves_no_trace(clock, slow):
    class Failing(nn.Module):
        def forward(self, x):
            slow(x)
            raise KeyError("caught outside")

    class Net(nn.Module):
        def __init__(self):
            self.failing = Failing()

        def forward(self, x):
            try:
                return self.failing(x)
            except KeyError:
                return slow(x)

    net = Net()
    with mt.profile(net) as profile:
        net(mt.ones(1))
    assert {r.name: r.calls for r in profile.layers} == {"failing": 1, "(model)": 1}


def test_an_operation_that_raises_counts_until_then(clock, slow):
    @op
    def broken(x):
        slow(x)
        clock.wait(1)
        raise RuntimeError("broken")

    @op
    def broken_backward(x):
        def back(g):
            clock.wait(4)
            raise RuntimeError("broken backward")

        return x.array * 1, (back,)

    x = leaf(2)
    with mt.profile() as profile:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="broken"):
                broken(x)
        y = broken_backward(x).sum()
        with pytest.raises(RuntimeError, match="broken backward"):
            y.backward()
        slow(x)
    assert [(r.name, r.calls, r.seconds) for r in by_seconds(profile)[:3]] == [
        ("slow", 3, 9),
        ("broken_backward", 1, 4),
        ("broken", 2, 2),
    ]
    assert row(profile, "broken_backward", "backward").seconds == 4
    assert profile.outside_seconds == 0


def test_an_error_in_the_block_ends_the_profile_and_goes_on(clock, slow):
    net = nn.ReLU()
    seen = []

    def interrupted():
        with mt.profile(net) as profile:
            seen.append(profile)
            slow(mt.ones(2))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    slow(mt.ones(2))
    assert row(seen[0], "slow").calls == 1
    assert net._hooks == ()
    assert seen[0].seconds == 3


def test_profiles_inside_each_other_both_see(clock, slow):
    with mt.profile() as outer:
        slow(mt.ones(2))
        with mt.profile() as inner:
            slow(mt.ones(2))
    assert (row(outer, "slow").calls, row(inner, "slow").calls) == (2, 1)
    assert (outer.seconds, inner.seconds) == (6, 3)


def test_a_profile_that_begins_in_the_middle(clock, slow):
    """Of a backward pass, in a hook: operations are seen, its steps are not; one that ends there leaves nothing behind."""
    x = leaf(2)
    y = slow(x)
    kept = []

    def begin(g):
        kept.append(mt.profile())
        kept.append(kept[0].__enter__())

    z = slow(y)
    y.register_hook(begin)
    z.backward(mt.ones(2))
    kept[0].__exit__(None, None, None)
    assert [(r.name, r.calls) for r in kept[1].rows] == [("slow_gradient", 1)]


def test_an_operation_that_began_before_the_profile_does_not_count(clock):
    kept = []

    @op
    def opening(x):
        clock.wait(1)
        kept.append(mt.profile())
        kept.append(kept[0].__enter__())
        clock.wait(1)
        return x.array * 1, None

    with mt.profile() as outer:
        opening(mt.ones(2))
        kept[0].__exit__(None, None, None)
    assert kept[1].rows == ()
    assert row(outer, "opening").seconds == 2


def test_a_checkpoint_computes_again_in_its_backward(clock, slow):
    x = leaf(2)

    class Slow(nn.Module):
        def forward(self, x):
            return slow(x)

    net = nn.Sequential(Slow())
    with mt.profile(net) as profile:
        mt.checkpoint(net, x).backward(mt.ones(2))
    assert {(r.name, r.direction): r.seconds for r in profile.rows if r.seconds} == {
        ("slow", "forward"): 3,
        ("slow", "backward"): 7,
        ("checkpoint", "backward"): 3,
    }
    assert {(r.name, r.direction): r.seconds for r in profile.layers if r.seconds} == {
        ("0", "forward"): 3,
        ("0", "backward"): 10,
    }


def test_where_a_gradient_stays_nothing_is_differentiated():
    x = leaf(3)
    y = x.sin()
    with mt.profile() as profile:
        mt.grad(y.exp().sum(), y)
    assert {r.name for r in profile.rows if r.direction == "backward"} == {"backward pass", "sum", "exp"}


def test_gradients_of_gradients_are_backward_too():
    x = leaf(3)
    with mt.profile() as profile:
        (g,) = mt.grad(x.exp().sum(), x, create_graph=True)
        g.sum().backward()
    directions = {(r.name, r.direction) for r in profile.rows}
    assert ("exp", "backward") in directions
    assert ("multiply", "backward") in directions  # exp's derivative is a product
    assert ("multiply", "forward") not in directions
    assert row(profile, "backward pass", "backward").calls == 2


def test_every_thread_is_seen_with_its_own_nesting(clock, slow):
    def work():
        slow(mt.ones(2))

    with mt.profile() as profile:
        thread = threading.Thread(target=work, name="helper")
        slow(mt.ones(2))
        thread.start()
        thread.join()
    assert row(profile, "slow").seconds == 6
    assert {span.thread[1] for span in profile.spans} == {threading.current_thread().name, "helper"}
    assert profile.outside_seconds == 3  # of this thread, while the other worked
    assert "in 2 threads" in repr(profile)


def test_what_is_measured_computes_the_same_and_keeps_nothing():
    def gradients(model):
        nn.cross_entropy(model(x), [0, 1]).backward()
        return [p.grad.numpy() for p in model.parameters()]

    x = mt.randn(2, 1, 28, 28, generator=mt.Generator(0))
    model = lenet5()
    again = copy.deepcopy(model)
    expected = gradients(model)
    with mt.profile(again) as profile:
        found = gradients(again)
        y = again(x)
        alive = weakref.ref(y)
        del y
        copied = copy.deepcopy(again)
    for a, b in zip(expected, found):
        np.testing.assert_array_equal(a, b)
    gc.collect()
    assert alive() is None
    assert profile.rows
    copied(x)  # hooks that a copy took along do no harm


def test_csv_is_the_rows(tmp_path):
    x, net = leaf(2, 3), nn.Linear(3, 4)
    with mt.profile(net) as profile:
        net(x).sum().backward()
    for by, rows in (("operation", profile.rows), ("layer", profile.layers)):
        profile.to_csv(tmp_path / "rows.csv", by)
        with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        assert [ProfileRow(**{k: type(getattr(rows[0], k))(v) for k, v in line.items()}) for line in found] == list(rows)
    assert not [path for path in tmp_path.iterdir() if path.name != "rows.csv"]


def test_nothing_is_written_where_it_cannot_be_whole(tmp_path):
    with mt.profile() as profile:
        mt.ones(2).exp()
    for write in (profile.to_csv, profile.chrome_trace):
        with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
            write(tmp_path / "missing" / "file")


def test_the_table(clock, slow):
    x = leaf(1000)
    with mt.profile() as profile:
        slow(x.exp()).sum().backward()
    header = ["operation", "calls", "self time", *(["GPU time"] if ON_DEVICE else []), "share", "bytes", "FLOPs"]
    assert re.split(" {2,}", profile.table().splitlines()[0]) == header
    assert [line.split("  ")[0] for line in profile.table(sort="name").splitlines()[2:]] == [
        f"{r.name} backward" if r.direction == "backward" and r.name != "backward pass" else r.name
        for r in sorted(profile.rows, key=lambda r: r.name)
    ]
    by_bytes = [r.bytes for r in sorted(profile.rows, key=lambda r: -r.bytes)]
    assert by_bytes[0] > by_bytes[-1]
    assert (
        profile.table(sort="bytes", limit=1).splitlines()[-1] == f"{len(profile.rows) - 1} more rows; limit=None shows them all"
    )
    assert "10.00 s in all, of which 0.0 µs outside of operations" in repr(profile)
    assert "7.00 s" in profile.table()


def test_a_profile_of_nothing():
    with mt.profile() as profile:
        pass
    assert (profile.rows, repr(profile)) == ((), "profile: no operation has run")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda p: mt.profile(3).__enter__(), TypeError, "profile: expected a Module, or nothing, got "),
        (lambda p: mt.profile(nn.ReLU).__enter__(), TypeError, r"got the class ReLU; create one: ReLU\(\.\.\.\)"),
        (lambda p: p.layers, ValueError, r"to tell layers apart it must know the model: with profile\(model\) as profile"),
        (lambda p: p.table(by="layer"), ValueError, "it must know the model"),
        (lambda p: p.table(by="thread"), ValueError, 'profile: by must be "operation" or "layer", got \'thread\''),
        (lambda p: p.to_csv("rows.csv", by=3), ValueError, 'by must be "operation" or "layer", got 3'),
        (lambda p: p.table(sort="size"), ValueError, "profile: sort must be one of time, name, direction, calls, .*got 'size'"),
        (lambda p: p.table(limit=0), ValueError, "limit must be an integer of at least 1, or None for all rows, got 0"),
        (lambda p: p.table(limit=2.0), ValueError, "limit must be an integer of at least 1, .* got 2.0"),
    ],
)
def test_wrong_input_is_refused_in_words(wrong, error, message):
    with mt.profile() as profile:
        mt.ones(2).exp()
    with pytest.raises(error, match=message):
        wrong(profile)


@needs_device
def test_on_a_device_events_tell_the_time():
    """One wait before the first operation, none between, one at the end; device times are those of the events."""
    x = leaf(50, 50)
    (x @ x).sum().backward()
    with strict.counting() as whole, mt.profile() as profile:
        y = x @ x
        with strict.counting() as counts:
            for _ in range(5):
                y = (y @ x).sin()
            y.sum().backward()
    if sys.modules["cupy"] is strict.cupy:
        assert (counts.waits, counts.copies, whole.waits) == (0, 0, 2)
    assert all(r.device_seconds >= 0 for r in profile.rows)
    assert row(profile, "matmul").device_seconds > 0
    top = [span for span in profile.spans if span.parent is None]
    assert sum(r.device_seconds for r in profile.rows) == pytest.approx(sum(profile._read[id(s)][2] for s in top))
    assert "GPU time" in profile.table()
    assert "CUDA events" in repr(profile)
