"""The doctor as the first act of a job: a process of its own.

What it takes of a GPU is free again when it has ended, and TensorFlow starts
in the job as it would without it.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time

from trainer.errors import InterruptedJobError, TrainerError
from trainer.runtime import training_flags

# It ends by itself where a check hangs, unless its process is stuck.
_MOST_SECONDS = 3600.0
_POLL_SECONDS = 0.1
_END_SECONDS = 20


class UnfitMachineError(TrainerError):
    """vae-doctor found something for which a job would end."""


def examine(config, stop, console):
    """Examines this machine for a job.

    Args:
        config: a `TrainConfig`.
        stop: a `StopSignal`.
        console: a `Console`, which says all that the doctor says.

    Returns:
        An `UnfitMachineError` if it is not fit; None if the job may begin.
        What is out of reach for now does not keep it from that: the training
        waits for it, and says so.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    console.line("Examining this machine first, as vae-doctor does.")
    process = subprocess.Popen(  # noqa: S603 - the flags of this job.
        [
            *(sys.executable, "-m", "trainer.commands.doctor"),
            *_flags_of(config),
        ],
        env={**os.environ, **_same_imports()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    teller = threading.Thread(target=_tell, args=(process, console))
    teller.start()
    end = time.monotonic() + _MOST_SECONDS
    try:
        while process.poll() is None and time.monotonic() < end:
            stop.check()
            time.sleep(_POLL_SECONDS)
        late = process.poll() is None
    finally:
        _end(process)
        teller.join()
    stop.check()
    if late:
        return UnfitMachineError(
            f"vae-doctor had not ended after {_MOST_SECONDS:g} seconds; a "
            "device may hang: restart this machine, or take another."
        )
    if process.returncode == InterruptedJobError.exit_code:
        console.warning(
            "Something is out of reach for now; the training waits for it as "
            "it always does."
        )
        return None
    if process.returncode:
        return UnfitMachineError(
            "vae-doctor found that this machine cannot run the job (exit code "
            f"{process.returncode}); do what its lines above say, or train "
            "without --doctor."
        )
    return None


def _flags_of(config):
    """Returns all settings as flags, whatever file they came from."""
    lines = training_flags.flag_file(config).splitlines()
    return [line for line in lines if not line.startswith("#")]


def _same_imports():
    """Returns variables with which Python imports what this process does.

    Else -m would look into the working directory first, as a console script
    does not. Before Python 3.11 it does so all the same.
    https://docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH
    """
    folders = [folder or os.getcwd() for folder in sys.path]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(folders)}


def _tell(process, console):
    for line in process.stdout:
        console.line(line.rstrip("\n"))
    process.stdout.close()


def _end(process):
    """Ends a process, kindly at first."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        process.kill()
    process.wait()
