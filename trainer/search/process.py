"""The process of a trial: started, watched, stopped, and never doubled.

It writes to a file that is locked (`flock`). The process inherits the lock, so
it is held for as long as the process lives, also after a search that was
killed: the next one waits for it, and starts none beside it.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time

from trainer.errors import JobDirError

# What trains; the flags come after it.
TRAINING = (sys.executable, "-m", "trainer.task")
_POLL_SECONDS = 0.2
_TAIL_BYTES = 2**14


def run(flags, output, stop, watch):
    """Trains in a process of its own, until that has ended.

    A stop signal is passed on, and the process saves its state.

    Args:
        flags: list of str.
        output: `pathlib.Path` of the file that gets what it prints.
        stop: a `StopSignal`.
        watch: function without arguments, called now and then; returns
            whether the process is to stop.

    Returns:
        (exit code, last words): int, negative for the number of the signal
        that killed it; str, its last error or line.

    Raises:
        JobDirError: the process of an earlier search still runs.
    """
    with _locked(output) as file:
        if file is None:
            raise JobDirError(
                f"{output} is held by another process; wait until that has "
                "ended, and run the same command again."
            )
        start = file.tell()
        process = subprocess.Popen(  # noqa: S603 - it is this program.
            [*TRAINING, *flags],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # A Ctrl-C at the terminal comes to it once, from here.
            start_new_session=True,
        )
        try:
            _wait(process, stop, watch)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
    return process.returncode, _last_words(output, start)


def wait_for_left_behind(output, stop, tell):
    """Waits while the process that a killed search has left behind lives.

    Args:
        output: `pathlib.Path` of the file that it prints to.
        stop: a `StopSignal`.
        tell: function without arguments, called if there is such a process.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    is_told = False
    while True:
        with _locked(output) as file:
            if file is not None:
                return
        if not is_told:
            tell()
            is_told = True
        stop.check()
        time.sleep(_POLL_SECONDS)


def _wait(process, stop, watch):
    is_told = False
    while process.poll() is None:
        if not is_told and (stop.requested or watch()):
            process.send_signal(signal.SIGTERM)
            is_told = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)


@contextlib.contextmanager
def _locked(output):
    """Gives a file to add to, locked; None where another process has it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file = None
        yield file


def _last_words(output, start):
    """Returns the last error of what a process printed, or its last line."""
    with open(output, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines or ["it printed nothing"])[-1].removeprefix(
        "ERROR: "
    )
