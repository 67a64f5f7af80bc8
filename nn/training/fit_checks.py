"""Checks of the arguments of `fit`: their types and ranges, and whether they belong together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from microtensor.autograd.arguments import is_number
from microtensor.runtime.integers import is_integer
from microtensor.runtime.text import kind_of
from microtensor.tensor import Tensor

from ..module import Module
from ..optim.grad_scaler import GradScaler
from ..optim.lr_cycles import OneCycleLR
from ..optim.lr_plateau import ReduceLROnPlateau
from ..optim.lr_scheduler import LRScheduler
from ..optim.lr_sequential import SequentialLR
from ..optim.moving_average import ExponentialMovingAverage
from ..optim.optimizer import Optimizer
from .callbacks import Callback
from .checkpoint_callback import Checkpoint
from .run_settings import length_of

if TYPE_CHECKING:
    from .run import Run

OWN_COLUMNS = ("epoch", "loss", "lr", "seconds")
"""The columns of a history that are not metrics."""


def check_parts(
    model: Any, loss: Any, optimizer: Any, schedule: Any, average: Any, callbacks: Any, checkpoint: Any, metrics: Any
) -> None:
    """Refuse parts of the wrong type, or made for another model, which would train nothing without an error.

    Raises:
        TypeError, ValueError: the message says which, and what to do.
    """
    for name, value, kind, optional in (
        ("model", model, Module, False),
        ("optimizer", optimizer, Optimizer, False),
        ("schedule", schedule, LRScheduler, True),
        ("average", average, ExponentialMovingAverage, True),
    ):
        if not isinstance(value, kind) and not (optional and value is None):
            hint = _instance(value) or "; fit(model, data, loss, optimizer)" * (not optional)
            raise TypeError(f"fit: {name} must be of class {kind.__name__}, got {kind_of(value)}{hint}")
    if not callable(loss) or isinstance(loss, type):
        hint = _instance(loss) or "; give nn.cross_entropy, nn.MSELoss(), a function of your own …"
        raise TypeError(f"fit: loss must be a function of scores and labels, got {kind_of(loss)}{hint}")
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(c, Callback) for c in callbacks):
        classes = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
        hint = next(filter(None, map(_instance, classes)), "")
        raise TypeError(f"fit: callbacks must be a list of Callback objects, got {callbacks!r}{hint}")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        raise TypeError(f'fit: checkpoint must be a Checkpoint, got {kind_of(checkpoint)}; write Checkpoint("folder")')
    _check_metrics(metrics)
    _check_parameters(model, optimizer, loss)
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("fit: the schedule is of another optimizer, and would change nothing here; make it of this one")
    if isinstance(schedule, ReduceLROnPlateau) and schedule.mode == "max":
        raise ValueError(
            'fit: ReduceLROnPlateau is given the loss, which is to become small: mode="min"; '
            "for another metric call its step in a Callback"
        )
    if average is not None and not average.follows(model):
        raise ValueError("fit: the average is of another model, and would stay as it is; make it of this one")


def _check_metrics(metrics: Any) -> None:
    if metrics is None:
        return
    if not isinstance(metrics, Mapping) or not all(isinstance(n, str) and callable(of) for n, of in metrics.items()):
        raise TypeError(
            'fit: metrics must be a dict of functions of scores and labels, such as {"accuracy": nn.accuracy}, '
            f"got {metrics!r}"
        )
    if taken := [name for name in metrics if name in OWN_COLUMNS or name.startswith("val_")]:
        raise ValueError(f"fit: a metric cannot be named {taken[0]!r}: that column of the history is taken; give another name")


def _check_parameters(model: Module, optimizer: Optimizer, loss: Any) -> None:
    held = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(p.requires_grad for p in held):
        raise ValueError("fit: nothing can be learned: all that the optimizer holds is frozen; unfreeze() some of the model")
    known = {id(p) for part in (model, loss) if isinstance(part, Module) for p in part.parameters()}
    learned = {id(p) for p in held}
    left_out = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in learned]
    if left_out and not learned <= known:
        shown = ", ".join(left_out[:3]) + (" …" if len(left_out) > 3 else "")
        raise ValueError(
            f"fit: the optimizer updates parameters that are not the model's, but not {shown}: it was created for another "
            "model, or before a layer was replaced; create it again, with model.parameters()"
        )


def check_settings(epochs: Any, accumulate: Any, schedule: Any, schedule_per: Any, clip_norm: Any) -> None:
    """Check numbers and names.

    Raises:
        ValueError: one is invalid; or a schedule is given without `schedule_per`.
    """
    for name, value, least in (("epochs", epochs, 0), ("accumulate", accumulate, 1)):
        if not is_integer(value) or value < least:
            raise ValueError(f"fit: {name} must be an integer of {least} or more, got {value!r}")
    if schedule_per not in (None, "step", "epoch"):
        raise ValueError(f'fit: schedule_per must be "step" or "epoch", got {schedule_per!r}')
    if schedule_per is None and isinstance(schedule, LRScheduler) and not schedule.needs_metric:
        raise ValueError(
            f"fit: does {type(schedule).__name__} count steps of the optimizer, or epochs? its settings depend on it; say "
            'schedule_per="step" or schedule_per="epoch"'
        )
    if clip_norm is not None and (not is_number(clip_norm) or not clip_norm > 0):
        raise ValueError(f"fit: clip_norm must be a number above 0, got {clip_norm!r}")


def scaler_of(precision: Any) -> GradScaler:
    """The GradScaler for the `precision` of `fit`: enabled for mixed precision.

    Raises:
        TypeError, ValueError: the precision is unknown or not supported.
    """
    if isinstance(precision, GradScaler):
        return precision
    if precision is not None and not isinstance(precision, str):
        hint = _instance(precision)
        raise TypeError(f'fit: precision must be "16-mixed", "32-true", None or a GradScaler, got {kind_of(precision)}{hint}')
    if precision not in (None, "16-mixed", "32-true"):
        bfloat = "; there is no bfloat16 in NumPy 2 or CuPy 14" if "bf16" in str(precision) else ""
        raise ValueError(f'fit: precision must be "16-mixed", "32-true" or None, got {precision!r}{bfloat}')
    return GradScaler(enabled=precision == "16-mixed")


def check_cycle(run: Run) -> None:
    """Refuse a OneCycleLR that is shorter than the training: now, and not in the last epoch.

    Raises:
        ValueError: it is too short; the message says how long it must be.
    """
    schedule, data = run.schedule, run.data
    before = 0  # steps of the schedules that precede the cycle
    if isinstance(schedule, SequentialLR) and isinstance(schedule._schedulers[-1], OneCycleLR):
        before, cycle = schedule._milestones[-1] if schedule._milestones else 0, schedule._schedulers[-1]
    else:
        cycle = schedule  # type: ignore[assignment]
    batches = length_of(data)
    if not isinstance(cycle, OneCycleLR) or schedule is None or batches is None or run.stopping:
        return
    epochs = max(run.epochs - run.epoch, 0)
    done = math.ceil(run.batch / run.accumulate)
    steps = epochs if run.schedule_per == "epoch" else epochs * math.ceil(batches / run.accumulate) - done
    left = before + cycle.total_steps - schedule.last_epoch
    if steps > left:
        again = ""
        if run.step:
            again = ", and the checkpoint resumes with it" if run.was_complete else ', and Checkpoint(…, resume="given")'
        raise ValueError(
            f"fit: the training takes {steps:,} steps, and the cycle of OneCycleLR is complete after {left:,}; "
            f"make it with total_steps={steps + schedule.last_epoch - before}{again}"
        )


def check_batches(who: str, data: Any, passes: int) -> None:
    """Refuse data that gives single samples, not batches; and an iterator, which is used up after one pass, for several.

    Raises:
        TypeError: the message says what to do.
    """
    if callable(getattr(data, "batch", None)) and hasattr(data, "__getitem__"):
        raise TypeError(
            f"{who}: {type(data).__name__} gives single samples, and batches are needed: DataLoader(dataset, batch_size=64)"
        )
    if isinstance(data, Iterator) and passes > 1:
        raise TypeError(
            f"{who}: {type(data).__name__} can be iterated over once, and {passes} epochs need it {passes} times; "
            "give a DataLoader or a list of batches"
        )


class Batch(NamedTuple):
    """The inputs of the model and the labels: tensors with the samples on axis 0."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.labels)

    def to(self, device: str) -> Batch:
        """The batch, moved to a device."""
        return Batch(tuple(x.to(device) for x in self.inputs), self.labels.to(device))


def batch_of(who: str, batch: Any) -> Batch:
    """A tuple of tensors, the inputs and last the labels, as a `Batch`.

    Raises:
        TypeError: it is something else.
        ValueError: a tensor has no axis of samples.
    """
    listed = isinstance(batch, (tuple, list))
    if not listed or len(batch) < 2 or not all(isinstance(x, Tensor) for x in batch):
        given = kind_of(batch)
        if listed:
            kinds = ", ".join(kind_of(x) for x in batch[:4]) + (" …" if len(batch) > 4 else "")
            given = f"{len(batch)} things ({kinds})"
        raise TypeError(
            f"{who}: a batch must be a pair of tensors (inputs, labels), or several inputs and labels, got {given}; "
            "use a DataLoader: of arrays, DataLoader(TensorDataset(inputs, labels), batch_size=64)"
        )
    if not all(x.ndim for x in batch):
        shapes = " and ".join(str(x.shape) for x in batch)
        raise ValueError(
            f"{who}: inputs and labels {shapes} have no axis of samples in common; a DataLoader makes batches of single samples"
        )
    return Batch(tuple(batch[:-1]), batch[-1])


def _instance(value: Any) -> str:
    """A hint, if a class was given instead of an instance."""
    return f"; create one: {value.__name__}(...)" if isinstance(value, type) else ""
