"""Every kernel of ours on this GPU, beside the CPU: the operations that use it, their values and gradients.

The reference is NumPy, in float64, from the same values that the GPU gets. What draws random numbers is compared with the
plain array calls on the same GPU, which draw the same ones. A kernel that no check has run is a failure too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import microtensor as mt
from microtensor import nn
from microtensor.nn.layers.convolution import dispatch
from microtensor.nn.layers.windows import fold, unfold
from microtensor.runtime.cuda import kernels

ROOT = Path(__file__).parents[1]
KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\(\d+\)\s*)?(\w+)\(')
DTYPES = ("float16", "float32", "float64")
WIDE = DTYPES[1:]
TOLERANCE = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-10}
"""Of the largest value of a result. Sums of some hundred terms, some of which cancel, are within it; errors are not."""

Launched = tuple[str, str, str]
"""A file, a kernel in it, a dtype."""


class Make:
    """Inputs: the same values for every device and dtype, rounded to `rounded` before."""

    def __init__(self, device: str, dtype: str, rounded: str) -> None:
        self.device, self.dtype, self.rounded = device, dtype, rounded
        self.rng = np.random.default_rng(0)

    def __call__(self, *shape: int, grad: bool = True) -> Any:
        return mt.Tensor(self.array(*shape).astype(self.dtype), device=self.device, requires_grad=grad)

    def array(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(self.rounded)

    def labels(self, n: int, classes: int) -> Any:
        return mt.Tensor(self.rng.integers(0, classes, n), device=self.device)

    def generator(self) -> Any:
        return mt.Generator(3)

    def model(self, layer: Any) -> Any:
        """A layer with parameters that are the same everywhere."""
        for tensor in layer.parameters():
            tensor.array = self.array(*tensor.shape).astype(self.dtype)
        return layer.to(self.device).to(self.dtype)


def differentiated(make: Make, y: Any, *inputs: Any) -> list[Any]:
    """The result, and the gradients of a random weighting of it."""
    y.backward(make(*y.shape, grad=False))
    return [y, *[x.grad for x in inputs]]


def convolutions(way: str) -> Callable[[Make], list[Any]]:
    """The three of some shapes, in this way."""
    shapes: Any = {
        "depthwise": [(4, 24, (15, 17), 24, 3, 2, 1, 1, 24), (2, 8, (9, 9), 8, 5, 1, 2, 1, 8)],
        "pointwise": [(4, 24, (15, 17), 40, 1, 1, 0, 1, 1), (2, 12, (7, 7), 8, 1, 1, 0, 1, 4)],
    }.get(way, [(4, 64, (7, 9), 64, 3, 1, 1, 1, 1), (3, 6, (13, 9), 10, (3, 2), (2, 1), (1, 0), (2, 1), 2)])

    def check(make: Make) -> list[Any]:
        found = []
        for n, c, size, o, kernel, stride, padding, dilation, groups in shapes:
            kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
            x, w, b = make(n, c, *size), make(o, c // groups, kh, kw), make(o)
            with dispatch.way(way) if make.device != "cpu" else nullcontext():
                y = nn.conv2d(x, w, b, stride, padding, dilation, groups)
                found += differentiated(make, y, x, w, b)
        return found

    return check


def small_sums(make: Make) -> list[Any]:
    """Few kernels, many places: the lower tile, and sums in many shares."""
    x, w = make(8, 3, 32, 33), make(5, 3, 3, 3)
    with dispatch.way("implicit_gemm") if make.device != "cpu" else nullcontext():
        return differentiated(make, nn.conv2d(x, w, padding=1), x, w)


def windows(make: Make) -> list[Any]:
    x, columns = make(3, 4, 11, 13), make(3, 36, 42)
    first = differentiated(make, unfold(x, 3, padding=1, stride=2), x)
    return first + differentiated(make, fold(columns, (11, 13), 3, padding=1, stride=2), columns)


def pools(make: Make) -> list[Any]:
    found = []
    for pool in (lambda x: nn.max_pool2d(x, 3, 2, 1), lambda x: nn.avg_pool2d(x, 3, 2, 1)):
        x = make(3, 5, 15, 17)
        found += differentiated(make, pool(x), x)
    return found


def batch_norm(make: Make) -> list[Any]:
    layer, x, frozen = make.model(nn.BatchNorm2d(12)), make(6, 12, 9, 11), make(6, 12, 9, 11, grad=False)
    found = differentiated(make, layer(x), x, layer.weight, layer.bias)
    layer.zero_grad()
    found += differentiated(make, layer(frozen), layer.weight, layer.bias)
    found += [layer.running_mean, layer.running_var]
    layer.eval()
    return [*found, layer(frozen)]


def losses(make: Make) -> list[Any]:
    found = []
    for smoothing in (0.0, 0.1):
        x = make(300, 70)
        loss = nn.cross_entropy(x, make.labels(300, 70), label_smoothing=smoothing)
        loss.backward()
        found += [loss, x.grad]
    return found


def softmaxes(make: Make) -> list[Any]:
    x, y = make(30, 700), make(30, 7, 11)
    return differentiated(make, x.softmax(1), x) + differentiated(make, y.log_softmax(1), y)


def activations(make: Make) -> list[Any]:
    x, y = make(1000), make(30, 33)
    return differentiated(make, mt.relu(x), x) + differentiated(make, mt.relu6(y * 4), y)


def dropouts(make: Make) -> list[Any]:
    x, y = make(2000), make(30, 20, 3, 5)
    first = differentiated(make, nn.dropout(x, 0.3, generator=make.generator()), x)
    return first + differentiated(make, nn.dropout2d(y, 0.3, generator=make.generator()), y)


def draws(make: Make) -> list[Any]:
    x = make(3001)
    return differentiated(make, nn.rrelu(x, 0.1, 0.4, training=True, generator=make.generator()), x)


def optimizer(kind: Any, **settings: Any) -> Callable[[Make], list[Any]]:
    def check(make: Make) -> list[Any]:
        weights = [make(70, 30), make(5), make(1000)]
        steps = kind(weights, lr=0.1, weight_decay=0.01, **settings)
        for _ in range(3):
            for weight in weights:
                weight.grad = make(*weight.shape, grad=False)
            steps.step()
        return weights

    return check


def clipping(make: Make) -> list[Any]:
    weights = [make(70, 30), make(5)]
    for weight in weights:
        weight.grad = make(*weight.shape, grad=False)
    return [nn.clip_grad_norm_(weights, 1.0), *[weight.grad for weight in weights]]


def averaging(make: Make) -> list[Any]:
    model = make.model(nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20)))
    average = nn.ExponentialMovingAverage(model, 0.75)
    for tensor in model.parameters():
        tensor.array *= 2
        tensor.touch()
    average.update()
    return [tensor for name, tensor in average.average.items() if tensor.dtype.kind == "f"]


def scaling(make: Make) -> list[Any]:
    weight = make(70, 30)
    weight.grad = make(70, 30, grad=False)
    scaler, steps = nn.GradScaler(init_scale=8.0), nn.SGD([weight], lr=0.1)
    scaler.unscale_(steps)
    scaler.step(steps)
    scaler.update()
    return [weight, weight.grad]


class Check(NamedTuple):
    compute: Callable[[Make], list[Any]]
    plain: bool = False
    """The reference is the plain way on the same GPU, in the same dtype, instead of the CPU in float64."""
    dtypes: tuple[str, ...] = DTYPES


CHECKS = {
    "convolution: pointwise": Check(convolutions("pointwise")),
    "convolution: im2col": Check(convolutions("im2col")),
    "convolution: implicit_gemm": Check(convolutions("implicit_gemm")),
    "convolution: implicit_gemm, few kernels": Check(small_sums),
    "convolution: depthwise": Check(convolutions("depthwise")),
    "unfold, fold": Check(windows),
    "pooling": Check(pools),
    "batch normalisation": Check(batch_norm),
    "cross-entropy": Check(losses),
    "softmax": Check(softmaxes),
    "rectifiers": Check(activations),
    "dropout": Check(dropouts, plain=True),
    "random slopes": Check(draws, plain=True),
    "SGD": Check(optimizer(nn.SGD, momentum=0.9)),
    "Adam": Check(optimizer(nn.Adam), dtypes=WIDE),  # its eps of 1e-8 is 0 in half precision
    "RMSprop": Check(optimizer(nn.RMSprop)),
    "Adagrad": Check(optimizer(nn.Adagrad)),
    "gradient clipping": Check(clipping),
    "moving average": Check(averaging),
    "gradient scaling": Check(scaling, dtypes=WIDE),
}
"""By name. Together they run every kernel."""


class Result(NamedTuple):
    name: str
    dtype: str
    kernels: int
    """This many different ones of ours ran; the rest is CuPy's and NVIDIA's."""
    error: float
    """The largest difference, of the largest value of the same result."""

    @property
    def passed(self) -> bool:
        return self.error <= TOLERANCE[self.dtype]


def existing() -> set[tuple[str, str]]:
    """Every kernel of the library: its file's name, and its own."""
    found = set()
    for floor in ("microtensor", "nn"):
        for path in (ROOT / floor).rglob("*.cu"):
            found |= {(path.name, name) for name in KERNEL.findall(path.read_text(encoding="utf-8"))}
    return found


@contextmanager
def launches() -> Iterator[set[Launched]]:
    """Which kernels are launched inside."""
    found: set[Launched] = set()
    before = kernels._compiled

    def compiled(xp: Any, own: Any, letter: str, name: str) -> Any:
        found.add((own.path.name, name, np.dtype(letter).name))
        return before(xp, own, letter, name)

    kernels._compiled = compiled
    try:
        yield found
    finally:
        kernels._compiled = before


def checked(name: str, dtype: str, device: str) -> tuple[Result, set[Launched]]:
    """One check in one dtype."""
    check = CHECKS[name]
    with launches() as launched:
        ours = [y.numpy() for y in check.compute(Make(device, dtype, dtype))]
    if check.plain:
        with kernels.plain():
            wanted = [y.numpy() for y in check.compute(Make(device, dtype, dtype))]
    else:
        wanted = [y.numpy() for y in check.compute(Make("cpu", "float64", dtype))]
    errors = [
        float(np.abs(y.astype(float) - right).max() / max(np.abs(right).max(), 1e-30))
        for y, right in zip(ours, wanted)
        if y.size
    ]
    return Result(name, dtype, len(launched), max(errors) if np.isfinite(errors).all() else float("nan")), launched


def every(device: str, dtypes: tuple[str, ...] = DTYPES) -> tuple[list[Result], list[str]]:
    """All checks, and the kernels that none of them ran, as "file: kernel"."""
    results, launched = [], set()
    for name in CHECKS:
        for dtype in [dtype for dtype in dtypes if dtype in CHECKS[name].dtypes]:
            result, more = checked(name, dtype, device)
            results.append(result)
            launched |= more
    return results, sorted(
        f"{file}: {kernel}" for file, kernel in existing() - {(file, kernel) for file, kernel, _ in launched}
    )
