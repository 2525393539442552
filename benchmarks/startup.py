"""From the command to the first training step, beyond TensorFlow's import."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks.contenders import ROOT, ContenderError, thread_variables
from benchmarks.intervals import Estimate, Figure, Goal

_GOAL = Goal(3.0, 6.0, more_is_better=False, form="{:.1f} s")
_POLL_SECONDS = 0.005


def measure(setup):
    """Returns the `Figure` of the start; prints both of its parts.

    Args:
        setup: a `setup.Setup`.
    """
    flags = [*setup.data_flags, *setup.job_flags]
    folder, threads = setup.folder, setup.threads
    # The first ones read TensorFlow from the disk.
    seconds_to_import(threads)
    seconds_to_first_step(flags, folder, threads)
    imports, starts = [], []
    for number in range(setup.rounds):
        turns = [
            lambda: imports.append(seconds_to_import(threads)),
            lambda: starts.append(
                seconds_to_first_step(flags, folder, threads)
            ),
        ]
        for turn in turns if number % 2 == 0 else turns[::-1]:
            turn()
    setup.console.line(
        f"import tensorflow: {Estimate.of(imports).text()} s; from the "
        f"command to the end of step 1: {Estimate.of(starts).text()} s."
    )
    beyond = Estimate.of(
        start - only_import
        for start, only_import in zip(starts, imports, strict=True)
    )
    return [Figure("first step, beyond import tensorflow", beyond, _GOAL)]


def seconds_to_import(threads):
    """Returns how long a new Python takes to import TensorFlow."""
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", "import tensorflow; print('.', flush=True)"],
        env={**os.environ, **thread_variables(threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        if not process.stdout.readline():
            raise ContenderError("TensorFlow cannot be imported.")
        return time.monotonic() - started


def seconds_to_first_step(flags, folder, threads):
    """Returns how long the command takes until its first row of metrics.

    Args:
        flags: list of str, of the trainer.
        folder: where a new job directory can be made.
        threads: how many may compute at a time.

    Raises:
        ContenderError: the command ended before.
    """
    job = pathlib.Path(tempfile.mkdtemp(dir=folder)) / "job"
    metrics = job / "metrics.jsonl"
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "trainer.task", f"--job_dir={job}"),
                *("--summary_steps=1", *flags),
            ],
            cwd=ROOT,
            env={**os.environ, **thread_variables(threads)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while not metrics.exists() or not metrics.stat().st_size:
                if process.poll() is not None:
                    output.seek(0)
                    text = output.read().decode(errors="replace")
                    raise ContenderError(f"The job ended too early:\n{text}")
                time.sleep(_POLL_SECONDS)
            return time.monotonic() - started
        finally:
            process.kill()
            process.wait()
