"""Where a pointer has 32 bits, as in WebAssembly: the same results, and int64 wherever int64 is promised."""

import inspect
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

PROMISED = '''
import numpy as np
import microtensor as mt
from microtensor import nn

x = mt.Tensor(np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32))
row = mt.Tensor([3.0, 1.0, 3.0, 2.0])
flags, whole = row > 1, row.to("int32")
index = mt.tensor([2, 0])

INT64 = {
    "argmax": lambda: [row.argmax(), x.argmax(1), x.argmax(-1, keepdim=True)],
    "argmin": lambda: [row.argmin(), x.argmin(1)],
    "argsort": lambda: [row.argsort(), x.argsort(2), x.argsort(2, descending=True), x.argsort(1, stable=True)],
    "sort": lambda: [row.sort().indices, row.sort(descending=True).indices],
    "topk": lambda: [row.topk(2).indices, x.topk(2, 1).indices],
    "kthvalue": lambda: [row.kthvalue(2).indices],
    "median": lambda: [x.median(1).indices, row.median(0).indices, mt.tensor(1.0).median(0).indices],
    "max": lambda: [x.max(1).indices, x.min(1).indices, mt.tensor(1.0).max(0).indices],
    "cummax": lambda: [x.cummax(1).indices, x.cummin(1).indices],
    "nonzero": lambda: [row.nonzero(), *flags.nonzero(as_tuple=True)],
    "unique": lambda: [*row.unique(return_inverse=True, return_counts=True)[1:], row.unique(return_counts=True)[1]],
    "count_nonzero": lambda: [flags.count_nonzero(), x.count_nonzero(1)],
    "sum": lambda: [flags.sum(), whole.sum(), x.to("int16").sum(1), x.to("uint8").sum()],
    "prod": lambda: [flags.prod(), whole.prod(), x.to("int16").prod(1)],
    "cumsum": lambda: [flags.cumsum(0), whole.cumsum(0)],
    "cumprod": lambda: [whole.cumprod(0)],
    "one_hot": lambda: [mt.one_hot(index)],
    "arange": lambda: [mt.arange(3), mt.arange(5, 0, -2)],
    "tensor": lambda: [mt.tensor([1, 2]), mt.tensor(5), mt.as_tensor([[1]]), mt.full((2,), 7), mt.tensor(range(3))],
    "randint": lambda: [mt.randint(5, (2,)), mt.randperm(4)],
    "max_pool2d": lambda: [nn.max_pool2d(x, 2, return_indices=True)[1], nn.max_pool2d(x, 3, 1, 1, return_indices=True)[1]],
    "adaptive_max_pool2d": lambda: [nn.adaptive_max_pool2d(x, n, return_indices=True)[1] for n in (1, 2, 4, (5, 3))],
    "long": lambda: [row.long(), whole.to("int64")],
    "bitwise": lambda: [mt.tensor([6]) & 3, mt.tensor([1]) << 2],
    "pow": lambda: [mt.tensor([2]) ** 3, mt.tensor([7]) // 2, mt.tensor([7]) % 4],
    "data": lambda: [next(iter(mt.data.DataLoader([(np.zeros(2), 1), (np.ones(2), 2)], batch_size=2)))[1]],
}
VALUES = {
    "take": lambda: [x.take(index), row[index], x[:, index], row.gather(0, index), row.index_select(0, index)],
    "scatter": lambda: [row.scatter(0, index, row[:2]), row.scatter_add(0, index, row[:2]), row.index_add(0, index, row[:2])],
    "along": lambda: [x.take_along_dim(x.argmax(1, keepdim=True), 1), row.repeat_interleave(mt.tensor([1, 2, 0, 1]))],
    "interpolate": lambda: [
        nn.interpolate(x, size=(9, 4), mode=mode) for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
    ],
    "embedding": lambda: [nn.embedding(index, mt.ones(3, 2)), nn.Embedding(3, 2, padding_idx=0)(index) * 0, nn.embedding([1, 2], mt.ones(3, 2))],
    "pooling": lambda: [nn.max_pool2d(x, 2), nn.adaptive_max_pool2d(x, 4), nn.adaptive_avg_pool2d(x, 4), nn.avg_pool2d(x, 2)],
    "unpool": lambda: [nn.max_unpool2d(*nn.max_pool2d(x, 2, return_indices=True), 2)],
    "losses": lambda: [nn.cross_entropy(x, x.argmax(1)), nn.nll_loss(x, x.argmax(1)), nn.accuracy(x, x.argmax(1))],
    "grids": lambda: [row.diag(), x.tril(), x.flip(1), x.roll(1, 2), *mt.meshgrid(row, row, indexing="ij"), x.unfold(2, 2, 2)],
    "layers": lambda: [nn.unfold(x, 2), nn.pixel_shuffle(mt.ones(1, 4, 2, 2), 2), nn.channel_shuffle(mt.ones(1, 4, 2, 2), 2)],
    "order": lambda: [row.sort().values, row.topk(2).values, x.median(1).values, row.unique(), x.cummax(1).values, row.median()],
}


def results():
    """The values of all, and the gradient of what has one."""
    mt.manual_seed(0)
    found = []
    for name, make in (INT64 | VALUES).items():
        found += [(name, y.numpy()) for y in make()]
    for make in (lambda x: nn.interpolate(x, size=4, mode="bilinear"), lambda x: nn.adaptive_max_pool2d(x, 4), lambda x: x.max(1).values,
                 lambda x: x.sort(1).values, lambda x: nn.max_pool2d(x, 3, 2, 1), lambda x: x[:, index], lambda x: x.cumsum(1)):
        (g,) = mt.grad((make(y := x.clone().requires_grad_()) ** 2).sum(), y)
        found.append(("gradient", g.numpy()))
    table = mt.ones(3, 2, requires_grad=True)
    found.append(("gradient", mt.grad(nn.embedding(index, table).sum(), table)[0].numpy()))
    return found
'''

COMPARED = """
import sys
import numpy as np
sys.path[:0] = [{root!r}, {here!r}]
exec({program!r})
wide = results()
for name in INT64:
    for y in INT64[name]():
        assert y.dtype == np.int64, ("wide", name, y.dtype)
import narrow
narrow.install()
assert np.ones(3).argmax().dtype == np.int32
try:
    np.ones(3).take(np.zeros(1, np.int64))
except TypeError:
    pass
else:
    raise AssertionError("take is as it was")
for name in INT64:
    for i, y in enumerate(INT64[name]()):
        assert y.dtype == np.int64, ("narrow", name, i, y.dtype)
exec({program!r})
for (name, a), (_, b) in zip(wide, results(), strict=True):
    assert a.dtype == b.dtype, (name, a.dtype, b.dtype)
    np.testing.assert_array_equal(a, b, err_msg=name)
print("alike:", len(wide))
"""


def test_the_same_results_and_int64_where_it_is_promised():
    program = COMPARED.format(root=str(HERE.parent), here=str(HERE / "support"), program=PROMISED)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.partition("alike: ")[2]) > 100


def test_the_stand_in_is_used_in_processes_of_their_own_alone():
    import numpy as np

    assert np.ones(3).argmax().dtype == np.int64
    assert inspect.isbuiltin(np.ones(3).take) or np.intp().itemsize == 4
