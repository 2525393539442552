"""Notices work that does not end, and says where each thread stands.

A thread that waits inside of TensorFlow for what never comes hears nothing,
and raises nothing. So a thread of its own looks at the clock.
"""

import collections
import contextlib
import dataclasses
import faulthandler
import functools
import statistics
import tempfile
import threading
import time

# Of calls that were measured, of which each is given many times as long; and
# what is given to the fastest.
_USUAL_CALLS, _CALLS = 20, 21
_LEAST_SECONDS = 120.0
# For what has no usual time: tracing and compiling, an evaluation between two
# signs of life, pictures, the last files.
UNMEASURED_SECONDS = 1800.0
_POLL_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Hang:
    """Work that has not ended.

    Attributes:
        what: str, the work.
        seconds: float, for how long it has run.
        first_step, last_step: int, the steps that it is for.
    """

    what: str
    seconds: float
    first_step: int
    last_step: int

    def __str__(self):
        steps = (
            f"step {self.first_step}"
            if self.first_step == self.last_step
            else f"steps {self.first_step} to {self.last_step}"
        )
        return f"{self.what} at {steps} has not ended for {self.seconds:.0f} s"


@dataclasses.dataclass
class _Work:
    what: str
    limit: float
    elapsed: float = 0.0


class Watchdog:
    """Looks after the work of a training.

    Args:
        seconds: float, what a call of training steps may take; 0 for 20 times
            what such a call takes, and 120 s at least.
        step: int, the step that the training goes on from.
        report: function of a `Hang`, called once, on a thread of its own,
            while the work is still going on.
        grace: float, seconds that each work is given beside.
    """

    def __init__(self, seconds, step, report, grace=0.0):
        self._seconds = seconds
        self._step = step
        self._report = report
        self._grace = grace
        self._work = None
        self._ahead = 0
        self._seconds_per_step = collections.deque(maxlen=_CALLS)
        self._closed = threading.Event()
        threading.Thread(
            target=self._look, name="watchdog", daemon=True
        ).start()

    def close(self):
        """Looks no more."""
        self._closed.set()

    def now(self):
        """Returns the `Hang` that there would be if it were one; None at rest.

        For whoever asks where this process stands.
        """
        work = self._work
        return work and self._hang(work)

    @contextlib.contextmanager
    def over(self, what, seconds=None):
        """Looks after the work of a block.

        Args:
            what: str, the work.
            seconds: float, how long it may take; None for that of work which
                has no usual time.

        Yields:
            A function that says that the work goes on; its time begins anew.
        """
        if seconds is None:
            seconds = max(UNMEASURED_SECONDS, self._seconds)
        before = self._work
        self._work = work = _Work(what, seconds + self._grace)

        def go_on():
            work.elapsed = 0.0

        try:
            yield go_on
        finally:
            self._work = before

    def around(self, function, what):
        """Returns a function that looks after `function`, which is `what`."""

        @functools.wraps(function)
        def watched(*args):
            with self.over(what):
                return function(*args)

        return watched

    def calls(self, function):
        """Returns a function of a number of steps that looks after each call.

        Args:
            function: of a number of steps, and what else.
        """

        def watched(count, *args):
            # The count is a tensor, whose value is there.
            steps = int(count)
            self._ahead = steps
            started = time.monotonic()
            with self.over(*self._call(steps)):
                result = function(count, *args)
            seconds = time.monotonic() - started
            self._step += steps
            self._ahead = 0
            self._seconds_per_step.append(seconds / steps)
            return result

        return watched

    def _call(self, steps):
        """Returns the name and the time of the next call."""
        # The first one is tracing, and says nothing of the others.
        measured = list(self._seconds_per_step)[1:]
        if not measured:
            return "the first call", None
        usual = steps * statistics.median(measured)
        limit = max(_USUAL_CALLS * usual, _LEAST_SECONDS)
        return "training", self._seconds or limit

    def _hang(self, work):
        first = self._step + (1 if self._ahead else 0)
        last = self._step + self._ahead
        return Hang(work.what, work.elapsed, first, last)

    def _look(self):
        looked = time.monotonic()
        while not self._closed.wait(_POLL_SECONDS):
            now = time.monotonic()
            # A process that was stopped and goes on has not worked meanwhile.
            passed, looked = min(now - looked, 2 * _POLL_SECONDS), now
            work = self._work
            if work is None:
                continue
            work.elapsed += passed
            if work.elapsed > work.limit and not self._closed.is_set():
                self._report(self._hang(work))
                return


def stacks():
    """Returns the stack of each thread of this process, a str."""
    # It writes to a descriptor, without asking any of the threads.
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read().decode(errors="replace")
