"""Mixed precision: which operation computes in which dtype, and that gradients come back in the dtype of their tensors."""

import gc
import threading
import weakref

import numpy as np
import pytest

import microtensor as mt
from microtensor import nn
from microtensor.autograd.observers import Observer, observing
from microtensor.checkpoint import checkpoint
from microtensor.data import DataLoader, mnist_sample

F16, F32, F64 = (np.dtype(name) for name in ("float16", "float32", "float64"))


def tensor(*shape, dtype=F32, seed=0, requires_grad=False):
    numbers = np.random.default_rng(seed).uniform(0.1, 0.9, shape).astype(dtype)
    return mt.Tensor(numbers, requires_grad=requires_grad)


# Products: the same call in either library, on float32; PyTorch's CPU list has them all.
PRODUCTS = {
    "matmul": (lambda lib, f, a, b, c: a @ b, [(2, 3), (3, 4), None]),
    "mm": (lambda lib, f, a, b, c: lib.mm(a, b), [(2, 3), (3, 4), None]),
    "bmm": (lambda lib, f, a, b, c: lib.bmm(a, b), [(2, 2, 3), (2, 3, 4), None]),
    "einsum": (lambda lib, f, a, b, c: lib.einsum("ij,jk->ki", a, b), [(2, 3), (3, 4), None]),
    "linear": (lambda lib, f, a, b, c: f.linear(a, b, c), [(2, 3), (4, 3), (4,)]),
    "conv1d": (lambda lib, f, a, b, c: f.conv1d(a, b, c), [(2, 3, 5), (4, 3, 2), (4,)]),
    "conv2d": (lambda lib, f, a, b, c: f.conv2d(a, b, c, padding=1), [(2, 3, 5, 5), (4, 3, 2, 2), (4,)]),
    "conv_transpose1d": (lambda lib, f, a, b, c: f.conv_transpose1d(a, b, c), [(2, 3, 5), (3, 4, 2), (4,)]),
    "conv_transpose2d": (lambda lib, f, a, b, c: f.conv_transpose2d(a, b, c), [(2, 3, 5, 5), (3, 4, 2, 2), (4,)]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_pytorchs_in_dtype_and_number_and_gradient(name):
    torch = pytest.importorskip("torch")
    call, shapes = PRODUCTS[name]
    ours = [None if s is None else tensor(*s, seed=i, requires_grad=True) for i, s in enumerate(shapes)]
    theirs = [None if v is None else torch.tensor(v.detach().numpy(), requires_grad=True) for v in ours]
    with mt.autocast("float16"):
        y = call(mt, nn, *ours)
    with torch.autocast("cpu", dtype=torch.float16):
        expected = call(torch, torch.nn.functional, *theirs)
    assert y.dtype == F16
    assert expected.dtype == torch.float16
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=3e-3)
    y.sum().backward()
    expected.sum().backward()
    for v, w in zip(ours, theirs):
        if v is not None:
            assert v.grad.dtype == F32
            np.testing.assert_allclose(v.grad.numpy(), w.grad.numpy(), rtol=3e-3)


def test_products_that_are_on_another_list_of_pytorchs():
    x = tensor(3, seed=1)
    with mt.autocast():
        for y in (tensor(2, 3).mv(x), x.dot(x), mt.outer(x, x), mt.tensordot(x, x, 1), mt.prelu(x, tensor(1))):
            assert y.dtype == F16
        assert mt.bilinear(x, x, tensor(2, 3, 3), tensor(2)).dtype == F16
        assert mt.einsum("i->", x).dtype == F32  # a sum, and no product


# PyTorch's list for CUDA (docs.pytorch.org/docs/stable/amp.html), as far as it is here, and what is more careful.
WIDE = {
    **{name: lambda x, name=name: getattr(mt, name)(x) for name in (
        "acos", "asin", "cosh", "sinh", "tan", "exp", "expm1", "log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "softplus",
        "sum", "prod", "norm", "exp2", "mean", "var", "std",
    )},
    **{name: lambda x, name=name: getattr(mt, name)(x, 1) for name in (
        "cumprod", "cumsum", "softmax", "log_softmax", "softmin", "logsumexp",
    )},
    "pow": lambda x: x**2,
    "rpow": lambda x: 2**x,
    "rdiv": lambda x: 1 / x,
    "norm 3": lambda x: x.norm(3, 1),
    "var_mean": lambda x: mt.var_mean(x)[0],
    "layer_norm": lambda x: nn.layer_norm(x, 4, tensor(4), tensor(4)),
    "rms_norm": lambda x: nn.rms_norm(x, 4, tensor(4)),
    "group_norm": lambda x: nn.group_norm(x, 2, tensor(4), tensor(4)),
    "instance_norm": lambda x: nn.instance_norm(x.reshape(2, 2, 3), weight=tensor(2)),
    "normalize": nn.normalize,
    "cross_entropy": lambda x: nn.cross_entropy(x, [0, 1, 3], weight=tensor(4)),
    "cross_entropy of shares": lambda x: nn.cross_entropy(x, tensor(3, 4)),
    "nll_loss": lambda x: nn.nll_loss(x, [0, 1, 3]),
    "binary_cross_entropy": lambda x: nn.binary_cross_entropy(x, tensor(3, 4)),
    "binary_cross_entropy_with_logits": lambda x: nn.binary_cross_entropy_with_logits(x, tensor(3, 4, dtype=F16)),
    "kl_div": lambda x: nn.kl_div(x, tensor(3, 4), log_target=True),
    "l1_loss": lambda x: nn.l1_loss(x, np.zeros((3, 4)).tolist()),
    "mse_loss": lambda x: nn.mse_loss(x, tensor(3, 4, dtype=F16)),
    "huber_loss": lambda x: nn.huber_loss(x, tensor(3, 4)),
    "smooth_l1_loss": lambda x: nn.smooth_l1_loss(x, tensor(3, 4)),
    "dice_loss": lambda x: nn.dice_loss(x, [0, 1, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_what_needs_range_or_digits_is_computed_in_float32(name):
    call = WIDE[name]
    x = tensor(3, 4, dtype=F16, seed=2, requires_grad=True)
    with mt.autocast():
        y = call(x)
        (g,) = mt.grad(y.sum(), x)
    assert y.dtype == F32
    assert g.dtype == F16
    wanted = call(x.detach().float())
    np.testing.assert_array_equal(y.numpy(), wanted.numpy())
    with mt.autocast():
        assert call(tensor(3, 4, dtype=F32)).dtype == F32


LOSSES = {
    "mse_loss": {},
    "l1_loss": {},
    "huber_loss": {},
    "smooth_l1_loss": {},
    "binary_cross_entropy": {},
    "binary_cross_entropy_with_logits": {},
    "kl_div": {"reduction": "batchmean"},
    "cross_entropy": {"label_smoothing": 0.1},
    "nll_loss": {},
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_pytorchs_on_the_cpu_in_dtype_and_number_and_gradient(name):
    torch = pytest.importorskip("torch")
    x, settings = tensor(3, 4, dtype=F16, requires_grad=True), LOSSES[name]
    target = mt.Tensor([1, 0, 3]) if name == "nll_loss" else tensor(3, 4, dtype=F32 if "cross" in name else F16, seed=1)
    target = target.to("int64") if name == "nll_loss" else target
    theirs = torch.tensor(x.detach().numpy(), requires_grad=True)
    with mt.autocast("float16"):
        y = getattr(nn, name)(x, target, **settings)
    with torch.autocast("cpu", dtype=torch.float16):
        expected = getattr(torch.nn.functional, name)(theirs, torch.tensor(target.numpy()), **settings)
    assert y.dtype == F32
    assert expected.dtype == torch.float32
    np.testing.assert_allclose(y.item(), expected.item(), rtol=1e-5)
    y.backward()
    expected.backward()
    assert x.grad.dtype == F16
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), rtol=2e-3)


KEPT = {
    "add": lambda x: x + x,
    "relu": mt.relu,
    "sigmoid": mt.sigmoid,
    "tanh": mt.tanh,
    "gelu": mt.gelu,
    "silu": mt.silu,
    "mish": mt.mish,
    "elu": mt.elu,
    "selu": mt.selu,
    "celu": mt.celu,
    "hardswish": mt.hardswish,
    "max": lambda x: x.amax(1),
    "dropout": lambda x: nn.dropout(x, 0.5),
    "max_pool2d": lambda x: nn.max_pool2d(x.reshape(1, 1, 3, 4), 2),
    "avg_pool2d": lambda x: nn.avg_pool2d(x.reshape(1, 1, 3, 4), 2),
    "local_response_norm": lambda x: nn.local_response_norm(x, 2),
    "batch_norm": lambda x: nn.batch_norm(x, tensor(4), tensor(4), tensor(4), tensor(4), training=True),
    "batch_norm in evaluation": lambda x: nn.batch_norm(x, tensor(4), tensor(4), tensor(4), tensor(4)),
}


@pytest.mark.parametrize("name", KEPT)
def test_all_else_keeps_the_dtype_that_arrives(name):
    with mt.autocast():
        for dtype in (F16, F32):
            x = tensor(3, 4, dtype=dtype, requires_grad=True)
            y = KEPT[name](x)
            assert y.dtype == dtype
            assert mt.grad(y, x, mt.ones_like(y))[0].dtype == dtype


def test_float64_and_integers_are_left_alone():
    x, n = tensor(2, 2, dtype=F64), mt.Tensor([[1, 2], [3, 4]], dtype="int64")
    with mt.autocast():
        assert (x @ x).dtype == (x @ tensor(2, 2)).dtype == x.exp().dtype == nn.linear(x, x).dtype == F64
        assert (n @ n).dtype == np.int64
        assert (tensor(2, 2, dtype=F16) + tensor(2, 2)).dtype == F32
    np.testing.assert_array_equal((x @ tensor(2, 2)).numpy(), x.numpy() @ tensor(2, 2).numpy().astype(F64))


def test_an_array_beside_a_tensor_is_cast_too():
    x = tensor(2, 3)
    if x.device == "cpu":
        with mt.autocast():
            assert nn.linear(x, np.ones((4, 3), np.float32)).dtype == (x @ np.ones((3, 1), np.float32)).dtype == F16


# The context


def test_it_nests_decorates_and_ends():
    x = tensor(2, 2)
    with mt.autocast("float16"):
        assert mt.is_autocast_enabled()
        assert (x @ x).dtype == F16
        with mt.autocast(enabled=False):
            assert not mt.is_autocast_enabled()
            assert (x @ x).dtype == F32
            with mt.autocast():
                assert (x @ x).dtype == F16
        assert (x @ x).dtype == F16
    with pytest.raises(KeyError), mt.autocast():
        raise KeyError
    assert not mt.is_autocast_enabled()
    assert (x @ x).dtype == F32

    @mt.autocast(dtype="half")
    def product(depth=2):
        return product(depth - 1) if depth else x @ x

    assert product().dtype == F16
    assert not mt.is_autocast_enabled()


def test_pytorchs_forms():
    x = tensor(2, 2)
    here = x.device.partition(":")[0]
    there = "cpu" if here == "cuda" else "cuda"
    for form in (
        mt.autocast(here, np.float16),
        mt.autocast(here),
        mt.autocast(device_type=here, dtype="float16"),
        mt.autocast("half"),
    ):
        with form:
            assert (x @ x).dtype == F16
    with mt.autocast(there, dtype=np.float16):
        assert (x @ x).dtype == F32
        assert x.half().exp().dtype == F16
    with mt.autocast(here, enabled=False):
        assert (x @ x).dtype == F32


def test_another_thread_has_its_own():
    found = []
    with mt.autocast():
        thread = threading.Thread(target=lambda: found.append(mt.is_autocast_enabled()))
        thread.start()
        thread.join()
    assert found == [False]


@pytest.mark.parametrize(("make", "kind", "message"), [
    (lambda: mt.autocast("bfloat16"), ValueError, "autocast: neither NumPy 2 nor CuPy 14 has a bfloat16; use \"float16\""),
    (lambda: mt.autocast("cuda", "bfloat16"), ValueError, "autocast: neither NumPy 2 nor CuPy 14 has a bfloat16"),
    (lambda: mt.autocast("float64"), ValueError, "autocast: products are computed in float16, or as they are"),
    (lambda: mt.autocast("mps", "float16"), ValueError, "autocast: device_type must be \"cuda\", \"cpu\" or None, for both, got 'mps'"),
    (lambda: mt.autocast("gpu"), TypeError, "autocast: dtype must be \"float16\", got 'gpu' \\(str\\), which is no dtype"),
    (lambda: mt.autocast(enabled=1), TypeError, "autocast: enabled must be True or False, got 1 \\(int\\)"),
    (lambda: mt.autocast(cache_enabled="no"), TypeError, "autocast: cache_enabled must be True or False, got 'no'"),
    (lambda: mt.autocast(lambda x: x), TypeError, "autocast: it decorates with parentheses: @autocast\\(\\)"),
])  # fmt: skip
def test_what_means_nothing_is_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


# Weights are cast once


def casts_in(run):
    """How many casts to float16 `run` makes."""
    seen = []

    class Casts(Observer):
        def operation(self, operation, inputs, settings, result):
            if operation.__name__ == "cast" and result.dtype == F16:
                seen.append(inputs[0])

    with observing(Casts()):
        run()
    return len(seen)


def test_a_weight_is_cast_once_until_it_changes():
    x, w = tensor(2, 2, dtype=F16), tensor(2, 2, seed=1, requires_grad=True)
    with mt.autocast():
        assert casts_in(lambda: [x @ w, x @ w, nn.linear(x, w)]) == 1
        with mt.autocast():
            assert casts_in(lambda: x @ w) == 0
        with mt.no_grad():
            assert casts_in(lambda: [x @ w, x @ w]) == 1  # without a graph it is another
        assert (x @ w).requires_grad
        with mt.no_grad():
            w *= 2
        doubled = x @ w
    np.testing.assert_array_equal(doubled.detach().numpy(), (x @ w.detach().half()).numpy())
    with mt.autocast(cache_enabled=False):
        assert casts_in(lambda: [x @ w, x @ w]) == 2
    with mt.autocast():
        assert casts_in(lambda: x @ w) == 1


def test_gradients_through_a_cast_that_is_shared():
    x, w = tensor(2, 2, seed=3), tensor(2, 2, seed=1, requires_grad=True)
    with mt.autocast():
        for _ in range(2):  # backward inside the context releases what it passes: the second time it is cast anew
            ((x @ w) @ w).sum().backward()
        w.requires_grad = False
        w.requires_grad = True
        (other,) = mt.grad(((x @ w) @ w).sum(), w)
    wanted = mt.Tensor(w.numpy() if not w.requires_grad else w.detach().numpy(), requires_grad=True)
    (expected,) = mt.grad(((x @ wanted) @ wanted).sum(), wanted)
    np.testing.assert_allclose(w.grad.numpy(), 2 * expected.numpy(), rtol=5e-3)
    np.testing.assert_allclose(other.numpy(), expected.numpy(), rtol=5e-3)


def test_nothing_outlives_the_context():
    w = tensor(2, 2, requires_grad=True)
    context = mt.autocast()
    with context:
        tensor(2, 2) @ w
    kept = weakref.ref(w)
    del w
    gc.collect()
    assert kept() is None


# Backward


def test_backward_inside_is_backward_outside_and_differentiable():
    def gradients(inside):
        x, w = tensor(4, 3, seed=1, requires_grad=True), tensor(3, 3, seed=2, requires_grad=True)
        with mt.autocast():
            loss = (((x @ w).exp() @ w) ** 2).mean()
            if inside:
                (g,) = mt.grad(loss, w, create_graph=True)
        if not inside:
            (g,) = mt.grad(loss, w, create_graph=True)
        return g, mt.grad((g * g).sum(), x)[0]

    for a, b in zip(gradients(True), gradients(False)):
        assert a.dtype == F32
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_second_order_of_a_batch_norm_of_mixed_dtypes():
    x, w, b = tensor(5, 3, dtype=F16, requires_grad=True), tensor(3, requires_grad=True), tensor(3, requires_grad=True)
    numbers = x.detach().float()
    numbers.requires_grad = True
    for training in (True, False):
        found = []
        for v in (x, numbers):
            y = nn.batch_norm(v, tensor(3), tensor(3), w, b, training=training)
            first = mt.grad((y.float() ** 3).sum(), (v, w, b), create_graph=True)
            assert [g.dtype for g in first] == [v.dtype, F32, F32]
            found.append([*first, *mt.grad((first[1] ** 2).sum(), (v, w))])
        for half, single in zip(*found):
            np.testing.assert_allclose(half.detach().float().numpy(), single.detach().numpy(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("inside", [True, False])
def test_a_checkpoint_computes_again_as_it_did(inside):
    mt.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    x, seen = tensor(5, 3, seed=1), []

    def body(x):
        y = model(x)
        seen.append(y.dtype)
        return y.float()

    with mt.autocast():
        expected = mt.grad((model(x).float() ** 2).sum(), [*model.parameters()])
        model[0](x)  # so that a weight is cast before
        loss = (checkpoint(body, x) ** 2).sum()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    assert seen == [F16, F16]
    for p, g in zip(model.parameters(), expected):
        np.testing.assert_allclose(p.grad.numpy(), g.numpy(), rtol=1e-6)


def test_hooks_see_the_gradient_in_the_dtype_of_the_result_and_compute_as_outside():
    x, w, seen = tensor(2, 2, seed=1), tensor(2, 2, requires_grad=True), []
    with mt.autocast():
        y = x @ w
        y.register_hook(lambda g: seen.extend([g.dtype, (g.float() @ g.float()).dtype]))
        y.sum().backward()
    assert seen == [F16, F32]


# float16 itself


def test_long_sums_of_float16_keep_their_digits():
    index = np.zeros(5000, np.int64)
    w = mt.zeros(2, 3, dtype="float16", requires_grad=True)
    nn.embedding(index, w).sum().backward()
    assert w.grad.tolist() == [[5000.0] * 3, [0.0] * 3]  # added one by one, float16 stays at 2048
    x = mt.zeros(2, dtype="float16", requires_grad=True)
    mt.gather(x, 0, mt.Tensor(index)).sum().backward()
    assert x.grad.tolist() == [5000.0, 0.0]
    halved = nn.embedding(index, w.detach() + 1, scale_grad_by_freq=True)
    assert halved.dtype == F16
    v = mt.ones(2, 3, dtype="float16", requires_grad=True)
    nn.embedding(index, v, scale_grad_by_freq=True).sum().backward()
    np.testing.assert_allclose(v.grad.numpy()[0], 1, rtol=2e-3)
    y = mt.ones(5000, 1, dtype="float16", requires_grad=True)
    b = mt.zeros(1, dtype="float16", requires_grad=True)
    nn.batch_norm(y, mt.zeros(1).half(), mt.ones(1).half(), None, b).sum().backward()
    assert b.grad.item() == 5000


def test_products_of_float16_are_float32s_rounded():
    a, b = tensor(30, 40, dtype=F16), tensor(20, 40, dtype=F16, seed=1)
    x, k = tensor(2, 6, 7, 7, dtype=F16), tensor(4, 3, 3, 3, dtype=F16, seed=2)
    for y, wanted in (
        (a @ b.mT, a.float() @ b.float().mT),
        (nn.linear(a, b), nn.linear(a.float(), b.float())),
        (nn.conv2d(x, k, groups=2, stride=2), nn.conv2d(x.float(), k.float(), groups=2, stride=2)),
    ):
        assert y.dtype == F16
        np.testing.assert_array_equal(y.numpy(), wanted.half().numpy())


def digits_accuracy(precision):
    mt.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 25, 10),
    )  # fmt: skip
    seen = []
    model[0].register_forward_hook(lambda module, inputs, y: seen.append(y.dtype))
    data = DataLoader(mnist_sample(), batch_size=128, shuffle=True)
    optimizer = nn.AdamW(model.parameters(), lr=3e-3)
    nn.fit(model, data, nn.cross_entropy, optimizer, epochs=2, precision=precision, progress=False)
    assert {*seen} == {F16 if precision else F32}
    assert {p.dtype for p in model.parameters()} == {F32}
    return nn.evaluate(model, DataLoader(mnist_sample(train=False), 500))["accuracy"]


def test_digits_are_learned_as_well_as_in_float32():
    mixed, full = digits_accuracy("16-mixed"), digits_accuracy(None)
    assert full > 0.9
    assert abs(mixed - full) < 0.01


def test_an_operation_of_ones_own_may_ask_for_float32():
    @mt.op(wide=True)
    def cube(x):
        return x.array**3, (lambda g: 3 * g * x * x,)

    x = mt.Tensor([50.0], dtype="float16", requires_grad=True)
    with mt.autocast():
        y = cube(x)
    y.backward()
    assert y.item() == 125000
    assert x.grad.dtype == F16
    assert x.grad.item() == 7500
