"""A contender's side of the pipe: computes when told to, and reports."""

import json
import os
import pathlib
import re
import sys
import time


class BenchmarkOver(Exception):  # noqa: N818
    """The benchmark wants no more steps of this process."""


class Turn:
    """Waits on stdin for a number of steps, and reports on stdout.

    What anybody else prints goes to stderr, since a report must be alone on
    its line.
    """

    def __init__(self):
        self._reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._wanted = 0

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
