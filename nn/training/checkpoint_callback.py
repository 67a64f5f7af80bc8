"""The `Checkpoint` callback: resumable training. The whole state of a run in one file; the newest few files are kept."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microtensor.io import safetensors
from microtensor.io.state import load, save
from microtensor.runtime.integers import is_integer

from .callbacks import MonitorCallback
from .folder_lock import locked
from .history import is_better
from .resume import SettingsDiffer, resume_run
from .run_settings import difference_lines, warn

if TYPE_CHECKING:
    from .run import Run


RESUME = (True, False, "saved", "given", "restart")
SUFFIXES = (".npz", ".safetensors")


class Checkpoint(MonitorCallback):
    """Save a run to a folder as it goes, and resume from the newest file there when the program is started again.

    A file has the weights and buffers, the optimizer, the schedule, the averaged weights, the random generators, the position
    in the data, the history and the state of the callbacks. So a run that is killed at any moment and started again repeats
    the steps since the newest file, and ends with the same weights, bit for bit. (On the CPU, and if the program draws random
    numbers from microtensor's generators only.) Files are written atomically: to another name, synced to the disk, renamed.

    A file also has the settings that the run was started with: those of the optimizer, the schedule, the loss, the model and
    the data, and the arguments of `fit`. A program with other settings is refused, with a list of them, unless `resume` says
    what to do; everything is as it was then. More epochs may be asked for at any time, and together with a longer schedule if
    the run had ended; a warning says so. Not compared are devices, readings of the clock, and counters in losses and
    transforms. Of a data set on disk only the number of samples is compared, of a function its name and the constants in it.

    A file lock keeps other runs out of the folder. The system releases it when the process ends, however it ends.

    Args:
        folder: for the files, `step-00000120.npz` and so on; created if it does not exist. Each run needs its own folder.
        every: also save after this many steps of the optimizer; None: after each epoch only.
        keep: how many of the newest files are kept.
        monitor: a column of the history, such as "val_accuracy": when it is better than ever before, the weights alone are
            written to `best.npz`, for `model.load_state_dict(microtensor.load(...))`.
        resume: what to do if the folder has a checkpoint.
            True: resume from the newest; refuse if its settings differ.
            "given": resume from the newest, with the settings given now where they differ: a smaller learning rate from here
            on, other data. A schedule of the same class continues with the new settings; an optimizer or a schedule of another
            class starts afresh, and so does an interrupted epoch whose batches are others.
            "saved": resume from the newest, with its settings of optimizer, schedule, average, scaler, `clip_norm`,
            `accumulate`, seeds and callbacks; refuse if others differ, which only the program can set.
            "restart": start afresh each time that the program is started; the old checkpoints are deleted when the first new
            one is written.
            False: refuse.
        mode: "max" if a higher value of `monitor` is better, "min" if a lower one is. None: as the metric says (its attribute
            `higher_is_better`), or its name: loss and error are better lower, accuracy and top5 higher, also after "val_".
        weights: the name of the file of the best weights; `.safetensors` needs the extra of that name.

    Raises:
        TypeError, ValueError: a setting is invalid; the folder is named like a file. When a run starts: the checkpoint has
            other settings, or is not a checkpoint; nothing says whether higher or lower is better for `monitor`.
        BlockingIOError: (when a run starts) another one is writing to the folder.
        FileExistsError: (when a run starts) `resume` is False, and there are checkpoints; the folder is a file.
        ImportError: `weights` needs a library that is missing.

    >>> Checkpoint("runs/lenet", every=100).keep
    3
    """

    settings = ("monitor", "mode")

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = None,
        keep: int = 3,
        monitor: str | None = None,
        resume: bool | str = True,
        mode: str | None = None,
        weights: str = "best.npz",
    ) -> None:
        for name, value in (("every", every), ("keep", keep)):
            if value is None and name == "every":
                continue
            if not is_integer(value) or value < 1:
                raise ValueError(f"Checkpoint: {name} must be an integer of 1 or more, got {value!r}")
        if not any(resume is choice or isinstance(choice, str) and resume == choice for choice in RESUME):
            raise ValueError(f'Checkpoint: resume must be True, False, "saved", "given" or "restart", got {resume!r}')
        super().__init__(monitor, mode)
        self.folder = Path(folder)
        if self.folder.suffix.lower() in (*SUFFIXES, ".pth", ".pt", ".ckpt") and not self.folder.is_dir():
            better = str(self.folder.with_suffix(""))
            raise ValueError(
                f"Checkpoint: {folder} is named like a file, and a folder is needed, of one run: Checkpoint({better!r})"
            )
        self.every, self.keep, self.resume, self.weights = every, keep, resume, _checked_weights_name(weights)
        self._old: list[Path] = []

    def files(self) -> list[Path]:
        """The checkpoints in the folder, oldest first."""
        found = [path for path in self.folder.glob("step-*.npz") if re.fullmatch(r"step-\d+\.npz", path.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("step-")))

    def locked(self) -> AbstractContextManager[None]:
        """Create the folder and lock it: inside the `with`, no other run starts in it.

        Raises:
            BlockingIOError: another run has the lock.
            FileExistsError: the folder is a file.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise FileExistsError(f"Checkpoint: {self.folder} or a folder above it is a file; give another folder") from error
        return locked(self.folder)

    def on_start(self, run: Run) -> None:
        """Resume from the newest checkpoint that can be read."""
        self.best, self._old = None, []  # forget an earlier run
        self.folder.mkdir(parents=True, exist_ok=True)
        files = self.files()
        if files and self.resume is False:
            raise FileExistsError(
                f"Checkpoint: {self.folder} has checkpoints of another run, such as {files[-1].name}; give another folder, "
                'delete them, or say resume=True to resume that run, resume="restart" to start again'
            )
        if self.resume == "restart":
            self._old = files
            return
        for path in reversed(files):
            try:
                state = load(path)
            except ValueError as error:
                warn(f"{error}; trying the checkpoint before it")
                continue
            notes = self._resume(run, path, state)
            place = f"in epoch {run.epoch + 1}" if run.batch else f"after epoch {run.epoch}"
            run.say("\n".join([f"resuming from {path}: {place}, {run.step:,} steps done", *notes]))
            return

    def _resume(self, run: Run, path: Path, state: Any) -> list[str]:
        """Load a checkpoint into the run. On an error the run is as it was, and the message names the file."""
        try:
            return resume_run(run, state, self.resume if isinstance(self.resume, str) else "same")
        except SettingsDiffer as error:
            raise ValueError(_settings_message(path, self.folder, error, saved=self.resume == "saved")) from None
        except MemoryError:
            raise
        except Exception as error:  # an edited file can cause any
            words = str(error) if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {error}"
            raise ValueError(
                f"Checkpoint: {path} is of another run, and does not fit this one: {words}\n"
                "give another folder, or make model, optimizer, schedule and callbacks as they were; "
                'resume="restart" starts again'
            ) from error

    def on_step(self, run: Run) -> None:
        """Save, if `every` divides the number of steps."""
        if self.every is not None and run.step % self.every == 0 and not run.pass_is_over():  # on_epoch saves then
            run.check_loss()  # a checkpoint with nan would replace a good one
            self.save(run)

    def on_epoch(self, run: Run) -> None:
        """Save, and keep the best weights."""
        if self.monitor is not None:
            value = run.watched(self.monitor, "Checkpoint")
            if is_better(value, self.best, self.mode == "max"):
                self.best = value
                with run.averaged():
                    save(self.folder / self.weights, run.model.state_dict())
        self.save(run)

    def save(self, run: Run) -> Path:
        """Write a checkpoint now, delete all but the newest `keep`, and return its path."""
        path = self.folder / f"step-{run.step:08d}.npz"
        save(path, run.state_dict())
        for file in self._old:
            if file != path:
                file.unlink(missing_ok=True)
        if self._old and self.best is None:
            (self.folder / self.weights).unlink(missing_ok=True)
        self._old = []
        files = self.files()
        newest = files[: files.index(path) + 1][-self.keep :]  # files of later steps could not be read
        for file in files:
            if file not in newest:
                file.unlink(missing_ok=True)
        return path

    def state_dict(self) -> dict[str, Any]:
        """The best value of `monitor` so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.best = self._best_of(state)


def _checked_weights_name(name: Any) -> str:
    """The name of the file of the best weights, checked before the training and not after the first epoch."""
    if not isinstance(name, str) or Path(name).name != name or Path(name).suffix.lower() not in SUFFIXES:
        raise ValueError(f'Checkpoint: weights must be the name of a file, "best.npz" or "best.safetensors", got {name!r}')
    if re.fullmatch(r"step-\d+\.npz", name):
        raise ValueError(f"Checkpoint: {name} is the name of a checkpoint; give weights another")
    if Path(name).suffix.lower() == ".safetensors":
        with io.BytesIO() as nothing:
            safetensors.write(nothing, {})
    return name


def _settings_message(path: Path, folder: Path, error: SettingsDiffer, saved: bool) -> str:
    """The message about a checkpoint with other settings: which they are, and what can be done."""
    lines = "".join(f"\n  {line}" for line in difference_lines(error.found))
    name = f"Checkpoint({str(folder)!r}, resume="
    choices = {
        "given": "resumes with the settings given here",
        "saved": "resumes with those of the checkpoint",
        "restart": "starts again, and deletes the checkpoints in the folder; another folder keeps both runs",
    }
    if saved or not error.can_be_restored():
        del choices["saved"]
    hints = "".join(f'\n  {name}"{choice}") {effect}' for choice, effect in choices.items())
    what = 'has settings that resume="saved" cannot put back' if saved else "is of a run with other settings"
    return f"Checkpoint: {path} {what}:{lines}\nmake them as they were, or say what to do:{hints}"
