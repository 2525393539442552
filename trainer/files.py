"""Files and folders that appear whole or not at all.

What is being written has a name of its own, and a lock (`flock`) that the
kernel releases when its process ends. So a cleaner knows what a killed writer
has left from what another process is writing at this moment.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
import uuid

TEMPORARY_PREFIX = ".unfinished-"
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


def publish(unfinished, path):
    """Makes a written file `path`, with its bytes on the disk first."""
    sync(unfinished)
    os.replace(unfinished, path)
    sync(path.parent)


def write_atomically(path, content):
    """Writes bytes to `path`, whole or not at all.

    The bytes are on the disk before the name is, so that a power cut cannot
    leave an empty file under the name. When the writing fails, nothing is
    left behind.
    """
    unfinished, file = _new_file(path)
    try:
        with file:
            file.write(content)
            file.flush()
            publish(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_json(path, value):
    """Writes a JSON value to `path`, whole or not at all."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, text.encode())


def sync(path):
    """Makes a file's bytes, or a folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_folder(path):
    """Gives an empty folder, which becomes `path` when the block has ended.

    A folder that is there is replaced; of several writers at once the last
    one stays. When the block fails, or is killed, it stays as it is; in the
    instant between the two renames at the end there is none.

    Args:
        path: a `pathlib.Path`; the folder around it is made.

    Yields:
        The `pathlib.Path` to write to, beside `path`.
    """
    with unfinished_folder(path) as unfinished:
        yield unfinished
        for written in unfinished.rglob("*"):
            sync(written)
        sync(unfinished)
        while not _replace_folder(unfinished, path):
            pass
        sync(path.parent)


@contextlib.contextmanager
def unfinished_folder(path):
    """Gives an empty folder beside `path`, which is removed afterwards.

    Args:
        path: a `pathlib.Path`; the folder around it is made.

    Yields:
        The `pathlib.Path` of the folder. What was moved out of it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        unfinished = _unfinished(path)
        unfinished.mkdir()
        try:
            descriptor = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # A cleaner came before the lock.
        if _own(descriptor, unfinished):
            break
        os.close(descriptor)
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        os.close(descriptor)


def remove(path):
    """Removes a folder with all that is in it, or whatever has its name."""
    # rmtree would open a FIFO, and wait for ever.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_unfinished(folder):
    """Removes what killed writers left behind in `folder`.

    What a living process writes stays, and so does what cannot be locked to
    find that out.
    """
    for path in pathlib.Path(folder).glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_symlink():
            # Not of a writer of ours, and nothing is lost with it.
            path.unlink(missing_ok=True)
            continue
        try:
            # No link is followed, and no pipe waited for.
            descriptor = os.open(
                path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            remove(path)
        finally:
            os.close(descriptor)


def _replace_folder(unfinished, path):
    """Renames a folder; returns False if another writer came in between."""
    replaced = _unfinished(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, replaced)
        os.rename(unfinished, path)
    except OSError as error:
        if error.errno in _NOT_EMPTY:
            return False
        raise
    finally:
        remove(replaced)
    return True


def _new_file(path):
    """Returns the path of a new file beside `path`, and the file, owned."""
    while True:
        unfinished = _unfinished(path)
        file = open(unfinished, "xb")
        if _own(file.fileno(), unfinished):
            return unfinished, file
        file.close()


def _own(descriptor, path):
    """Tells cleaners that this process lives, for as long as it is open.

    Returns:
        False if a cleaner has removed it in the meantime.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError:
        # Where there are no locks, a cleaner gets none, and removes nothing.
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _unfinished(path):
    """Returns a name beside `path` that nobody else takes."""
    return path.with_name(
        f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}"
    )
