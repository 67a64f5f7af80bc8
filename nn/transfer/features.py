"""What a frozen base makes of each image, computed once and kept: what comes after it trains on that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from microtensor import random
from microtensor.autograd.backward import no_grad
from microtensor.data.dataset import Samples, TensorDataset, batch_of
from microtensor.data.transform import transformed
from microtensor.runtime.arrays import is_array
from microtensor.runtime.integers import as_integer
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from ..inspect.activations import layer_of
from ..module import Module
from ..training.run import device_of
from .head import find


class Features(TensorDataset):
    """Features and labels as a data set: sample i is what a base makes of the i-th image, and its label.

    `tensors` are both, features (N, …) and labels (N, …), in memory, where the model was.
    """

    @property
    def nbytes(self) -> int:
        """The memory that features and labels take, in bytes."""
        return sum(x.array.nbytes for x in self.tensors)

    def __repr__(self) -> str:
        features = self.tensors[0]
        return f"Features({len(self):,} samples of {features.dtype} {features.shape[1:]}, {self.nbytes / 1e6:,.1f} MB)"


def cache_features(
    model: Module,
    dataset: Samples,
    at: str | None = None,
    transform: Callable[..., Any] | None = None,
    batch_size: int = 64,
) -> Features:
    """Run `model` once over `dataset` in eval mode, and keep what comes to its head: images (N, C, H, W) → features (N, …).

    A frozen base gives the same features for the same image, so nothing is lost if it runs once, not in every epoch. What
    comes after it then learns from them, at the price of a small layer; as it is a part of the model, the model learns too:
    `fit(head_of(model), DataLoader(features, 32, shuffle=True), …)`. The features are those of the base as it is now: when it
    has changed, cache anew.

    All is kept in memory on the model's device, N · (numbers per sample) · 4 bytes in float32: `nbytes` says how many. An
    image of 3·224·224 that becomes 1,280 numbers takes 5 KB instead of 602.

    Args:
        dataset: samples (image, label), or (input, …, label) for a model of several inputs.
        at: the dotted name of the module whose input is kept, where more than the head is to learn: the first of all that
            comes after the base. None: the head, see `head_of`. Dropout before it is off.
        transform: as in `DataLoader`, of the images of a batch; not a random one.
        batch_size: images that run through the model at a time.

    Raises:
        TypeError: the model is no Module; `dataset` is a DataLoader, or no data set; its samples are no tuples of arrays.
        ValueError: the data set is empty; it or the transform draws random numbers, of which every epoch would see the one
            draw that was kept; `at` is not found, or does not compute once per batch on one tensor; without `at`, the model
            does more with the scores than to flatten them.

    >>> from microtensor import models, nn
    >>> from microtensor.data import DataLoader, Subset, mnist_sample
    >>> model = nn.transfer.freeze_base(models.lenet5())
    >>> features = cache_features(model, Subset(mnist_sample(), range(100)))
    >>> features
    Features(100 samples of float32 (84,), 0.0 MB)
    >>> head = nn.transfer.head_of(model)
    >>> optimizer = nn.SGD(head.parameters(), lr=0.1)
    >>> history = nn.fit(head, DataLoader(features, 32, shuffle=True), nn.cross_entropy, optimizer, progress=False)
    """
    where, module = find("cache_features", model, None) if at is None else (at, layer_of("cache_features", model, at))
    _check_data(dataset, transform)
    size = as_integer("cache_features", "batch_size", batch_size, least=1)
    count, device = len(dataset), device_of(model)
    kept: list[Any] = []  # features, labels: made when their first batch is known
    with _Watch(module) as watch, model.evaluating(), no_grad():
        for start in range(0, count, size):
            rows = np.arange(start, min(start + size, count))
            *inputs, labels = _batch(dataset, rows, transform, again=start == 0)
            watch.passed.clear()
            result = model(*(x.to(device) for x in inputs))
            features, scores = _one(watch.passed, where, len(rows))
            if at is None:
                _check_rest(model, where, scores, result)
            parts = (features.array, labels.to(device).array)
            kept = kept or [features.xp.empty((count, *part.shape[1:]), part.dtype) for part in parts]
            for whole, part in zip(kept, parts):
                if part.shape[1:] != whole.shape[1:]:
                    shapes = f"sample {start} gives {part.shape[1:]}, those before it {whole.shape[1:]}"
                    raise ValueError(f"cache_features: {shapes}; give images of one size")
                whole[start : start + len(rows)] = part
    return Features(*(Tensor(whole) for whole in kept))


class _Watch:
    """Notes what goes into a module, and what comes out of it."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.passed: list[tuple[Any, Any]] = []

    def __enter__(self) -> _Watch:
        self.handle = self.module.register_forward_hook(lambda module, args, result: self.passed.append((args, result)))
        return self

    def __exit__(self, *error: object) -> None:
        self.handle.remove()


def _one(passed: list[tuple[Any, Any]], where: str, samples: int) -> tuple[Tensor, Any]:
    """The one tensor that went into the module, a row for each sample, and what came out."""
    if len(passed) != 1:
        raise ValueError(
            f"cache_features: {where} computed {len(passed)} times for a batch, and once is needed; name another module: at=…"
        )
    args, result = passed[0]
    if len(args) != 1 or not isinstance(args[0], Tensor) or args[0].shape[:1] != (samples,):
        given = ", ".join(str(x.shape) if isinstance(x, Tensor) else kind_of(x) for x in args)
        raise ValueError(
            f"cache_features: {where} takes {given} for {samples} samples, and one tensor ({samples}, …) is needed; name "
            "another module: at=…"
        )
    return args[0], result


def _check_rest(model: Module, where: str, scores: Tensor, result: Any) -> None:
    """Refuse to leave out what the model does after its head."""
    view = isinstance(result, Tensor) and result.assigned is scores.assigned  # in another shape, perhaps
    if not (view and result.array.size == scores.array.size):
        raise ValueError(
            f"cache_features: {type(model).__name__} computes on with the scores of {where or 'its head'}, and that would be "
            "left out; give at= the first module of all that comes after the base, and train that with what follows"
        )


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether all numbers are the same; nan is as nan."""
    return x.shape == y.shape and bool(((x.array == y.array) | (x.array != x.array)).all())


def _check_data(dataset: Any, transform: Any) -> None:
    if hasattr(dataset, "dataset") and hasattr(dataset, "batch_size"):
        raise TypeError(
            "cache_features: dataset: expected a data set, got a DataLoader; give its data set, and its transform: "
            "cache_features(model, loader.dataset, transform=loader.transform)"
        )
    indexed = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if not indexed or isinstance(dataset, (tuple, dict, str, bytes, Tensor)) or is_array(dataset):
        raise TypeError(
            f"cache_features: dataset: expected a data set, got {kind_of(dataset)}; make one: TensorDataset(images, labels)"
        )
    if not len(dataset):
        raise ValueError("cache_features: the data set is empty")
    if transform is not None and (not callable(transform) or isinstance(transform, type)):
        raise TypeError(f"cache_features: transform: expected a transform, a function or None, got {kind_of(transform)}")


def _batch(dataset: Samples, rows: Any, transform: Any, again: bool) -> list[Tensor]:
    """These samples, which are refused if any random number was drawn for them.

    Whoever draws from this library's generators is found out by their state; whoever draws from elsewhere, by two batches of
    the same samples that differ: the first is fetched twice.
    """
    own = random.Generator(0)
    before = own.get_state(), random.default.get_state()
    batch = _fetched(dataset, rows, transform, own)
    drawn = before != (own.get_state(), random.default.get_state())
    if not drawn and again:
        second = _fetched(dataset, rows, transform, own)
        drawn = not all(map(_equal, batch, second))
    if drawn:
        name = kind_of(dataset) if transform is None else repr(transform)
        raise ValueError(
            f"cache_features: {name} is random, and features are computed once: every epoch would see the same draw; cache "
            "images as they are, or train the whole model, frozen, on random ones: fit(freeze_base(model), …)"
        )
    return batch


def _fetched(dataset: Samples, rows: Any, transform: Any, generator: random.Generator) -> list[Tensor]:
    batch: Any = batch_of(dataset, rows)
    if transform is not None and isinstance(batch, (tuple, list)):
        batch = transformed(transform, tuple(x.array if isinstance(x, Tensor) else x for x in batch), generator)
    fits = isinstance(batch, (tuple, list)) and len(batch) > 1 and all(isinstance(x, Tensor) or is_array(x) for x in batch)
    if not fits:
        given = ", ".join(map(kind_of, batch)) if isinstance(batch, (tuple, list)) else kind_of(batch)
        raise TypeError(f"cache_features: expected samples (image, label) from {kind_of(dataset)}, got {given}")
    return [x if isinstance(x, Tensor) else Tensor(x) for x in batch]
