"""Folders of data that several processes share.

One process at a time fetches data into such a folder, and what a process reads
from is not removed. The locks (`flock`) are on the folder and on a file of it:
nothing is written for them, and the kernel releases them when their process
ends.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import time

_TRY_SECONDS = 0.2
# What the name of a folder begins with while it is removed.
_DOOMED = ".removed-"
# How often a folder is made again that was removed while it was waited for.
_MOST_REMOVALS = 5


@contextlib.contextmanager
def hold(folder, console, stop):
    """Holds a folder, which is made if that is possible, while the block runs.

    Where a folder cannot be locked, as on some network file systems, the block
    runs at once: each job fetches for itself then, and the last one's files
    stay.

    Args:
        folder: `pathlib.Path`.
        console: a `Console`; says what is waited for.
        stop: a `StopSignal`, checked while another process holds it.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    try:
        descriptor = _locked(folder, console, stop)
    except OSError:
        # Who writes there will say why not, if anything has to be written.
        yield
        return
    try:
        yield
    finally:
        os.close(descriptor)


class Kept:
    """An open file; what it belongs to is not removed while it is open.

    Where files cannot be locked, as on some network file systems, nothing is
    kept.

    Args:
        path: `pathlib.Path`.

    Raises:
        FileNotFoundError: there is none, or it is being removed.
        OSError: it cannot be opened.
    """

    def __init__(self, path):
        self._file = None
        self._file = path.open("rb")
        with contextlib.suppress(OSError):
            # Who removes it holds it for no longer than that takes.
            fcntl.flock(self._file, fcntl.LOCK_SH)
        if not path.exists():
            self.close()
            raise FileNotFoundError(errno.ENOENT, "It was removed", str(path))

    def read(self, count):
        """Returns at most so many bytes."""
        return self._file.read(count)

    def close(self):
        """Lets it be removed."""
        if self._file is not None:
            self._file.close()

    __del__ = close


def remove_unused(folder, name):
    """Removes a folder of data, unless a process uses it.

    Args:
        folder: `pathlib.Path`, whose parent is the one that is held where a
            dataset is prepared.
        name: str, the file that is open where the folder is read from; see
            `Kept`.

    Returns:
        Whether it was removed.

    Raises:
        OSError: it cannot be removed.
    """
    with contextlib.ExitStack() as locks:
        for path in (folder.parent, folder, folder / name):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            locks.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False  # It is in use, or who knows.
        # Nobody finds a part of it, whenever this is killed.
        doomed = folder
        if not folder.name.startswith(_DOOMED):
            doomed = folder.with_name(f"{_DOOMED}{folder.name}")
            os.rename(folder, doomed)
        shutil.rmtree(doomed)
    return True


def _locked(folder, console, stop):
    """Returns a descriptor of a folder, which is made and locked."""
    for last in (*[False] * _MOST_REMOVALS, True):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _wait_for(descriptor, folder, console, stop)
            # It may have been removed meanwhile: then the lock is on nothing.
            if last or _is_at(descriptor, folder):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor, path):
    """Whether what is open is what lies at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


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
