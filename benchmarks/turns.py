"""A contender's side of the pipe: computes when told to, and reports."""

import json
import os
import pathlib
import re
import sys
import time


class BenchmarkOver(Exception):  # noqa: N818
    """The benchmark wants no more steps of this process."""


def reports_alone():
    """Returns what stdout was; what anybody prints goes to stderr from now on.

    A report must be alone on its line.
    """
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return reports


def check_parameters(name, count, expected):
    """Refuses a contender that is another model.

    Raises:
        ValueError: it has another number of parameters.
    """
    if count != expected:
        raise ValueError(
            f"{name} has {count:,} parameters; expected {expected:,}, those "
            "of the model that it is compared with."
        )


class Turn:
    """Waits on stdin for a number of steps, and reports on stdout.

    Attributes:
        finish: function without arguments that waits for what a device still
            computes; a turn is over when it returns.
    """

    def __init__(self):
        self._reports = reports_alone()
        self._wanted = 0
        self.finish = lambda: None

    def ready(self, **facts):
        """Says that this contender is set up, and waits for its turn."""
        self._send(facts)
        self._wait()

    def add(self, name, value):
        """Adds to a figure of this turn."""
        self._figures[name] = self._figures.get(name, 0.0) + value

    def did(self, steps):
        """Counts steps; when the turn is over, reports and waits.

        Raises:
            BenchmarkOver: there will be no other turn.
        """
        self._steps += steps
        if self._steps < self._wanted:
            return
        self.finish()
        self._send(
            {
                "steps": self._steps,
                "seconds": time.perf_counter() - self._started,
                # Of all threads.
                "cpu_seconds": time.process_time() - self._cpu_started,
                "peak_bytes": _peak_bytes(),
                **self._figures,
            }
        )
        self._wait()

    def _send(self, report):
        print(json.dumps(report), file=self._reports, flush=True)

    def _wait(self):
        line = sys.stdin.readline()
        if not line:
            raise BenchmarkOver
        self._wanted = int(line)
        self._steps = 0
        self._figures = {}
        self._cpu_started = time.process_time()
        self._started = time.perf_counter()


def _peak_bytes():
    """Returns the most memory that this process has had, since its start."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
