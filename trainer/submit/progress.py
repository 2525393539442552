"""How far a training is, as its job directory tells it, without TensorFlow.

The job directory may be one of this machine or of a bucket.
"""

import contextlib
import dataclasses
import pathlib

from trainer import places, stored
from trainer.errors import JobDirError
from trainer.job_dir import layout
from trainer.job_dir.open import JobDir
from trainer.runtime.console import Console
from trainer.schedule import Schedule
from trainer.tracking import goodput as goodput_lib, rows as rows_lib

_FILES = (layout.CONFIG, layout.METRICS, layout.FINISHED, layout.GOODPUT)
# What a session does once, and not again with each step.
_ONCE = ("start", "tracing")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        place: str, the epoch or step, and the last held-out loss.
        endings: tuple of str, how often it was interrupted, or failed.
        left: str, how long the rest may take; empty where that is not known.
        is_finished: bool, whether all of it is done.
    """

    place: str
    endings: tuple = ()
    left: str = ""
    is_finished: bool = False

    @property
    def news(self):
        """What is worth a new line when it changes."""
        return self.place, self.endings

    def __str__(self):
        words = (self.place, self.left, *self.endings)
        return ", ".join(filter(None, words))


NOT_STARTED = Progress("not started")


def read(job_dir, stop):
    """Returns the `Progress` of a job.

    Args:
        job_dir: str, a folder of this machine or of a bucket.
        stop: a `StopSignal`.

    Raises:
        TrainerError: the job directory cannot be read, or holds no job.
        OSError: it could not be looked at.
    """
    with _opened(job_dir, stop) as job:
        if not job.exists:
            return NOT_STARTED
        return _of(job)


@contextlib.contextmanager
def _opened(job_dir, stop):
    if not places.parse(job_dir).in_bucket:
        yield JobDir(pathlib.Path(job_dir))
        return
    # The client of buckets takes most of a second to import.
    from trainer.job_dir.bucket import session

    console = Console(has_bars=False)
    with session.copied(job_dir, console, stop, _FILES.__contains__) as copy:
        root, store = copy
        yield JobDir(root, store.url, store=store)


def _of(job):
    record, config = job.record(), job.config()
    rows = rows_lib.read_rows(job.metrics_path)
    goodput = _goodput(job)
    sessions = goodput.sessions if goodput else ()
    finished = job.finished()
    step = max([row["step"] for row in rows], default=0)
    if sessions:
        step = max(step, sessions[-1].last_step)
    examples = record["data"].get("train_examples")
    schedule = Schedule.of(config, examples) if examples else None
    if finished:
        place = f"finished after {_epoch(finished['step'], config, schedule)}"
    else:
        place = _epoch(max(step, 1), config, schedule)
    left = ""
    if schedule and not finished:
        seconds = _seconds_a_step(sessions)
        left = _left(max(schedule.total_steps - step, 0), seconds, config)
    return Progress(
        place=f"{place}, {_loss(rows)}",
        endings=tuple(_endings(record, sessions)),
        left=left,
        is_finished=bool(finished),
    )


def _goodput(job):
    try:
        return goodput_lib.read(job.goodput_path)
    except stored.UnreadableError as error:
        raise JobDirError(
            f"{job.location}/{layout.GOODPUT} {error}; move it away, and the "
            "job writes another."
        ) from error


def _epoch(step, config, schedule):
    if schedule is None:
        return f"step {step:,}"
    if config.max_steps:
        return f"step {step:,} of {schedule.total_steps:,}"
    last = schedule.epoch_of(schedule.total_steps)
    return f"epoch {schedule.epoch_of(step)} of {last}"


def _loss(rows):
    held_out = [row for row in rows if row["split"] != "train"]
    if not held_out:
        return "no test loss yet"
    loss = held_out[-1]["total_loss"]
    # As many digits as a person compares.
    digits = f"{loss:.1f}" if abs(loss) >= 10 else f"{loss:.3g}"
    return f"{held_out[-1]['split']} loss {digits}"


def _endings(record, sessions):
    """Yields how often the job was interrupted, and how often it failed."""
    ends = {session.number: session.end for session in sessions}
    count = len(record["sessions"])
    # One that was killed has no end; nor has the last one while it runs.
    found = [ends.get(number) or "interrupted" for number in range(1, count)]
    found.append(ends.get(count))
    for word in ("interrupted", "failed"):
        if times := found.count(word):
            yield f"{word} {_times(times)}"


def _times(count):
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _seconds_a_step(sessions):
    """Returns how long a step takes, with all that goes with it; or None."""
    for known in (sessions[-1:], sessions):
        steps = sum(each.last_step - each.first_step for each in known)
        seconds = sum(
            value
            for each in known
            for kind, value in each.seconds.items()
            if kind not in _ONCE
        )
        if steps > 0:
            return seconds / steps
    return None


def _left(steps, seconds_a_step, config):
    if seconds_a_step is None:
        return ""
    # It may stop before.
    most = "at most " if config.patience_epochs else ""
    return f"{most}{_duration(steps * seconds_a_step)} left"


def _duration(seconds):
    if seconds < 1.5 * _MINUTE:
        return _amount(round(seconds), "second")
    if seconds < 1.5 * _HOUR:
        return _amount(round(seconds / _MINUTE), "minute")
    if seconds < 2 * _DAY:
        return _amount(round(seconds / _HOUR, 1), "hour")
    return _amount(round(seconds / _DAY, 1), "day")


def _amount(count, unit):
    return f"{count:g} {unit}{'' if count == 1 else 's'}"
