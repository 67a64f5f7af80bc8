"""The engine: what a backward pass computes, keeps, releases and refuses."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import microtensor as mt
from microtensor.autograd.graph import mode
from microtensor.autograd.meaning import partials


def leaf(values, **settings):
    return mt.Tensor(np.asarray(values, np.float64), requires_grad=True, **settings)


# What it computes


def test_a_result_used_twice_gets_both_gradients():
    x = leaf([2.0, 3.0])
    y = x * x
    (y * y + y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.numpy() ** 3 + 2 * x.numpy())


def test_an_array_operand_is_taken_as_it_is_then():
    x, buffer, total = leaf([1.0, 1.0]), np.zeros(2), 0
    for k in range(3):
        buffer[:] = k
        total = total + (x * buffer).sum()
    total.backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_the_same_tensor_twice_in_one_operation():
    x = leaf([3.0])
    assert mt.grad(x * x, x)[0].item() == 6.0


def test_backward_accumulates_in_leaves_only_and_grad_nowhere():
    x = leaf([3.0])
    y = 2 * x
    (y * y).backward()
    (x * x).backward()
    assert x.grad.item() == 24.0 + 6.0
    assert y.grad is None
    before = x.grad.item()
    mt.grad(x * x, x)
    assert x.grad.item() == before


def test_gradients_of_two_leaves_never_share_memory():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (x + y).backward(mt.Tensor(np.ones(2)))
    x.grad.array *= 100
    np.testing.assert_array_equal(y.grad.numpy(), [1.0, 1.0])


def test_the_gradient_passed_in_is_not_written_to():
    x, g = leaf([1.0]), mt.Tensor(np.ones(1))
    (x + x + x).backward(g)
    x.grad.array += 5
    assert g.item() == 1.0


def test_third_derivative():
    x = leaf([2.0])
    y = x**4
    for expected in (32.0, 48.0, 48.0):
        (y,) = mt.grad(y, x, create_graph=True)
        assert y.item() == expected


def test_grad_with_respect_to_an_interior_result():
    x = leaf([2.0])
    y = x * x
    z = y * y * x
    gx, gy = mt.grad(z, (x, y))
    assert gy.item() == 2 * 4 * 2
    assert gx.item() == 5 * 2**4


def test_grad_of_several_outputs_adds_up():
    x = leaf([2.0])
    assert mt.grad([x * x, 3 * x], x)[0].item() == 7.0
    assert mt.grad([x * x, 3 * x], [x], [mt.Tensor([2.0], dtype="float64"), None])[0].item() == 11.0


def test_only_what_leads_to_the_inputs_is_computed():
    calls = []

    @mt.op
    def spy(x):
        return x.array.copy(), (lambda g: calls.append("vjp") or g,)

    w, x = leaf([1.0]), leaf([2.0])
    y = spy(w) * x
    mt.grad(y, x)
    assert calls == []


def test_a_frozen_input_costs_no_vjp():
    calls = []

    @mt.op
    def product(x, y):
        return x.array * y.array, (lambda g: calls.append("x") or g * y, lambda g: calls.append("y") or g * x)

    x, frozen = leaf([1.0]), mt.Tensor(np.array([2.0]))
    product(x, frozen).backward()
    assert calls == ["x"]


def test_backward_on_chosen_inputs():
    x, y = leaf([2.0]), leaf([3.0])
    (x * y).backward(inputs=[x])
    assert x.grad.item() == 3.0
    assert y.grad is None


def test_create_graph_leaves_a_differentiable_grad():
    x = leaf([3.0])
    (x**3).backward(create_graph=True)
    assert mt.grad(x.grad, x)[0].item() == 18.0


def test_allow_unused():
    x, y = leaf([1.0]), leaf([1.0])
    with pytest.raises(ValueError, match=r"no output depends on input 1 \(1,\); allow_unused=True"):
        mt.grad(x * 2, (x, y))
    gx, gy = mt.grad(x * 2, (x, y), allow_unused=True)
    assert gx.item() == 2.0
    assert gy is None


def test_partials_hold_the_other_inputs_fixed():
    x = leaf([3.0])
    y = x * x
    dx, dy = partials(lambda a, b: a * b, (x, y), mt.Tensor(np.ones(1)))
    assert (dx.item(), dy.item()) == (9.0, 3.0)
    assert mt.grad(dx, x)[0].item() == 6.0  # through y = x²


# How deep, how wide, how long


def test_a_chain_of_100_000_operations():
    x = leaf([1.0])
    y = x
    for _ in range(100_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 100_001
    del y


def test_a_deep_graph_can_be_dropped_without_backward():
    y = leaf([1.0])
    for _ in range(100_000):
        y = -y
    del y


def test_sixty_doublings_visit_each_node_once():
    calls = []

    @mt.op
    def double(x, y):
        return x.array + y.array, (lambda g: calls.append(1) or g, lambda g: calls.append(1) or g)

    x = leaf([1.0])
    y = x
    for _ in range(60):
        y = double(y, y)
    y.backward()
    assert x.grad.item() == 2.0**60
    assert len(calls) == 120


def test_fan_out_of_10_000():
    x = leaf([1.0])
    y = x * 1.0
    total = mt.cat([y * float(i) for i in range(10_000)]).sum()
    total.backward()
    assert x.grad.item() == sum(range(10_000))


def test_a_step_leaves_no_memory_behind_without_the_garbage_collector():
    w = mt.Tensor(np.ones((200, 200)), requires_grad=True)
    x = mt.Tensor(np.ones((200, 200)))

    def step():
        w.grad = None
        ((x @ w).tanh().exp().relu() * 2 + w).softmax(1).log().amax(0).sum().backward()

    gc.disable()
    tracemalloc.start()
    try:
        step()
        w.grad = None
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            step()
        w.grad = None
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert after - before < 20_000  # one activation has 320,000 bytes


def test_a_graph_that_is_never_walked_is_no_cycle():
    gc.disable()
    try:
        x = leaf(np.ones(3))
        y = x.exp() * x.tanh()
        watched = weakref.ref(y)
        del y
        assert watched() is None
    finally:
        gc.enable()


def test_an_intermediate_array_that_no_derivative_needs_is_freed():
    x = leaf(np.ones(3))
    y = x + 1
    array = weakref.ref(y.array)
    z = y + 1
    del y
    assert array() is None
    z.backward(mt.Tensor(np.ones(3)))
    np.testing.assert_array_equal(x.grad.numpy(), np.ones(3))


def test_backward_frees_activations_while_it_walks():
    held = []

    @mt.op
    def watch(x):
        return x.array * 1.0, (lambda g: held.append([r() is not None for r in refs]) or g,)

    x = watch(leaf(np.ones(3)))
    a = x * x
    b = a * a
    refs = [weakref.ref(a), weakref.ref(b)]
    c = b * b
    del a, b, x
    c.backward(mt.Tensor(np.ones(3)))
    assert held == [[False, False]]


# What it refuses


def test_a_second_backward_raises_in_words():
    x = leaf([1.0])
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="the graph behind multiply was released by an earlier pass"):
        y.backward()


VIEWS = {
    "view": lambda x: x.view(6, 4),
    "reshape": lambda x: x.reshape(-1),
    "expand": lambda x: x.expand(5, 2, 3, 4),
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.T,
    "a part": lambda x: x[0, 1:],
    "parts": lambda x: mt.cat(x.split(1)),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(0).flatten(),
    "diagonal": lambda x: x.diagonal(),
    "stack": lambda x: mt.stack([x, x]),
    "pad": lambda x: x.pad((1, 1)),
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean(0),
    "flip": lambda x: x.flip(0).roll(1, 0),
    "sums and differences": lambda x: (x + x) - (-x) + 3,
    "a number times": lambda x: 2 * x / 3,
    "cast": lambda x: x.to("float32"),
    "clone": lambda x: x.clone(),
    "windows": lambda x: x.unfold(0, 2, 1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_where_no_number_is_needed_nothing_is_released(name):
    """Two results of one view are differentiated one after the other, as in PyTorch."""
    x, other = leaf(np.random.default_rng(0).standard_normal((2, 3, 4))), leaf(np.ones((2, 3, 4)))
    y, z = VIEWS[name](x), VIEWS[name](other)
    (y * y).sum().backward()
    first = x.grad.numpy().copy()
    y.exp().sum().backward()
    (z * z).sum().backward(retain_graph=True)
    z.exp().sum().backward()
    x.grad = None
    y = VIEWS[name](x)
    ((y * y).sum() + y.exp().sum()).backward()
    np.testing.assert_allclose(first, mt.grad((VIEWS[name](x) ** 2).sum(), x)[0].numpy(), rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), (first + mt.grad(VIEWS[name](x).exp().sum(), x)[0].numpy()), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x * x,
        lambda x: x.exp(),
        lambda x: x / x,
        lambda x: x.relu(),
        lambda x: x[[0, 1]],
        lambda x: x.view(6, 4) @ x.view(4, 6),
    ],
)
def test_where_numbers_are_needed_they_are_released_and_a_second_pass_is_refused(make):
    x = leaf(np.ones((2, 3, 4)))
    y = make(x)
    view = y.reshape(-1)
    (view * 2).sum().backward()
    with pytest.raises(RuntimeError, match="was released by an earlier pass"):
        (view * 3).sum().backward()


def test_a_derivative_may_close_over_a_variable_that_is_not_bound():
    @mt.op
    def double(x, *, known=False):
        def back(g):
            return g * factor if known else g * 2

        if known:
            factor = 2
        return 2 * x.array, (back,)

    x = leaf([3.0])
    double(x).backward()
    double(x, known=True).backward()
    assert x.grad.item() == 4.0


def test_a_view_keeps_no_memory_alive_after_the_pass():
    tracemalloc.start()
    try:
        x = leaf(np.ones(100_000))
        y = (x * x).exp().view(100, 1000)
        before = tracemalloc.get_traced_memory()[0]
        loss = (y * y).sum()
        loss.backward()
        x.grad = None
        held = y.array.nbytes
        assert tracemalloc.get_traced_memory()[0] - before < 50_000  # of x * x and exp's result what y shows is left
        assert held == 800_000
    finally:
        tracemalloc.stop()


def test_many_losses_that_are_kept_keep_no_numbers():
    w, losses = leaf(np.ones(10_000)), []
    tracemalloc.start()
    try:
        for _ in range(20):
            loss = ((w * w).view(100, 100) + 1).sum() / 3
            loss.backward()
            w.grad = None
            losses.append(loss)
        assert tracemalloc.get_traced_memory()[0] < 20 * 10_000
    finally:
        tracemalloc.stop()


def test_retain_graph_allows_a_second_backward():
    x = leaf([1.0])
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 4.0


def test_a_wrong_vjp_shape_is_refused():
    @mt.op
    def bad(x):
        return x.array * 1.0, (lambda g: g.sum(),)

    with pytest.raises(ValueError, match=r"bad: a vjp returned a gradient of float64 \(\).*input is float64 \(2,\)"):
        bad(leaf([1.0, 2.0])).sum().backward()


def test_a_wrong_vjp_dtype_is_refused():
    @mt.op
    def bad(x):
        return x.array * 1.0, (lambda g: g.to("float32"),)

    with pytest.raises(ValueError, match="float32.*float64"):
        bad(leaf([1.0])).backward()


def test_a_vjp_that_returns_no_tensor_is_refused():
    @mt.op
    def bad(x):
        return x.array * 1.0, (lambda g: g.array,)

    with pytest.raises(TypeError, match="bad: a vjp returned ndarray"):
        bad(leaf([1.0])).backward()


def test_a_non_scalar_without_a_gradient_is_refused():
    with pytest.raises(ValueError, match=r"output has shape \(2,\).*\.sum\(\)"):
        (leaf([1.0, 2.0]) * 2).backward()


def test_a_seed_of_another_shape_or_dtype_is_refused():
    y = leaf([1.0, 2.0]) * 2
    with pytest.raises(ValueError, match=r"gradient is float64 \(3,\).*output is float64 \(2,\)"):
        y.backward(mt.Tensor(np.ones(3)))
    with pytest.raises(ValueError, match="float32"):
        y.backward(mt.Tensor([1.0, 1.0]))
    for wrong in ([np.ones(2)], np.ones(2), 1.0, [1.0, 1.0]):
        with pytest.raises(
            TypeError, match="backward: the gradient of an output must be a Tensor of its shape, got (ndarray|float)"
        ):
            y.backward(wrong)


def test_backward_without_a_graph_is_refused():
    with pytest.raises(RuntimeError, match="has no graph"):
        mt.Tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match="input 0"):
        mt.grad(leaf([1.0]) * 2, mt.Tensor([1.0]))


def test_grad_of_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="expected a Tensor"):
        mt.grad(3.0, leaf([1.0]))


@pytest.mark.parametrize(
    "overwrite",
    [
        lambda x: x.__setitem__(0, 9.0),
        lambda x: setattr(x, "data", np.zeros(2)),
        lambda x: x.detach().__setitem__(0, 9.0),
        lambda x: x[1:].__setitem__(0, 9.0),
    ],
)
def test_overwriting_what_a_backward_needs_is_refused(overwrite):
    x, y = mt.Tensor(np.ones(2)), leaf([1.0, 2.0])
    z = (x * y).sum()
    overwrite(x)
    with pytest.raises(RuntimeError, match="the gradient of multiply needs was assigned to"):
        z.backward()


def test_overwriting_a_result_that_its_own_derivative_needs_is_refused():
    x = leaf([1.0, 2.0])
    y = x.exp()
    z = y.sum()
    with mt.no_grad():
        y[...] = 0.0
    with pytest.raises(RuntimeError, match="the gradient of exp needs"):
        z.backward()


def test_another_array_for_a_result_leaves_the_one_that_its_derivative_needs():
    x = leaf([1.0, 2.0])
    y = x.exp()
    z = y.sum()
    y.array = np.zeros(2)
    z.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]))


def test_another_array_for_a_leaf_leaves_what_shares_the_old_one():
    p = leaf([1.0, 2.0])
    x, q = leaf([3.0, 4.0]), p.detach()
    y = (x * q).sum()
    p.array = p.array * 2
    y.backward()
    assert x.grad.tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match=r"data: expected an array, got list; to write values into it: x\[...\] = values"):
        p.array = [1.0, 2.0]


def test_overwriting_is_seen_at_second_order():
    x, w = leaf([1.0]), leaf([1.0])
    y = x.exp()
    (g,) = mt.grad(y, x, w, create_graph=True)
    with mt.no_grad():
        y[0] = 100.0
    with pytest.raises(RuntimeError, match="was assigned to"):
        mt.grad(g, w)


def test_a_refused_pass_releases_nothing():
    x, y = mt.Tensor(np.ones(2)), leaf([1.0, 2.0])
    z = (x * y).exp().sum()
    x[0] = 5.0
    for _ in range(2):
        with pytest.raises(RuntimeError, match="was assigned to"):
            z.backward()


def test_only_the_derivatives_asked_for_need_their_numbers():
    x, w = leaf([2.0]), leaf([3.0])
    y = x * w
    with mt.no_grad():
        x[0] = 5.0
    assert mt.grad(y, x)[0].item() == 3.0


def test_grad_stops_at_its_inputs():
    x = leaf([2.0])
    y = x * x
    z = y * 3
    assert mt.grad(z, y)[0].item() == 3.0
    y.backward()
    assert x.grad.item() == 4.0
    z = y * 3
    assert mt.grad(z, y)[0].item() == 3.0  # though the graph above y was released


def test_gradients_with_a_graph_are_not_shared_either():
    x, y, s = leaf([1.0, 2.0]), leaf([3.0, 4.0]), mt.Tensor(np.ones(2))
    (x + y).backward(s, create_graph=True)
    (x * 3).sum().backward()
    assert y.grad.tolist() == [1.0, 1.0]
    assert s.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [4.0, 4.0]


def test_what_hooks_saw_or_gave_is_not_written_to():
    x, mine, seen = leaf([1.0]), mt.Tensor(np.array([1.0])), []
    x.register_hook(seen.append)
    x.register_hook(lambda g: mine)
    for _ in range(2):
        (x * 3).backward()
    assert mine.item() == 1.0
    assert [g.item() for g in seen] == [3.0, 3.0]
    assert x.grad.item() == 2.0


def test_the_same_seed_for_two_passes():
    x, s = leaf([2.0]), mt.Tensor(np.ones(1))
    y = mt.checkpoint(lambda x: x * x, x)
    y.backward(s, retain_graph=True)
    y.backward(s)
    assert x.grad.item() == 8.0


def test_a_leaf_that_stopped_requiring_a_gradient_gets_none():
    x = leaf([2.0])
    y = x * x
    x.requires_grad_(False)
    y.backward()
    assert x.grad is None


def test_overwriting_what_no_backward_needs_is_fine():
    x, b = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    y = (x * x + b).sum()
    b.array -= 0.1
    y.backward()
    np.testing.assert_array_equal(b.grad.numpy(), [1.0, 1.0])


def test_integers_have_no_gradient():
    with pytest.raises(TypeError, match=r"not int64; use \.to\('float32'\)"):
        mt.Tensor(np.arange(3), requires_grad=True)


def test_a_result_cannot_stop_requiring_a_gradient():
    with pytest.raises(RuntimeError, match="detach"):
        (leaf([1.0]) * 2).requires_grad = False


# Recording


def test_no_grad_as_context_and_decorator():
    x = leaf([1.0])
    with mt.no_grad():
        assert not (x * x).requires_grad
        with mt.enable_grad():
            assert (x * x).requires_grad
        assert not mt.is_grad_enabled()

    @mt.no_grad()
    def double(x):
        return x * 2

    assert not double(double(x)).requires_grad
    assert (x * x).requires_grad


def test_no_grad_without_parentheses_and_used_again():
    @mt.no_grad
    def double(x):
        return x * 2

    x = leaf([1.0])
    assert not double(x).requires_grad
    off = mt.no_grad()
    for _ in range(2):
        with off, off:
            assert not (x * x).requires_grad
        assert (x * x).requires_grad


def test_no_grad_ends_with_an_exception():
    with pytest.raises(KeyError), mt.no_grad():
        raise KeyError
    assert mt.is_grad_enabled()


def test_no_grad_is_each_threads_own():
    inside, done, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        seen.append((leaf([1.0]) * 2).requires_grad)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with mt.no_grad():
        inside.set()
        done.wait()
    thread.join()
    assert seen == [True]


def test_threads_differentiate_graphs_of_their_own():
    results = {}

    def work(k):
        x = leaf([float(k)])
        y = x
        for _ in range(200):
            y = y * 1.0 + x
        y.backward()
        results[k] = x.grad.item()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(8), 201.0)


def test_an_exception_in_a_vjp_leaves_the_engine_usable():
    @mt.op
    def bad(x):
        return x.array * 1.0, (lambda g: 1 / 0,)

    with pytest.raises(ZeroDivisionError):
        bad(leaf([1.0])).backward()
    assert mode.recording
    x = leaf([2.0])
    (x * x).backward()
    assert x.grad.item() == 4.0


def test_detach_shares_memory_and_stops_the_gradient():
    x = leaf([2.0])
    y = x.detach()
    assert y.array is x.array
    assert not y.requires_grad
    assert mt.grad(x * y, x)[0].item() == 2.0


# Hooks


def test_a_hook_sees_the_complete_gradient_and_may_replace_it():
    x = leaf([1.0])
    y = x * 3
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.item()))
    y.register_hook(lambda g: g * 10)
    (y + y).backward()
    assert seen == [2.0]
    assert x.grad.item() == 60.0
    handle.remove()
    z = x * 3
    z.register_hook(lambda g: seen.append("z"))
    z.backward()
    assert seen == [2.0, "z"]


def test_a_hook_on_a_leaf_and_its_removal():
    x = leaf([1.0])
    handle = x.register_hook(lambda g: -g)
    (x * 2).backward()
    assert x.grad.item() == -2.0
    handle.remove()
    handle.remove()
    (x * 2).backward()
    assert x.grad.item() == 0.0


def test_a_hook_must_return_a_gradient():
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g.sum())
    with pytest.raises(
        ValueError, match=r"a hook on a leaf must return None or a Tensor float64 \(2,\), it returned float64 \(\)"
    ):
        (x * 2).sum().backward()
    with pytest.raises(RuntimeError, match="has no graph"):
        mt.Tensor([1.0]).register_hook(print)


def test_retain_grad():
    x = leaf([2.0])
    y = x * x
    y.retain_grad()
    (y * 3).backward()
    assert y.grad.item() == 3.0
    x.retain_grad()  # a leaf keeps it anyway
    z = x * x
    z.retain_grad()
    z.retain_grad()
    (z * 3).backward(inputs=[z])
    assert z.grad.item() == 3.0


def test_assigning_another_shape_to_a_leaf():
    x = leaf([1.0, 2.0])
    x.array = np.ones((2, 2))
    (x * x).sum().backward()
    assert x.grad.shape == (2, 2)
