"""Writes down where the time of a job goes, as long as it runs.

A killed process writes no end. So `goodput.json` is written anew whenever the
session is one hundredth older, and before each checkpoint becomes visible:
what a session did after that is not known, and not guessed.
"""

import contextlib
import dataclasses
import datetime
import threading

from trainer import files, stored
from trainer.errors import InterruptedJobError, TrainerError
from trainer.tracking import goodput, rows


class Ledger:
    """Keeps `goodput.json` while a session runs. The chief alone has it.

    It is to be made while the rows after the checkpoint are still there: they
    say which steps are done again. In a `with` block the file is written when
    the block begins, now and then, and with its end when the block ends.

    Args:
        job: a claimed `JobDir` with its record.
        clock: the `Clock` of the session, which gets its `done_before`.
        first_step: int, the step that the session goes on from.
        console: a `Console`.
    """

    def __init__(self, job, clock, first_step, console):
        self._job = job
        self._clock = clock
        self._first_step = first_step
        self._number = len(job.record()["sessions"])
        now = datetime.datetime.now(datetime.timezone.utc)
        self._started = now.isoformat(timespec="seconds")
        self._before = self._read(console)
        clock.done_before = self._done_before()
        self._end = None
        self._fault = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._work, name="goodput", daemon=True
        )

    def __enter__(self):
        self.write()
        self._thread.start()
        return self

    def __exit__(self, kind, error, traceback):
        if error is None:
            self.close("finished")
            return
        # What went wrong matters more than how long it took.
        with contextlib.suppress(OSError, TrainerError):
            is_stopped = (
                getattr(error, "exit_code", 1) == InterruptedJobError.exit_code
            )
            self.close("interrupted" if is_stopped else "failed")

    def now(self):
        """Returns the `Goodput` of the job up to now."""
        clock = self._clock
        last_step = self._first_step if clock.step is None else clock.step
        session = goodput.SessionTime(
            number=self._number,
            started=self._started,
            first_step=self._first_step,
            last_step=last_step,
            end=self._end,
            seconds={k: round(v, 3) for k, v in clock.seconds().items()},
        )
        return goodput.Goodput((*self._before, session))

    def write(self):
        """Writes what is known by now; from any thread.

        Raises:
            JobDirError: the job directory is not the one that was claimed.
            OSError: it cannot be written.
        """
        with self._lock:
            self._job.check_held()
            sessions = [dataclasses.asdict(s) for s in self.now().sessions]
            files.write_json(
                self._job.goodput_path,
                {"format": goodput.FORMAT, "sessions": sessions},
            )

    def check(self):
        """Raises what kept the file from being written."""
        if self._fault is not None:
            raise self._fault

    def close(self, end):
        """Writes how the session ended, one of `goodput.ENDS`, once."""
        if self._end is None:
            self._closed.set()
            self._thread.join()
            self._end = end
            self.write()

    def _work(self):
        while not self._closed.wait(goodput.write_seconds(self._clock.total())):
            try:
                self.write()
            except Exception as error:
                self._fault = error
                return

    def _done_before(self):
        """Returns the last step that any earlier session did, as is known."""
        if self._number == 1:
            return 0
        # A row may be newer than what a killed session wrote here last.
        written = rows.read_rows(self._job.metrics_path)
        steps = [session.last_step for session in self._before]
        return max([*steps, *(row["step"] for row in written)], default=0)

    def _read(self, console):
        """Returns the earlier sessions of the job."""
        path = self._job.goodput_path
        try:
            found = goodput.read(path)
        except stored.UnreadableError as error:
            console.warning(
                f"{path} {error}; the time of earlier sessions is left out of "
                "what this job says of its goodput."
            )
            return ()
        return found.sessions if found else ()
