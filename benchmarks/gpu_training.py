"""LeNet-5 and CIFAR's ResNet-20 on a GPU: they learn the digits that come with the package; and how long their steps take.

The digits are 28×28 and grey. For the ResNet they are padded to 32×32, and stand in all three channels.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import microtensor as mt
from benchmarks.gpu_speed import Effort, Timing, Work, timed
from benchmarks.modules import ours, pytorchs
from benchmarks.nets import NETS
from microtensor import models, nn
from microtensor.data import DataLoader, mnist_sample
from microtensor.data.labelled_images import MNIST_MEAN, MNIST_STD

PRECISIONS = ("float32", "float32, TF32", "float16")
"""float16 is mixed precision: autocast, and a gradient scaler."""


BLACK = -MNIST_MEAN / MNIST_STD
"""As the data set's images have it."""


SKIP = 4


class Recipe(NamedTuple):
    """How a network is trained, and what it must reach."""

    make: Callable[[], Any]
    net: str
    """Its name among the benchmarks' networks."""
    coloured: bool
    batch: int
    steps: int
    lr: float
    accuracy: float
    """On the 1,000 test digits, at least."""


RECIPES = {
    "LeNet-5": Recipe(models.lenet5, "lenet5", False, 128, 400, 0.05, 0.97),
    "ResNet-20": Recipe(models.cifar_resnet20, "resnet20", True, 128, 200, 0.05, 0.95),
}


def as_it_is(x: Any) -> Any:
    return x


def coloured(x: Any) -> Any:
    """(N, 1, 28, 28) → (N, 3, 32, 32), on the device: black all round, and three times the same."""
    return mt.cat([mt.pad(x, (2, 2, 2, 2), value=BLACK)] * 3, 1)


def skipping(x: Any) -> Any:
    return coloured(x)[:, :, ::SKIP, ::SKIP]


def precise(precision: str) -> AbstractContextManager[Any]:
    """Inside, a forward pass computes in this precision."""
    return mt.autocast("cuda", "float16") if precision == "float16" else nullcontext()


class Learned(NamedTuple):
    batch: int
    steps: int
    accuracy: float
    milliseconds: float
    """Of a step, loading, preparing and uploading batches included: the median."""


def learn(xp: Any, recipe: Recipe, precision: str, device: str, few: int | None = None) -> Learned:
    """Train from seed 0, with batches that the loader uploads while the GPU works.

    Args:
        few: this many steps of two digits alone, and for the ResNet of every `SKIP`-th pixel alone.
    """
    mt.manual_seed(0)
    steps, batch = (recipe.steps, recipe.batch) if few is None else (few, 2)
    model = recipe.make().to(device)
    optimizer = nn.SGD(model.parameters(), lr=recipe.lr, momentum=0.9, weight_decay=1e-4)
    schedule = nn.OneCycleLR(optimizer, recipe.lr * 2, total_steps=steps)
    scaler = nn.GradScaler(enabled=precision == "float16")
    data = DataLoader(mnist_sample(), batch, shuffle=True, drop_last=True, device=device)
    prepare = as_it_is if not recipe.coloured else coloured if few is None else skipping
    marks = [xp.cuda.Event() for _ in range(steps + 1)]
    done = 0
    marks[0].record()
    with mt.cuda.allow_tf32(precision.endswith("TF32")):
        while done < steps:
            for images, labels in data:
                optimizer.zero_grad()
                with precise(precision):
                    loss = nn.cross_entropy(model(prepare(images)), labels)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                done += 1
                marks[done].record()
                if done == steps:
                    break
        marks[-1].synchronize()
        times = sorted(float(xp.cuda.get_elapsed_time(a, b)) for a, b in pairwise(marks))
        return Learned(batch, steps, accuracy(model, prepare, precision, device, few), times[len(times) // 2])


def accuracy(model: Any, prepare: Any, precision: str, device: str, few: int | None = None) -> float:
    """On the test digits, or on so few of them."""
    model.eval()
    right = total = 0
    with mt.no_grad(), precise(precision):
        for images, labels in DataLoader(mnist_sample(train=False), few or 250, device=device):
            right += int((model(prepare(images)).argmax(1) == labels).sum().item())
            total += len(labels)
            if few is not None:
                break
    return right / total


# Steps beside PyTorch's


class Step(NamedTuple):
    """A training step on a batch that is on the GPU already: forward, cross-entropy, backward, SGD with momentum."""

    images: int
    times: dict[str, Timing]
    """By library."""
    memory: dict[str, int]
    """Bytes that each took from the GPU at most, beyond what was there."""
    flops: int
    """Of the products and convolutions of a step: two for each multiply-add, forward once, backward twice."""


def steps(xp: Any, name: str, batch: int, precision: str, device: str, effort: Effort, small: bool = False) -> Step:
    """`small`: on images of a quarter of the side, for a network that takes any."""
    net = NETS[name]
    channels, *size = net.shape
    size = [side // SKIP for side in size] if small and name != "lenet5" else size
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((batch, channels, *size), np.float32), rng.integers(0, net.classes, batch)
    work, memory = {}, {}
    with mt.cuda.allow_tf32(precision.endswith("TF32")):
        for library, make in (("microtensor", our_step), ("PyTorch", torchs_step)):
            made = make(name, images, labels, precision, device)
            if made is not None:
                work[library], taken = made
                for _ in range(effort.warm):
                    work[library]()
                memory[library] = taken()
        times = timed(xp, work, effort)
    adds = nn.summary(ours(net.layers), (channels, *size)).multiply_adds
    return Step(batch, times, memory, 6 * adds * batch)


def our_step(name: str, images: Any, labels: Any, precision: str, device: str) -> tuple[Work, Callable[[], int]]:
    mt.cuda.empty_cache()
    before = mt.cuda.memory_reserved(device)
    model = ours(NETS[name].layers).to(device)
    optimizer = nn.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = nn.GradScaler(enabled=precision == "float16")
    x, y = mt.Tensor(images, device=device), mt.Tensor(labels, device=device)

    def work() -> None:
        optimizer.zero_grad()
        with precise(precision):
            loss = nn.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return work, lambda: mt.cuda.memory_reserved(device) - before


def torchs_step(name: str, images: Any, labels: Any, precision: str, device: str) -> tuple[Work, Callable[[], int]] | None:
    """None where PyTorch is not installed, or finds no GPU."""
    torch = pytorch()
    if torch is None:
        return None
    tf32 = precision.endswith("TF32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    model = pytorchs(NETS[name].layers).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "float16")
    x, y = torch.tensor(images, device=device), torch.tensor(labels, device=device)

    def work() -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16, enabled=precision == "float16"):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return work, lambda: torch.cuda.memory_reserved(device) - before


def pytorch() -> Any:
    """PyTorch, if it can use a GPU here, else None."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


# How many kernels


ROOT = Path(__file__).parents[1]

COUNTED = {
    "LeNet-5": (models.lenet5, (4, 1, 28, 28)),
    "ResNet-20": (models.cifar_resnet20, (2, 3, 32, 32)),
    "DenseNet-BC-40": (lambda: models.cifar_densenet(40, 12), (2, 3, 32, 32)),
}


def kernels_per_step(*names: str) -> dict[str, list[int]] | None:
    """For each of these models: kernels of forward and loss, backward, SGD; counted on the tests' stand-in, in its own process.

    None where it cannot run: it needs the checkout's tests and g++.
    """
    command = [sys.executable, "-c", f"from benchmarks.gpu_training import count; count(*{names})"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return None if result.returncode else json.loads(result.stdout.splitlines()[-1])


def count(*names: str) -> None:
    """What that process does: the third step of each, as the first takes memory and compiles."""
    sys.path.insert(0, "tests/support")
    import strict

    if strict.COMPILER is None:
        raise SystemExit("no g++")
    sys.modules["cupy"], sys.modules["cudnn"] = strict.cupy, None
    found = {}
    for name in names:
        make, shape = COUNTED[name]
        model = make().to("cuda")
        optimizer = nn.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        x = mt.Tensor(np.random.default_rng(0).standard_normal(shape, np.float32), device="cuda")
        labels = mt.Tensor(np.arange(shape[0]) % 10, device="cuda")
        for _ in range(3):
            optimizer.zero_grad()
            with strict.counting() as forward:
                loss = nn.cross_entropy(model(x), labels)
            with strict.counting() as backward:
                loss.backward()
            with strict.counting() as update:
                optimizer.step()
        found[name] = [forward.kernels, backward.kernels, update.kernels]
    print(json.dumps(found))
