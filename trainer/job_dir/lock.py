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
import re
import shutil
import socket
import stat
import time
import uuid

from trainer.errors import JobDirError
from trainer.job_dir import layout

# At each of them another start must make or remove the folder in between.
_TRIES, _PAUSE_SECONDS = 100, 0.01
# Who only looks whether it is held has it for less than one of these pauses.
_LOOKS = 5
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
# Who holds it, as it stands in the file.
_HOLDER = re.compile(r"process \d+ on \S+\n", re.ASCII)
_HOLDER_BYTES = 512


@contextlib.contextmanager
def hold(root, location, flag="--job_dir"):
    """Holds a folder for this process while the block runs.

    A block that fails and has added nothing to the folder leaves neither the
    lock nor the folder there, if they were made for it.

    Args:
        root: `pathlib.Path` of the folder, which is made if it is not there.
        location: str, what the user calls the folder.
        flag: str, what the user gave it with.

    Yields:
        A function that returns whether the folder is gone by now, or is
        another one that another process holds.

    Raises:
        JobDirError: another process holds it, or it cannot be a folder.
        OSError: it cannot be written.
    """
    made = []
    try:
        lock, is_new = _take(root, location, flag, made)
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


def is_held(root):
    """Whether a process works in a folder at this moment.

    Args:
        root: `pathlib.Path` of the folder. Nothing in it is changed.

    Raises:
        OSError: the file system has no locks, or it could not be looked at.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(root / layout.LOCK, flags)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return False  # A link or a device is no lock.
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take(root, location, flag, made):
    """Returns the lock, an open file, and whether it was made for this.

    Args:
        root: `pathlib.Path` of the folder.
        location: str, as for `hold`.
        flag: str, as for `hold`.
        made: list, to which the folders are added that are made for it.
    """
    looks = 0
    for _ in range(_TRIES):
        try:
            lock, is_new = _open(root, made)
        except (FileExistsError, NotADirectoryError) as error:
            raise JobDirError(
                f"{flag}={root} cannot be a folder: {_in_the_way(root)}. "
                f"Give another {flag}."
            ) from error
        if lock is None:
            time.sleep(_PAUSE_SECONDS)
            continue
        with contextlib.ExitStack() as undo:
            undo.enter_context(lock)
            holder = _read_holder(lock, root)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                looks += 1
                if looks < _LOOKS:
                    time.sleep(_PAUSE_SECONDS)
                    continue
                raise JobDirError(
                    f"{location} is in use by {holder or 'another process'}; "
                    f"wait until that has ended, or give another {flag}."
                ) from error
            # Whoever held it before may have removed it in the meantime.
            if _is_in(root, lock):
                lock.truncate(0)
                lock.seek(0)
                lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                lock.flush()
                undo.pop_all()
                return lock, is_new
        time.sleep(_PAUSE_SECONDS)
    raise JobDirError(
        f"{flag}={root} cannot be made: there can be no folder in "
        f"{root.parent}, or something removes it at once. Give another {flag}."
    )


def _open(root, made):
    """As `_take`, not held yet; without a file if another start interfered."""
    path = root / layout.LOCK
    try:
        return _open_lock(path), False
    except FileNotFoundError:
        if not root.is_dir():
            return _make(root, made), True
    try:
        return open(path, "x+", encoding="utf-8"), True
    except (FileExistsError, FileNotFoundError):
        return None, True


def _open_lock(path):
    """Opens a lock that is there, and nothing that only has its name.

    What a link leads to would be emptied, and a FIFO would wait for ever.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_lock(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return open(descriptor, "r+", encoding="utf-8", errors="replace")


def _read_holder(lock, root):
    """Returns who is said to hold a lock; empty if nobody is yet."""
    text = lock.read(_HOLDER_BYTES)
    if text and not _HOLDER.fullmatch(text):
        raise _no_lock(root / layout.LOCK)
    return text.strip()


def _no_lock(path):
    return JobDirError(
        f"{path} is not the lock of a job, which is a file that names a "
        "process; look at what it is, and remove it, or give another folder."
    )


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


def _in_the_way(root):
    """Says which of a path and the folders around it is no folder."""
    for path in (*reversed(root.parents), root):
        if path.is_symlink() and not path.exists():
            return f"{path} is a link that leads nowhere"
        if path.exists() and not path.is_dir():
            return f"{path} is a file"
    return f"{root} is in the way"
