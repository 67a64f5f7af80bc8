"""What a saliency map is asked of: a model, images, and one number for each image. All methods begin here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np

from ..autograd.arguments import BYTES
from ..autograd.backward import enable_grad, grad, no_grad
from ..autograd.graph import Node, is_floating
from ..ops.gathering import take_along_dim
from ..ops.join import cat
from ..ops.smooth_activations import sigmoid
from ..ops.softmax import softmax
from ..runtime.arrays import is_array, to_numpy
from ..runtime.integers import as_integer
from ..tensor import Tensor
from .modes import eval_mode
from .softmax import are_probabilities, ends_in_sigmoid, ends_in_softmax, warn

Target: TypeAlias = int | Sequence[int] | Any | Callable[[Tensor], Tensor] | None
"""What is explained: None for each image's highest score, one class for all images, or one for each (an array, a Tensor); or a
function of the scores, row by row: (N, …) → (N,)."""

Reduce: TypeAlias = Literal["max", "mean"] | None


class Explainer:
    """A model, images, and which number of each image is asked about. In its `with` block all layers are in eval mode.

    That holds for a function that calls modules, too: each is put in eval mode when it is called, before it computes.
    An image's numbers do not depend on the other images: where the model mixes them, each goes through it alone.
    Variations of the N images come in rows, all N of the first variation before those of the second: row i is of image i % N.
    """

    def __init__(self, name: str, model: Any, x: Any, target: Target = None, batch_size: Any = 32, warns: bool = True) -> None:
        self.name, self.model, self.target = f"saliency.{name}", model, target
        if not callable(model):
            raise TypeError(f"{self.name}: the model must be callable, images → scores, got {type(model).__name__}")
        self.images, self.single = self._images(x)
        self.chunk = max(1, as_integer(self.name, "batch_size", batch_size, least=1) // max(1, len(self.images)))
        """How many variations of all images go through the model at once."""
        self.classes: np.ndarray[Any, Any] | None = None
        """The class of each image, once it is known; None for ever where a function says what is asked about."""
        self.probable = False
        """Whether the scores are probabilities already."""
        self._quiet = not warns
        self._alone: bool | None = None
        """Whether each image goes through the model alone; None: not known yet."""
        self._untold = ""

    def __enter__(self) -> Explainer:
        """Every layer in eval mode: those of the model now, those that a function calls when it does."""
        self._modes = eval_mode(self.model)
        self._modes.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Each layer in its own mode again, which need not be the same for all."""
        self._modes.__exit__(kind, error, trace)
        if error is None and self._untold:
            warn(self._untold)

    def settle(self, probability: bool = False) -> Tensor:
        """Let the model see the images as they are, to find out about which classes is asked. Returns their scores.

        Args:
            probability: it will be asked for probabilities: find out whether the scores are some.
        """
        with no_grad():
            scores = self.scores(self.images)
            self.score(scores)
            self.probable = are_probabilities(scores)
            if probability and not callable(self.target) and not self.probable and len(self.images):
                self.probable = ends_in_sigmoid(self.model, self.images[:1])  # of one class, or of several labels
                if not self.probable and scores.shape[1] == 1 and bool(((scores >= 0) & (scores <= 1)).all()):
                    warn(
                        f"{self.name}: the one score of each image lies between 0 and 1, and is taken for a logit, whose "
                        "sigmoid is the probability; if it is a probability itself: target=lambda scores: scores[:, 0]"
                    )
        return scores

    def gradient(self, images: Tensor) -> Tensor:
        """How much each one's score changes with each of its numbers: (M, C, H, W) → the same."""
        leaf = images.detach().requires_grad_()
        with enable_grad():
            scores = self.scores(leaf)
            return self.back(scores, leaf, self.seed(scores))

    def back(self, scores: Tensor, start: Tensor, seed: Tensor) -> Tensor:
        """The gradient of the scores, weighted by `seed`, with respect to what they were computed from."""
        return self.back_to(scores, [start], seed)[0]

    def back_to(self, scores: Tensor, starts: Sequence[Tensor], seed: Tensor) -> tuple[Tensor, ...]:
        """As `back`, for several that the scores were computed from, in one pass."""
        gradients = grad(scores, starts, seed, allow_unused=True)
        if any(g is None for g in gradients):
            raise self.independent()
        return gradients

    def values(self, images: Tensor, probability: bool = False) -> Tensor:
        """The number of each image: (M, C, H, W) → (M,). `probability`: of a class, that, and not its score."""
        with no_grad():
            scores = self.scores(images)
            if probability and not callable(self.target) and not self.probable:
                scores = sigmoid(scores) if scores.shape[1] == 1 else softmax(scores, dim=1)
            return self.score(scores)

    def over(self, count: int, varied: Callable[[int, int], Tensor], probability: bool = False) -> Tensor:
        """The numbers of `count` variations of each image: (count, N).

        Args:
            varied: variations `start` to `stop` of all images, (stop − start, N, C, H, W).
        """
        parts = []
        for start, stop in self.chunks(count):
            images = varied(start, stop)
            parts.append(self.values(images.reshape(-1, *images.shape[2:]), probability).reshape(stop - start, -1))
        return cat(parts, dim=0)

    def chunks(self, count: int) -> Iterator[tuple[int, int]]:
        """0 to `count`, in parts that go through the model at once."""
        return ((start, min(start + self.chunk, count)) for start in range(0, count, self.chunk))

    def scores(self, images: Tensor) -> Tensor:
        """What the model returns for images (M, C, H, W): scores (M, classes), or (M, …) for a function of the scores."""
        if not self._alone:
            scores = self._run(images)
            independent = images.requires_grad and not scores.requires_grad
            if self._alone is None and len(images) > 1 and not independent:
                self._alone = self._mixes(images.detach(), scores.detach())
        if self._alone:
            scores = cat([self._run(images[i : i + 1]) for i in range(len(images))], dim=0)
        if images.requires_grad:
            if not scores.requires_grad:
                raise self.independent()
            if not self._quiet and not callable(self.target) and ends_in_softmax(scores):
                self._quiet = True
                warn(
                    f"{self.name}: the model ends in softmax: where its probability is near 1 the gradient fades, and it also "
                    "shows what speaks for other classes; give the model without it, or saliency.before_softmax(model)"
                )
        return scores

    def _run(self, images: Tensor) -> Tensor:
        """What the model returns for images, if it is of use as scores."""
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
        """Whether an image's scores depend on which others go through the model with it, as where a layer normalises by the
        batch in eval mode too: seen by the first image and the last one, alone and among all."""
        limit = (1e-2 if together.dtype.itemsize == 2 else 1e-3) * together.abs().max()
        for i in (0, len(images) - 1):
            try:
                with no_grad():
                    alone = self._run(images[i : i + 1])
            except (TypeError, ValueError) as error:
                self._untold = (
                    f"{self.name}: the model takes {len(images)} images, but not one alone ({error}): whether images change "
                    "each other's scores is not known"
                )
                return False
            if alone.shape[1:] == together.shape[1:] and bool(((alone[0] - together[i]).abs() > limit).any()):
                return True
        return False

    def score(self, scores: Tensor) -> Tensor:
        """The numbers that are asked about: scores (M, …) → (M,)."""
        if callable(self.target):
            values = self.target(scores)
            if not isinstance(values, Tensor) or values.shape != scores.shape[:1]:
                found = str(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise ValueError(
                    f"{self.name}: the score function must give a Tensor ({len(scores)},), a number for each image, for scores "
                    f"{scores.shape}; it gave {found}"
                )
            return values
        return take_along_dim(scores, self._chosen(scores).unsqueeze(1), 1).squeeze(1)

    def seed(self, scores: Tensor) -> Tensor:
        """The gradient to start from, like the scores: of a class, 1 there and 0 at the others."""
        if callable(self.target):
            values = self.score(scores)
            if not values.requires_grad:
                raise ValueError(f"{self.name}: what the score function gives does not depend on the scores")
            ones = Tensor(values.xp.ones(values.shape, values.dtype))
            (g,) = grad(values, scores, ones, retain_graph=True, allow_unused=True)
            if g is None:
                raise ValueError(f"{self.name}: what the score function gives does not depend on the scores")
            return g
        xp, chosen = scores.xp, self._chosen(scores)
        return Tensor((xp.arange(scores.shape[1]) == chosen.array[:, None]).astype(scores.dtype))

    def answer(self, pixels: Tensor) -> Tensor:
        """A result for all images, or for the only one."""
        return pixels[0] if self.single else pixels

    def independent(self) -> ValueError:
        """The error where nothing leads from the scores to the images."""
        return ValueError(
            f"{self.name}: the scores do not depend on x: the model must compute them from its argument, "
            "in operations on Tensors, outside no_grad() and without detach()"
        )

    def _images(self, x: Any) -> tuple[Tensor, bool]:
        """Images (N, C, H, W) without graph, and whether x was a single one (C, H, W)."""
        if not isinstance(x, Node) and not is_array(x):
            found = type(x).__name__
            wrap = "wrap it: Tensor(...)"
            if isinstance(x, (tuple, list)) and any(isinstance(part, Node) or is_array(part) for part in x):
                wrap = "one input is explained; hold the others: lambda x: model(x, other)"
            raise TypeError(f"{self.name}: x must be a Tensor or an array of images, got {found}; {wrap}")
        if not is_floating(x.dtype):
            hint = BYTES if x.dtype == np.uint8 else "use .to('float32')"
            raise TypeError(f"{self.name}: x must be floating point, got {x.dtype}: only such pixels have gradients; {hint}")
        if x.ndim not in (3, 4):
            raise ValueError(f"{self.name}: x must be images (N, C, H, W) or one image (C, H, W), got shape {x.shape}")
        images = Tensor(x).detach().clone()  # a model may write into what it is given
        return (images.unsqueeze(0), True) if x.ndim == 3 else (images, False)

    def _chosen(self, scores: Tensor) -> Tensor:
        """The class of each row of scores (M, classes), on their device: (M,)."""
        count, classes = len(self.images), scores.shape[1]
        if self.classes is None:
            self.classes = self._classes(scores[:count])
        outside = self.classes[(self.classes < 0) | (self.classes >= classes)]
        if outside.size:
            raise ValueError(f"{self.name}: target {outside[0]} is out of range: the classes are 0 to {classes - 1}")
        return Tensor(np.resize(self.classes, len(scores)), device=scores.device)

    def _classes(self, scores: Tensor) -> np.ndarray[Any, Any]:
        """The class of each image (N,)."""
        target, count = self.target, len(self.images)
        if target is None:
            return to_numpy(scores.array.argmax(1))
        try:
            numbers = target.array if isinstance(target, Node) else target
            chosen = to_numpy(numbers) if is_array(numbers) else np.asarray(numbers)
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
    """Raise ValueError for what is no way to reduce channels."""
    if reduce not in ("max", "mean", None):
        raise ValueError(f'saliency.{name}: reduce must be "max", "mean" or None, got {reduce!r}')


def over_channels(g: Tensor, reduce: Reduce) -> Tensor:
    """(N, C, H, W) → the largest or the mean magnitude (N, H, W); a copy if `reduce` is None."""
    if reduce is None:
        return g.clone()  # an array of its own: the engine's may be shared
    return g.abs().amax(dim=1) if reduce == "max" else g.abs().mean(dim=1)


def check_map(name: str, explainer: Explainer, map: Any) -> Tensor:
    """A map for the explainer's images, (N, H, W), whether it came as this or, for one image, as (H, W).

    Raises:
        TypeError: it is not of numbers.
        ValueError: its shape is not the images', or it holds nan.
    """
    if not isinstance(map, Node) and not is_array(map):
        raise TypeError(f"saliency.{name}: the map must be a Tensor or an array, got {type(map).__name__}")
    shape = explainer.images.shape
    expected = shape[2:] if explainer.single else (shape[0], *shape[2:])
    if map.shape != expected:
        raise ValueError(f"saliency.{name}: for images {shape} the map must be {expected}, got {map.shape}")
    if map.dtype.kind not in "iuf":
        raise TypeError(f"saliency.{name}: the map must be of numbers, got {map.dtype}")
    result = Tensor(map).detach().reshape(shape[0], *shape[2:])
    if bool((result != result).any()):
        raise ValueError(f"saliency.{name}: the map holds nan")
    return result
