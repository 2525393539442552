"""Contenders: processes that are kept alive and compute in turns."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
_STOP_SECONDS = 20


class ContenderError(Exception):
    """A contender's process ended when it should not have."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a contender did in a turn.

    Attributes:
        steps: training steps, or whatever the contender counts.
        seconds: wall time.
        cpu_seconds: of all its threads and processes.
        others: what else it reports, by name.
    """

    steps: int
    seconds: float
    cpu_seconds: float
    others: dict

    @property
    def per_second(self):
        """Steps per second."""
        return self.steps / self.seconds


class Contender:
    """One or more processes that take the same turns.

    Args:
        name: what to call it.
        module: of this package, whose `main` they run.
        settings: JSON values for it, one for each process.
        threads: how many threads may compute at a time.
        environments: variables of each process.
    """

    def __init__(self, name, module, settings, threads, environments=None):
        self.name = name
        self.facts = {}
        self._processes = []
        self._errors = []
        for one, extra in zip(
            settings, environments or [{}] * len(settings), strict=True
        ):
            errors = tempfile.TemporaryFile()
            self._errors.append(errors)
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, json.dumps(one)],
                    cwd=ROOT,
                    env={**os.environ, **thread_variables(threads), **extra},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    # The trainer asks which cores it has.
                    preexec_fn=keep_to_cores(threads),
                )
            )

    def wait_until_ready(self):
        """Waits until it is set up; what it says then is in `facts`."""
        self.facts = self._reports()[0]

    def run(self, steps):
        """Lets it do at least so many steps; returns a `Measurement`."""
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):  # _report says why.
                process.stdin.write(f"{steps}\n")
                process.stdin.flush()
        reports = self._reports()
        known = ("steps", "seconds", "cpu_seconds")
        return Measurement(
            steps=reports[0]["steps"],
            seconds=max(report["seconds"] for report in reports),
            cpu_seconds=sum(report["cpu_seconds"] for report in reports),
            others={
                name: value
                for name, value in reports[0].items()
                if name not in known
            },
        )

    def kill(self):
        """Ends its processes at once; who waits for them is told an error."""
        for process in self._processes:
            process.kill()

    def close(self):
        """Ends its processes."""
        for process in self._processes:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process, errors in zip(self._processes, self._errors, strict=True):
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
            errors.close()

    def _reports(self):
        return [self._report(index) for index in range(len(self._processes))]

    def _report(self, index):
        line = self._processes[index].stdout.readline()
        if line:
            return json.loads(line)
        code = self._processes[index].wait()
        self._errors[index].seek(0)
        text = self._errors[index].read().decode(errors="replace").strip()
        raise ContenderError(
            f"{self.name} ended too early, with exit code {code}:\n{text}"
        )


def keep_to_cores(count):
    """Returns what a new process calls to have so many cores."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    return functools.partial(os.sched_setaffinity, 0, cores)


def thread_variables(threads):
    """Returns the variables that tell TensorFlow and OpenMP their threads."""
    return {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@contextlib.contextmanager
def started(*contenders):
    """Waits until all contenders are set up, and ends them in the end."""
    with contextlib.ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.close)
        for contender in contenders:
            contender.wait_until_ready()
        yield


def rounds(contenders, count, steps, after_turn=lambda name, turn: None):
    """Lets contenders take turns, in the other direction every other round.

    Args:
        contenders: sequence of `Contender`s, warmed up.
        count: int, number of rounds.
        steps: dict of int by contender's name, the steps of a turn.
        after_turn: called with each contender's name and `Measurement`.

    Returns:
        Dict by contender's name of a list of `Measurement`s, one a round.
    """
    turns = {contender.name: [] for contender in contenders}
    for number in range(count):
        order = contenders if number % 2 == 0 else contenders[::-1]
        for contender in order:
            turn = contender.run(steps[contender.name])
            turns[contender.name].append(turn)
            after_turn(contender.name, turn)
    return turns


def alternating(pairs, names, measured):
    """Returns a list of measurements by name, the other way every other time.

    Args:
        pairs: int, how many of each.
        names: list of str.
        measured: function of a name.
    """
    found = {name: [] for name in names}
    for number in range(pairs):
        for name in names if number % 2 == 0 else names[::-1]:
            found[name].append(measured(name))
    return found


def seconds_of(command, threads):
    """Returns how long a command takes: wall time, and CPU of all it starts.

    Args:
        command: list of str, a module and its arguments.
        threads: int, how many may compute at a time.

    Raises:
        ContenderError: it failed.
    """
    before = _cpu_of_children()
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **thread_variables(threads)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=keep_to_cores(threads),
    )
    if done.returncode:
        raise ContenderError(f"{command[0]} failed:\n{done.stderr}")
    return time.perf_counter() - started, _cpu_of_children() - before


def _cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
