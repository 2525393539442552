"""One process at a time fetches data into a folder that jobs share."""

import contextlib
import fcntl
import os
import time

_TRY_SECONDS = 0.2


@contextlib.contextmanager
def hold(folder, console, stop):
    """Holds a folder, which is made if that is possible, while the block runs.

    The lock (`flock`) is on the folder itself: nothing is written for it, and
    the kernel releases it when its process ends. Where a folder cannot be
    locked, as on some network file systems, the block runs at once: each job
    fetches for itself then, and the last one's files stay.

    Args:
        folder: `pathlib.Path`.
        console: a `Console`; says what is waited for.
        stop: a `StopSignal`, checked while another process holds it.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        # Who writes there will say why not, if anything has to be written.
        yield
        return
    try:
        _wait_for(descriptor, folder, console, stop)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor, folder, console, stop):
    is_waiting = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not is_waiting:
                console.line(
                    f"Waiting for another process that fetches data into "
                    f"{folder}."
                )
            is_waiting = True
            stop.check()
            time.sleep(_TRY_SECONDS)
        except OSError as error:
            console.warning(
                f"{folder} cannot be locked ({error.strerror}); jobs that "
                "start at the same time each fetch the data for themselves."
            )
            return
