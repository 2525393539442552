"""The lock of a job directory: one process at a time works there.

It is a `flock` on `claim.lock`, which the kernel releases when its process
ends, however it ends.

A start that fails before it has put anything there takes the lock away again,
and the folders that it has made. A new folder appears with its lock in it,
already held, and disappears together with it, by one rename each: another
start that came in between would take it for a folder of the user's, and leave
it behind.
"""

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import socket
import time
import uuid

from trainer.errors import JobDirError
from trainer.job_dir import layout

# At each of them another start must make or remove the folder in between.
_TRIES, _PAUSE_SECONDS = 100, 0.01
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


@contextlib.contextmanager
def hold(root, location):
    """Holds a folder for this process while the block runs.

    A block that fails and has added nothing to the folder leaves neither the
    lock nor the folder there, if they were made for it.

    Args:
        root: `pathlib.Path` of the folder, which is made if it is not there.
        location: str, what the user calls the job directory.

    Yields:
        A function that returns whether the folder is gone by now, or is
        another one that another process holds.

    Raises:
        JobDirError: another process holds it, or it cannot be a folder.
        OSError: it cannot be written.
    """
    made = []
    try:
        lock, is_new = _take(root, location, made)
        with lock:
            before = set(os.listdir(root))
            try:
                yield functools.partial(_is_lost, root, lock)
            except BaseException:
                # Alone in a folder it holds nothing, whoever has made it.
                is_ours = is_new or before == {layout.LOCK}
                if is_ours and _is_in(root, lock):
                    _remove(root, before, made)
                raise
    except BaseException:
        _remove_empty(made)
        raise


def _take(root, location, made):
    """Returns the lock, an open file, and whether it was made for this.

    Args:
        root: `pathlib.Path` of the folder.
        location: str, as for `hold`.
        made: list, to which the folders are added that are made for it.
    """
    for _ in range(_TRIES):
        try:
            lock, is_new = _open(root, made)
        except (FileExistsError, NotADirectoryError) as error:
            raise JobDirError(
                f"--job_dir={root} cannot be a folder: {_first_file(root)} is "
                "a file. Give another --job_dir."
            ) from error
        if lock is None:
            time.sleep(_PAUSE_SECONDS)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with lock:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
            raise JobDirError(
                f"{location} is in use by {holder}; wait until that job has "
                "ended, or give another --job_dir."
            ) from error
        # Whoever held it before may have removed it in the meantime.
        if _is_in(root, lock):
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
            return lock, is_new
        lock.close()
        time.sleep(_PAUSE_SECONDS)
    raise JobDirError(
        f"--job_dir={root} is removed whenever it is made; give another one."
    )


def _open(root, made):
    """As `_take`, not held yet; without a file if another start interfered."""
    path = root / layout.LOCK
    try:
        return open(path, "r+", encoding="utf-8"), False
    except FileNotFoundError:
        if not root.is_dir():
            return _make(root, made), True
    try:
        return open(path, "x+", encoding="utf-8"), True
    except (FileExistsError, FileNotFoundError):
        return None, True


def _make(root, made):
    """Makes a folder, and returns its lock; None as for `_open`."""
    aside = _aside(root)
    try:
        _make_missing(root.parent, made)
        aside.mkdir()
    except FileNotFoundError:
        return None  # Another start removed the folder around it.
    except OSError as error:
        # The user knows of no other folder.
        error.filename = str(root)
        raise
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, aside)
        lock = undo.enter_context(
            open(aside / layout.LOCK, "x+", encoding="utf-8")
        )
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            os.rename(aside, root)
        except OSError as error:
            # A root that ends in ".." is there by now.
            if error.errno in (*_NOT_EMPTY, errno.EBUSY):
                return None
            raise
        undo.pop_all()
    made.append(root)
    return lock


def _make_missing(folder, made):
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        try:
            each.mkdir()
        except FileExistsError:
            if os.path.lexists(each) and not each.is_dir():
                raise
        else:
            made.append(each)


def _remove(root, before, made):
    """Removes the lock, which is held, and the folder if it was made for it.

    Args:
        root: `pathlib.Path` of the folder.
        before: set of what was there. Nothing is done if it holds more now.
        made: list of the folders that were made.
    """
    if set(os.listdir(root)) != before:
        return
    if root not in made:
        (root / layout.LOCK).unlink()
        return
    aside = _aside(root)
    os.rename(root, aside)
    if os.listdir(aside) == [layout.LOCK]:
        (aside / layout.LOCK).unlink()
        aside.rmdir()
    else:
        # Somebody has put something there in this very moment.
        os.rename(aside, root)


def _remove_empty(made):
    for folder in reversed(made):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in _NOT_EMPTY:
                return
            raise


def _is_in(root, lock):
    """Whether the lock is the one that others find in the folder."""
    try:
        found = os.stat(root / layout.LOCK)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(lock.fileno()))


def _is_lost(root, lock):
    try:
        found = os.stat(root / layout.LOCK)
    except (FileNotFoundError, NotADirectoryError):
        return not root.is_dir()
    return not os.path.samestat(found, os.fstat(lock.fileno()))


def _aside(root):
    return root.with_name(f".claim-{uuid.uuid4().hex}")


def _first_file(root):
    """Returns which of a path and the folders around it is a file."""
    paths = (*reversed(root.parents), root)
    return next((path for path in paths if path.is_file()), root)
