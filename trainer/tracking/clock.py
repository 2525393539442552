"""Where the seconds of a session go: each to one kind of work, none to two."""

import contextlib
import os
import threading
import time

# What people call each kind. Only the first is progress.
KINDS = {
    "training": "steps that count",
    "repeated": "steps done again",
    "start": "start and reading data",
    "tracing": "tracing and compiling",
    "data": "waiting for data",
    "evaluation": "evaluation",
    "pictures": "pictures and export",
    "checkpoints": "checkpoints",
    "peers": "waiting for other machines",
    "other": "other",
}


class Clock:
    """Counts the seconds of a session by kind of work.

    At any moment one kind is under way, so that the kinds add up to the wall
    clock. One thread changes the kind; any may read.

    Args:
        age: float, for how many seconds the session has run by now.

    Attributes:
        step: int, the last step that was done; None before there is one.
        done_before: int, the last step that a session before this one did: up
            to it, steps are done again.
    """

    def __init__(self, age=0.0):
        self.step = None
        self.done_before = 0
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._kinds = ["start"]
        self._since = time.perf_counter() - age
        # Of the first call: its steps, the share of them that was done before,
        # and how long it took without waiting for data.
        self._first = None
        self._lock = threading.Lock()

    def seconds(self):
        """Returns the seconds up to now, a dict of float by kind."""
        with self._lock:
            found = dict(self._seconds)
            found[self._kinds[-1]] += time.perf_counter() - self._since
        return found

    def total(self):
        """Returns the seconds up to now, of all kinds."""
        return sum(self.seconds().values())

    def become(self, kind):
        """From now on, what no block is for is of a kind."""
        with self._lock:
            self._count()
            self._kinds[0] = kind

    @contextlib.contextmanager
    def over(self, kind):
        """Counts a block as of a kind."""
        with self._lock:
            self._count()
            self._kinds.append(kind)
        try:
            yield
        finally:
            with self._lock:
                self._count()
                self._kinds.pop()

    def call(self):
        """Returns a context for a call of training steps; `ran` follows it."""
        return self.over("training" if self._first else "tracing")

    def ran(self, last_step, count, seconds, data_seconds):
        """Shares out the seconds of the call that has ended.

        The first call traces and compiles. What its steps took beside is
        known when the next call has shown how long a step takes.

        Args:
            last_step: int, the last step of the call.
            count: int, its steps.
            seconds: float, how long it took.
            data_seconds: float, how long of it the steps waited for data.
        """
        again = min(max(self.done_before - (last_step - count), 0), count)
        again /= count
        data_seconds = min(max(data_seconds, 0.0), seconds)
        worked = seconds - data_seconds
        with self._lock:
            self.step = last_step
            if self._first is None:
                self._move("tracing", "data", data_seconds)
                self._first = (count, again, worked)
                return
            self._move("training", "data", data_seconds)
            self._move("training", "repeated", worked * again)
            first_count, first_again, first_worked = self._first
            steps = min(first_count * worked / count, first_worked)
            self._move("tracing", "training", steps * (1 - first_again))
            self._move("tracing", "repeated", steps * first_again)
            # Moved once.
            self._first = (0, 0.0, 0.0)

    def _count(self):
        now = time.perf_counter()
        self._seconds[self._kinds[-1]] += now - self._since
        self._since = now

    def _move(self, source, kind, seconds):
        # No kind becomes less than nothing, whatever was measured.
        seconds = min(seconds, self._seconds[source])
        self._seconds[source] -= seconds
        self._seconds[kind] += seconds


def process_age():
    """Returns for how many seconds this process has existed.

    By `/proc/self/stat` (proc(5)); 0.0 where there is none.
    """
    try:
        with open("/proc/self/stat", encoding="utf-8") as file:
            # The name of the program, in parentheses, may hold anything.
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 0.0)
