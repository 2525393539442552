"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import uuid

TEMPORARY_PREFIX = ".unfinished-"


@contextlib.contextmanager
def atomic_writer(path):
    """Opens a binary file that becomes `path` when the block ends well.

    The bytes are on the disk before the name is, so that a power cut cannot
    leave an empty file under the name. When the block raises, the unfinished
    file is removed.
    """
    path = pathlib.Path(path)
    unfinished = path.with_name(
        f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}"
    )
    try:
        with open(unfinished, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomically(path, content):
    """Writes bytes to `path`, whole or not at all."""
    with atomic_writer(path) as file:
        file.write(content)


def sync_folder(path):
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder):
    """Removes what a killed writer left behind in `folder`."""
    for path in pathlib.Path(folder).glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)
