"""What arrives in `.grad`: whose it is, what may be assigned to it, and the hooks that are called when it is complete."""

import gc
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
import strict

import microtensor as mt
from microtensor import nn
from microtensor.autograd import leaves
from microtensor.autograd.graph import mode
from microtensor.autograd.parallel import may_run_in_parallel
from microtensor.checkpoint import checkpoint
from microtensor.runtime import threads


def leaf(values, **settings):
    return mt.Tensor(np.asarray(values, np.float64), requires_grad=True, **settings)


def on_the_device(array):
    """An array as tensors here have it."""
    return mt.Tensor(array).array


@mt.op
def shared(x, y):
    """2 x + 2 y, by a rule whose vjps return one tensor that they keep."""
    kept = []

    def back(g):
        if not kept:
            kept.append(2 * g)
        return kept[0]

    return x.array * 2 + y.array * 2, (back, back)


@mt.op
def held(x, *, gradient):
    """x, with a gradient that somebody else holds."""
    return x.array.copy(), (lambda g: gradient,)


# Whose it is

HELD = mt.Tensor(np.ones(3))
KEPT = []


def keep(g):
    KEPT.append(g * 1)
    return KEPT[-1]


def with_hook(x, hook):
    x.register_hook(hook)
    return x


WAYS = {
    "add": lambda a, b: a + b,
    "add and subtract": lambda a, b: a + b - a + b + a,
    "multiply by a number": lambda a, b: 2 * a + 2 * b,
    "sums": lambda a, b: (a.sum() + b.sum()).expand(3),
    "views": lambda a, b: a.reshape(3, 1).T.reshape(3) + b.flip(0).flip(0),
    "broadcast": lambda a, b: a[None].expand(4, 3).sum(0) + b,
    "cat": lambda a, b: mt.cat([a, b])[:3] + mt.cat([a, b])[3:],
    "one tensor for both": shared,
    "one that a rule keeps": lambda a, b: held(a, gradient=HELD) + held(b, gradient=HELD),
    "hooks that keep": lambda a, b: with_hook(a * 1, keep) + with_hook(b * 1, keep),
    "hooks of leaves": lambda a, b: with_hook(a, lambda g: HELD) + with_hook(b, lambda g: HELD),
    "exp": lambda a, b: (a * 0 + b * 0).exp() + a + b,
}


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_grad_belongs_to_its_leaf_alone(name, again, create, inputs):
    a, b, seed = leaf([1.0, 2.0, 3.0]), leaf([4.0, 5.0, 6.0]), mt.Tensor(np.ones(3), requires_grad=create)
    KEPT.clear()
    for _ in range(1 + again):
        y = WAYS[name](a, b)
        y.retain_grad()
        y.backward(seed, create_graph=create, retain_graph=True, inputs=[a, b] if inputs else None)
    others = {"seed": seed, "held": HELD, "result": y.grad, **{f"kept {i}": g for i, g in enumerate(KEPT)}}
    others = {name: (x, x.detach().numpy().copy()) for name, x in others.items()}
    right = b.grad.detach().numpy().copy()
    for x, other in ((a, b), (b, a)):
        expected, before = x.grad.detach().numpy() * 10, other.grad.detach().numpy().copy()
        x.grad.array *= 10
        np.testing.assert_array_equal(x.grad.detach().numpy(), expected)
        np.testing.assert_array_equal(other.grad.detach().numpy(), before)
    np.testing.assert_array_equal(b.grad.detach().numpy(), right * 10)
    for name, (x, before) in others.items():
        np.testing.assert_array_equal(x.detach().numpy(), before, err_msg=name)


@pytest.mark.parametrize("create", [False, True])
def test_clipping_acts_once_after_create_graph(create):
    x = mt.Tensor(np.random.default_rng(0).standard_normal((4, 2)))
    a, b = leaf(np.ones((2, 2))), leaf(np.ones((2, 2)))
    ((x @ (a + b)).tanh() ** 2).sum().backward(create_graph=create)
    before = a.grad.detach().numpy().copy()
    nn.clip_grad_norm_([a, b], float(np.sqrt(2 * (before**2).sum())) / 2)
    np.testing.assert_allclose(a.grad.detach().numpy(), before / 2, rtol=1e-5)
    np.testing.assert_allclose(b.grad.detach().numpy(), before / 2, rtol=1e-5)


def test_the_grad_of_create_graph_is_differentiable_also_where_it_was_copied():
    a, b = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    (a**3 + b**3 + a * b).sum().backward(create_graph=True)
    da, db = a.grad, b.grad
    assert da.detach().tolist() == [3 * 4 + 5, 3 * 9 + 7]
    a.grad = b.grad = None
    (da.sum() + db.sum()).backward()
    assert a.grad.tolist() == [6 * 2 + 1, 6 * 3 + 1]
    assert b.grad.tolist() == [6 * 5 + 1, 6 * 7 + 1]


def test_a_grad_with_a_graph_keeps_it_when_more_is_added():
    x = leaf([2.0])
    (x**3).sum().backward(create_graph=True)
    (x**2).sum().backward()
    assert x.grad.requires_grad
    (dd,) = mt.grad(x.grad.sum(), x)
    assert dd.tolist() == [12.0]


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.filterwarnings("ignore")
def test_results_of_grad_share_no_memory(name, create):
    a, b, seed = leaf([1.0, 2.0, 3.0]), leaf([4.0, 5.0, 6.0]), mt.Tensor(np.ones(3))
    KEPT.clear()
    found = mt.grad(WAYS[name](a, b), (a, b, a), seed, create_graph=create)
    arrays = [*(x.array for x in found), seed.array, HELD.array, *(g.array for g in KEPT)]
    values = [mt.Tensor(array).numpy().copy() for array in arrays]
    np.testing.assert_array_equal(values[0], values[2])
    for i in range(3):
        arrays[i][...] = 100 + i
        for j, array in enumerate(arrays):
            now = mt.Tensor(array).numpy()
            np.testing.assert_array_equal(now, 100 + j if j <= i else values[j])


def test_the_memory_of_a_weight_gradient_is_not_copied(monkeypatch):
    """Those of layers are arrays that nobody else holds: what a rule made is what the parameter gets."""
    copied, own = [], leaves.own

    def watched(held):
        if not leaves.alone(held):
            copied.append(held[0].shape)
        return own(held)

    monkeypatch.setattr(leaves, "own", watched)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 300), nn.Linear(300, 2)
    )
    nn.cross_entropy(model(mt.randn(4, 3, 8, 8)), [0, 1, 1, 0]).backward()
    assert copied == []
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "first",
    [
        lambda: np.broadcast_to(np.float64(2.0), (3,)),
        lambda: np.frombuffer(np.full(3, 2.0).tobytes()),
        lambda: np.full(6, 2.0)[::2],
    ],
)
def test_more_is_added_to_a_grad_of_any_memory(first):
    x = leaf([1.0, 1.0, 1.0])
    x.grad = mt.Tensor(first())
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0] * 3


def test_a_grad_that_is_a_part_of_another_array_is_added_to_in_place():
    flat = mt.zeros(5, dtype="float64")
    a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0, 3.0])
    a.grad, b.grad = flat[:2], flat[2:]
    (a * a).sum().backward()
    (b * b).sum().backward()
    assert flat.tolist() == [2.0, 4.0, 2.0, 4.0, 6.0]


# What may be assigned to it


def test_what_is_assigned_stays_the_one_that_it_is():
    x, g = leaf([1.0, 2.0]), mt.Tensor(np.array([3.0, 4.0]))
    x.grad = g
    assert x.grad is g
    (x * 2).sum().backward()
    assert x.grad is g
    assert g.tolist() == [5.0, 6.0]
    x.grad = None
    assert x.grad is None
    x.grad = g
    del x.grad
    assert x.grad is None


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            lambda x: np.zeros(2),
            TypeError,
            r"grad: expected a Tensor of shape \(2,\) and dtype float64, or None, got array.*ndarray",
        ),
        (lambda x: 0.0, TypeError, r"got 0.0 \(float\)"),
        (lambda x: [1.0, 2.0], TypeError, r"got \[1.0, 2.0\] \(list\)"),
        (
            lambda x: mt.zeros(3, 2, dtype="float64"),
            ValueError,
            r"grad: expected the shape of the tensor, \(2,\), got \(3, 2\)",
        ),
        (lambda x: mt.zeros(1, dtype="float64"), ValueError, r"got \(1,\)"),
        (lambda x: mt.zeros((), dtype="float64"), ValueError, r"got \(\)"),
        (
            lambda x: mt.zeros(2),
            ValueError,
            r"grad: expected the dtype of the tensor, float64, got float32; use \.to\('float64'\)",
        ),
        (lambda x: mt.zeros(2, dtype="int64"), ValueError, r"float64, got int64"),
        (lambda x: x, ValueError, "cannot be its own gradient"),
    ],
)
@pytest.mark.parametrize("kind", ["leaf", "parameter", "result"])
def test_what_is_no_gradient_of_it_is_refused(wrong, error, message, kind):
    x = nn.Parameter(np.ones(2)) if kind == "parameter" else leaf([1.0, 1.0])
    x = x * 1 if kind == "result" else x
    before = x.grad
    with pytest.raises(error, match=message):
        x.grad = wrong(x)
    assert x.grad is before


def test_a_gradient_on_another_device_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = mt.zeros(2, device="cpu")
    with pytest.raises(ValueError, match=r"grad: expected it on cpu, as its tensor, got cuda:0; use \.to\('cpu'\)"):
        x.grad = mt.zeros(2, device="cuda")
    x.grad = mt.zeros(2, device="cuda").to("cpu")


def test_a_grad_from_before_that_fits_no_more_is_refused_in_words():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    x.array = on_the_device(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"a \.grad of shape \(2,\) on .* from before, but its gradient is of shape \(2, 2\)"):
        (x * x).sum().backward()
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.shape == (2, 2)


def test_a_grad_of_another_dtype_from_before():
    x = mt.Tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    x.array = on_the_device(np.array([1.0, 2.0]))
    (x * x).sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (np.float64, [4.0, 8.0])


# Hooks: when


def layers():
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))


@pytest.mark.parametrize("attach", ["register_hook", "register_post_accumulate_grad_hook"])
def test_the_last_layer_comes_first_and_long_before_the_end(attach):
    model, seen = layers(), []
    for name, p in model.named_parameters():
        getattr(p, attach)(lambda g, name=name: seen.append(name))

    def remember(g):
        seen.append(f"gradient of {len(seen)}")

    x = mt.randn(4, 8)
    for layer in model:
        x = layer(x)
        x.register_hook(remember)
    x.sum().backward()
    order = [name.partition(".")[0] for name in seen if not name.startswith("gradient")]
    assert order == sorted(order, reverse=True)
    for i in range(6):  # a layer's weights before the gradient of the layer below is handed on
        assert {f"{5 - i}.weight", f"{5 - i}.bias"} <= set(seen[3 * i : 3 * i + 3])


def test_a_leaf_that_is_used_several_times_is_called_once_and_complete():
    w, x, seen = leaf([2.0]), leaf([3.0]), []
    w.register_hook(lambda g: seen.append(("hook", g.item())))
    w.register_post_accumulate_grad_hook(lambda w: seen.append(("after", w.grad.item())))
    y = x
    for _ in range(3):
        y = y * w + w
    y.backward()
    right = 3 * 3 * 4 + 3 * 4 + 2 * 2 + 1  # d/dw of x w³ + w³ + w² + w
    assert seen == [("hook", right), ("after", right)]


def test_both_kinds_of_hooks_and_all_of_a_kind():
    x, seen = leaf([1.0]), []
    x.register_hook(lambda g: g * 10)
    x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.item()))
    twice = lambda x: x.grad.array.__imul__(2)  # noqa: E731
    x.register_post_accumulate_grad_hook(twice)
    x.register_post_accumulate_grad_hook(twice)
    (x * 3).backward()
    assert seen == [30.0]
    assert x.grad.item() == 120.0
    (x * 3).backward()
    assert seen == [30.0, 150.0]


def test_removal_and_with():
    x, seen = leaf([1.0]), []
    handle = x.register_post_accumulate_grad_hook(seen.append)
    with x.register_post_accumulate_grad_hook(seen.append):
        (x * 1).backward()
    assert len(seen) == 2
    assert seen[0] is x
    (x * 1).backward()
    assert len(seen) == 3
    handle.remove()
    handle.remove()
    (x * 1).backward()
    assert len(seen) == 3


def test_only_where_something_is_added():
    a, b, seen = leaf([1.0]), leaf([2.0]), []
    for name, x in (("a", a), ("b", b)):
        x.register_post_accumulate_grad_hook(lambda _, name=name: seen.append(name))
    y = a * b
    mt.grad(y, (a, b), retain_graph=True)
    assert seen == []
    y.backward(inputs=[a], retain_graph=True)
    assert seen == ["a"]
    y.backward()
    assert sorted(seen) == ["a", "a", "b"]


def test_a_checkpoint_calls_each_hook_once():
    w, x, seen = leaf([2.0]), leaf([3.0]), []
    w.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g * 10)
    w.register_post_accumulate_grad_hook(lambda w: seen.append(w.grad.item()))
    checkpoint(lambda x: x * w * w, x).backward()
    assert (w.grad.item(), x.grad.item()) == (120.0, 40.0)
    assert seen == [120.0]


@pytest.mark.parametrize("create", [False, True])
def test_what_a_hook_records(create):
    x, seen = leaf([1.0]), []
    x.register_post_accumulate_grad_hook(lambda x: seen.append((mt.is_grad_enabled(), x.grad.requires_grad)))
    (x**3).backward(create_graph=create)
    assert seen == [(create, create)]
    assert mt.is_grad_enabled()


def test_other_leaves_are_added_to_by_then_and_a_step_for_all_may_be_taken():
    model = layers()
    parameters = list(model.parameters())
    optimizer = nn.SGD(parameters, lr=0.1)
    before = [p.detach().numpy().copy() for p in parameters]
    x = mt.randn(4, 8)
    expected = mt.grad(model(x).square().sum(), parameters)
    last = []

    def step(p):
        last.append(p)
        if len(last) == 2:
            optimizer.step()

    for p in parameters[:2]:
        p.register_post_accumulate_grad_hook(step)
    model(x).square().sum().backward()
    for p, old, g in zip(parameters, before, expected):
        np.testing.assert_allclose(p.detach().numpy(), old - 0.1 * g.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gradients_that_other_threads_compute(count, monkeypatch):
    """A hook comes at once, also where weights without one are computed aside; and what it changes, none of them still reads."""
    monkeypatch.setattr(threads.settings, "count", count)
    started, seen = threading.Event(), []

    @mt.op
    def product(x, a, b):
        def to_a(g):
            started.wait(0.2)
            return g * b

        return x.array * a.array * b.array, (lambda g: g * a * b, may_run_in_parallel(to_a, 1 << 40), lambda g: g * a)

    a, b, x = leaf([2.0]), leaf([3.0]), leaf([1.0])

    def change(b):
        seen.append(b.grad.item())
        with mt.no_grad():
            b[...] = 1000.0
        started.set()

    b.register_post_accumulate_grad_hook(change)
    product(x * 1, a, b).backward()
    assert seen == [2.0]
    assert (a.grad.item(), x.grad.item()) == (3.0, 6.0)


def test_a_step_that_changes_what_the_pass_still_needs_is_refused():
    x, w = leaf([2.0]), leaf([3.0])
    y = x * x * w.detach()  # what it is multiplied by is the memory of w
    z = y + w

    def step(w):
        with mt.no_grad():
            w -= 1

    w.register_post_accumulate_grad_hook(step)
    with pytest.raises(RuntimeError, match="a tensor that the gradient of multiply needs was assigned to"):
        z.backward()
    assert mt.is_grad_enabled()


def test_profiles_anomalies_and_traces_change_nothing():
    results = []
    for block in (mt.profile, mt.detect_anomaly, mt.trace_backward):
        w, x, seen = leaf([2.0]), leaf([3.0]), []
        w.register_post_accumulate_grad_hook(lambda w, seen=seen: seen.append(w.grad.item()))
        with block() as found:
            (w * x + w).exp().backward()
        results.append((seen, w.grad.item(), x.grad.item()))
        del found
    assert results[0] == results[1] == results[2]


def test_a_leaf_that_stopped_or_is_gone_calls_nothing():
    x, seen = leaf([1.0]), []
    y = x * 2
    x.register_post_accumulate_grad_hook(seen.append)
    x.requires_grad = False
    y.backward()
    w = leaf([1.0])
    w.register_post_accumulate_grad_hook(seen.append)
    y = w * 2
    del w
    gc.collect()
    y.backward()
    assert seen == []


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_leaf_that_rests_for_a_while_keeps_its_hooks(kind):
    layer, seen = nn.Linear(2, 2), []
    handle = getattr(layer.weight, kind)(lambda _: seen.append(1))
    for expected in (1, 2):
        layer.freeze()
        layer.unfreeze()
        layer(mt.ones(1, 2)).sum().backward()
        assert len(seen) == expected
    handle.remove()
    layer.freeze()
    layer.unfreeze()
    layer(mt.ones(1, 2)).sum().backward()
    assert len(seen) == 2
    second = getattr(layer.weight, kind)(lambda _: seen.append(1))
    layer.freeze()
    second.remove()
    layer.unfreeze()
    layer(mt.ones(1, 2)).sum().backward()
    assert len(seen) == 2


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_hook_that_raises_ends_the_pass_and_the_next_is_as_ever(kind):
    a, b, c = leaf([2.0]), leaf([3.0]), leaf([4.0])

    def broken(_):
        raise ZeroDivisionError

    def compute():
        return (a * b) * c

    handle = getattr(b, kind)(broken)
    y = compute()
    with mt.autocast(), pytest.raises(ZeroDivisionError):
        y.backward()
    assert mt.is_grad_enabled()
    assert not mt.is_autocast_enabled()
    assert mode.observers == ()
    assert c.grad.item() == 6.0  # complete by then
    with pytest.raises(RuntimeError, match="released by an earlier pass"):
        y.backward()
    handle.remove()
    for x in (a, b, c):
        x.grad = None
    compute().backward()
    assert [x.grad.item() for x in (a, b, c)] == [12.0, 8.0, 6.0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.register_post_accumulate_grad_hook(3), TypeError, r"a hook must be a function, got 3 \(int\)"),
        (lambda x: x.register_hook(None), TypeError, "register_hook: a hook must be a function, got None"),
        (lambda x: (x * 2).register_post_accumulate_grad_hook(print), RuntimeError, r"\(1,\) is the result of an operation"),
        (lambda x: x.detach().register_post_accumulate_grad_hook(print), RuntimeError, r"hook: \(1,\) has no graph"),
    ],
)
def test_wrong_hooks_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(leaf([1.0]))


def test_a_pass_with_hooks_leaves_nothing_for_the_garbage_collector():
    x = leaf(np.ones(4))
    x.register_post_accumulate_grad_hook(lambda x: setattr(x, "grad", None))
    gc.collect()
    gc.disable()
    try:
        y = (x * x).sum()
        gone = weakref.ref(y.origin)
        y.backward()
        del y
        assert gone() is None
    finally:
        gc.enable()
    assert x.grad is None


def test_steps_inside_the_pass_free_gradients_as_it_goes():
    """Twelve layers of 256 KiB: their gradients together take 3 MiB, and the pass with steps inside needs two of them at a time."""
    width, depth = 256, 12
    weight_bytes = width * width * 4

    def peak(inside):
        model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))
        optimizers = {p: nn.SGD([p], lr=0.01) for p in model.parameters()}

        def step(p):
            optimizers[p].step()
            p.grad = None

        if inside:
            for p in model.parameters():
                p.register_post_accumulate_grad_hook(step)
        x = mt.randn(2, width)
        for _ in range(2):  # the first makes what later ones have
            loss = model(x).square().sum()
            tracemalloc.start()
            loss.backward()
            top = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            for p in model.parameters():
                if p.grad is not None:
                    step(p)
        return top / weight_bytes

    assert peak(inside=False) > depth
    assert peak(inside=True) < 3.5
