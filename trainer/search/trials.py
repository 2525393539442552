"""What can be told of a trial: from its job directory, and from the study."""

import dataclasses
import math
import pathlib

from trainer import files, stored
from trainer.errors import ConfigError, JobDirError
from trainer.job_dir import checkpoint
from trainer.job_dir.open import JobDir
from trainer.patience import Patience
from trainer.schedule import Schedule
from trainer.search.suggestions import Outcome, stops_after
from trainer.tracking import goodput, rows as rows_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial as its directory tells it at this moment.

    Attributes:
        number: int, from 1.
        folder: `pathlib.Path`, its job directory.
        parameters: dict of int, float or str by name.
        state: str: failed (the study says so), finished (it has its
            `finished.json`), pruned (its `pruned.json` says so), or
            unfinished.
        failure: str, why it has failed.
        losses: tuple of (epoch, loss) of its evaluations of held-out images.
        open_losses: those of them after which the training goes on.
        pruned_epoch: int, at which it was stopped; None if it was not.
        warmup_epochs: float, in which its KL is not weighted in full.
        split: str, which images are held out: validation or test; "" if that
            is not known yet.
        progress: float, the part of its steps that has a row.
        saved_step: int, of its newest checkpoint; 0 without one.
        seconds: float, of all its sessions together; None if not known.
        data: dict, what its record says of its data; None without a record.
    """

    number: int
    folder: pathlib.Path
    parameters: dict
    state: str
    failure: str = ""
    losses: tuple = ()
    open_losses: tuple = ()
    pruned_epoch: int | None = None
    warmup_epochs: float = 0.0
    split: str = ""
    progress: float = 0.0
    saved_step: int = 0
    seconds: float | None = None
    data: dict | None = None

    @property
    def is_over(self):
        """Whether it is never run again."""
        return self.state != "unfinished"

    @property
    def best(self):
        """Its (epoch, loss) with the least loss; None without any."""
        return min(self.losses, key=lambda each: each[1], default=None)


def read(study, number):
    """Returns the `Trial` of a number.

    Args:
        study: a `Study` that has it.
        number: int, from 1.

    Raises:
        JobDirError: what lies in its directory is not this trial, or damaged.
        OSError: it could not be looked at.
    """
    entry, folder = study.entries[number - 1], study.folder(number)
    job = JobDir(folder)
    # Of one that has failed, what lies there may be why.
    if entry.failure or not job.exists:
        return Trial(
            number=number,
            folder=folder,
            parameters=entry.parameters,
            state="failed" if entry.failure else "unfinished",
            failure=entry.failure,
        )
    config, schedule = _length(job)
    for name, value in entry.parameters.items():
        if getattr(config, name) != value:
            raise JobDirError(
                f"{folder} has --{name}={getattr(config, name)}, but "
                f"study.json says {value}: it is not trial {number}. Restore "
                "it, or remove the folder, and the trial is run anew."
            )
    # It comes last: what is read after it is all there.
    finished = job.finished()
    rows = rows_lib.read_rows(job.metrics_path)
    held_out = [
        row
        for row in rows
        if row["split"] != "train" and math.isfinite(row["total_loss"])
    ]
    pruned = _pruned_epoch(job.pruned_path)
    state = "pruned" if pruned else "unfinished"
    losses = tuple((row["epoch"], row["total_loss"]) for row in held_out)
    return Trial(
        number=number,
        folder=folder,
        parameters=entry.parameters,
        state="finished" if finished else state,
        losses=losses,
        open_losses=_open(losses, held_out, config, schedule),
        pruned_epoch=pruned,
        warmup_epochs=config.kl_warmup_epochs,
        split=held_out[-1]["split"] if held_out else "",
        progress=rows[-1]["step"] / schedule.total_steps if rows else 0.0,
        saved_step=max(checkpoint.list_steps(job), default=0),
        seconds=_seconds(job.goodput_path),
        data=_data(job.record()["data"]),
    )


def outcome(trial, before, pruning):
    """Returns the `Outcome` of a trial that is over.

    What its evaluations say decides, not how many more of them it had before
    it stopped: how fast it was stopped changes no later suggestion.

    Args:
        trial: a `Trial`.
        before: list of `Outcome`, one for each trial before.
        pruning: bool, whether trials are stopped early.
    """
    if trial.state == "failed" or not trial.losses:
        return Outcome(trial.parameters, "failed")
    if trial.pruned_epoch is not None:
        losses = tuple(
            each for each in trial.losses if each[0] <= trial.pruned_epoch
        )
        return Outcome(trial.parameters, "pruned", losses)
    if pruning and (count := stop_of(trial, before)):
        return Outcome(trial.parameters, "pruned", trial.losses[:count])
    return Outcome(trial.parameters, "complete", trial.losses)


def stop_of(trial, before):
    """Returns after how many evaluations a trial stops; None if never.

    Args:
        trial: a `Trial`.
        before: list of `Outcome`, one for each trial before.
    """
    return stops_after(trial.open_losses, before, trial.warmup_epochs)


def record_pruned(trial, count):
    """Records in its directory that a trial is stopped early.

    Args:
        trial: a `Trial`.
        count: int, after how many of its evaluations.
    """
    epoch, loss = trial.losses[count - 1]
    files.write_json(
        JobDir(trial.folder).pruned_path, {"epoch": epoch, "total_loss": loss}
    )


def _length(job):
    """Returns the `TrainConfig` of a job, and its `Schedule`."""
    try:
        config = job.config()
        return config, Schedule.of(config, job.of_data("train_examples"))
    except ConfigError as error:
        # It is about what lies there, not about what the user has typed.
        raise JobDirError(
            f"{job.root} is no trial of this search: {error}"
        ) from error


def _open(losses, held_out, config, schedule):
    """Returns the losses after which the training goes on."""
    patience = Patience(config.patience_epochs)
    found = []
    for loss, row in zip(losses, held_out, strict=True):
        patience.add(*loss)
        if row["step"] >= schedule.total_steps or patience.is_over:
            break
        found.append(loss)
    return tuple(found)


def _pruned_epoch(path):
    try:
        pruned = stored.read_json(path)
    except FileNotFoundError:
        return None
    except stored.UnreadableError as error:
        raise JobDirError(
            f"{path} {error}; remove it, and the trial goes on."
        ) from error
    epoch = pruned.get("epoch") if isinstance(pruned, dict) else None
    if not stored.is_count(epoch, least=1):
        raise JobDirError(
            f'{path} has no "epoch"; remove it, and the trial goes on.'
        )
    return epoch


def _seconds(path):
    try:
        found = goodput.read(path)
    except stored.UnreadableError:
        return None  # The job says so itself, and nothing depends on it.
    return found and found.total


def _data(recorded):
    """Returns what tells the data of one trial from that of another."""
    return {name: recorded.get(name) for name in ("name", "md5", "sha256")}
