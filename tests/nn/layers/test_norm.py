"""Batch normalisation against PyTorch, against its own composition, and numerically; running statistics; errors."""

import gc
import sys
import tracemalloc

import numpy as np
import pytest
import strict
from hypothesis import assume, given
from hypothesis import strategies as st

import microtensor as mt
from microtensor import Tensor
from microtensor.gradcheck import check_gradients
from microtensor.nn.layers.batch_norm import BatchNorm1d, BatchNorm2d, batch_norm
from microtensor.nn.module import Parameter
from microtensor.testing import shapes, tensors


@st.composite
def inputs(draw):
    """x (N, C, …) with at least two values per channel, and a weight and a bias or None."""
    x = draw(tensors(shapes(min_dims=2, max_dims=4, max_side=3), distinct=True))
    channels = x.shape[1]
    assume(x.array.size > channels)
    weight = draw(st.none() | tensors((channels,)))
    return x, weight, draw(st.none() | tensors((channels,)))


@st.composite
def statistics(draw, channels):
    return draw(tensors((channels,))), draw(tensors((channels,), low=0.1))


def given_only(function, *tensors):
    """A function of those of `tensors` that are there, and these."""

    def of_those(*there):
        rest = list(there)
        return function(*[None if t is None else rest.pop(0) for t in tensors])

    return of_those, [t for t in tensors if t is not None]


@given(inputs(), st.sampled_from([1e-5, 0.1]))
def test_gradients_to_second_order_in_training(arguments, eps):
    f, there = given_only(lambda x, w, b: batch_norm(x, None, None, w, b, True, eps=eps + 0.05), *arguments)
    check_gradients(f, *there, order=2)


@given(inputs(), st.data())
def test_gradients_to_second_order_in_evaluation(arguments, data):
    mean, var = data.draw(statistics(arguments[0].shape[1]))
    f, there = given_only(lambda x, w, b: batch_norm(x, mean, var, w, b), *arguments)
    check_gradients(f, *there, order=2)


@given(inputs(), st.data(), st.booleans(), st.sampled_from([1e-5, 0.1]), st.integers(0, 99))
def test_values_gradients_and_statistics_are_pytorchs(arguments, data, training, eps, seed):
    torch = pytest.importorskip("torch")
    ours = [None if t is None else t.requires_grad_() for t in arguments]
    theirs = [None if t is None else torch.tensor(t.numpy(), requires_grad=True) for t in arguments]
    running = data.draw(statistics(arguments[0].shape[1]))
    there = [torch.tensor(t.numpy().copy()) for t in running]
    y = batch_norm(ours[0], *running, *ours[1:], training, 0.3, eps)
    expected = torch.nn.functional.batch_norm(theirs[0], *there, *theirs[1:], training, 0.3, eps)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9, strict=True)
    for a, b in zip(running, there):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    y.backward(Tensor(g))
    expected.backward(torch.tensor(g))
    for a, b in zip(ours, theirs):
        if a is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-7, atol=1e-8, strict=True)


@given(inputs(), st.integers(0, 99))
def test_the_fast_gradient_is_the_recorded_one(arguments, seed):
    there = [t.requires_grad_() for t in arguments if t is not None]
    y = batch_norm(arguments[0], None, None, *arguments[1:], training=True, eps=0.1)
    g = Tensor(np.random.default_rng(seed).standard_normal(y.shape))
    fast, recorded = mt.grad(y, there, g, retain_graph=True), mt.grad(y, there, g, create_graph=True)
    for a, b in zip(fast, recorded):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9, strict=True)


@pytest.mark.parametrize("wanted", [[0], [1], [2], [0, 1], [0, 2], [1, 2]])
def test_each_gradient_alone_and_again_for_another_cotangent(wanted):
    rng = np.random.default_rng(0)
    full = [Tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 3, 2, 2), (3,), (3,))]
    some = [t if i in wanted else t.detach() for i, t in enumerate(full)]
    part = batch_norm(some[0], None, None, *some[1:], training=True)
    for _ in range(2):
        g = Tensor(rng.standard_normal(part.shape))
        expected = mt.grad(batch_norm(full[0], None, None, *full[1:], training=True), full, g)
        for i, found in zip(wanted, mt.grad(part, [some[i] for i in wanted], g, retain_graph=True)):
            np.testing.assert_allclose(found.numpy(), expected[i].numpy(), rtol=1e-10, atol=1e-10)


def test_gradients_accumulate():
    x = Tensor(np.random.default_rng(0).standard_normal((4, 2, 3, 3)))
    layer = BatchNorm2d(2).to("float64")
    y = layer(x)
    g = Tensor(np.random.default_rng(1).standard_normal(y.shape))
    y.backward(g, retain_graph=True)
    once = [p.grad.numpy().copy() for p in layer.parameters()]
    y.backward(g, retain_graph=True)
    y.backward(g)
    for p, first in zip(layer.parameters(), once):
        np.testing.assert_allclose(p.grad.numpy(), 3 * first)


@pytest.mark.parametrize(
    ("name", "shape"), [("BatchNorm2d", (4, 3, 5, 6)), ("BatchNorm1d", (4, 3)), ("BatchNorm1d", (4, 3, 5))]
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.3, "eps": 0.01},
        {"momentum": None},
        {"affine": False},
        {"bias": False},
        {"track_running_stats": False},
    ],
)
def test_the_layer_is_pytorchs_through_training_and_evaluation(name, shape, settings):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(mt.nn, name)(3, **settings), getattr(torch.nn, name)(3, **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(0)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        p.array = Tensor(rng.standard_normal(3).astype(np.float32)).array
        q.data = torch.tensor(p.numpy().copy())
    for _ in range(3):
        x = rng.standard_normal(shape).astype(np.float32) * 3 + 1
        np.testing.assert_allclose(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-5)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), rtol=1e-6, atol=1e-6, strict=True)
    before = {name: value.numpy().copy() for name, value in ours.state_dict().items()}
    y, expected = ours.eval()(Tensor(x)), theirs.eval()(torch.tensor(x))
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_the_result_has_mean_0_and_variance_1_also_far_from_0():
    x = np.random.default_rng(0).standard_normal((64, 3, 8, 8)) + np.array([0, 100, -1000]).reshape(3, 1, 1)
    y = BatchNorm2d(3)(Tensor(x.astype(np.float32)))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy().mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(y.numpy().var((0, 2, 3)), 1, rtol=1e-3)


@pytest.mark.parametrize("value", [1.1, -1e4, 12345.678])
@pytest.mark.parametrize("shape", [(64, 2, 32, 32), (7, 2, 5), (33, 2)])
def test_a_channel_that_does_not_vary_becomes_the_bias(value, shape):
    x = Parameter(np.full(shape, value, np.float32))
    bias, scale = Tensor([0.0, 3.0]), Parameter([1.0, 1.0])
    y = batch_norm(x, None, None, scale, bias, training=True)
    np.testing.assert_array_equal(y.numpy(), np.broadcast_to(bias.numpy().reshape((2,) + (1,) * (len(shape) - 2)), shape))
    y.backward(Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32)))
    np.testing.assert_array_equal(scale.grad.numpy(), 0)


def test_the_first_part_of_a_batch_may_be_far_from_the_rest():
    x = np.random.default_rng(0).standard_normal((64, 1, 4, 4))
    x[:8] += 1e3
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    y = batch_norm(Tensor(x.astype(np.float32)), None, None, training=True)
    np.testing.assert_allclose(y.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_long_sums_keep_their_digits():
    x = np.random.default_rng(0).random((200_000, 2)).astype(np.float32) + 3
    y = BatchNorm1d(2)(Tensor(x)).numpy()
    exact = (x - x.mean(0, dtype=np.float64)) / np.sqrt(x.var(0, dtype=np.float64) + 1e-5)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=2e-6)


def test_float16_is_summed_as_float32():
    x = (np.random.default_rng(0).standard_normal((64, 3, 16, 16)) * 10 + 300).astype(np.float16)
    layer, wide = BatchNorm2d(3).to("float16"), BatchNorm2d(3)
    leaf, exact = Tensor(x, requires_grad=True), Tensor(x.astype(np.float32), requires_grad=True)
    y, expected = layer(leaf), wide(exact)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=2e-3, atol=1e-3)
    g = np.random.default_rng(1).standard_normal(x.shape).astype(np.float16)
    y.backward(Tensor(g))
    expected.backward(Tensor(g.astype(np.float32)))
    np.testing.assert_allclose(leaf.grad.numpy(), exact.grad.numpy(), rtol=2e-2, atol=1e-3)
    np.testing.assert_allclose(layer.weight.grad.numpy(), wide.weight.grad.numpy(), rtol=2e-2, atol=0.1)


@pytest.mark.parametrize("make", [lambda: BatchNorm2d(2), lambda: BatchNorm2d(2, momentum=None)])
def test_a_frozen_layer_keeps_its_statistics_and_uses_them(make):
    x = Tensor(np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32) + 5)
    layer = make()
    layer(x)
    before = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    expected = layer.eval()(x).numpy()
    layer.train().freeze()
    np.testing.assert_array_equal(layer(x).numpy(), expected)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert repr(layer).endswith("frozen=True)")
    assert np.abs(layer.unfreeze()(x).numpy() - expected).max() > 0.01
    assert layer.num_batches_tracked.item() == 2
    without = BatchNorm2d(2, track_running_stats=False).freeze()
    assert abs(without(x).numpy().mean()) < 1e-5


def test_a_layer_whose_statistics_were_taken_away_counts_no_batches_of_an_evaluation():
    """As in PyTorch: it normalises by the batch's own, but it does not train."""
    layer = BatchNorm2d(2)
    layer.running_mean = layer.running_var = None
    x = Tensor(np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32) + 5)
    assert abs(layer.eval()(x).numpy().mean()) < 1e-5
    assert layer.num_batches_tracked.item() == 0
    layer.train().freeze()(x)
    assert layer.num_batches_tracked.item() == 0
    layer.unfreeze()(x)
    assert layer.num_batches_tracked.item() == 1


def test_statistics_follow_in_their_own_memory_and_nothing_else_changes():
    layer = BatchNorm2d(2)
    kept = layer.running_mean.array
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)
    given_x = Tensor(x.copy())
    layer(given_x)
    assert layer.running_mean.array is kept
    assert layer.running_mean.dtype == np.float32
    assert layer.num_batches_tracked.item() == 1
    np.testing.assert_array_equal(given_x.numpy(), x)


def test_statistics_that_change_before_the_backward_pass_of_an_evaluation_are_refused():
    layer = BatchNorm2d(2)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 2, 2, 2)).astype(np.float32), requires_grad=True)
    y = layer.eval()(x).sum()
    layer.train()(x)  # the gradient of the weight needs the mean that was
    with pytest.raises(RuntimeError, match="was assigned to"):
        y.backward()


def test_a_weight_that_changes_before_backward_is_refused():
    layer = BatchNorm2d(2)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 2, 2, 2)).astype(np.float32), requires_grad=True)
    y = layer(x).sum()
    layer.bias.array = layer.bias.array + 1  # no gradient needs it
    y.backward(retain_graph=True)
    layer.weight.array = layer.weight.array * 2
    with pytest.raises(RuntimeError, match="_batch_norm needs was assigned to"):
        y.backward()


def test_only_x_is_kept_for_the_backward_pass():
    x = Parameter(np.random.default_rng(0).standard_normal((64, 8, 32, 32)).astype(np.float32))
    layer = BatchNorm2d(8)
    layer(x)
    gc.collect()
    tracemalloc.start()
    try:
        y = layer(x)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.2 * y.array.nbytes
    assert peak < 1.5 * y.array.nbytes


def test_an_empty_batch_in_evaluation():
    y = BatchNorm2d(3).eval()(Tensor(np.zeros((0, 3, 4, 4), np.float32), requires_grad=True))
    assert y.shape == (0, 3, 4, 4)
    y.sum().backward()


def test_on_a_device(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", strict.cupy)
    x = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    for momentum in (0.1, None):
        results = []
        for device in ("cpu", "cuda"):
            layer = BatchNorm2d(3, momentum=momentum).to(device)
            there = Tensor(x).to(device).requires_grad_()
            for training in (True, False):
                layer.train(training)
                y = layer(there)
                (y * y * y).sum().backward()
            assert y.device == layer.running_mean.device == there.device
            found = [y, there.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()]
            results.append([t.to("cpu").detach().numpy() for t in found])
        for a, b in zip(*results):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=2e-6)  # a kernel adds up in another order


def test_what_does_not_fit_is_refused():
    x, c = Tensor(np.ones((2, 3, 2, 2))), Tensor(np.ones(3))
    for error, message, call in (
        (ValueError, r"\(N, C, …\)", lambda: batch_norm(c, None, None, training=True)),
        (ValueError, "3 channels, but weight has shape", lambda: batch_norm(x, c, c, Tensor(np.ones(4)))),
        (ValueError, "3 channels, but running_mean", lambda: batch_norm(x, Tensor(np.ones((1, 3))), c)),
        (ValueError, "training=True", lambda: batch_norm(x, None, None)),
        (ValueError, "one value per channel", lambda: batch_norm(x[:1, :, :1, :1], None, None, training=True)),
        (ValueError, "eps must be 0 or more, got -1.0", lambda: batch_norm(x, c, c, eps=-1.0)),
        (TypeError, "eps must be a number", lambda: batch_norm(x, c, c, eps="small")),
        (TypeError, "momentum must be a number, got None", lambda: batch_norm(x, c, c, training=True, momentum=None)),
        (TypeError, "weight float32", lambda: batch_norm(x, c, c, c.to("float32"))),
        (TypeError, "floating", lambda: batch_norm(x.to("int64"), None, None, training=True)),
        (TypeError, "must be a Tensor", lambda: batch_norm(x, c, c, 1.0)),
        (ValueError, r"BatchNorm2d: expected images \(N, 4, H, W\)", lambda: BatchNorm2d(4)(x)),
        (ValueError, "expected images", lambda: BatchNorm2d(3)(x[0])),
        (ValueError, "num_features", lambda: BatchNorm2d(0)),
        (ValueError, "num_features", lambda: BatchNorm2d(3.0)),
        (
            ValueError,
            r"BatchNorm2d: expected images \(N, 3, H, W\), got .* a single sample: x\[None\]",
            lambda: BatchNorm2d(3)(x[0]),
        ),
        (ValueError, r"BatchNorm1d: expected \(N, 3\) or \(N, 3, L\), got shape \(2, 3, 2, 2\)", lambda: BatchNorm1d(3)(x)),
        (ValueError, "got list", lambda: BatchNorm1d(3)([1.0])),
        (ValueError, "one value per channel.* .drop_last=True", lambda: BatchNorm1d(3)(x[:1, :, 0, 0].to("float32"))),
        (TypeError, "BatchNorm2d: momentum must be a number or None, got '0.1'", lambda: BatchNorm2d(3, momentum="0.1")),
        (TypeError, "BatchNorm2d: momentum must be a number or None, got True", lambda: BatchNorm2d(3, 1e-5, True)),
        (TypeError, "BatchNorm1d: eps must be a number, got None", lambda: BatchNorm1d(3, eps=None)),
        (ValueError, "BatchNorm1d: eps must be 0 or more, got -1", lambda: BatchNorm1d(3, eps=-1)),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    "layer",
    [
        lambda number: mt.nn.BatchNorm2d(3, eps=number, momentum=number),
        lambda number: mt.nn.LayerNorm(3, eps=number),
        lambda number: mt.nn.LocalResponseNorm(3, alpha=number),
        lambda number: mt.nn.LeakyReLU(number),
        lambda number: mt.nn.Dropout(number),
        lambda number: mt.nn.EarlyStopping(min_delta=number),
    ],
)
def test_numpys_numbers_are_numbers_and_bools_are_none(layer):
    layer(np.float32(0.25))
    with pytest.raises((TypeError, ValueError), match="True|bool"):
        layer(True)


def test_running_statistics_on_another_gpu(monkeypatch):
    cupy = strict.Cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    x, mean, variance = Tensor(np.ones((4, 3)), device="cuda:1"), *(Tensor(np.ones(3), device="cuda:0") for _ in range(2))
    for training in (True, False):
        with pytest.raises(ValueError, match=r"batch_norm: one tensor \(4, 3\) is on cuda:1, another \(3,\) on cuda:0"):
            batch_norm(x, mean, variance, training=training)
    cupy.cuda.Device(0).use()


@pytest.mark.parametrize("training", [True, False])
def test_a_recorded_pass_computes_the_formula_once_for_all_inputs(training):
    x, weight, bias = (
        Tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True) for shape in [(4, 3, 2, 2), (3,), (3,)]
    )
    mean, var = Tensor(np.zeros(3)), Tensor(np.ones(3))
    y = batch_norm(x, mean, var, weight, bias, training=training)
    meaning, calls = y.origin.meaning, []

    def counted(*inputs, **settings):
        calls.append(inputs)
        return function(*inputs, **settings)

    function, meaning.function = meaning.function, counted
    first = mt.grad((y * y).sum(), (x, weight, bias), create_graph=True)
    assert len(calls) == 1
    mt.grad(sum((g * g).sum() for g in first), (x, weight, bias))
    assert len(calls) == 1
