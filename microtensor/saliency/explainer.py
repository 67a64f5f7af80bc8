"""What every saliency method works on: a model, images, and the one score of each image that is explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np

from ..autograd.arguments import BYTES
from ..autograd.backward import grad
from ..autograd.grad_mode import enable_grad, no_grad
from ..autograd.graph import Node, is_floating
from ..ops.gathering import take_along_dim
from ..ops.join import cat
from ..ops.smooth_activations import sigmoid
from ..ops.softmax import softmax
from ..runtime.arrays import is_array, to_numpy
from ..runtime.integers import as_integer
from ..tensor import Tensor
from .eval_mode import eval_mode
from .softmax import are_probabilities, ends_in_sigmoid, ends_in_softmax, warn

Model: TypeAlias = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) → scores (N, classes)."""

Target: TypeAlias = int | Sequence[int] | Any | Callable[[Tensor], Tensor] | None
"""The score that is explained: None for the highest score of each image; one class for all images, or one for each (a list, an
array, a Tensor); or a function that computes one value per image from the scores: (N, …) → (N,)."""

Reduce: TypeAlias = Literal["max", "mean"] | None


class Explainer:
    """A model, images, and the score of each image that is explained. Inside its `with` block all layers are in eval mode.

    The model may be a function that calls modules: each module is put in eval mode when it is called, before it computes.
    The score of an image must not depend on the other images of the batch: if the model mixes images, each is passed alone.
    Variants of the N images (masked, with noise, …) are rows of one batch, N rows per variant: row i belongs to image i % N.
    """

    def __init__(self, name: str, model: Any, x: Any, target: Target = None, batch_size: Any = 32, warns: bool = True) -> None:
        self.name, self.model, self.target = f"saliency.{name}", model, target
        if not callable(model):
            raise TypeError(f"{self.name}: the model must be callable, images → scores, got {type(model).__name__}")
        self.images, self.single = self._images(x)
        self.variants_per_batch = max(1, as_integer(self.name, "batch_size", batch_size, least=1) // max(1, len(self.images)))
        """How many variants of all images are passed through the model in one batch."""
        self.classes: np.ndarray[Any, Any] | None = None
        """The explained class of each image, known after `prepare`; stays None if the target is a function."""
        self.gives_probabilities = False
        """Whether the model returns probabilities rather than logits."""
        self._warned = not warns
        self._one_by_one: bool | None = None
        """Whether each image is passed through the model alone, because the model mixes images; None: not known yet."""
        self._pending_warning = ""

    def __enter__(self) -> Explainer:
        """Put the layers in eval mode: the model's now, those that a function calls when it calls them."""
        self._modes = eval_mode(self.model)
        self._modes.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Restore each layer's own training or eval mode, and give a pending warning."""
        self._modes.__exit__(kind, error, trace)
        if error is None and self._pending_warning:
            warn(self._pending_warning)

    def prepare(self, probability: bool = False) -> Tensor:
        """Run the model on the unchanged images to find the class of each that is explained. Returns their scores.

        Args:
            probability: probabilities are needed: find out whether the model returns probabilities or logits.
        """
        with no_grad():
            scores = self.scores(self.images)
            self.score(scores)
            self.gives_probabilities = are_probabilities(scores)
            if probability and not callable(self.target) and not self.gives_probabilities and len(self.images):
                self.gives_probabilities = ends_in_sigmoid(self.model, self.images[:1])  # one class, or several labels
                if not self.gives_probabilities and scores.shape[1] == 1 and bool(((scores >= 0) & (scores <= 1)).all()):
                    warn(
                        f"{self.name}: the single score of each image lies between 0 and 1 and is taken for a logit, whose "
                        "sigmoid is the probability; if it is a probability, pass target=lambda scores: scores[:, 0]"
                    )
        return scores

    def gradient(self, images: Tensor) -> Tensor:
        """The gradient of each image's explained score with respect to its pixels: (M, C, H, W) → the same shape."""
        leaf = images.detach().requires_grad_()
        with enable_grad():
            scores = self.scores(leaf)
            (g,) = self.backward(scores, [leaf], self.seed(scores))
        return g

    def backward(self, scores: Tensor, inputs: Sequence[Tensor], seed: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the scores, weighted by `seed`, with respect to several inputs, in one backward pass."""
        gradients = grad(scores, inputs, seed, allow_unused=True)
        if any(g is None for g in gradients):
            raise self.no_gradient_error()
        return gradients

    def values(self, images: Tensor, probability: bool = False) -> Tensor:
        """The explained value of each image: (M, C, H, W) → (M,): its score, or with `probability` its probability."""
        with no_grad():
            scores = self.scores(images)
            if probability and not callable(self.target) and not self.gives_probabilities:
                scores = sigmoid(scores) if scores.shape[1] == 1 else softmax(scores, dim=1)
            return self.score(scores)

    def values_of_variants(self, count: int, variants: Callable[[int, int], Tensor], probability: bool = False) -> Tensor:
        """The explained values of `count` variants of each image: (count, N).

        Args:
            variants: makes the variants `start` to `stop` of all images: (stop − start, N, C, H, W).
        """
        parts = []
        for start, stop in self.batches(count):
            images = variants(start, stop)
            parts.append(self.values(images.reshape(-1, *images.shape[2:]), probability).reshape(stop - start, -1))
        return cat(parts, dim=0)

    def batches(self, count: int) -> Iterator[tuple[int, int]]:
        """Split `count` variants into (start, stop) ranges, each passed through the model in one batch."""
        return ((start, min(start + self.variants_per_batch, count)) for start in range(0, count, self.variants_per_batch))

    def scores(self, images: Tensor) -> Tensor:
        """The model's scores for images (M, C, H, W): (M, classes), or (M, …) if the target is a function of the scores."""
        if not self._one_by_one:
            scores = self._run(images)
            independent = images.requires_grad and not scores.requires_grad
            if self._one_by_one is None and len(images) > 1 and not independent:
                self._one_by_one = self._mixes(images.detach(), scores.detach())
        if self._one_by_one:
            scores = cat([self._run(images[i : i + 1]) for i in range(len(images))], dim=0)
        if images.requires_grad:
            if not scores.requires_grad:
                raise self.no_gradient_error()
            if not self._warned and not callable(self.target) and ends_in_softmax(scores):
                self._warned = True
                warn(
                    f"{self.name}: the model ends in softmax: where the probability is near 1 its gradient vanishes, and it "
                    "also contains the gradients of other classes; pass the model without it, or saliency.before_softmax(model)"
                )
        return scores

    def _run(self, images: Tensor) -> Tensor:
        """The model's result for images, checked to be scores."""
        scores = self.model(images)
        expected = "(N, …)" if callable(self.target) else "(N, classes)"
        if not isinstance(scores, Tensor):
            hint = ""
            if isinstance(scores, dict):
                hint = f"; pick them out: lambda x: model(x)[{next(iter(scores), '…')!r}]"
            elif isinstance(scores, (tuple, list)):
                hint = "; pick them out: lambda x: model(x)[0]"
            found = type(scores).__name__
            raise TypeError(f"{self.name}: the model must return a Tensor of scores {expected}, it returned {found}{hint}")
        count = len(images)
        fits = scores.ndim > 0 if callable(self.target) else scores.ndim == 2 and scores.shape[1] > 0
        if not fits or scores.shape[0] != count or not is_floating(scores.dtype):
            hint = ""
            if scores.shape == (count,):
                hint = "; for one score of each image: lambda x: model(x).unsqueeze(1)"
            elif scores.ndim > 2 and scores.shape[0] == count:
                hint = f"; of scores for each place, their mean: lambda x: model(x).mean(dim={tuple(range(2, scores.ndim))})"
            raise ValueError(
                f"{self.name}: the model must return floating-point scores {expected.replace('N', str(count))} "
                f"for images {images.shape}, it returned {scores.dtype} {scores.shape}{hint}"
            )
        return scores

    def _mixes(self, images: Tensor, together: Tensor) -> bool:
        """Whether the scores of an image depend on the other images of the batch, as in batch norm without running statistics.

        Compares the first and the last image, passed alone, with their rows of the whole batch.
        """
        limit = (1e-2 if together.dtype.itemsize == 2 else 1e-3) * together.abs().max()
        for i in (0, len(images) - 1):
            try:
                with no_grad():
                    alone = self._run(images[i : i + 1])
            except (TypeError, ValueError) as error:
                self._pending_warning = (
                    f"{self.name}: the model takes {len(images)} images, but not one alone ({error}): it is not known whether "
                    "images change each other's scores"
                )
                return False
            if alone.shape[1:] == together.shape[1:] and bool(((alone[0] - together[i]).abs() > limit).any()):
                return True
        return False

    def score(self, scores: Tensor) -> Tensor:
        """The explained value of each image: scores (M, …) → (M,)."""
        if callable(self.target):
            values = self.target(scores)
            if not isinstance(values, Tensor) or values.shape != scores.shape[:1]:
                found = str(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise ValueError(
                    f"{self.name}: the score function must return a Tensor ({len(scores)},), one value per image, for scores "
                    f"{scores.shape}; it returned {found}"
                )
            return values
        return take_along_dim(scores, self._chosen(scores).unsqueeze(1), 1).squeeze(1)

    def seed(self, scores: Tensor) -> Tensor:
        """The gradient that the backward pass starts from, of the scores' shape: for a class, 1 there and 0 elsewhere."""
        if callable(self.target):
            values = self.score(scores)
            if not values.requires_grad:
                raise ValueError(f"{self.name}: the result of the score function does not depend on the scores")
            ones = Tensor(values.xp.ones(values.shape, values.dtype))
            (g,) = grad(values, scores, ones, retain_graph=True, allow_unused=True)
            if g is None:
                raise ValueError(f"{self.name}: the result of the score function does not depend on the scores")
            return g
        xp, chosen = scores.xp, self._chosen(scores)
        return Tensor((xp.arange(scores.shape[1]) == chosen.array[:, None]).astype(scores.dtype))

    def like_x(self, pixels: Tensor) -> Tensor:
        """The result with the batch axis that x had: all rows, or the only one if x was a single image."""
        return pixels[0] if self.single else pixels

    def no_gradient_error(self) -> ValueError:
        """The error for scores that no gradient connects with the images."""
        return ValueError(
            f"{self.name}: the scores do not depend on x: the model must compute them from its argument, "
            "in operations on Tensors, outside no_grad() and without detach()"
        )

    def _images(self, x: Any) -> tuple[Tensor, bool]:
        """x as images (N, C, H, W) without a graph, and whether it was a single image (C, H, W)."""
        if not isinstance(x, Node) and not is_array(x):
            found = type(x).__name__
            wrap = "wrap it: Tensor(...)"
            if isinstance(x, (tuple, list)) and any(isinstance(part, Node) or is_array(part) for part in x):
                wrap = "only one input is explained; hold the others fixed: lambda x: model(x, other)"
            raise TypeError(f"{self.name}: x must be a Tensor or an array of images, got {found}; {wrap}")
        if not is_floating(x.dtype):
            hint = BYTES if x.dtype == np.uint8 else "use .to('float32')"
            raise TypeError(f"{self.name}: x must be floating point, got {x.dtype}: integers have no gradients; {hint}")
        if x.ndim not in (3, 4):
            raise ValueError(f"{self.name}: x must be images (N, C, H, W) or one image (C, H, W), got shape {x.shape}")
        images = Tensor(x).detach().clone()  # a copy: the model may write into its argument
        return (images.unsqueeze(0), True) if x.ndim == 3 else (images, False)

    def _chosen(self, scores: Tensor) -> Tensor:
        """The explained class of each row of scores (M, classes), on their device: (M,)."""
        count, classes = len(self.images), scores.shape[1]
        if self.classes is None:
            self.classes = self._classes(scores[:count])
        outside = self.classes[(self.classes < 0) | (self.classes >= classes)]
        if outside.size:
            raise ValueError(f"{self.name}: target {outside[0]} is out of range: the classes are 0 to {classes - 1}")
        return Tensor(np.resize(self.classes, len(scores)), device=scores.device)

    def _classes(self, scores: Tensor) -> np.ndarray[Any, Any]:
        """The explained class of each image: (N,)."""
        target, count = self.target, len(self.images)
        if target is None:
            return to_numpy(scores.array.argmax(1))
        try:
            given = target.array if isinstance(target, Node) else target
            chosen = to_numpy(given) if is_array(given) else np.asarray(given)
        except ValueError:  # nested lists of unequal length
            chosen = np.empty(1, object)
        if chosen.dtype.kind not in "iu" and chosen.size:
            raise TypeError(f"{self.name}: target must be an integer, or one for each image, or a function, got {target!r}")
        if chosen.shape not in ((), (count,)):
            raise ValueError(
                f"{self.name}: target must be one class, or one for each of {count} images, got shape {chosen.shape}"
            )
        return np.broadcast_to(chosen.astype(np.int64), (count,))


def check_reduce(name: str, reduce: Any) -> None:
    """Raise ValueError unless `reduce` is "max", "mean" or None."""
    if reduce not in ("max", "mean", None):
        raise ValueError(f'saliency.{name}: reduce must be "max", "mean" or None, got {reduce!r}')


def over_channels(g: Tensor, reduce: Reduce) -> Tensor:
    """Reduce the channels of a gradient: (N, C, H, W) → largest or mean magnitude (N, H, W); a copy if `reduce` is None."""
    if reduce is None:
        return g.clone()  # a copy: the engine's array may be shared
    return g.abs().amax(dim=1) if reduce == "max" else g.abs().mean(dim=1)


def check_map(name: str, explainer: Explainer, map: Any) -> Tensor:
    """A saliency map for the explainer's images as (N, H, W); for a single image it may be (H, W).

    Raises:
        TypeError: it is not an array of numbers.
        ValueError: its shape does not match the images, or it holds nan.
    """
    if not isinstance(map, Node) and not is_array(map):
        raise TypeError(f"saliency.{name}: the map must be a Tensor or an array, got {type(map).__name__}")
    shape = explainer.images.shape
    expected = shape[2:] if explainer.single else (shape[0], *shape[2:])
    if map.shape != expected:
        raise ValueError(f"saliency.{name}: for images {shape} the map must be {expected}, got {map.shape}")
    if map.dtype.kind not in "iuf":
        raise TypeError(f"saliency.{name}: the map must hold numbers, got {map.dtype}")
    result = Tensor(map).detach().reshape(shape[0], *shape[2:])
    if bool((result != result).any()):
        raise ValueError(f"saliency.{name}: the map holds nan")
    return result
