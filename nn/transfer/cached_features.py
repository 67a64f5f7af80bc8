"""Features of a frozen base, computed once per image and cached: only the layers after it are trained on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from microtensor import random
from microtensor.autograd.grad_mode import no_grad
from microtensor.data.dataset import Samples, TensorDataset, batch_of
from microtensor.data.transform_base import transformed
from microtensor.runtime.arrays import is_array
from microtensor.runtime.integers import as_integer
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from ..inspect.layer_outputs import layer_of
from ..module import Module
from ..training.run import device_of
from .head import find


class Features(TensorDataset):
    """Features and labels as a data set: sample i is the output of a base for the i-th image, and its label.

    `tensors` are the features (N, …) and the labels (N, …), on the device of the model.
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
    """Run `model` once over `dataset` in eval mode, and keep the input of its head: images (N, C, H, W) → features (N, …).

    A frozen base computes the same features for an image in every epoch, so once is enough. Then the head, which remains a
    part of the model, is trained on them, much faster: `fit(head_of(model), DataLoader(features, 32, shuffle=True), …)`. When
    the base has been changed, its features must be computed again.

    They take N · (elements per sample) · 4 bytes in float32 on the model's device, see `nbytes`: 5 KB for 1,280 features of an
    image of 3·224·224, which takes 602 KB itself.

    Args:
        dataset: samples (image, label), or (input, …, label) for a model with several inputs.
        at: the dotted name of the module whose input is kept, to train more than the head: the first one after the base. None:
            the head, see `head_of`. Dropout before it is off.
        transform: as in `DataLoader`, of the images of a batch; it must not be random.
        batch_size: images per call of the model.

    Raises:
        TypeError: the model is no Module; `dataset` is a DataLoader, or no data set; its samples are no tuples of arrays.
        ValueError: the data set is empty; it or the transform is random; `at` is not found, or is not called once per batch
            with one tensor; without `at`, the model does more with the scores than flatten them.

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
    name, module = find("cache_features", model, None) if at is None else (at, layer_of("cache_features", model, at))
    _check_data(dataset, transform)
    size = as_integer("cache_features", "batch_size", batch_size, least=1)
    count, device = len(dataset), device_of(model)
    kept: list[Any] = []  # features and labels, allocated when the shapes of the first batch are known
    with _Recorder(module) as recorder, model.evaluating(), no_grad():
        for start in range(0, count, size):
            rows = np.arange(start, min(start + size, count))
            *inputs, labels = _batch(dataset, rows, transform, again=start == 0)
            recorder.calls.clear()
            result = model(*(x.to(device) for x in inputs))
            features, scores = _single_call(recorder.calls, name, len(rows))
            if at is None:
                _check_scores_are_result(model, name, scores, result)
            parts = (features.array, labels.to(device).array)
            kept = kept or [features.xp.empty((count, *part.shape[1:]), part.dtype) for part in parts]
            for whole, part in zip(kept, parts):
                if part.shape[1:] != whole.shape[1:]:
                    shapes = f"sample {start} gives {part.shape[1:]}, those before it {whole.shape[1:]}"
                    raise ValueError(f"cache_features: {shapes}; give images of one size")
                whole[start : start + len(rows)] = part
    return Features(*(Tensor(whole) for whole in kept))


class _Recorder:
    """Records the inputs and the output of each call of a module, by a forward hook."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.calls: list[tuple[Any, Any]] = []

    def __enter__(self) -> _Recorder:
        self.handle = self.module.register_forward_hook(lambda module, args, result: self.calls.append((args, result)))
        return self

    def __exit__(self, *error: object) -> None:
        self.handle.remove()


def _single_call(calls: list[tuple[Any, Any]], where: str, samples: int) -> tuple[Tensor, Any]:
    """The input, one tensor with a row per sample, and the output of the only call of a module."""
    if len(calls) != 1:
        raise ValueError(
            f"cache_features: {where} computed {len(calls)} times for a batch, and once is needed; name another module: at=…"
        )
    args, result = calls[0]
    if len(args) != 1 or not isinstance(args[0], Tensor) or args[0].shape[:1] != (samples,):
        given = ", ".join(str(x.shape) if isinstance(x, Tensor) else kind_of(x) for x in args)
        raise ValueError(
            f"cache_features: {where} takes {given} for {samples} samples, and one tensor ({samples}, …) is needed; name "
            "another module: at=…"
        )
    return args[0], result


def _check_scores_are_result(model: Module, where: str, scores: Tensor, result: Any) -> None:
    """Check that the model returns the scores of its head, and does not compute further with them."""
    view = isinstance(result, Tensor) and result.assigned is scores.assigned  # it may have another shape
    if not (view and result.array.size == scores.array.size):
        raise ValueError(
            f"cache_features: {type(model).__name__} computes on with the scores of {where or 'its head'}, and that would be "
            "left out; give at= the first module of all that comes after the base, and train that with what follows"
        )


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether all elements are equal; nan equals nan."""
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
    """A batch of these samples. Raises ValueError if the data set or the transform is random.

    Draws from this library's generators are found by comparing their state before and after, others by fetching the first
    batch twice.
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
