"""`--wait`: stays until a job that was sent has ended."""

import datetime
import time

from trainer import places
from trainer.errors import (
    InterruptedJobError,
    ServiceUnavailableError,
    StorageUnavailableError,
    SubmitError,
    TrainerError,
)
from trainer.submit import job as job_lib, progress

_POLL_SECONDS = 10.0
# Each look into a bucket is a listing and some downloads, which cost.
_BUCKET_SECONDS = 60.0
_STOP_SECONDS = 0.1


def until_end(engine, job, stop):
    """Prints a line whenever something of a job changes, until it has ended.

    What cannot be reached for now is waited for: it is said once.

    Args:
        engine: as for `verbs.run`, with its flags.
        job: the `KnownJob`.
        stop: a `StopSignal`, which ends the waiting alone.

    Raises:
        InterruptedJobError: the stop signal came.
        SubmitError: the job has failed, or is gone.
    """
    watch = _Watch(engine, job, stop)
    while not job.has_ended:
        watch.show(job)
        _pause(stop, engine, job)
        job = watch.look(job)
    watch.show(job, at_the_end=True)
    if not job.has_succeeded:
        raise SubmitError(
            f"{job.title} has ended: {job.state}; {engine.program} logs "
            f"{job.name} shows its output."
        )


class _Watch:
    """Looks at a job, and prints what is new."""

    def __init__(self, engine, job, stop):
        self._engine = engine
        self._stop = stop
        self._shown = self._progress = None
        self._looked = float("-inf")
        self._troubles = set()
        in_bucket = job.job_dir and places.parse(job.job_dir).in_bucket
        self._seconds = _BUCKET_SECONDS if in_bucket else _POLL_SECONDS

    def look(self, job):
        """Returns how a job stands now; as before, if nobody can tell."""
        try:
            found = self._engine.get(job, self._stop)
        except (InterruptedJobError, ServiceUnavailableError) as error:
            self._stopped(job)
            self._warn_once(str(error))
            return job
        if found is None:
            raise SubmitError(
                f"{self._engine.title} does not know {job.title} any more; "
                "somebody has deleted it, or it ended long ago."
            )
        return found

    def show(self, job, at_the_end=False):
        """Prints a line, if it says what the last one did not."""
        now = time.monotonic()
        if at_the_end or now - self._looked >= self._seconds:
            self._looked = now
            self._progress = self._read(job)
        known = self._progress
        news = job.state, known and known.news
        if news != self._shown:
            self._shown = news
            clock = datetime.datetime.now().astimezone()
            rest = f": {known}" if known else ""
            print(f"{clock:%H:%M:%S} {job.state}{rest}", flush=True)

    def _read(self, job):
        if job.is_search or not self._engine.sees(job.job_dir):
            return None
        try:
            return progress.read(job.job_dir, self._stop)
        except (TrainerError, OSError) as error:
            self._stopped(job)
            if isinstance(error, StorageUnavailableError):
                self._warn_once(str(error))
                return self._progress
            self._warn_once(f"The progress is not known: {error}")
            return None

    def _stopped(self, job):
        if self._stop.requested:
            raise _only_the_waiting(self._engine, job, self._stop)

    def _warn_once(self, sentence):
        if sentence not in self._troubles:
            self._troubles.add(sentence)
            job_lib.warn(sentence)


def _pause(stop, engine, job):
    end = time.monotonic() + _POLL_SECONDS
    while time.monotonic() < end:
        if stop.requested:
            raise _only_the_waiting(engine, job, stop)
        time.sleep(min(_STOP_SECONDS, _POLL_SECONDS))


def _only_the_waiting(engine, job, stop):
    return InterruptedJobError(
        f"{stop.name} has ended the waiting, not the job, which goes on; "
        f"{engine.program} status {job.name} says how it stands, and "
        f"{engine.program} cancel {job.name} stops it."
    )
