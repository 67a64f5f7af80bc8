"""How a run goes on from a checkpoint: all of it, or nothing; with the settings that it had, or with those given now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from microtensor.random import Generator

from ..module import Module
from .checkpoint_format import check_form
from .fingerprint import plain
from .history import History
from .metrics import Means
from .run_settings import MISSING, Difference, differences, length_of, same, told, warn

if TYPE_CHECKING:
    from .run import Run

PUT_BACK = ("optimizer", "schedule", "average", "precision", "fit", "seeds", "callbacks")
"""Settings that a checkpoint can put back; of the others, such as the size of batches, the program's are the only ones."""

BEGUN_AT = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter")
"""Of schedules: what is no setting, but where they stand."""


class OtherSettings(ValueError):
    """A checkpoint of a run with other settings; `found` are the differences."""

    def __init__(self, found: Sequence[Difference]) -> None:
        super().__init__("\n".join(told(found)))
        self.found = list(found)

    def can_be_put_back(self) -> bool:
        """Whether `resume="saved"` could go on."""
        return not _fixed(self.found)


class Undo:
    """What a run is before a checkpoint is read into it, to be as it was if that is refused."""

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
        """All as it was."""
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
    return list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else None


def go_on(run: Run, state: Any, how: str = "same") -> list[str]:
    """Let a run stand where it stood when `state` was taken. If anything is wrong, it is as it was before.

    Args:
        how: "same": refuse other settings than those with which the run of `state` was begun. "saved": take those. "given":
            take those of this run: what differs is as it is here, and all else goes on.

    Returns:
        What is to be said of it.

    Raises:
        OtherSettings: they are others, and nobody said which to take.
        KeyError, TypeError, ValueError …: `state` is of another run, or is none.
    """
    check_form(state)
    run.undo = Undo(run)
    try:
        return _Resumption(run, state, how).go_on()
    except BaseException:
        run.take_back()
        raise


class _Resumption:
    """A run, the state that it is to go on from, and how."""

    def __init__(self, run: Run, state: Mapping[str, Any], how: str) -> None:
        self.run, self.state, self.how = run, state, how
        self.parts, self.place = state["parts"], state["place"]
        self.then: Any = state.get("given")
        self.now: Any = run.given
        self.found: list[Difference] = []
        self.notes: list[str] = []

    def go_on(self) -> list[str]:
        run, place = self.run, self.place
        if "model" in self.parts:
            run.model.load_state_dict(self.parts["model"])
        if self.how != "given":
            self._check_names(
                "callbacks", [name for name, _ in self.state["callbacks"]], [type(c).__name__ for c in run.callbacks]
            )
            self._check_names("random generators", [*self.state["generators"]], [*run.generators()])
        self._compare()
        if self.how != "given":
            self._check_names("parts with a state", [*self.parts], [*run.states()])
        run.epoch, run.batch, run.step, run.seconds = place["epoch"], place["batch"], place["step"], place["seconds"]
        run.history = History(self.state["history"])
        run.stopping = self.state["stopping"] and not (self.how == "given" and self._differ("callbacks"))
        self._load_optimizer()
        self._load_average()
        self._load_others()
        self._load_callbacks()
        for name, generator in run.generators().items():  # after the data, which may share one
            if name in self.state["generators"] and not self._taken("seeds", name):
                generator.set_state(self.state["generators"][name])
        if self.how == "saved" and self.then is not None:
            self._put_back()
        for callback in run.callbacks:
            callback.check_resumed(run)
        return self.notes

    def _check_names(self, what: str, saved: list[str], own: list[str]) -> None:
        if saved != own:
            raise ValueError(f"its {what} are {', '.join(saved) or 'none'}, this run's {', '.join(own) or 'none'}")

    def _compare(self) -> None:
        """What differs, and whether it may."""
        asked = (self.then or {}).get("epochs")
        self.run.had_ended = type(asked) is int and not self.place["batch"] and asked <= self.place["epoch"]
        if self.now is None:  # nobody noted what this run was given
            return
        if self.then is None:
            if self.how != "given":
                warn(
                    "Checkpoint: this file is of before settings were written down, and whether those given here are its own "
                    "cannot be told; the run goes on with the file's learning rates, schedule and the like"
                )
            return
        self.found = [*differences(self.then, self.now)]
        if not self.found:
            return
        if self.how == "same" and self._extends():
            self.how = "given"
            words = "; ".join(told(self.found))
            warn(f"Checkpoint: the run had ended, and goes on for more epochs with another schedule: {words}")
        elif self.how == "same" or self.how == "saved" and _fixed(self.found):
            raise OtherSettings(self.found if self.how == "same" else _fixed(self.found))
        else:
            whose = "of the checkpoint" if self.how == "saved" else "given here"
            self.notes += [f"with the settings {whose}: {line}" for line in told(self.found)]

    def _extends(self) -> bool:
        """Whether this run is the one that had ended, made longer: more epochs, and a schedule that is as long."""
        return (
            self.run.had_ended
            and self.run.epochs > self.place["epoch"]
            and all(self._is_of_its_length(each.path) for each in self.found)
        )

    def _is_of_its_length(self, path: tuple[str, ...]) -> bool:
        """Whether a setting may differ because a schedule is longer: one of its own, or the momentum that it begins with."""
        if path[0] == "optimizer":
            return path[-1] in ("momentum", "betas") and bool(getattr(self.run.schedule, "cycle_momentum", False))
        return path[0] == "schedule" and path[-1] != "kind" and len(path) > 1

    def _differ(self, *path: str) -> bool:
        return any(each.path[: len(path)] == path for each in self.found)

    def _taken(self, *path: str) -> bool:
        """Whether a setting is taken from this run, as it differs."""
        return self.how == "given" and self._differ(*path)

    # The parts

    def _load_optimizer(self) -> None:
        """The optimizer and its schedule, which sets the learning rates."""
        run, saved = self.run, self.parts["optimizer"]
        anew = self._anew("schedule", run.schedule)
        if not self._anew("optimizer", run.optimizer):
            if self.how == "given":
                own = [{name: x for name, x in group.items() if name != "params"} for group in run.optimizer.param_groups]
                then = (self.then or {}).get("optimizer", {}).get("groups", [{}] * len(own))
                if len(own) != len(saved["param_groups"]):
                    raise ValueError(
                        f"the optimizer has {len(own)} groups, that of the checkpoint {len(saved['param_groups'])}"
                    )
                groups: Any = own if anew else merged(then, self.now["optimizer"]["groups"], saved["param_groups"])
                groups = [
                    {**group, "params": each["params"]} for group, each in zip(groups, saved["param_groups"], strict=True)
                ]
                saved = {**saved, "param_groups": groups}
            run.optimizer.load_state_dict(saved)
        if run.schedule is None or anew:
            return
        settings = [{name: x for name, x in group.items() if name != "params"} for group in run.optimizer.param_groups]
        state = self.parts["schedule"]
        if self.how == "given":
            now = {name: self.now["schedule"][name] for name in run.schedule.state_dict()}
            state = merged(self._schedule_then(), now, state)
        run.schedule.load_state_dict(state)
        changed = (
            self.then is None or self._differ("schedule") or any(each.path[-1] in ("lr", "initial_lr") for each in self.found)
        )
        if self.how == "given" and changed:
            run.schedule.set_again()
        else:  # a learning rate that somebody wrote in holds until the next step of the schedule
            for group, rates in zip(run.optimizer.param_groups, settings):
                group.update(rates)

    def _anew(self, part: str, own: Any) -> bool:
        """Whether a part begins, as it is of another kind than that of the checkpoint, or has none there."""
        then = (self.then or {}).get(part)
        kind = then.get("kind") if isinstance(then, Mapping) else None
        if self.how != "given":
            return False
        if self.then is None:
            return (part in self.parts) != (own is not None)
        return kind != (type(own).__name__ if own is not None else None) or (own is not None and part not in self.parts)

    def _schedule_then(self) -> Any:
        if self.then is not None:
            return self.then["schedule"]
        return {name: value for name, value in self.run.schedule.state_dict().items() if name in BEGUN_AT}  # type: ignore[union-attr]

    def _load_average(self) -> None:
        average = self.run.average
        if average is None:
            return
        if "average" not in self.parts:
            average.begin()  # it was made of weights that are no more
            return
        own = {"decay": average.decay, "warmup": average.warmup}
        state = self.parts["average"]
        if self.how == "given":
            then = (self.then or {}).get("average") or {}
            state = {**state, **{name: merged(then.get(name, MISSING), own[name], state[name]) for name in own}}
        average.load_state_dict(state)

    def _load_others(self) -> None:
        """The data, the validation's, the loss, the scaler, and what was measured in the present pass."""
        run, parts = self.run, self.parts
        if self._taken("data"):
            if run.batch:
                run.batch, run.seconds = 0, 0.0
                warn("Checkpoint: the epoch under way is begun again, for its batches are others now")
            run.means = Means()
        else:
            if "data" in parts:
                run.data.load_state_dict(parts["data"])  # type: ignore[attr-defined]
            count = length_of(run.data)
            if count is not None and run.batch > count:
                raise ValueError(f"place: batch is {run.batch}, and an epoch has {count}")
            run.means.load_state_dict(parts["means"])
        if "validation" in parts and hasattr(run.validation, "load_state_dict") and not self._taken("validation"):
            run.validation.load_state_dict(parts["validation"])  # type: ignore[union-attr]
        if "loss" in parts and isinstance(run.loss, Module):
            saved = parts["loss"]
            if self.how == "given" and (
                self.then is None or self._differ("loss")
            ):  # constants are as given, what was learned goes on
                learned = {name: x.shape for name, x in run.loss.named_parameters()}
                own = run.loss.state_dict()
                saved = {n: saved[n] if n in saved and learned.get(n) == saved[n].shape else own[n] for n in own}
            run.loss.load_state_dict(saved)
        if "scaler" in parts and run.scaler.is_enabled():
            state = parts["scaler"]
            if self.how == "given" and self.then is not None:
                now = {name: self.now["precision"][name] for name in run.scaler.state_dict()}
                state = merged(self.then["precision"], now, state)
            run.scaler.load_state_dict(state)

    def _load_callbacks(self) -> None:
        """Of those with the same name, in order. One that looks at something else now begins."""
        saved = [*self.state["callbacks"]]
        then = [*(self.then or {}).get("callbacks", [])]
        for callback in self.run.callbacks:
            place = next((i for i, (name, _) in enumerate(saved) if name == type(callback).__name__), None)
            if place is None:
                continue
            _, remembered = saved.pop(place)
            before = then.pop(place) if place < len(then) else {}
            if self.how == "given" and any(
                name in callback.settings and not same(before.get(name, MISSING), plain(getattr(callback, name)))
                for name in ("monitor", "mode")
            ):
                continue
            callback.load_state_dict(remembered)

    def _put_back(self) -> None:
        """The settings of the checkpoint that are neither the optimizer's nor the schedule's nor an average's."""
        run, then = self.run, self.then
        run.accumulate, run.clip_norm = then["fit"]["accumulate"], then["fit"]["clip_norm"]
        if then["schedule"] is not None:
            run.schedule_per = then["schedule"]["counts"]
        for callback, settings in zip(run.callbacks, then["callbacks"]):
            for name in callback.settings:
                if name in settings:
                    setattr(callback, name, settings[name])
        run.given = {**then, "epochs": run.epochs}


def _fixed(found: Sequence[Difference]) -> list[Difference]:
    """Of differences, those that nobody but the program can undo."""
    return [
        each
        for each in found
        if each.path != ("data", "seed")
        and (each.path[0] not in PUT_BACK or len(each.path) == 1 or {"kind", "functions"} & {*each.path})
    ]


def merged(then: Any, now: Any, saved: Any) -> Any:
    """`saved`, but for what is another now than it was then: a tree of settings, leaf by leaf."""
    if isinstance(now, Mapping):
        old, kept = (tree if isinstance(tree, Mapping) else {} for tree in (then, saved))
        return {key: merged(old.get(key, MISSING), value, kept[key]) if key in kept else value for key, value in now.items()}
    if isinstance(now, list) and isinstance(then, list) and isinstance(saved, list) and len(now) == len(then) == len(saved):
        return [merged(*each) for each in zip(then, now, saved)]
    return saved if same(then, plain(now)) else now
