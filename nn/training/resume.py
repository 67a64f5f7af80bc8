"""Resuming a run from a checkpoint: completely or not at all, with the settings of the checkpoint or those given now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from microtensor.random import Generator

from ..module import Module
from ..optim.lr_scheduler import LRScheduler
from .checkpoint_format import check_format
from .fingerprint import fingerprint
from .history import History
from .metrics import Means
from .run_settings import MISSING, Difference, difference_lines, differences, length_of, same, warn

if TYPE_CHECKING:
    from .run import Run

RESTORABLE = ("optimizer", "schedule", "average", "precision", "fit", "seeds", "callbacks")
"""The settings that can be restored from a checkpoint. The others, such as the batch size, only the program can set."""

SCHEDULE_PROGRESS = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter")
"""The attributes of schedules that are not settings but say how far they are."""


class SettingsDiffer(ValueError):
    """A checkpoint of a run with other settings; `found` are the differences."""

    def __init__(self, found: Sequence[Difference]) -> None:
        super().__init__("\n".join(difference_lines(found)))
        self.found = list(found)

    def can_be_restored(self) -> bool:
        """Whether `resume="saved"` would resume."""
        return not _not_restorable(self.found)


class Rollback:
    """A copy of a run's state before a checkpoint is loaded, to restore it if loading fails."""

    def __init__(self, run: Run) -> None:
        schedules = [run.schedule, *getattr(run.schedule, "_schedulers", [])]
        parts = [run, run.optimizer, *schedules, run.average, run.data, run.validation, run.means, run.scaler, *run.callbacks]
        self.attributes = [
            (vars(part), [(name, value, _content(value)) for name, value in vars(part).items()])
            for part in parts
            if hasattr(part, "__dict__") and not isinstance(part, Module)
        ]
        self.groups = [(group, dict(group)) for group in run.optimizer.param_groups]
        self.modules = [
            (module, {name: x.clone() if hasattr(x, "clone") else x for name, x in module.state_dict().items()})
            for module in (run.model, run.loss)
            if isinstance(module, Module)
        ]
        self.averages = [(x, x.clone()) for x in (run.average.average.values() if run.average is not None else ())]
        own = (getattr(data, "generator", None) for data in (run.data, run.validation))
        generators = [*run.generators().values(), *(x for x in own if isinstance(x, Generator))]
        self.generators = [(generator, generator.get_state()) for generator in generators]

    def restore(self) -> None:
        """Set everything back to the copy."""
        for module, state in self.modules:
            module.load_state_dict(state)
        for average, before in self.averages:
            average[...] = before
        for attributes, values in self.attributes:
            attributes.clear()
            for name, value, content in values:
                attributes[name] = value
                if isinstance(value, list):
                    value[:] = content
                elif isinstance(value, dict):
                    value.clear()
                    value.update(content)
        for group, settings in self.groups:
            group.clear()
            group.update(settings)
        for generator, state in self.generators:
            generator.set_state(state)


def _content(value: Any) -> Any:
    """A shallow copy of a list or a dict; None for anything else."""
    return list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else None


def resume_run(run: Run, state: Any, how: str = "same") -> list[str]:
    """Load a checkpoint into a run. If anything is wrong with it, the run is as it was before.

    Args:
        how: what to do if the settings of the checkpoint are not those of this run. "same": refuse. "saved": restore those of
            the checkpoint. "given": keep those of this run; what is not a setting is loaded from the checkpoint all the same.

    Returns:
        Lines to print: the settings that differ.

    Raises:
        SettingsDiffer: the settings differ, and `how` does not allow it.
        KeyError, TypeError, ValueError …: `state` is that of another run, or no checkpoint.
    """
    check_format(state)
    run.rollback = Rollback(run)
    try:
        return _Resumption(run, state, how).resume()
    except BaseException:
        run.roll_back()
        raise


class _Resumption:
    """A run, the checkpoint to resume it from, and how: see `resume_run`.

    `saved_settings` are those of the checkpoint, None in files of old versions; `settings` those of this run.
    """

    def __init__(self, run: Run, state: Mapping[str, Any], how: str) -> None:
        self.run, self.state, self.how = run, state, how
        self.parts, self.place = state["parts"], state["place"]
        self.saved_settings: Any = state.get("given")
        self.settings: Any = run.given
        self.found: list[Difference] = []
        self.notes: list[str] = []

    def resume(self) -> list[str]:
        run, place = self.run, self.place
        if "model" in self.parts:
            run.model.load_state_dict(self.parts["model"])
        if self.how != "given":
            saved_names = [name for name, _ in self.state["callbacks"]]
            self._check_names("callbacks", saved_names, [type(callback).__name__ for callback in run.callbacks])
            self._check_names("random generators", [*self.state["generators"]], [*run.generators()])
        self._compare_settings()
        if self.how != "given":
            self._check_names("parts with a state", [*self.parts], [*run.states()])
        run.epoch, run.batch, run.step, run.seconds = place["epoch"], place["batch"], place["step"], place["seconds"]
        run.history = History(self.state["history"])
        run.stopping = self.state["stopping"] and not (self.how == "given" and self._differ("callbacks"))
        self._load_optimizer()
        self._load_schedule()
        self._load_average()
        self._load_data()
        self._load_loss()
        self._load_scaler()
        self._load_callbacks()
        for name, generator in run.generators().items():  # after the data, which may share one
            if name in self.state["generators"] and not self._is_replaced("seeds", name):
                generator.set_state(self.state["generators"][name])
        if self.how == "saved" and self.saved_settings is not None:
            self._restore_settings()
        for callback in run.callbacks:
            callback.check_resumed(run)
        return self.notes

    def _check_names(self, what: str, saved: list[str], own: list[str]) -> None:
        if saved != own:
            raise ValueError(f"its {what} are {', '.join(saved) or 'none'}, this run's {', '.join(own) or 'none'}")

    def _compare_settings(self) -> None:
        """Find the settings that differ, and refuse the checkpoint if `how` does not allow it."""
        epochs = (self.saved_settings or {}).get("epochs")
        self.run.was_complete = type(epochs) is int and not self.place["batch"] and epochs <= self.place["epoch"]
        if self.settings is None:  # Run.load_state_dict, without `fit`
            return
        if self.saved_settings is None:
            if self.how != "given":
                warn(
                    "Checkpoint: this file was written before settings were saved, so they cannot be compared with those given "
                    "here; the run is resumed with the learning rates, the schedule and so on of the file"
                )
            return
        self.found = [*differences(self.saved_settings, self.settings)]
        if not self.found:
            return
        if self.how == "same" and self._is_extension():
            self.how = "given"
            lines = "; ".join(difference_lines(self.found))
            warn(f"Checkpoint: the run had ended, and continues for more epochs with another schedule: {lines}")
        elif self.how == "same" or self.how == "saved" and _not_restorable(self.found):
            raise SettingsDiffer(self.found if self.how == "same" else _not_restorable(self.found))
        else:
            whose = "of the checkpoint" if self.how == "saved" else "given here"
            self.notes += [f"with the settings {whose}: {line}" for line in difference_lines(self.found)]

    def _is_extension(self) -> bool:
        """Whether a run that had ended is continued for more epochs, and only settings of a longer schedule differ."""
        return (
            self.run.was_complete
            and self.run.epochs > self.place["epoch"]
            and all(self._depends_on_length(each.path) for each in self.found)
        )

    def _depends_on_length(self, path: tuple[str, ...]) -> bool:
        """Whether a setting may differ because the schedule is longer: one of its own, or the momentum that it starts with."""
        if path[0] == "optimizer":
            return path[-1] in ("momentum", "betas") and bool(getattr(self.run.schedule, "cycle_momentum", False))
        return path[0] == "schedule" and path[-1] != "kind" and len(path) > 1

    def _differ(self, *path: str) -> bool:
        return any(each.path[: len(path)] == path for each in self.found)

    def _is_replaced(self, *path: str) -> bool:
        """Whether a setting differs, and that of this run is taken."""
        return self.how == "given" and self._differ(*path)

    # The parts

    def _load_optimizer(self) -> None:
        run, saved = self.run, self.parts["optimizer"]
        if self._is_new("optimizer", run.optimizer):
            return
        if self.how == "given":
            saved = {**saved, "param_groups": self._merged_groups(saved["param_groups"])}
        run.optimizer.load_state_dict(saved)

    def _merged_groups(self, saved: list[Any]) -> list[Any]:
        """The parameter groups of the checkpoint, with the settings that the program has changed since."""
        own: list[Any] = _without_params(self.run.optimizer.param_groups)
        if len(own) != len(saved):
            raise ValueError(f"the optimizer has {len(own)} groups, that of the checkpoint {len(saved)}")
        if not self._is_new("schedule", self.run.schedule):
            before = (self.saved_settings or {}).get("optimizer", {}).get("groups", [{}] * len(own))
            own = merge(before, self.settings["optimizer"]["groups"], saved)
        return [{**group, "params": each["params"]} for group, each in zip(own, saved, strict=True)]

    def _load_schedule(self) -> None:
        """The schedule. Loading sets learning rates; a rate that the program wrote into a group holds until the next step."""
        run, schedule = self.run, self.run.schedule
        if schedule is None or self._is_new("schedule", schedule):
            return
        groups = _without_params(run.optimizer.param_groups)
        state = self.parts["schedule"]
        if self.how == "given":
            own = {name: self.settings["schedule"][name] for name in schedule.state_dict()}
            state = merge(self._saved_schedule(schedule), own, state)
        schedule.load_state_dict(state)
        changed = (
            self.saved_settings is None
            or self._differ("schedule")
            or any(each.path[-1] in ("lr", "initial_lr") for each in self.found)
        )
        if self.how == "given" and changed:
            schedule.set_again()
        else:
            for group, settings in zip(run.optimizer.param_groups, groups):
                group.update(settings)

    def _saved_schedule(self, schedule: LRScheduler) -> Any:
        if self.saved_settings is not None:
            return self.saved_settings["schedule"]
        return {name: value for name, value in schedule.state_dict().items() if name in SCHEDULE_PROGRESS}

    def _is_new(self, part: str, own: Any) -> bool:
        """Whether a part starts afresh, because the checkpoint has none, or one of another class."""
        saved = (self.saved_settings or {}).get(part)
        kind = saved.get("kind") if isinstance(saved, Mapping) else None
        if self.how != "given":
            return False
        if self.saved_settings is None:
            return (part in self.parts) != (own is not None)
        return kind != (type(own).__name__ if own is not None else None) or (own is not None and part not in self.parts)

    def _load_average(self) -> None:
        average = self.run.average
        if average is None:
            return
        if "average" not in self.parts:
            average.begin()  # it was made before the weights were loaded
            return
        own = {"decay": average.decay, "warmup": average.warmup}
        state = self.parts["average"]
        if self.how == "given":
            before = (self.saved_settings or {}).get("average") or {}
            state = {**state, **{name: merge(before.get(name, MISSING), own[name], state[name]) for name in own}}
        average.load_state_dict(state)

    def _load_data(self) -> None:
        """The position in the data and in that of the validation, and the means of this pass."""
        run, parts = self.run, self.parts
        if self._is_replaced("data"):
            if run.batch:
                run.batch, run.seconds = 0, 0.0
                warn("Checkpoint: the epoch that was interrupted starts again, because its batches are others now")
            run.means = Means()
        else:
            if "data" in parts:
                run.data.load_state_dict(parts["data"])  # type: ignore[attr-defined]
            count = length_of(run.data)
            if count is not None and run.batch > count:
                raise ValueError(f"place: batch is {run.batch}, and an epoch has {count}")
            run.means.load_state_dict(parts["means"])
        if "validation" in parts and hasattr(run.validation, "load_state_dict") and not self._is_replaced("validation"):
            run.validation.load_state_dict(parts["validation"])  # type: ignore[union-attr]

    def _load_loss(self) -> None:
        """A loss layer: its parameters, and its constants (buffers) unless the program has changed them."""
        loss = self.run.loss
        if "loss" not in self.parts or not isinstance(loss, Module):
            return
        saved = self.parts["loss"]
        if self.how == "given" and (self.saved_settings is None or self._differ("loss")):
            learned = {name for name, x in loss.named_parameters() if name in saved and x.shape == saved[name].shape}
            saved = {name: saved[name] if name in learned else x for name, x in loss.state_dict().items()}
        loss.load_state_dict(saved)

    def _load_scaler(self) -> None:
        scaler = self.run.scaler
        if "scaler" not in self.parts or not scaler.is_enabled():
            return
        state = self.parts["scaler"]
        if self.how == "given" and self.saved_settings is not None:
            own = {name: self.settings["precision"][name] for name in scaler.state_dict()}
            state = merge(self.saved_settings["precision"], own, state)
        scaler.load_state_dict(state)

    def _load_callbacks(self) -> None:
        """Each callback gets the state of the next one of its class. One that monitors something else now starts afresh."""
        saved = [*self.state["callbacks"]]
        settings = [*(self.saved_settings or {}).get("callbacks", [])]
        for callback in self.run.callbacks:
            i = next((i for i, (name, _) in enumerate(saved) if name == type(callback).__name__), None)
            if i is None:
                continue
            _, state = saved.pop(i)
            before = settings.pop(i) if i < len(settings) else {}
            if self.how == "given" and any(
                name in callback.settings and not same(before.get(name, MISSING), fingerprint(getattr(callback, name)))
                for name in ("monitor", "mode")
            ):
                continue
            callback.load_state_dict(state)

    def _restore_settings(self) -> None:
        """The settings of the checkpoint that are not restored with the optimizer, the schedule and the average."""
        run, saved = self.run, self.saved_settings
        run.accumulate, run.clip_norm = saved["fit"]["accumulate"], saved["fit"]["clip_norm"]
        if saved["schedule"] is not None:
            run.schedule_per = saved["schedule"]["counts"]
        for callback, settings in zip(run.callbacks, saved["callbacks"]):
            for name in callback.settings:
                if name in settings:
                    setattr(callback, name, settings[name])
        run.given = {**saved, "epochs": run.epochs}


def _without_params(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings of parameter groups."""
    return [{name: value for name, value in group.items() if name != "params"} for group in groups]


def _not_restorable(found: Sequence[Difference]) -> list[Difference]:
    """The differences that `resume="saved"` cannot restore, so that the program must be changed."""
    return [
        each
        for each in found
        if each.path != ("data", "seed")
        and (each.path[0] not in RESTORABLE or len(each.path) == 1 or {"kind", "functions"} & {*each.path})
    ]


def merge(before: Any, own: Any, saved: Any) -> Any:
    """A three-way merge of settings, value by value: that of `saved`, unless `own` has been changed since `before`.

    >>> merge({"lr": 0.1, "momentum": 0.9}, {"lr": 0.01, "momentum": 0.9}, {"lr": 0.05, "momentum": 0.8})
    {'lr': 0.01, 'momentum': 0.8}
    """
    if isinstance(own, Mapping):
        old, kept = (tree if isinstance(tree, Mapping) else {} for tree in (before, saved))
        return {key: merge(old.get(key, MISSING), value, kept[key]) if key in kept else value for key, value in own.items()}
    if isinstance(own, list) and isinstance(before, list) and isinstance(saved, list) and len(own) == len(before) == len(saved):
        return [merge(*each) for each in zip(before, own, saved)]
    return saved if same(before, fingerprint(own)) else own
